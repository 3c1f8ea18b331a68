# What git keeps of a file: the content of an object that is in no pack. No git is started. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import zlib

from . import _files, _git
from ._git import Checkout

_MAX_HEAD = 32  # bytes before the content: its kind and size


def read(checkout: Checkout, oid: str) -> bytes | None:
    """The content of an object (its id in hex).

    None where it is in a pack (which only git unpacks), is larger than 16 MiB, or cannot be had otherwise.
    """
    try:
        packed = _files.read(os.path.join(checkout.objects, oid[:2], oid[2:]))
        text = zlib.decompressobj().decompress(packed or b"", _files.MAX_BYTES + _MAX_HEAD)
    except (OSError, zlib.error):
        return None
    data = text.partition(b"\0")[2]
    return data if _git.matches(data, oid) else None
