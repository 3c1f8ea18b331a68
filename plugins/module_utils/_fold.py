# Folds: a file's content is the edits of the patches listed in it, in one order, over the original. Pure.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Iterable, NamedTuple, Sequence, Union

from . import _edits
from ._edits import Target, Text
from ._errors import Conflict, Unsupported
from ._reexport import Reexport

if TYPE_CHECKING:  # (a kind of edit is imported where there is one: of a payload, all that is imported is compiled)
    from ._diff import Diff
    from ._replace import Replace
    from ._whole import Delete, Write

    Edit = Union[Reexport, Replace, Diff, Write, Delete]


class Layer(NamedTuple):
    """What one patch does to one file."""

    name: str
    revision: int
    after: tuple[str, ...]
    """Names of patches that come before it, where they are in the file as well."""
    edits: tuple[Edit, ...]


class Tree(NamedTuple):
    """What edits may ask about the files around theirs."""

    package: str
    """The dotted package that the file's module lives in; empty where there is none."""
    module: Callable[[str], tuple[str, bytes] | None]
    other: Callable[[str, str], Text]
    """Of a patch's name and a file's path: the original of that file."""
    made: dict[tuple[Text, Layer], Text] | None = None
    """What layers made of this file's texts so far: of several patches each is tried with and without each other."""


def order(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """The layers as they are folded: each behind those that it names in ``after``, else by name.

    The same for every order of application. Raises Conflict for patches that name each other.
    """
    return tuple(behind(sorted(layers)))


def behind(named: Iterable[Any]) -> list[Any]:
    """Layers, or patches, each behind those that it names in ``after``, else as given. Raises Conflict as ``order``."""
    left = list(named)
    found = []
    while left:
        names = {each.name for each in left}
        ready = next((each for each in left if not names.intersection(each.after)), None)
        if ready is None:
            raise Conflict(
                "expected an order, found patches that each come after the other: %s" % ", ".join(sorted(names))
            )
        left.remove(ready)
        found.append(ready)
    return found


def fold(file: str, base: Text, layers: Iterable[Layer], tree: Tree) -> Text:
    """The file with all layers over ``base``. Raises Conflict and Unsupported, as the edits do."""
    ordered = order(layers)
    text = base
    for number, layer in enumerate(ordered):
        try:
            text = _over(text, layer, tree)
        except (Conflict, Unsupported) as error:
            raise _claimed(file, base, ordered[:number], layer, tree) or error from None
    if text != base:
        try:
            _edits.check(file, base, text)
        except Conflict as error:
            raise _claimed(file, base, ordered[:-1], ordered[-1], tree) or error from None
    return text


def check_each(file: str, base: Text, layers: Iterable[Layer], tree: Tree) -> None:
    """Raise Conflict where nothing is left of what one layer makes: its state would never be true."""
    ordered = order(layers)
    if not any(map(_makes_anew, ordered[1:])):
        return
    texts = [base]
    for layer in ordered:
        texts.append(_over(texts[-1], layer, tree))
    for number, layer in enumerate(ordered):
        above = ordered[number + 1 :]
        if texts[number] == texts[number + 1] or not any(map(_makes_anew, above)):
            continue
        text = texts[number]
        try:
            for each in above:
                text = _over(text, each, tree)
        except (Conflict, Unsupported):
            continue
        if text == texts[-1]:
            raise _claim(layer.name, [each.name for each in above if _makes_anew(each)], file)


def _makes_anew(layer: Layer) -> bool:
    """Whether a layer may take away what it does not name."""
    made = [each for edit in layer.edits for each in edit.normal().items()]
    for kind, body in made:
        if kind in ("write", "delete") or (kind == "replace" and ("pattern" in body or body.get("count") == "all")):
            return True
    return False


def unfold(text: Text, layer: Layer, tree: Tree) -> Text | None:
    """A candidate for what ``text`` was before ``layer``, for evidence to confirm; None where there cannot be one."""
    found: Text | None = text
    for number, edit in reversed(list(enumerate(layer.edits))):
        found = edit.undo(found, _target(layer, number, tree)) if found is not None else None
    return found


def _over(text: Text, layer: Layer, tree: Tree) -> Text:
    if tree.made is None:
        return _made(text, layer, tree)
    if (text, layer) not in tree.made:
        tree.made[text, layer] = _made(text, layer, tree)
    return tree.made[text, layer]


def _made(text: Text, layer: Layer, tree: Tree) -> Text:
    for number, edit in enumerate(layer.edits):
        text = edit.do(text, _target(layer, number, tree))
    for edit in layer.edits if len(layer.edits) > 1 else ():
        if isinstance(edit, Reexport) and text.data is not None:  # (another edit may have taken a name away)
            edit.prove(text.data, tree.package)
    return text


def _target(layer: Layer, number: int, tree: Tree) -> Target:
    owner = layer.name if number == 0 else "%s/%d" % (layer.name, number + 1)
    return Target(tree.package, owner, layer.revision, tree.module, partial(tree.other, layer.name))


def _claimed(file: str, base: Text, below: Sequence[Layer], layer: Layer, tree: Tree) -> Conflict | None:
    """The conflict of a layer with those below it, where it would do without them; None where it is its own."""
    try:
        _edits.check(file, base, _over(base, layer, tree))
    except (Conflict, Unsupported):
        return None
    names = [each.name for each in below]
    for each in below:
        try:
            _edits.check(file, base, _over(_over(base, each, tree), layer, tree))
        except (Conflict, Unsupported):
            names = [each.name]
            break
    if not names:
        return None
    return _claim(layer.name, names, file)


def _claim(name: str, others: Sequence[str], file: str) -> Conflict:
    return Conflict(
        "patches %s and %s claim the same text of %s: take one of them out first" % (name, ", ".join(others), file)
    )
