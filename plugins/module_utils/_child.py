# Reaches the engine from a module: in this process, or in one child of the environment's interpreter.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, Mapping

from . import _payload
from ._errors import NoEnvironment

if TYPE_CHECKING:  # (imported late: of a payload, only what comes after compile_once is compiled but once)
    from ._processes import Answer, Limits

_NEEDED = (3, 8)
_HERE = os.path.dirname(os.path.abspath(__file__))
# Any Python must be able to read this, so that an old one can say that it is old. The engine is a package of a name
# that no other has, and not on sys.path: neither it nor the ansible package beside it is in the way of find_spec.
_BOOT = """
import os, sys
answer = [int(number) for number in sys.argv[-1].split(":")]
try:
    found = os.fstat(answer[0])
    there = [found.st_dev, found.st_ino] == answer[1:]
except OSError:
    there = False
if not there:
    sys.exit("what it runs when it starts (sitecustomize, a .pth file) closes the descriptor that it is to answer on")
if sys.version_info < %r:
    os.write(answer[0], ("old " + sys.version.split()[0]).encode("ascii"))
    sys.exit(0)
sys.path[:] = [entry for entry in sys.path if entry]
import importlib
package = type(sys)("_primus_patches_engine")
package.__path__ = [sys.argv[1]]
sys.modules[package.__name__] = package
importlib.import_module(package.__name__ + "._payload").compile_once(sys.argv[1])
importlib.import_module(package.__name__ + "._engine").main(answer[0])
"""
MEMORY = 1 << 30  # bytes; a module of 5 MB of ordinary source takes as much to be parsed


def call(python: str | None, request: Mapping[str, Any], limits: Limits | None = None) -> dict[str, Any]:
    """The engine's result for ``request`` under the interpreter ``python`` (default: this one), from a child process.

    Raises NoEnvironment when ``python`` is no interpreter that can run the engine, or does not come back within
    the limits. By default these are a GiB of memory and the request's ``timeout`` (seconds; twice that when it may have
    to try imports, which have a limit of their own; more by the request's ``wait``, which is for locks).
    """
    _payload.compile_once(_HERE)
    if request.get("path"):
        request = {**request, "path": os.path.abspath(request["path"])}  # (the child has another working directory)
    python = _resolve(python) if python is not None else None
    if python is None or _is_this(python):
        return _here(request, limits)
    from . import _processes

    command = [python, "-B", "-c", _BOOT % (_NEEDED,), _HERE]
    try:
        answer = _processes.run(command, json.dumps(request).encode("utf-8"), limits or _limits(request))
    except OSError as error:
        raise _no_python(python, "it cannot be started: %s" % error.strerror) from None
    if answer.limit:
        raise _no_python(python, answer.limit)
    if answer.text.startswith(b"old "):
        raise _no_python(python, "it is Python %s" % answer.text[4:].decode("ascii"))
    try:
        result = json.loads(answer.text.decode("utf-8"))
    except ValueError:
        raise _no_python(python, "no answer (%s): no Python, or one that is broken" % _ending(answer)) from None
    if not isinstance(result, dict):
        raise _no_python(python, "an answer that is not ours")
    return result


def _here(request: Mapping[str, Any], limits: Limits | None) -> dict[str, Any]:
    """The engine's result under this interpreter.

    A fork costs a module 18 ms of 250. One look goes without where it has no imports, which may leave something
    behind, and where parsing cannot end the interpreter, as before 3.11 a deep expression does.
    """
    from . import _engine  # (only here: of a payload, what is imported is compiled every time)

    if limits is None and not request.get("imports") and sys.version_info >= (3, 11):
        return _engine.run(request)
    from . import _processes

    answer = _processes.in_child(lambda say: say(_engine.answer(request)), limits or _limits(request))
    try:
        return json.loads(answer.text.decode("utf-8"))  # type: ignore[no-any-return]
    except ValueError:
        raise NoEnvironment(
            "%s: expected what can be looked at within limits, found that the process ended without an answer (%s). "
            "A file there may be damaged, or made to do that. Nothing else can be told"
            % (request.get("path") or "this environment", _ending(answer))
        ) from None


def _limits(request: Mapping[str, Any]) -> Limits:
    from . import _processes

    seconds = request["timeout"] * (2 if request.get("imports") else 1) + request.get("wait", 0.0) + 5.0
    return _processes.Limits(seconds, memory=MEMORY)


def _ending(answer: Answer) -> str:
    """How a child ended that gave no answer, and the last that it said."""
    said = answer.output.decode("utf-8", "replace").strip().rpartition("\n")[2][-300:]
    return ": ".join(filter(None, (answer.limit or answer.ending, said)))


def _resolve(python: str) -> str:
    """The absolute path of an interpreter; links are left as they are (a venv's python is one)."""
    found = shutil.which(os.path.expanduser(python))
    if found is None:
        path = os.path.expanduser(python)
        state = (
            "nothing" if not os.path.lexists(path) else "a directory" if os.path.isdir(path) else "no executable file"
        )
        raise _no_python(python, state)
    return os.path.abspath(found)


def _is_this(python: str) -> bool:
    """Whether ``python`` is the environment that this process runs in.

    By sys.prefix, which pyvenv.cfg decides, and the real interpreter; the real path alone would take every venv for
    the system's Python.
    """
    if os.path.realpath(python) != os.path.realpath(sys.executable or "/"):
        return False
    directory = os.path.dirname(python)
    for prefix in (directory, os.path.dirname(directory)):
        if os.path.exists(os.path.join(prefix, "pyvenv.cfg")):
            return os.path.realpath(prefix) == os.path.realpath(sys.prefix)
    return sys.prefix == sys.base_prefix


def _no_python(python: str, found: str) -> NoEnvironment:
    return NoEnvironment(
        "python %s: expected a Python interpreter of version %d.%d or newer, found %s" % (python, *_NEEDED, found)
    )
