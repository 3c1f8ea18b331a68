# Patches: what is to be edited. One schema for the catalogue and for definitions written out by the caller.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import keyword
import re
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence, Union

from . import _diff, _versions
from ._diff import Diff
from ._errors import DefinitionError
from ._reexport import Reexport
from ._replace import Replace

Edit = Union[Reexport, Replace, Diff]

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z")
_SOURCE = re.compile(r"\.*[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z", re.ASCII)  # (a block must be ASCII in any encoding)
_TEXTS = ("name", "package", "versions", "file", "reason", "upstream", "retire")
_KEYS = (*_TEXTS, "distribution", "applied_upstream", "requires", "revision", "edits", "previous")
_REQUIREMENT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*([<>=!~].*)?\Z")


class Revision(NamedTuple):
    """What one revision of a patch does."""

    number: int
    edits: tuple[Edit, ...]


class Patch(NamedTuple):
    """A named, documented edit of one distribution (headers after Debian's DEP-3)."""

    name: str
    package: str
    """Import package, dotted where it lies in a namespace."""
    versions: str
    """PEP 440 specifiers of the versions that the patch applies to."""
    file: str
    """Path of the file below the package, with forward slashes."""
    reason: str
    upstream: str
    retire: str
    revisions: tuple[Revision, ...]
    """The current one first, then earlier ones that are still recognised, newest first."""
    distribution: str | None = None
    requires: tuple[tuple[str, str], ...] = ()
    """Name and specifiers of other distributions of the environment."""
    applied_upstream: str | None = None
    """Specifiers of the versions in which upstream made an equivalent change (DEP-3's Applied-Upstream)."""

    @property
    def revision(self) -> int:
        """The current revision."""
        return self.revisions[0].number

    @property
    def module_package(self) -> str:
        """The dotted package that the file's module lives in: what its relative imports are relative to."""
        return ".".join([self.package, *self.file.split("/")[:-1]])


def load(definition: Any) -> Patch:
    """A Patch from its written form. Raises DefinitionError naming the patch, the key and the reason."""
    if not isinstance(definition, Mapping):
        raise DefinitionError("a patch definition must be a mapping, found %s" % _kind(definition))
    name = definition.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise DefinitionError("patch definition: name: expected lower-case letters, digits and _, found %r" % (name,))
    _known(name, "", definition, _KEYS)
    texts = {key: _text(name, key, definition.get(key)) for key in _TEXTS}
    if not _MODULE.match(texts["package"]):
        raise _wrong(name, "package", "expected a dotted import name, found %r" % texts["package"])
    parts = texts["file"].split("/")
    if texts["file"].startswith("/") or "\\" in texts["file"] or any(part in ("", ".", "..") for part in parts):
        raise _wrong(name, "file", "expected a path below the package, found %r" % texts["file"])
    _specifiers(name, "versions", texts["versions"])
    optional = {
        key: _text(name, key, definition[key]) for key in ("distribution", "applied_upstream") if key in definition
    }
    if "applied_upstream" in optional:
        _specifiers(name, "applied_upstream", optional["applied_upstream"])
    current = _revision(name, "", definition.get("revision", 1), definition.get("edits"))
    earlier = [_previous(name, entry) for entry in _list(name, "previous", definition.get("previous", []), "revisions")]
    earlier.sort(key=lambda revision: -revision.number)
    numbers = [revision.number for revision in (current, *earlier)]
    if any(left <= right for left, right in zip(numbers, numbers[1:])):
        raise _wrong(name, "previous", "expected revisions below %d, each once, found %s" % (numbers[0], numbers[1:]))
    requires = _list(name, "requires", definition.get("requires", []), "texts")
    patch = Patch(
        revisions=(current, *earlier),
        requires=tuple(_requirement(name, entry) for entry in requires),
        **texts,
        **optional,
    )
    for edit in (edit for revision in patch.revisions for edit in revision.edits if isinstance(edit, Reexport)):
        if len(edit.source) - len(edit.source.lstrip(".")) > patch.module_package.count(".") + 1:
            raise _wrong(name, "edits.reexport.source", "%s lies above the package %s" % (edit.source, patch.package))
    return patch


def _previous(name: str, entry: Any) -> Revision:
    if not isinstance(entry, Mapping):
        raise _wrong(name, "previous", "expected a mapping of revision and edits, found %s" % _kind(entry))
    _known(name, "previous.", entry, ("revision", "edits"))
    return _revision(name, "previous.", entry.get("revision"), entry.get("edits"))


def _revision(name: str, prefix: str, number: Any, edits: Any) -> Revision:
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise _wrong(name, prefix + "revision", "expected a whole number from 1, found %r" % (number,))
    entries = _list(name, prefix + "edits", edits, "edits")
    if not entries:
        raise _wrong(name, prefix + "edits", "expected at least one edit, found none")
    return Revision(number, tuple(_edit(name, prefix + "edits", entry) for entry in entries))


