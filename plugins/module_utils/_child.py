# Reaches the engine from a module: in this process, or in one child of the environment's interpreter.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from typing import Any, Mapping

from . import _payload, _processes
from ._errors import NoEnvironment

_NEEDED = (3, 8)
_HERE = os.path.dirname(os.path.abspath(__file__))
# Any Python must be able to read this, so that an old one can say that it is old. The engine is a package of a name
# that no other has, and not on sys.path: neither it nor the ansible package beside it is in the way of find_spec.
_BOOT = """
import os, sys
if sys.version_info < %r:
    os.write(int(sys.argv[-1]), ("old " + sys.version.split()[0]).encode("ascii"))
    sys.exit(0)
sys.path[:] = [entry for entry in sys.path if entry]
import importlib
package = type(sys)("_primus_patches_engine")
package.__path__ = [sys.argv[1]]
sys.modules[package.__name__] = package
importlib.import_module(package.__name__ + "._payload").compile_once(sys.argv[1])
importlib.import_module(package.__name__ + "._engine").main(sys.argv)
"""


def call(python: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's result for ``request`` under the interpreter ``python`` (default: this one).

    Raises NoEnvironment when ``python`` is no interpreter that can run the engine, or does not come back within
    the request's ``timeout`` (seconds; twice that when it may have to try imports, which have a limit of their own;
    more by the request's ``wait``, which is for locks).
    """
    if request.get("path"):
        request = {**request, "path": os.path.abspath(request["path"])}  # (the child has another working directory)
    python = _resolve(python) if python is not None else None
    if python is None or _is_this(python):
        _payload.compile_once(_HERE)
        from . import _engine  # (only here: of a payload, what is imported is compiled every time)

        return _engine.run(request)
    limit = request["timeout"] * (2 if request.get("imports") else 1) + request.get("wait", 0.0) + 5.0
    command = [python, "-B", "-c", _BOOT % (_NEEDED,), _HERE]
    with tempfile.TemporaryFile() as output:
        try:
            answer = _processes.run(command, json.dumps(request).encode("utf-8"), limit, output)
        except OSError as error:
            raise _no_python(python, "it cannot be started: %s" % error.strerror) from None
        output.seek(0)
        said = output.read().decode("utf-8", "replace").strip().rpartition("\n")[2][-300:]
    if answer.timed_out:
        raise _no_python(python, "it did not answer within %g s" % limit)
    if answer.text.startswith(b"old "):
        raise _no_python(python, "it is Python %s" % answer.text[4:].decode("ascii"))
    try:
        result = json.loads(answer.text.decode("utf-8"))
    except ValueError:
        ending = "%s: %s" % (answer.ending, said) if said else answer.ending
        raise _no_python(python, "no answer (%s): no Python, or one that is broken" % ending) from None
    if not isinstance(result, dict):
        raise _no_python(python, "an answer that is not ours")
    return result


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
