# What a file is: its original, and the patches that a fact or a proof shows to be in it. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is inferred from what a text looks like.

In this order, each by the hash of what is there: what the installer or git recorded (pristine); a fact of ours; bytes
that known edits undone turn into what was recorded (adopted). Without any of these the file as it is *is* the original.
"""

from __future__ import annotations

import base64
import os
from typing import Callable, Iterable, NamedTuple, Sequence

from . import _files, _fold, _git, _patch, _records, _reexport, _store
from ._edits import ABSENT, Text
from ._environment import Place
from ._errors import Conflict, SitePatchError, Unsupported
from ._fold import Layer, Tree
from ._patch import Patch
from ._records import Distribution
from ._reexport import Block, Reexport
from ._store import Damaged, Fact, Listed, Store
from ._trust import KERNEL, Trust

_SHOWN = 80  # characters of a file that a message quotes
_MOST_CANDIDATES = 64  # ways of undoing known edits that are tried on one file
_LONGEST_CHAIN = 100  # facts over facts


class Look(NamedTuple):
    """One file as it was found."""

    place: Place
    text: Text
    """What is there."""
    original: Text | None
    """What all edits are over; None where its bytes are gone, or nothing tells which they were."""
    listed: tuple[Listed, ...] = ()
    """The patches in it, in the order of the fold."""
    proven: str = "unknown"
    """How the original is known: pristine (RECORD), index (git), foreign (not what RECORD has), unknown."""
    problem: str | None = None
    """Why nothing may be done to it."""
    fact: Fact | None = None
    """What says so; None without one."""
    distribution: Distribution | None = None
    edited: Fact | None = None
    """The fact that was true before somebody edited the file."""

    @property
    def integrity(self) -> str:
        """The word that results use."""
        known = self.proven in ("pristine", "index")
        if self.edited is not None:
            return "foreign"
        return ("patched" if self.listed else "pristine") if known else self.proven

    @property
    def there(self) -> bool:
        """Whether there is a file."""
        return self.text.data is not None

    @property
    def owed(self) -> bool:
        """Whether a run was killed before it had tried the imports that it wrote the file for."""
        return self.fact is not None and self.fact.proof == "owed"

    def entry(self, name: str) -> Listed | None:
        """How a patch is listed; None where it is not."""
        return next((listed for listed in self.listed if listed.name == name), None)

    def had(self, name: str) -> bool:
        """Whether the file was edited since, and had the patch when it was written last."""
        return self.edited is not None and any(listed.name == name for listed in self.edited.patches)


def look(
    place: Place,
    names: Sequence[str],
    known: Iterable[tuple[Patch, Layer]],
    tree: Tree,
    store: Store,
    trust: Trust = KERNEL,
) -> Look:
    """Look at one file.

    ``names``: of the distributions that it may belong to. ``known``: patches, each with what it would do to this file
    (for adoption). Raises OSError where something cannot be read that may be there.
    """
    try:
        found = read(place.path, trust)
    except OSError as error:
        reason = "expected a readable file, found: %s" % (error.strerror or error)
        return Look(place, ABSENT, None, problem=reason)
    owner = _records.owner(place, names)
    bare = Look(place, found, found, distribution=owner)
    facts = store.facts(place.relative)
    digest = _store.sha(found.data)
    here = [fact for fact in facts if fact.written == digest]
    recorded = _records.recorded(owner, place.relative) if owner else None
    how = _how(place, found, owner, recorded)
    if how in ("pristine", "index") and not any(_is_mode(fact, found) for fact in here):
        return bare._replace(proven=how)
    bare = bare._replace(proven=how)
    for fact in here:
        if isinstance(fact, Damaged):
            return bare._replace(original=None, problem=_damaged(fact))
    for fact in here:
        if isinstance(fact, Fact):
            told = _told(bare, fact, facts, recorded)
            if told is not None:
                return told
    adopted = _adopted(bare, list(known), recorded, tree)
    if adopted is not None:
        return adopted
    same = [fact for fact in facts if isinstance(fact, Fact) and _same(fact, owner)]
    origin = next((fact for fact in same if fact.original == digest), None)
    if origin is not None:
        return bare._replace(proven=origin.proven if how == "unknown" else how)
    if same:
        newest = max(same, key=lambda fact: (fact.when, len(fact.patches)))
        return bare._replace(original=None, problem=_edited(newest), edited=newest)
    return bare


def read(path: str, trust: Trust = KERNEL) -> Text:
    """What is at a path, as an edit sees it. Raises OSError for what is there and cannot be read."""
    directory, name = os.path.split(path)
    try:
        with _files.open_directory(directory, trust.guard()) as held:
            content = held.content(name)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    return ABSENT if content is None else Text(content.data, bool(content.info.st_mode & 0o100))


def original(found: Look, tree: Tree, store: Store) -> Text:
    """The original of a file; where it is lost, as undoing the edits gives it and its hash confirms.

    Raises Conflict where it cannot be had.
    """
    if found.original is not None:
        return found.original
    if found.fact is not None:
        kept = _kept(found.fact, store)
        if kept is not None:
            return kept
        candidate: Text | None = found.text
        for listed in reversed(found.listed):
            layer = layer_of(listed, found.place.relative)
            candidate = _fold.unfold(candidate, layer, tree) if candidate is not None else None
        if candidate is not None and _store.sha(candidate.data) == found.fact.original:
            return candidate
    raise Conflict(
        "%s: expected its original in %s, found it gone: reinstall the distribution, or check the file out"
        % (found.place.path, os.path.join(found.place.root, _store.DIRECTORY))
    )


def layer_of(listed: Listed, file: str) -> Layer:
    """What a listed patch does to a file, by the edits that its fact holds. Raises Conflict where they are damaged."""
    try:
        return Layer(listed.name, listed.revision, listed.after, _patch.restored(file, listed.edits))
    except SitePatchError as error:
        raise Conflict("%s: the fact about it cannot be used: %s" % (file, error)) from None


def _how(place: Place, found: Text, owner: Distribution | None, recorded: str | None) -> str:
    """How far the bytes that are there are known to be what was installed or checked out."""
    if found.data is None:
        if owner is not None and _records.files(owner) is not None:
            return "pristine" if recorded is None else "foreign"
        return "unknown"
    if recorded and _records.matches(found.data, recorded):
        return "pristine"
    indexed = _git.indexed(place.path)
    if indexed is not None and _git.matches(found.data, indexed):
        return "index"
    return "foreign" if recorded or indexed is not None else "unknown"


def _is_mode(fact: Fact | Damaged, found: Text) -> bool:
    """Whether a fact is about the executable bit alone, which no record tells, and is true."""
    if isinstance(fact, Damaged) or fact.written != fact.original:
        return False
    return fact.original_executable != fact.written_executable == found.executable


def _told(bare: Look, fact: Fact, facts: Sequence[Fact | Damaged], recorded: str | None) -> Look | None:
    """What a fact about these very bytes says; None where it is about another distribution's."""
    same = _same(fact, bare.distribution)
    if not same and recorded is None:
        if fact.original == _store.sha(None):  # (a leftover: no installer knows of it)
            return bare._replace(original=ABSENT, listed=fact.patches, fact=fact, proven=fact.proven)
        return None
    chain = [fact]
    while len(chain) < _LONGEST_CHAIN:
        below = [
            each
            for each in facts
            if isinstance(each, Fact)
            and each.written == chain[-1].original
            and (not same or _same(each, bare.distribution))
        ]
        if not below or below[0] in chain:
            break
        chain.append(below[0])
    last = chain[-1]
    # (whichever distribution a fact names: where RECORD has its original, it is true of the one that is there)
    confirmed = recorded is not None and _is_recorded(last.original, recorded)
    said = recorded is not None and recorded.startswith("sha256=")
    if not confirmed and (not same or (said and last.proven == "pristine")):
        return bare._replace(original=None, listed=fact.patches, fact=fact, problem=_other_version(fact, bare))
    listed = tuple(listed for each in reversed(chain) for listed in each.patches)
    absent = ABSENT if last.original == _store.sha(None) else None
    whole = fact._replace(original=last.original, original_executable=last.original_executable, patches=listed)
    told = bare._replace(original=absent, listed=listed, proven="pristine" if confirmed else last.proven)
    return told._replace(fact=whole)


