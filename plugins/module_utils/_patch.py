# Patches: what is to be edited. One schema for the catalogue and for definitions written out by the caller.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import keyword
import re
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence, Union

from . import _edits, _replace, _unified, _versions
from ._diff import Diff
from ._errors import DefinitionError
from ._reexport import Reexport
from ._replace import Replace
from ._whole import NOTHING, Delete, Write

Edit = Union[Reexport, Replace, Diff, Write, Delete]

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z")
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_IMPORT = re.compile(r"%s(?::%s(?:,%s)*)?\Z" % (_DOTTED, _DOTTED, _DOTTED))
_SOURCE = re.compile(r"\.*[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z", re.ASCII)  # (a block must be ASCII in any encoding)
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_REQUIREMENT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*([<>=!~].*)?\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TEXTS = ("name", "versions", "reason", "upstream", "retire")
_OPTIONAL = ("package", "distribution", "applied_upstream", "file")
KEYS = (*_TEXTS, *_OPTIONAL, "when", "requires", "revision", "after", "edits")
_LONGEST = 16 * 1024 * 1024  # characters of one text: no file is larger
_MOST = 10_000  # entries of one list
_SHOWN = 200  # characters of a value that an error quotes


class Patch(NamedTuple):
    """A named, documented edit of one distribution, over one or several files (headers after Debian's DEP-3)."""

    name: str
    package: str | None
    """Import package, dotted where it lies in a namespace; files are relative to it. None: as RECORD lists them."""
    distribution: str | None
    """Which must be given where ``package`` is not."""
    versions: str
    """PEP 440 specifiers of the versions that the patch applies to, or ``*``."""
    when: tuple[tuple[str, str], ...]
    """Name and specifiers of distributions: the patch is needed only where all are there."""
    requires: tuple[tuple[str, str], ...]
    """Name and specifiers of distributions that must be there."""
    applied_upstream: str | None
    """Specifiers of the versions in which upstream made an equivalent change (DEP-3's Applied-Upstream)."""
    revision: int
    after: tuple[str, ...]
    """Names of patches that come first, where they are in the same file."""
    reason: str
    upstream: str
    retire: str
    edits: tuple[Edit, ...]

    def files(self) -> tuple[str, ...]:
        """The files of the edits, each once; with forward slashes, and patterns as they are."""
        return tuple(dict.fromkeys(edit.file for edit in self.edits))

    def on(self, file: str) -> tuple[Edit, ...]:
        """The edits of one file; those of a pattern that stands for it are given as this file's."""
        found: list[Edit] = []
        for edit in self.edits:
            if edit.file == file:
                found.append(edit)
            elif _edits.is_pattern(edit.file) and _edits.matches(edit.file, file):
                found.append(edit._replace(file=file))
        return tuple(found)

    def module_package(self, file: str) -> str:
        """The dotted package that a file's module lives in, empty where there is none."""
        parts = file.split("/")[:-1]
        return ".".join([*([self.package] if self.package else []), *(parts if ".." not in parts else [])])


def load(definition: Any) -> Patch:
    """A Patch from its written form. Raises DefinitionError naming the patch, the key and the reason."""
    if not isinstance(definition, Mapping):
        raise DefinitionError("a patch definition must be a mapping, found %s" % _kind(definition))
    name = definition.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise DefinitionError("patch definition: name: expected lower-case letters, digits and _, found %r" % (name,))
    _known(name, "", definition, KEYS)
    texts = {key: _text(name, key, definition.get(key)) for key in _TEXTS}
    optional = {key: _text(name, key, definition[key]) if key in definition else None for key in _OPTIONAL}
    package, distribution = optional["package"], optional["distribution"]
    if package is None and distribution is None:
        raise _wrong(name, "package", "expected it, or distribution alone, found neither")
    if package is not None and not _MODULE.match(package):
        raise _wrong(name, "package", "expected a dotted import name, found %r" % package)
    if distribution is not None and not _DISTRIBUTION.match(distribution):
        raise _wrong(name, "distribution", "expected the name of a distribution, found %r" % distribution)
    for key, specifiers in (("versions", texts["versions"]), ("applied_upstream", optional["applied_upstream"])):
        _specifiers(name, key, specifiers or "")
    revision = definition.get("revision", 1)
    if not _is_number(revision):
        raise _wrong(name, "revision", "expected a whole number from 1, found %r" % (revision,))
    patch = Patch(
        package=package,
        distribution=distribution,
        applied_upstream=optional["applied_upstream"],
        when=_requirements(name, "when", definition),
        requires=_requirements(name, "requires", definition),
        revision=revision,
        after=tuple(_other(name, entry) for entry in _list(name, "after", definition.get("after", []), "names")),
        edits=_of_definition(name, package, optional["file"], definition.get("edits")),
        **texts,
    )
    for edit in patch.edits:
        _at_home(patch, edit)
    return patch


