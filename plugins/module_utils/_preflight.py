# Preflight: what would make a commit fail and can be told by reading alone. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import array
import fcntl
import os
import stat
from contextlib import ExitStack, suppress
from typing import Sequence

from . import _files, _storage, _store
from ._errors import CommitError, Conflict
from ._files import Directory
from ._staging import Spot, may_give_away
from ._trust import Trust

_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS (linux/fs.h, 64 bit)
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL
_STORE_FILES = 5  # of a new store: its directories, and the two files beside them


def check(spots: Sequence[Spot], backup: bool, trust: Trust) -> None:
    """Raise CommitError where one of the files could not be changed, or its original and its fact not be kept."""
    path = spots[0].path if spots else ""
    try:
        for spot in spots:
            _replaceable(spot)
        with ExitStack() as stack:
            stores = {root: _store_of(root, trust, stack) for root in _roots(spots)}
            _room(spots, backup, stores)
    except OSError as error:
        raise CommitError("%s: cannot be told whether it can be replaced: %s" % (path, error)) from error
    except Conflict as error:
        raise CommitError(str(error)) from error


def _roots(spots: Sequence[Spot]) -> list[str]:
    """The roots whose stores are to be written."""
    return sorted({spot.change.place.root for spot in spots if spot.change.fact is not None})


def _replaceable(spot: Spot) -> None:
    """Raise CommitError unless this process may change the file and its bytecode."""
    _writable(spot.directory, "directory")
    cached = [name for name, _level in spot.cache.names()]
    if spot.cache.directory is not None and cached:
        _writable(spot.cache.directory, "directory of its bytecode")
    files = [(spot.directory, spot.name, spot.path)]
    if spot.cache.directory is not None:
        files += [(spot.cache.directory, name, spot.cache.directory.join(name)) for name in cached]
    for directory, name, path in files:
        if _file_flags(directory, name) & (_IMMUTABLE | _APPEND_ONLY):
            raise CommitError("%s: expected a replaceable file, found it immutable (lsattr, chattr)" % path)
    if _is_mounted(spot.directory.join(spot.name)):
        raise CommitError("%s: expected a replaceable file, found it mounted by itself (findmnt)" % spot.path)
    if not spot.comes() and not may_give_away():
        _owned(spot)


def _is_mounted(path: str) -> bool:
    """Whether something is mounted on this very file, as a volume of a container."""
    with suppress(OSError):  # (without /proc, the rename will tell)
        mount = _storage.mount_of(path)
        return mount is not None and mount.point == path
    return False


def _writable(directory: Directory, what: str) -> None:
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


def _owned(spot: Spot) -> None:
    """Raise CommitError where owner and group of a file could not be kept by a user who may not give files away."""
    link, parent = spot.directory.stat(spot.name), os.fstat(spot.directory.descriptor)
    if spot.missing or link is None:
        return  # (it has gone since it was planned for: that is not for us to judge)
    me = os.geteuid()
    groups = {os.getegid(), *os.getgroups()}
    if parent.st_mode & stat.S_ISGID:  # (new files get its group by themselves)
        groups.add(parent.st_gid)
    if not spot.goes() and link.st_uid != me:
        raise CommitError(
            "%s: expected a file of user %d (%s), found owner %d:%d, which cannot be kept: run as its owner "
            "(become_user)" % (spot.path, me, spot.name, link.st_uid, link.st_gid)
        )
    if not spot.goes() and link.st_gid not in groups:
        raise CommitError(
            "%s: expected a file of a group that user %d is in, found group %d, which could not be kept: change its "
            "group (chgrp)" % (spot.path, me, link.st_gid)
        )
    if parent.st_mode & stat.S_ISVTX and me not in (link.st_uid, parent.st_uid):
        raise CommitError("%s: expected to be its owner, as %s is sticky" % (spot.path, spot.directory.path))


def _store_of(root: str, trust: Trust, stack: ExitStack) -> tuple[Directory, bool]:
    """The store of a root, or where it would be made, and which. Raises CommitError where it could not be written."""
    top = _store.open_store(root, trust.guard(), stack)
    if top is None:
        above = stack.enter_context(_files.open_directory(root, trust.guard()))
        _writable(above, "directory for the store of originals")
        return above, False
    parts = [_store.open_part(top, name, stack) for name in (_store.FACTS, _store.ORIGINALS)]
    for directory in (top, *parts):
        if directory is not None:
            _writable(directory, "store of originals")
    return top, True


def _room(spots: Sequence[Spot], backup: bool, stores: dict[str, tuple[Directory, bool]]) -> None:
    """Raise CommitError where a file system has no room for the new files, their copies and what is kept of them."""
    sizes: dict[int, list[int]] = {}
    directories: dict[int, Directory] = {}

    def add(directory: Directory, data: bytes | None) -> None:
        if data is not None:
            device = os.fstat(directory.descriptor).st_dev
            directories.setdefault(device, directory)
            sizes.setdefault(device, []).append(len(data))

    for spot in spots:
        change = spot.change
        add(spot.directory, change.after.data)
        add(spot.directory, change.before.data if backup else None)
        if change.fact is not None:
            text = _store.dump(change.fact)
            if len(text) > _files.MAX_BYTES:
                message = "%s: expected edits of at most %d bytes, found %d: the store could not be read"
                raise CommitError(message % (spot.path, _files.MAX_BYTES, len(text)))
            store = stores[change.place.root][0]
            add(store, text)
            add(store, change.original)
    for store, there in stores.values():
        for _number in range(0 if there else _STORE_FILES):
            add(store, b"#")
    for device, directory in directories.items():
        system = os.fstatvfs(directory.descriptor)
        block = system.f_frsize or 1
        needed = sum(-(-size // block) for size in sizes[device]) * block
        free = (system.f_bfree if os.geteuid() == 0 else system.f_bavail) * block
        if system.f_blocks and free < needed:  # (one that tells no size at all has no limit that it tells)
            raise CommitError("%s: expected room for %d bytes, found %d" % (directory.path, needed, free))
        if system.f_files and system.f_ffree < len(sizes[device]):
            raise CommitError(
                "%s: expected %d free inodes, found %d" % (directory.path, len(sizes[device]), system.f_ffree)
            )


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
