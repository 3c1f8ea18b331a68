# Plans: the state in which each patch is found, and the bytes that each file would have. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from typing import Any, Mapping, NamedTuple, Sequence

from . import _edits, _environment, _files, _reexport, _versions
from ._edits import Target
from ._environment import Record
from ._errors import Conflict, Unsupported
from ._patch import Patch, Revision
from ._reexport import Reexport
from ._trust import KERNEL, Trust

_SHOWN = 80  # characters of what a file says that a message quotes

ACTIONS = {  # what `present` does with a state; states not named here are refused
    "native": "none",
    "applied": "none",
    "pending": "apply",
    "outdated": "migrate",
}
DONE = {"apply": "applied", "migrate": "migrated", "revert": "reverted"}  # what changes a file: before, after


class Step(NamedTuple):
    """One patch, as it was found in an environment and what is to be done with it."""

    patch: Patch
    state: str
    action: str
    """none, apply, migrate, revert or skip; 'refuse' where the task must fail."""
    message: str
    integrity: str | None = None
    version: str | None = None
    path: str | None = None
    revision: int | None = None
    """The one that is there."""

    def result(self) -> dict[str, Any]:
        """The step as a module returns it."""
        return {
            "name": self.patch.name,
            "revision": self.patch.revision,
            "revision_found": self.revision,
            "state": self.state,
            "action": "none" if self.action == "refuse" else self.action,
            "integrity": self.integrity,
            "package": self.patch.package,
            "version": self.version,
            "path": self.path,
            "message": self.message,
        }

    def told(self, done: bool) -> str:
        """The step in one line that is true once the plan is carried out (``done``), or before."""
        if done and self.action in DONE:
            return "%s: %s (was %s: %s)" % (self.patch.name, DONE[self.action], self.state, self.message)
        what = {"none": "nothing to do", "skip": "passed over"}.get(self.action, "would " + self.action)
        return "%s: %s, %s: %s" % (self.patch.name, self.state, what, self.message)


class Change(NamedTuple):
    """One file to be replaced."""

    path: str
    before: bytes
    after: bytes


class Plan(NamedTuple):
    """All patches of one call."""

    steps: tuple[Step, ...]
    changes: tuple[Change, ...]

    @property
    def refused(self) -> list[Step]:
        return [step for step in self.steps if step.action == "refuse"]


class _Found(NamedTuple):
    """A patch looked for in one text."""

    state: str
    message: str
    present: bytes | None = None
    """The text with the patch, where it can be had."""
    absent: bytes | None = None
    """The text without the patch, where it differs and can be proven."""
    revision: int | None = None
    """The one that is there."""


class _File(NamedTuple):
    """One file of a package, and what is said about it elsewhere."""

    path: str
    target: Target
    outside: str | None
    """Why the environment does not admit the patch; None where it does."""
    upstream: bool
    """Whether upstream made the change in this version."""
    recorded: Record | None
    others: tuple[Patch, ...]
    """Other known patches of the same file."""


def plan(
    patches: Sequence[Patch],
    path: str | None = None,
    present: bool = True,
    skip: Sequence[str] = (),
    known: Sequence[Patch] = (),
    trust: Trust = KERNEL,
) -> Plan:
    """Look at every patch and decide.

    ``path`` as for ``_environment.find``; ``present`` False plans to take the patches out; ``skip`` holds the states
    (unsupported, missing) that are passed over instead of refused; ``known`` are further patches that a file may
    carry. Raises SitePatchError only for what is wrong with the environment as a whole, and what ``trust`` raises.
    """
    original: dict[str, bytes] = {}
    texts: dict[str, bytes] = {}
    steps: list[Step] = []
    for patch in patches if present else reversed(patches):
        others = {other.name: other for other in (*known, *patches) if _same_file(patch, other)}
        step, text = _look(patch, tuple(others.values()), path, present, skip, original, texts, trust)
        if text is not None and step.path is not None and step.action in DONE:
            texts[step.path] = text
        steps.append(step)
    changes = tuple(Change(file, original[file], text) for file, text in texts.items() if text != original[file])
    return Plan(tuple(steps if present else reversed(steps)), changes)


