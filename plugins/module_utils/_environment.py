# Environments: where Python finds a package, a file of it, and a distribution. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
import os
import re
import sys
import types
from typing import Iterable, NamedTuple

from . import _files
from ._errors import Conflict, NoEnvironment

_HEAD = 64 * 1024  # bytes of metadata in which name and version stand (their first lines)
_LONGEST = 200  # characters of a name or a version; none is as long
_INFO = re.compile(r"([A-Za-z0-9][A-Za-z0-9._]*)(?:-.*)?\.(?:dist-info|egg-info)\Z")
_PREFIX = (("pyvenv.cfg", "file"), ("conda-meta", "directory"))  # what only the prefix of an environment has


class Package(NamedTuple):
    """An import package as it lies on the disk."""

    name: str
    directories: tuple[str, ...]
    """Its directory, at least one; a namespace package may have several."""
    regular: bool
    """Whether it has an ``__init__.py`` (else it is a namespace package)."""
    local: bool = False
    """Whether the caller named the directory, so that the interpreter's own path says nothing about it."""


class Place(NamedTuple):
    """Where a file is, or would be."""

    path: str
    """Absolute, as it was found: links are not resolved."""
    root: str
    """Real path of the directory on ``sys.path`` that leads to it: what RECORD and the store count from."""
    relative: str
    """From there, with forward slashes, as RECORD has it (``../../../bin/x`` for a script)."""


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
    path = _directory(path)
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
    path = above(path)
    return [path, os.path.join(path, "src")]


def place(package: Package, file: str) -> Place:
    """Where a file of a package is (``file``: below the package, with forward slashes).

    Of the directories of a namespace package it is the one that has the file, else the first. A package's directory,
    or one inside of it, may be a link out of the tree (a development layout, a store): version and RECORD are then
    those of where it leads. (The file itself may be a link into a cache; that changes nothing.)
    """
    paths = [os.path.join(directory, *file.split("/")) for directory in package.directories]
    number = next((number for number, path in enumerate(paths) if _files.look(path, follow=False)), 0)
    real = _real(paths[number])
    inside = os.path.realpath(package.directories[number])
    root = _root(package, inside) if _is_below(real, inside) else above(os.path.dirname(real))
    return Place(paths[number], root, _relative(real, root))


def site_place(distribution: str, file: str, path: str | None) -> Place | None:
    """Where a file of a distribution is (``file``: as its RECORD lists it); None where there is no such distribution.

    ``path`` as for ``find``. Raises NoEnvironment where it is no directory, and Conflict where the file would lie
    outside of the environment: of the directory on ``sys.path``, and of the prefix that this one lies in.
    """
    entry = next((entry for entry in entries(path) if infos(entry, [distribution])), None)
    return None if entry is None else entry_place(entry, distribution, file, path)


def entry_place(entry: str, distribution: str, file: str, path: str | None) -> Place:
    """Where a file of a distribution is that lies in this directory on ``sys.path``; else as ``site_place``."""
    root = os.path.realpath(entry)
    # (a file that lies above is where the installer has really put it, and not where a link leads back)
    found = os.path.normpath(os.path.join(root if file.startswith("../") else entry, file))
    real = _real(found)
    inside = prefix(root, path is not None)
    if not _is_below(real, inside):
        raise Conflict(
            "%s: expected a file of distribution %s inside of %s, found that it leads to %s, out of the environment: "
            "give file as the distribution's RECORD lists it" % (file, distribution, inside, real)
        )
    return Place(found, root, _relative(real, root))


def entries(path: str | None) -> list[str]:
    """The directories on ``sys.path`` of this interpreter, or those that would be for what lies at ``path``.

    ``path`` as for ``find``. Raises NoEnvironment where it is no directory.
    """
    return path_entries() if path is None else _holders(above(_directory(path)))


def prefix(root: str, local: bool) -> str:
    """The prefix of the environment that a directory on ``sys.path`` (its real path) lies in; itself where in none.

    ``local``: the caller named the directory, so that this interpreter's own prefix says nothing about it.
    """
    found = _prefix(root) if local else os.path.realpath(sys.prefix)
    return found if _is_below(root, found) else root


def path_entries() -> list[str]:
    """The directories on this interpreter's ``sys.path``; not those that this user may not list: nor does Python.

    Raises OSError where that cannot be told.
    """
    return [entry for entry in map(os.path.abspath, sys.path) if _is_listed(entry)]


