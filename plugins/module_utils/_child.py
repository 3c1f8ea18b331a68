# Reaches the engine from a module: in this process, or in one child of the environment's interpreter.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pkgutil
import tempfile
from typing import Any, Mapping

from . import _payload

_payload.compile_once(os.path.dirname(__file__))

from . import (
    _boot,  # noqa: F401 (Ansible ships what is imported; its text is sent to the child)
    _interpreter,
    _processes,
    _trust,
)
from ._trust import Trust, User

_LOADER: Any = __spec__.loader  # (reads files, also out of the archive that Ansible sends)
# Any Python must be able to read this, so that an old one can say that it is old.
_START = """
import os, sys
if sys.version_info < %r:
    os.write(int(sys.argv[-1]), ("old " + sys.version.split()[0]).encode("ascii"))
    sys.exit(0)
import json
asked = json.loads(sys.stdin.buffer.read().decode("utf-8"))
boot = {"__name__": "boot"}
exec(compile(asked["sources"]["_boot"], "<primus.patches>/_boot.py", "exec"), boot)
boot["run"](asked["sources"], asked["request"], int(sys.argv[-1]))
"""


def call(python: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's result for ``request`` under the interpreter ``python`` (default: this one).

    Where this process is root's and the environment another user's, all is done by a child of that user. Raises
    Untrusted where others may change what root would edit or run, and NoEnvironment when ``python`` is no interpreter
    that can run the engine, or does not come back within the request's ``timeout`` (seconds; twice that when it may
    have to try imports, which have a limit of their own; more by the request's ``wait``, which is for locks).
    """
    if request.get("path"):
        request = {**request, "path": os.path.abspath(request["path"])}  # (the child has another working directory)
    python = _interpreter.resolve(python) if python is not None else None
    if os.geteuid() != 0:
        return _run(python, request, None)
    request = {**request, "by_root": True}
    result = _run(python, request, _user(python, request))
    if "belongs" in result:
        result = _run(python, request, _trust.user(*result["belongs"]))
    return result


def _user(python: str | None, request: Mapping[str, Any]) -> User | None:
    """As whom root is to do the work, as far as that can be told without looking for packages; None as itself."""
    trust = Trust(by_root=True, writers=bool(request.get("trust_writers")))
    found = None
    try:
        if python is not None:
            found = _trust.interpreter(python, trust)
        if found is None and request.get("path"):
            found = _trust.directory(request["path"])
    except OSError as error:
        if python is not None and error.filename == python:
            raise _interpreter.none(python, "that the way to it cannot be followed: %s" % error.strerror) from None
    return found


def _run(python: str | None, request: Mapping[str, Any], user: User | None) -> dict[str, Any]:
    if python is None or _interpreter.is_this(python):
        from . import _engine  # (only here: of a payload, what is imported is compiled every time)

        if user is None:
            return _engine.run(request)
        result: dict[str, Any] = _processes.in_child(
            lambda: _engine.run(request), _limit(request), user, _engine.load_all
        )
        return result
    asked = {"sources": _sources(), "request": request}
    with tempfile.TemporaryFile() as output:
        try:
            command = [python, "-B", "-c", _START % (_interpreter.OLDEST,)]
            answer = _processes.run(command, json.dumps(asked).encode("utf-8"), _limit(request), output, user=user)
        except OSError as error:
            raise _interpreter.none(python, "it cannot be started: %s" % (error.strerror or error)) from None
        output.seek(0)
        said = output.read().decode("utf-8", "replace").strip().rpartition("\n")[2][-300:]
    if answer.timed_out:
        raise _interpreter.none(python, "it did not answer within %g s" % _limit(request))
    if answer.text.startswith(b"old "):
        raise _interpreter.none(python, "it is Python %s" % answer.text[4:].decode("ascii"))
    try:
        result = json.loads(answer.text.decode("utf-8"))
    except ValueError:
        ending = "%s: %s" % (answer.ending, said) if said else answer.ending
        raise _interpreter.none(python, "no answer (%s): no Python, or one that is broken" % ending) from None
    if not isinstance(result, dict):
        raise _interpreter.none(python, "an answer that is not ours")
    return result


def _limit(request: Mapping[str, Any]) -> float:
    """How long a child may take (seconds)."""
    return float(request["timeout"] * (2 if request.get("imports") else 1) + request.get("wait", 0.0) + 5.0)


def _sources() -> dict[str, str]:
    """The text of each module here, by dotted name: the child may not be allowed to read our files."""
    found: dict[str, str] = {}
    packages = [("", os.path.dirname(__file__))]
    while packages:
        prefix, directory = packages.pop()
        for each in pkgutil.iter_modules([directory]):
            file = os.path.join(directory, each.name)
            if each.ispkg:
                packages.append((prefix + each.name + ".", file))
            file = os.path.join(file, "__init__.py") if each.ispkg else file + ".py"
            found[prefix + each.name] = _LOADER.get_data(file).decode("utf-8")
    return found
