# How text and names of nodes are shown: on one line, so many columns wide, nodes in their order and folded. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
import re
import typing as t
import unicodedata

if t.TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_NAME, LONGEST_REASON = 250, 1000  # columns that a terminal or a page gives to a name or path, and to a reason


def printable(text: str) -> str:
    """Return the text on one line: breaks and tabs as a blank, control and other invisible characters as escapes.

    Host names come from inventories and messages from libraries: neither may move the cursor, change colours,
    reverse the reading direction or start a second line. Blanks stay, as a line of code may differ in them alone.
    """
    line = " ".join(filter(None, (part.strip(" ") for part in re.split(r"[^\S ]+", text))))
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)


def width(text: str) -> int:
    """Return how many columns a terminal gives to a text (wide characters take two, combining ones none)."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def shorten(text: str, columns: int) -> str:
    """Return the text, its end replaced by "..." where it is wider than so many columns."""
    if width(text) <= columns:
        return text
    kept, wide = "", 0
    for char in text:
        wide += width(char)
        if wide > columns - 3:
            break
        kept += char
    return kept.rstrip() + "..."


@functools.lru_cache(maxsize=10_000)
def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key under which gpu-2 comes before gpu-10, and which no two names share."""
    parts = re.split(r"([0-9]+)", name)
    numbers = [part.lstrip("0") for part in parts]  # (of any length, which int() would not take)
    return [
        (0, len(number), number) if place % 2 else (1, 0, part)
        for place, (part, number) in enumerate(zip(parts, numbers))
    ], name


def fold(nodes: Iterable[str]) -> str:
    """Return names of nodes as cluster tools write them: gpu[001-003,007]."""
    groups: dict[tuple[str, str], list[str]] = {}
    plain = set()
    for node in map(printable, nodes):
        found = re.fullmatch(r"(.*?)([0-9]{1,18})([^0-9]*)", node)
        if found:
            groups.setdefault((found[1], found[3]), []).append(found[2])
        else:
            plain.add(node)
    for (before, after), found in groups.items():
        padded = any(number.startswith("0") and number != "0" for number in found)
        for size in sorted({len(number) for number in found}) if padded else [0]:
            numbers = sorted({int(number) for number in found if size in (0, len(number))})
            spans: list[list[int]] = []
            for number in numbers:
                if spans and spans[-1][1] == number - 1:
                    spans[-1][1] = number
                else:
                    spans.append([number, number])
            inside = ",".join("-".join(f"{end:0{size}d}" for end in dict.fromkeys(span)) for span in spans)
            plain.add(f"{before}[{inside}]{after}" if len(numbers) > 1 else f"{before}{inside}{after}")
    return ",".join(sorted(plain, key=natural))
