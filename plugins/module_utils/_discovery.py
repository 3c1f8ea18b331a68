# Looks that cover several environments: patterns of paths, and every copy of a package below given roots. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import collections
import json
import os
import time
from typing import Any, Collection, Iterable, Iterator, Mapping, Sequence

from . import _child, _several
from ._environments import told
from ._errors import NoEnvironment, SitePatchError
from ._several import Place, is_pattern

_NOT_WALKED = ("/proc", "/sys", "/dev", "/run")  # no packages there, and endless
_SKIPPED = ("__pycache__", "node_modules", ".git")
_SECONDS, _CPU, _ANSWER = 30.0, 10, 1 << 20  # limits for one environment (the first one without imports)
_COPIES = 20  # other places in which the original of an edited file is looked for
_ROOM = 1 << 26  # bytes that all results together may take, about; a controller has as many of them as nodes


def call(python: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """As ``_child.call``, for a request whose ``python`` or ``path`` may be a pattern, and which may name ``roots``.

    Then the result has ``environments``: the result in each. One that cannot be looked at is among them as failed; a
    pattern that nothing matches as one in which every patch is missing. What is not looked at within the request's
    ``timeout`` (twice that with imports, as for ``_child.call``; here for all together) is told in one more of them.
    """
    path, roots = request.get("path"), request.get("roots") or []
    if not roots and not is_pattern(python) and not is_pattern(path):
        return _child.call(python, request)
    looks = _Looks(request)
    results = looks.matching(python, path) if python or path else []
    for root in roots:
        results += looks.below(root)
    return {
        "changed": False,
        "msg": "looked at %d environments" % len(results),
        "environments": results,
        "patches": [patch for result in results for patch in result["patches"]],
    }


class _Looks:
    """The looks of one task, one after the other, each in a child of its own, within the time and room of all."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        from . import _survey  # noqa: F401 (compiled once, and not in each child)

        self.request = request
        self.seconds = request["timeout"] * (2 if request.get("imports") else 1)
        self.deadline = time.monotonic() + self.seconds
        self.room = _ROOM

    def matching(self, python: str | None, path: str | None) -> list[dict[str, Any]]:
        """The results for what one pattern or two match; without a match, that of one in which all is missing."""
        places, option, why = _several.matching(python, path, self.half())
        if not places and not why:
            return [_several.nothing(self.request, python, path, option)]
        return self.look((python, path), places, self.request, why)

    def below(self, root: str) -> list[dict[str, Any]]:
        """The results for all copies below a root; without one, that of a look that found nothing.

        Interpreters that are found are not started: whoever may write below a root would run code as this user.
        """
        root = os.path.abspath(os.path.expanduser(root))
        try:
            wanted = _wanted(self.request)
            if not os.path.isdir(root):
                raise NoEnvironment("roots: expected a directory, found %s" % root)
        except SitePatchError as error:
            return [told(None, root, str(error), failed=True)]
        found, why = _several.search(lambda: _walk(root, *wanted), self.half())
        unread = [each[0] for each in found if isinstance(each, list)]
        if unread:
            why = "; ".join(filter(None, (why, "%d directories cannot be read (%s)" % (len(unread), unread[0]))))
        copies = [(None, each) for each in sorted(each for each in found if isinstance(each, str))]
        results = self.look((None, root), copies, {**self.request, "imports": []}, why)
        for result in results:  # (of several patches, a copy is only asked for those of its package)
            result["patches"] = [patch for patch in result["patches"] if patch["state"] != "missing"]
        return results or [told(None, root, "no copy below %s" % root, imports=[])]

    def half(self) -> float:
        """Seconds that a search may take: half of the time that is left."""
        left: float = self.deadline - time.monotonic()
        return left / 2

    def look(
        self, whole: Place, places: Sequence[Place], request: Mapping[str, Any], why: str = ""
    ) -> list[dict[str, Any]]:
        """A result for each place, and one more about the ``whole`` where something was left out, or for ``why``."""
        results: list[dict[str, Any]] = []
        paths = [path for _python, path in places if path is not None][:_COPIES]
        for place in places:
            left = self.deadline - time.monotonic()
            if left <= 0 or self.room <= 0:
                spent = "the time limit of %g s" % self.seconds if left <= 0 else "the limit of %d bytes" % _ROOM
                late = len(places) - len(results)
                because = "%d of %d environments were not looked at: %s was used up before" % (late, len(places), spent)
                why = "; ".join(filter(None, (why, because)))
                break
            copies = [path for path in paths if path != place[1]]
            results.append(_look(place, {**request, "copies": copies, "timeout": min(left, request["timeout"])}, left))
            self.room -= len(json.dumps(results[-1]))
        if why:
            name = " ".join(filter(None, whole))
            results.append(told(*whole, "%s: expected to look at all of it; %s" % (name, why), failed=True))
        return results


def _look(place: Place, request: Mapping[str, Any], left: float) -> dict[str, Any]:
    from . import _processes

    python, path = place
    imports = bool(request.get("imports"))
    seconds = left if imports else min(left, _SECONDS)
    files = imports or python is not None
    limits = _processes.Limits(seconds, _CPU, _child.MEMORY, files, _ANSWER)
    try:
        within = request["timeout"] if imports else min(seconds, request["timeout"])
        return _child.call(python, {**request, "python": python, "path": path, "timeout": within}, limits)
    except SitePatchError as error:
        return told(python, path, str(error), failed=True)


def _wanted(request: Mapping[str, Any]) -> tuple[set[tuple[str, ...]], set[str]]:
    """The packages that the request's patches are for and, where a patch has none, the distributions."""
    from . import _environment, _patch  # (only here: what is compiled for one look, its child compiles as well)

    catalogue = request.get("catalogue") or []
    patches, _known = _patch.select(request.get("name"), request.get("definitions"), catalogue, look=True)
    packages = {tuple(patch.package.split(".")) for patch in patches if patch.package}
    return packages, {_environment.normal(str(patch.distribution)) for patch in patches if not patch.package}


def _walk(root: str, packages: Iterable[Sequence[str]], distributions: Collection[str]) -> Iterator[Any]:
    """The directories below ``root`` in which one of these lies, and in a list each that cannot be read.

    Links are not followed, and what lies inside of a site-packages or of a package is part of that. What lies deep
    comes last: a tree that was made to keep a search busy does not keep it from the others.
    """
    from . import _environment

    waiting = collections.deque([root])
    while waiting:
        directory = waiting.popleft()
        try:
            with os.scandir(directory) as entries:
                names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except (FileNotFoundError, NotADirectoryError):  # (removed meanwhile)
            continue
        except OSError as error:
            yield ["%s: %s" % (directory, error.strerror)]
            continue
        below = [name for name, is_directory in names.items() if is_directory]
        if names.get("__init__.py") is False:
            continue
        holds = any(package[0] in names and _holds(directory, package) for package in packages)
        if holds or (distributions and any(_environment.info_of(name) in distributions for name in names)):
            yield directory
        if not any(name.endswith(".dist-info") for name in below):
            paths = (os.path.join(directory, name) for name in below if name not in _SKIPPED)
            waiting.extend(path for path in paths if path not in _NOT_WALKED)


def _holds(directory: str, package: Sequence[str]) -> bool:
    path = os.path.join(directory, *package)
    return os.path.isfile(os.path.join(path, "__init__.py")) and os.path.realpath(path) == os.path.join(
        os.path.realpath(directory), *package
    )
