# Plans: the state in which each patch is found, and the bytes that each file would have. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from contextlib import suppress
from typing import Iterable, Mapping, NamedTuple, Sequence

from . import _files, _fold, _patch, _site, _store, _versions
from ._edits import Text
from ._environment import Place
from ._errors import Conflict, Unsupported
from ._evidence import Look
from ._home import Home
from ._patch import Patch
from ._site import Site
from ._step import ABSENT_ACTIONS, APPLIED, PRESENT, Step
from ._store import Fact, Listed
from ._trust import KERNEL, Trust

_SHOWN = 80  # characters of what a file says that a message quotes


class Change(NamedTuple):
    """One file that is to have other bytes, and what will be true of it then."""

    place: Place
    before: Text
    after: Text
    original: bytes | None
    """To be kept; None where there is nothing to be kept."""
    fact: Fact | None
    """None where nothing of ours is in the file afterwards."""
    directories: tuple[str, ...] = ()
    """Below the root: those that were made for the file, and may go with it."""


class Plan(NamedTuple):
    """All patches of one call."""

    steps: tuple[Step, ...]
    changes: tuple[Change, ...]
    owed: tuple[Change, ...] = ()
    """Files that were written by a run that was killed before it tried the imports: how to take them back."""

    @property
    def refused(self) -> list[Step]:
        return [step for step in self.steps if step.action == "refuse"]


class _State(NamedTuple):
    """A state with its reason."""

    name: str
    message: str
    revision: int | None = None


def plan(
    patches: Sequence[Patch],
    path: str | None = None,
    present: bool = True,
    skip: Sequence[str] = (),
    known: Sequence[Patch] = (),
    trust: Trust = KERNEL,
    restore: bool = False,
    homes: Mapping[str, Home] | None = None,
) -> Plan:
    """Look at every patch and decide.

    ``path`` as for ``_environment.find``; ``present`` False plans to take the patches out, and with ``restore`` also
    out of files that were edited since; ``skip`` holds the states (unsupported, missing) that are passed over;
    ``known``: all patches that the caller knows of, for files that were edited without us; ``homes``: where patches
    are, by name, that facts alone tell of. Raises NoEnvironment, and
    Untrusted and Belongs where this process is not to work on the files.
    """
    site = Site(path, [*patches, *(each for each in known if each not in patches)], trust, homes)
    site.coming = {patch.name for patch in patches if present and not _unmet(patch, site.home(patch))}
    steps: dict[str, Step] = {}
    ordered = list(patches)
    with suppress(Conflict):  # (each file says so)
        # (one may stand on another: from the lowest one up, or from the top one down)
        ordered = _fold.behind(patches) if present else _fold.behind(sorted(patches))[::-1]
    for patch in ordered:
        site.coming.discard(patch.name)
        steps[patch.name] = _step(patch, site, present, skip, restore)
    changes = [] if any(step.action == "refuse" for step in steps.values()) else _changes(site)
    owed = _owed(site, [step for step in steps.values() if step.action == "apply"])
    return Plan(tuple(steps[patch.name] for patch in patches), tuple(changes), tuple(owed))


def _step(patch: Patch, site: Site, present: bool, skip: Sequence[str], restore: bool) -> Step:
    """What one patch is, and what is to be done with it: that is noted in ``site``, for the patches that follow."""
    home = site.home(patch)
    looks: list[Look] = []
    try:
        looks = site.looks(patch)
        state = _state(patch, home, looks, site)
    except Conflict as error:
        state = _State("conflict", str(error))
    except Unsupported as error:
        state = _State("unsupported", str(error))
    if state.revision is None:
        state = state._replace(revision=max((each.revision for each in _entries(patch, looks)), default=None))
    listed = [look for look in looks if look.entry(patch.name)]
    if present:
        action = "revert" if state.name == "unneeded" and listed else PRESENT[state.name]
        action = "skip" if state.name in skip else action
    else:
        action = ABSENT_ACTIONS.get(state.name, "revert" if listed else "none")
    edited = [look for look in looks if look.had(patch.name)]
    if restore and not present and edited:
        action, state = _restore(edited, site)
    if action in ("apply", "migrate"):
        site.put(patch, looks)
    if action == "revert":
        try:
            site.take(patch, listed)
        except Conflict as error:
            action, state = "refuse", _State("conflict", str(error), state.revision)
    links = max((_files.links(look.place.path) for look in listed), default=1)
    more = "; a file has %d hard links: a package cache may hold the patched bytes, clean it" % links
    told = "%s%s%s" % (home.told(), state.message, more if links > 1 else "")
    return Step(patch, state.name, action, told, home.version, tuple(looks), state.revision)


