#!/usr/bin/python
# Looks at the patches of an environment without the will to change: parameters in, one call of the engine, result out.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.primus.patches.plugins.module_utils import _boot

if TYPE_CHECKING:  # (sent along all the same; the engine imports _looking, _integrity and _survey)
    from ansible_collections.primus.patches.plugins.module_utils import (  # noqa: F401
        _discovery,
        _integrity,
        _looking,
        _survey,
        _task,
    )
else:
    _discovery, _task = map(_boot.module, ("_discovery", "_task"))

ARGUMENTS = dict(
    name=dict(type="list", elements="str"),
    definitions=dict(type="list", elements="dict"),
    src=dict(type="list", elements="raw"),  # (the action plugin's)
    python=dict(type="str"),
    path=dict(type="path"),
    unsupported=dict(type="str", choices=["fail", "skip"], default="fail"),
    missing=dict(type="str", choices=["fail", "skip"], default="fail"),
    roots=dict(type="list", elements="path", default=[]),
    imports=dict(type="list", elements="str", default=[]),
    details=dict(type="bool", default=False),
    integrity=dict(type="list", elements="str", default=[]),
    integrity_libraries=dict(type="bool", default=False),
    timeout=dict(type="float", default=300),
    trust_writers=dict(type="bool", default=False),
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
    _task.run(module, "info", _discovery.call)


if __name__ == "__main__":
    main()
