# Other runs: files that change under a commit, locks that are waited for, and file systems that have none.
from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from lab import snapshot
from lab.commits import AFTER, BEFORE, change, commit, compile_as, several
from module_utils import _commit, _files, _locks


def test_a_file_that_is_not_the_planned_one_any_more_is_left_alone(package: Path) -> None:
    paths = several(package)
    changes = [change(path, AFTER) for path in paths]
    paths[2].write_bytes(b"# edited by somebody else\n")
    before = snapshot.take(package)
    assert _commit.commit(changes, backup=True) is None
    assert snapshot.take(package) == before
    paths[2].unlink()
    assert _commit.commit(changes, backup=True) is None


def test_a_file_that_changes_while_the_new_one_is_made_is_left_alone(
    package: Path, api: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: somebody else edits the file while ours is being written to it."""
    compile_as(api)
    changes, fsync = [change(api)], os.fsync

    def slow(descriptor: int) -> None:
        fsync(descriptor)
        api.write_bytes(b"# edited by somebody else\n")

    names = sorted(map(str, package.rglob("*")))
    monkeypatch.setattr(_commit.os, "fsync", slow)
    assert _commit.commit(changes, backup=True) is None
    assert api.read_bytes() == b"# edited by somebody else\n"
    assert sorted(map(str, package.rglob("*"))) == names


def test_a_lock_is_waited_for_and_nothing_of_it_is_left(package: Path, api: Path) -> None:
    with api.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        threading.Timer(0.3, fcntl.flock, [holder, fcntl.LOCK_UN]).start()
        start = time.monotonic()
        commit(api)
        assert 0.2 < time.monotonic() - start < 5
    assert sorted(os.listdir(package)) == ["__init__.py", "api.py"]
    with api.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_who_waited_for_a_file_that_was_replaced_meanwhile_locks_the_new_one(api: Path) -> None:
    (api.parent / "new").write_bytes(BEFORE)
    with api.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def replace() -> None:
            (api.parent / "new").rename(api)
            fcntl.flock(holder, fcntl.LOCK_UN)

        threading.Timer(0.2, replace).start()
        with (
            _files.open_directory(str(api.parent)) as directory,
            _locks.hold(directory, api.name, time.monotonic() + 10),
            api.open("rb") as other,
        ):
            assert os.fstat(other.fileno()).st_ino != os.fstat(holder.fileno()).st_ino
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_locks_that_others_hold_on_to_are_not_waited_for_for_ever(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = several(package)
    monkeypatch.setattr(_locks, "SECONDS", 0.4)
    holders = [path.open("rb") for path in paths]
    for holder in holders:
        fcntl.flock(holder, fcntl.LOCK_EX)
    start = time.monotonic()
    commit(*paths)
    assert 0.3 < time.monotonic() - start < 1, "one limit for all files together"
    assert [path.read_bytes() for path in paths] == [AFTER] * 3
    for holder in holders:
        holder.close()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_written_all_the_same(
    api: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The call of flock answers as on such a file system (Lustre without -o flock, some FUSE ones)."""

    def flock(*_arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(_locks.fcntl, "flock", flock)
    descriptors = len(os.listdir("/proc/self/fd"))
    commit(api)
    assert api.read_bytes() == AFTER
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_where_a_lock_needs_a_descriptor_for_writing_it_gets_one(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call of flock answers as an NFS mount does, whose exclusive locks want an open for writing."""
    flock, got = fcntl.flock, []

    def nfs(descriptor: int, operation: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, operation)
        got.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(_locks.fcntl, "flock", nfs)
    old = api.stat().st_mtime_ns
    os.link(api, api.parent.parent / "other")
    commit(api)
    assert got[0] == str(api)
    assert (api.parent.parent / "other").stat().st_mtime_ns == old, "opened for writing, not written to"
    assert api.read_bytes() == AFTER