def infos(root: str, names: Iterable[str] | None = None) -> list[str]:
    """The paths of what installers and build tools left about distributions in a directory on ``sys.path``.

    ``.dist-info`` first, then ``.egg-info`` (a directory, or a file as distutils wrote it), the EGG-INFO of an egg, the
    PKG-INFO of an unpacked source distribution. ``names``: only of these distributions, in any spelling (PEP 503); by
    default of all. Raises OSError where that cannot be read.
    """
    wanted = None if names is None else {normal(name) for name in names}
    found: list[str] = []
    for name in _names(root):
        project = info_of(name)
        if project is not None and (wanted is None or project in wanted):
            found.append(os.path.join(root, name))
    found.sort(key=lambda info: (not info.endswith(".dist-info"), info))
    alone = [os.path.join(root, "EGG-INFO"), os.path.join(root, "PKG-INFO")]
    if os.path.basename(root) == "src":
        alone.append(os.path.join(os.path.dirname(root), "PKG-INFO"))
    there = (info for info in alone if _files.kind(info))
    return found + [info for info in there if wanted is None or normal(identity(info)[0]) in wanted]


def info_of(name: str) -> str | None:
    """The distribution, as ``normal`` spells it, that a ``.dist-info`` or ``.egg-info`` of this name is about.

    None for everything else, and for what pip puts aside while it uninstalls (``~hing-1.0.dist-info``).
    """
    match = _INFO.match(name)
    return normal(match[1]) if match else None


def identity(info: str) -> tuple[str, str | None]:
    """Name and version as metadata have them, else as the name of their directory has them; no version is None.

    ``info``: a path that ``infos`` returned. Raises OSError for what is there and cannot be read.
    """
    base = os.path.basename(info)
    if base.endswith(".dist-info"):
        file = os.path.join(info, "METADATA")
    else:
        file = os.path.join(info, "PKG-INFO") if _files.kind(info) == "directory" else info
    found: dict[str, str] = {}
    for line in (_files.head(file, _HEAD) or b"").decode("utf-8", "replace").splitlines():
        key, _colon, value = line.partition(":")
        if key in ("Name", "Version"):
            found[key] = value.strip()[:_LONGEST]
        if len(found) == 2 or not line.strip():
            break
    named = os.path.basename(os.path.dirname(info)) if base == "EGG-INFO" else base
    stem = re.match(r"(.*)\.(?:dist-info|egg-info|egg)\Z", named)
    name, version = [*(stem[1] if stem else "").split("-"), ""][:2]
    return found.get("Name") or name, found.get("Version") or version or None


def normal(name: str) -> str:
    """A distribution's name in the one spelling by which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def above(path: str) -> str:
    """The first directory, from ``path`` upwards, that is no regular package."""
    while _files.kind(os.path.join(path, "__init__.py")) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _directory(path: str) -> str:
    path = os.path.abspath(path)
    kind = _files.kind(path)
    if kind != "directory":
        found = "a file" if kind else "nothing"
        raise NoEnvironment(
            "path %s: expected a directory (site-packages, a package or a source checkout), found %s" % (path, found)
        )
    return path


def _find_below(name: str, path: str) -> Package | None:
    path = _directory(path)
    parts = name.split(".")
    candidates = [os.path.join(holder, *parts) for holder in _holders(path)]
    if path.split(os.sep)[-len(parts) :] == parts:
        candidates.insert(0, path)
    for regular in (True, False):
        for candidate in candidates:
            init = os.path.join(candidate, "__init__.py")
            if _files.kind(candidate) == "directory" and regular == (_files.kind(init) == "file"):
                return Package(name, (candidate,), regular, local=True)
    return None


def _holders(path: str) -> list[str]:
    """The directories at ``path`` that would be on ``sys.path``: itself, that of a checkout, and eggs in use."""
    found = [path, os.path.join(path, "src")]
    text = _files.read(os.path.join(path, "easy-install.pth")) or b""
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        egg = os.path.normpath(os.path.join(path, line.strip()))
        if egg.endswith(".egg") and os.path.dirname(egg) == path:
            found.append(egg)
    return found


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
            if spec is None or not spec.submodule_search_locations:
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


def _root(package: Package, directory: str) -> str:
    """The directory on ``sys.path`` that leads to this one of the package's directories."""
    for _part in package.name.split("."):
        directory = os.path.dirname(directory)
    return directory


def _prefix(root: str) -> str:
    """The prefix of the environment that a directory lies in; itself where none can be told."""
    directory = root
    while directory != os.path.dirname(directory):
        if any(_files.kind(os.path.join(directory, name)) == kind for name, kind in _PREFIX):
            return directory
        directory = os.path.dirname(directory)
    return root


def _real(path: str) -> str:
    """A path without links, but for the file's own name."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(os.path.join(directory, ""))


def _relative(real: str, root: str) -> str:
    return os.path.relpath(real, root).replace(os.sep, "/")


def _is_listed(entry: str) -> bool:
    try:
        os.scandir(entry).close()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    return True


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
