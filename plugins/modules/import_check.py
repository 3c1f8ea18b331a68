#!/usr/bin/python
# Tries imports in an environment: parameters in, one call of the engine, result out.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: import_check
short_description: Prove that Python imports work in an environment
version_added: 1.0.0
description:
  - Imports modules, and reads names from them, in a fresh process of the environment's interpreter.
  - With O(preview) it does so as if patches were applied, without writing anything. An import that fails is then
    tried once more without them, and the result tells whose failure it is.
  - Changes nothing, and fails when an import fails.
options:
  imports:
    description:
      - Imports to be tried, each a module or an object reference C(package.module:name,name) as in entry points.
    type: list
    elements: str
    required: true
  preview:
    description:
      - Patches to be served from memory, of the catalogue, O(definitions) or O(src).
      - Without it, all of O(definitions) and O(src) are meant. A patch that is applied or not needed is no error.
      - Python source can be served so, with modules that come or go. A patch that would change anything else, such as
        data or a script, fails the task; M(primus.patches.site_patch) tries imports once that is written.
    type: list
    elements: str
extends_documentation_fragment:
  - primus.patches._environment
  - primus.patches._environment.imports
  - primus.patches._environment.attributes
seealso:
  - module: primus.patches.site_patch
author:
  - The primus.patches contributors (@primus-patches)
"""

EXAMPLES = r"""
- name: Prove that Megatron-Bridge can be imported
  primus.patches.import_check:
    python: /opt/venv/bin/python
    imports:
      - megatron.bridge

- name: Would the seven names be there with the patch?
  primus.patches.import_check:
    python: /opt/venv/bin/python
    preview:
      - transformers_modeling_utils
    imports:
      - transformers.modeling_utils:Conv1D,apply_chunking_to_forward,prune_linear_layer
"""

RETURN = r"""
msg:
  description: What could be imported, or what could not and why, in one line.
  returned: always
  type: str
environment:
  description: The environment that was looked at.
  returned: when its interpreter could be run
  type: dict
  sample: {python: /opt/venv/bin/python, python_version: 3.11.7, prefix: /opt/venv, path: null}
patches:
  description: One entry for each patch of O(preview), with the keys that M(primus.patches.site_patch) returns.
  returned: always
  type: list
  elements: dict
imports:
  description: One entry for each import, with the keys that M(primus.patches.site_patch) returns.
  returned: when they were tried
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.primus.patches.plugins.module_utils import _task


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
