# What installers recorded: which distribution a file is of, its version, and the file's hash. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where there is a list of files, it tells; elsewhere a distribution is known by its name alone.

Of a wheel, RECORD lists each file with its hash (PEP 376, PEP 627); pip's old installed-files.txt lists names. What
Debian, eggs and source trees have are metadata, with the names of the packages in top_level.txt where setuptools made
them.
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import json
import os
import posixpath
import re
from typing import Iterable, Iterator, NamedTuple, Sequence

from . import _environment, _files
from ._environment import Package, Place
from ._errors import Conflict

_LONGEST = 200  # characters of a version
_MOST_COMPARED = 100  # files by which distributions that claim the same ones are told apart
_SIZE = re.compile("[0-9]{1,18}")
_PROJECT = ("pyproject.toml", "setup.py", "setup.cfg", "PKG-INFO", ".git")  # what the top of a source tree has


class Distribution(NamedTuple):
    """A distribution as its metadata have it."""

    name: str
    version: str | None
    info: str
    """Path of its ``.dist-info``, ``.egg-info``, EGG-INFO or PKG-INFO."""


def distributions(root: str, names: Iterable[str] | None = None) -> list[Distribution]:
    """The distributions in a directory on ``sys.path``; only those of these ``names`` where they are given."""
    return [_distribution(info) for info in _environment.infos(root, names)]


def owner(place: Place, names: Sequence[str]) -> Distribution | None:
    """The distribution that a file belongs to; None where there is none.

    That is the one whose RECORD lists the file or, for a file that no installer wrote, the package around it; else one
    of these ``names`` (a distribution's, or a package's). Raises Conflict where several list it, and neither the hashes
    of their files nor the version in the source tell which is there, and OSError where that cannot be read.
    """
    return _claimant(place, names) or next(_named(place, names), None)


def version(place: Place, package_directory: str, names: Sequence[str]) -> str | None:
    """The version of the package that a file belongs to; None where only running code could tell.

    That of the distribution which brought the file or the package; else what the source says; else what a distribution
    of one of these ``names`` says, also one that was installed in place (editable) from here. None as well where
    several list the file and nothing tells which is there; raises OSError where that cannot be read.
    """
    try:
        claimant = _claimant(place, names)
    except Conflict:  # (which ``owner`` has to say)
        return None
    if claimant is not None:
        return claimant.version
    literal = _literal_version([package_directory])
    if literal is not None:
        return literal
    by_name = next((found.version for found in _named(place, names) if found.version), None)
    return by_name or _editable_version(place.root, names)


def installed(name: str, root: str, local: bool) -> str | None:
    """The version of a distribution in the environment that ``root`` belongs to; None where there is none.

    ``local``: only in ``root``, as nothing says that this interpreter's ``sys.path`` belongs to it. Raises OSError
    where that cannot be read.
    """
    entries = [root] if local else [root, *_environment.path_entries()]
    infos = (info for entry in entries for info in _environment.infos(entry, [name]))
    return next((found for found in (_environment.identity(info)[1] for info in infos) if found), None)


def installed_package(package: Package) -> bool:
    """Whether what was found is a package that is installed, and not a directory that an uninstall has left behind.

    A regular package is; a namespace package where a distribution has files in it, or as part of a source tree.
    """
    if package.regular:
        return True
    for directory in package.directories:
        place = _environment.place(Package(package.name, (directory,), regular=False), "__init__.py")
        below = posixpath.dirname(place.relative) + "/"
        infos = _environment.infos(place.root)
        hinted = _environment.infos(place.root, [package.name, package.name.split(".")[0]])
        if any(_lists_below(info, below) for info in [*hinted, *infos]) or _is_source(directory, place.root):
            return True
    return False


def recorded(distribution: Distribution, relative: str) -> str | None:
    """What a distribution's list of files has for a path: ``algorithm=digest``, empty without a hash; None without it.

    ``relative``: from the directory on ``sys.path``, as in ``Place``.
    """
    return _recorded(distribution.info, relative)


def files(distribution: Distribution) -> list[str] | None:
    """The files that RECORD or installed-files.txt lists, as in ``Place.relative``; None where nothing lists them."""
    found = rows(distribution)
    return _installed_files(distribution.info) if found is None else [path for path, _digest, _size in found]