def _of_definition(name: str, package: str | None, file: str | None, entries: Any) -> tuple[Edit, ...]:
    listed = _list(name, "edits", entries, "edits")
    if not listed:
        raise _wrong(name, "edits", "expected at least one edit, found none")
    return tuple(edit for entry in listed for edit in _edit(name, package, file, entry))


def _edit(name: str, package: str | None, file: str | None, edit: Any) -> list[Edit]:
    kinds = [key for key in edit if key != "file"] if isinstance(edit, Mapping) else []
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise _wrong(
            name,
            "edits",
            "expected one of %s as the only key of an edit besides file, found %s" % (", ".join(KINDS), _kind(edit)),
        )
    key = "edits." + kinds[0]
    file = _text(name, "edits.file", edit["file"]) if "file" in edit else file
    body = edit[kinds[0]]
    if kinds[0] == "diff":
        return _unified_diff(name, key, body, package, file)
    if file is None:
        raise _wrong(name, "file", "expected the file of the edit %s, found none" % kinds[0])
    return [KINDS[kinds[0]](name, key, body, file)]


def _at_home(patch: Patch, edit: Edit) -> None:
    """Raise DefinitionError where the file of an edit, or what it names, is not where it may be."""
    moved = [edit.source] if isinstance(edit, Diff) and edit.source else []
    for file in (edit.file, *moved):
        parts = file.split("/")
        if patch.package is None:
            where = "a path as RECORD lists it"
            while parts[0] == ".." and len(parts) > 1:
                parts = parts[1:]
        else:
            where = "a path below the package"
        if "\\" in file or "\0" in file or any(part in ("", ".", "..") for part in parts):
            raise _wrong(patch.name, "file", "expected %s, found %r" % (where, file))
    if _edits.is_pattern(edit.file) and not isinstance(edit, Replace):
        raise _wrong(patch.name, "file", "expected one file, found %r; only a replace may be over several" % edit.file)
    if isinstance(edit, Reexport):
        home = patch.module_package(edit.file)
        level = len(edit.source) - len(edit.source.lstrip("."))
        if level > (home.count(".") + 1 if home else 0):
            above = "the package %s" % patch.package if patch.package else edit.file
            raise _wrong(patch.name, "edits.reexport.source", "%s lies above %s" % (edit.source, above))


# --- the kinds of edits


def _reexport(name: str, key: str, body: Any, file: str) -> Edit:
    body = _mapping(name, key, body, ("source", "names"))
    source = _text(name, key + ".source", body.get("source"))
    if not _SOURCE.match(source):
        raise _wrong(name, key + ".source", "expected a module name such as .sibling, found %r" % source)
    names = _list(name, key + ".names", body.get("names"), "names")
    for item in names:
        if not isinstance(item, str) or not item.isidentifier() or not item.isascii() or keyword.iskeyword(item):
            raise _wrong(name, key + ".names", "expected a name, found %s" % _quoted(item))
    if not names or len(set(names)) != len(names):
        raise _wrong(name, key + ".names", "expected different names, at least one, found %s" % _quoted(names))
    return Reexport(file, source, tuple(names))


