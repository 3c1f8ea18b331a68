# Environments: where Python finds a package, which distribution owns it, what its installer recorded. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import base64
import csv
import hashlib
import importlib.util
import os
import re
import sys
import types
from typing import Iterable, Iterator, NamedTuple

from . import _files
from ._errors import Conflict, NoEnvironment

_HEAD = 64 * 1024  # bytes of METADATA in which name and version stand (its first lines)
_LONGEST = 200  # characters of a name or a version; none is as long


class Package(NamedTuple):
    """An import package as it lies on the disk."""

    name: str
    directories: tuple[str, ...]
    """Its directory; a namespace package may have several, a broken one none."""
    regular: bool
    """Whether it has an ``__init__.py`` (else it is a namespace package)."""
    local: bool = False
    """Whether the caller named the directory, so that the interpreter's own metadata say nothing about it."""


class Record(NamedTuple):
    """What the installer wrote about one file."""

    distribution: str
    version: str
    hash: str
    """``algorithm=digest`` as in RECORD, or empty."""


def find(name: str, path: str | None = None) -> Package | None:
    """The package ``name`` of this interpreter, or the one at ``path``; neither it nor a parent is imported.

    ``path`` is a directory that holds the package (as site-packages does), the package's own directory, or a source
    checkout. Returns None where there is no such package; raises NoEnvironment where ``path`` is no directory.
    """
    return _find_spec(name) if path is None else _find_below(name, path)


def roots(path: str, names: Iterable[str]) -> list[str]:
    """The directories that must come first on ``sys.path`` so that imports find what ``find`` finds at ``path``.

    ``names``: what is to be imported, packages or modules (of a namespace package's directory only they tell the root).
    """
    path = os.path.abspath(path)
    _directory(path)
    found: list[str] = []
    for name in names:
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            package = _find_below(".".join(parts[:count]), path)
            if package is not None:
                found.append(_root(package, package.directories[0]))
                break
    if found:
        return list(dict.fromkeys(found))
    path = _above(path)
    return [path, os.path.join(path, "src")]


def _above(path: str) -> str:
    """The first directory, from ``path`` upwards, that is no regular package."""
    while _files.kind(os.path.join(path, "__init__.py")) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _directory(path: str) -> None:
    kind = _files.kind(path)
    if kind != "directory":
        found = "a file" if kind else "nothing"
        raise NoEnvironment(
            "path %s: expected a directory (site-packages, a package or a source checkout), found %s" % (path, found)
        )


def _find_below(name: str, path: str) -> Package | None:
    path = os.path.abspath(path)
    _directory(path)
    parts = name.split(".")
    candidates = [os.path.join(path, *parts), os.path.join(path, "src", *parts)]
    if path.split(os.sep)[-len(parts) :] == parts:
        candidates.insert(0, path)
    for regular in (True, False):
        for candidate in candidates:
            init = os.path.join(candidate, "__init__.py")
            if _files.kind(candidate) == "directory" and regular == (_files.kind(init) == "file"):
                return Package(name, (candidate,), regular, local=True)
    return None


def _find_spec(name: str) -> Package | None:
    """As ``importlib.util.find_spec``, which imports the parents of a dotted name: stand-ins are put in their place."""
    stand_ins: list[str] = []
    try:
        package = None
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            prefix = ".".join(parts[:count])
            try:
                spec = importlib.util.find_spec(prefix)
            except ValueError:  # __spec__ of a module that is loaded already is None
                spec = None
            if spec is None or not spec.has_location:
                _tell(parts[count - 1], sys.path if package is None else package.directories)
            if spec is None or spec.submodule_search_locations is None:
                return None
            directories = tuple(os.path.abspath(where) for where in spec.submodule_search_locations)
            package = Package(name, directories, spec.has_location)
            if prefix not in sys.modules:
                stand_in = types.ModuleType(prefix)
                stand_in.__path__ = list(directories)
                stand_in.__spec__ = spec
                sys.modules[prefix] = stand_in
                stand_ins.append(prefix)
        return package
    finally:
        for prefix in stand_ins:
            sys.modules.pop(prefix, None)


def _tell(name: str, entries: Iterable[str]) -> None:
    """Raise OSError where it cannot be told whether a package is there: Python's own finders take that for absent."""
    for entry in entries:
        directory = os.path.join(os.path.abspath(entry), name)
        if _files.kind(directory) == "directory":
            _files.kind(os.path.join(directory, "__init__.py"))