def _entries(patch: Patch, looks: Sequence[Look]) -> list[Listed]:
    return [entry for look in looks for entry in [look.entry(patch.name)] if entry]


def _state(patch: Patch, home: Home, looks: Sequence[Look], site: Site) -> _State:
    """The first state that fits, as DESIGN has them. Raises Conflict and Unsupported, which are states as well."""
    listed = {look.place.relative: entry for look in looks for entry in [look.entry(patch.name)] if entry}
    revision = max((entry.revision for entry in listed.values()), default=None)
    if home.missing:
        return _State("missing", home.missing, revision)
    problem = next((look for look in looks if look.problem), None)
    if problem is not None:
        return _State("conflict", "%s: %s" % (problem.place.path, site.explained(problem)), revision)
    unmet = next((reason for name, spec in patch.when for reason in [_lacking(home, name, spec)] if reason), None)
    if unmet:
        return _State("unneeded", "needed only where %s; %s" % (_wanted(patch.when), unmet), revision)
    outside = _unmet(patch, home)
    if listed:
        state = _listed(patch, listed, site.wanted(patch), looks)
        if state.name == "outdated":
            if outside:
                raise Unsupported("%s; what is left of revision %s goes with state absent" % (outside, state.revision))
            site.try_fold(patch, looks)
        return state
    if patch.applied_upstream and home.version and _versions.contains(patch.applied_upstream, home.version):
        return _State("native", "upstream made the change (%s)" % patch.upstream)
    by_code = _native(patch, looks, site)
    if by_code:
        return _State("native", by_code)
    if outside:
        raise Unsupported(outside)
    site.check_counts(patch)
    for look in looks:
        _evident(patch, look, site)
    site.try_fold(patch, looks)
    return _State("pending", "not applied; revision %d is current" % patch.revision)


def _listed(patch: Patch, listed: dict[str, Listed], wanted: dict[str, str], looks: Sequence[Look]) -> _State:
    """The state of a patch that is in at least one file. ``wanted``: the digest of its edits, by file."""
    revision = max(entry.revision for entry in listed.values())
    if revision > patch.revision and {name: entry.digest for name, entry in listed.items()} != wanted:
        raise Conflict(
            "expected revision %d or older, found revision %d: a newer definition was applied; use that one, or take "
            "it out with it" % (patch.revision, revision)
        )
    if {name: entry.digest for name, entry in listed.items()} != wanted:
        partly = [name for name in wanted if name not in listed]
        reason = "not in %s" % ", ".join(partly) if partly and revision == patch.revision else ""
        reason = reason or "revision %d, revision %d is current" % (revision, patch.revision)
        if revision == patch.revision and not partly:
            reason = "revision %d, with other edits" % revision
        return _State("outdated", reason, revision)
    if any(look.owed for look in looks if look.entry(patch.name)):
        return _State("pending", "written, but its imports were not tried to the end", revision)
    return _State("applied", APPLIED % revision, revision)


def _native(patch: Patch, looks: Sequence[Look], site: Site) -> str | None:
    """How it shows that the files need no patch; None where it does not show."""
    files = [look for look in looks if look.text.data is not None]
    if not files or len(files) != len(looks):
        return None
    try:
        if all(site.unchanged(patch, look) for look in files):
            return "every name is there already" + site.unmarked(patch, files[0])
    except (Conflict, Unsupported):
        pass
    pristine = all(look.proven in ("pristine", "index") and not look.listed for look in files)
    edits = [(edit, look) for look in files for edit in site.edits(patch, look)]
    if pristine and edits and all(edit.made(look.text) for edit, look in edits):
        return "upstream has it already"
    return None


