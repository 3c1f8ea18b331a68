# What a released version wrote (see tests/data/make.py) is understood by each later one: no upgrade loses an original.
from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import controller, engine, packages, pyz, snapshot
from module_utils import _store

if TYPE_CHECKING:
    from subprocess import CompletedProcess

DATA = controller.ROOT / "tests" / "data"
VERSIONS = sorted(path.parent.name for path in DATA.glob("*/environment.json"))
NAMES = {"circle_name", "limit", "new_files", "summary"}


@pytest.fixture(params=VERSIONS)
def data(request: pytest.FixtureRequest) -> Path:
    return DATA / str(request.param)


@pytest.fixture
def site(data: Path, tmp_path: Path) -> Path:
    """Return the site-packages as that version left it."""
    for name, kept in json.loads((data / "environment.json").read_text()).items():
        content = kept["text"].encode() if "text" in kept else base64.b64decode(kept["base64"])
        packages.write(tmp_path / "site", {name: content})
        (tmp_path / "site" / name).chmod(int(kept["mode"], 8))
    return tmp_path / "site"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return primus-patches.pyz, in a directory of its own."""
    path: Path = pyz.builder().build(tmp_path_factory.mktemp("pyz"))
    return path


def done(ended: CompletedProcess[str], status: int = 0) -> str:
    assert (ended.returncode, ended.stderr) == (status, ""), ended
    return ended.stdout


def is_as_installed(site: Path) -> bool:
    """Whether there is what RECORD lists, and nothing else but the store."""
    (record,) = site.glob("*.dist-info/RECORD")
    rows = dict(line.split(",", 1) for line in record.read_text().splitlines() if not line.endswith(",,"))
    files = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    files = {name for name in files if not name.startswith("primus-patches/")}
    return files == {*rows, str(record.relative_to(site))} and all(
        packages.recorded(site / name) == row for name, row in rows.items()
    )


def test_every_series_of_versions_has_left_something_here() -> None:
    """A release 2.0.0 adds what it writes, and what 1.0.0 wrote stays."""
    majors = {version.partition(".")[0] for version in VERSIONS}
    assert majors == {str(number) for number in range(1, int(_store.TOOL.partition(".")[0]) + 1)}


def test_its_patches_are_applied_and_nothing_is_to_be_done(data: Path, site: Path) -> None:
    before = snapshot.take(site)
    parameters: dict[str, Any] = {"path": site, "definitions": json.loads((data / "definitions.json").read_text())}
    look = engine.ask("info", **parameters)
    assert {patch["name"]: patch["state"] for patch in look["patches"]} == dict.fromkeys(NAMES - {"limit"}, "applied")
    assert engine.ask("patch", **parameters)["changed"] is False
    assert snapshot.take(site) == before


def test_its_store_tells_what_is_patched_and_gives_all_of_it_back(data: Path, site: Path, file: Path) -> None:
    where = ("--path", site)
    assert "limit applied: acme 2.3.0" in done(
        pyz.run(file, "status", *where, "--patch", data / "limit.patch", "--health")
    )
    told = done(pyz.run(file, "status", *where))
    assert told.count("as written") == len(told.splitlines()[1:]) - 1 == 5, told
    assert {word for word in re.findall(r"\w+", told) if word in NAMES} == NAMES
    assert "0 undeclared edits" in done(pyz.run(file, "verify", *where))

    assert not is_as_installed(site)
    done(pyz.run(file, "revert", *where, "--all"))
    assert is_as_installed(site)


def test_one_patch_is_taken_out_of_a_file_that_several_are_in(data: Path, site: Path, file: Path) -> None:
    done(pyz.run(file, "revert", "--path", site, "--patch", data / "limit.patch"))
    assert (site / "acme" / "api.py").read_text() == pyz.API.replace("radius**2", "radius * radius")


def test_a_file_that_was_edited_since_is_captured_against_its_original_and_given_back(site: Path, file: Path) -> None:
    (site / "acme" / "api.py").write_text(pyz.API.replace("math.pi", "3"))
    assert pyz.run(file, "revert", "--path", site, "--all").returncode == 2
    captured = pyz.run(file, "capture", "--path", site, "acme").stdout
    assert "-    return math.pi * radius**2\n+    return 3 * radius**2\n" in captured
    done(pyz.run(file, "restore", "--path", site, "--all"))
    assert (site / "acme" / "api.py").read_text() == pyz.API


@pytest.mark.parametrize("name", ["report.json", "report.prom"])
def test_its_report_is_merged(data: Path, tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-I", controller.ROOT / "playbooks" / "merge_reports.py", data / name]
    told = done(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False))
    assert told.startswith("Merged from one report, made ")
    merged = json.loads((tmp_path / "primus-merged" / "report.json").read_text())
    assert {node["name"]: node["status"] for node in merged["nodes"]} == {
        "gpu001": "ok",
        "gpu002": "drifted",
        "gpu003": "unreachable",
    }
    if name == "report.json":
        summary = json.loads((data / name).read_text())["summary"]
        assert merged["summary"] == summary
