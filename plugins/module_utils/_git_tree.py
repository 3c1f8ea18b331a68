# What git has of a directory of a checkout: its files, and their content where it is in no pack. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import struct
import zlib

from . import _files, _git

_MAX_HEAD = 32  # bytes before the content of an object: its kind and size


def files(directory: str) -> dict[str, tuple[str, bool]]:
    """Object id (hex) and executable bit of each file that git's index has below a directory, by its path from there.

    None are told where ``_git.indexed`` tells of none.
    """
    real = os.path.realpath(directory)
    found: dict[str, tuple[str, bool]] = {}
    try:
        index = _git.find(real)
        if index is None or not index.is_whole:
            return {}
        below = os.fsencode(os.path.join(os.path.relpath(real, index.top), "")) if real != index.top else b""
        for name, at, flags in _git.entries(index):
            file = _git.file(index, at, flags) if name.startswith(below) else None
            if file is not None:
                found[os.fsdecode(name[len(below) :])] = file
    except (OSError, ValueError, IndexError, struct.error):
        return {}
    return found


def content(directory: str, oid: str) -> bytes | None:
    """The content of an object in the repository of the checkout that a directory lies in.

    None where it is in a pack (which only git unpacks), is larger than 16 MiB, or cannot be had otherwise.
    """
    try:
        index = _git.find(os.path.realpath(directory))
        if index is None:
            return None
        packed = _files.read(os.path.join(_git.common(index.repository), "objects", oid[:2], oid[2:]))
        text = zlib.decompressobj().decompress(packed or b"", _files.MAX_BYTES + _MAX_HEAD)
    except (OSError, ValueError, zlib.error):
        return None
    data = text.partition(b"\0")[2]
    return data if _git.matches(data, oid) else None
