# What killed runs leave beside a file: the next commit removes it, and nothing that may be of a live one.
from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import sandbox
from lab.commits import AFTER, BEFORE, change, commit, compile_as, imported, leftovers, no_locks
from module_utils import _commit, _locks, _staging, _temporary

if TYPE_CHECKING:
    from collections.abc import Callable


def in_stage(kill: Callable[[], None]) -> None:
    _staging._copy_attributes = lambda *_arguments: kill()


def before_rename(kill: Callable[[], None]) -> None:
    _commit.os.rename = lambda *_arguments, **_keywords: kill()


def in_bytecode(kill: Callable[[], None]) -> None:
    rename = os.rename
    _commit.os.rename = lambda source, target, **where: (
        kill() if target.endswith(".pyc") else rename(source, target, **where)
    )


@pytest.mark.parametrize("step", [in_stage, before_rename, in_bytecode])
def test_the_next_commit_removes_what_a_killed_one_left(package: Path, api: Path, step: Callable[..., None]) -> None:
    compile_as(api, levels=(0,))
    changes = [change(api)]

    def run() -> None:
        step(lambda: os.kill(os.getpid(), signal.SIGKILL))
        _commit.commit(changes, backup=False)

    with pytest.raises(AssertionError, match="the child died"):
        sandbox.child(run)
    (left,) = leftovers(package)
    assert left.parent == (package / "__pycache__" if step is in_bytecode else package)
    commit(api, after=AFTER + b"# again\n")
    assert leftovers(package) == []
    assert imported(package.parent)[0] == "after, and longer"


def old(path: Path, seconds: float) -> Path:
    path.touch()
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_new_file_that_a_live_run_has_locked_is_left_alone(package: Path, api: Path) -> None:
    """As of a run that went on without the lock of the file, which was not to be had in time."""
    left = old(package / f".api.py.{_temporary.HOST}.abcdefgh.primus-tmp", 100)
    with left.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        commit(api)
        assert left.exists()
    commit(api, after=BEFORE)
    assert not left.exists()


@pytest.mark.parametrize("locks", ["of another host", "none"])
def test_what_locks_cannot_tell_age_does(package: Path, api: Path, monkeypatch: pytest.MonkeyPatch, locks: str) -> None:
    host = _temporary.HOST
    if locks == "none":
        monkeypatch.setattr(_locks.fcntl, "flock", no_locks)
    else:
        host = "node_2"
    (package / "__pycache__").mkdir()
    names = [f".api.py.{host}.%s.primus-tmp", f"__pycache__/.api.py.{host}.%s.primus-tmp"]
    young = [old(package / (name % "abcdefgh"), 3500) for name in names]
    dead = [old(package / (name % "abcdefg_"), 3700) for name in names]
    commit(api)
    assert [path.exists() for path in young + dead] == [True, True, False, False]


def test_new_files_of_others_are_left_alone(package: Path, api: Path) -> None:
    (package / "__pycache__").mkdir()
    end = f"{_temporary.HOST}.abcdefgh.primus-tmp"
    names = (f".api.pyx.{end}", f".api2.py.{end}", f".__init__.py.{end}", f".api.{end}", f"api.py.{end}", ".api.py.x")
    files = [old(package / name, 9999) for name in (*names, f"__pycache__/.api2.py.{end}")]
    (package / f".api.py.{end}").symlink_to(package / "__init__.py")
    os.mkfifo(package / f".api.py.{_temporary.HOST}.fifo.primus-tmp")
    (package / f".api.py.{_temporary.HOST}.directory.primus-tmp").mkdir()
    before = sorted(package.rglob("*"))
    commit(api)
    assert sorted(package.rglob("*")) == before
    assert all(path.exists() for path in files)


def test_what_cannot_be_removed_is_no_failure(package: Path, api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = old(package / f".api.py.{_temporary.HOST}.abcdefgh.primus-tmp", 0)

    def unlink(path: str, **_where: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    monkeypatch.setattr(_commit.os, "unlink", unlink)
    commit(api)
    assert (api.read_bytes(), left.exists()) == (AFTER, True)
