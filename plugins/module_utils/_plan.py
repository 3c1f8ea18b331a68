# Plans: the state in which each patch is found, and the bytes that each file would have. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import _edits, _environment, _versions
from ._edits import Target
from ._errors import Conflict, Unsupported
from ._patch import Patch

ACTIONS = {  # what `present` does with a state; states not named here are refused
    "native": "none",
    "applied": "none",
    "pending": "apply",
    "outdated": "migrate",
}
MAX_BYTES = 16 * 1024 * 1024  # no module written by hand is as large; a larger file is not what the patch means


class Step(NamedTuple):
    """One patch, as it was found in an environment and what is to be done with it."""

    patch: Patch
    state: str
    action: str
    """none, apply, migrate, revert or skip; 'refuse' where the task must fail."""
    message: str
    integrity: Optional[str] = None
    version: Optional[str] = None
    path: Optional[str] = None

    def result(self) -> Dict[str, Any]:
        """The step as a module returns it."""
        return {
            "name": self.patch.name,
            "revision": self.patch.revision,
            "state": self.state,
            "action": "none" if self.action == "refuse" else self.action,
            "integrity": self.integrity,
            "package": self.patch.package,
            "version": self.version,
            "path": self.path,
            "message": self.message,
        }


class Change(NamedTuple):
    """One file to be replaced."""

    path: str
    before: bytes
    after: bytes


class Plan(NamedTuple):
    """All patches of one call."""

    steps: Tuple[Step, ...]
    changes: Tuple[Change, ...]

    @property
    def refused(self) -> List[Step]:
        return [step for step in self.steps if step.action == "refuse"]


class _Found(NamedTuple):
    """A patch looked for in one text."""

    state: str
    message: str
    present: Optional[bytes] = None
    """The text with the patch, where it can be had."""
    absent: Optional[bytes] = None
    """The text without the patch, where it differs and can be proven."""


def plan(
    patches: Sequence[Patch],
    path: Optional[str] = None,
    present: bool = True,
    skip: Sequence[str] = (),
) -> Plan:
    """Look at every patch and decide.

    ``path`` as for ``_environment.find``; ``present`` False plans to take the patches out; ``skip`` holds the states
    (unsupported, missing) that are passed over instead of refused. Raises SitePatchError only for what is wrong
    with the environment as a whole.
    """
    original: Dict[str, bytes] = {}
    texts: Dict[str, bytes] = {}
    steps: List[Step] = []
    for patch in patches if present else reversed(patches):
        step, text = _look(patch, path, present, skip, original, texts)
        if text is not None and step.path is not None and step.action in ("apply", "migrate", "revert"):
            texts[step.path] = text
        steps.append(step)
    changes = tuple(Change(file, original[file], text) for file, text in texts.items() if text != original[file])
    return Plan(tuple(steps if present else reversed(steps)), changes)


def _look(
    patch: Patch,
    path: Optional[str],
    present: bool,
    skip: Sequence[str],
    original: Dict[str, bytes],
    texts: Dict[str, bytes],
) -> Tuple[Step, Optional[bytes]]:
    where = path or "this environment"
    package = _environment.find(patch.package, path)
    if package is None:
        message = "package %s: expected it in %s, found none" % (patch.package, where)
        return _decide(Step(patch, "missing", "", message), None, present, skip)
    directory = next((d for d in package.directories if os.path.lexists(_below(d, patch))), None)
    if directory is None and not package.regular:
        message = "package %s: expected it in %s, found %s without %s" % (
            patch.package,
            where,
            ", ".join(package.directories) or "no directory",
            patch.file,
        )
        return _decide(Step(patch, "missing", "", message), None, present, skip)
    version = integrity = None
    file = _below(directory or package.directories[0], patch)
    try:
        recorded = _environment.record(package, file, patch.distribution)
        version = recorded.version if recorded else _environment.version(package, file, patch.distribution)
        outside = _outside(patch, version)
        if directory is None:
            raise Unsupported(outside) if outside else Conflict("expected the file %s, found none" % patch.file)
        if file not in original:
            original[file] = _read(file)
        integrity = _integrity(original[file], None, recorded)
        found = _find(patch, texts.get(file, original[file]), _target(patch, package, texts), outside, recorded)
        integrity = _integrity(original[file], found.absent, recorded)
        state, message = found.state, found.message
    except Unsupported as error:
        found, state, message = None, "unsupported", str(error)
    except Conflict as error:
        found, state, message = None, "conflict", str(error)
    message = "%s %s in %s: %s" % (
        patch.package,
        version or "(unknown version)",
        directory or package.directories[0],
        message,
    )
    return _decide(Step(patch, state, "", message, integrity, version, file), found, present, skip)


def _below(directory: str, patch: Patch) -> str:
    return os.path.join(directory, *patch.file.split("/"))


