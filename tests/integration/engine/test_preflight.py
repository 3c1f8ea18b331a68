# Told before anything is written: what a user may not write, what is immutable, and disks that are full.
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import sandbox, snapshot
from lab.commits import AFTER, BEFORE, cached, change, commit, compile_as, imported
from lab.sandbox import USER, give, needs_mounts, needs_root
from module_utils import _commit, _temporary
from module_utils._errors import CommitError

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(run: Callable[..., Any], *arguments: Any) -> str:
    try:
        run(*arguments)
    except CommitError as error:
        return str(error)
    return "nothing was refused"


@needs_root
@pytest.mark.parametrize("which", ["directory", "directory of its bytecode"])
def test_a_directory_that_the_user_may_not_write(package: Path, api: Path, which: str) -> None:
    compile_as(api)
    give(package)
    closed = package if which == "directory" else package / "__pycache__"
    closed.chmod(0o555)
    before = snapshot.take(package)
    changes = [change(api)]
    expected = (
        f"{closed}: expected a writable {which}, found mode dr-xr-xr-x, owner {USER}, and this is user {USER}: "
        "run as its owner (become_user)"
    )
    assert sandbox.child(lambda: refused(_commit.preflight, changes, False), user=USER) == expected
    assert snapshot.take(package) == before
    assert "nothing was changed" in sandbox.child(lambda: refused(_commit.commit, changes, False), user=USER)
    assert (api.read_bytes(), imported(package.parent)) == (
        BEFORE,
        ("before", str(cached(api))),
    )


@needs_mounts
def test_a_read_only_file_system(package: Path, api: Path) -> None:
    before = snapshot.take(package)
    changes = [change(api)]

    def run() -> list[str]:
        sandbox.read_only(package)
        return [refused(step, changes, False) for step in (_commit.preflight, _commit.commit)]

    told, failed = sandbox.child(run, mounts=True)
    assert told == f"{package}: expected a writable directory, found a read-only file system"
    assert "Read-only file system" in failed
    assert snapshot.take(package) == before


@needs_root
@pytest.mark.parametrize("flags", [sandbox.IMMUTABLE, sandbox.APPEND_ONLY], ids=["immutable", "append-only"])
@pytest.mark.parametrize("what", ["directory", "file", "bytecode", "directory of its bytecode"])
def test_the_immutable_flag(package: Path, api: Path, what: str, flags: int) -> None:
    compile_as(api, "unchecked-hash")
    where = {"directory": package, "file": api, "bytecode": cached(api, 1)}.get(what, package / "__pycache__")
    changes = [change(api)]
    contents = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    sandbox.flag(where, flags)
    try:
        told, failed = (refused(step, changes, False) for step in (_commit.preflight, _commit.commit))
    finally:
        sandbox.flag(where, 0)
    kind = "replaceable file" if where.suffix else f"writable {what}"
    assert told == f"{where}: expected a {kind}, found it immutable (lsattr, chattr)"
    assert "Operation not permitted" in failed
    assert all(path.read_bytes() == content for path, content in contents.items())


@needs_root
def test_a_link_to_an_immutable_file_can_be_replaced(package: Path, api: Path) -> None:
    stored = package.parent / "stored"
    shutil.move(api, stored)
    api.symlink_to(stored)
    sandbox.flag(stored, sandbox.IMMUTABLE)
    try:
        commit(api)
    finally:
        sandbox.flag(stored, 0)
    assert (api.read_bytes(), stored.read_bytes()) == (AFTER, BEFORE)


@needs_mounts
def test_a_full_disk(package: Path) -> None:
    """One file of two fits, as do both without their copies: all that is to be written is counted together."""

    def run() -> list[str]:
        sandbox.mount(package, "-t", "tmpfs", "-o", "size=64k", "tmpfs")
        paths = [package / "one.py", package / "two.py"]
        for path in paths:
            path.write_bytes(b"#" * 8192)
        changes = [change(path, b"#" * 12000) for path in paths]
        told = []
        for free in (24, 20, 36):
            used = os.statvfs(package)
            filler = used.f_bfree * used.f_frsize - free * 1024
            (package / "filler").write_bytes(b"-" * filler)
            told += [refused(_commit.preflight, changes, backup) for backup in (False, True)]
            (package / "filler").unlink()
        (package / "filler").write_bytes(b"-" * (used.f_bfree * used.f_frsize - 20 * 1024))
        told.append(refused(_commit.commit, changes, False))
        return [*told, repr(sorted(os.listdir(package))), repr({path.read_bytes()[:1] for path in paths})]

    wanted = f"{package}: expected room for %d bytes, found %d"
    *told, failed, names, texts = sandbox.child(run, mounts=True)
    assert told == [
        *("nothing was refused", wanted % (40960, 24576)),
        *(wanted % (24576, 20480), wanted % (40960, 20480)),
        *("nothing was refused", wanted % (40960, 36864)),
    ]
    assert "No space left on device" in failed
    assert "nothing was changed" in failed
    assert (names, texts) == ("['filler', 'one.py', 'two.py']", "{b'#'}")


@needs_mounts
def test_a_file_system_without_inodes_left_and_one_without_limits(package: Path) -> None:
    def run() -> list[str]:
        told = []
        for options in ("nr_inodes=2", "size=0,nr_inodes=0"):
            sandbox.mount(package, "-t", "tmpfs", "-o", options, "tmpfs")
            (package / "one.py").write_bytes(BEFORE)
            told.append(refused(commit, package / "one.py"))
        return told

    assert sandbox.child(run, mounts=True) == [
        f"{package}: expected 1 free inodes, found 0",
        "nothing was refused",
    ]


def test_a_refusal_before_the_write_leaves_no_trace(package: Path, api: Path) -> None:
    compile_as(api)
    (package / f".api.py.{_temporary.HOST}.abcdefgh.primus-tmp").touch()
    before = snapshot.take(package)
    _commit.preflight([change(api)], backup=True)
    assert snapshot.take(package) == before
