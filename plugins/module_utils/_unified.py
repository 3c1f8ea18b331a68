# Reads unified diffs and git's into edits, one or several for each file. Pure: text in, edits out.
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms are those of GNU diffutils and of git.

See "Detailed Description of Unified Format" and "Generating patch text with -p": extended headers, quoted names,
``/dev/null``, timestamps of 1970 for a file that is not there.
"""

from __future__ import annotations

import re
from typing import Iterable, NamedTuple, Sequence

from ._diff import Diff, Hunk
from ._whole import Delete

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_HEADER = re.compile(r"(?:diff |--- |@@ -|Index: )")
_EXTENDED = re.compile(
    r"(old mode|new mode|new file mode|deleted file mode|rename from|rename to|copy from|copy to|index"
    r"|similarity index|dissimilarity index) (.*)"
)
_BINARY = re.compile(  # GNU diff and git; git; hg; svn
    r"(?:Binary files (?P<old>.+) and (?P<new>.+) differ|GIT binary patch|Binary file (?P<hg>.+) has changed"
    r"|Cannot display: file marked as a binary type\.)\Z"
)
_INDEX = "Index: "  # of svn and quilt
_BETWEEN = re.compile(
    r"(?:--\Z|-- |-{12,}[\w.]*-*\Z|From |commit [0-9a-f]{7}|%s|Only in |Property changes|={20}|# HG )|\Z" % _INDEX
)  # what may follow a hunk
_MERGE = ("diff --cc ", "diff --combined ", "@@@ ")
_DATE = r"(?:\d{4}-\d\d-\d\d[ T]\d\d:\d\d|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})"
_STAMP = re.compile(r"\t.*|\s+%s.*|\s+\Z" % _DATE)  # what may follow a name; a mail may have made blanks of the tab
_NOTHING = "/dev/null"
_NO_FILE = re.compile(  # the stamp of a file that is not there: the epoch in any zone; those of svn
    r"\s(?:1970-01-01|1969-12-31) |\s[A-Z][a-z]{2} (?:Jan [ 0]1 \S+ 1970|Dec 31 \S+ 1969)"
    r"|\t\((?:nonexistent|revision 0)\)"
)
_PREFIX = re.compile(r"\A[ab]/")
_GIT_PREFIX = re.compile(r"\A[abciow12]/")  # also those of its diff.mnemonicPrefix
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
_NO_CONTENT = re.compile(r"0+\Z|e69de29|473a0f4")  # git's hash of nothing, and of an empty file
_MODES = {"120000": "a symbolic link", "160000": "a submodule"}


class Section(NamedTuple):
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
    last: int = 0
    """The last line of its hunks."""
    binary: bool = False

    def header(self, key: str) -> str | None:
        return dict(self.said).get(key)

    @property
    def contents(self) -> list[str]:
        """The hashes by which git names its content before and after; none where they are the same."""
        hashes = (self.header("index") or "").partition(" ")[0].split("..")
        return hashes if len(set(hashes)) == 2 else []

    @property
    def kind(self) -> str | None:
        """What the file is, where that is something that no patch can hold."""
        modes = [
            value.split()[-1] for key, value in self.said if key.endswith("mode") or (key == "index" and " " in value)
        ]
        found = next((_MODES[each] for each in modes if each in _MODES), None)
        return found or ("a binary file" if self.binary else None)


def load(text: str, package: str | None = None, file: str | None = None) -> list[Diff | Delete]:
    """The edits of a diff, each with its file.

    With ``file``, the diff is of that one file, whatever name its headers have. Else the names count: what follows the
    package's directory, wherever that is, or all but git's ``a/`` and ``b/``. Raises ValueError naming the line that
    is not of a diff, or what a patch cannot hold.
    """
    found = sections(text)
    if file is None:
        return edits((section, *_inside(paths(section), package)) for section in found)
    if len(found) > 1:
        raise ValueError("a diff of %d files: leave file out, then their names in the diff count" % len(found))
    for section in found:
        if section.header("rename from") or section.header("copy from"):
            raise ValueError("line %d: a rename is of two files: leave file out" % section.number)
    return edits([(section, file, file) for section in found])


def hunks(text: str) -> tuple[Hunk, ...]:
    """The hunks of a diff of one file without headers. Raises ValueError as ``load`` does."""
    found = sections(text)
    if len(found) > 1 or any(section.old or section.pair for section in found):
        raise ValueError("expected hunks alone, found headers")
    return found[0].hunks if found else ()


def edits(found: Iterable[tuple[Section, str, str]]) -> list[Diff | Delete]:
    """The edits of sections, each with its file before and after. Raises ValueError for what a patch cannot hold.

    Several sections of one file, as a series of commits has them, are done one after the other.
    """
    made = [edit for section, old, new in found for edit in _edits(section, old, new)]
    if not made:
        raise ValueError("expected a unified diff that changes something, found no hunk")
    gone = {edit.file for edit in made if isinstance(edit, Diff) and edit.removes}
    made = [edit for edit in made if isinstance(edit, Diff) or edit.file not in gone]  # (svn says of a rename both)
    files: dict[str, list[Diff | Delete]] = {}
    for edit in made:
        files.setdefault(edit.file, []).append(edit)
    for edit in made:
        _alone(edit, [other for other in files[edit.file] if other is not edit])
        source = getattr(edit, "source", None)
        if source and source not in files:  # (of such a file no original is kept)
            raise ValueError(
                "%s: copied from %s, which stays as it is: make the diff without copies (git diff --no-renames, "
                "svn diff --show-copies-as-adds)" % (edit.file, source)
            )
    return sorted(made, key=lambda edit: isinstance(edit, Diff))  # (one may take the name that another gives up)


def _alone(edit: Diff | Delete, others: Sequence[Diff | Delete]) -> None:
    """Raise ValueError where a file is renamed, and changed as well by another section."""
    changed = [other for other in others if isinstance(other, Diff)]
    if isinstance(edit, Delete):
        changed = [other for other in changed if not (other.creates or other.source)]
    if changed and (isinstance(edit, Delete) or edit.source is not None):
        raise ValueError("%s: renamed in one part, changed in another: make one diff of the series" % edit.file)


# --- lines


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    first = next((each for each in lines if _HEADER.match(each)), "")
    if first.endswith("\r"):  # the diff itself was written with CRLF; else a CR belongs to the file's line
        lines = [each[:-1] if each.endswith("\r") else each for each in lines]
    return lines


def sections(text: str) -> list[Section]:
    """What a diff says of each file, whatever stands before, between and behind. Raises ValueError naming the line."""
    lines = _lines(text)
    found: list[Section] = []
    number = 0  # of lines that were read
    head = -1  # the last line of git's header of the last section
    index = None  # the name that svn gives
    loose = True  # whether anything may follow, such as the message of a commit
    while number < len(lines):
        each = lines[number]
        number += 1
        extended = _EXTENDED.match(each) if head == number - 1 else None
        binary = _BINARY.match(each)
        if each.startswith("diff --git "):
            found.append(Section(number, pair=each[len("diff --git ") :]))
            head, loose = number, True
        elif each.startswith(_MERGE):
            raise ValueError("line %d: the diff of a merge cannot be used: make one against one parent" % number)
        elif each.startswith("--- ") and lines[number : number + 1] and lines[number].startswith("+++ "):
            if head != number - 1:
                found.append(Section(number))
            found[-1] = found[-1]._replace(old=each[4:], new=lines[number][4:])
            number += 1
            loose = False
        elif _HUNK.match(each):
            if not found:
                found.append(Section(number))
            more, number = _hunks(lines, number)
            found[-1] = found[-1]._replace(hunks=(*found[-1].hunks, *more), last=number)
            loose = False
        elif extended:
            found[-1] = found[-1]._replace(said=(*found[-1].said, (extended.group(1), extended.group(2))))
            head = number
        elif binary and head == number - 1:
            found[-1] = found[-1]._replace(binary=True)
        elif binary and (binary.group("old") or binary.group("hg") or index):
            old, new = (binary.group(side) or binary.group("hg") or index for side in ("old", "new"))
            found.append(Section(number, old=old, new=new, binary=True))
            loose = True
        elif _BETWEEN.match(each) or each.startswith("diff "):
            loose = True if each else loose
            index = each[len(_INDEX) :] if each.startswith(_INDEX) else index
        elif not loose:
            raise ValueError("line %d: expected '@@ -N,N +N,N @@', found %r" % (number, each))
    if found and found[-1].new is not None and not found[-1].hunks and lines[-1].startswith("+++ "):
        raise ValueError("line %d: expected '@@ -N,N +N,N @@', found the end: is it truncated?" % (number + 1))
    return found


def _hunks(lines: Sequence[str], number: int) -> tuple[list[Hunk], int]:
    """The hunks from the one whose header is that line on, and the number of their last line."""
    found: list[Hunk] = []
    while not found or (number < len(lines) and _HUNK.match(lines[number])):
        hunk, number = _hunk(lines, number + 1 if found else number)
        found.append(hunk)
    return found, number


def _hunk(lines: Sequence[str], number: int) -> tuple[Hunk, int]:
    """The hunk whose header is that line, and the number of its last one."""
    head = _HUNK.match(lines[number - 1])
    first, before, second, after = (int(each) if each else 1 for each in head.groups()) if head else (0, 0, 0, 0)
    left = {"-": before, "+": after}
    kept: list[str] = []
    while any(left.values()):
        if number == len(lines):
            raise ValueError("line %d: expected more lines of a hunk, found the end: is it truncated?" % (number + 1))
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


# --- meaning


def _edits(section: Section, old: str, new: str) -> list[Diff | Delete]:
    """What one section does. Raises ValueError for what is no regular text file."""
    if section.kind is not None:
        raise ValueError("line %d: %s: %s cannot be patched" % (section.number, new, section.kind))
    if not section.hunks and not all(_NO_CONTENT.match(each) for each in section.contents):
        raise ValueError("line %d: %s: expected hunks, found none: is it truncated?" % (section.number, new))
    changing = tuple(hunk for hunk in section.hunks if any(each[0] != " " for each in hunk.lines))
    creates, removes = _comes(section), goes(section)
    mode = section.header("new mode") or section.header("new file mode")
    executable = None if mode is None else mode.endswith("755")
    executable = executable or None if creates else executable
    source = old if old != new else None
    if not (changing or source or creates or removes or executable is not None):
        return []
    made: list[Diff | Delete] = [Diff(new, changing, source, creates, removes, executable)]
    if source and section.header("rename from"):
        made.append(Delete(source, moved=True))
    return made


def _comes(section: Section) -> bool:
    """Whether the file is new."""
    if section.header("new file mode") or _name(section.old or "") == _NOTHING:
        return True
    bare = bool(section.hunks) and not section.hunks[0].side(" -") and section.hunks[0].before_line == 0
    return bare and _NO_FILE.search(section.old or "") is not None


def goes(section: Section) -> bool:
    """Whether the file goes."""
    if section.header("deleted file mode") or _name(section.new or "") == _NOTHING:
        return True
    bare = bool(section.hunks) and not section.hunks[0].side(" +") and section.hunks[0].after_line == 0
    return bare and _NO_FILE.search(section.new or "") is not None


# --- names


def paths(section: Section, strip: int | None = None) -> tuple[str, str]:
    """The file before and after, as the diff names it. Raises ValueError where it does not.

    Without git's ``a/`` and ``b/``, or without ``strip`` leading parts, as ``patch -p`` counts them: what has not as
    many is empty.
    """
    moved = [section.header("rename " + way) or section.header("copy " + way) for way in ("from", "to")]
    if moved[0] and moved[1]:  # (they have no prefix)
        old, new = (_cut(_unquoted(each), None if strip is None else max(strip - 1, 0), None) for each in moved if each)
        return old, new
    prefix = _GIT_PREFIX if section.pair else _PREFIX
    if section.old is not None and section.new is not None:
        names = [name for name in map(_name, (section.new, section.old)) if name != _NOTHING]
        if names:  # (of x.py and x.py.orig, the file is the shorter one)
            name = _cut(min(names, key=lambda each: len(each.rpartition("/")[2])), strip, prefix)
            return name, name
    if section.pair:
        name = _cut(_pair(section), strip, prefix)
        return name, name
    raise ValueError(
        "line %d: expected the name of the file that the hunks are of, found none: give file" % section.number
    )


def below(path: str, package: str | None) -> list[tuple[str, str]]:
    """What is above the package's directory, and the file below it, for each place in a path where that is."""
    parts = [part for part in path.split("/") if part != "."]
    name = package.split(".") if package else []
    if not name:
        return [("", "/".join(parts))]
    ends = [at + len(name) for at in range(len(parts) - len(name)) if parts[at : at + len(name)] == name]
    return [("/".join(parts[: end - len(name)]), "/".join(parts[end:])) for end in ends]


