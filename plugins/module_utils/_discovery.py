# Looks that cover several environments: patterns of paths, and every copy of a package below given roots. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import glob
import os
import re
from typing import Any, Iterable, Iterator, Mapping, Sequence

from . import _catalogue, _child
from ._errors import NoEnvironment, SitePatchError

_NOT_WALKED = ("/proc", "/sys", "/dev", "/run")  # no packages there, and endless
_INTERPRETER = re.compile(r"(?:python|pypy)[0-9.]*t?\Z")
_SKIPPED = ("__pycache__", "node_modules", ".git")


def call(python: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """As ``_child.call``, for a request whose ``python`` or ``path`` may be a pattern, and which may name ``roots``.

    Then the result has ``environments``: the result in each. One that cannot be looked at is among them as failed; a
    pattern that nothing matches as one in which every patch is missing.
    """
    path, roots = request.get("path"), request.get("roots") or []
    if not roots and not _is_pattern(python) and not _is_pattern(path):
        return _child.call(python, request)
    results: list[dict[str, Any]] = []
    if python or path:
        pythons = _interpreters(python) if python and _is_pattern(python) else [python]
        paths = _directories(path) if path and _is_pattern(path) else [path]
        results += [_look(interpreter, directory, request) for interpreter in pythons for directory in paths]
        if not results:
            results.append(_nothing(request, python, path, "path" if pythons else "python"))
    for root in roots:
        results += _below(root, {**request, "imports": []})
    found = {
        "changed": False,
        "msg": "looked at %d environments" % len(results),
        "environments": results,
        "patches": [patch for result in results for patch in result["patches"]],
    }
    return _utf8(found)  # type: ignore[no-any-return]


def _below(root: str, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results for all copies below a root; without one, that of a look that found nothing.

    Interpreters that are found are not started: whoever may write below a root would run code as this user.
    """
    try:
        results = [_look(None, directory, request) for directory in _copies(root, request)]
    except SitePatchError as error:
        return [_told(None, root, str(error), failed=True)]
    for result in results:  # (of several patches, a copy is only asked for those of its package)
        result["patches"] = [patch for patch in result["patches"] if patch["state"] != "missing"]
    return results or [_told(None, root, "no copy below %s" % root, imports=[])]


def _look(python: str | None, path: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return _child.call(python, {**request, "python": python, "path": path})
    except SitePatchError as error:
        return _told(python, path, str(error), failed=True)
    except Exception as error:  # noqa: BLE001 (one odd copy, maybe made to be odd, must not hide the others)
        return _told(python, path, "%s: %s" % (type(error).__name__, error), failed=True)


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
    names = request.get("name") or [patch.get("name") for patch in definitions or _catalogue.CATALOGUE]
    unknown = dict.fromkeys(("revision", "revision_found", "integrity", "package", "version", "path", "copy_id"))
    patches = [{**unknown, "name": name, "state": "missing", "action": "none", "message": message} for name in names]
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


def _copies(root: str, request: Mapping[str, Any]) -> list[str]:
    """The directories below ``root`` in which one of the request's packages lies.

    Links are not followed, and what lies inside of a site-packages or of a package is part of that. Raises
    NoEnvironment where ``root`` is no directory.
    """
    from . import _patch

    root = os.path.abspath(os.path.expanduser(root))
    if not os.path.isdir(root):
        raise NoEnvironment("roots: expected a directory, found %s" % root)
    patches, _known = _patch.select(request.get("name"), request.get("definitions"), _catalogue.CATALOGUE, look=True)
    packages = {tuple(patch.package.split(".")) for patch in patches}
    return sorted(_walk(root, packages))


def _walk(root: str, packages: Iterable[Sequence[str]]) -> Iterator[str]:
    for directory, names, files in os.walk(root):
        if "__init__.py" in files:
            names.clear()
        elif any(_holds(directory, package) for package in packages):
            yield directory
        if any(name.endswith(".dist-info") for name in names):
            names.clear()
        names[:] = [name for name in names if name not in _SKIPPED and os.path.join(directory, name) not in _NOT_WALKED]


def _holds(directory: str, package: Sequence[str]) -> bool:
    path = os.path.join(directory, *package)
    return os.path.isfile(os.path.join(path, "__init__.py")) and os.path.realpath(path) == os.path.join(
        os.path.realpath(directory), *package
    )
