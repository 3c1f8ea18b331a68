# Check mode: it tells what the run does, fails where that fails for a cause that can be read, and touches nothing.
from __future__ import annotations

import errno
import os
import py_compile
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, sandbox, snapshot
from lab.sandbox import USER, needs_mounts, needs_root
from module_utils import _commit, _locks, _preflight

if TYPE_CHECKING:
    from collections.abc import Callable

RESULT = ("changed", "msg", "patches", "imports", "diff", "failed", "backup_file")
OTHER_EDITS = [{"replace": {"before": "return 42", "after": "return 43"}}]


def told(result: dict[str, Any]) -> dict[str, Any]:
    """Return what check mode and the run must agree on: all but how long an import took."""
    imports = [{**found, "seconds": None} for found in result.get("imports", [])]
    # (Of what was not refused, the message says in check mode that it would be done, and else that it was.)
    refused = result["msg"] if result.get("failed") else None
    return {**{key: result.get(key) for key in RESULT}, "msg": refused, "imports": imports}


def as_installed(_target: Path) -> None:
    pass


def native(target: Path) -> None:
    engine.thing(target, api="from .core import Thing\n")


def applied(target: Path) -> None:
    assert engine.here(target)["changed"]


def outdated(target: Path) -> None:
    assert engine.here(target, definitions=[engine.definition(edits=OTHER_EDITS)])["changed"]


def newer(target: Path) -> None:
    assert engine.here(target, definitions=[engine.definition(revision=3, edits=OTHER_EDITS)])["changed"]


def edited(target: Path) -> None:
    applied(target)
    api = target / "thing" / "api.py"
    api.write_text(api.read_text().replace("    Thing,\n", "    Thing, os,\n"))


def unsupported(target: Path) -> None:
    shutil.rmtree(target)
    engine.thing(target, "2.0")


def lost_a_name(target: Path) -> None:
    engine.thing(target, core="Other = 1\n")


def unparsable(target: Path) -> None:
    engine.thing(target, api="import os\nthis is no Python\n")


def missing(target: Path) -> None:
    shutil.rmtree(target)
    target.mkdir()


def without_the_file(target: Path) -> None:
    (target / "thing" / "api.py").unlink()


# what is there -> (state, action of present or None where it is refused, action of absent or None)
TABLE: list[tuple[Callable[[Path], None], str, str | None, str | None]] = [
    (as_installed, "pending", "apply", "none"),
    (native, "native", "none", "none"),
    (applied, "applied", "none", "revert"),
    (outdated, "outdated", "migrate", "revert"),
    (unsupported, "unsupported", None, "none"),
    (lost_a_name, "unsupported", None, "none"),
    (missing, "missing", None, "none"),
    (newer, "conflict", None, None),
    (edited, "conflict", None, None),
    (unparsable, "conflict", None, None),
    (without_the_file, "conflict", None, None),
]


@pytest.mark.parametrize("diff", [False, True])
@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("bytecode", [False, True])
@pytest.mark.parametrize(("prepare", "expected", "present", "absent"), TABLE)
def test_check_mode_tells_what_the_run_does_and_touches_nothing(
    target: Path,
    prepare: Callable[[Path], None],
    expected: str,
    present: str | None,
    absent: str | None,
    bytecode: bool,  # noqa: FBT001
    state: str,
    diff: bool,  # noqa: FBT001
) -> None:
    prepare(target)
    if bytecode and (target / "thing" / "api.py").exists() and prepare is not unparsable:
        py_compile.compile(str(target / "thing" / "api.py"))
    action = present if state == "present" else absent
    before = snapshot.take(target)
    predicted = engine.here(target, check_mode=True, diff=diff, state=state)
    assert snapshot.take(target) == before
    done = engine.here(target, diff=diff, state=state)
    assert told(predicted) == told(done)
    assert engine.actions(done) == [(expected, action or "none")]
    assert bool(done.get("failed")) == (action is None)
    assert done["changed"] == (action not in (None, "none"))
    assert ("diff" in done) == (diff and action is not None)
    if not done["changed"]:
        assert snapshot.take(target) == before
        return
    assert bool(done.get("diff", {}).get("prepared")) == diff
    after = snapshot.take(target)
    again = engine.here(target, check_mode=True, diff=diff, state=state)
    assert told(again) == told(engine.here(target, diff=diff, state=state))
    assert (again["changed"], engine.actions(again)[0][1]) == (False, "none")
    assert again.get("diff") in (None, {"prepared": ""})
    assert snapshot.take(target) == after


