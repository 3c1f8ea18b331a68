# The edit `replace`: literal text, or a pattern, with the number of its occurrences. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts are looked at with LF for every newline; what is put in gets the newline of the lines that it replaces."""

from __future__ import annotations

import bisect
import functools
import re
import sys
from typing import Any, Iterator, NamedTuple, Sequence

from ._edits import ESCAPED, Target, Text, content, encode, encoding
from ._errors import Conflict

_NEWLINE = re.compile(r"\r\n|\r|\n")
_MARK = "\ufeff"
_SHOWN = 10  # lines that a message names


class Replace(NamedTuple):
    """Replace each of so many occurrences of a text, or of a pattern, by another text."""

    file: str
    before: str
    """The text, or the regular expression (``is_pattern``), with LF."""
    after: str
    """With LF; of a regular expression a template that may name its groups."""
    occurrences: int = 1
    """0: all that there are, at least one."""
    partial: bool = False
    """Whether an occurrence may begin or end inside of a word or number."""
    is_expression: bool = False
    over: bool = False
    """Whether it is made in each of several files, in which all occurrences, or none, may be."""

    @property
    def needs_pristine(self) -> bool:
        """False: what it looks for says what it may be done to."""
        return False

    def count(self, text: Text) -> int:
        """How many occurrences a file has; 0 where it is not there."""
        return 0 if text.data is None else len(self._found(_Lines.of(self.file, text.data).text)[0])

    def do(self, text: Text, target: Target) -> Text:
        """The file with what replaces. Raises Conflict where there are not exactly so many occurrences."""
        lines = _Lines.of(self.file, content(text, self.file))
        found, partly = self._found(lines.text)
        if self.over and not found:
            return text
        wanted = 0 if self.over else self.occurrences
        if not found or (wanted and len(found) != wanted):
            raise Conflict(self._miscounted(lines.text, found, partly))
        if any(left.end > right.start for left, right in zip(found, found[1:])):
            raise Conflict(
                "expected occurrences of %r beside each other, found some that overlap%s: put more into before"
                % (_short(self.before), _at(lines.text, found))
            )
        return text._replace(data=lines.swapped(found))

    def undo(self, text: Text, target: Target) -> Text | None:
        """The text with ``before`` again; None for a pattern, or where ``after`` is not there exactly so often."""
        if self.is_expression or not self.after or text.data is None:
            return None
        back = self._replace(before=self.after, after=self.before)
        try:
            return back.do(text, target)
        except Conflict:
            return None

    def held(self, text: Text) -> str | None:
        """The line of the first occurrence that lies in what would be put in its place."""
        if text.data is None:
            return None
        lines = _Lines.of(self.file, text.data).text
        for match in self._found(lines)[0]:
            longest = len(match.after)
            at = lines.find(match.after, max(0, match.end - longest), match.start + longest) if longest else -1
            if at >= 0:
                return "line %d" % _line(lines, match.start)
        return None

    def made(self, text: Text) -> bool:
        """Whether ``after`` is there as whole lines, so often, and ``before`` nowhere else; never for a pattern."""
        if self.is_expression or not self.after or text.data is None:
            return False
        lines = _Lines.of(self.file, text.data).text
        there = [match for match in _literal(lines, self.after, "") if _is_whole(lines, match)]
        if not there or (self.occurrences and len(there) != self.occurrences):
            return False
        return all(_within(match, there) for match in _literal(lines, self.before, ""))

    def normal(self) -> dict[str, Any]:
        """The normalised form. Over several files, each has its own number."""
        count: Any = "all" if self.over or not self.occurrences else self.occurrences
        body = {"pattern" if self.is_expression else "before": self.before, "after": self.after, "count": count}
        said = {key: True for key in ("partial", "over") if getattr(self, key)}
        return {"replace": {**body, **said}}

    def _found(self, text: str) -> tuple[list[_Match], int]:
        """The occurrences in their order, and how many others begin or end inside of a word or number."""
        if self.is_expression:
            every = [
                _Match(found.start(), found.end(), found.expand(self.after))
                for found in expression(self.before).finditer(text)
            ]
        else:
            every = list(_literal(text, self.before, self.after))
        if self.partial:
            return every, 0
        kept = [match for match in every if not (_is_inside(text, match.start) or _is_inside(text, match.end))]
        return kept, len(every) - len(kept)

    def _miscounted(self, text: str, found: Sequence[_Match], partly: int) -> str:
        wanted = "%d occurrences" % self.occurrences if self.occurrences > 1 else "one occurrence"
        wanted = wanted if self.occurrences else "at least " + wanted
        said = "expected %s of %r, found %d%s" % (wanted, _short(self.before), len(found), _at(text, found))
        also = [] if self.is_expression else list(_literal(text, self.after, ""))
        if also:
            said += ", and %d of what replaces it%s" % (len(also), _at(text, also))
        if partly:
            said += ", and %d that begin%s or end%s inside of a word or number (partial: true takes those, too)" % (
                partly,
                *(("s", "s") if partly == 1 else ("", "")),
            )
        return said