def _decide(
    step: Step, found: Optional[_Found], present: bool, skip: Sequence[str]
) -> Tuple[Step, Optional[bytes]]:
    """The step with its action, and the text that this action gives (the table of states in the documentation)."""
    if present:
        action = ACTIONS.get(step.state) or ("skip" if step.state in skip else "refuse")
        return step._replace(action=action), found.present if found else None
    if step.state == "conflict":
        return step._replace(action="refuse"), None
    if found is not None and found.absent is not None:
        return step._replace(action="revert"), found.absent
    return step._replace(action="none"), None


def _find(
    patch: Patch, text: bytes, target: Target, outside: Optional[str], recorded: Optional[_environment.Record]
) -> _Found:
    """Look for a patch in a text. Raises Unsupported and Conflict."""
    edit = patch.edits[0]
    undone = edit.undo(text, patch.name)
    base = undone.text if undone else text
    try:
        after = edit.do(base, patch.name, patch.revision, target)
        if outside and after is not None:
            raise Unsupported(outside)
    except (Conflict, Unsupported) as error:
        if isinstance(error, Conflict) and not outside:
            raise
        reason = "%s; %s" % (outside, error) if outside and outside not in str(error) else str(error)
        if undone is None:
            raise Unsupported(reason) from None
        note = "%s; the block at line %d is left from another version: state absent takes it out" % (reason, undone.line)
        return _Found("unsupported", note, absent=undone.text)
    if undone is not None:
        return _found_block(patch, text, undone, after, target)
    if after is not None:
        edit.prove(text, after, patch.name, target.package)
        return _Found("pending", "not applied; revision %d is current" % patch.revision, present=after)
    message = "every name is there already"
    unmarked = edit.unmarked(text)
    if unmarked is None:
        return _Found("native", message)
    line, without = unmarked
    message += ", by the unmarked block at line %d that the old stand-alone script wrote" % line
    if recorded is not None and _environment.matches(without, recorded.hash):
        return _Found("native", message + " (state absent takes it out: RECORD proves the original)", absent=without)
    return _Found("native", message + " (state absent leaves it: no RECORD proves the original)")


def _found_block(
    patch: Patch, text: bytes, undone: _edits.Undone, after: Optional[bytes], target: Target
) -> _Found:
    """The state of a text that holds a block of the patch."""
    if undone.revision > patch.revision:
        raise Conflict(
            "line %d: expected revision %d or older, found revision %d: a newer primus.patches wrote it; use that one"
            % (undone.line, patch.revision, undone.revision)
        )
    if undone.revision < patch.revision:
        if after is not None:
            patch.edits[0].prove(undone.text, after, patch.name, target.package)
        message = "revision %d at line %d, revision %d is current" % (undone.revision, undone.line, patch.revision)
        return _Found("outdated", message, present=undone.text if after is None else after, absent=undone.text)
    if after != text:
        raise Conflict(
            "line %d: expected the block of revision %d as it would be written now, found another one: it, or the file "
            "around it, was edited by hand since; restore the block, or the file from its wheel"
            % (undone.line, patch.revision)
        )
    return _Found("applied", "revision %d at line %d" % (undone.revision, undone.line), text, undone.text)


def _target(patch: Patch, package: _environment.Package, texts: Mapping[str, bytes]) -> Target:
    """What the edits may ask: modules of the package that the file belongs to, as earlier patches of the call left them."""

    def read(module: str) -> Optional[Tuple[str, bytes]]:
        inside = module.split(".")[patch.package.count(".") + 1 :]
        if not module.startswith(patch.package + "."):
            return None
        for directory in package.directories:
            stem = os.path.join(directory, *inside)
            for name in (os.path.join(stem, "__init__.py"), stem + ".py"):  # (in the order of Python's own finder)
                if os.path.isfile(name):
                    return name, texts.get(name) or _read(name)
        return None

    return Target(patch.module_package, read)


def _outside(patch: Patch, version: Optional[str]) -> Optional[str]:
    """Why a version does not admit the patch; None where it does."""
    if version is None:
        return "expected version %s, found no version: no RECORD, no __version__" % patch.versions
    try:
        inside = _versions.contains(patch.versions, version)
    except ValueError:
        return "expected version %s, found %r, which is no PEP 440 version" % (patch.versions, version)
    return None if inside else "expected version %s, found %s" % (patch.versions, version)


def _integrity(
    text: bytes, without: Optional[bytes], recorded: Optional[_environment.Record]
) -> str:
    """pristine, patched, foreign or unknown: the file against the RECORD of its installer."""
    if recorded is None or not recorded.hash:
        return "unknown"
    if _environment.matches(text, recorded.hash):
        return "pristine"
    original = (_edits.unpatched(text), without)
    if any(found is not None and _environment.matches(found, recorded.hash) for found in original):
        return "patched"
    return "foreign"


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Conflict("%s: expected a readable file, found: %s" % (file, error.strerror)) from None
    if len(text) > MAX_BYTES:
        raise Conflict("%s: expected at most %d bytes" % (file, MAX_BYTES))
    return text
