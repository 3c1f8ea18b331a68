# Bytecode beside a module that is edited: taken away with it, and made anew in its own invalidation mode.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
import marshal
import os
import stat
import struct
import sys
from contextlib import suppress
from typing import Iterator, NamedTuple, Sequence

from . import _edits
from ._errors import CommitError, Conflict
from ._files import Directory


class Bytecode(NamedTuple):
    """One .pyc file as it was."""

    name: str
    """In the directory of bytecode."""
    data: bytes
    """Empty where it cannot be read."""
    level: int | None
    """Optimisation level when it is this interpreter's own, None when it is another one's."""


def names(cache: Directory, name: str) -> Iterator[tuple[str, int | None]]:
    """The .pyc files of a module, of all interpreters and optimisation levels, with the level of this interpreter's."""
    stem = name[: -len(".py")]
    own = {"": 0, "opt-1": 1, "opt-2": 2}
    try:
        found = cache.names()
    except OSError as error:
        raise CommitError(
            "%s: expected a readable directory of bytecode, found: %s" % (cache.path, error.strerror)
        ) from None
    for each in found:
        base, _dot, tag = each[: -len(".pyc")].partition(".")
        if each.endswith(".pyc") and base == stem:
            tag, _dot, level = tag.partition(".")
            yield each, own.get(level) if tag == sys.implementation.cache_tag else None


def read(cache: Directory | None, name: str) -> list[Bytecode]:
    """The .pyc files beside a module, as they are; links and other oddities among them have no data."""
    found: list[Bytecode] = []
    for each, level in names(cache, name) if cache is not None else ():
        info = cache.stat(each) if cache is not None else None
        if cache is None or info is None or stat.S_ISDIR(info.st_mode):
            continue
        data = b""
        with suppress(OSError):
            content = cache.read(each) if stat.S_ISREG(info.st_mode) else None
            data = content.data if content is not None else b""
        found.append(Bytecode(each, data, level))
    return found


def is_unchecked(cache: Directory, name: str) -> bool:
    """Whether a .pyc is used without a look at its source (PEP 552)."""
    header = cache.head(name, 8)
    return header is not None and len(header) == 8 and struct.unpack("<I", header[4:])[0] & 3 == 1


def remake(
    cache: Directory | None, path: str, text: bytes, like: os.stat_result, old: Sequence[Bytecode], tag: str
) -> None:
    """Make this interpreter's own .pyc files anew, each in the invalidation mode that it had (PEP 552).

    Where one cannot be made, it stays away: the next import compiles the module, as it would have without us.
    ``path`` and ``like``: of the module; ``tag``: goes into the names of unfinished files.
    """
    for each in old:
        if each.level is None or cache is None:
            continue
        try:
            mode = struct.unpack("<I", each.data[4:8])[0]
            if mode & 1:
                key = importlib.util.source_hash(text)
            else:
                key = struct.pack("<II", int(like.st_mtime) & 0xFFFFFFFF, len(text) & 0xFFFFFFFF)
            code = _edits.code(text, path, each.level)
            data = importlib.util.MAGIC_NUMBER + struct.pack("<I", mode) + key + marshal.dumps(code)
        except (struct.error, Conflict):
            continue  # (an original need not compile)
        put(cache, each.name, data, like, tag)


def put(cache: Directory, name: str, data: bytes, like: os.stat_result, tag: str) -> None:
    """Write a .pyc file with the owner of the source and its mode less the execute bits; nothing where that fails."""
    with suppress(OSError, CommitError):
        descriptor, temporary = cache.create("%s.%s" % (name, tag))
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                made = os.fstat(descriptor)
                if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                    os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode) & 0o666)
            cache.rename(temporary, name)
        except BaseException:
            cache.unlink(temporary)
            raise