def _evident(patch: Patch, look: Look, site: Site) -> None:
    """Raise Conflict where nothing proves the original, and an edit that needs it to be proven, or may be in it."""
    if look.proven in ("pristine", "index") or look.listed:
        return
    for edit in site.edits(patch, look):
        if edit.needs_pristine:
            raise Conflict(
                "%s: expected a file that RECORD or git proves, found none that is: give replaces, its SHA-256"
                % look.place.path
            )
        where = edit.held(look.text)
        if where:
            raise Conflict(
                "%s: %s already holds what the edit would make, and nothing proves the original (no fact, RECORD, "
                "git): it is not made twice. Reinstall the distribution, or take the edit out by hand"
                % (look.place.path, where)
            )


def _restore(edited: Sequence[Look], site: Site) -> tuple[str, _State]:
    try:
        for look in edited:
            site.restore(look)
    except Conflict as error:
        return "refuse", _State("conflict", str(error))
    return "restore", _State("conflict", "the kept original of %s is given back" % edited[0].place.path)


def _changes(site: Site) -> list[Change]:
    """What is to be written so that each file is the fold of what is wanted in it."""
    changes: list[Change] = []
    files: dict[str, tuple[str, ...]] = {}  # of each patch; to find them takes a look at each of them
    for wish in site.wishes():
        if wish.after == wish.look.text:
            continue
        for layer in wish.layers:
            if layer.name not in files:
                files[layer.name] = site.relatives(layer.name)
        fact = _fact(wish, files) if wish.layers and wish.after != wish.base else None
        made = wish.look.fact.directories if wish.look.fact is not None else ()
        changes.append(
            Change(wish.look.place, wish.look.text, wish.after, wish.base.data if fact else None, fact, made)
        )
    return changes


def _owed(site: Site, steps: Iterable[Step]) -> list[Change]:
    """How to take back what was written, and whose imports were never tried."""
    changes: list[Change] = []
    for step in steps:
        for look in step.files:
            if look.owed and look.entry(step.patch.name):
                layers = tuple(layer for layer in site.layers(look) if layer.name != step.patch.name)
                after = site.fold(look, layers)
                changes.append(Change(look.place, look.text, after, None, look.fact))
    return changes


def _fact(wish: _site.Wish, files: Mapping[str, tuple[str, ...]]) -> Fact:
    look = wish.look
    dist = look.distribution
    kept = {listed.name: listed for listed in look.listed}
    listed = tuple(
        Listed(
            layer.name,
            layer.revision,
            _patch.digest(layer.edits),
            tuple(layer.after),
            _patch.stored(layer.edits),
            files[layer.name] or (kept[layer.name].files if layer.name in kept else (look.place.relative,)),
        )
        for layer in _fold.order(wish.layers)
    )
    return Fact(
        path=look.place.relative,
        original=_store.sha(wish.base.data),
        written=_store.sha(wish.after.data),
        original_executable=wish.base.executable,
        written_executable=wish.after.executable,
        dist=None if dist is None else _site.identity(dist),
        proven=look.proven,
        patches=listed,
        directories=_site.new_directories(look.place) or (look.fact.directories if look.fact else ()),
        proof="none",
        who=_store.who(),
        when=_store.now(),
        tool=_store.TOOL,
    )


def _wanted(requirements: Iterable[tuple[str, str]]) -> str:
    return ", ".join((name + " " + spec).strip() for name, spec in requirements)


def _unmet(patch: Patch, home: Home) -> str | None:
    """Why a patch is not for what is installed; None where it is."""
    reasons = (_lacking(home, name, spec) for name, spec in patch.requires)
    return _outside(patch.versions, home.version) or next(filter(None, reasons), None)


def _outside(specifiers: str, version: str | None) -> str | None:
    """Why a version is not what the specifiers ask for; None where it is."""
    if specifiers.strip() == "*":
        return None
    if version is None:
        return "expected version %s, found no version: no RECORD, no __version__" % specifiers
    try:
        inside = _versions.contains(specifiers, version)
    except ValueError:
        return "expected version %s, found %r, which is no PEP 440 version" % (specifiers, version[:_SHOWN])
    return None if inside else "expected version %s, found %s" % (specifiers, version)


def _lacking(home: Home, name: str, specifiers: str) -> str | None:
    """Which requirement the environment does not meet; None where it meets it."""
    version = home.installed(name)
    if version is None:
        return "requires %s %s, found none" % (name, specifiers)
    outside = _outside(specifiers, version)
    return "requires %s: %s" % (name, outside) if outside else None