def record(package: Package, file: str, distribution: str | None) -> Record | None:
    """What RECORD says of ``file`` (an absolute path) of the package; None for a checkout or an editable install.

    Raises Conflict when several distributions claim the file and nothing tells which of them is really there.
    """
    root, real = leads(package, file)
    relative = os.path.relpath(real, root).replace(os.sep, "/")
    hints = {_normal(hint) for hint in (distribution, package.name.split(".")[0], package.name) if hint}
    infos = sorted(_dist_infos(root), key=lambda info: (_normal(info[0].split("-")[0]) not in hints, info[0]))
    claims: list[Record] = []
    for name, path in infos:
        if claims and _normal(name.split("-")[0]) not in hints:
            break  # (reading every RECORD of an environment costs: only when the obvious one does not list the file)
        digest = _recorded(path, relative)
        if digest is not None:
            claims.append(Record(*_metadata(path, name), hash=digest))
    if len(claims) > 1:
        literal = _literal_version(_holder(package, file))
        same = [claim for claim in claims if claim.version == literal]
        if len(same) != 1:
            raise Conflict(
                "%s is claimed by several installed distributions (%s): an upgrade was interrupted; "
                "reinstall one of them" % (file, ", ".join("%s %s" % claim[:2] for claim in claims))
            )
        claims = same
    return claims[0] if claims else None


def version(package: Package, file: str, distribution: str | None) -> str | None:
    """The version of the package that a file belongs to; None where nothing tells.

    That of the distribution which brought the file or, for one that an installer did not write, the package; else
    what the source says; else what a distribution of that name says.
    """
    holder = _holder(package, file)
    for recorded in (file, os.path.join(holder, "__init__.py")):
        found = record(package, recorded, distribution)
        if found is not None:
            return found.version
    literal = _literal_version(holder)
    if literal is not None:
        return literal
    names = [name for name in (distribution, package.name, package.name.split(".")[0]) if name]
    return next(filter(None, (installed(name, package, file) for name in names)), None)


def installed(name: str, package: Package, file: str) -> str | None:
    """The version of a distribution in the environment that the package's file lies in; None where there is none."""
    for info, path in _dist_infos(leads(package, file)[0]):
        if _normal(info.split("-")[0]) == _normal(name):
            return _metadata(path, info)[1]
    if not package.local:
        import importlib.metadata

        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return None


def matches(text: bytes, digest: str) -> bool:
    """Whether ``text`` has the digest as RECORD writes it: algorithm=urlsafe base64 without padding."""
    algorithm, _equals, value = digest.partition("=")
    try:
        found = hashlib.new(algorithm, text).digest()
    except (ValueError, TypeError):  # (an unknown algorithm, or one whose digests have no length of their own)
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == value


def _holder(package: Package, file: str) -> str:
    """The one of the package's directories that the file lies below."""
    return next(where for where in package.directories if file.startswith(where + os.sep))


def leads(package: Package, file: str) -> tuple[str, str]:
    """Where a file of the package really is: what counts as the directory on ``sys.path`` there, and its real path.

    A package's directory, or one inside of it, may be a link out of the tree (a development layout, a store): version
    and RECORD are then those of where it leads. (The file itself may be a link into a cache; that changes nothing.)
    """
    real = os.path.join(os.path.realpath(os.path.dirname(file)), os.path.basename(file))
    inside = os.path.realpath(_holder(package, file))
    if real.startswith(inside + os.sep):
        return _root(package, inside), real
    return _above(os.path.dirname(real)), real


def _root(package: Package, directory: str) -> str:
    """The directory on ``sys.path`` that leads to this one of the package's directories."""
    for _part in package.name.split("."):
        directory = os.path.dirname(directory)
    return directory


def _dist_infos(root: str) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.name.endswith(".dist-info"):
                    yield entry.name[: -len(".dist-info")], entry.path
    except (FileNotFoundError, NotADirectoryError):
        return


def _recorded(dist_info: str, relative: str) -> str | None:
    text = _files.read(os.path.join(dist_info, "RECORD"))
    if text is None:
        return None
    for start in (relative + ",", '"%s",' % relative.replace('"', '""')):
        at = (b"\n" + text).find(b"\n" + start.encode())
        if at >= 0:
            try:
                row = next(csv.reader([text[at:].split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")]))
            except csv.Error:
                return ""
            return row[1] if len(row) > 1 else ""
    return None


def _metadata(dist_info: str, name: str) -> tuple[str, str]:
    """Name and version of a distribution; the directory's name holds both, escaped, where METADATA is unreadable."""
    found: dict[str, str] = {}
    text = _files.head(os.path.join(dist_info, "METADATA"), _HEAD) or b""
    for line in text.decode("utf-8", "replace").splitlines():
        key, _colon, value = line.partition(":")
        if key in ("Name", "Version"):
            found[key] = value.strip()[:_LONGEST]
        if len(found) == 2 or not line.strip():
            break
    return found.get("Name", name.partition("-")[0]), found.get("Version", name.partition("-")[2])


def _literal_version(directory: str) -> str | None:
    for file in ("__init__.py", "version.py", "_version.py"):
        try:
            module = ast.parse(_files.read(os.path.join(directory, file)) or b"")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in module.body:
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
                continue
            named = any(isinstance(target, ast.Name) and target.id == "__version__" for target in node.targets)
            if named and isinstance(node.value.value, str):
                return node.value.value[:_LONGEST]
    return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