def _look(
    patch: Patch,
    others: tuple[Patch, ...],
    path: str | None,
    present: bool,
    skip: Sequence[str],
    original: dict[str, bytes],
    texts: dict[str, bytes],
    trust: Trust,
) -> tuple[Step, bytes | None]:
    where = path or "this environment"
    package = _environment.find(patch.package, path)
    if package is None:
        message = "package %s: expected it in %s, found none" % (patch.package, where)
        return _decide(Step(patch, "missing", "", message), None, present, skip)
    directory = next((d for d in package.directories if _files.look(_below(d, patch), follow=False)), None)
    if directory is None and not package.regular:
        message = "package %s: expected it in %s, found %s without %s" % (
            patch.package,
            where,
            ", ".join(package.directories) or "no directory",
            patch.file,
        )
        return _decide(Step(patch, "missing", "", message), None, present, skip)
    version = integrity = None
    location = _below(directory or package.directories[0], patch)
    root = _environment.leads(package, location)[0]
    parts = [os.path.dirname(location), location] if directory else []
    trust.check(root, directory or package.directories[0], *parts)
    found = None
    try:
        recorded = _environment.record(package, location, patch.distribution)
        version = recorded.version if recorded else _environment.version(package, location, patch.distribution)
        upstream = patch.applied_upstream is not None and _outside(patch.applied_upstream, version) is None
        outside = _outside(patch.versions, version) or _lacking(patch, package, location)
        file = _File(location, _target(patch, package, texts, trust), outside, upstream, recorded, others)
        if directory is None:
            found = _without_file(patch, file)
        else:
            if location not in original:
                original[location] = _read(location, trust)
            text = original[location]
            integrity = "pristine" if recorded and _environment.matches(text, recorded.hash) else _integrity(recorded)
            found = _find(patch, texts.get(location, text), file, integrity == "pristine")
        state, message = found.state, found.message
    except Unsupported as error:
        state, message = "unsupported", str(error)
    except Conflict as error:
        state, message = "conflict", str(error)
    if integrity == "foreign" and _undoable(patch, original[location], found, file):
        integrity = "patched"
    links = os.stat(location).st_nlink if state in ("applied", "outdated") else 1
    if links > 1:
        message += "; the file has %d hard links: a package cache may hold the patched bytes, clean it" % links
    message = "%s %s in %s: %s" % (
        patch.package,
        version or "(unknown version)",
        directory or package.directories[0],
        message,
    )
    step = Step(patch, state, "", message, integrity, version, location, found.revision if found else None)
    return _decide(step, found, present, skip)


def _same_file(patch: Patch, other: Patch) -> bool:
    return patch.name != other.name and (patch.package, patch.file) == (other.package, other.file)


def _below(directory: str, patch: Patch) -> str:
    return os.path.join(directory, *patch.file.split("/"))


def _decide(step: Step, found: _Found | None, present: bool, skip: Sequence[str]) -> tuple[Step, bytes | None]:
    """The step with its action, and the text that this action gives (the table of states in the documentation)."""
    if present:
        action = ACTIONS.get(step.state) or ("skip" if step.state in skip else "refuse")
        return step._replace(action=action), found.present if found else None
    if step.state == "conflict":
        return step._replace(action="refuse"), None
    if found is not None and found.absent is not None:
        return step._replace(action="revert"), found.absent
    return step._replace(action="none"), None


def _without_file(patch: Patch, file: _File) -> _Found:
    """The state where the package has no such file."""
    if file.upstream:
        return _Found("native", "upstream made the change (%s)" % patch.upstream)
    if file.outside:
        raise Unsupported(file.outside)
    raise Conflict("expected the file %s, found none" % patch.file)


