#!/usr/bin/python
# Looks at the patches of an environment without the will to change: parameters in, one call of the engine, result out.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: site_patch_info
short_description: Tell which source patches an environment carries
version_added: 0.1.0
description:
  - Tells the state of patches in an environment, as M(primus.patches.site_patch) would find them.
  - Changes nothing, never fails because of a state, and works on read-only images and for unprivileged users.
options:
  name:
    description:
      - Patches to be looked for, of the catalogue or of O(definitions).
      - Without it, all O(definitions) are meant and, without those either, the whole catalogue.
    type: list
    elements: str
extends_documentation_fragment:
  - primus.patches._environment
  - primus.patches._environment.attributes
seealso:
  - module: primus.patches.site_patch
author:
  - The primus.patches contributors (@primus-patches)
"""

EXAMPLES = r"""
- name: Look at all patches of the catalogue
  primus.patches.site_patch_info:
    python: /opt/venv/bin/python
  register: patches

- name: Name the patches that are to be applied
  ansible.builtin.debug:
    msg: "{{ patches.patches | selectattr('state', 'equalto', 'pending') | map(attribute='name') }}"
"""

RETURN = r"""
msg:
  description: What was found, in one line.
  returned: always
  type: str
environment:
  description: The environment that was looked at.
  returned: when its interpreter could be run
  type: dict
  sample: {python: /opt/venv/bin/python, python_version: 3.11.7, prefix: /opt/venv, path: null}
patches:
  description:
    - One entry for each patch, with the keys that M(primus.patches.site_patch) returns.
    - Its C(action) is what that module would do.
  returned: always
  type: list
  elements: dict
  contains:
    copy:
      description:
        - Identity of the physical copy that the file belongs to. Where it is the same on two nodes, they see the same
          directory, by a file system that they share.
        - On a network file system it is made of the source of the mount, the id of the file system and the inode of
          the directory, on any other one of the boot of the node, the device and that inode.
      type: str
      sample: "nfs4 storage:/export/envs 0 1835021"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.primus.patches.plugins.module_utils import _task


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            name=dict(type="list", elements="str"),
            definitions=dict(type="list", elements="dict"),
            python=dict(type="str"),
            path=dict(type="path"),
            timeout=dict(type="float", default=300),
        ),
        supports_check_mode=True,
    )
    _task.run(module, "info")


if __name__ == "__main__":
    main()
