# The edit `replace`: literal text before and after, with the exact number of occurrences. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from typing import NamedTuple

from ._edits import Target, line
from ._errors import Conflict


class Replace(NamedTuple):
    """Replace each of so many occurrences of ``before`` by ``after``, whichever newline the file has."""

    before: str
    after: str
    occurrences: int = 1

    def do(self, text: bytes, owner: str, revision: int, target: Target) -> bytes:
        """The text with ``after``. Raises Conflict when ``before`` is not there exactly so often."""
        before, after = (_encode(part, text) for part in (self.before, self.after))
        found = _find(text, before)
        if len(found) != self.occurrences:
            also = _find(text, after)
            raise Conflict(
                "expected %s of %r, found %d%s%s"
                % (
                    "%d occurrences" % self.occurrences if self.occurrences > 1 else "one occurrence",
                    _short(self.before),
                    len(found),
                    _lines(text, found),
                    ", and %d of what replaces it%s" % (len(also), _lines(text, also)) if also else "",
                )
            )
        return text.replace(before, after)

    def undo(self, text: bytes, owner: str) -> bytes | None:
        """The text with ``before`` again; None when ``after`` is not there exactly so often."""
        before, after = (_encode(part, text) for part in (self.before, self.after))
        return text.replace(after, before) if len(_find(text, after)) == self.occurrences else None


def _encode(part: str, text: bytes) -> bytes:
    """The part as it stands in ``text``: with CRLF where that is the file's newline."""
    part = part.replace("\r\n", "\n")
    return (part.replace("\n", "\r\n") if b"\r\n" in text else part).encode("utf-8")


def _find(text: bytes, part: bytes) -> list[int]:
    """Offsets of all occurrences, overlapping ones too: those leave no doubt only where there are none."""
    return [match.start() for match in re.finditer(b"(?=%s)" % re.escape(part), text)]


def _lines(text: bytes, offsets: list[int]) -> str:
    numbers = [str(line(text, offset)) for offset in offsets[:10]]
    return " (line%s %s)" % ("s" if len(numbers) > 1 else "", ", ".join(numbers)) if numbers else ""


def _short(part: str) -> str:
    return part if len(part) <= 80 else part[:77] + "..."
