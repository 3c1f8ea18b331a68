# Reads the header of a patch file: Debian's DEP-3, with fields of our own. Pure: text in, values out.
# SPDX-License-Identifier: GPL-3.0-or-later
"""DEP-3 is https://dep-team.pages.debian.net/deps/dep3: fields first, and perhaps more as a paragraph further down."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NamedTuple, Sequence

OURS = (
    *("Package", "Distribution", "Versions", "When", "Requires"),
    *("Revision", "After", "Retire", "Leave-Out", "Strip"),
)
_DEP3 = ("description", "subject", "origin", "forwarded", "applied-upstream", "author", "from", "last-update", "date")
_MAIL = ("reviewed-by", "acked-by", "signed-off-by", "to", "cc", "message-id", "references", "mime-version")
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]*):(?:[ \t]+(.*))?\Z")
_TAG = re.compile(r"\A\[[^\]]*PATCH[^\]]*\]\s*")  # what git format-patch puts before the subject
_LINK = re.compile(r"https?://[^\s,>]+")
_ENCODED = "=?"  # begins a word that RFC 2047 encodes
_CLOSE = 0.8  # how like a field of ours another one is that means it


class Field(NamedTuple):
    """One field; ``value`` with newlines between its lines."""

    number: int
    """Its line, counted from 1."""
    name: str
    value: str

    @property
    def key(self) -> str:
        return self.name.lower()


class Header(NamedTuple):
    """All fields, in order."""

    fields: tuple[Field, ...]

    def value(self, *keys: str) -> str | None:
        """The value of the first of these fields that is there and not empty, named in lower case."""
        found = (each.value for key in keys for each in self.fields if each.key == key and each.value.strip())
        return next(found, None)

    def reason(self) -> str | None:
        """What the patch is for: the description, else the subject of its mail."""
        description = self.value("description")
        if description is not None:
            return "\n".join("" if line == "." else line for line in description.split("\n")).strip()
        subject = self.value("subject")
        return None if subject is None else _TAG.sub("", _decoded(" ".join(subject.split()))).strip()

    def upstream(self) -> str | None:
        """The first link to where upstream deals with it."""
        keys = ("applied-upstream", "origin", "bug", "forwarded")
        for key in keys:
            for each in self.fields:
                if each.key == key or (key == "bug" and each.key.startswith("bug-")):
                    found = _LINK.search(each.value)
                    if found:
                        return found.group()
        return None


def load(lines: Sequence[str]) -> Header:
    """The fields of the lines before a diff. Raises ValueError naming the line of one that is wrong, or twice."""
    found: list[Field] = []
    for number, block in enumerate(_blocks(lines)):
        fields = _fields(block)
        others = len(fields) < sum(not each[:1].isspace() for _number, each in block)  # prose, a mail's first line
        if number == 0 or (not others and any(_is_known(each.key) for each in fields)):
            found += fields
    ours = [each.lower() for each in OURS]
    for at, each in enumerate(found):
        if each.key in ours:
            first = next((other for other in found[:at] if other.key == each.key), None)
            if first is not None:
                raise ValueError("line %d: %s: given in line %d already" % (each.number, each.name, first.number))
        elif not _is_known(each.key):
            meant = get_close_matches(each.key, ours, 1, _CLOSE)
            if meant:
                wanted = OURS[ours.index(meant[0])]
                raise ValueError("line %d: %s: unknown field, expected %s" % (each.number, each.name, wanted))
    return Header(tuple(found))


def _blocks(lines: Sequence[str]) -> list[list[tuple[int, str]]]:
    """The paragraphs, each line with its number; comments are left out."""
    blocks: list[list[tuple[int, str]]] = [[]]
    for number, each in enumerate(lines, 1):
        if not each.strip() or each.rstrip() == "---":
            blocks.append([])
        elif not each.startswith("#"):
            blocks[-1].append((number, each.rstrip()))
    return [block for block in blocks if block]


def _fields(block: Sequence[tuple[int, str]]) -> list[Field]:
    found: list[Field] = []
    open_field = False
    for number, each in block:
        field = _FIELD.match(each)
        if field:
            found.append(Field(number, field.group(1), (field.group(2) or "").strip()))
        elif open_field and each[:1].isspace():
            found[-1] = found[-1]._replace(value=(found[-1].value + "\n" + each.strip()).strip("\n"))
            continue
        open_field = field is not None
    return found


def _is_known(key: str) -> bool:
    return key in _DEP3 or key in _MAIL or key == "bug" or key.startswith("bug-") or key in map(str.lower, OURS)


def _decoded(value: str) -> str:
    """A value of a mail without RFC 2047's encoding. Raises ValueError where that is broken."""
    if _ENCODED not in value:
        return value
    from email import errors, header

    try:
        return str(header.make_header(header.decode_header(value)))
    except (errors.HeaderParseError, UnicodeError, LookupError) as error:
        raise ValueError("Subject: cannot be decoded: %s" % error) from None