def _find(patch: Patch, text: bytes, file: _File, pristine: bool) -> _Found:
    """Look for a patch in a text. Raises Unsupported and Conflict."""
    if b"\0" in text:
        raise Conflict("expected text in %s, found a binary file" % patch.file)
    blocked: Unsupported | None = None
    for revision in patch.revisions:
        try:
            base = _without(patch, revision, text, file)
        except Unsupported as error:
            blocked = error
            break
        if base is not None and (not pristine or _marks(patch, revision, text)):
            return _found(patch, revision, text, base, file)
    marks = [marks for revision in patch.revisions for marks in _marks(patch, revision, text)]
    if marks:
        return _found_marks(patch, marks, text, blocked, file)
    if file.upstream:
        return _Found("native", "upstream made the change (%s)" % patch.upstream)
    unmarked = _unmarked(patch, text, file)
    if unmarked is not None:
        return unmarked
    try:
        after = _with(patch, patch.revisions[0], text, file)
    except Conflict as error:
        if pristine and _without(patch, patch.revisions[0], text, file) is not None:
            return _Found("native", "upstream has it already")
        if file.outside:
            raise Unsupported(_reason(file, error)) from None
        raise _overlap(patch, text, file) or error from None
    except Unsupported as error:
        raise Unsupported(_reason(file, error)) from None
    if after == text:
        return _Found("native", "every name is there already")
    if file.outside:
        raise Unsupported(file.outside)
    _prove(patch, text, after, file)
    return _Found("pending", "not applied; revision %d is current" % patch.revision, present=after)


def _found(patch: Patch, revision: Revision, text: bytes, base: bytes, file: _File) -> _Found:
    """The state of a text in which a revision was found whole."""
    _independent(patch, base, text, file)
    where = "".join(" at line %d" % line for _number, line in _marks(patch, revision, text)[:1])
    if revision.number == patch.revision:
        return _Found("applied", "revision %d%s" % (revision.number, where), text, base, revision.number)
    after = _with(patch, patch.revisions[0], base, file)
    if after != base:
        _prove(patch, base, after, file)
    message = "revision %d%s, revision %d is current" % (revision.number, where, patch.revision)
    return _Found("outdated", message, after, base, revision.number)


def _found_marks(
    patch: Patch, marks: list[tuple[int, int]], text: bytes, blocked: Unsupported | None, file: _File
) -> _Found:
    """The state of a text that has marks of the patch, but no revision of it as this collection would write it."""
    number, line = marks[0]
    if number > patch.revision:
        raise Conflict(
            "line %d: expected revision %d or older, found revision %d: a newer primus.patches wrote it; use that one"
            % (line, patch.revision, number)
        )
    base = text
    for index, edit in enumerate(patch.revisions[0].edits):
        base = edit.undo(base, _owner(patch, index)) if isinstance(edit, Reexport) else base
    if blocked is not None and _reexport.is_statement(text, line):
        reason = _reason(file, blocked)
        note = "%s; the block at line %d is left from another version: state absent takes it out" % (reason, line)
        return _Found("unsupported", note, absent=base, revision=number)
    only_blocks = all(isinstance(edit, Reexport) for edit in patch.revisions[0].edits)
    unlisted = number < patch.revision and number not in {each.number for each in patch.revisions}
    if unlisted and only_blocks and _reexport.is_statement(text, line):
        return _found(patch, Revision(number, patch.revisions[0].edits), text, base, file)
    raise Conflict(
        "line %d: expected the block of revision %d as it would be written now, found another one: it, or the file "
        "around it, was edited by hand since; restore the block, or the file from its wheel" % (line, number)
    )