def _kept(fact: Fact, store: Store) -> Text | None:
    if fact.original == _store.sha(None):
        return ABSENT
    data = store.original(fact.original)
    return None if data is None else Text(data, fact.original_executable)


def _same(fact: Fact, owner: Distribution | None) -> bool:
    """Whether a fact is about the distribution that is there, of that version."""
    if fact.dist is None or owner is None:
        return fact.dist is None and owner is None
    if fact.dist[3] is None:  # (metadata that a build makes again, of files that no installer wrote)
        return fact.dist[0] == owner.name
    return fact.dist[2] == os.path.basename(owner.info)  # (name and version, also where a patch edits METADATA)


def _is_recorded(digest: str, recorded: str) -> bool:
    """Whether a SHA-256 is the one of RECORD."""
    if digest == _store.sha(None):
        return False
    return recorded == "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()


def _adopted(bare: Look, known: list[tuple[Patch, Layer]], recorded: str | None, tree: Tree) -> Look | None:
    """The look at a file in which somebody else, or a run without a store, made known edits; None where nothing shows.

    Marks of a re-export block say so by themselves; anything else only where the bytes without it are recorded ones.
    That no such file is on record is a record, too: what edits make is adopted where it has these very bytes.
    """
    blocks = _reexport.blocks(bare.text.data) if bare.text.data is not None else []
    proofs = _proofs(bare, recorded)
    if not blocks and (not proofs or not known):
        return None
    layers = {layer.name: layer for _patch, layer in known}
    marked = _of_blocks(blocks)
    for candidate, undone in _candidates(bare.text, list(layers.values()), tree):
        if any(proof(candidate.data) for proof in proofs):
            if candidate.data is None and not _gives(bare, candidate, undone, tree):
                continue
            by_list = (
                _has_list(bare) if candidate.data is None else recorded and _records.matches(candidate.data, recorded)
            )
            how = "pristine" if by_list else "index"
            told = [marked.get(layer.name, layer) for layer in undone]
            return _by_fold(bare, candidate, undone, told, how, tree)
    if not marked or bare.text.data is None:
        return None
    text = bare.text._replace(data=_reexport.without_blocks(bare.text.data))
    if any(proof(text.data or b"") for proof in proofs):
        bare = bare._replace(proven="pristine" if recorded else "index")
    mine = [layers.get(name, layer) for name, layer in marked.items()]
    return _by_fold(bare, text, mine, list(marked.values()), bare.proven, tree)


