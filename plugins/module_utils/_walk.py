# A walk through directories below one that is held open, none of them behind a link. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
from typing import Iterable, NamedTuple

from ._files import Directory

_DEEPEST = 64  # directories below each other; each is held open


class Blocked(Exception):
    """The way to a directory leads through what is no directory."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        """Below the top."""
        self.reason = reason


class Listing(NamedTuple):
    """The names in a directory."""

    names: tuple[str, ...]
    whole: bool
    """Whether these are all."""


class Walk:
    """A walk below a directory: what is common to the ways to two directories is opened once."""

    def __init__(self, top: Directory) -> None:
        self._top = top
        self._open: list[tuple[str, Directory]] = []

    def __enter__(self) -> Walk:  # noqa: PYI034 (typing.Self came with Python 3.11)
        return self

    def __exit__(self, *_error: object) -> None:
        self._close(0)
        self._top.close()

    def to(self, path: str) -> Directory | None:
        """Hold a directory open until the next call; None where there is none (``path``: below the top, with slashes).

        Raises Blocked where a link is on the way, and OSError where it cannot be entered, or lies too deep.
        """
        names = path.split("/") if path else []
        if len(names) > _DEEPEST:
            raise OSError(errno.ENAMETOOLONG, "more than %d directories below each other" % _DEEPEST, path)
        same = 0
        while same < min(len(names), len(self._open)) and self._open[same][0] == names[same]:
            same += 1
        self._close(same)
        for name in names[same:]:
            above = self._open[-1][1] if self._open else self._top
            try:
                directory = above.open(name)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    below = "/".join([*(each for each, _directory in self._open), name])
                    target = os.readlink(name, dir_fd=above.descriptor)
                    raise Blocked(below, "a link to %s, expected a directory" % target) from None
                raise
            if directory is None:
                return None
            self._open.append((name, directory))
        return self._open[-1][1] if self._open else self._top

    def _close(self, count: int) -> None:
        while len(self._open) > count:
            self._open.pop()[1].close()


def listing(directory: Directory, most: int) -> Listing:
    """At most so many names of a directory, sorted. Raises OSError where it cannot be read."""
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory.descriptor)
    with Directory(descriptor, directory.path), os.scandir(descriptor) as entries:
        names: list[str] = []
        for entry in entries:
            if len(names) >= most:
                return Listing(tuple(sorted(names)), whole=False)
            names.append(entry.name)
    return Listing(tuple(sorted(names)), whole=True)


def in_order(paths: Iterable[str]) -> list[str]:
    """Paths of directories in the order in which a walk opens each but once."""
    return sorted(paths, key=lambda path: path.split("/"))
