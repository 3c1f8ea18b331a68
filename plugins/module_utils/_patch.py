# Patches: what is to be edited. One schema for the catalogue and for definitions written out by the caller.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import keyword
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import _versions
from ._edits import Reexport
from ._errors import DefinitionError

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z")
_SOURCE = re.compile(r"\.*[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z", re.ASCII)  # (the block must be ASCII in any encoding)
_TEXTS = ("name", "package", "versions", "file", "reason", "upstream", "retire")
_KEYS = (*_TEXTS, "distribution", "revision", "edits")


class Patch(NamedTuple):
    """A named, documented edit of one distribution (headers after Debian's DEP-3)."""

    name: str
    package: str
    """Import package, dotted where it lies in a namespace."""
    versions: str
    """PEP 440 specifiers of the versions that the patch applies to."""
    file: str
    """Path of the file below the package, with forward slashes."""
    revision: int
    reason: str
    upstream: str
    retire: str
    edits: Tuple[Reexport, ...]
    distribution: Optional[str] = None

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
    try:
        _versions.check(texts["versions"])
    except ValueError as error:
        raise _wrong(name, "versions", str(error)) from None
    distribution = definition.get("distribution")
    if distribution is not None:
        distribution = _text(name, "distribution", distribution)
    revision = definition.get("revision", 1)
    if not isinstance(revision, int) or isinstance(revision, bool) or revision < 1:
        raise _wrong(name, "revision", "expected a whole number from 1, found %r" % (revision,))
    edits = definition.get("edits")
    if not isinstance(edits, Sequence) or isinstance(edits, str) or len(edits) != 1:
        raise _wrong(name, "edits", "expected a list of one edit, found %s" % _kind(edits))
    patch = Patch(
        edits=tuple(_edit(name, edit) for edit in edits), distribution=distribution, revision=revision, **texts
    )
    for edit in patch.edits:
        if len(edit.source) - len(edit.source.lstrip(".")) > patch.module_package.count(".") + 1:
            raise _wrong(name, "edits.reexport.source", "%s lies above the package %s" % (edit.source, patch.package))
    return patch


def _edit(name: str, edit: Any) -> Reexport:
    if not isinstance(edit, Mapping) or list(edit) != ["reexport"] or not isinstance(edit["reexport"], Mapping):
        raise _wrong(name, "edits", "expected 'reexport: {source: ..., names: [...]}', found %r" % (edit,))
    body = edit["reexport"]
    _known(name, "edits.reexport.", body, ("source", "names"))
    source = _text(name, "edits.reexport.source", body.get("source"))
    if not _SOURCE.match(source):
        raise _wrong(name, "edits.reexport.source", "expected a module name such as .sibling, found %r" % source)
    names = body.get("names")
    if not isinstance(names, Sequence) or isinstance(names, str) or not names or len(set(map(str, names))) != len(names):
        raise _wrong(name, "edits.reexport.names", "expected a list of different names, found %r" % (names,))
    for item in names:
        if not isinstance(item, str) or not item.isidentifier() or not item.isascii() or keyword.iskeyword(item):
            raise _wrong(name, "edits.reexport.names", "expected a name, found %r" % (item,))
    return Reexport(source, tuple(names))


def select(names: Optional[Iterable[str]], definitions: Optional[Sequence[Any]], catalogue: Sequence[Any]) -> List[Patch]:
    """The patches that a task means: ``name`` selects from the catalogue extended by ``definitions``.

    Without names all definitions are meant. Raises DefinitionError for an unknown name, for a definition named as
    another one or as a patch of the catalogue, and where nothing is left to select.
    """
    known: Dict[str, Patch] = {}
    for patch in map(load, catalogue):
        known[patch.name] = patch
    written = [load(definition) for definition in definitions or ()]
    for patch in written:
        if patch.name in known:
            raise _wrong(patch.name, "name", "a patch of that name exists already; give yours another one")
        known[patch.name] = patch
    if not names:
        if not written:
            raise DefinitionError("nothing to do: give name (%s) or definitions" % ", ".join(sorted(known)))
        return written
    unknown = sorted(name for name in names if name not in known)
    if unknown:
        raise DefinitionError("unknown patch %s; known: %s" % (", ".join(unknown), ", ".join(sorted(known))))
    return [known[name] for name in dict.fromkeys(names)]


def _text(name: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, key, "expected text, found %s" % _kind(value))
    return value


def _known(name: str, prefix: str, mapping: Mapping[str, Any], keys: Sequence[str]) -> None:
    unknown = [str(key) for key in mapping if key not in keys]
    if unknown:
        raise _wrong(name, prefix + unknown[0], "unknown key; known: %s" % ", ".join(keys))


def _kind(value: Any) -> str:
    return "nothing" if value is None else "%s %r" % (type(value).__name__, value)


def _wrong(name: str, key: str, reason: str) -> DefinitionError:
    return DefinitionError("patch %s: %s: %s" % (name, key, reason))