def _by_fold(
    bare: Look, base: Text, undone: Sequence[Layer], told: Sequence[Layer], how: str, tree: Tree
) -> Look | None:
    """The look at an adopted file: the known layers are in it where folding them gives what is there, else as told.

    None where nothing proves the original, and folding what the marks tell does not give what is there either.
    """
    exact = _gives(bare, base, undone, tree)
    if not exact and how not in ("pristine", "index") and not _gives(bare, base, told, tree):
        return None
    listed = tuple(
        Listed(
            layer.name,
            layer.revision,
            _patch.digest(layer.edits) if exact else "",
            tuple(layer.after),
            _patch.stored(layer.edits),
            (bare.place.relative,),
        )
        for layer in _fold.order(undone if exact else told)
    )
    return bare._replace(original=base, listed=listed, proven=how)


def _gives(bare: Look, base: Text, layers: Sequence[Layer], tree: Tree) -> bool:
    try:
        return _fold.fold(bare.place.relative, base, layers, tree) == bare.text
    except (Conflict, Unsupported):
        return False


def _proofs(bare: Look, recorded: str | None) -> list[Callable[[bytes | None], bool]]:
    """What tells whether bytes, or None for no file, are what was installed or checked out."""
    proofs: list[Callable[[bytes | None], bool]] = []
    indexed = _git.indexed(bare.place.path)
    if recorded:
        proofs.append(lambda data: data is not None and _records.matches(data, recorded))
    elif recorded is None and indexed is None and (_has_list(bare) or _is_tracked(bare.place)):
        proofs.append(lambda data: data is None)
    if indexed is not None:
        proofs.append(lambda data: data is not None and _git.matches(data, indexed))
    return proofs


