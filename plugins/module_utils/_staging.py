# Staging: where one file is to change, and its new content beside it with everything that belongs to a file.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, suppress
from typing import NamedTuple

from . import _bytecode, _files, _temporary
from ._bytecode import Cache
from ._edits import ABSENT, Text
from ._errors import CommitError
from ._files import Directory
from ._plan import Change
from ._trust import Trust

ACL = "system.posix_acl_access"
_UNCOPIED = (  # extended attributes that a file system or the kernel makes for each file (compare /etc/xattr.conf)
    "security.evm",
    "security.ima",
    "lustre.",
    "trusted.lov",
    "trusted.lma",
    "trusted.link",
    "trusted.som",
    "trusted.hsm",
    "trusted.SGI_",
    "trusted.glusterfs.",
    "trusted.gfid",
    "trusted.overlay.",
    "ceph.",
    "afs.",
    "xfsroot.",
)


class Spot(NamedTuple):
    """Where one file is to change: all is done by the descriptors of its directory and of its bytecode's."""

    change: Change
    directory: Directory
    """That of the file; the nearest one above where that is yet to be made."""
    missing: tuple[str, ...]
    """Names of the directories that are yet to be made, the uppermost first."""
    name: str
    cache: Cache

    @property
    def path(self) -> str:
        return self.change.place.path

    def now(self) -> Text | None:
        """The file as it is; None where it cannot be read."""
        if self.missing:
            return ABSENT
        try:
            found = self.directory.content(self.name)
        except OSError:
            return None
        return ABSENT if found is None else Text(found.data, bool(found.info.st_mode & 0o100))

    def unchanged(self) -> bool:
        """Whether the file still is what was planned for."""
        return self.now() == self.change.before

    def comes(self) -> bool:
        """Whether there was no file."""
        return self.change.before.data is None

    def goes(self) -> bool:
        """Whether there is to be no file."""
        return self.change.after.data is None

    def sweep(self, held: bool) -> None:
        """Remove what killed runs left beside the file and its bytecode. ``held``: under its lock."""
        for directory in filter(None, (self.directory, self.cache.directory)):
            _temporary.sweep(directory, self.name, held)


def open_spot(change: Change, trust: Trust, stack: ExitStack) -> Spot:
    """Hold the directories of a file open until the stack ends. Raises CommitError where they cannot be reached.

    One that is not there is no error: it is made, or the file is not the one that was planned for.
    """
    path = change.place.path
    where, name = os.path.split(path)
    missing: list[str] = []
    try:
        while True:
            try:
                directory = stack.enter_context(_files.open_directory(where, trust.guard()))
                break
            except FileNotFoundError:
                if where == "/":
                    raise
                where, last = os.path.split(where)
                missing.insert(0, last)
        entry = directory.stat(name) if not missing else None
        owner = os.fstat(directory.descriptor).st_uid if entry is None else entry.st_uid
        cache = Cache(directory, name, path)
        if not missing:
            cache = _bytecode.open_cache(directory, name, path, owner, stack)
        return Spot(change, directory, tuple(missing), name, cache)
    except OSError as error:
        raise CommitError("%s: cannot be reached: %s; nothing was written" % (path, error)) from error


def make_directory(above: Directory, name: str, mode: int, stack: ExitStack) -> tuple[Directory, bool]:
    """A directory in another one, held open until the stack ends, and whether it was made here.

    It gets the owner of the one above where this process may give it, and its group where that one hands it on. Raises
    OSError, also where there is something else.
    """
    made = False
    with suppress(FileExistsError):
        above.make(name, mode)
        made = True
    directory = above.open(name)
    if directory is None:
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), above.join(name))
    stack.enter_context(directory)
    if made:
        info = os.fstat(above.descriptor)
        if may_give_away() and os.fstat(directory.descriptor).st_uid != info.st_uid:
            os.fchown(directory.descriptor, info.st_uid, info.st_gid)
            os.fchmod(directory.descriptor, mode)
        above.sync()
    return directory, made


def make_missing(spot: Spot, stack: ExitStack, made: list[tuple[Directory, str]]) -> Spot:
    """The spot with the directory of its file, which is made where it is missing; ``made`` notes what was.

    Each has the mode of the one above it. Raises OSError.
    """
    if not spot.missing:
        return spot
    directory = spot.directory
    for name in spot.missing:
        mode = stat.S_IMODE(os.fstat(directory.descriptor).st_mode) & 0o2777
        below, new = make_directory(directory, name, mode, stack)
        if new:
            made.append((directory, name))
        directory = below
    return spot._replace(directory=directory, missing=(), cache=Cache(directory, spot.name, spot.path))


