# One call from request to result. Runs under the interpreter of the environment.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gc
import importlib
import json
import sys
from contextlib import suppress
from typing import Any, Mapping

from . import _edits
from ._errors import SitePatchError
from ._trust import Belongs

# Of a payload everything that is imported is compiled every time. So what not every call needs is imported where it is
# needed, and what one module alone needs by name, as Ansible sends to a node what it finds imported in the source; that
# module names it (see test_payload.py).
_OPERATIONS = {
    "patch": "_patching",
    "info": "_looking",
    "check": "_looking",
    "kept": "_looking",
    "verify": "_looking",
}
_EDITS = ("_diff", "_replace", "_unified", "_whole")
_LATE = ("_patching", "_looking", "_commit", "_imports", "_integrity", "_kept", "_survey", *_EDITS)


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a request and return what the module returns; with ``failed`` and ``msg`` where it is refused.

    Keys of the request: ``operation`` (patch, info or check), the parameters of the module of that operation,
    ``catalogue`` (the definitions that ``name`` selects from) and ``by_root``: whether root asked. Then the result may
    have ``belongs``, a path: the caller is to ask again, in a process of its owner's. Only the command line asks for
    ``kept``, which tells what the stores say (``stores``), and for a patch with ``all``: those of which they tell.
    """
    result: dict[str, Any] = {
        "changed": False,
        "environment": {
            "python": sys.executable,
            "python_version": sys.version.split()[0],
            "prefix": sys.prefix,
            "path": request.get("path"),
        },
        "patches": [],
    }
    collects = gc.isenabled()
    gc.disable()  # (what is many here are the nodes of syntax trees, without a cycle among them)
    try:
        operation(request["operation"])(request, result)
    except Belongs as found:
        result["belongs"] = found.path
    except SitePatchError as error:
        result.update(failed=True, msg=str(error))
    except OSError as error:
        where = "%s: " % error.filename if error.filename else ""
        result.update(failed=True, msg="cannot be told: %s%s" % (where, error.strerror or error))
    finally:
        if collects:
            _edits.parse.cache_clear()  # (what is collected next would be looked for among all those nodes)
            gc.enable()
    return result


def operation(name: str) -> Any:
    """What carries out one of the operations; the modules that every call of it needs are imported then."""
    return getattr(importlib.import_module("." + _OPERATIONS[name], __package__), name)


def load_all() -> None:
    """Import all that a call may come to need: a process that becomes another user cannot read our files then."""
    for name in _LATE:
        with suppress(ImportError):  # (Ansible sends along what the module itself may need)
            importlib.import_module("." + name, __package__)
    for name in ("difflib", "gzip", "encodings.ascii", "encodings.latin_1", "importlib.metadata", "io"):
        importlib.import_module(name)


def answer(request: Mapping[str, Any]) -> bytes:
    """The result as JSON, from a process that is there for this alone."""
    gc.disable()  # (for good: what is left to be looked through would be all those syntax trees)
    if request.get("imports"):
        from . import _processes

        _processes.adopt_orphans()
    return json.dumps(run(request)).encode("utf-8")
