# The patches of the catalogue, for a playbook that shows them, chooses among them or reports them.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: catalogue
author: The primus.patches contributors (@primus-patches)
version_added: 1.0.0
short_description: Lists the source patches that the collection brings
description:
  - Returns the definitions in the catalogue of the collection as it is installed on the controller.
  - Looks at no node. What a node carries is told by M(primus.patches.site_patch_info).
options:
  _terms:
    description: Names of patches. Without any, the whole catalogue is meant.
    type: list
    elements: str
seealso:
  - module: primus.patches.site_patch_info
"""

EXAMPLES = r"""
- name: Show every patch, what it is for and when it may go
  ansible.builtin.debug:
    msg: "{{ item.name }} ({{ item.package }} {{ item.versions }}): {{ item.reason }} Until: {{ item.retire }}"
  loop: "{{ query('primus.patches.catalogue') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Keep all patches for Transformers applied
  primus.patches.site_patch:
    python: /opt/venv/bin/python
    name: "{{ catalogue | selectattr('package', 'equalto', 'transformers') | map(attribute='name') }}"
    unsupported: skip
  vars:
    catalogue: "{{ query('primus.patches.catalogue') }}"
"""

RETURN = r"""
_raw:
  description:
    - One definition per patch, in the schema that O(primus.patches.site_patch#module:definitions) takes.
    - Each has at least C(name), C(package), C(versions), C(file), C(revision), C(reason), C(upstream), C(retire) and
      C(edits).
  type: list
  elements: dict
"""

import copy
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE


class LookupModule(LookupBase):
    """Entry point of Ansible's lookup loader."""

    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return the definitions that ``terms`` name, in that order, or all."""
        self.set_options(var_options=variables, direct=kwargs)
        known = {patch["name"]: patch for patch in CATALOGUE}
        unknown = [name for name in terms if name not in known]
        if unknown:
            raise AnsibleLookupError("unknown patch %s; known: %s" % (", ".join(unknown), ", ".join(known)))
        # Copies: what a template does to a result must not reach the next lookup.
        return [copy.deepcopy(known[name]) for name in terms or known]
