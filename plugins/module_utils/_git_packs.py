# What git keeps of a file in a pack: the content of a blob, by the pack's index and deltas. Starts no git. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""The formats: gitformat-pack(5). Whoever may write to a repository may have made its packs: all is bounded."""

from __future__ import annotations

import os
import struct
import zlib
from typing import NamedTuple

from . import _files

_MOST_PACKS = 1000
_DEEPEST = 250  # deltas over each other: git makes 50, and old ones made 250
_MOST_NAMES = 64 * 1024 * 1024  # bytes of the names that share their first byte
_HEAD = 64  # bytes: more than an object's head takes
_PIECE = 64 * 1024
_BLOB, _BY_OFFSET, _BY_NAME = 3, 6, 7
_TABLE = 8 + 256 * 4  # bytes before the names: what says that it is an index, and how many names begin up to a byte


class Broken(ValueError):
    """Something that git does not write. It has no text: whoever reads a blob goes on without it."""


class _Pack(NamedTuple):
    table: int
    data: int
    """Descriptors."""


def read(objects: str, oid: str) -> bytes | None:
    """The content of a blob (its id in hex) in the packs of a directory of objects; None where none has it.

    Raises OSError where a pack cannot be read, and Broken, struct.error or zlib.error where it is not what git writes,
    or the blob is larger than 16 MiB.
    """
    with _files.open_directory(os.path.join(objects, "pack")) as directory:
        names = [name[: -len(".idx")] for name in directory.names() if name.endswith(".idx")]
        for name in sorted(names)[:_MOST_PACKS]:
            with directory.file(name + ".idx") as index, directory.file(name + ".pack") as data:
                pack = _Pack(index, data)
                at = _offset(pack, bytes.fromhex(oid))
                if at is not None:
                    return _blob(pack, at, len(oid) // 2)
    return None


def _offset(pack: _Pack, oid: bytes) -> int | None:
    """Where the index says that an object begins in its pack; None where it is not in there."""
    table = os.pread(pack.table, _TABLE, 0)
    if table[:8] != b"\xfftOc\0\0\0\2":
        raise Broken  # (no index of version 2)
    counts = struct.unpack(">256I", table[8:])
    size, total = len(oid), counts[255]
    first, end = counts[oid[0] - 1] if oid[0] else 0, counts[oid[0]]
    if not 0 <= (end - first) * size <= _MOST_NAMES:
        raise Broken  # (too many names)
    names = os.pread(pack.table, (end - first) * size, _TABLE + first * size)
    place = names.find(oid)
    while place > 0 and place % size:  # (across the border of two names)
        place = names.find(oid, place + 1)
    if place < 0:
        return None
    number = first + place // size
    offsets = _TABLE + total * (size + 4)  # (after the names and a checksum of each)
    (offset,) = struct.unpack(">I", os.pread(pack.table, 4, offsets + 4 * number))
    if not offset & 1 << 31:
        return int(offset)
    (large,) = struct.unpack(">Q", os.pread(pack.table, 8, offsets + 4 * total + 8 * (offset & ~(1 << 31))))
    return int(large)


def _blob(pack: _Pack, at: int, size: int) -> bytes:
    """The content of the blob that begins there (``size``: bytes of an object id): its deltas over what they are of."""
    deltas: list[bytes] = []
    left = 2 * _files.MAX_BYTES  # for all deltas together
    while True:
        head = os.pread(pack.data, _HEAD, at)
        kind, length, place = _head(head)
        if kind == _BLOB:
            data = _inflated(pack.data, at + place, length)
            break
        if kind == _BY_OFFSET:
            back, place = _back(head, place)
            base: int | None = at - back
        elif kind == _BY_NAME:
            base = _offset(pack, head[place : place + size])
            place += size
        else:
            raise Broken  # (no a blob)
        left -= length
        if base is None or base <= 0 or left < 0 or len(deltas) == _DEEPEST:
            raise Broken  # (no a delta over an object of the same pack)
        deltas.append(_inflated(pack.data, at + place, length))
        at = base
    for delta in reversed(deltas):
        data = _applied(delta, data)
    return data


def _head(head: bytes) -> tuple[int, int, int]:
    """Kind and length of an object, and how long its head is."""
    byte, place = head[0], 1
    kind, length, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        byte = head[place]
        length |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return kind, length, place


def _back(head: bytes, place: int) -> tuple[int, int]:
    """How far before a delta the object lies that it is of, and where what follows begins."""
    byte = head[place]
    value = byte & 0x7F
    while byte & 0x80:
        place += 1
        byte = head[place]
        value = (value + 1 << 7) + (byte & 0x7F)
    return value, place + 1


def _inflated(descriptor: int, at: int, length: int) -> bytes:
    if length > _files.MAX_BYTES:
        raise Broken  # (too large)
    inflate, found = zlib.decompressobj(), b""
    while len(found) <= length and not inflate.eof:
        piece = os.pread(descriptor, _PIECE, at)
        if not piece:
            raise Broken  # (it ends too early)
        at += len(piece)
        found += inflate.decompress(piece, length + 1 - len(found))
        at -= len(inflate.unconsumed_tail)
    if len(found) != length:
        raise Broken  # (another length than is told)
    return found


def _applied(delta: bytes, base: bytes) -> bytes:
    """What a delta makes of what it is of: copies of that, and bytes of its own."""
    before, place = _length(delta, 0)
    after, place = _length(delta, place)
    if before != len(base) or after > _files.MAX_BYTES:
        raise Broken  # (no a delta over another object)
    found = bytearray()
    while place < len(delta) and len(found) <= after:
        what, place = delta[place], place + 1
        if not what & 0x80:  # so many bytes of its own
            found += delta[place : place + what]
            place += what
            continue
        values = []
        for bits in (range(4), range(4, 7)):  # where the copy begins, and how long it is: the bytes that are not zero
            value = 0
            for number, bit in enumerate(bits):
                if what & 1 << bit:
                    value |= delta[place] << 8 * number
                    place += 1
            values.append(value)
        start, length = values[0], values[1] or 0x10000
        found += base[start : start + length]
    if len(found) != after:
        raise Broken  # (another length than is told)
    return bytes(found)


def _length(delta: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = delta[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place
