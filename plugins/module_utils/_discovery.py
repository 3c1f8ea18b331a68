# Looks that cover several environments: patterns of paths, and every copy of a package below given roots. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import collections
import glob
import json
import os
import re
import time
from typing import Any, Callable, Collection, Iterable, Iterator, Mapping, Sequence, Tuple

from . import _child, _environment, _patch
from ._errors import NoEnvironment, SitePatchError

_NOT_WALKED = ("/proc", "/sys", "/dev", "/run")  # no packages there, and endless
_INTERPRETER = re.compile(r"(?:python|pypy)[0-9.]*t?\Z")
_SKIPPED = ("__pycache__", "node_modules", ".git")
_SECONDS, _CPU, _ANSWER = 30.0, 10, 1 << 20  # limits for one environment (the first one without imports)
_FOUND = 1 << 24  # bytes that the paths of all of them may take
_ROOM = 1 << 26  # bytes that all results together may take, about; a controller has as many of them as nodes

Place = Tuple["str | None", "str | None"]  # python and path


def call(python: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """As ``_child.call``, for a request whose ``python`` or ``path`` may be a pattern, and which may name ``roots``.

    Then the result has ``environments``: the result in each. One that cannot be looked at is among them as failed; a
    pattern that nothing matches as one in which every patch is missing. What is not looked at within the request's
    ``timeout`` (twice that with imports, as for ``_child.call``; here for all together) is told in one more of them.
    """
    path, roots = request.get("path"), request.get("roots") or []
    if not roots and not _is_pattern(python) and not _is_pattern(path):
        return _child.call(python, request)
    looks = _Looks(request)
    results = looks.matching(python, path) if python or path else []
    for root in roots:
        results += looks.below(root)
    found = {
        "changed": False,
        "msg": "looked at %d environments" % len(results),
        "environments": results,
        "patches": [patch for result in results for patch in result["patches"]],
    }
    return _utf8(found)  # type: ignore[no-any-return]


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
        pythons, why = self.search(lambda: _interpreters(python)) if python and _is_pattern(python) else ([python], "")
        paths, also = self.search(lambda: _directories(path)) if path and _is_pattern(path) else ([path], "")
        places = [(interpreter, directory) for interpreter in pythons for directory in paths]
        if not places and not (why or also):
            return [_nothing(self.request, python, path, "path" if pythons else "python")]
        return self.look((python, path), places, self.request, why or also)

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
            return [_told(None, root, str(error), failed=True)]
        found, why = self.search(lambda: _walk(root, *wanted))
        unread = [each[0] for each in found if isinstance(each, list)]
        if unread:
            why = "; ".join(filter(None, (why, "%d directories cannot be read (%s)" % (len(unread), unread[0]))))
        copies = [(None, each) for each in sorted(each for each in found if isinstance(each, str))]
        results = self.look((None, root), copies, {**self.request, "imports": []}, why)
        for result in results:  # (of several patches, a copy is only asked for those of its package)
            result["patches"] = [patch for patch in result["patches"] if patch["state"] != "missing"]
        return results or [_told(None, root, "no copy below %s" % root, imports=[])]

    def search(self, search: Callable[[], Iterable[Any]]) -> tuple[list[Any], str]:
        """What a search finds, in half of the time that is left; and why it may be that there is more, else nothing."""
        from . import _processes

        def work(say: Callable[[bytes], object]) -> None:
            for each in search():
                say(json.dumps(each).encode("ascii") + b"\n")

        seconds = (self.deadline - time.monotonic()) / 2
        limits = _processes.Limits(seconds, memory=_child.MEMORY, files=False, answer=_FOUND)
        answer = _processes.in_child(work, limits)
        found = [json.loads(line) for line in answer.text.split(b"\n")[:-1]]
        why = answer.limit or ("" if answer.ending == "exit status 0" else answer.ending)
        return found, "not all of it was searched (%s)" % why if why else ""

    def look(
        self, whole: Place, places: Sequence[Place], request: Mapping[str, Any], why: str = ""
    ) -> list[dict[str, Any]]:
        """A result for each place, and one more about the ``whole`` where something was left out, or for ``why``."""
        results: list[dict[str, Any]] = []
        for place in places:
            left = self.deadline - time.monotonic()
            if left <= 0 or self.room <= 0:
                spent = "the time limit of %g s" % self.seconds if left <= 0 else "the limit of %d bytes" % _ROOM
                late = len(places) - len(results)
                because = "%d of %d environments were not looked at: %s was used up before" % (late, len(places), spent)
                why = "; ".join(filter(None, (why, because)))
                break
            results.append(_look(place, {**request, "timeout": min(left, request["timeout"])}, left))
            self.room -= len(json.dumps(results[-1]))
        if why:
            name = " ".join(filter(None, whole))
            results.append(_told(*whole, "%s: expected to look at all of it; %s" % (name, why), failed=True))
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
        return _told(python, path, str(error), failed=True)


def _told(python: str | None, path: str | None, message: str, **more: Any) -> dict[str, Any]:
    """The result of a look that did not get as far as the engine."""
    return {"changed": False, "msg": message, "environment": {"python": python, "path": path}, "patches": [], **more}


def _utf8(value: Any) -> Any:
    """The value with texts as UTF-8 has them: Ansible refuses a whole result for the name of one directory."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _utf8(each) for key, each in value.items()}
    return [_utf8(each) for each in value] if isinstance(value, list) else value


def _nothing(request: Mapping[str, Any], python: str | None, path: str | None, option: str) -> dict[str, Any]:
    """The result for a pattern that matches nothing, maybe for want of a mount: every patch is missing there."""
    pattern, what = (python, "interpreter") if option == "python" else (path, "directory")
    message = "%s %s: expected one %s or more that match, found none" % (option, pattern, what)
    definitions = request.get("definitions") or []
    names = request.get("name") or [patch.get("name") for patch in definitions or request.get("catalogue") or []]
    unknown = dict.fromkeys(("revision", "revision_found", "integrity", "package", "version", "copy_id"))
    patch: dict[str, Any] = {**unknown, "state": "missing", "action": "none", "files": [], "message": message}
    patches = [{**patch, "name": name} for name in names]
    return _told(python, path, message, patches=patches, imports=[])


def _is_pattern(path: str | None) -> bool:
    return path is not None and glob.escape(path) != path and not os.path.lexists(os.path.expanduser(path))


def _interpreters(pattern: str | None) -> list[str]:
    """What matches, once for each environment: ``bin/python*`` is one, whatever its links are called."""
    found: dict[tuple[str, str], str] = {}
    any_name = not _is_pattern(os.path.basename(pattern or ""))
    for path in sorted(glob.glob(os.path.expanduser(pattern or ""))):
        named = any_name or _INTERPRETER.match(os.path.basename(path))  # (no python3-config, no python3.11-gdb.py)
        if named and os.path.isfile(path) and os.access(path, os.X_OK):
            found.setdefault((os.path.realpath(os.path.dirname(path)), os.path.realpath(path)), path)
    return list(found.values())


def _directories(pattern: str) -> list[str]:
    return [path for path in sorted(glob.glob(os.path.expanduser(pattern))) if os.path.isdir(path)]


def _wanted(request: Mapping[str, Any]) -> tuple[set[tuple[str, ...]], set[str]]:
    """The packages that the request's patches are for and, where a patch has none, the distributions."""
    catalogue = request.get("catalogue") or []
    patches, _known = _patch.select(request.get("name"), request.get("definitions"), catalogue, look=True)
    packages = {tuple(patch.package.split(".")) for patch in patches if patch.package}
    return packages, {_environment.normal(str(patch.distribution)) for patch in patches if not patch.package}


def _walk(root: str, packages: Iterable[Sequence[str]], distributions: Collection[str]) -> Iterator[Any]:
    """The directories below ``root`` in which one of these lies, and in a list each that cannot be read.

    Links are not followed, and what lies inside of a site-packages or of a package is part of that. What lies deep
    comes last: a tree that was made to keep a search busy does not keep it from the others.
    """
    waiting = collections.deque([root])
    while waiting:
        directory = waiting.popleft()
        try:
            with os.scandir(directory) as entries:
                names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # (removed meanwhile; others' own business)
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
