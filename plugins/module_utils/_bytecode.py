# Bytecode beside a module that changes: old .pyc files go before it does, this interpreter's own are made anew.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
import marshal
import os
import stat
import struct
import sys
from contextlib import ExitStack, suppress
from typing import Iterator, NamedTuple, Sequence

from . import _edits, _files, _temporary
from ._errors import CommitError, Conflict
from ._files import Directory

_LEVELS = {"": 0, "opt-1": 1, "opt-2": 2}


class Bytecode(NamedTuple):
    """One .pyc file as it was."""

    name: str
    """In the directory of bytecode."""
    data: bytes
    """Empty where it cannot be read."""
    level: int | None
    """Optimisation level when it is this interpreter's own, None when it is another one's."""


class Cache(NamedTuple):
    """The bytecode of one module."""

    source: Directory
    """The directory of the module."""
    name: str
    """Of the module, ``api.py``."""
    path: str
    """Of the module, as its code tells it."""
    directory: Directory | None = None
    """The ``__pycache__``; None where there is none, or one that is not ours to touch."""
    note: str = ""
    """What is to be said of a ``__pycache__`` that is not touched."""

    def names(self) -> Iterator[tuple[str, int | None]]:
        """The .pyc files of all interpreters and optimisation levels, with the level of this interpreter's."""
        if self.directory is not None:
            yield from _names(self.directory, self.name)

    def read(self) -> Iterator[Bytecode]:
        """The .pyc files as they are; links and other oddities among them have no data."""
        for name, level in self.names():
            info = self.directory.stat(name)  # type: ignore[union-attr]  # (without a directory there are no names)
            if info is None or stat.S_ISDIR(info.st_mode):
                continue
            data = b""
            with suppress(OSError):
                content = self.directory.read(name) if stat.S_ISREG(info.st_mode) else None  # type: ignore[union-attr]
                data = content.data if content is not None else b""
            yield Bytecode(name, data, level)

    def remove(self, found: Sequence[Bytecode]) -> None:
        """Take .pyc files away. Raises OSError."""
        for old in found:
            self.directory.unlink(old.name)  # type: ignore[union-attr]

    def restore(self, found: Sequence[Bytecode]) -> None:
        """Write those again that are gone, as they were; one that cannot be written stays away."""
        for old in found:
            if old.data and self.directory is not None and self.directory.stat(old.name) is None:
                self._write(old.name, old.data)

    def remake(self, text: bytes, found: Sequence[Bytecode]) -> None:
        """Make this interpreter's own anew, each in the invalidation mode that it had (PEP 552).

        Where one cannot be made, it stays away: the next import compiles the module, as it would have without us.
        """
        for old in found:
            if old.level is None:
                continue
            try:
                mode = struct.unpack("<I", old.data[4:8])[0]
                if mode & 1:
                    key = importlib.util.source_hash(text)
                else:
                    entry = os.stat(self.name, dir_fd=self.source.descriptor, follow_symlinks=False)
                    key = struct.pack("<II", int(entry.st_mtime) & 0xFFFFFFFF, len(text) & 0xFFFFFFFF)
                code = _edits.code(text, self.path, old.level)
                data = importlib.util.MAGIC_NUMBER + struct.pack("<I", mode) + key + marshal.dumps(code)
            except (OSError, struct.error, Conflict):
                continue  # (an original need not compile)
            self._write(old.name, data)

    def _write(self, name: str, data: bytes) -> None:
        """A .pyc with the owner of the source and its mode less the execute bits."""
        if self.directory is None:
            return
        with suppress(OSError):
            like = os.stat(self.name, dir_fd=self.source.descriptor, follow_symlinks=False)
            descriptor, temporary = _temporary.create(self.directory, self.name)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    made = os.fstat(descriptor)
                    if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                        os.fchown(descriptor, like.st_uid, like.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(like.st_mode) & 0o666)
            except BaseException:
                self.directory.unlink(temporary)
                raise
            _temporary.put(self.directory, temporary, name)


def open_cache(source: Directory, name: str, path: str, owner: int, stack: ExitStack) -> Cache:
    """Hold the bytecode of a file open until the stack ends. ``owner``: whose the file is.

    Raises CommitError where Python would go on using old bytecode that is not ours to touch, and OSError.
    """
    cache = Cache(source, name, path)
    if not name.endswith(".py"):
        return cache
    found = source.stat("__pycache__")
    if found is None or not (stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        return cache
    if stat.S_ISLNK(found.st_mode) or found.st_uid != owner:
        return cache._replace(note=_untouched(cache, found))
    try:
        directory = source.open("__pycache__")
    except OSError as error:
        message = "%s: expected a readable directory of bytecode, found: %s"
        raise CommitError(message % (source.join("__pycache__"), error.strerror)) from None
    return cache if directory is None else cache._replace(directory=stack.enter_context(directory))


def _untouched(cache: Cache, found: os.stat_result) -> str:
    """What is to be said of a directory of bytecode that is a link or somebody else's, and is left alone.

    Raises CommitError where Python would go on using old bytecode in it without a look at the source.
    """
    path = cache.source.join("__pycache__")
    what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "of user %d" % found.st_uid
    try:
        with _files.open_directory(path) as directory:
            names = [name for name, _level in _names(directory, cache.name)]
            unchecked = [name for name in names if _is_unchecked(directory, name)]
    except (FileNotFoundError, NotADirectoryError):
        return ""  # (a link that leads to nothing)
    except OSError as error:
        raise CommitError(
            "%s: expected a directory of bytecode of the owner of %s, found one that is %s and cannot be read (%s). "
            "Remove it; nothing was written" % (path, cache.name, what, error.strerror)
        ) from error
    if unchecked:
        raise CommitError(
            "%s: expected a directory of bytecode of the owner of %s, found one that is %s; Python would go on "
            "using %s in it without a look at the source. Remove it; nothing was written"
            % (path, cache.name, what, unchecked[0])
        )
    return "%s is %s: not touched" % (path, what) if names else ""


def _is_unchecked(directory: Directory, name: str) -> bool:
    """Whether a .pyc is used without a look at its source (PEP 552)."""
    header = directory.head(name, 8)
    return header is not None and len(header) == 8 and struct.unpack("<I", header[4:])[0] & 3 == 1


def _names(directory: Directory, name: str) -> Iterator[tuple[str, int | None]]:
    stem = name[: -len(".py")]
    try:
        names = directory.names()
    except OSError as error:
        raise CommitError(
            "%s: expected a readable directory of bytecode, found: %s" % (directory.path, error.strerror)
        ) from None
    for each in names:
        base, _dot, tag = each[: -len(".pyc")].partition(".")
        if each.endswith(".pyc") and base == stem:
            tag, _dot, level = tag.partition(".")
            yield each, _LEVELS.get(level) if tag == sys.implementation.cache_tag else None
