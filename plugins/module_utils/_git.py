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


def indexed(path: str) -> str | None:
    """The object id (hex) that the index of its checkout has for a file; None where there is no such entry.

    Links are followed. A checkout, worktree or submodule is looked for from the file's directory upwards. None as well
    where git could not vouch for the file: a merge that is not done yet, an entry without content, an index that is
    damaged, larger than 64 MiB or not to be read by this process, or a repository of somebody else.
    """
    real = os.path.realpath(path)
    try:
        index = find(os.path.dirname(real))
        oid = _entry(index, os.fsencode(os.path.relpath(real, index.top))) if index is not None else None
        whole = oid is not None and index is not None and index.is_whole
    except (OSError, ValueError, IndexError, struct.error):
        # Nothing here goes up: git is one more proof that a file is as it was, and never needed. Where its repository
        # cannot be read or understood, the file is what it is without one.
        return None
    return oid if whole else None


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


class Index(NamedTuple):
    """The index of a checkout."""

    data: bytes
    top: str
    """The directory that its names count from."""
    repository: str
    algorithm: str
    """The hash function of the repository."""

    @property
    def size(self) -> int:
        """How many bytes an object id has."""
        return hashlib.new(self.algorithm).digest_size

    @property
    def is_whole(self) -> bool:
        """Whether the checksum at its end is right; git may be told to write none (index.skipHash)."""
        written = self.data[-self.size :]
        if written == bytes(self.size):
            return True
        return hashlib.new(self.algorithm, memoryview(self.data)[: -self.size]).digest() == written


def find(directory: str) -> Index | None:
    """The index of the checkout that a directory (a real path) lies in; None as for ``indexed``. Raises OSError."""
    found = _checkout(directory)
    if found is None:
        return None
    data = _files.read(os.path.join(found[1], "index"), _MAX_INDEX)
    algorithm = _algorithm(found[1])
    return None if data is None or algorithm is None else Index(data, *found, algorithm)


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
    text = _files.read(os.path.join(common(directory), "config"), _MAX_TEXT) or b""
    section, algorithm = "", "sha1"
    for line in text.decode("utf-8", "replace").split("\n"):
        head = _SECTION.match(line)
        section = head[1].lower() if head else section
        value = _FORMAT.match(line)
        if section == "extensions" and value:
            algorithm = value[1].lower()
    return algorithm if algorithm in ("sha1", "sha256") else None


def common(directory: str) -> str:
    """Where a repository has its configuration and objects: that of a worktree, in the one that it is of."""
    said = _files.read(os.path.join(directory, "commondir"), _MAX_TEXT)
    return directory if said is None else os.path.join(directory, os.fsdecode(said.rstrip(b"\r\n")))


def _entry(index: Index, wanted: bytes) -> str | None:
    """The object id of a path's entry; entries are in the order of their paths. Raises as ``entries``."""
    for name, at, flags in entries(index):
        if name == wanted and not flags & _STAGE:
            found = file(index, at, flags)
            return found[0] if found is not None else None
        if name > wanted:
            break
    return None


def entries(found: Index) -> Iterator[tuple[bytes, int, int]]:
    """The name of each entry, where it begins, and its flags.

    Raises ValueError, IndexError or struct.error where the index is not what git writes.
    """
    index, size = found.data, found.size
    signature, version, count = struct.unpack_from(">4sII", index)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("no index of a version that is known")
    name, at, flags_at, end = b"", 12, 40 + size, len(index) - size
    for _number in range(count):
        start = at + flags_at + 2  # of the name, after times, owner, mode, size, object id and flags
        flags = index[start - 2] << 8 | index[start - 1]
        start += 2 if flags & _EXTENDED else 0
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
        yield name, at, flags
        at = following


def file(found: Index, at: int, flags: int) -> tuple[str, bool] | None:
    """Object id and executable bit of an entry; None for what is no file, is in a merge, or has no content."""
    index, size = found.data, found.size
    mode = struct.unpack_from(">I", index, at + 24)[0]
    more = struct.unpack_from(">H", index, at + 42 + size)[0] if flags & _EXTENDED else 0
    if flags & _STAGE or mode & 0o170000 != _REGULAR or more & _INTENDED:  # (git add --intent-to-add: no content yet)
        return None
    return index[at + 40 : at + 40 + size].hex(), bool(mode & 0o100)


def _number_at(index: bytes, at: int) -> tuple[int, int]:
    """A number of variable length as git writes it for an offset, and where it ends."""
    value = index[at] & 0x7F
    while index[at] & 0x80:
        at += 1
        value = (value + 1 << 7) + (index[at] & 0x7F)
    return value, at + 1
