# Writes patch files: a header, and the git diff of edited files, which was tried. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written is read again and done to the originals: it must give the edited bytes, and undone the originals."""

from __future__ import annotations

import time
from typing import NamedTuple, Sequence

from . import _diff_text, _edits, _unified, _versions
from ._edits import ABSENT, Target, Text
from ._errors import Conflict, Unsupported

_FILL_IN = "(to be filled in: what goes wrong without this patch)"
_KINDS = {(True, False): "new", (False, True): "gone"}  # by whether there is none before, and after


class Edited(NamedTuple):
    """One file that was edited, made or removed."""

    path: str
    """From the directory on ``sys.path``, with forward slashes."""
    before: Text
    after: Text

    @property
    def kind(self) -> str:
        """In one word what was done."""
        return _KINDS.get((self.before.data is None, self.after.data is None), "edited")


class Written(NamedTuple):
    """A patch file."""

    data: bytes
    files: tuple[Edited, ...]
    """Those that are in it."""
    left_out: dict[str, str]
    """Those that no diff can hold, each with the reason."""
    target: tuple[str, str]
    """``Package`` or ``Distribution``, and its name."""


def write(files: Sequence[Edited], distribution: str | None, version: str | None, package: str | None) -> Written:
    """The patch file of these edits.

    ``package``: the import package that all files lie in; None where there is none, so that the patch is of the
    distribution, with paths as RECORD has them.
    """
    above = package.replace(".", "/") + "/" if package else ""
    target = ("Package", package) if package else ("Distribution", str(distribution))
    held: list[Edited] = []
    left_out: dict[str, str] = {}
    sections: list[bytes] = []
    for each in files:
        section = _diff_text.section(each.path, each.before, each.after)
        problem = _problem(each, section, package, each.path[len(above) :])
        if problem is None:
            sections.append(section)
            held.append(each)
        else:
            left_out[each.path] = problem
    fields = [
        ("Description", _FILL_IN),
        ("Bug", ""),
        ("Forwarded", "no"),
        ("Last-Update", time.strftime("%Y-%m-%d", time.gmtime())),
        target,
        ("Versions", _only(version)),
        ("Retire", ""),
    ]
    header = "".join(("%s: %s" % field).rstrip() + "\n" for field in fields) + "\n"
    return Written(header.encode("utf-8") + b"".join(sections), tuple(held), left_out, target)


def _only(version: str | None) -> str:
    """The specifiers of one version; local parts do not count. ``*`` where there is none that can be compared."""
    wanted = "==" + (version or "").partition("+")[0]
    try:
        _versions.check(wanted)
    except ValueError:
        return "*"
    return wanted


def _problem(edited: Edited, section: bytes, package: str | None, file: str) -> str | None:
    """Why the engine would not make the edit of a section, or not know it again; None where it does."""
    target = Target("", "capture", 1, lambda _name: None, lambda _file: ABSENT)
    try:
        edits = _unified.load(section.decode("utf-8", "surrogateescape"), package)
        if [edit.file for edit in edits] != [file]:
            return "a diff cannot name it"
        made = edits[0].do(edited.before, target)
        _edits.check(edited.path, edited.before, made)
        if made != edited.after:
            return "a diff cannot say it in the encoding that the file declares"
        undone = edits[0].undo(edited.after, target)
        if undone is None or undone.data != edited.before.data:
            return "the edit could not be taken out again"
    except (ValueError, Conflict, Unsupported) as error:
        return str(error)
    return None
