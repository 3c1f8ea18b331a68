# The CPU of one call, with nothing to do or a first application; imports: ./dev bench tests/benchmark/test_node.py
from __future__ import annotations

import itertools
import py_compile
import resource
import shutil
import subprocess
import sys
import time
import zipfile
import zipimport
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import engine, environments, packages, pyz
from module_utils import _boot, _child, _patch, _plan
from module_utils._catalogue.transformers_modeling_utils import PATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 40
NOTHING_TO_DO = "patched 300 KB file, nothing to do: CPU seconds, user and system"
FIRST = "first application in a 300 KB file: CPU seconds of the child, user and system"
COMMAND = "primus-patches.pyz apply, ten patch files, nothing to do: CPU seconds, user and system"
IMPORT = "code of the 300 KB module for an import"


def of_children() -> float:
    """Return the CPU seconds of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def patch(site: Path) -> None:
    assert engine.ask("patch", name=[PATCH["name"]], path=site)["changed"]


@pytest.fixture
def patched(tree: Callable[[str], Path]) -> Path:
    """Return a site-packages with the real, patched Transformers 4.57.6."""
    site = tree("4.57.6")
    patch(site)
    return site


@pytest.fixture
def interpreter(venv: Callable[..., Path]) -> Path:
    """Return the interpreter of an environment without anything that would make its start slower."""
    return environments.python_of(venv())


def start(benchmark: BenchmarkFixture, interpreter: Path, code: str) -> None:
    command = [interpreter, "-I", "-c", code]
    benchmark.pedantic(subprocess.run, [command], {"check": True}, rounds=ROUNDS, warmup_rounds=2)


@pytest.mark.benchmark(group=NOTHING_TO_DO, timer=of_children)
def test_1_start_the_interpreter(benchmark: BenchmarkFixture, interpreter: Path) -> None:
    start(benchmark, interpreter, "pass")


@pytest.mark.benchmark(group=NOTHING_TO_DO, timer=of_children)
def test_2_start_it_and_parse_the_file(benchmark: BenchmarkFixture, interpreter: Path, patched: Path) -> None:
    file = str(patched / "transformers" / "modeling_utils.py")
    start(benchmark, interpreter, f"import ast; ast.parse(open({file!r}, 'rb').read())")


@pytest.mark.benchmark(group=NOTHING_TO_DO, timer=time.process_time)
def test_3_plan_in_this_process(benchmark: BenchmarkFixture, patched: Path) -> None:
    patches = [_patch.load(PATCH)]
    plan = benchmark.pedantic(_plan.plan, [patches, str(patched)], rounds=ROUNDS, warmup_rounds=2)
    assert [step.state for step in plan.steps] == ["applied"]


@pytest.mark.benchmark(group=NOTHING_TO_DO, timer=of_children)
def test_4_the_whole_child_out_of_a_payload(
    benchmark: BenchmarkFixture, interpreter: Path, patched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "payload.zip", monkeypatch)
    done = benchmark.pedantic(_child.call, [str(interpreter), request(patched)], rounds=ROUNDS, warmup_rounds=2)
    assert [found["state"] for found in done["patches"]] == ["applied"]


@pytest.mark.benchmark(group=FIRST, timer=of_children)
def test_5_the_whole_child_where_the_file_is_patched(
    benchmark: BenchmarkFixture,
    interpreter: Path,
    tree: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack(tmp_path / "payload.zip", monkeypatch)
    pristine = tree("4.57.6")
    py_compile.compile(str(pristine / "transformers" / "modeling_utils.py"), doraise=True)
    numbers = itertools.count()

    def fresh() -> tuple[list[object], dict[str, object]]:
        site = tmp_path / f"site-{next(numbers)}"
        shutil.copytree(pristine, site)
        return [str(interpreter), request(site)], {}

    done = benchmark.pedantic(_child.call, setup=fresh, rounds=ROUNDS)
    assert [found["action"] for found in done["patches"]] == ["apply"]


def pack(payload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine be as Ansible has it: in a zip archive, of which Python compiles anew whatever it imports."""
    sources = Path(_child.__file__).parent
    with zipfile.ZipFile(payload, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sources.rglob("*.py"):
            archive.write(source, source.relative_to(sources))
    spec = ModuleSpec("_boot", zipimport.zipimporter(str(payload)), origin=str(payload / "_boot.py"))
    monkeypatch.setattr(_boot, "__spec__", spec)


def request(site: Path) -> dict[str, object]:
    named = {"catalogue": [PATCH], "name": [PATCH["name"]]}
    return {"operation": "patch", **named, "path": str(site), "timeout": 60.0}


@pytest.mark.benchmark(group=IMPORT)
@pytest.mark.parametrize("which", ["before the patch", "after the patch", "without bytecode"])
def test_load_the_code(
    benchmark: BenchmarkFixture, tree: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    site = tree("4.57.6")
    file = site / "transformers" / "modeling_utils.py"
    bytecode = Path(py_compile.compile(str(file), doraise=True))
    if which == "after the patch":
        patch(site)
    if which == "without bytecode":
        bytecode.unlink()
    code = benchmark(SourceFileLoader(file.stem, str(file)).get_code, file.stem)
    assert code is not None
    assert ("Conv1D" in code.co_names) == (which == "after the patch")


@pytest.mark.benchmark(group=COMMAND, timer=of_children)
def test_1_start_the_interpreter_alone(benchmark: BenchmarkFixture, interpreter: Path) -> None:
    start(benchmark, interpreter, "pass")


@pytest.mark.benchmark(group=COMMAND, timer=of_children)
@pytest.mark.parametrize("by", ["what the last one left", "the engine"])
def test_2_apply_ten_patch_files(benchmark: BenchmarkFixture, interpreter: Path, tmp_path: Path, by: str) -> None:
    files = {f"acme/m{number}.py": pyz.API for number in range(10)}
    packages.install(tmp_path / "site", "acme", "2.3.0", {"acme/__init__.py": "", **files})
    for number in range(10):
        pyz.patch(tmp_path / "patches", f"p{number}", file=f"m{number}")
    built = pyz.builder().build(tmp_path)
    command = [interpreter, "-I", built, "apply", "--path", tmp_path / "site", "--patch", tmp_path / "patches"]
    run = partial(subprocess.run, check=True, capture_output=True)
    assert run(command).stdout.count(b"was pending") == 10
    if by == "the engine":
        shutil.rmtree(tmp_path / "site" / "primus-patches" / "answers")
    done = benchmark.pedantic(run, [command], rounds=ROUNDS)
    assert done.stdout.count(b"nothing to do") == 10