def _unmarked(patch: Patch, text: bytes, file: _File) -> _Found | None:
    """The state of a text with the unmarked block that the old stand-alone script wrote; None without one."""
    edit = patch.revisions[0].edits[0]
    unmarked = edit.unmarked(text) if isinstance(edit, Reexport) and len(patch.revisions[0].edits) == 1 else None
    if unmarked is None:
        return None
    line, without = unmarked
    block = "the unmarked block at line %d that the old stand-alone script wrote" % line
    proven = file.recorded is not None and _environment.matches(without, file.recorded.hash)
    try:
        _with(patch, patch.revisions[0], text, file)
    except Unsupported as error:
        reason = _reason(file, error)
        if not proven:
            raise Unsupported(reason) from None
        return _Found("unsupported", "%s; by %s, which state absent takes out" % (reason, block), absent=without)
    message = "every name is there already, by " + block
    if proven:
        return _Found("native", message + " (state absent takes it out: RECORD proves the original)", absent=without)
    return _Found("native", message + " (state absent leaves it: no RECORD proves the original)")


def _reason(file: _File, error: Exception) -> str:
    """What keeps a patch out: the environment, where it does, and what the edit says."""
    return "%s; %s" % (file.outside, error) if file.outside else str(error)


def _owner(patch: Patch, index: int) -> str:
    """Whose block it is: the patch's name, with a number from its second edit on."""
    return patch.name if index == 0 else "%s/%d" % (patch.name, index + 1)


def _marks(patch: Patch, revision: Revision, text: bytes) -> list[tuple[int, int]]:
    """Revision and line of each block in ``text`` that the patch marked as its own."""
    owners = [_owner(patch, index) for index, edit in enumerate(revision.edits) if isinstance(edit, Reexport)]
    found = [_reexport.marked(text, owner) for owner in owners]
    return [mark for mark in found if mark is not None]


def _with(patch: Patch, revision: Revision, text: bytes, file: _File) -> bytes:
    """The text with all edits of a revision done. Raises Conflict and Unsupported."""
    for index, edit in enumerate(revision.edits):
        text = edit.do(text, _owner(patch, index), revision.number, file.target)
    return text


def _undo(patch: Patch, revision: Revision, text: bytes) -> bytes | None:
    """The text with all edits of a revision undone, whether or not it was that revision that did them."""
    base: bytes | None = text
    for index, edit in reversed(list(enumerate(revision.edits))):
        base = edit.undo(base, _owner(patch, index)) if base is not None else None
    return base


def _without(patch: Patch, revision: Revision, text: bytes, file: _File) -> bytes | None:
    """The text with all edits of a revision undone; None unless doing them again would give the text."""
    base = _undo(patch, revision, text)
    if base is None or base == text:
        return None
    try:
        reexports = any(isinstance(edit, Reexport) for edit in revision.edits)
        if reexports and not (file.recorded and _environment.matches(base, file.recorded.hash)):
            _edits.parse(base, "the file")  # (Reexport.do leaves it to us; the wheel's own file does)
        if _with(patch, revision, base, file) == text:
            return base
    except Conflict:
        pass
    return None


def _undoable(patch: Patch, text: bytes, found: _Found | None, file: _File) -> bool:
    """Whether RECORD's bytes come out when all known patches, all marked blocks and the old script's are undone."""
    digest = file.recorded.hash if file.recorded else ""
    if found is not None and found.absent is not None and _environment.matches(found.absent, digest):
        return True  # (mostly: the one patch that is there is the one that was looked for)
    for each in (patch, *file.others):
        for revision in each.revisions:
            try:
                base = _without(each, revision, text, file)
            except (Conflict, Unsupported):
                continue
            text = text if base is None else base
    text = _reexport.unpatched(text)
    edit = patch.revisions[0].edits[0]
    unmarked = edit.unmarked(text) if isinstance(edit, Reexport) else None
    return _environment.matches(text if unmarked is None else unmarked[1], digest)


