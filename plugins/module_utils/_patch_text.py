# Writes patch files: a header, and the git diff of edited files, which was tried. Pure: bytes in, bytes out.
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written is read again and done to the originals: it must give the edited bytes, and undone the originals."""

from __future__ import annotations

import time
from typing import NamedTuple, Sequence

from . import _diff_text, _fold, _patch, _patch_file, _versions
from ._edits import ABSENT, Text
from ._errors import Conflict, DefinitionError, Unsupported
from ._fold import Layer, Tree

_FILL_IN = "(to be filled in: what goes wrong without this patch)"
_NAME = "captured.patch"
_ALONE = Tree("", lambda _name: None, lambda _name, _file: ABSENT)  # (a diff asks about no other file)
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


def write(files: Sequence[Edited], distribution: str, version: str | None, package: str | None) -> Written:
    """The patch file of these edits.

    ``package``: the import package that all files lie in; None where there is none, so that the patch is of the
    distribution, with paths as RECORD has them.
    """
    target = ("Package", package) if package else ("Distribution", distribution)
    header = _header(target, version)
    held: list[Edited] = []
    left_out: dict[str, str] = {}
    sections: list[bytes] = []
    for each in files:
        section = _diff_text.section(each.path, each.before, each.after)
        problem = _problem(each, header + section)
        if problem is None:
            sections.append(section)
            held.append(each)
        else:
            left_out[each.path] = problem
    return Written(header + b"".join(sections), tuple(held), left_out)


def _header(target: tuple[str, str], version: str | None) -> bytes:
    fields = [
        ("Description", _FILL_IN),
        ("Bug", ""),
        ("Forwarded", "no"),
        ("Last-Update", time.strftime("%Y-%m-%d", time.gmtime())),
        target,
        ("Versions", _only(version)),
        ("Retire", ""),
    ]
    return "".join(("%s: %s" % field).rstrip() + "\n" for field in fields).encode("utf-8") + b"\n"


def _only(version: str | None) -> str:
    """The specifiers of one version; local parts do not count. ``*`` where there is none that can be compared."""
    wanted = "==" + (version or "").partition("+")[0]
    try:
        _versions.check(wanted)
    except ValueError:
        return "*"
    return wanted


def _problem(edited: Edited, data: bytes) -> str | None:
    """Why the engine would not make the edit that is in a patch file, or not know it again; None where it does."""
    try:
        patch = _patch.load(_patch_file.load(data, _NAME))
        if len(patch.files()) != 1:
            return "a diff cannot say it"
        layer = Layer(patch.name, 1, (), patch.edits)
        if _fold.fold(edited.path, edited.before, [layer], _ALONE) != edited.after:
            return "a diff cannot say it in the encoding that the file declares"
        undone = _fold.unfold(edited.after, layer, _ALONE)
        if undone is None or undone.data != edited.before.data:
            return "the edit could not be taken out again"
    except (DefinitionError, Conflict, Unsupported) as error:
        return str(error).replace("%s: patch %s: " % (_NAME, _NAME[:-6]), "")
    return None
