# Where a distribution lies that is to be captured or copied, and what is on record of its files. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
from typing import Any, Mapping, NamedTuple

from . import _child, _edited, _environment, _records, _trust
from ._edited import Entry
from ._errors import Conflict, NoEnvironment, SitePatchError
from ._records import Distribution
from ._trust import Belongs, Trust

_KINDS = {  # of what may be named, in this order
    "distribution": re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"),
    "package": re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"),
}
_ASKED = {"name": "where", "versions": "*", **dict.fromkeys(("reason", "upstream", "retire"), "none")}


class Installed(NamedTuple):
    """A distribution, or a package of a git checkout, as it is installed."""

    name: str
    version: str | None
    root: str
    """The directory on ``sys.path``."""
    distribution: Distribution | None
    """None of a checkout."""
    package: str | None
    """The import package that was asked for."""
    listed: Mapping[str, Entry]
    """What is on record, by path from the root."""
    known: frozenset[str]
    """All files, by path, that are not new: those, what is listed without a hash, what other distributions list."""
    own: tuple[str, ...]
    """The directories in which everything else is new."""
    outside: tuple[str, ...]
    """What RECORD lists, and lies outside of the environment."""
    python: str | None
    path: str | None
    trust: Trust


class _Found(NamedTuple):
    """What the interpreter tells of a distribution or a package."""

    file: str
    """One that is in it, or would be."""
    version: str | None
    prefix: str | None
    """That of the environment; None where only a directory is known."""


def find(name: str, python: str | None, path: str | None, trust_writers: bool, seconds: float) -> Installed:
    """The distribution of that name, else the one that has the package, in an environment.

    Raises NoEnvironment where it is not there, Conflict where nothing is on record of its files or where several are
    there, and Untrusted where others may change what root would read.
    """
    request = {"operation": "info", "path": path, "timeout": seconds, "trust_writers": trust_writers}
    trust = Trust(_trust.asked_by_root(), trust_writers)
    reasons: list[str] = []
    for kind, pattern in _KINDS.items():
        found = _asked({kind: name}, request, python, reasons) if pattern.fullmatch(name) else None
        if found is not None:
            of = _by_name if kind == "distribution" else _by_package
            installed = of(name, found, trust, reasons)
            if installed is not None:
                return installed._replace(python=python, path=path)
    if not reasons:
        raise SitePatchError("expected the name of a distribution or a package, found %.80r" % name)
    raise NoEnvironment("; ".join(dict.fromkeys(reasons)))


def _asked(what: dict[str, str], request: Mapping[str, Any], python: str | None, reasons: list[str]) -> _Found | None:
    """Where an interpreter, or a directory, has a distribution or a package; None with a reason where it has none.

    It tells that as of any patch of it: nothing is imported. Raises SitePatchError where it cannot be told.
    """
    file = "METADATA" if "distribution" in what else "__init__.py"
    definition = {**_ASKED, **what, "file": file, "edits": [{"delete": None}]}
    result = _child.call(python, {**request, "definitions": [definition]})
    if result.get("failed"):
        raise SitePatchError(result["msg"])
    (patch,) = result["patches"]
    if patch["state"] == "missing" or not patch["files"]:
        reasons.append(patch["message"])
        return None
    prefix = None if request["path"] else result["environment"]["prefix"]
    return _Found(patch["files"][0]["path"], patch["version"], prefix)


def _by_name(name: str, found: _Found, trust: Trust, reasons: list[str]) -> Installed | None:
    root = os.path.realpath(os.path.dirname(found.file))
    _check(trust, root)
    there = _records.distributions(root, [name])
    if len(there) > 1:
        told = ", ".join("%s %s" % (each.name, each.version or "(unknown version)") for each in there)
        raise Conflict("%s: expected one distribution %s, found %s: reinstall it" % (root, name, told))
    source = _records.source_of(there[0].info) if there else None
    if source is not None:
        reasons.append("%s is installed in place (editable): give the directory, --path %s" % (name, source))
        return None
    return _on_record(there[0], found, trust, None, reasons) if there else None


def _by_package(name: str, found: _Found, trust: Trust, reasons: list[str]) -> Installed | None:
    directory = os.path.dirname(found.file)
    package = _environment.find(name, directory)
    if package is None:
        return None
    place = _environment.place(package, "__init__.py")
    _check(trust, place.root, directory)
    owner = _records.owner(place, [name, name.split(".", maxsplit=1)[0]])
    installed = _on_record(owner, found, trust, name, reasons) if owner is not None else None
    if installed is not None:
        return installed
    listed = _edited.checked_out(place.root, directory)
    if not listed:
        reasons.append(
            "%s: expected RECORD of what an installer put there, or git's index, found neither: nothing tells what was "
            "edited" % directory
        )
        return None
    own = (os.path.relpath(directory, place.root).replace(os.sep, "/"),)
    return Installed(name, found.version, place.root, None, name, listed, frozenset(listed), own, (), None, None, trust)


def _on_record(
    distribution: Distribution, found: _Found, trust: Trust, package: str | None, reasons: list[str]
) -> Installed | None:
    told = _edited.listing(distribution, found.prefix)
    if told is None:
        reasons.append(
            "%s: expected RECORD with the hashes of its files, found none: only what pip, uv or conda installed can be "
            "held against anything" % distribution.info
        )
        return None
    listed, outside = told
    return Installed(
        name=distribution.name,
        version=distribution.version,
        root=os.path.dirname(distribution.info),
        distribution=distribution,
        package=package,
        listed=listed,
        known=frozenset((*listed, *(_records.files(distribution) or ()), *_edited.others(distribution))),
        own=tuple(_edited.own_directories(listed)),
        outside=tuple(outside),
        python=None,
        path=None,
        trust=trust,
    )


def _check(trust: Trust, *paths: str) -> None:
    try:
        trust.check(*paths)
    except Belongs as found:
        raise SitePatchError(
            "%s: expected an environment of root's, found another user's: run this as that user" % found.path
        ) from None