@pytest.mark.parametrize("prepare", [unsupported, missing])
def test_skipping_is_the_same_in_check_mode_and_tries_no_import(target: Path, prepare: Callable[[Path], None]) -> None:
    prepare(target)
    state = prepare.__name__
    parameters = {state: "skip", "imports": ["no_such_module"]}
    before = snapshot.take(target)
    results = [engine.here(target, check_mode=check, **parameters) for check in (True, False)]
    assert told(results[0]) == told(results[1])
    assert engine.actions(results[1]) == [(state, "skip")]
    assert (results[1]["changed"], results[1]["imports"]) == (False, [])
    assert "failed" not in results[1]
    assert snapshot.take(target) == before


def test_check_mode_takes_no_lock_and_opens_nothing_for_writing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that would are replaced by ones that fail the test."""

    def never(*arguments: Any, **_keywords: Any) -> None:
        raise AssertionError(f"check mode called this with {arguments}")

    py_compile.compile(str(target / "thing" / "api.py"))
    opened: list[int] = []
    open_ = os.open
    monkeypatch.setattr(
        _commit.os,
        "open",
        lambda path, flags, *rest, **more: (opened.append(flags), open_(path, flags, *rest, **more))[1],
    )
    for module, name in ((_locks.fcntl, "flock"), (_locks.fcntl, "lockf")):
        monkeypatch.setattr(module, name, never)
    for name in ("rename", "replace", "unlink", "mkdir", "utime", "chmod", "chown"):
        monkeypatch.setattr(_commit.os, name, never)
    assert engine.here(target, check_mode=True, backup=True)["changed"]
    assert opened, "inode flags are read"
    assert not [flags for flags in opened if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)]


def test_check_mode_proves_the_import_as_the_run_does(target: Path) -> None:
    before = snapshot.take(target)
    predicted = engine.here(target, check_mode=True, imports=["thing.api:Thing,answer", "thing"])
    assert snapshot.take(target) == before
    assert [(done["name"], done["ok"], done["proof"]) for done in predicted["imports"]] == [
        ("thing.api:Thing,answer", True, "before"),
        ("thing", True, "before"),
    ]
    assert told(engine.here(target, imports=["thing.api:Thing,answer", "thing"])) == told(predicted)


@pytest.mark.parametrize("state", ["present", "absent"])
def test_backups_are_made_of_what_is_changed_and_not_in_check_mode(target: Path, state: str) -> None:
    if state == "absent":
        applied(target)
    text = (target / "thing" / "api.py").read_bytes()
    predicted = engine.here(target, check_mode=True, state=state, backup=True)
    assert "backup_file" not in predicted
    assert "backup_file" not in predicted["patches"][0]["files"][0]
    done = engine.here(target, state=state, backup=True)
    assert done["backup_file"] == done["patches"][0]["files"][0]["backup_file"]
    assert Path(done["backup_file"]).read_bytes() == text
    assert Path(done["backup_file"]).parent == target / "thing"
    names = os.listdir(target / "thing")
    assert "backup_file" not in engine.here(target, state=state, backup=True)
    assert os.listdir(target / "thing") == names


# -- causes that can be read -----------------------------------------------------------------------------------------


def both(target: Path) -> str:
    """Return the message with which check mode and the run fail alike, having changed nothing."""
    before = snapshot.take(target)
    results = [engine.here(target, check_mode=check, diff=True, imports=["no_such_module"]) for check in (True, False)]
    assert all(result["failed"] and not result["changed"] for result in results), results
    assert told(results[0]) == told(results[1])
    assert [patch["name"] for patch in results[0]["patches"]] == ["thing_names"], "the states are told all the same"
    assert results[0]["imports"] == [], "no import is tried for what cannot be written"
    assert snapshot.take(target) == before
    return str(results[0]["msg"])


def fill_up(target: Path) -> None:
    """Mount a small file system in place of the directory and fill it up."""
    sandbox.mount(target, "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs")
    engine.thing(target, api=engine.FILES["api.py"] + "#" * 8000 + "\n")
    with (target / "filler").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"-" * 4096):
                pass
        except OSError:
            return


def open_to_all(target: Path) -> None:
    (target / "thing").chmod(0o777)


def closed_bytecode(target: Path) -> None:
    """Let the directory of bytecode be root's own: nobody can tell what is stale in there."""
    py_compile.compile(str(target / "thing" / "api.py"))
    sandbox.give(target / "thing")
    os.chown(target / "thing" / "__pycache__", 0, 0)
    (target / "thing" / "__pycache__").chmod(0o700)