class _Match(NamedTuple):
    start: int
    end: int
    after: str


class _Lines(NamedTuple):
    """A decoded file: its text with LF, and what really ends each line."""

    text: str
    ends: list[str]
    codec: str
    mark: str
    """The byte order mark that it begins with, or nothing."""

    @classmethod
    def of(cls, file: str, data: bytes) -> _Lines:
        codec = encoding(file, data)
        text = _decoded(data, codec)
        if text is None:
            raise Conflict("the file is in %s, and is not the same when it is decoded and encoded again" % codec)
        mark = text[:1] if text.startswith(_MARK) else ""
        text = text[len(mark) :]
        return cls(_NEWLINE.sub("\n", text), _NEWLINE.findall(text), codec, mark)

    def swapped(self, matches: Sequence[_Match]) -> bytes:
        """The file with each match replaced."""
        parts: list[str] = []
        ends: list[str] = []
        begin = number = 0  # of what is not copied yet: its offset, and its first newline
        for match in matches:
            kept = self.text[begin : match.start]
            first = number + kept.count("\n")
            parts += [kept, match.after]
            ends += self.ends[number:first] + [self._end(first)] * match.after.count("\n")
            begin, number = match.end, first + self.text.count("\n", match.start, match.end)
        parts.append(self.text[begin:])
        ends += self.ends[number:]
        lines = "".join(parts).split("\n")
        return encode(self.mark + "".join(each + end for each, end in zip(lines, [*ends, ""])), self.codec)

    def _end(self, number: int) -> str:
        """What ends that line, or the one before where it has no end."""
        near = self.ends[number : number + 1] or self.ends[-1:]
        return near[0] if near else "\n"


@functools.lru_cache(maxsize=64)
def expression(pattern: str) -> re.Pattern[str]:
    """The compiled pattern. Raises re.error where it is none."""
    return re.compile(pattern)


def _literal(text: str, part: str, after: str) -> Iterator[_Match]:
    """All occurrences, overlapping ones too."""
    at = text.find(part) if part else -1
    while at >= 0:
        yield _Match(at, at + len(part), after)
        at = text.find(part, at + 1)


def _is_inside(text: str, at: int) -> bool:
    """Whether a place lies inside of a word, or of a number such as 1.5."""
    left, right = text[max(0, at - 2) : at], text[at : at + 2]
    if not left or not right:
        return False
    if _is_word(left[-1]) and _is_word(right[0]):
        return True
    if right[0] == ".":
        return left[-1].isdigit() and right[1:].isdigit()
    return left[-1] == "." and left[:-1].isdigit() and right[0].isdigit()


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _is_whole(text: str, match: _Match) -> bool:
    """Whether a match begins and ends with a line."""
    begins = match.start == 0 or text[match.start - 1] == "\n"
    return begins and (match.end == len(text) or "\n" in (text[match.end - 1], text[match.end]))


def _within(match: _Match, others: Sequence[_Match]) -> bool:
    """Whether a match lies in one of others, which are equally long and in their order."""
    number = bisect.bisect_right(others, (match.start, sys.maxsize))
    return number > 0 and match.end <= others[number - 1].end


def _decoded(data: bytes, codec: str) -> str | None:
    """The text of a file; None where encoding it would not give the file again."""
    try:
        text = data.decode(codec, ESCAPED)
        return text if text.encode(codec, ESCAPED) == data else None
    except UnicodeError:  # (ESCAPED takes no ASCII bytes, and some codecs do not know it)
        return None


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _at(text: str, matches: Sequence[_Match]) -> str:
    numbers = [str(_line(text, match.start)) for match in matches[:_SHOWN]]
    return " (line%s %s)" % ("s" if len(numbers) > 1 else "", ", ".join(numbers)) if numbers else ""


def _short(part: str) -> str:
    return part if len(part) <= 80 else part[:77] + "..."