def stage(spot: Spot, text: Text, mode: int | None = None) -> str:
    """A complete new file beside a spot, safe on the disk; its name. Raises CommitError.

    It has everything that belongs to the file that is there: owner, mode, extended attributes (not the bits setuid and
    setgid: what is written anew has not earned them); where there is none, it is like a file that its directory's
    owner would make. ``text`` decides whether it is executable, unless a mode is given.
    """
    try:
        descriptor, temporary = _temporary.create(spot.directory, spot.name)
    except OSError as error:
        raise _not_made(spot, error) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.data or b"")
            stream.flush()
            if spot.directory.stat(spot.name) is None:
                _belong_to_directory(spot, descriptor, text)
            else:
                _belong_as_before(spot, descriptor, text, mode)
            os.fsync(descriptor)
    except OSError as error:
        spot.directory.unlink(temporary)
        raise _not_made(spot, error) from error
    except BaseException:
        spot.directory.unlink(temporary)
        raise
    return temporary


def keep_copy(spot: Spot, name: str) -> None:
    """A copy of the file beside it, of that name. Raises CommitError and OSError."""
    with spot.directory.file(spot.name) as original:
        was = os.fstat(original)
    temporary = stage(spot, spot.change.before, stat.S_IMODE(was.st_mode))
    os.utime(temporary, ns=(was.st_atime_ns, was.st_mtime_ns), dir_fd=spot.directory.descriptor)
    _temporary.put(spot.directory, temporary, name)


def mode_of(spot: Spot) -> int | None:
    """The permissions of the file that is there, also behind a link; None where there is none."""
    if spot.missing or spot.comes():
        return None
    with spot.directory.file(spot.name) as descriptor:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)


def may_give_away() -> bool:
    """Whether this process may give a file to any owner (CAP_CHOWN, which root mostly has)."""
    try:
        with open("/proc/self/status", "rb") as stream:
            for line in stream:
                if line.startswith(b"CapEff:"):
                    return bool(int(line.split()[1], 16) & 1)
    except OSError:
        pass
    return os.geteuid() == 0


def _not_made(spot: Spot, error: OSError) -> CommitError:
    return CommitError("%s: the new file cannot be made beside it: %s; nothing was changed" % (spot.path, error))


def _executable(mode: int, text: Text) -> int:
    """A mode that says of a file what an edit does: executable for whoever may read it, or for nobody."""
    if text.executable == bool(mode & 0o100):
        return mode
    return mode | (mode & 0o444) >> 2 if text.executable else mode & ~0o111


def _belong_to_directory(spot: Spot, descriptor: int, text: Text) -> None:
    above = os.fstat(spot.directory.descriptor)
    made = os.fstat(descriptor)
    if made.st_uid != above.st_uid and may_give_away():
        group = made.st_gid if above.st_mode & stat.S_ISGID else above.st_gid
        os.fchown(descriptor, above.st_uid, group)
    os.fchmod(descriptor, _executable(stat.S_IMODE(above.st_mode) & 0o666, text))


def _belong_as_before(spot: Spot, descriptor: int, text: Text, mode: int | None) -> None:
    with spot.directory.file(spot.name) as original:
        # (a link into a cache: the environment's owner, the cached file's mode)
        owner = os.stat(spot.name, dir_fd=spot.directory.descriptor, follow_symlinks=False)
        like = os.fstat(original)
        made = os.fstat(descriptor)
        if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        _copy_attributes(original, descriptor)
    if mode is None:
        mode = _executable(stat.S_IMODE(like.st_mode), text)
    mode &= ~(stat.S_ISUID | stat.S_ISGID)
    os.fchmod(descriptor, mode)
    made = os.fstat(descriptor)
    expected = (owner.st_uid, owner.st_gid, mode)
    found = (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode))
    if found != expected:  # (root squash: chown may do nothing and say nothing)
        raise CommitError(
            "%s: cannot keep owner and mode: expected %d:%d %o, found %d:%d %o" % (spot.path, *expected, *found)
        )
    second = 1_000_000_000
    if made.st_mtime_ns // second <= like.st_mtime_ns // second:
        # (an import that read the old file may write its bytecode yet: dated by the second)
        os.utime(descriptor, ns=(made.st_atime_ns, like.st_mtime_ns + second))


def _copy_attributes(original: int, descriptor: int) -> None:
    """Extended attributes (ACLs, SELinux contexts, user attributes) of the original, and no others."""
    wanted = {name: os.getxattr(original, name) for name in _attributes(original)}
    present = {name: os.getxattr(descriptor, name) for name in _attributes(descriptor)}
    for name in present:
        if name not in wanted and name != "security.selinux":
            os.removexattr(descriptor, name)  # (an ACL inherited from the directory)
    for name, value in wanted.items():
        if present.get(name) != value:
            os.setxattr(descriptor, name, value)


def _attributes(descriptor: int) -> list[str]:
    try:
        return [name for name in os.listxattr(descriptor) if not name.startswith(_UNCOPIED)]
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return []
        raise
