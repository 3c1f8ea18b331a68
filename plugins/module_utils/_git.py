# What git's index says of a file: the bytes that were checked out, added or committed. No git is started. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""The formats: gitrepository-layout(5), gitformat-index(5), and "Object names" of git's hash-function-transition."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from typing import Iterator, NamedTuple

from . import _files

_MAX_INDEX = 64 * 1024 * 1024  # bytes; that of half a million files
_MAX_TEXT = 64 * 1024  # bytes of a .git file or of a repository's configuration
_REGULAR = 0o100000  # the kind of an entry: not a link, not a submodule
_EXTENDED, _STAGE, _LENGTH, _INTENDED = 0x4000, 0x3000, 0x0FFF, 0x2000  # of an entry's flags
_SECTION = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_FORMAT = re.compile(r"(?:\s*\[[^\]]*\])?\s*objectformat\s*=\s*\"?(\w+)", re.IGNORECASE)


class Entry(NamedTuple):
    """What the index has of one regular file."""

    oid: str
    size: int
    """Bytes in the working tree when git last looked, modulo 2^32."""
    seconds: int
    """The time of the last change then (mtime), in whole seconds since the epoch, modulo 2^32."""
    executable: bool


class Checkout(NamedTuple):
    """A checkout, worktree or submodule."""

    top: str
    algorithm: str
    """sha1 or sha256."""
    files: dict[str, Entry]
    """By their paths below the top, with forward slashes."""
    objects: str
    """The directory of its objects."""


class _Index(NamedTuple):
    """An index as it was read."""

    top: str
    repository: str
    data: bytes
    algorithm: str


def checkout(directory: str) -> Checkout | None:
    """All regular files that the index around a directory lists; None where ``indexed`` would vouch for none."""
    try:
        found = _index_of(os.path.realpath(directory))
        if found is None or not _is_whole(found.data, found.algorithm):
            return None
        objects = os.path.join(_common(found.repository), "objects")
        size = hashlib.new(found.algorithm).digest_size
        files = {os.fsdecode(name): entry for name, entry in _entries(found.data, size) if entry}
    except (OSError, ValueError, IndexError, struct.error):  # (as in ``indexed``)
        return None
    return Checkout(found.top, found.algorithm, files, objects)


def indexed(path: str) -> str | None:
    """The object id (hex) that the index of its checkout has for a file; None where there is no such entry.

    Links are followed. A checkout, worktree or submodule is looked for from the file's directory upwards. None as well
    where git could not vouch for the file: a merge that is not done yet, an entry without content, an index that is
    damaged, larger than 64 MiB or not to be read by this process, or a repository of somebody else.
    """
    real = os.path.realpath(path)
    try:
        found = _index_of(os.path.dirname(real))
        if found is None:
            return None
        name = os.fsencode(os.path.relpath(real, found.top))
        oid = _entry(found.data, name, hashlib.new(found.algorithm).digest_size)
        return oid if oid is not None and _is_whole(found.data, found.algorithm) else None
    except (OSError, ValueError, IndexError, struct.error):
        # Nothing here goes up: git is one more proof that a file is as it was, and never needed. Where its repository
        # cannot be read or understood, the file is what it is without one.
        return None


def matches(data: bytes, oid: str) -> bool:
    """Whether a file's bytes are those of an object (its id in hex, SHA-1 or SHA-256), also with LF made CRLF.

    That is what git's core.autocrlf and the attributes text and eol do when a file is checked out.
    """
    texts = [data, data.replace(b"\r\n", b"\n")] if b"\r\n" in data else [data]
    algorithm = "sha256" if len(oid) == 64 else "sha1"
    try:
        return any(hashlib.new(algorithm, b"blob %d\0%s" % (len(text), text)).hexdigest() == oid for text in texts)
    except ValueError:  # a system that forbids SHA-1
        return False


def _index_of(directory: str) -> _Index | None:
    """The index of the checkout around a directory. Raises OSError and ValueError."""
    found = _checkout(directory)
    if found is None:
        return None
    top, repository = found
    data, algorithm = _files.read(os.path.join(repository, "index"), _MAX_INDEX), _algorithm(repository)
    return None if data is None or algorithm is None else _Index(top, repository, data, algorithm)


