# Where a distribution lies that is to be captured or copied, and what is on record of its files. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
from typing import Any, Mapping, NamedTuple

from . import _child, _edited, _environment, _files, _records, _trust
from ._edited import Entry
from ._errors import Conflict, NoEnvironment, SitePatchError
from ._records import Distribution
from ._trust import Belongs, Trust

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


def find(name: str, python: str | None, path: str | None, trust_writers: bool, seconds: float) -> Installed:
    """The distribution of that name, else the one that has the package, in an environment.

    Raises NoEnvironment where it is not there, Conflict where nothing is on record of its files or where several are
    there, and Untrusted where others may change what root would read.
    """
    where = path or python or "this environment"
    file, version, prefix, package = _asked(name, python, path, trust_writers, seconds)
    directory = os.path.dirname(file)
    if package is None:
        root = os.path.realpath(directory)
        there = _records.distributions(root, [name])
    else:
        found = _environment.find(name, directory)
        if found is None:
            raise NoEnvironment("%s: expected package %s in it, found none" % (directory, name))
        place = _environment.place(found, "__init__.py")
        root, owner = place.root, _records.owner(place, [name, name.split(".", maxsplit=1)[0]])
        there = [owner] if owner is not None else []
    if len(there) > 1:
        told = ", ".join("%s %s" % (each.name, each.version or "(unknown version)") for each in there)
        raise Conflict("%s: expected one distribution %s, found %s: reinstall it" % (root, name, told))
    trust = Trust(_trust.asked_by_root(), trust_writers)
    _check(trust, root, directory)
    listed: Mapping[str, Entry]
    if package is not None and not (there and _files.kind(os.path.join(there[0].info, "RECORD"))):
        listed = _edited.checked_out(root, directory)
        if listed:
            own = (os.path.relpath(directory, root).replace(os.sep, "/"),)
            return Installed(name, version, root, None, name, listed, frozenset(listed), own, (), python, path, trust)
    if not there:
        raise Conflict(
            "%s: expected RECORD of what an installer put there, or git's index, found neither: nothing tells what was "
            "edited in %s" % (where, directory)
        )
    distribution = there[0]
    listed, outside = _edited.listing(distribution, prefix)
    known = frozenset((*listed, *(_records.files(distribution) or ()), *_edited.others(distribution)))
    return Installed(
        name=distribution.name,
        version=distribution.version,
        root=root,
        distribution=distribution,
        package=package,
        listed=listed,
        known=known,
        own=tuple(_edited.own_directories(listed)),
        outside=tuple(outside),
        python=python,
        path=path,
        trust=trust,
    )


def _asked(
    name: str, python: str | None, path: str | None, trust_writers: bool, seconds: float
) -> tuple[str, str | None, str | None, str | None]:
    """Of a distribution, or else a package: a file in it, its version, the environment's prefix, the package's name.

    The interpreter tells, as it does when a patch of that distribution, or package, is looked at: nothing is imported.
    """
    messages: list[str] = []
    kinds: list[dict[str, Any]] = []
    if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        kinds.append({"distribution": name, "file": "METADATA"})
    if re.fullmatch(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*", name):
        kinds.append({"package": name, "file": "__init__.py"})
    if not kinds:
        raise SitePatchError("expected the name of a distribution or a package, found %.80r" % name)
    for kind in kinds:
        definition = {**_ASKED, **kind, "edits": [{"delete": None}]}
        request = {
            "operation": "info",
            "definitions": [definition],
            "path": path,
            "timeout": seconds,
            "trust_writers": trust_writers,
        }
        result = _child.call(python, request)
        if result.get("failed"):
            raise SitePatchError(result["msg"])
        (patch,) = result["patches"]
        if patch["state"] != "missing" and patch["files"]:
            prefix = None if path else result["environment"]["prefix"]
            return patch["files"][0]["path"], patch["version"], prefix, kind.get("package")
        messages.append(patch["message"])
    raise NoEnvironment("; ".join(messages))


def _check(trust: Trust, *paths: str) -> None:
    try:
        trust.check(*paths)
    except Belongs as found:
        raise SitePatchError(
            "%s: expected an environment of root's, found another user's: run this as that user" % found.path
        ) from None