def _edit(name: str, key: str, edit: Any) -> Edit:
    if not isinstance(edit, Mapping) or len(edit) != 1 or next(iter(edit)) not in _KINDS:
        raise _wrong(name, key, "expected one of %s as the only key of an edit, found %r" % (", ".join(_KINDS), edit))
    kind, body = next(iter(edit.items()))
    return _KINDS[kind](name, "%s.%s" % (key, kind), body)


def _reexport(name: str, key: str, body: Any) -> Reexport:
    body = _mapping(name, key, body, ("source", "names"))
    source = _text(name, key + ".source", body.get("source"))
    if not _SOURCE.match(source):
        raise _wrong(name, key + ".source", "expected a module name such as .sibling, found %r" % source)
    names = _list(name, key + ".names", body.get("names"), "names")
    for item in names:
        if not isinstance(item, str) or not item.isidentifier() or not item.isascii() or keyword.iskeyword(item):
            raise _wrong(name, key + ".names", "expected a name, found %r" % (item,))
    if not names or len(set(names)) != len(names):
        raise _wrong(name, key + ".names", "expected different names, at least one, found %r" % (names,))
    return Reexport(source, tuple(names))


def _replace(name: str, key: str, body: Any) -> Replace:
    body = _mapping(name, key, body, ("before", "after", "count"))
    before, after = (_text(name, "%s.%s" % (key, part), body.get(part), blank=True) for part in ("before", "after"))
    if before == after:
        raise _wrong(name, key + ".after", "expected another text than before, found the same")
    if after in before:
        raise _wrong(
            name,
            key + ".after",
            "a text that is part of before cannot be told from it, nor undone: put more into after",
        )
    count = body.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise _wrong(name, key + ".count", "expected a whole number from 1, found %r" % (count,))
    return Replace(before, after, count)


def _unified(name: str, key: str, body: Any) -> Diff:
    try:
        return _diff.load(_text(name, key, body))
    except ValueError as error:
        raise _wrong(name, key, str(error)) from None


_KINDS: dict[str, Callable[[str, str, Any], Edit]] = {"reexport": _reexport, "replace": _replace, "diff": _unified}


def _requirement(name: str, entry: Any) -> tuple[str, str]:
    found = _REQUIREMENT.match(_text(name, "requires", entry).strip())
    if not found:
        raise _wrong(name, "requires", "expected a distribution and specifiers, no markers, found %r" % entry)
    specifiers = found.group(2) or ""
    _specifiers(name, "requires", specifiers)
    return found.group(1), specifiers


def _specifiers(name: str, key: str, specifiers: str) -> None:
    try:
        _versions.check(specifiers)
    except ValueError as error:
        raise _wrong(name, key, str(error)) from None


def select(
    names: Iterable[str] | None, definitions: Sequence[Any] | None, catalogue: Sequence[Any], look: bool = False
) -> tuple[list[Patch], list[Patch]]:
    """The patches that a task means, and all that it knows: ``name`` selects from the catalogue and ``definitions``.

    Without names all definitions are meant and, for a ``look``, without those either the whole catalogue. Raises
    DefinitionError for an unknown name, for a definition named as another one or as a patch of the catalogue, and where
    nothing is left to select.
    """
    known: dict[str, Patch] = {}
    for patch in map(load, catalogue):
        known[patch.name] = patch
    written = [load(definition) for definition in definitions or ()]
    for patch in written:
        if patch.name in known:
            raise _wrong(patch.name, "name", "a patch of that name exists already; give yours another one")
        known[patch.name] = patch
    if not names:
        if not written and not look:
            raise DefinitionError("nothing to do: give name (%s) or definitions" % ", ".join(sorted(known)))
        return written or list(known.values()), list(known.values())
    unknown = sorted(name for name in names if name not in known)
    if unknown:
        raise DefinitionError("unknown patch %s; known: %s" % (", ".join(unknown), ", ".join(sorted(known))))
    return [known[name] for name in dict.fromkeys(names)], list(known.values())


def _text(name: str, key: str, value: Any, blank: bool = False) -> str:
    if not isinstance(value, str) or not (value if blank else value.strip()):
        raise _wrong(name, key, "expected text, found %s" % _kind(value))
    return value


def _list(name: str, key: str, value: Any, of: str) -> list[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _wrong(name, key, "expected a list of %s, found %s" % (of, _kind(value)))
    return list(value)


def _mapping(name: str, key: str, value: Any, keys: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, key, "expected a mapping of %s, found %s" % (", ".join(keys), _kind(value)))
    _known(name, key + ".", value, keys)
    return value


def _known(name: str, prefix: str, mapping: Mapping[str, Any], keys: Sequence[str]) -> None:
    unknown = [str(key) for key in mapping if key not in keys]
    if unknown:
        raise _wrong(name, prefix + unknown[0], "unknown key; known: %s" % ", ".join(keys))


def _kind(value: Any) -> str:
    return "nothing" if value is None else "%s %r" % (type(value).__name__, value)


def _wrong(name: str, key: str, reason: str) -> DefinitionError:
    return DefinitionError("patch %s: %s: %s" % (name, key, reason))
