# The hosts of this collection's playbooks, once what the operator gave is right: the first thing that a play asks for.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: checked_hosts
author: The primus.patches contributors (@primus-patches)
version_added: 1.0.0
short_description: The hosts of a play, unless the play cannot be right
description:
  - For C(hosts) of this collection's own playbooks. Returns its terms as they are.
  - Ends the playbook, before a node is asked, where ansible-core is older than the collection needs, where a variable
    C(megatron_bridge_*) is none of the role's, where one C(primus_*) is nearly one of the playbooks', or where
    C(primus_serial) has something that is no size of a batch.
  - It sees the variables of the command line and of the play. Those of nodes are checked by the tasks of the role.
options:
  _terms:
    description: Patterns of hosts.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Look at the nodes
  hosts: "{{ query('primus.patches.checked_hosts', primus_hosts | default('all')) }}"
"""

RETURN = r"""
_raw:
  description: The terms.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.primus.patches.plugins.plugin_utils._operator import wrong_play


class LookupModule(LookupBase):
    """Entry point of Ansible's lookup loader."""

    def run(self, terms: list[str], variables: t.Any = None, **_kwargs: t.Any) -> list[str]:
        """Return the terms, or end the playbook."""
        wrong = wrong_play(variables or {})
        if wrong:
            raise AnsibleLookupError(wrong)
        return terms
