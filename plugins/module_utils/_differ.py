# One open file, held against what was recorded of it, within what a call may use. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import time
from collections import Counter
from contextlib import suppress
from typing import Any, Iterable, NamedTuple

from . import _files, _git
from ._errors import SitePatchError

_PIECE = 256 * 1024  # bytes that are read at once
_LIBRARY = re.compile(r"\.(?:so(?:\.[0-9.]+)?|a|dylib|dll|pyd|cubin|fatbin)\Z")
_KINDS = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))


class Budget:
    """What one call may use. What is beyond it is not looked at, or not listed, and that is said."""

    def __init__(self, seconds: float, cpu: float, room: int) -> None:
        self.seconds = seconds
        self.cpu = cpu
        self.room = room
        """Bytes that the entries of all results may take, about."""
        self._deadline = time.monotonic() + seconds
        self._last = time.process_time() + cpu

    def check(self) -> None:
        """Raise Spent where nothing more may be looked at."""
        if time.monotonic() > self._deadline:
            raise Spent("the time limit of %g s was used up" % self.seconds)
        if time.process_time() > self._last:
            raise Spent("the limit of %g s of the processor was used up" % self.cpu)


class Spent(Exception):  # (no error: what is left is not looked at)
    """The budget is spent; the text says of what."""


class Wanted(NamedTuple):
    """What was recorded of a file."""

    digest: str
    """``algorithm=digest`` as RECORD has it, ``git=object id``, or nothing."""
    size: int | None
    seconds: int | None = None
    """Of git: the time of its last change."""

    @property
    def hexadecimal(self) -> str | None:
        """RECORD's SHA-256, or git's object id; None for what is neither."""
        algorithm, _equals, value = self.digest.partition("=")
        if algorithm == "git":
            return value
        if algorithm != "sha256" or len(value) != 43:
            return None
        try:
            return base64.urlsafe_b64decode(value + "=").hex()
        except ValueError:
            return None


def is_same(
    descriptor: int, info: os.stat_result, name: str, wanted: Wanted, libraries: bool, budget: Budget
) -> bool | None:
    """Whether an open file is as recorded; None where only its size was held against that.

    ``libraries``: whether compiled ones are read, too. Raises OSError where it cannot be read, and Spent.
    """
    if wanted.digest.startswith("git="):
        return _is_blob(descriptor, info, wanted.digest[len("git=") :], budget)
    if wanted.size is not None and info.st_size != wanted.size:
        return False
    if not wanted.digest or (_LIBRARY.search(name) and not libraries):
        return None
    algorithm, _equals, value = wanted.digest.partition("=")
    try:
        digest = _hash(descriptor, info.st_size, hashlib.new(algorithm), budget).digest()
    except (ValueError, TypeError):
        return None  # (an algorithm that is unknown, or whose digests have no length of their own)
    found = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return found == value if len(found) == len(value) else None  # (some build tools write it in hexadecimal)


def sha256(descriptor: int, info: os.stat_result, budget: Budget) -> str:
    """The SHA-256 (hex) of an open file. Raises OSError where it cannot be read, and Spent."""
    return str(_hash(descriptor, info.st_size, hashlib.sha256(), budget).hexdigest())


def _is_blob(descriptor: int, info: os.stat_result, oid: str, budget: Budget) -> bool:
    start = hashlib.new("sha256" if len(oid) == 64 else "sha1", b"blob %d\0" % info.st_size)
    if _hash(descriptor, info.st_size, start, budget).hexdigest() == oid:
        return True
    if info.st_size > _files.MAX_BYTES:
        return False
    return _git.matches(os.pread(descriptor, info.st_size + 1, 0), oid)  # (also with other newlines)


def _hash(descriptor: int, size: int, digest: Any, budget: Budget) -> Any:
    """The digest with the file's bytes in it: read in pieces, as a file may be larger than the memory."""
    at, most = 0, min(_PIECE, size + 1)
    while True:
        budget.check()
        piece = os.pread(descriptor, most, at)
        if not piece:
            return digest
        digest.update(piece)
        at += len(piece)


def copied(paths: Iterable[str], recorded: str, most: int) -> bytes | None:
    """What the first of these files with this SHA-256 (hex) holds; of files that are larger than ``most`` none."""
    for path in paths:
        with suppress(OSError, SitePatchError):
            text = _files.read(path, most)
            if text is not None and hashlib.sha256(text).hexdigest() == recorded:
                return text
    return None


def lines(original: bytes | None, text: bytes) -> dict[str, int]:
    """How many lines a text has more, and how many less, than its original; nothing without that.

    Lines that were only moved count as neither: this takes no longer for a text that was made to be hard to compare.
    """
    if original is None:
        return {}
    before, after = Counter(original.splitlines()), Counter(text.splitlines())
    return {"lines_added": sum((after - before).values()), "lines_removed": sum((before - after).values())}


def kind(info: os.stat_result) -> str:
    """What is there in the place of a regular file."""
    found = next((told for is_kind, told in _KINDS if is_kind(info.st_mode)), "something else")
    return "%s, expected a regular file" % found
