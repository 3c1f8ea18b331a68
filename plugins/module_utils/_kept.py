# What the stores of an environment say without any definition: its patched files, and how to take all out. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fact holds the edits of its patches and the hash of the original, so a patch can be made of facts alone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple, Sequence

from . import _environment, _evidence, _files, _plan, _records, _store
from ._errors import Conflict
from ._evidence import Look
from ._home import Home
from ._patch import Patch
from ._plan import Plan
from ._site import Site
from ._store import Damaged, Fact, Store
from ._trust import Trust

if TYPE_CHECKING:
    from ._fold import Edit


class Kept(NamedTuple):
    """What one store says of the files as they are."""

    root: str
    looks: tuple[Look, ...]
    """Files with patches in them, or edited since they had."""
    patches: tuple[Patch, ...]
    homes: Mapping[str, Home]
    """By the patch's name."""
    unclear: tuple[str, ...]
    """What cannot be told, and why."""


def told(path: str | None, trust: Trust) -> list[dict[str, Any]]:
    """Each store of the environment that says something, as a result has it. ``path`` as for ``_environment.find``.

    Raises NoEnvironment, Conflict where a store is no good, OSError, and what ``trust`` raises.
    """
    found = []
    for kept in _all(path, trust):
        site = Site(path, kept.patches, trust, kept.homes)
        files = [_file(look, site) for look in kept.looks]
        if files or kept.unclear:
            found.append({"root": kept.root, "files": files, "unclear": list(kept.unclear)})
    return found


def plan(path: str | None, trust: Trust, restore: bool) -> Plan:
    """How to take out all patches of the environment; with ``restore`` also of files that were edited since.

    Raises as ``told``, and Conflict where a store is not clear about all of its files.
    """
    plans = []
    for kept in _all(path, trust):
        if kept.unclear:
            raise Conflict("not all patches can be taken out: %s" % "; ".join(kept.unclear))
        plans.append(_plan.plan(kept.patches, path, False, (), (), trust, restore, kept.homes))
    return Plan(
        tuple(step for each in plans for step in each.steps),
        tuple(change for each in plans for change in each.changes),
        tuple(change for each in plans for change in each.owed),
    )


def _all(path: str | None, trust: Trust) -> Iterator[Kept]:
    for root in _roots(path):
        trust.check(root)
        yield _read(root, path, trust)


def _roots(path: str | None) -> list[str]:
    """The directories with a store: of those on ``sys.path``, and of what links and editable installs lead to."""
    entries = _environment.entries(path)
    found = [os.path.realpath(entry) for entry in entries]
    for entry in entries if path is None else ():
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(entry) as names:
            links = [name.path for name in names if name.is_symlink() and name.is_dir()]
            found += [_environment.above(os.path.realpath(link)) for link in links]
        sources = [_records.source_of(info) for info in _environment.infos(entry)]
        found += [os.path.realpath(each) for source in sources if source for each in _below(source)]
    return [root for root in dict.fromkeys(found) if _files.look(os.path.join(root, _store.DIRECTORY), follow=False)]


def _below(source: str) -> list[str]:
    return _environment.entries(source) if _files.kind(source) == "directory" else []


def _read(root: str, path: str | None, trust: Trust) -> Kept:
    facts = Store(root, trust.guard()).all()
    unclear = ["%s: %s" % (fact.path, fact.reason) for fact in facts if isinstance(fact, Damaged)]
    whole = [fact for fact in facts if isinstance(fact, Fact)]
    names = sorted({listed.name for fact in whole for listed in fact.patches})
    homes = {name: _home(root, name, whole, path) for name in names}
    for fact in whole:
        home = homes[fact.patches[0].name] if fact.patches else None
        if home is not None and home.kept(fact.path) is None:
            unclear.append("%s: expected a file inside of the environment, as the store names it" % fact.path)
    site = Site(path, [_bare(name, homes[name]) for name in names], trust, homes)
    patches: list[Patch] = []
    found: dict[str, Look] = {}
    for name in names:
        looks = site.looks(site.patches[name])
        found.update((look.place.relative, look) for look in looks)
        if looks:
            patches.append(_patch(site.patches[name], looks))
    looks = [found[relative] for relative in sorted(found)]
    return Kept(root, tuple(looks), tuple(patches), homes, tuple(dict.fromkeys(unclear)))


def _home(root: str, name: str, facts: Sequence[Fact], path: str | None) -> Home:
    """Where a patch of a store is at home."""
    mine = [fact for fact in facts if any(listed.name == name for listed in fact.patches)]
    owners = tuple(dict.fromkeys(fact.dist[0] for fact in mine if fact.dist))
    version = _records.installed(owners[0], root, True) if owners else None
    title = owners[0] if owners else os.path.basename(root)
    return Home(title, None, root, root, version, None, path, owners, by_facts=True)


def _bare(name: str, home: Home) -> Patch:
    """A patch of which nothing but the name is known yet."""
    distribution = home.names[0] if home.names else None
    said = "as the store in %s has it" % home.root
    return Patch(name, None, distribution, "*", (), (), None, 1, (), said, "none", "none", ())


def _patch(bare: Patch, looks: Sequence[Look]) -> Patch:
    """The patch as it is in its files."""
    entries = [(look, entry) for look in looks for entry in [look.entry(bare.name)] if entry]
    edits: list[Edit] = []
    for look, entry in entries:
        with suppress(Conflict):  # (which the plan has to say)
            edits += _evidence.layer_of(entry, look.place.relative).edits
    after = {name: None for _look, entry in entries for name in entry.after}
    revision = max((entry.revision for _look, entry in entries), default=1)
    return bare._replace(revision=revision, after=tuple(after), edits=tuple(edits))


def _file(look: Look, site: Site) -> dict[str, Any]:
    """One file as a result has it."""
    fact = look.fact or look.edited
    problem = None if look.problem is None else site.explained(look)
    if problem is None and look.owed:
        problem = "written, but its imports were not tried to the end"
    listed = look.listed or (look.edited.patches if look.edited else ())
    return {
        "path": look.place.path,
        "file": look.place.relative,
        "as_written": problem is None,
        "integrity": look.integrity,
        "patches": [{"name": each.name, "revision": each.revision} for each in listed],
        "distribution": fact.dist[0] if fact and fact.dist else None,
        "version": fact.dist[1] if fact and fact.dist else None,
        "when": fact.when if fact else None,
        "who": fact.who if fact else None,
        "proof": fact.proof if fact else None,
        "message": problem,
    }
