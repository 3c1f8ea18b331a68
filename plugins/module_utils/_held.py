# A file that is to be written, its directories held open: whether that can be, and the new file beside it.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import stat
from contextlib import ExitStack
from typing import NamedTuple

from . import _bytecode, _files
from ._edits import Text
from ._errors import CommitError
from ._files import Directory
from ._plan import Change
from ._trust import Trust

HOST = re.sub(r"[^\w-]", "_", os.uname().nodename)  # (a part of the names of new files, which dots divide)
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS (linux/fs.h, 64 bit)
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL
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


class Held(NamedTuple):
    """Where one file is to be written: all is done by the descriptors of its directory and of its bytecode's."""

    change: Change
    directory: Directory
    """Of the file or, where that one is still to be made, the nearest one above it."""
    name: str
    cache: Directory | None
    """Its ``__pycache__``; None where there is none, or one that is not ours to touch."""
    note: str
    """What is to be said of a ``__pycache__`` that is not touched."""

    @property
    def path(self) -> str:
        return self.change.place.path

    def entry(self) -> os.stat_result:
        """The file itself, or the link that is in its place; of one that is still to come, its directory.

        Raises CommitError where a file is gone that was there.
        """
        found = self.directory.stat(self.name)
        if found is not None:
            return found
        if self.change.before.data is not None and self.change.after.data is not None:
            raise CommitError("%s: expected a file, found none any more" % self.path)
        return os.fstat(self.directory.descriptor)

    def mode(self) -> int:
        """The permissions of the file; of one that is still to come, those that it is to have."""
        found = self.directory.stat(self.name)
        if found is None:
            return stat.S_IMODE(os.fstat(self.directory.descriptor).st_mode) & 0o666
        with self.directory.file(self.name) as descriptor:
            return stat.S_IMODE(os.fstat(descriptor).st_mode)

    def holds(self, text: Text) -> bool:
        """Whether this is what is there."""
        try:
            if text.data is None:
                return self.directory.stat(self.name) is None
            found = self.directory.read(self.name)
        except OSError:
            return False
        return found is not None and Text(found.data, bool(found.info.st_mode & 0o100)) == text


