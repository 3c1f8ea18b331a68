# The edit `diff`: a unified diff of one file, applied with zero fuzz. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from typing import NamedTuple

from ._edits import Target
from ._errors import Conflict

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


class Hunk(NamedTuple):
    """One hunk; its lines without their newlines."""

    before_line: int
    before: tuple[str, ...]
    after_line: int
    after: tuple[str, ...]


class Diff(NamedTuple):
    """Hunks whose old lines must be in the file exactly, once, wherever that is; or else at the very line they name."""

    hunks: tuple[Hunk, ...]

    def do(self, text: bytes, owner: str, revision: int, target: Target) -> bytes:
        """The text with the new lines. Raises Conflict, with the nearest lines, when a hunk does not match."""
        lines = _split(text)
        for number, hunk in enumerate(self.hunks, 1):
            at = _place(lines, hunk.before, hunk.after_line)
            if at is None:
                raise Conflict("hunk %d (line %d): %s" % (number, hunk.before_line, _nearest(lines, hunk)))
            lines = _swap(lines, at, hunk.before, hunk.after)
        return b"".join(lines)

    def undo(self, text: bytes, owner: str) -> bytes | None:
        """The text with the old lines again; None when the new lines are not there."""
        lines = _split(text)
        for hunk in reversed(self.hunks):
            at = _place(lines, hunk.after, hunk.after_line)
            if at is None:
                return None
            lines = _swap(lines, at, hunk.after, hunk.before)
        return b"".join(lines)


def load(text: str) -> Diff:
    """Read a unified diff. Raises ValueError naming the line that is not of one."""
    hunks: list[Hunk] = []
    lines = text.replace("\r\n", "\n").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    number = 0
    while number < len(lines):
        head = _HUNK.match(lines[number])
        if not head:
            if hunks:
                raise ValueError("line %d: expected '@@ -N,N +N,N @@', found %r" % (number + 1, lines[number]))
            number += 1  # what stands before the first hunk names files, and is not needed
            continue
        wanted = [int(head.group(2) or 1), int(head.group(4) or 1)]
        before: list[str] = []
        after: list[str] = []
        number += 1
        while [len(before), len(after)] != wanted:
            if number == len(lines):
                raise ValueError("line %d: expected more lines of a hunk, found the end" % (number + 1))
            kind, rest = (lines[number] or " ")[0], lines[number][1:]
            if kind not in " +-" or len(before) > wanted[0] or len(after) > wanted[1]:
                raise ValueError("line %d: expected a line of a hunk, found %r" % (number + 1, lines[number]))
            if kind in " -":
                before.append(rest)
            if kind in " +":
                after.append(rest)
            number += 1
        if number < len(lines) and lines[number].startswith("\\"):
            raise ValueError(
                "line %d: a diff that changes the newline at the end of the file cannot be used" % (number + 1)
            )
        if not before or not after:
            raise ValueError("line %d: a hunk without context cannot be undone; make the diff with context" % number)
        if before != after:
            hunks.append(Hunk(int(head.group(1)), tuple(before), int(head.group(3)), tuple(after)))
    if not hunks:
        raise ValueError("expected a unified diff that changes something, found no hunk")
    return Diff(tuple(hunks))


def _split(text: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+\Z", text)


def _bare(line: bytes) -> str:
    """A line without its newline, CRLF included; bytes that are not UTF-8 survive."""
    return line.rstrip(b"\n").rstrip(b"\r").decode("utf-8", "surrogateescape")


def _place(lines: list[bytes], wanted: tuple[str, ...], hint: int) -> int | None:
    """The index at which all the wanted lines stand: the only one, else the one at line ``hint``, else None."""
    bare = [_bare(line) for line in lines]
    found = [
        index
        for index in range(len(bare) - len(wanted) + 1)
        if bare[index] == wanted[0] and tuple(bare[index : index + len(wanted)]) == wanted
    ]
    if len(found) > 1:
        found = [index for index in found if index == hint - 1]
    return found[0] if len(found) == 1 else None


def _swap(lines: list[bytes], at: int, old: tuple[str, ...], new: tuple[str, ...]) -> list[bytes]:
    newline = b"\r\n" if lines[at].endswith(b"\r\n") else b"\n"
    fresh = [part.encode("utf-8", "surrogateescape") + newline for part in new]
    if not lines[at + len(old) - 1].endswith(b"\n"):
        fresh[-1] = fresh[-1][: -len(newline)]
    return lines[:at] + fresh + lines[at + len(old) :]


def _nearest(lines: list[bytes], hunk: Hunk) -> str:
    """What is wrong with the place that matches a hunk best."""
    bare = [_bare(line) for line in lines]
    count = len(hunk.before)

    def equal(index: int) -> int:
        return sum(a == b for a, b in zip(bare[index : index + count], hunk.before))

    best = max(
        range(max(1, len(bare) - count + 1)), key=lambda index: (equal(index), -abs(index - hunk.before_line + 1))
    )
    if equal(best) == count:
        return "its lines stand in several places, and none is the one that it names"
    for index, wanted in enumerate(hunk.before, best):
        found = bare[index] if index < len(bare) else "the end of the file"
        if found != wanted:
            return "nearest at line %d: expected %r, found %r" % (index + 1, wanted, found)
    return "no place found"
