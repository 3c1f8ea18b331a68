# The command line of a catalogue patch that is run on its own, without Ansible. Same engine, in this process.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
from typing import Any, Mapping, Sequence

from . import _outcome


def main(patch: Mapping[str, Any], arguments: Sequence[str] | None = None) -> int:
    """Apply, check or revert one patch; returns the exit status that the help names."""
    _outcome.prepare_output()
    parser = argparse.ArgumentParser(
        description="%s: %s" % (patch["name"], patch["reason"]),
        epilog="Exit status: 0 done or nothing to do, 1 would change (--check), 2 refused or error. "
        "With --health: 0 applied, native or unneeded, 1 the node has drifted, 2 it cannot be told, or is not there.",
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
        "timeout": _outcome.SECONDS,
    }
    if options.health:
        return _outcome.health(request, patch["name"])
    result = _outcome.carry_out(request)
    text = "" if result.get("failed") else _outcome.diff(result) + result["msg"]
    return _outcome.end(result, text, _outcome.of_change(result, options.check))
