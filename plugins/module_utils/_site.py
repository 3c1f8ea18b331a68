# One environment during one call: what was found in the files of patches, and what is wanted in them. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterable, Iterator, Mapping, NamedTuple, Sequence, cast

from . import _edits, _evidence, _files, _fold, _home, _patch, _records
from ._edits import ABSENT, Text
from ._environment import Place
from ._errors import Conflict, Unsupported
from ._evidence import Look
from ._fold import Layer, Tree
from ._home import Home
from ._patch import Patch
from ._records import Distribution
from ._reexport import Reexport
from ._store import Store
from ._trust import Trust

if TYPE_CHECKING:
    from ._fold import Edit
    from ._replace import Replace

_MOST_FILES = 1000  # of one patch: a controller takes an answer that names as many (plugin_utils/_answer.py)


class Wish(NamedTuple):
    """What one file is to be."""

    look: Look
    base: Text
    layers: tuple[Layer, ...]
    after: Text


class Site:
    """What one call knows of its environment; ``put``, ``take`` and ``restore`` note what is wanted."""

    def __init__(
        self, path: str | None, patches: Sequence[Patch], trust: Trust, homes: Mapping[str, Home] | None = None
    ) -> None:
        self.path = path
        self.patches = {patch.name: patch for patch in patches}
        self.trust = trust
        self.coming: set[str] = set()
        """Names of patches that are still to be put in."""
        self._homes: dict[str, Home] = dict(homes or {})
        self._stores: dict[str, Store] = {}
        self._looks: dict[tuple[str, str], Look] = {}
        self._files: dict[str, dict[tuple[str, str], str]] = {}  # of each patch: its files, as its definition has them
        self._layers: dict[tuple[str, str], tuple[Layer, ...]] = {}
        self._bases: dict[tuple[str, str], Text] = {}
        self._trees: dict[tuple[str, str], Tree] = {}
        self._folds: dict[tuple[tuple[str, str], tuple[Layer, ...]], Text] = {}

    # --- where

    def home(self, patch: Patch) -> Home:
        """Where a patch is at home. Raises NoEnvironment where ``path`` is no directory."""
        if patch.name not in self._homes:
            self._homes[patch.name] = _home.find(patch, self.path)
        return self._homes[patch.name]

    def _store(self, root: str) -> Store:
        if root not in self._stores:
            self._stores[root] = Store(root, self.trust.guard())
        return self._stores[root]

    # --- what is there

    def looks(self, patch: Patch) -> list[Look]:
        """The files that a patch is for, and those in which it is listed. Raises Conflict, Unsupported and OSError."""
        home = self.home(patch)
        if home.root is None:
            return []
        found: dict[tuple[str, str], Look] = {}
        if not home.missing:
            files = self._files.setdefault(patch.name, {})
            for place, file in self._places(patch, home):
                files[place.root, place.relative] = file
                found[place.root, place.relative] = self.look(place, patch)
        for relative in self._store(home.root).naming(patch.name):
            key = (home.root, relative)
            kept = home.kept(relative)
            if key not in found and kept is not None:
                look = self.look(kept, patch)
                if look.entry(patch.name) or look.had(patch.name):
                    found[key] = look
        if len(found) > _MOST_FILES:
            raise Conflict("expected a patch of at most %d files, found %d" % (_MOST_FILES, len(found)))
        return list(found.values())

    def look(self, place: Place, patch: Patch) -> Look:
        """One file, looked at once in a call."""
        key = (place.root, place.relative)
        if key not in self._looks:
            home = self.home(patch)
            parents = [place.root, home.directory or place.root, os.path.dirname(place.path), place.path]
            self.trust.check(*[each for each in parents if _files.look(each, follow=False)])
            known = list(self._known(place))
            look = _evidence.look(
                place, self.home(patch).names, known, self.tree(place), self._store(place.root), self.trust
            )
            self._looks[key] = look
        return self._looks[key]

    def _places(self, patch: Patch, home: Home) -> Iterator[tuple[Place, str]]:
        for file in patch.files():
            if not _edits.is_pattern(file):
                place = home.place(file)
                if place is not None:
                    yield place, file
        for edit in _over(patch):
            yield from self._matching(patch, home, edit)

    def _matching(self, patch: Patch, home: Home, edit: Replace) -> Iterator[tuple[Place, str]]:
        """The files of a pattern that have something to be replaced, or something of ours."""
        for file in home.files():
            if _edits.matches(edit.file, file):
                place = home.place(file)
                if place is not None:
                    text = _evidence.read(place.path, self.trust)
                    here = text.data is not None and edit._replace(file=file).count(text)
                    if here or self._store(place.root).facts(place.relative) or self._made(patch, place, file, text):
                        yield place, file

    def _made(self, patch: Patch, place: Place, file: str, text: Text) -> bool:
        """Whether RECORD or git proves that a patch is in a file of which no fact is left."""
        layer = Layer(patch.name, patch.revision, patch.after, patch.on(file))
        before = _fold.unfold(text, layer, self.tree(place))
        return before not in (None, text) and self.look(place, patch).entry(patch.name) is not None

    def _known(self, place: Place) -> Iterator[tuple[Patch, Layer]]:
        """All patches that the caller knows of, each with what it would do to a file."""
        for patch in self.patches.values():
            for file in self._definitions(patch, place):
                edits = patch.on(file)
                if edits:
                    yield patch, Layer(patch.name, patch.revision, patch.after, edits)

    def _definitions(self, patch: Patch, place: Place) -> Iterator[str]:
        if patch.package:
            prefix = patch.package.replace(".", "/") + "/"
            if place.relative.startswith(prefix):
                yield place.relative[len(prefix) :]
        else:
            yield place.relative

    # --- what a patch would have in its files

    def edits(self, patch: Patch, look: Look) -> tuple[Edit, ...]:
        """The edits of a patch in one file; none where the file is not, or no longer, one of its."""
        file = self._files.get(patch.name, {}).get((look.place.root, look.place.relative))
        return patch.on(file) if file is not None else ()

    def wanted(self, patch: Patch) -> dict[str, str]:
        """The files that a patch is to be in, each with the digest of its edits there. Raises Conflict.

        Not those that have by themselves what it would make.
        """
        found: dict[str, str] = {}
        for key, file in self._files.get(patch.name, {}).items():
            look = self._looks[key]
            meant = file in patch.files() or any(self._counts(patch, look))
            if meant and (look.entry(patch.name) or not self._idle(patch, look)):
                found[key[1]] = _patch.digest(patch.on(file))
        return found

    def check_counts(self, patch: Patch) -> None:
        """Raise Conflict where an edit over several files has not the number of occurrences that it asks for."""
        for number, edit in enumerate(_over(patch)):
            looks = [self._looks[key] for key in self._files.get(patch.name, {})]
            total = sum(self._counts(patch, look)[number] for look in looks)
            if not total or (edit.occurrences and edit.occurrences != total):
                wanted = edit.occurrences or "at least one"
                raise Conflict("expected %s of what is to be replaced in %s, found %d" % (wanted, edit.file, total))

    def _counts(self, patch: Patch, look: Look) -> list[int]:
        """How often each edit over several files has something to replace in the original of one."""
        file = self._files[patch.name][look.place.root, look.place.relative]
        base = self.base(look)
        return [
            edit._replace(file=file).count(base) if _edits.matches(edit.file, file) and base.data is not None else 0
            for edit in _over(patch)
        ]

    def _idle(self, patch: Patch, look: Look) -> bool:
        """Whether a patch has nothing to do in a file, as far as that can be told."""
        try:
            return self.unchanged(patch, look)
        except (Conflict, Unsupported):
            return False

    def unchanged(self, patch: Patch, look: Look) -> bool:
        """Whether a file without a patch says already what that would have it say; also once it is wished for.

        Raises Conflict and Unsupported.
        """
        others = tuple(layer for layer in self.layers(look) if layer.name != patch.name)
        return self._with_each(look, self._with(patch, look, others)) == self.fold(look, others)

    def try_fold(self, patch: Patch, looks: Sequence[Look]) -> None:
        """Raise Conflict or Unsupported where a patch cannot be made in one of its files."""
        for look in looks:
            others = tuple(layer for layer in self.layers(look) if not self._gives_way(layer, look))
            try:
                self._with_each(look, self._with(patch, look, others))
            except (Conflict, Unsupported) as error:
                if len(looks) == 1 or look.place.path in str(error):
                    raise
                raise type(error)("%s: %s" % (look.place.path, error)) from None

    def _gives_way(self, layer: Layer, look: Look) -> bool:
        """Whether a patch is in a file in another form than the one that it is still to have."""
        forms = [_patch.digest(each.edits) for _of, each in self._known(look.place) if each.name == layer.name]
        return layer.name in self.coming and _patch.digest(layer.edits) not in forms

    def unmarked(self, patch: Patch, look: Look) -> str:
        """What is to be said of the block that the first stand-alone script wrote; nothing where there is none."""
        for edit in self.edits(patch, look):
            found = edit.unmarked(look.text.data) if isinstance(edit, Reexport) and look.text.data else None
            if found:
                return (
                    ", by the unmarked block at line %d that the old stand-alone script wrote (state absent leaves it: "
                    "nothing proves the original)" % found[0]
                )
        return ""

    # --- what is wanted

    def layers(self, look: Look) -> tuple[Layer, ...]:
        """What is to be in a file: at first what is listed, by the caller's own definitions where they are the same."""
        key = (look.place.root, look.place.relative)
        if key not in self._layers:
            self._layers[key] = tuple(_evidence.layer_of(listed, look.place.relative) for listed in look.listed)
        return self._layers[key]

    def put(self, patch: Patch, looks: Iterable[Look]) -> None:
        """Have a patch in its files, and in no others."""
        for look in looks:
            layers = self._with(patch, look, self.layers(look))
            self._layers[look.place.root, look.place.relative] = layers

    def take(self, patch: Patch, looks: Iterable[Look]) -> None:
        """Have a patch in none of these files. Raises Conflict where an original cannot be had."""
        for look in looks:
            layers = tuple(layer for layer in self.layers(look) if layer.name != patch.name)
            self.base(look)
            try:
                self.fold(look, layers)
            except (Conflict, Unsupported) as error:
                raise Conflict(
                    "patch %s stands on %s in %s: take both out, or keep both (%s)"
                    % (self._failing(look, layers), patch.name, look.place.path, error)
                ) from None
            self._layers[look.place.root, look.place.relative] = layers

    def _failing(self, look: Look, layers: Iterable[Layer]) -> str:
        """The name of the first patch that cannot be made, of several that cannot be made together."""
        ordered = _fold.order(layers)
        for number, layer in enumerate(ordered):
            try:
                self.fold(look, ordered[: number + 1])
            except (Conflict, Unsupported):
                return layer.name
        return ordered[-1].name

    def restore(self, look: Look) -> None:
        """Have the kept original of a file that was edited since. Raises Conflict where it is gone."""
        if look.edited is None:
            return
        key = (look.place.root, look.place.relative)
        self._bases[key] = _evidence.original(
            look._replace(fact=look.edited), self.tree(look.place), self._store(key[0])
        )
        self._layers[key] = ()

    def wishes(self) -> Iterator[Wish]:
        """All files about which something is wanted."""
        for key, layers in sorted(self._layers.items()):
            look = self._looks[key]
            if layers != tuple(_evidence.layer_of(listed, key[1]) for listed in look.listed) or key in self._bases:
                base = self.base(look)
                yield Wish(look, base, _fold.order(layers), self.fold(look, layers))

    def base(self, look: Look) -> Text:
        """The original of a file. Raises Conflict where it is gone."""
        key = (look.place.root, look.place.relative)
        if key not in self._bases:
            self._bases[key] = _evidence.original(look, self.tree(look.place), self._store(key[0]))
        return self._bases[key]

    def fold(self, look: Look, layers: tuple[Layer, ...]) -> Text:
        """The file with these layers. Raises Conflict and Unsupported."""
        key = ((look.place.root, look.place.relative), layers)
        if key not in self._folds:
            self._folds[key] = _fold.fold(look.place.path, self.base(look), layers, self.tree(look.place))
        return self._folds[key]

    def _with_each(self, look: Look, layers: tuple[Layer, ...]) -> Text:
        """The file with these layers, each of which shows in it. Raises Conflict and Unsupported."""
        made = self.fold(look, layers)
        _fold.check_each(look.place.path, self.base(look), layers, self.tree(look.place))
        return made

    def _with(self, patch: Patch, look: Look, layers: Iterable[Layer]) -> tuple[Layer, ...]:
        others = tuple(layer for layer in layers if layer.name != patch.name)
        edits = self.edits(patch, look)
        return (*others, Layer(patch.name, patch.revision, patch.after, edits)) if edits else others

    # --- what edits may ask, and what facts say

    def tree(self, place: Place) -> Tree:
        """What edits of a file may ask about the files around it."""
        package = "" if place.relative.startswith("../") else ".".join(place.relative.split("/")[:-1])

        def module(name: str) -> tuple[str, bytes] | None:
            if name.partition(".")[0] != package.partition(".")[0]:
                return None
            stem = os.path.join(place.root, *name.split("."))
            for path in (os.path.join(stem, "__init__.py"), stem + ".py"):  # (in the order of Python's own finder)
                text = self._wanted_text(Place(path, place.root, os.path.relpath(path, place.root)))
                if text.data is not None:
                    return path, text.data
            return None

        def other(name: str, path: str) -> Text:
            return self._original_of(place, name, path)

        return self._trees.setdefault((place.root, place.relative), Tree(package, module, other, {}))

    def _wanted_text(self, place: Place) -> Text:
        look = self._looks.get((place.root, place.relative))
        if look is None or (place.root, place.relative) not in self._layers:
            return _evidence.read(place.path, self.trust)
        return self.fold(look, self._layers[place.root, place.relative])

    def _original_of(self, place: Place, name: str, path: str) -> Text:
        """The original of another file of a patch. ``path``: as the patch's edits have it."""
        files = self._files.get(name, {})
        key = next((key for key, file in files.items() if file == path and key[0] == place.root), None)
        if key is None:  # (a listed patch that the caller does not know: its paths count from a directory above)
            parts = place.relative.split("/")
            tails = ["/".join([*parts[:count], path]) for count in range(len(parts) - 1, -1, -1)]
            key = next(((place.root, each) for each in tails if (place.root, each) in self._looks), None)
        if key is None:
            return ABSENT
        return self.base(self._looks[key])

    def explained(self, look: Look) -> str:
        """The problem of a file, with what was written there where that can be told, and the ways out."""
        if look.edited is None:
            return str(look.problem)
        said = ""
        try:
            base = _evidence.original(
                look._replace(fact=look.edited), self.tree(look.place), self._store(look.place.root)
            )
            layers = [_evidence.layer_of(listed, look.place.relative) for listed in look.edited.patches]
            wrote = _fold.fold(look.place.path, base, layers, self.tree(look.place))
            said = ": " + _evidence.difference(wrote.data or b"", look.text.data or b"")
        except (Conflict, Unsupported):
            pass
        return (
            "%s%s. Reinstall it or check it out, or use state absent with restore: true, which gives the original back"
            % (
                look.problem,
                said,
            )
        )

    def relatives(self, name: str) -> tuple[str, ...]:
        """The files that a patch of this call is to be in, below the root; none for another one."""
        return tuple(sorted(self.wanted(self.patches[name]))) if name in self._files else ()


def _over(patch: Patch) -> list[Replace]:
    """The edits over several files: only a replace may be one."""
    return [cast("Replace", edit) for edit in patch.edits if _edits.is_pattern(edit.file)]


def identity(owner: Distribution) -> tuple[str, str | None, str, str | None]:
    """A distribution as a fact names it."""
    return owner.name, owner.version, os.path.basename(owner.info), _records.record_digest(owner)


def new_directories(place: Place) -> tuple[str, ...]:
    """The directories above a file that are not there yet, below the root."""
    found: list[str] = []
    above = os.path.dirname(place.relative)
    while above and not _files.look(os.path.join(place.root, above)):
        found.append(above)
        above = os.path.dirname(above)
    return tuple(found)