def _has_list(bare: Look) -> bool:
    """Whether RECORD, or another list, has all files of the distribution."""
    return bare.distribution is not None and _records.files(bare.distribution) is not None


def _is_tracked(place: Place) -> bool:
    """Whether git's index has the package that a file is in."""
    return _git.indexed(os.path.join(place.root, place.relative.partition("/")[0], "__init__.py")) is not None


def _candidates(text: Text, layers: Sequence[Layer], tree: Tree) -> Iterable[tuple[Text, list[Layer]]]:
    """What the text may have been, each with the layers that were taken out: the most likely ones first."""
    waiting: list[tuple[Text, list[Layer], int]] = [(text, [], len(layers))]
    tried = 0
    while waiting and tried < _MOST_CANDIDATES:
        found, undone, left = waiting.pop()
        tried += 1
        if undone:
            yield found, undone
        if found.data is not None:
            for layer in layers:
                yield from _old(found, layer, undone)
        for number in range(left):
            before = _fold.unfold(found, layers[number], tree)
            if before is not None and before != found:
                waiting.append((before, [*undone, layers[number]], number))


def _old(found: Text, layer: Layer, undone: Sequence[Layer]) -> Iterable[tuple[Text, list[Layer]]]:
    """The text without what the first stand-alone script wrote."""
    edit = layer.edits[0] if len(layer.edits) == 1 else None
    unmarked = edit.unmarked(found.data) if isinstance(edit, Reexport) and found.data is not None else None
    if unmarked is not None:
        yield found._replace(data=unmarked[1]), [*undone, layer]


def _of_blocks(blocks: Sequence[Block]) -> dict[str, Layer]:
    """What the marked blocks say, as one layer for each patch, by its name."""
    found: dict[str, Layer] = {}
    for block in blocks:
        name = block.owner.partition("/")[0]
        layer = found.get(name, Layer(name, block.revision, (), ()))
        found[name] = layer._replace(edits=(*layer.edits, Reexport("", block.source, block.names)))
    return found


def _damaged(fact: Damaged) -> str:
    if fact.newer:
        return "the fact about it cannot be used: %s. Use that release, or reinstall the distribution" % fact.reason
    return "the fact about it cannot be used: %s. Remove %s, or reinstall the distribution" % (fact.reason, fact.path)


def _other_version(fact: Fact, bare: Look) -> str:
    there = bare.distribution
    was = " ".join(str(each) for each in (fact.dist or ("an unknown distribution",))[:2] if each)
    now = " ".join(filter(None, (there.name, there.version))) if there else "no distribution"
    return "made from another version's file: expected a file of %s, found one of %s: reinstall it" % (now, was)


def _edited(fact: Fact) -> str:
    names = ", ".join(listed.name for listed in fact.patches)
    return "edited since primus.patches wrote it (%s, %s, by %s)" % (names, fact.when, fact.who)


def difference(expected: bytes, found: bytes) -> str:
    """The first line in which two texts differ, and how many do; short enough for a message."""
    before, after = expected.splitlines(), found.splitlines()
    for number, (left, right) in enumerate(zip([*before, b""], [*after, b""]), 1):
        if left != right:
            texts = [each.decode("utf-8", "replace").strip()[:_SHOWN] for each in (left, right)]
            return "line %d: expected %r, found %r" % (number, texts[0], texts[1])
    return "expected %d lines, found %d" % (len(before), len(after))
