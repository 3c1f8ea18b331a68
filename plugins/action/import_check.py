# The controller's part of import_check: that of all modules, before a node is asked and when it answers.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.primus.patches.plugins.plugin_utils._module import Module


class ActionModule(Module):
    """Entry point of Ansible's action loader."""