def _checkout(directory: str) -> tuple[str, str] | None:
    """The top of the checkout that a directory lies in, and its repository; None where there is none to be trusted.

    As for git (safe.directory), whose repository it is matters: in a directory above, anybody may have made one that
    lists this file. It must be that of root or of whom the file's directory belongs to.
    """
    owner = os.stat(directory).st_uid
    top = directory
    while True:
        entry = os.path.join(top, ".git")
        found = _files.look(entry, follow=False)
        if found is not None:
            break
        if top == os.path.dirname(top):
            return None
        top = os.path.dirname(top)
    if found.st_uid not in (0, owner):
        return None
    if _files.kind(entry) == "directory":
        return top, entry
    said = _files.read(entry, _MAX_TEXT) or b""  # of a worktree or a submodule
    if not said.startswith(b"gitdir: "):
        return None
    return top, os.path.join(top, os.fsdecode(said[len(b"gitdir: ") :].rstrip(b"\r\n")))


def _algorithm(directory: str) -> str | None:
    """The hash function of a repository; None for one that is not known. A worktree's is that of the repository."""
    text = _files.read(os.path.join(_common(directory), "config"), _MAX_TEXT) or b""
    section, algorithm = "", "sha1"
    for line in text.decode("utf-8", "replace").split("\n"):
        head = _SECTION.match(line)
        section = head[1].lower() if head else section
        value = _FORMAT.match(line)
        if section == "extensions" and value:
            algorithm = value[1].lower()
    return algorithm if algorithm in ("sha1", "sha256") else None


def _common(repository: str) -> str:
    """Where a repository has its configuration and objects: that of a worktree, in the one that it is of."""
    said = _files.read(os.path.join(repository, "commondir"), _MAX_TEXT)
    return repository if said is None else os.path.join(repository, os.fsdecode(said.rstrip(b"\r\n")))


def _is_whole(index: bytes, algorithm: str) -> bool:
    """Whether the checksum at the end of an index is right; git may be told to write none (index.skipHash)."""
    size = hashlib.new(algorithm).digest_size
    written = index[-size:]
    return written == bytes(size) or hashlib.new(algorithm, memoryview(index)[:-size]).digest() == written


def _entry(index: bytes, wanted: bytes, size: int) -> str | None:
    """The object id (``size`` bytes) of a path's entry; entries are in the order of their paths. Raises as _entries."""
    for name, entry in _entries(index, size):
        if name == wanted:
            return None if entry is None else entry.oid
        if name > wanted:
            break
    return None


def _entries(index: bytes, size: int) -> Iterator[tuple[bytes, Entry | None]]:
    """Path and entry (``size``: bytes of an object id) of all that is at stage 0; None for what is no regular file.

    Raises ValueError, IndexError or struct.error where the index is not what git writes.
    """
    signature, version, count = struct.unpack_from(">4sII", index)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("no index of a version that is known")
    name, at, flags_at, end = b"", 12, 40 + size, len(index) - size
    for _number in range(count):
        start = at + flags_at + 2  # of the name, after times, owner, mode, size, object id and flags
        flags = index[start - 2] << 8 | index[start - 1]
        extended = flags & _EXTENDED
        start += 2 if extended else 0
        if version == 4:  # how much of the name before is dropped, and what follows
            drop, start = _number_at(index, start)
            stop = index.index(b"\0", start, end)
            if drop > len(name):
                raise ValueError("a name shorter than nothing")
            name = name[: len(name) - drop] + index[start:stop]
            following = stop + 1
        else:
            length = flags & _LENGTH
            stop = start + length if length < _LENGTH else index.index(b"\0", start, end)
            name = index[start:stop]
            following = at + (stop - at + 8 & ~7)  # 1 to 8 zeros, up to the next multiple of 8
        if following > end:
            raise ValueError("an entry beyond the end")
        if not flags & _STAGE:
            mode, length = struct.unpack_from(">I", index, at + 24)[0], struct.unpack_from(">I", index, at + 36)[0]
            more = struct.unpack_from(">H", index, at + flags_at + 2)[0] if extended else 0
            regular = mode & 0o170000 == _REGULAR and not more & _INTENDED  # (git add --intent-to-add: no content yet)
            seconds = struct.unpack_from(">I", index, at + 8)[0]
            oid, executable = index[at + 40 : at + flags_at].hex(), bool(mode & 0o100)
            yield name, Entry(oid, length, seconds, executable) if regular else None
        at = following


def _number_at(index: bytes, at: int) -> tuple[int, int]:
    """A number of variable length as git writes it for an offset, and where it ends."""
    value = index[at] & 0x7F
    while index[at] & 0x80:
        at += 1
        value = (value + 1 << 7) + (index[at] & 0x7F)
    return value, at + 1
