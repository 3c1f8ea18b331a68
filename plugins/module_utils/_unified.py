# Reads unified diffs and git's into edits, one or several for each file. Pure: text in, edits out.
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms are those of GNU diffutils and of git.

See "Detailed Description of Unified Format" and "Generating patch text with -p": extended headers, quoted names,
``/dev/null``, timestamps of 1970 for a file that is not there.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Sequence

from ._diff import Diff, Hunk
from ._whole import Delete

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_HEADER = re.compile(r"(?:diff |--- |@@ -)")
_EXTENDED = re.compile(
    r"(old mode|new mode|new file mode|deleted file mode|rename from|rename to|copy from|copy to|index) (.*)"
)
_BINARY = re.compile(r"(?:Binary files .* differ|GIT binary patch)")
_BETWEEN = re.compile(r"(?:-- |From |Index: |Only in |Property changes|={20})|\Z")  # what may follow a hunk
_NO_FILE = re.compile(r"\t(?:1970-01-01|1969-12-31) ")  # the timestamp of a file that is not there, in any zone
_PREFIX = re.compile(r"\A[ab]/")
_GIT_PREFIX = re.compile(r"\A[abciow12]/")  # also those of its diff.mnemonicPrefix
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
_MODES = {"120000": "a symbolic link", "160000": "a submodule"}


class _Section(NamedTuple):
    """What a diff says of one file."""

    number: int
    """The line of its header, counted from 1."""
    pair: str = ""
    """The names behind ``diff --git``."""
    old: str | None = None
    """What stands behind ``---``."""
    new: str | None = None
    said: tuple[tuple[str, str], ...] = ()
    """git's extended headers."""
    hunks: tuple[Hunk, ...] = ()

    def header(self, key: str) -> str | None:
        return dict(self.said).get(key)


def load(text: str, package: str | None = None, file: str | None = None) -> list[Diff | Delete]:
    """The edits of a diff, each with its file.

    With ``file``, the diff is of that one file, whatever name its headers have. Else the names count: what follows the
    package's directory, wherever that is, or all but git's ``a/`` and ``b/``. Raises ValueError naming the line that
    is not of a diff, or what a patch cannot hold.
    """
    found = _sections(_lines(text))
    edits: list[Diff | Delete] = []
    if file is not None and len(found) > 1:
        raise ValueError("a diff of %d files: leave file out, then their names in the diff count" % len(found))
    for section in found:
        edits += _edits(section, package, file)
    if not edits:
        raise ValueError("expected a unified diff that changes something, found no hunk")
    return sorted(edits, key=lambda edit: isinstance(edit, Diff))  # (one may take the name that another gives up)


def hunks(text: str) -> tuple[Hunk, ...]:
    """The hunks of a diff of one file without headers. Raises ValueError as ``load`` does."""
    found = _sections(_lines(text))
    if len(found) > 1 or any(section.old or section.pair for section in found):
        raise ValueError("expected hunks alone, found headers")
    return found[0].hunks if found else ()


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    first = next((each for each in lines if _HEADER.match(each)), "")
    if first.endswith("\r"):  # the diff itself was written with CRLF; else a CR belongs to the file's line
        lines = [each[:-1] if each.endswith("\r") else each for each in lines]
    return lines


def _sections(lines: Sequence[str]) -> list[_Section]:
    found: list[_Section] = []
    number = 0  # of lines that were read
    open_ended = True  # whether anything may follow, such as the message of a commit
    while number < len(lines):
        each = lines[number]
        number += 1
        extended = _EXTENDED.match(each) if found and found[-1].pair and not found[-1].hunks else None
        if each.startswith("diff --git "):
            found.append(_Section(number, pair=each[len("diff --git ") :]))
            open_ended = True
        elif each.startswith(("diff --cc ", "diff --combined ", "@@@ ")):
            raise ValueError("line %d: the diff of a merge cannot be used: make one against one parent" % number)
        elif each.startswith("--- ") and lines[number : number + 1] and lines[number].startswith("+++ "):
            if not found or not found[-1].pair or found[-1].old is not None:
                found.append(_Section(number))
            found[-1] = found[-1]._replace(old=each[4:], new=lines[number][4:])
            number += 1
            open_ended = False
        elif _HUNK.match(each):
            if not found:
                found.append(_Section(number))
            hunk, number = _hunk(lines, number)
            found[-1] = found[-1]._replace(hunks=(*found[-1].hunks, hunk))
            open_ended = False
        elif extended:
            found[-1] = found[-1]._replace(said=(*found[-1].said, (extended.group(1), extended.group(2))))
        elif _BINARY.match(each):
            raise ValueError("line %d: a binary file cannot be patched" % number)
        elif _BETWEEN.match(each) or each.startswith("diff "):
            open_ended = True if each else open_ended
        elif not open_ended:
            raise ValueError("line %d: expected '@@ -N,N +N,N @@', found %r" % (number, each))
    return found


