# What planning costs on a node, beside what it cannot do without: ./dev bench tests/benchmark/test_planning.py
from __future__ import annotations

import ast
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import packages
from module_utils import _edits, _engine, _patch, _plan
from module_utils._catalogue.transformers_modeling_utils import PATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.fixture
def patched(tree: Callable[[str], Path]) -> Path:
    """Return a site-packages with the real, patched Transformers 4.57.6."""
    site = tree("4.57.6")
    done = _engine.run({"operation": "patch", "catalogue": [PATCH], "name": [PATCH["name"]], "path": str(site)})
    assert done["changed"], done
    return site


@pytest.mark.benchmark(group="one patch on its patched file (300 KB)")
def test_read_parse_and_hash_the_file_once(benchmark: BenchmarkFixture, patched: Path) -> None:
    file = patched / "transformers" / "modeling_utils.py"

    def least() -> None:
        text = file.read_bytes()
        ast.parse(text)
        hashlib.sha256(text).hexdigest()

    benchmark(least)


@pytest.mark.benchmark(group="one patch on its patched file (300 KB)")
def test_plan_the_patch(benchmark: BenchmarkFixture, patched: Path) -> None:
    patches = [_patch.load(PATCH)]
    plan = benchmark(_plan.plan, patches, str(patched))
    assert [step.state for step in plan.steps] == ["applied"]


@pytest.mark.benchmark(group="ten patches on ten files")
def test_plan_ten_patches_in_one_call(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    files = {f"pkg/m{number}.py": "import os\nLIMIT = 10\n" for number in range(10)}
    packages.install(tmp_path, "pkg", "1.0", {"pkg/__init__.py": "", **files})
    definitions = [
        {
            **{key: PATCH[key] for key in ("reason", "upstream", "retire")},
            "name": f"p{number}",
            "package": "pkg",
            "versions": ">=1",
            "file": f"m{number}.py",
            "edits": [{"replace": {"before": "LIMIT = 10", "after": "LIMIT = 20"}}],
        }
        for number in range(10)
    ]
    request = {"operation": "patch", "definitions": definitions, "path": str(tmp_path)}
    assert _engine.run(request)["changed"]
    done = benchmark(_engine.run, request)
    assert {patch["state"] for patch in done["patches"]} == {"applied"}


LARGE = "one patch on 49 files of 200 KB"


@pytest.fixture
def large(tmp_path: Path) -> dict[str, str]:
    """Return 49 modules of 200 KB, by file, which are installed in ``tmp_path``."""
    line = "    second = first.apply(second, name='a name', count=len(second) + 1)\n"
    body = line * 10 + "    return second\n\n\n"
    text = "".join(f"def function_{number}(first, second=None):\n{body}" for number in range(270))
    files = {f"pkg/m{number}.py": f"{text}LIMIT = 10\n" for number in range(49)}
    packages.install(tmp_path, "pkg", "1.0", {"pkg/__init__.py": "", **files})
    return files


@pytest.mark.benchmark(group=LARGE, timer=time.process_time)
def test_compile_what_the_files_are_to_be(benchmark: BenchmarkFixture, large: dict[str, str]) -> None:
    """The least that tells whether the results are Python."""

    def least() -> None:
        for file, text in large.items():
            compile(text, file, "exec")

    benchmark.pedantic(least, rounds=3)


@pytest.mark.benchmark(group=LARGE, timer=time.process_time)
def test_plan_one_patch_on_49_files(benchmark: BenchmarkFixture, large: dict[str, str], tmp_path: Path) -> None:
    replaced = {"before": "LIMIT = 10", "after": "LIMIT = 20"}
    patch = _patch.load(
        {
            **{key: PATCH[key] for key in ("reason", "upstream", "retire")},
            "name": "limits",
            "package": "pkg",
            "versions": ">=1",
            "edits": [{"file": file.partition("/")[2], "replace": replaced} for file in large],
        }
    )
    plan = benchmark.pedantic(_plan.plan, [[patch], str(tmp_path)], setup=_edits.code.cache_clear, rounds=3)
    assert len(plan.changes) == len(large)