def open_held(change: Change, trust: Trust, stack: ExitStack, made: list[str] | None = None) -> Held:
    """Hold the directories of a file open until the stack ends. Raises CommitError where they cannot be reached.

    Those that a new file still lacks are made where ``made`` is given, and noted in it; else the one above is held.
    """
    where, name = os.path.split(change.place.path)
    try:
        directory = stack.enter_context(_open_directory(where, change, trust, made))
        held = Held(change, directory, name, None, "")
        if not name.endswith(".py"):
            return held
        found = directory.stat("__pycache__")
        if found is None or not (stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return held
        if stat.S_ISLNK(found.st_mode) or found.st_uid != held.entry().st_uid:
            return held._replace(note=_untouched(held, found))
        try:
            cache = directory.open("__pycache__")
        except OSError as error:
            message = "%s: expected a readable directory of bytecode, found: %s"
            raise CommitError(message % (directory.join("__pycache__"), error.strerror)) from None
    except OSError as error:
        raise CommitError("%s: cannot be reached: %s; nothing was written" % (change.place.path, error)) from error
    return held if cache is None else held._replace(cache=stack.enter_context(cache))


def _open_directory(where: str, change: Change, trust: Trust, made: list[str] | None) -> Directory:
    missing: list[str] = []
    while change.before.data is None and _files.look(where) is None:
        where, name = os.path.split(where)
        missing.append(name)
    directory = _files.open_directory(where, trust.guard())
    for name in reversed(missing) if made is not None else ():
        with directory:
            mode = stat.S_IMODE(os.fstat(directory.descriptor).st_mode)
            below = directory.make(name, mode)
        made.append(below.path)
        directory = below
    return directory


def replaceable(held: Held) -> None:
    """Raise CommitError unless this process may write the file and its bytecode."""
    directories = [(held.directory, "directory")]
    if held.cache is not None and any(True for _name in _bytecode.names(held.cache, held.name)):
        directories.append((held.cache, "directory of its bytecode"))
    for directory, what in directories:
        writable(directory, what)
    files = [(held.directory, held.name, held.path)]
    if held.cache is not None:
        names = _bytecode.names(held.cache, held.name)
        files += [(held.cache, name, held.cache.join(name)) for name, _level in names]
    for directory, name, path in files:
        if _file_flags(directory, name) & (_IMMUTABLE | _APPEND_ONLY):
            raise CommitError("%s: expected a replaceable file, found it immutable (lsattr, chattr)" % path)
    link, parent = held.entry(), os.fstat(held.directory.descriptor)
    if held.directory.stat(held.name) is not None and not _may_give_away():
        _keepable(held, link, parent)


def writable(directory: Directory, what: str) -> None:
    """Raise CommitError unless this process may make and remove files in a directory."""
    where = directory.path
    if os.fstatvfs(directory.descriptor).f_flag & os.ST_RDONLY:
        raise CommitError("%s: expected a writable %s, found a read-only file system" % (where, what))
    if _flags(directory.descriptor) & (_IMMUTABLE | _APPEND_ONLY):
        raise CommitError("%s: expected a writable %s, found it immutable (lsattr, chattr)" % (where, what))
    effective = os.access in os.supports_effective_ids
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory.descriptor, effective_ids=effective):
        info = os.fstat(directory.descriptor)
        raise CommitError(
            "%s: expected a writable %s, found mode %s, owner %d, and this is user %d: run as its owner "
            "(become_user)" % (where, what, stat.filemode(info.st_mode), info.st_uid, os.geteuid())
        )


def _keepable(held: Held, link: os.stat_result, parent: os.stat_result) -> None:
    """Raise CommitError where this user could not keep owner and group of a file that it replaces."""
    me = os.geteuid()
    groups = {os.getegid(), *os.getgroups()}
    if parent.st_mode & stat.S_ISGID:  # (new files get its group by themselves)
        groups.add(parent.st_gid)
    if link.st_uid != me:
        raise CommitError(
            "%s: expected a file of user %d (%s), found owner %d:%d, which cannot be kept: run as its owner "
            "(become_user)" % (held.path, me, held.name, link.st_uid, link.st_gid)
        )
    if link.st_gid not in groups:
        raise CommitError(
            "%s: expected a file of a group that user %d is in (%s), found group %d, which cannot be kept: change "
            "its group (chgrp)" % (held.path, me, held.name, link.st_gid)
        )
    if parent.st_mode & stat.S_ISVTX and me not in (link.st_uid, parent.st_uid):
        raise CommitError("%s: expected to be its owner, as %s is sticky" % (held.path, held.directory.path))


def _untouched(held: Held, found: os.stat_result) -> str:
    """What is to be said of a directory of bytecode that is a link or somebody else's, and is left alone.

    Raises CommitError where Python would go on using old bytecode in it without a look at the source.
    """
    path = held.directory.join("__pycache__")
    what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "of user %d" % found.st_uid
    try:
        with _files.open_directory(path) as cache:
            names = [name for name, _level in _bytecode.names(cache, held.name)]
            unchecked = [name for name in names if _bytecode.is_unchecked(cache, name)]
    except (FileNotFoundError, NotADirectoryError):
        return ""  # (a link that leads to nothing)
    except OSError as error:
        raise CommitError(
            "%s: expected a directory of bytecode of the owner of %s, found one that is %s and cannot be read (%s). "
            "Remove it; nothing was written" % (path, held.name, what, error.strerror)
        ) from error
    if unchecked:
        raise CommitError(
            "%s: expected a directory of bytecode of the owner of %s, found one that is %s; Python would go on "
            "using %s in it without a look at the source. Remove it; nothing was written"
            % (path, held.name, what, unchecked[0])
        )
    return "%s is %s: not touched" % (path, what) if names else ""