def unreadable_bytecode(target: Path) -> None:
    py_compile.compile(str(target / "thing" / "api.py"))
    sandbox.give(target / "thing")
    (target / "thing" / "__pycache__").chmod(0o300)


# What is done beforehand (by root, or in a place of its own where something is mounted), and what a user is told then.
FOR_A_USER: dict[str, tuple[Callable[[Path], None], str]] = {
    "directory": (
        as_installed,
        "/thing: expected a writable directory, found mode drwxr-xr-x, owner 0, and this",
    ),
    "owner": (open_to_all, f"/thing/api.py: expected a file of user {USER} (api.py), found owner 0:0"),
    "closed bytecode": (
        closed_bytecode,
        (
            "/thing/__pycache__: expected a directory of bytecode of the owner of api.py, found one that is of user 0 "
            "and cannot be read (Permission denied). Remove it; nothing was written"
        ),
    ),
    "unreadable bytecode": (
        unreadable_bytecode,
        "/thing/__pycache__: expected a readable directory of bytecode, found: Permission denied",
    ),
}
WHERE_MOUNTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "read-only file system": (
        sandbox.read_only,
        "/thing: expected a writable directory, found a read-only file system",
    ),
    "full disk": (fill_up, r"/thing: expected room for \d+ bytes, found 0"),
    "mount on the file": (
        lambda site: sandbox.mount(site / "thing" / "api.py", "--bind", str(site / "thing" / "api.py")),
        r"/thing/api\.py: expected a replaceable file, found it mounted by itself \(findmnt\)",
    ),
}


@needs_root
@pytest.mark.parametrize("cause", FOR_A_USER)
def test_what_a_user_may_not_do_fails_in_check_mode_too(target: Path, cause: str) -> None:
    prepare, message = FOR_A_USER[cause]
    prepare(target)
    assert sandbox.child(lambda: both(target), user=USER).startswith(f"{target}{message}")


@needs_mounts
@pytest.mark.parametrize("cause", WHERE_MOUNTED)
def test_what_a_file_system_does_not_allow_fails_in_check_mode_too(target: Path, cause: str) -> None:
    prepare, message = WHERE_MOUNTED[cause]

    def test() -> str:
        prepare(target)
        info = engine.here(target, operation="info", check_mode=True)
        assert info["patches"][0]["state"] == "pending", "an audit works there"
        return both(target)

    assert re.fullmatch(f"{target}{message}", sandbox.child(test, mounts=True))


@needs_root
@pytest.mark.parametrize("name", ["thing", "thing/api.py"])
def test_an_immutable_flag_fails_in_check_mode_too(target: Path, name: str) -> None:
    sandbox.flag(target / name, sandbox.IMMUTABLE)
    try:
        assert "found it immutable" in both(target)
    finally:
        sandbox.flag(target / name, 0)


@needs_mounts
def test_a_disk_that_turns_out_to_be_full_leaves_everything_as_it_was(target: Path) -> None:
    """The free space is not looked at beforehand here, as where a quota is what runs out."""

    def test() -> str:
        fill_up(target)
        _preflight._room = lambda *_arguments: None
        before = snapshot.take(target / "thing" / "api.py", target / "thing" / "core.py")
        names = sorted(map(str, target.rglob("*")))
        result = engine.here(target, backup=True)
        assert (result["failed"], result["changed"], engine.actions(result)) == (True, False, [("pending", "apply")])
        assert sorted(map(str, target.rglob("*"))) == names
        assert snapshot.take(target / "thing" / "api.py", target / "thing" / "core.py") == before
        return str(result["msg"])

    message = sandbox.child(test, mounts=True)
    assert re.match(rf"{target}/thing/api\.py: .*No space left on device.*; nothing was changed$", message)


def test_what_the_system_refuses_unforeseen_is_one_message_with_the_states(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system stops answering after the plan was made (statvfs fails, as on a stale NFS handle)."""

    def stale(_descriptor: int) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(_commit.os, "fstatvfs", stale)
    assert (
        both(target)
        == f"{target}/thing/api.py: cannot be told whether it can be replaced: [Errno 116] Stale file handle"
    )