def _inside(names: tuple[str, str], package: str | None) -> tuple[str, str]:
    ways = [below(each, package) for each in names]
    old, new = (found[0][1] if found else each for found, each in zip(ways, names))
    return old, new


def _cut(name: str, strip: int | None, prefix: re.Pattern[str] | None) -> str:
    if strip is not None:
        return "/".join(name.split("/")[strip:])
    return prefix.sub("", name) if prefix else name


def _name(said: str) -> str:
    """The name behind ``---`` or ``+++``, without what follows it."""
    quoted = _QUOTED.match(said)
    return _unquoted(quoted.group() if quoted else _STAMP.sub("", said))


def _pair(section: Section) -> str:
    """The one file that both names behind ``diff --git`` mean, as the second one; blanks may be part of them."""
    quoted = re.fullmatch(r'("(?:[^"\\]|\\.)*"|\S+) ("(?:[^"\\]|\\.)*"|\S+)', section.pair)
    pairs = [quoted.groups()] if quoted else []
    cuts = [found.start() for found in re.finditer(" ", section.pair)]
    pairs += [(section.pair[:cut], section.pair[cut + 1 :]) for cut in cuts]
    for pair in pairs:
        old, new = map(_unquoted, pair)
        tails = [each.partition("/")[2] for each in (old, new)]
        if old == new or (tails[0] and tails[0] == tails[1]) or (quoted and len(cuts) == 1):
            return new
    raise ValueError("line %d: expected the name of one file, found %r" % (section.number, section.pair))


def _unquoted(name: str) -> str:
    """A name as git quotes those with unusual bytes."""
    if not (name.startswith('"') and name.endswith('"') and len(name) > 1):
        return name

    def meant(found: re.Match[bytes]) -> bytes:
        said = found.group(1)
        return bytes([int(said, 8) & 0xFF]) if len(said) == 3 else _ESCAPES.get(said, said)

    return _ESCAPE.sub(meant, name[1:-1].encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