def stage(held: Held, text: Text) -> str:
    """A complete new file beside the place with everything that belongs to it, safe on the disk; its name.

    What belongs to it is that of the file that is there: owner, mode, extended attributes. The bits setuid and setgid
    are not: what is written anew has not earned them. A file that is new gets owner and mode by its directory.
    """
    there = held.directory.stat(held.name)
    failed = "%s: the new file cannot be made beside it: %s; nothing was changed"
    try:
        descriptor, temporary = held.directory.create("%s.%s" % (held.name, HOST))
    except OSError as error:
        raise CommitError(failed % (held.path, error)) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.data or b"")
            stream.flush()
            if there is None:
                _belong_to_directory(held, descriptor, text)
            else:
                with held.directory.file(held.name) as original:
                    _belong_as(held, descriptor, original, there, text)
            os.fsync(descriptor)
    except OSError as error:
        held.directory.unlink(temporary)
        raise CommitError(failed % (held.path, error)) from error
    except BaseException:
        held.directory.unlink(temporary)
        raise
    return temporary


def _belong_as(held: Held, descriptor: int, original: int, owner: os.stat_result, text: Text) -> None:
    """Owner, mode, attributes of what is there; of a link into a cache, the link's own owner and the cached mode."""
    like, made = os.fstat(original), os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    _copy_attributes(original, descriptor)
    mode = _with_bit(stat.S_IMODE(like.st_mode) & ~(stat.S_ISUID | stat.S_ISGID), text.executable)
    os.fchmod(descriptor, mode)
    made = os.fstat(descriptor)
    expected = (owner.st_uid, owner.st_gid, mode)
    found = (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode))
    if found != expected:  # (root squash: chown may do nothing and say nothing)
        raise CommitError(
            "%s: cannot keep owner and mode: expected %d:%d %o, found %d:%d %o" % (held.path, *expected, *found)
        )
    second = 1_000_000_000
    if made.st_mtime_ns // second <= like.st_mtime_ns // second:
        # (an import that read the old file may write its bytecode yet: dated by the second)
        os.utime(descriptor, ns=(made.st_atime_ns, like.st_mtime_ns + second))


def _belong_to_directory(held: Held, descriptor: int, text: Text) -> None:
    above, made = os.fstat(held.directory.descriptor), os.fstat(descriptor)
    if made.st_uid != above.st_uid and _may_give_away():
        os.fchown(descriptor, above.st_uid, above.st_gid)
    os.fchmod(descriptor, _with_bit(stat.S_IMODE(above.st_mode) & 0o666, text.executable))


def _with_bit(mode: int, executable: bool) -> int:
    """The mode with the execute bits set where the read bits are, or with none of them; as it is where that fits."""
    if executable == bool(mode & 0o100):
        return mode
    return mode | (mode & 0o444) >> 2 if executable else mode & ~0o111


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


def _file_flags(directory: Directory, name: str) -> int:
    """Inode flags of a regular file itself; 0 for anything else, a link included, and where there are none."""
    info = directory.stat(name)
    if info is None or not stat.S_ISREG(info.st_mode):
        return 0
    try:
        with directory.file(name) as descriptor:
            return _flags(descriptor)
    except OSError:
        return 0


def _flags(descriptor: int) -> int:
    """Inode flags of what is open; 0 where the file system has none."""
    flags = array.array("l", [0])
    try:
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
    except OSError:
        return 0
    return flags[0]


def _may_give_away() -> bool:
    """Whether this process may give a file to any owner (CAP_CHOWN, which root mostly has)."""
    try:
        with open("/proc/self/status", "rb") as stream:
            for line in stream:
                if line.startswith(b"CapEff:"):
                    return bool(int(line.split()[1], 16) & 1)
    except OSError:
        pass
    return os.geteuid() == 0