def _prove(patch: Patch, before: bytes, after: bytes, file: _File) -> None:
    """Raise Conflict unless ``after`` parses and undoing the patch gives ``before`` again, whatever else is there."""
    edits = patch.revisions[0].edits
    reexports = [edit for edit in edits if isinstance(edit, Reexport)]
    if reexports or patch.file.endswith(".py"):
        try:  # (what compiles goes into the bytecode)
            code = _edits.code(after, file.path, 0)
            shown = not reexports or (len(edits) == 1 and reexports[0].is_in(code, after, _owner(patch, 0)))
        except Conflict:
            shown = False
        if not shown:  # by the code; there may be several edits, of which one undoes what another does
            _edits.parse(before, "the file")  # (mostly it is this that does not parse)
            module = _edits.parse(after, "the result")
            for edit in reexports:
                edit.prove(module, file.target.package)
    if _undo(patch, patch.revisions[0], after) != before:
        raise Conflict("undoing the edits would not give the original bytes back; nothing is written")
    _independent(patch, before, after, file)


def _independent(patch: Patch, before: bytes, after: bytes, file: _File) -> None:
    """Raise Conflict unless each other patch that is there can be taken out before or after this, to the same end."""
    for other in file.others:
        for revision in other.revisions:
            try:
                base = _without(other, revision, before, file)
                if base is None or _without(other, revision, after, file) == _with(
                    patch, patch.revisions[0], base, file
                ):
                    continue
            except (Conflict, Unsupported):
                pass
            raise _claimed(patch, other)


def _overlap(patch: Patch, text: bytes, file: _File) -> Conflict | None:
    """The conflict with another patch, where the patch would apply without that one."""
    for other in file.others:
        for revision in other.revisions:
            try:
                base = _without(other, revision, text, file)
                if base is not None:
                    _with(patch, patch.revisions[0], base, file)
                    return _claimed(patch, other)
            except (Conflict, Unsupported):
                continue
    return None


def _claimed(patch: Patch, other: Patch) -> Conflict:
    return Conflict(
        "patches %s and %s claim the same text of %s: take one of them out first" % (patch.name, other.name, patch.file)
    )


def _target(patch: Patch, package: _environment.Package, texts: Mapping[str, bytes], trust: Trust) -> Target:
    """What the edits may ask: modules of the file's package, as earlier patches of the call left them."""

    def read(module: str) -> tuple[str, bytes] | None:
        inside = module.split(".")[patch.package.count(".") + 1 :]
        if not module.startswith(patch.package + "."):
            return None
        for directory in package.directories:
            stem = os.path.join(directory, *inside)
            for name in (os.path.join(stem, "__init__.py"), stem + ".py"):  # (in the order of Python's own finder)
                if _files.kind(name) == "file":
                    return name, texts.get(name) or _read(name, trust)
        return None

    return Target(patch.module_package, read)


def _outside(specifiers: str, version: str | None) -> str | None:
    """Why a version is not what the specifiers ask for; None where it is."""
    if version is None:
        return "expected version %s, found no version: no RECORD, no __version__" % specifiers
    try:
        inside = _versions.contains(specifiers, version)
    except ValueError:
        return "expected version %s, found %r, which is no PEP 440 version" % (specifiers, version[:_SHOWN])
    return None if inside else "expected version %s, found %s" % (specifiers, version)


def _lacking(patch: Patch, package: _environment.Package, file: str) -> str | None:
    """Which requirement of the patch the environment does not meet; None where it meets all."""
    for name, specifiers in patch.requires:
        version = _environment.installed(name, package, file)
        if version is None:
            return "requires %s %s, found none" % (name, specifiers)
        outside = _outside(specifiers, version)
        if outside:
            return "requires %s: %s" % (name, outside)
    return None


def _integrity(recorded: Record | None) -> str:
    """The integrity of a file that is not what RECORD says, before anything is undone."""
    return "foreign" if recorded is not None and recorded.hash else "unknown"


def _read(file: str, trust: Trust) -> bytes:
    directory, name = os.path.split(file)
    try:
        with _files.open_directory(directory, trust.guard()) as held:
            content = held.read(name)
    except OSError as error:
        raise Conflict("%s: expected a readable file, found: %s" % (file, error.strerror)) from None
    if content is None:
        raise Conflict("%s: expected a readable file, found: a link that leads to nothing" % file)
    return content.data
