# Patterns of interpreters and directories: what they match on a node, and a change in each environment of that.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import glob
import json
import os
import re
from typing import Any, Callable, Iterable, Mapping, Tuple

from . import _child
from ._environments import joined, told
from ._errors import SitePatchError

_INTERPRETER = re.compile(r"(?:python|pypy)[0-9.]*t?\Z")
_FOUND = 1 << 24  # bytes that the paths of all of them may take

Place = Tuple["str | None", "str | None"]  # python and path


def call(python: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """As ``_child.call``, for a request to change whose ``python`` or ``path`` may be a pattern.

    Then the result has ``environments``: the result in each, in the order of their paths, with ``failed`` and ``msg``
    in that of one that is refused, which keeps no other from being worked on. A pattern that nothing matches is one in
    which every patch is missing. The request's ``timeout`` is for the search, and for each environment.
    """
    path = request.get("path")
    if not is_pattern(python) and not is_pattern(path):
        return _child.call(python, request)
    places, option, why = matching(python, path, request["timeout"])
    results = [_one(place, request) for place in places]
    if why:
        message = "%s: expected to look at all of it; %s" % (" ".join(filter(None, (python, path))), why)
        results.append(told(python, path, message, failed=True))
    elif not places:
        results.append(nothing(request, python, path, option))
    return joined(results, diff=bool(request.get("diff")))


def _one(place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
    python, path = place
    try:
        return _child.call(python, {**request, "python": python, "path": path})
    except SitePatchError as error:
        return told(python, path, str(error), failed=True)


def is_pattern(path: str | None) -> bool:
    """Whether a path stands for those that match it: it has ``*``, ``?`` or ``[``, and nothing is called so."""
    return path is not None and glob.escape(path) != path and not os.path.lexists(os.path.expanduser(path))


def matching(python: str | None, path: str | None, seconds: float) -> tuple[list[Place], str, str]:
    """The environments that are meant, the option that nothing matches, and why it may be that there are more."""
    pythons, why = search(lambda: _interpreters(python), seconds) if python and is_pattern(python) else ([python], "")
    paths, also = search(lambda: _directories(path), seconds) if path and is_pattern(path) else ([path], "")
    places = [(interpreter, directory) for interpreter in pythons for directory in paths]
    return places, "path" if pythons else "python", why or also


def search(find: Callable[[], Iterable[Any]], seconds: float) -> tuple[list[Any], str]:
    """What a search finds, in a child within limits; and why it may be that there is more, else nothing."""
    from . import _processes

    def work(say: Callable[[bytes], object]) -> None:
        for each in find():
            say(json.dumps(each).encode("ascii") + b"\n")

    limits = _processes.Limits(seconds, memory=_child.MEMORY, files=False, answer=_FOUND)
    answer = _processes.in_child(work, limits)
    found = [json.loads(line) for line in answer.text.split(b"\n")[:-1]]
    why = answer.limit or ("" if answer.ending == "exit status 0" else answer.ending)
    return found, "not all of it was searched (%s)" % why if why else ""


def nothing(request: Mapping[str, Any], python: str | None, path: str | None, option: str) -> dict[str, Any]:
    """The result for a pattern that matches nothing, maybe for want of a mount: every patch is missing there."""
    pattern, what = (python, "interpreter") if option == "python" else (path, "directory")
    message = "%s %s: expected one %s or more that match, found none" % (option, pattern, what)
    definitions = request.get("definitions") or []
    names = request.get("name") or [patch.get("name") for patch in definitions or request.get("catalogue") or []]
    present = request.get("state", "present") == "present"
    action = "skip" if present and request.get("missing") == "skip" else "none"
    unknown = dict.fromkeys(("revision", "revision_found", "integrity", "package", "version"))
    patch: dict[str, Any] = {**unknown, "state": "missing", "action": action, "files": [], "message": message}
    if request["operation"] == "info":
        patch["copy_id"] = None
    refused = {"failed": True} if request["operation"] == "patch" and present and action != "skip" else {}
    return told(python, path, message, patches=[{**patch, "name": name} for name in names], imports=[], **refused)


def _interpreters(pattern: str | None) -> list[str]:
    """What matches, once for each environment: ``bin/python*`` is one, whatever its links are called."""
    found: dict[tuple[str, str], str] = {}
    any_name = not is_pattern(os.path.basename(pattern or ""))
    for path in sorted(glob.glob(os.path.expanduser(pattern or ""))):
        named = any_name or _INTERPRETER.match(os.path.basename(path))  # (no python3-config, no python3.11-gdb.py)
        if named and os.path.isfile(path) and os.access(path, os.X_OK):
            found.setdefault((os.path.realpath(os.path.dirname(path)), os.path.realpath(path)), path)
    return list(found.values())


def _directories(pattern: str) -> list[str]:
    return [path for path in sorted(glob.glob(os.path.expanduser(pattern))) if os.path.isdir(path)]
