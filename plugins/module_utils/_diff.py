# The edit `diff`: what a unified or git diff does to one file, with zero fuzz. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from ._edits import ABSENT, ESCAPED, Target, Text, content, encode, encoding
from ._errors import Conflict

_SHOWN = 80  # characters of a line that a message quotes
NO_NEWLINE = "\\ No newline at end of file"
_OLD, _NEW = " -", " +"  # the kinds of lines that a side of a hunk has


class Hunk(NamedTuple):
    """One hunk: its lines, each with its kind (blank, ``-`` or ``+``) first; without a newline where it has none."""

    before_line: int
    after_line: int
    lines: tuple[str, ...]

    def side(self, kinds: str) -> list[str]:
        """The lines of the side before or after, without their kind."""
        return [each[1:] for each in self.lines if each[0] in kinds]

    @property
    def is_exact(self) -> bool:
        """Whether the diff tells CRLF from LF; else a line has whichever newline the file's own has."""
        return any(each.endswith("\r\n") for each in self.lines)

    @property
    def text(self) -> str:
        """The hunk as a diff has it."""
        counts = [len(self.side(kinds)) for kinds in (_OLD, _NEW)]
        head = "@@ -%d,%d +%d,%d @@\n" % (self.before_line, counts[0], self.after_line, counts[1])
        return head + "".join(each if each.endswith("\n") else each + "\n" + NO_NEWLINE + "\n" for each in self.lines)


class Diff(NamedTuple):
    """Hunks whose old lines must be in the file exactly, once, wherever that is; or else at the very line they name."""

    file: str
    hunks: tuple[Hunk, ...] = ()
    source: str | None = None
    """The file that it is made from, where that is another one: of a rename or a copy."""
    creates: bool = False
    """Whether there was no file."""
    removes: bool = False
    """Whether there is none afterwards."""
    executable: bool | None = None
    """The executable bit afterwards; None: as it was."""

    @property
    def needs_pristine(self) -> bool:
        """False: its lines say what it may be done to."""
        return False

    def do(self, text: Text, target: Target) -> Text:
        """The file with the new lines. Raises Conflict, with the nearest lines, where a hunk does not match."""
        if self.creates or self.source is not None:
            if text.data is not None:
                raise Conflict("expected no file, for the diff makes it; found one of %d bytes" % len(text.data))
            text = target.other(self.source) if self.source is not None else Text(b"")
            if text.data is None:
                raise Conflict("expected the file %s, which the diff renames; found none" % self.source)
        made = self._applied(content(text, self.file), _OLD, _NEW)
        if self.removes:
            if made:
                raise Conflict(
                    "expected a file that is empty without the diff's lines, found %d bytes more" % len(made)
                )
            return ABSENT
        return Text(made, text.executable if self.executable is None else self.executable)

    def undo(self, text: Text, target: Target) -> Text | None:
        """The file with the old lines again; None where the new lines are not there."""
        if (text.data is None) is not self.removes:
            return None
        try:
            made = self._applied(text.data or b"", _NEW, _OLD)
        except Conflict:
            return None
        if self.source is not None:
            return ABSENT
        if self.creates:
            return None if made else ABSENT
        return Text(made, text.executable if self.executable is None else not self.executable)

    def held(self, text: Text) -> str | None:
        """The line of the first hunk that matches within lines such as it would make."""
        if text.data is None or self.creates or self.source is not None:
            return "line 1" if text.data is not None and self.made(text) else None
        try:
            sides, lines = self._sides(text.data, _OLD, _NEW), _split(text.data)
            places = _places(lines, sides)
        except Conflict:
            return None
        for at, side in zip(places, sides):
            count, end = len(side.new), at + len(side.old)
            new = _Side(side.new, side.new, 0, side.is_exact)
            for first in range(max(0, end - count), min(at, len(lines) - count) + 1):
                if count and new.stands(lines, first):
                    return "line %d" % (at + 1)
        return None

    def made(self, text: Text) -> bool:
        """Whether all new lines are there, and the old ones of no hunk."""
        if text.data is None or self.removes:
            return text.data is None and self.removes
        if self.executable not in (None, text.executable):
            return False
        lines = _split(text.data)
        try:
            new, old = self._sides(text.data, _NEW, _OLD), self._sides(text.data, _OLD, _NEW)
            _places(lines, new)
        except Conflict:
            return False
        if self.creates:
            return sum(len(side.old) for side in new) == len(lines)
        where = _by_line(lines)
        return bool(new) and all(side.old for side in new) and not any(_found(lines, where, side, 0) for side in old)

    def normal(self) -> dict[str, Any]:
        """The normalised form: the hunks as text, and what else changes."""
        said: dict[str, Any] = {"hunks": "".join(hunk.text for hunk in self.hunks)}
        said.update((key, getattr(self, key)) for key in ("source", "creates", "removes") if getattr(self, key))
        if self.executable is not None:
            said["executable"] = self.executable
        return {"diff": said}

    def _applied(self, data: bytes, old: str, new: str) -> bytes:
        lines = _split(data)
        sides = self._sides(data, old, new)
        result: list[bytes] = []
        done = 0
        for at, hunk, side in zip(_places(lines, sides), self.hunks, sides):
            result += lines[done:at]
            result += _swapped(lines, at, hunk, side, old)
            done = at + len(side.old)
        result += lines[done:]
        if any(not each.endswith(b"\n") for each in result[:-1]):
            raise Conflict("expected a newline before what the diff puts behind the last line, found none")
        return b"".join(result)

    def _sides(self, data: bytes, old: str, new: str) -> list[_Side]:
        """What is looked for, and what is put in, of each hunk, in the file's encoding."""
        if self.creates:
            data = "".join(each for hunk in self.hunks for each in hunk.side(_NEW)[:2]).encode("utf-8", ESCAPED)
        codec = encoding(self.file, data)
        return [
            _Side(
                [encode(each, codec) for each in hunk.side(old)],
                [encode(each, codec) for each in hunk.side(new)],
                hunk.before_line if old == _OLD else hunk.after_line,
                hunk.is_exact,
            )
            for hunk in self.hunks
        ]


