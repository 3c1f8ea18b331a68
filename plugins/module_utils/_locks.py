# Locks: a courtesy among runs of our own on the files and stores that they change, where the file system has any.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import Iterator

from ._files import Directory

SECONDS = 30.0  # how long one commit waits for the locks of its files, at most


@contextmanager
def hold(directory: Directory, name: str, deadline: float) -> Iterator[bool]:
    """Hold an advisory lock on a file, or on the directory itself (``"."``), and tell whether it is held.

    Only a courtesy among runs of our own: what makes the result right is that the file is read again and renamed.
    So a lock that somebody still holds at ``deadline`` (of time.monotonic()) is done without. (NFS grants an exclusive
    flock only on a descriptor open for writing, and none on a directory.)
    """
    descriptor, held = -1, False
    modes = [os.O_RDONLY, os.O_RDWR]
    try:
        while modes:
            try:
                if descriptor < 0:
                    descriptor = _open(directory, name, modes[0])
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = directory.leads_to(name, descriptor)
                if held or time.monotonic() > deadline:
                    break
                os.close(descriptor)  # who had the lock has put another file there
                descriptor = -1
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EINTR) and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                if descriptor >= 0:
                    os.close(descriptor)
                    descriptor = -1
                if error.errno != errno.EBADF:
                    break
                modes.pop(0)
        yield held
    finally:
        if descriptor >= 0:
            with suppress(OSError):  # (nothing was written by it)
                os.close(descriptor)


def _open(directory: Directory, name: str, access: int) -> int:
    if name == ".":
        return os.open(".", access | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory.descriptor)
    return directory.open_file(name, access)


class Locks:
    """The locks of one commit, held until the stack ends. One that is held already is not waited for."""

    def __init__(self, stack: ExitStack, deadline: float) -> None:
        self._stack = stack
        self._deadline = deadline
        self._directories: dict[tuple[int, int], bool] = {}

    def file(self, directory: Directory, name: str) -> bool:
        """Lock a file; whether it is held."""
        return self._stack.enter_context(hold(directory, name, self._deadline))

    def directory(self, directory: Directory) -> bool:
        """Lock a directory itself; whether it is held."""
        info = os.fstat(directory.descriptor)
        key = (info.st_dev, info.st_ino)
        if key not in self._directories:
            self._directories[key] = self.file(directory, ".")
        return self._directories[key]