def rows(distribution: Distribution) -> list[tuple[str, str, int | None]] | None:
    """Path, hash (``algorithm=digest``, empty without one) and size of all that RECORD lists; None without a RECORD.

    INSTALLER counts as without hash and size: conda-build (``post.py``) writes its name over pip's there, and not into
    RECORD. Raises Conflict where it is no list of files, and OSError where it cannot be read.
    """
    text = _files.read(os.path.join(distribution.info, "RECORD"))
    if text is None:
        return None
    try:
        read = [row for row in csv.reader(text.decode("utf-8", "surrogateescape").splitlines()) if row and row[0]]
    except csv.Error as error:
        raise Conflict("%s/RECORD: expected a list of files, found %s" % (distribution.info, error)) from None
    told = ([row[0]] if row[0].endswith(".dist-info/INSTALLER") else row for row in read)
    padded = ((*row, "", "")[:3] for row in told)
    return [(path, digest, int(size) if _SIZE.fullmatch(size) else None) for path, digest, size in padded]


def record_digest(distribution: Distribution) -> str | None:
    """The SHA-256 (hex) of a distribution's RECORD; None without one."""
    text = _files.read(os.path.join(distribution.info, "RECORD"))
    return None if text is None else hashlib.sha256(text).hexdigest()


def source_of(info: str) -> str | None:
    """The real path of the source tree that an editable distribution was installed from; None for others."""
    import urllib.parse  # (hardly ever needed, and slow to be imported)

    try:
        told = json.loads(_files.read(os.path.join(info, "direct_url.json")) or b"null")
        if not told["dir_info"]["editable"]:
            return None
        url = urllib.parse.urlsplit(told["url"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return os.path.realpath(urllib.parse.unquote(url.path)) if url.scheme == "file" else None


def matches(data: bytes, digest: str) -> bool:
    """Whether bytes have the digest as RECORD writes it: algorithm=urlsafe base64 without padding."""
    algorithm, _equals, value = digest.partition("=")
    try:
        found = hashlib.new(algorithm, data).digest()
    except (ValueError, TypeError):  # (an unknown algorithm, or one whose digests have no length of their own)
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == value


def _distribution(info: str) -> Distribution:
    return Distribution(*_environment.identity(info), info)


def _claimant(place: Place, names: Sequence[str]) -> Distribution | None:
    """The distribution that lists a file, or the ``__init__.py`` of the package around it. Raises as ``owner``."""
    package = _package_around(place)
    init = place._replace(relative=package + "/__init__.py")
    for each in [place, init] if package else [place]:
        claims = _claims(each, names)
        if len(claims) > 1:
            sources = [package] if package else [place.relative, *(name.replace(".", "/") for name in names)]
            literal = _literal_version(os.path.join(place.root, source) for source in sources)
            told = ", ".join("%s %s" % (claim.name, claim.version or "(unknown version)") for claim in claims)
            claims = _true(place, claims) or [claim for claim in claims if claim.version == literal]
            if len(claims) != 1:
                raise Conflict(
                    "%s is claimed by several installed distributions (%s): an upgrade was interrupted; "
                    "reinstall one of them" % (place.path, told)
                )
        if claims:
            return claims[0]
    return None


def _true(place: Place, claims: Sequence[Distribution]) -> list[Distribution]:
    """Of several distributions the one whose files are there, by their hashes; none where that is not one alone.

    Not by the one file that is asked about: once that is patched, it would no longer tell.
    """
    lists = [_hashes(claim) for claim in claims]
    shared = sorted(file for file in lists[0] if all(file in each for each in lists))
    differing = [file for file in shared if len({each[file] for each in lists}) > 1]
    found: dict[str, Distribution] = {}
    for file in differing[:_MOST_COMPARED]:
        data = _files.read(os.path.join(place.root, file))
        if data is not None:
            found.update((claim.info, claim) for claim, each in zip(claims, lists) if matches(data, each[file]))
    return list(found.values()) if len(found) == 1 else []


def _hashes(distribution: Distribution) -> dict[str, str]:
    """The files that a RECORD has a hash of."""
    text = (_files.read(os.path.join(distribution.info, "RECORD")) or b"").decode("utf-8", "surrogateescape")
    try:
        return {row[0]: row[1] for row in csv.reader(text.splitlines()) if len(row) > 1 and row[1]}
    except csv.Error:
        return {}


def _package_around(place: Place) -> str:
    """The outermost regular package around a file, from the root as in ``Place.relative``; empty without one."""
    parts = place.relative.split("/")
    around = ("/".join(parts[:count]) for count in range(1, len(parts)) if parts[0] != "..")
    return next((each for each in around if _files.kind(os.path.join(place.root, each, "__init__.py"))), "")


def _claims(place: Place, names: Sequence[str]) -> list[Distribution]:
    """The distributions whose RECORD lists a file: of those of these names, else the first one of all."""
    hinted = _environment.infos(place.root, names)
    claims = [info for info in hinted if _recorded(info, place.relative) is not None]
    if not claims:  # (reading every RECORD of an environment costs: only when the obvious one does not list the file)
        others = (info for info in _environment.infos(place.root) if info not in hinted)
        claims = [info for info in others if _recorded(info, place.relative) is not None][:1]
    return [_distribution(info) for info in claims]


def _named(place: Place, names: Sequence[str]) -> Iterator[Distribution]:
    """The distributions of these names, in their order; then those without a list of files that have the package."""
    for name in names:
        found = distributions(place.root, [name])
        literal = _literal_version([os.path.join(place.root, *name.split("."))]) if len(found) > 1 else None
        yield from sorted(found, key=lambda each: (each.version != literal, each.version is None))
    top = place.relative.split("/", 1)[0]
    for info in _environment.infos(place.root):
        if (top[:-3] if top.endswith(".py") else top) in _top_level(info) and _listing(info) is None:
            yield _distribution(info)


def _recorded(info: str, relative: str) -> str | None:
    text = _files.read(os.path.join(info, "RECORD"))
    if text is None:
        return "" if relative in (_installed_files(info) or ()) else None
    for start in (relative + ",", '"%s",' % relative.replace('"', '""')):
        at = (b"\n" + text).find(b"\n" + os.fsencode(start))
        if at >= 0:
            try:
                row = next(csv.reader([text[at:].split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")]))
            except csv.Error:
                return ""
            return row[1] if len(row) > 1 else ""
    return None


def _installed_files(info: str) -> list[str] | None:
    """What installed-files.txt lists; its paths count from the directory that it lies in."""
    text = _files.read(os.path.join(info, "installed-files.txt"))
    if text is None:
        return None
    lines = text.decode("utf-8", "surrogateescape").splitlines()
    return [posixpath.normpath(posixpath.join(os.path.basename(info), line)) for line in lines if line]


def _listing(info: str) -> bytes | None:
    """The text of what lists a distribution's files; None where nothing does."""
    names = ("RECORD", "installed-files.txt")
    return next(filter(None, (_files.read(os.path.join(info, name)) for name in names)), None)


def _lists_below(info: str, below: str) -> bool:
    """Whether a distribution has files below a directory (``below``: as in ``Place.relative``, with a slash)."""
    text = _listing(info)
    if text is None:
        return below.split("/", 1)[0] in _top_level(info)
    starts = (below, '"' + below, "../" + below)  # (the last: in installed-files.txt)
    return any(b"\n" + os.fsencode(start) in b"\n" + text for start in starts)


def _top_level(info: str) -> list[str]:
    """The packages and modules that setuptools noted; none where it did not."""
    return (_files.read(os.path.join(info, "top_level.txt")) or b"").decode("utf-8", "replace").split()


def _is_source(directory: str, root: str) -> bool:
    """Whether a directory is part of a source tree, and more than what bytecode leaves of it."""
    tops = (root, os.path.dirname(root))
    if not any(_files.look(os.path.join(top, name), follow=False) for top in tops for name in _PROJECT):
        return False
    return _files.kind(directory) == "directory" and any(name != "__pycache__" for name in os.listdir(directory))


def _literal_version(sources: Iterable[str]) -> str | None:
    """``__version__`` where the source of a package (its directory), or of a module, sets it to a text; else None."""
    names = ("__init__.py", "version.py", "_version.py")
    paths = (path for source in sources for path in (source, *(os.path.join(source, name) for name in names)))
    for path in paths:
        if not path.endswith(".py") or _files.kind(path) == "directory":
            continue
        try:
            module = ast.parse(_files.read(path) or b"")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in module.body:
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
                continue
            named = any(isinstance(target, ast.Name) and target.id == "__version__" for target in node.targets)
            if named and isinstance(node.value.value, str):
                return node.value.value[:_LONGEST]
    return None


def _editable_version(root: str, names: Sequence[str]) -> str | None:
    """The version of a distribution on ``sys.path`` that was installed in place from here (PEP 610)."""
    for name in names:
        for entry in _environment.path_entries():
            for info in _environment.infos(entry, [name]):
                source = source_of(info)
                if source is not None and (root + os.sep).startswith(os.path.join(source, "")):
                    return _environment.identity(info)[1]
    return None