class _Side(NamedTuple):
    """One hunk, in bytes, in one direction."""

    old: list[bytes]
    new: list[bytes]
    named: int
    """The line, counted from 1, that the old lines begin at; without old lines, the one they follow."""
    is_exact: bool

    @property
    def place(self) -> int:
        """Where the hunk says that it is, counted from 0."""
        return self.named - 1 if self.old else self.named

    def equal(self, line: bytes, wanted: bytes) -> bool:
        """Whether a line of the file is a line of the diff."""
        return line == wanted or (not self.is_exact and line.endswith(b"\r\n") and line[:-2] + b"\n" == wanted)

    def stands(self, lines: Sequence[bytes], at: int) -> bool:
        """Whether the old lines stand there."""
        return len(lines) - at >= len(self.old) and all(map(self.equal, lines[at : at + len(self.old)], self.old))


def _places(lines: Sequence[bytes], sides: Sequence[_Side]) -> list[int]:
    """The index that each hunk matches at, behind the one before it. Raises Conflict where one matches nowhere."""
    places: list[int] = []
    where = _by_line(lines)
    begin = 0
    for number, side in enumerate(sides, 1):
        found = _found(lines, where, side, begin)
        if len(found) > 1 or not side.old:
            found = [at for at in found if at == side.place]
        if not found:
            raise Conflict("hunk %d (line %d): %s" % (number, side.named, _nearest(lines, side, begin)))
        places.append(found[0])
        begin = found[0] + len(side.old)
    return places


def _by_line(lines: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Where each line is, whatever ends it."""
    where: dict[bytes, list[int]] = {}
    for at, each in enumerate(lines):
        where.setdefault(each.rstrip(b"\r\n"), []).append(at)
    return where


def _found(lines: Sequence[bytes], where: Mapping[bytes, Sequence[int]], side: _Side, begin: int) -> list[int]:
    """All places from ``begin`` on where the old lines stand; without old lines, the one that the hunk names."""
    if not side.old:
        return [side.place] if begin <= side.place <= len(lines) else []
    return [at for at in where.get(side.old[0].rstrip(b"\r\n"), ()) if at >= begin and side.stands(lines, at)]


def _swapped(lines: Sequence[bytes], at: int, hunk: Hunk, side: _Side, old: str) -> Iterator[bytes]:
    """The lines of a hunk's place with those that it puts in; what stays, stays as the file has it."""
    newline = next(
        (b"\r\n" if each.endswith(b"\r\n") else b"\n" for each in lines[max(0, at - 1) : at + 1][::-1]), b"\n"
    )
    fresh = iter(side.new)
    for each in hunk.lines:
        put = next(fresh, b"") if each[0] == " " or each[0] not in old else b""
        if each[0] in old:
            if each[0] == " ":
                yield lines[at]
            newline = b"\r\n" if lines[at].endswith(b"\r\n") else b"\n"
            at += 1
        elif side.is_exact or not put.endswith(b"\n"):
            yield put
        else:
            yield put[:-1] + newline


def _split(text: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+\Z", text)


def _nearest(lines: Sequence[bytes], side: _Side, begin: int) -> str:
    """What is wrong with the place that matches a hunk best."""
    if not side.old:
        return "expected at least %d lines and no change further down, found %d" % (side.named, len(lines))
    count = len(side.old)

    def equal(at: int) -> int:
        return sum(map(side.equal, lines[at : at + count], side.old))

    best = max(range(begin, max(begin + 1, len(lines) - count + 1)), key=lambda at: (equal(at), -abs(at - side.place)))
    if equal(best) == count:
        return "its lines stand in several places, and none is the one that it names"
    for at, wanted in enumerate(side.old, best):
        found = lines[at] if at < len(lines) else None
        if found is None or not side.equal(found, wanted):
            return "nearest at line %d: expected %s, found %s" % (
                at + 1,
                _quoted(wanted, found),
                _quoted(found, wanted),
            )
    return "no place found"


def _quoted(line: bytes | None, other: bytes | None) -> str:
    """A line as a message has it; with its newline where that alone is the difference to the other."""
    if line is None:
        return "the end of the file"
    bare, others = (each.rstrip(b"\n").rstrip(b"\r") for each in (line, other or b""))
    said = repr(bare.decode("utf-8", "replace")[:_SHOWN])
    if other is None or bare != others:
        return said
    return said + (
        " with CRLF" if line.endswith(b"\r\n") else " with LF" if line.endswith(b"\n") else " without a newline"
    )
