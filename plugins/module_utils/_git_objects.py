# What git keeps of a file: the content of an object, loose or in a pack. No git is started. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import struct
import zlib

from . import _files, _git, _git_packs
from ._git import Checkout

_MAX_HEAD = 32  # bytes before the content: its kind and size


def read(checkout: Checkout, oid: str) -> bytes | None:
    """The content of a blob (its id in hex).

    None where it is larger than 16 MiB, in another repository (``info/alternates``), or cannot be had otherwise.
    """
    try:
        data = _loose(checkout.objects, oid)
        data = _git_packs.read(checkout.objects, oid) if data is None else data
    except (OSError, ValueError, IndexError, struct.error, zlib.error):  # (as in ``_git.indexed``)
        return None
    return data if data is not None and _git.matches(data, oid) else None


def _loose(objects: str, oid: str) -> bytes | None:
    packed = _files.read(os.path.join(objects, oid[:2], oid[2:]))
    if packed is None:
        return None
    text = zlib.decompressobj().decompress(packed, _files.MAX_BYTES + _MAX_HEAD)
    return text.partition(b"\0")[2]
