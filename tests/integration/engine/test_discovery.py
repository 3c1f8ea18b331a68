# Audits of many copies: whatever lies below a root costs one line of the report, and never the others' lines.
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, packages
from module_utils import _discovery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the module does with its parameters, in a process of its own that no limit of a copy may end.
AUDIT = (
    "import json, resource, sys\n"
    "sys.path.insert(0, sys.argv[1])\n"
    "from module_utils import _discovery\n"
    "request = json.loads(sys.argv[2])\n"
    "result = _discovery.call(request.get('python'), request)\n"
    "usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
    "print(json.dumps([result, max(usage) // 1024]))\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a root with one good copy, which is looked at last."""
    engine.thing(tmp_path / "home" / "z-good")
    yield tmp_path / "home"
    subprocess.run(["rm", "-r", tmp_path / "home"], check=True)  # (it is large, and too deep for shutil)


def audit(home: Path, by: Path | str = sys.executable, **parameters: Any) -> tuple[list[dict[str, Any]], int]:
    """Return the results of an audit's look below a root, and the most memory that one process took (MiB)."""
    request = {
        "operation": "info",
        "definitions": [engine.PATCH],
        "roots": [str(home)],
        "details": True,
        "timeout": 60.0,
        "check_mode": False,
        **parameters,
    }
    command = [by, "-B", "-c", AUDIT, engine.PLUGINS, json.dumps(request)]
    # (What a process took counts for what it turns into as well: this one may have grown. So a shell forks once more.)
    done = subprocess.run(["/bin/sh", "-c", '"$@"; exit $?', "sh", *command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    result, memory = json.loads(done.stdout)
    return result["environments"], memory


def good(result: dict[str, Any], home: Path) -> bool:
    states = [patch["state"] for patch in result["patches"]]
    return result["environment"]["path"] == str(home / "z-good") and states == ["pending"] and not result.get("failed")


def dist_info(site: Path, number: int, **files: str) -> Path:
    directory = site / f"thing-{number}.dist-info"
    packages.write(directory, files or {"METADATA": f"Name: thing\nVersion: {number}\n"})
    return directory


def deep_attributes(home: Path) -> None:
    engine.source(home / "bad" / "thing", __init__="__version__ = '1.5'\n", api="x = a" + ".b" * 1_000_000 + "\n")


def deep_version(home: Path) -> None:
    engine.source(home / "bad" / "thing", __init__="x = a" + ".b" * 1_000_000 + "\n")


def many_statements(home: Path) -> None:
    engine.source(home / "bad" / "thing", __init__="__version__ = '1.5'\n", api="a;" * 7_900_000 + "\n")


def long_version(home: Path) -> None:
    engine.source(home / "bad" / "thing")
    listed = "thing/__init__.py,,\nthing/api.py,,\n"
    metadata = f"Name: thing\nVersion: {'1' * 15_000_000}\n"
    packages.write(home / "bad" / "thing-1.dist-info", {"METADATA": metadata, "RECORD": listed})


def sparse_records(home: Path) -> None:
    engine.source(home / "bad" / "thing")
    for number in range(200):
        with (dist_info(home / "bad", number) / "RECORD").open("wb") as record:
            record.truncate(2 << 30)


def pipe(home: Path) -> None:
    engine.source(home / "bad" / "thing")
    (home / "bad" / "thing" / "api.py").unlink()
    os.mkfifo(home / "bad" / "thing" / "api.py")


HOSTILE = [
    deep_attributes,
    deep_version,
    many_statements,
    long_version,
    pytest.param(sparse_records, marks=pytest.mark.slow),  # (seconds of the processor, up to the limit)
    pipe,
]


@pytest.mark.parametrize("make", HOSTILE)
def test_a_hostile_copy_costs_one_line_and_the_others_are_told(home: Path, make: Callable[[Path], None]) -> None:
    make(home)
    (bad, last), memory = audit(home)
    assert bad["environment"]["path"] == str(home / "bad")
    assert bad.get("failed") or all(patch["state"] not in ("applied", "native") for patch in bad["patches"])
    assert len(json.dumps(bad)) < 20_000
    assert good(last, home)
    assert memory < 1400


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10"])
def test_a_copy_that_kills_the_interpreter_is_told_as_that(
    home: Path, python: Callable[[str], Path], version: str
) -> None:
    deep_attributes(home)
    (bad, last), _memory = audit(home, python(version))
    assert bad["failed"]
    assert bad["msg"] == (
        f"{home}/bad: expected what can be looked at within limits, found that the process ended without an answer "
        "(signal 11 (Segmentation fault)). A file there may be damaged, or made to do that. Nothing else can be told"
    )
    assert good(last, home)


def test_directories_that_are_nested_deeply(home: Path) -> None:
    directory = os.open(home, os.O_RDONLY)
    for _level in range(1500):
        os.mkdir("d", dir_fd=directory)
        directory, above = os.open("d", os.O_RDONLY, dir_fd=directory), directory
        os.close(above)
    os.close(directory)
    deepest = home.joinpath(*["d"] * 1500)
    (deepest / "thing").mkdir()
    (deepest / "thing" / "__init__.py").touch()
    results, _memory = audit(home)
    assert [result["environment"]["path"] for result in results] == [str(deepest), str(home / "z-good")]
    assert good(results[1], home)


def test_directories_that_no_path_leads_to_are_told(home: Path) -> None:
    directory = os.open(home, os.O_RDONLY)
    name = "d" * 250
    for _level in range(17):
        os.mkdir(name, dir_fd=directory)
        directory, above = os.open(name, os.O_RDONLY, dir_fd=directory), directory
        os.close(above)
    os.close(directory)
    first, told = audit(home)[0]
    assert good(first, home)
    assert told["failed"]
    assert told["environment"]["path"] == str(home)
    assert told["msg"].startswith(f"{home}: expected to look at all of it; 1 directories cannot be read ({home}/ddd")
    assert told["msg"].endswith(": File name too long)")


def test_what_is_not_looked_at_in_time_is_one_line(home: Path) -> None:
    for number in range(3000):
        packages.write(home / f"empty-{number:04}" / "thing", {"__init__.py": ""})
    start = time.monotonic()
    results, _memory = audit(home, timeout=3.0)
    assert time.monotonic() - start < 20
    *told, last = results
    assert [result["environment"]["path"] for result in told] == [f"{home}/empty-{n:04}" for n in range(len(told))]
    assert {patch["state"] for result in told for patch in result["patches"]} == {"unsupported"}
    assert (last["failed"], last["patches"], last["environment"]) == (True, [], {"python": None, "path": str(home)})
    assert last["msg"] == (
        f"{home}: expected to look at all of it; {3001 - len(told)} of 3001 environments were not looked at: "
        "the time limit of 3 s was used up before"
    )


def test_each_of_many_copies_gets_its_line(home: Path) -> None:
    for number in range(150):
        packages.write(home / f"empty-{number:04}" / "thing", {"__init__.py": ""})
    results, _memory = audit(home)
    assert len(results) == 151
    assert good(results[-1], home)


def test_a_copy_that_hangs_a_look_has_a_limit_of_its_own(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits for one copy are lowered in this process, which forks: the real ones take half a minute."""
    monkeypatch.setattr(_discovery, "_SECONDS", 1.0)
    many_statements(home)
    request = {"operation": "info", "definitions": [engine.PATCH], "roots": [str(home)], "timeout": 60.0}
    monkeypatch.setattr(_discovery._child, "MEMORY", 16 << 30)
    monkeypatch.setenv("HOME", str(tmp_path))
    bad, last = _discovery.call(None, request)["environments"]
    assert "(it did not answer within 1 s)" in bad["msg"]
    assert good(last, home)


def test_a_patch_of_a_distribution_alone_is_looked_for_by_its_metadata(home: Path) -> None:
    packages.install(home / "deep" / "site", "some_thing", "1.5", {"some_thing.py": "LIMIT = 10\n"})
    packages.install(home / "other", "something", "1.5", {"some_thing.py": "LIMIT = 10\n"})
    packages.write(home / "egg", {"some_thing.py": "", "Some.Thing-1.4-py3.11.egg-info": "Name: x\nVersion: 1.4\n"})
    patch = {key: value for key, value in engine.PATCH.items() if key != "package"}
    edits = [{"replace": {"before": "LIMIT = 10", "after": "LIMIT = 20"}}]
    patch = {**patch, "distribution": "Some-Thing", "file": "some_thing.py", "edits": edits, "versions": ">=1.5,<2"}
    results, _memory = audit(home, definitions=[patch])
    found = {result["environment"]["path"]: [each["state"] for each in result["patches"]] for result in results}
    assert found == {str(home / "deep" / "site"): ["pending"], str(home / "egg"): ["unsupported"]}


def test_the_catalogue_comes_with_the_request(home: Path) -> None:
    catalogue = [engine.definition(name="of_the_catalogue")]
    (result,), _memory = audit(home, definitions=[], catalogue=catalogue)
    assert [patch["name"] for patch in result["patches"]] == ["of_the_catalogue"]
    (none,), _memory = audit(home, definitions=[], catalogue=catalogue, roots=[], path=f"{home}/none-*")
    assert [(patch["name"], patch["state"], patch["files"]) for patch in none["patches"]] == [
        ("of_the_catalogue", "missing", [])
    ]


def test_an_audit_writes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not even where the code that looks is wrong: its process may not write to files."""
    target = tmp_path / "target"
    request = {"operation": "info", "definitions": [engine.PATCH], "roots": [str(home)], "timeout": 60.0}
    monkeypatch.setattr("module_utils._looking.copy_id", lambda _step: target.write_text("x"))
    (result,) = _discovery.call(None, request)["environments"]
    assert "File too large" in result["msg"]
    assert target.read_text() == ""


@pytest.mark.parametrize("option", ["path", "python"])
def test_patterns_have_the_same_limits(home: Path, option: str, tmp_path: Path) -> None:
    if option == "path":
        deep_version(home)
        results, _memory = audit(home, roots=[], path=f"{home}/*")
        bad, last = results
        assert bad.get("failed") or bad["patches"][0]["state"] == "unsupported", bad
        assert good(last, home)
    else:
        (tmp_path / "a" / "bin").mkdir(parents=True)
        (tmp_path / "b" / "bin").mkdir(parents=True)
        hangs = tmp_path / "a" / "bin" / "python"
        hangs.write_text("#!/bin/sh\nwhile :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done\n")
        hangs.chmod(0o755)
        (tmp_path / "b" / "bin" / "python").symlink_to(hangs)
        results, _memory = audit(home, roots=[], python=f"{tmp_path}/*/bin/python", timeout=1.0)
        assert [result.get("failed") for result in results] == [True, True]
        assert "it did not answer within " in results[0]["msg"]
        assert "1 of 2 environments were not looked at: the time limit of 1 s was used up before" in results[1]["msg"]


def test_a_single_look_that_kills_the_interpreter_is_an_error(home: Path, python: Callable[[str], Path]) -> None:
    """Without a pattern and without roots, too; Ansible would only say that the module failed."""
    deep_attributes(home)
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from module_utils import _child, _errors\n"
        "try: _child.call(None, json.loads(sys.argv[2]))\n"
        "except _errors.SitePatchError as error: print(error)\n"
    )
    request = {"operation": "patch", "definitions": [engine.PATCH], "path": f"{home}/bad", "timeout": 60.0}
    command = [python("3.8"), "-B", "-c", code, engine.PLUGINS, json.dumps(request)]
    said = subprocess.check_output(command, text=True)
    assert said.startswith(f"{home}/bad: expected what can be looked at within limits, found that the process ended")


def test_another_copy_has_the_original_of_what_somebody_edited(home: Path) -> None:
    """Not a copy of another version: only the bytes that RECORD has."""
    edited = engine.thing(home / "edited") / "api.py"
    edited.write_bytes(edited.read_bytes() + b"MORE = 1\nAND_MORE = 2\n")
    engine.thing(home / "older", version="1.4", api="")
    results, _memory = audit(home, integrity=["patches"])
    (found,) = [each for result in results for held in result["integrity"] for each in held["found"]]
    assert (found["path"], found["lines_added"], found["lines_removed"]) == ("thing/api.py", 2, 0)
    (home / "z-good" / "thing" / "api.py").write_bytes(b"")
    results, _memory = audit(home, integrity=["patches"])
    found = [each for result in results for held in result["integrity"] for each in held["found"]]
    assert [(each["path"], each["lines_added"]) for each in found] == [("thing/api.py", None)] * 2