def _replaced(name: str, key: str, body: Any, file: str) -> Edit:
    body = _mapping(name, key, body, ("before", "pattern", "after", "count", "partial"))
    given = [each for each in ("before", "pattern") if each in body]
    if len(given) != 1:
        raise _wrong(name, key, "expected either before or pattern, found %s" % (" and ".join(given) or "neither"))
    before = _lf(_text(name, "%s.%s" % (key, given[0]), body[given[0]], blank=True))
    after = _lf(_text(name, key + ".after", body.get("after"), empty=True))
    count, partial = body.get("count", 1), body.get("partial", False)
    if count != "all" and not _is_number(count):
        raise _wrong(name, key + ".count", "expected a whole number from 1, or all, found %r" % (count,))
    if not isinstance(partial, bool):
        raise _wrong(name, key + ".partial", "expected true or false, found %r" % (partial,))
    if before == after:
        raise _wrong(name, key + ".after", "expected another text than %s, found the same" % given[0])
    if given[0] == "pattern":
        _template(name, key, before, after)
    occurrences = 0 if count == "all" else count
    return Replace(file, before, after, occurrences, partial, given[0] == "pattern", _edits.is_pattern(file))


def _template(name: str, key: str, pattern: str, after: str) -> None:
    """Raise DefinitionError unless the pattern is one, and ``after`` a template for it."""
    try:
        expression = _replace.expression(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise _wrong(name, key + ".pattern", "expected a Python regular expression: %s" % error) from None
    try:
        expression.sub(after, "")
    except (re.error, IndexError) as error:
        raise _wrong(name, key + ".after", "expected a template for the pattern: %s" % error) from None


def _unified_diff(name: str, key: str, body: Any, package: str | None, file: str | None) -> list[Edit]:
    try:
        return list(_unified.load(_text(name, key, body, escaped=True), package, file))
    except ValueError as error:
        raise _wrong(name, key, str(error)) from None


def _write(name: str, key: str, body: Any, file: str) -> Edit:
    body = _mapping(name, key, body, ("content", "replaces"))
    content = _lf(_text(name, key + ".content", body.get("content"), empty=True))
    return Write(file, content, _digest_of(name, key, body, "a SHA-256 or " + NOTHING, (NOTHING,)))


def _delete(name: str, key: str, body: Any, file: str) -> Edit:
    body = _mapping(name, key, {} if body is None else body, ("replaces",))
    return Delete(file, _digest_of(name, key, body, "a SHA-256", ()))


def _digest_of(name: str, key: str, body: Mapping[str, Any], wanted: str, words: Sequence[str]) -> str | None:
    if "replaces" not in body:
        return None
    found = _text(name, key + ".replaces", body["replaces"])
    if found not in words and not _SHA256.match(found):
        raise _wrong(name, key + ".replaces", "expected %s, found %r" % (wanted, found[:_SHOWN]))
    return found


def _diff_of_fact(name: str, key: str, body: Any, file: str) -> Edit:
    body = _mapping(name, key, body, ("hunks", "source", "creates", "removes", "executable"))
    if not all(isinstance(body.get(each, False), bool) for each in ("creates", "removes", "executable")):
        raise _wrong(name, key, "expected true or false, found %s" % _kind(body))
    source = _text(name, key + ".source", body["source"], escaped=True) if "source" in body else None
    try:
        hunks = _unified.hunks(_text(name, key + ".hunks", body.get("hunks"), empty=True, escaped=True))
    except ValueError as error:
        raise _wrong(name, key, str(error)) from None
    return Diff(file, hunks, source, body.get("creates", False), body.get("removes", False), body.get("executable"))


KINDS: dict[str, Callable[[str, str, Any, str], Edit]] = {
    "reexport": _reexport,
    "replace": _replaced,
    "diff": _diff_of_fact,
    "write": _write,
    "delete": _delete,
}


# --- the normalised form, in facts


def stored(edits: Iterable[Edit]) -> list[dict[str, Any]]:
    """The edits of one file as a fact holds them, for ``restored``."""
    return [edit.normal() for edit in edits]


def digest(edits: Iterable[Edit]) -> str:
    """SHA-256, in hex, of the normalised edits of one file: the same however a definition was written."""
    text = json.dumps(stored(edits), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def restored(file: str, entries: Any) -> tuple[Edit, ...]:
    """The edits that ``stored`` gave, of this file. Raises DefinitionError where they are something else."""
    found: list[Edit] = []
    for entry in _list("of a fact", "edits", entries, "edits"):
        if not isinstance(entry, Mapping) or len(entry) != 1 or next(iter(entry)) not in KINDS:
            raise _wrong("of a fact", "edits", "expected one edit, found %s" % _kind(entry))
        kind, body = next(iter(entry.items()))
        said = {each: isinstance(body, Mapping) and body.get(each) is True for each in ("over", "moved")}
        if any(said.values()):
            body = {each: value for each, value in body.items() if each not in said}
        edit = KINDS[kind]("of a fact", "edits." + kind, body, file)
        if isinstance(edit, Replace):
            edit = edit._replace(over=said["over"])
        if isinstance(edit, Delete):
            edit = edit._replace(moved=said["moved"])
        found.append(edit)
    return tuple(found)


# --- what a task means


def select(
    names: Iterable[str] | None, definitions: Sequence[Any] | None, catalogue: Sequence[Any], look: bool = False
) -> tuple[list[Patch], list[Patch]]:
    """The patches that a task means, and all that it knows: ``name`` selects from the catalogue and ``definitions``.

    Without names all definitions are meant and, for a ``look``, without those either the whole catalogue, which holds
    definitions or patches that were made of them. Raises DefinitionError for an unknown name, for a definition named as
    another one or as a patch of the catalogue, and where nothing is left to select.
    """
    known: dict[str, Patch] = {}
    for entry in catalogue:
        patch = entry if isinstance(entry, Patch) else load(entry)
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


def check_imports(names: Iterable[str]) -> None:
    """Raise DefinitionError for what is neither a module nor an object reference ``package.module:name,name``."""
    for name in names:
        if not _IMPORT.match(name):
            raise DefinitionError("import %r: expected package.module or package.module:name,name" % name)


def _requirements(name: str, key: str, definition: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for entry in _list(name, key, definition.get(key, []), "texts"):
        match = _REQUIREMENT.match(_text(name, key, entry).strip())
        if not match:
            raise _wrong(name, key, "expected a distribution and specifiers, no markers, found %s" % _quoted(entry))
        _specifiers(name, key, match.group(2) or "")
        found.append((match.group(1), match.group(2) or ""))
    return tuple(found)


def _other(name: str, entry: Any) -> str:
    if not isinstance(entry, str) or not _NAME.match(entry) or entry == name:
        raise _wrong(name, "after", "expected the name of another patch, found %s" % _quoted(entry))
    return entry


def _specifiers(name: str, key: str, specifiers: str) -> None:
    try:
        _versions.check(specifiers)
    except ValueError as error:
        raise _wrong(name, key, str(error)) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 10**9


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _text(name: str, key: str, value: Any, blank: bool = False, empty: bool = False, escaped: bool = False) -> str:
    """A text that is not blank, or may be (``blank``), or may be ``empty``; ``escaped``: bytes that no codec knew."""
    if not isinstance(value, str) or not (empty or (value if blank else value.strip())):
        raise _wrong(name, key, "expected text, found %s" % _kind(value))
    if len(value) > _LONGEST:
        raise _wrong(name, key, "expected at most %d characters, found %d" % (_LONGEST, len(value)))
    try:
        value.encode("utf-8", _edits.ESCAPED if escaped else "strict")
    except UnicodeEncodeError as error:
        raise _wrong(name, key, "expected text, found %r, which is no character" % value[error.start]) from None
    return value


def _list(name: str, key: str, value: Any, of: str) -> list[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _wrong(name, key, "expected a list of %s, found %s" % (of, _kind(value)))
    if len(value) > _MOST:
        raise _wrong(name, key, "expected at most %d %s, found %d" % (_MOST, of, len(value)))
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
    return "nothing" if value is None else "%s %s" % (type(value).__name__, _quoted(value))


def _quoted(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= _SHOWN else said[: _SHOWN - 3] + "..."


def _wrong(name: str, key: str, reason: str) -> DefinitionError:
    return DefinitionError("patch %s: %s: %s" % (name, key, reason))
