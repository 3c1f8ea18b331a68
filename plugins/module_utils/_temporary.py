# New files while they are not yet in their place: their hidden names, and what killed runs left of them.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
from contextlib import suppress

from . import _locks
from ._files import SUFFIX, Directory

HOST = re.sub(r"[^\w-]", "_", os.uname().nodename)[:64]  # a part of the names, which dots divide
DEAD_SECONDS = 3600.0  # no run takes as long: what is of that age was left by one that was killed
_LONGEST = 120  # bytes of a name that its hidden name holds; a directory's entry has 255 at most
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # what file systems without hard links say


def create(directory: Directory, name: str) -> tuple[int, str]:
    """A new hidden file of mode 0600 for what is to be ``name``: its descriptor (for writing) and its own name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        made = hidden(name)
        with suppress(FileExistsError):
            return os.open(made, flags, 0o600, dir_fd=directory.descriptor), made


def hidden(name: str) -> str:
    """A hidden name for what is, or was, ``name``; it tells the host."""
    return ".%s.%s.%s%s" % (_label(name), HOST, os.urandom(4).hex(), SUFFIX)


def put(directory: Directory, temporary: str, name: str) -> None:
    """Put a finished file in its place; it is gone where that fails."""
    try:
        directory.rename(temporary, name)
    except OSError:
        directory.unlink(temporary)
        raise


def add(directory: Directory, temporary: str, name: str) -> bool:
    """Put a finished file where there must be none; False where there is one, which then stays as it is."""
    try:
        directory.link(temporary, name)
    except OSError as error:
        # (A file server's answer may be lost: the same inode says that it was done.)
        if not same(directory, temporary, name):
            if directory.stat(name) is not None:
                return False
            if error.errno not in _NO_LINKS:
                raise
            directory.rename(temporary, name)
            return True
    directory.unlink(temporary)
    return True


def same(directory: Directory, one: str, other: str) -> bool:
    """Whether two names are of one file."""
    found, there = directory.stat(one), directory.stat(other)
    return found is not None and there is not None and os.path.samestat(found, there)


def sweep(directory: Directory, name: str | None, held: bool) -> None:
    """Remove the new files for ``name`` (None: for any) that runs which were killed have left in a directory.

    Under the lock of what they are for (``held``), one that this host made is dead when nobody has locked it. Of other
    hosts, which a lock may not reach (NFS with nolock, Lustre with localflock), and without locks, only age tells.
    """
    label = ".+" if name is None else re.escape(_label(name))
    pattern = re.compile(r"\.%s\.([\w-]+)\.\w+%s" % (label, re.escape(SUFFIX)), re.DOTALL)
    for entry in directory.names():
        match = pattern.fullmatch(entry)
        info = directory.stat(entry) if match is not None else None
        if match is None or info is None or not stat.S_ISREG(info.st_mode):
            continue
        with suppress(OSError), _locks.hold(directory, entry, 0.0) as free:
            # (one that was linked, and still has its hidden name as well, is locked with what it is for)
            dead = held and match.group(1) == HOST and (free or (name is not None and same(directory, entry, name)))
            if dead or time.time() - info.st_mtime > DEAD_SECONDS:
                directory.unlink(entry)


def _label(name: str) -> str:
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST:
        return name
    return hashlib.sha256(encoded).hexdigest()
