# The edits of an installed distribution, each file before and after: what differs, and its original. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from typing import Callable, Iterator, Mapping, NamedTuple, Optional, Sequence

from . import _edited, _evidence, _store
from ._edited import Difference, Differences, Entry
from ._edits import ABSENT, Text
from ._installed import Installed
from ._originals import Originals
from ._patch_text import Edited
from ._store import Fact
from ._working_copy import Marker

_Bit = Callable[[str], Optional[bool]]  # whether the original of a path is executable; None where nothing tells


class Captured(NamedTuple):
    """What was found."""

    files: tuple[Edited, ...]
    left_out: Mapping[str, str]
    """Path and reason: what was edited, or may have been, and can be in no patch."""
    missing: tuple[str, ...]
    """Edited files whose original is nowhere."""
    declared: Mapping[str, str]
    """Files that are as declared patches wrote them, and the names of those."""
    within: Mapping[str, str]
    """Edited files that declared patches have written before, and the names of those."""


def look(installed: Installed, originals: Originals) -> Captured:
    """What was edited where the distribution is installed. Raises as ``_edited.find`` and ``Originals.find``."""
    found = _edited.find(installed.root, installed.listed, installed.own, installed.known, installed.trust)

    def bit(path: str) -> bool | None:
        return originals.executable(path, installed.listed[path])

    files = [*found.files, *_of_mode(installed.root, installed.listed, found, bit, installed)]
    left: list[Difference] = []
    declared: dict[str, str] = {}
    within: dict[str, str] = {}
    for each in files:
        facts = [fact for fact in originals.facts(each.path) if _is_of(fact, installed)]
        here = next((fact for fact in facts if _is_written(fact, each.now)), None)
        if here is not None:
            declared[each.path] = _names([here])
            continue
        if facts:
            within[each.path] = _names(facts)
        left.append(each)
    return _with_originals(left, originals, bit, found.left_out)._replace(declared=declared, within=within)


def compare(directory: str, marker: Marker, installed: Installed, originals: Originals) -> Captured:
    """What was edited in a directory that ``edit`` made. Raises as ``look``."""
    listed = {path: entry for path, entry in installed.listed.items() if path not in marker.left_out}
    found = _edited.find(directory, listed, [""], installed.known, installed.trust)

    def bit(path: str) -> bool | None:
        return path in marker.executable

    files = [*found.files, *_of_mode(directory, listed, found, bit, installed)]
    return _with_originals(files, originals, bit, found.left_out)


def _with_originals(
    differences: Sequence[Difference], originals: Originals, bit: _Bit, left_out: Mapping[str, str]
) -> Captured:
    files: list[Edited] = []
    missing: list[str] = []
    left = dict(left_out)
    for each in differences:
        try:
            data = originals.find(each.path, each.entry) if each.entry is not None else None
        except OSError as error:
            left[each.path] = "its original: %s" % (error.strerror or error)
            continue
        if each.entry is not None and data is None:
            missing.append(each.path)
            continue
        executable = bit(each.path) if data is not None else False
        before = ABSENT if data is None else Text(data, each.now.executable if executable is None else executable)
        if any(b"\0" in (text.data or b"") for text in (before, each.now)):
            left[each.path] = "a binary file"
        elif before != each.now:
            files.append(Edited(each.path, before, each.now))
    return Captured(tuple(sorted(files)), left, tuple(missing), {}, {})


def _of_mode(
    base: str, listed: Mapping[str, Entry], found: Differences, bit: _Bit, installed: Installed
) -> Iterator[Difference]:
    """The files of which the executable bit alone differs."""
    differing = {each.path for each in found.files}
    for path, entry in listed.items():
        if path not in differing and path not in found.left_out:
            executable = bit(path)
            if executable is not None and executable != (path in found.executable):
                yield Difference(path, entry, _evidence.read(os.path.join(base, path), installed.trust))


def _is_of(fact: Fact, installed: Installed) -> bool:
    """Whether a fact is about the distribution that is there, of that version."""
    if fact.dist is None or installed.distribution is None:
        return fact.dist is None or fact.dist[3] is None
    return fact.dist[2] == os.path.basename(installed.distribution.info)


def _is_written(fact: Fact, now: Text) -> bool:
    same = fact.written == _store.sha(now.data)
    return same and (now.data is None or fact.written_executable == now.executable)


def _names(facts: Sequence[Fact]) -> str:
    return ", ".join(sorted({listed.name for fact in facts for listed in fact.patches}))


def package(paths: Sequence[str], installed: Installed) -> str | None:
    """The import package that all these files lie in; None where there is none.

    The one that was asked for, else the outermost one with an ``__init__.py``.
    """
    asked = installed.package
    if asked is not None and all(path.startswith(asked.replace(".", "/") + "/") for path in paths):
        return asked
    found = {_regular(path, installed) for path in paths}
    return found.pop() if len(found) == 1 else None


def _regular(path: str, installed: Installed) -> str | None:
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        above = "/".join(parts[:count])
        if above + "/__init__.py" in installed.known:
            name = above.replace("/", ".")
            return name if all(part.isidentifier() for part in parts[:count]) else None
    return None
