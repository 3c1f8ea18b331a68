#!/usr/bin/python
# Tries imports in an environment: parameters in, one call of the engine, result out.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.primus.patches.plugins.module_utils import _boot

if TYPE_CHECKING:  # (sent along all the same; the engine imports _looking)
    from ansible_collections.primus.patches.plugins.module_utils import _looking, _task  # noqa: F401
else:
    _task = _boot.module("_task")


class Module(_task.Discreet, AnsibleModule):
    """Hides what is secret in the options that it shares with the other modules."""


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec=dict(
            imports=dict(type="list", elements="str", required=True),
            preview=dict(type="list", elements="str"),
            definitions=dict(type="list", elements="dict"),
            src=dict(type="list", elements="raw"),  # (the action plugin's)
            python=dict(type="str"),
            path=dict(type="path"),
            timeout=dict(type="float", default=300),
            trust_writers=dict(type="bool", default=False),
            import_environment=dict(type="dict", default={}, no_log=True),
        ),
        supports_check_mode=True,
    )
    _task.run(module, "check", name=module.params["preview"])


if __name__ == "__main__":
    main()
