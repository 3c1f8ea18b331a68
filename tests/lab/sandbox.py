# Forked children of a test: as another user, or with mounts that nobody else sees. Needs root for both.
from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import os
import pickle
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

USER = 61001  # no account of a real system has this number
GROUP = 61002
IMMUTABLE, APPEND_ONLY = 0x10, 0x20
_CLONE_NEWNS = 0x00020000
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602


def child(
    function: Callable[[], Any],
    *,
    user: int | None = None,
    group: int = GROUP,
    groups: Sequence[int] = (),
    mounts: bool = False,
) -> Any:
    """Return what ``function`` returns in a forked child, or raise what it raises there (both must be picklable).

    ``user``: the child is that user, without capabilities. ``mounts``: what it mounts, nobody else sees.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.close(reader)
            answer = _attempt(function, user, group, groups, mounts)
            with os.fdopen(writer, "wb") as stream:
                stream.write(answer)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read()
    os.waitpid(process, 0)
    assert text, "the child died"
    ok, value = pickle.loads(text)  # noqa: S301 (from our own child)
    if not ok:
        raise value
    return value


def _attempt(
    function: Callable[[], Any],
    user: int | None,
    group: int,
    groups: Sequence[int],
    mounts: bool,  # noqa: FBT001
) -> bytes:
    codecs.lookup("ascii")  # (what is loaded only when needed may lie where the other user cannot read)
    try:
        if mounts:
            _unshare()
        if user is not None:
            os.setgroups(list(groups))
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
        return pickle.dumps((True, function()))
    except BaseException as error:  # noqa: BLE001 (raised again by the parent)
        try:
            return pickle.dumps((False, error))
        except Exception:  # noqa: BLE001 (an exception that cannot be pickled)
            return pickle.dumps((False, RuntimeError(repr(error))))


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)


def give(top: Path, user: int = USER, group: int = GROUP) -> None:
    """Give a directory and everything in it to a user."""
    for path in (top, *top.rglob("*")):
        os.chown(path, user, group, follow_symlinks=False)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Let this process have another umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mount(where: Path, *arguments: str) -> None:
    """Mount something in a child made with ``mounts``: ``mount(path, "-t", "tmpfs", "-o", "size=64k", "tmpfs")``."""
    subprocess.run(["mount", *arguments, str(where)], check=True, capture_output=True)


def read_only(where: Path) -> None:
    """Let a directory be read-only from here on, in a child made with ``mounts``."""
    mount(where, "--bind", str(where))
    mount(where, "-o", "remount,bind,ro")


def flag(path: Path, flags: int) -> None:
    """Set inode flags as chattr does; skips the test where the file system has none."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        (now,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0)))
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", (now & ~(IMMUTABLE | APPEND_ONLY)) | flags))
    except OSError as error:
        pytest.skip(f"no inode flags on the file system of {path}, or no right to set them: {error}")
    finally:
        os.close(descriptor)


def _mounts_work() -> bool:
    try:
        child(lambda: None, mounts=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as other users needs root")
needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not _mounts_work(), reason="mounting needs root and CAP_SYS_ADMIN"
)
