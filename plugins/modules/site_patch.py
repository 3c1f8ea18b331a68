#!/usr/bin/python
# Brings an environment to the state that patches ask for: parameters in, one call of the engine, result out.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.primus.patches.plugins.module_utils import _boot

if TYPE_CHECKING:  # (sent along all the same; the engine imports _patching and _commit)
    from ansible_collections.primus.patches.plugins.module_utils import (  # noqa: F401
        _commit,
        _locks,
        _patching,
        _several,
        _task,
    )
else:
    _locks, _several, _task = map(_boot.module, ("_locks", "_several", "_task"))

ARGUMENTS = dict(
    name=dict(type="list", elements="str"),
    definitions=dict(type="list", elements="dict"),
    src=dict(type="list", elements="raw"),  # (the action plugin's)
    python=dict(type="str"),
    path=dict(type="path"),
    state=dict(type="str", choices=["present", "absent"], default="present"),
    unsupported=dict(type="str", choices=["fail", "skip"], default="fail"),
    missing=dict(type="str", choices=["fail", "skip"], default="fail"),
    backup=dict(type="bool", default=False),
    validate=dict(type="list", elements="str", default=[]),
    verify=dict(type="str", choices=["always", "changed", "never"], default="always"),
    shared=dict(type="bool", default=False),  # (the action plugin's)
    timeout=dict(type="float", default=300),
    trust_writers=dict(type="bool", default=False),
    validate_failure=dict(type="str", choices=["refuse", "accept_unchanged"], default="refuse"),
    restore=dict(type="bool", default=False),
    import_environment=dict(type="dict", default={}, no_log=True),
)


class Module(_task.Discreet, AnsibleModule):
    """Hides what is secret in the options that it shares with the other modules."""


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    wait = 0.0 if module.check_mode else _locks.SECONDS
    _task.run(module, "patch", _several.call, imports=module.params["validate"], wait=wait)


if __name__ == "__main__":
    main()