def _hunk(lines: Sequence[str], number: int) -> tuple[Hunk, int]:
    """The hunk whose header is that line, and the number of its last one."""
    head = _HUNK.match(lines[number - 1])
    first, before, second, after = (int(each) if each else 1 for each in head.groups()) if head else (0, 0, 0, 0)
    left = {"-": before, "+": after}
    kept: list[str] = []
    while any(left.values()):
        if number == len(lines):
            raise ValueError("line %d: expected more lines of a hunk, found the end" % (number + 1))
        each = lines[number] or " "  # (editors take the blank of an empty line away)
        number += 1
        kinds = {" ": "-+", "-": "-", "+": "+"}.get(each[0], "")
        if each.startswith("\\"):
            kept = _without_newline(kept, number)
            continue
        if not kinds or not all(left[kind] for kind in kinds):
            raise ValueError("line %d: expected a line of a hunk, found %r" % (number, lines[number - 1]))
        for kind in kinds:
            left[kind] -= 1
        kept.append(each + "\n")
    if number < len(lines) and lines[number].startswith("\\"):
        number += 1
        kept = _without_newline(kept, number)
    return Hunk(first, second, tuple(kept)), number


def _without_newline(kept: list[str], number: int) -> list[str]:
    if not kept:
        raise ValueError("line %d: expected a line of a hunk before '\\ No newline', found none" % number)
    return [*kept[:-1], kept[-1][:-1]]


def _edits(section: _Section, package: str | None, file: str | None) -> list[Diff | Delete]:
    """What one section does. Raises ValueError for what is no regular text file."""
    modes = [
        value.split()[-1] for key, value in section.said if key.endswith("mode") or (key == "index" and " " in value)
    ]
    for each in modes:
        if each in _MODES:
            raise ValueError("line %d: %s cannot be patched" % (section.number, _MODES[each]))
    changing = tuple(hunk for hunk in section.hunks if any(each[0] != " " for each in hunk.lines))
    creates, removes = _comes(section), _goes(section)
    old, new = _names(section, package) if file is None else (file, file)
    mode = section.header("new mode") or section.header("new file mode")
    executable = None if mode is None else mode.endswith("755")
    executable = executable or None if creates else executable
    source = None
    if section.header("rename from") or section.header("copy from"):
        if file is not None:
            raise ValueError("line %d: a rename is of two files: leave file out" % section.number)
        source = old if old != new else None
    if not (changing or source or creates or removes or executable is not None):
        return []
    edits: list[Diff | Delete] = [Diff(new, changing, source, creates, removes, executable)]
    if source and section.header("rename from"):
        edits.append(Delete(source, moved=True))
    return edits


def _comes(section: _Section) -> bool:
    """Whether the file is new."""
    if section.header("new file mode") or (section.old or "").split("\t")[0] == "/dev/null":
        return True
    bare = bool(section.hunks) and not section.hunks[0].side(" -") and section.hunks[0].before_line == 0
    return bare and _NO_FILE.search(section.old or "") is not None


def _goes(section: _Section) -> bool:
    """Whether the file goes."""
    if section.header("deleted file mode") or (section.new or "").split("\t")[0] == "/dev/null":
        return True
    bare = bool(section.hunks) and not section.hunks[0].side(" +") and section.hunks[0].after_line == 0
    return bare and _NO_FILE.search(section.new or "") is not None


def _names(section: _Section, package: str | None) -> tuple[str, str]:
    """The file before and after, as edits name it. Raises ValueError where the diff does not say."""
    moved = [section.header("rename " + way) or section.header("copy " + way) for way in ("from", "to")]
    if moved[0] and moved[1]:
        return _below(_unquoted(moved[0]), package), _below(_unquoted(moved[1]), package)
    if section.old is not None and section.new is not None:
        paths = [_unquoted(each.split("\t")[0]) for each in (section.old, section.new)]
        name = next((each for each in reversed(paths) if each != "/dev/null"), None)
        if name is not None:
            name = _below((_GIT_PREFIX if section.pair else _PREFIX).sub("", name), package)
            return name, name
    if section.pair:
        return _pair(section, package)
    raise ValueError(
        "line %d: expected the name of the file that the hunks are of, found none: give file" % section.number
    )


def _pair(section: _Section, package: str | None) -> tuple[str, str]:
    """The one file that both names behind ``diff --git`` mean; blanks may be part of them."""
    quoted = re.fullmatch(r'("(?:[^"\\]|\\.)*"|\S+) ("(?:[^"\\]|\\.)*"|\S+)', section.pair)
    pairs = [quoted.groups()] if quoted else []
    cuts = [found.start() for found in re.finditer(" ", section.pair)]
    pairs += [(section.pair[:cut], section.pair[cut + 1 :]) for cut in cuts]
    for pair in pairs:
        old, new = (_below(_GIT_PREFIX.sub("", _unquoted(each)), package) for each in pair)
        if old == new or (quoted and len(cuts) == 1):
            return new, new
    raise ValueError("line %d: expected the name of one file, found %r" % (section.number, section.pair))


def _unquoted(name: str) -> str:
    """A name as git quotes those with unusual bytes."""
    if not (name.startswith('"') and name.endswith('"') and len(name) > 1):
        return name

    def meant(found: re.Match[bytes]) -> bytes:
        said = found.group(1)
        return bytes([int(said, 8) & 0xFF]) if len(said) == 3 else _ESCAPES.get(said, said)

    return _ESCAPE.sub(meant, name[1:-1].encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _below(path: str, package: str | None) -> str:
    """A path from the package's directory on, wherever that is in it."""
    parts = [part for part in path.split("/") if part != "."]
    above = package.split(".") if package else []
    for at in range(len(parts) - len(above)):
        if above and parts[at : at + len(above)] == above:
            return "/".join(parts[at + len(above) :])
    return "/".join(parts)
