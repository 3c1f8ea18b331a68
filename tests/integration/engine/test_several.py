# A change in each environment that a pattern matches: one that is refused keeps no other from it.
from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, snapshot
from module_utils import _several

if TYPE_CHECKING:
    from pathlib import Path


def change(python: Path | str | None = None, **parameters: Any) -> dict[str, Any]:
    request = {"operation": "patch", "definitions": [engine.PATCH], "timeout": 60.0, "check_mode": False, **parameters}
    return _several.call(str(python) if python else None, request)


def told(result: dict[str, Any]) -> list[tuple[str, bool, bool, list[str]]]:
    return [
        (
            (each["environment"]["path"] or "").rpartition("/")[2],
            each["changed"],
            each.get("failed", False),
            [patch["action"] for patch in each["patches"]],
        )
        for each in result["environments"]
    ]


@pytest.mark.parametrize("python", [None, sys.executable])
def test_each_environment_is_changed_on_its_own(tmp_path: Path, python: str | None) -> None:
    """By this process's interpreter, and by another one."""
    for name, version in (("a", "1.5"), ("b", "2.0"), ("c", "1.6")):
        engine.thing(tmp_path / name, version)
    (tmp_path / "d").write_text("no directory")
    before = snapshot.take(tmp_path)
    pattern = f"{tmp_path}/*"
    foreseen = change(python, path=pattern, diff=True, check_mode=True)
    assert snapshot.take(tmp_path) == before
    done = change(python, path=pattern, diff=True)
    expected = [("a", True, False, ["apply"]), ("b", False, True, ["none"]), ("c", True, False, ["apply"])]
    assert told(foreseen) == told(done) == expected
    assert (done["changed"], done["failed"]) == (True, True)
    assert done["msg"].startswith(f"1 of 3 environments: {tmp_path}/b: thing_names: unsupported: ")
    assert foreseen["diff"] == done["diff"]
    assert [line for line in done["diff"]["prepared"].splitlines() if line.startswith("+++")] == [
        f"+++ {tmp_path}/{name}/thing/api.py\t(after)" for name in ("a", "c")
    ]
    again = change(python, path=pattern, unsupported="skip")
    assert told(again) == [(name, False, False, ["skip" if name == "b" else "none"]) for name in ("a", "b", "c")]
    assert again["msg"] == "3 environments, 0 changed"
    assert "failed" not in again
    assert change(python, path=pattern, state="absent")["changed"]
    assert (tmp_path / "a" / "thing" / "api.py").read_text() == engine.FILES["api.py"]


def test_an_interpreter_that_is_none_keeps_no_other_from_it(tmp_path: Path) -> None:
    site = engine.thing(tmp_path / "site").parent
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "a" / "python").chmod(0o755)
    (tmp_path / "b" / "python").symlink_to(sys.executable)
    done = change(f"{tmp_path}/[ab]/python", path=str(site))
    assert [(each["changed"], each.get("failed", False)) for each in done["environments"]] == [
        (False, True),
        (True, False),
    ]
    assert done["msg"].startswith(f"1 of 2 environments: {site}: python {tmp_path}/a/python: expected a Python")


@pytest.mark.parametrize(
    ("given", "action", "failed"),
    [({}, "none", True), ({"missing": "skip"}, "skip", False), ({"state": "absent"}, "none", False)],
    ids=["refused", "skipped", "absent"],
)
@pytest.mark.parametrize("option", ["python", "path"])
def test_a_pattern_that_nothing_matches_is_one_in_which_every_patch_is_missing(
    tmp_path: Path, given: dict[str, str], action: str, option: str, *, failed: bool
) -> None:
    pattern = f"{tmp_path}/*/{option}"
    done = change(pattern, **given) if option == "python" else change(path=pattern, **given)
    (only,) = done["environments"]
    assert [(patch["state"], patch["action"]) for patch in only["patches"]] == [("missing", action)]
    assert (only.get("failed", False), done.get("failed", False), done["changed"]) == (failed, failed, False)
    assert only["msg"].startswith(f"{option} {pattern}: expected one ")


def test_what_is_called_like_a_pattern_is_none(tmp_path: Path) -> None:
    site = engine.thing(tmp_path / "a[b]").parent
    assert "environments" not in change(path=str(site))
