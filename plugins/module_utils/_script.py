# The command line of a catalogue patch that is run on its own, without Ansible. Same engine, in this process.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import io
import sys
from typing import Any, Mapping, Sequence

from . import _child, _files
from ._errors import SitePatchError

DONE, WOULD_CHANGE, REFUSED = 0, 1, 2
HEALTHY, DRIFTED, UNKNOWN = 0, 1, 2
_SECONDS = 300.0  # for the whole look, and the change


def main(patch: Mapping[str, Any], arguments: Sequence[str] | None = None) -> int:
    """Apply, check or revert one patch; returns the exit status that the help names."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # (a diff may hold what a C locale cannot say; exit 1 would mislead)
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(
        description="%s: %s" % (patch["name"], patch["reason"]),
        epilog="Exit status: 0 done or nothing to do, 1 would change (--check), 2 refused or error. "
        "With --health: 0 applied or native, 1 the node has drifted, 2 it cannot be told, or is not there.",
    )
    parser.add_argument("path", help="a source checkout, the package's directory, or a site-packages")
    parser.add_argument("--check", action="store_true", help="say what would be done; write nothing")
    parser.add_argument("--diff", action="store_true", help="print what is changed")
    parser.add_argument("--revert", action="store_true", help="take the patch out again")
    parser.add_argument(
        "--trust-writers", action="store_true", help="as root, also where others than root and the owner may write"
    )
    parser.add_argument("--health", action="store_true", help="say in one line whether it is there; write nothing")
    options = parser.parse_args(arguments)
    if options.health and (options.check or options.diff or options.revert):
        parser.error("--health goes with no other option")
    request = {
        "operation": "patch",
        "name": [patch["name"]],
        "catalogue": [patch],
        "path": options.path,
        "state": "absent" if options.revert else "present",
        "check_mode": options.check or options.health,
        "diff": options.diff,
        "trust_writers": options.trust_writers,
        "timeout": _SECONDS,
    }
    if options.health:
        return _health(patch["name"], request)
    result = _run(request)
    if result.get("failed"):
        sys.stderr.write(result["msg"] + "\n")
        return REFUSED
    if options.diff:
        sys.stdout.write(result["diff"]["prepared"])
    sys.stdout.write(result["msg"] + "\n")
    return WOULD_CHANGE if options.check and result["changed"] else DONE


def _run(request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return _child.call(None, request)
    except SitePatchError as error:
        return {"changed": False, "failed": True, "msg": str(error), "patches": []}


def _health(name: str, request: Mapping[str, Any]) -> int:
    """Print name, state and reason in one line; the exit status that the help names.

    These are the statuses of node-problem-detector's plugins (OK, NonOK, Unknown), which keep 80 characters of it. What
    is missing or cannot be read may be on a file system that is away: then nothing can be told.
    """
    try:
        result = _run(request)
        unknown: dict[str, Any] = {"state": "unknown", "message": result.get("msg"), "files": []}
        found = next(iter(result["patches"]), unknown)
        state, message = found["state"], found["message"]
        for file in found["files"] if state == "conflict" else ():
            _files.head(file["path"], 1)
    except Exception as error:  # noqa: BLE001 (a traceback's exit status would say that the node has drifted)
        state, message = "unknown", "%s: %s" % (type(error).__name__, error)
    sys.stdout.write("%s %s: %s\n" % (name, state, " ".join(str(message).split())))
    if state in ("applied", "native"):
        return HEALTHY
    return UNKNOWN if state in ("missing", "unknown") else DRIFTED
