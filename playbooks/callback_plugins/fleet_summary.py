# Lets the playbooks of this collection end with its summary: Ansible loads what lies here without a setting.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.primus.patches.plugins.callback import fleet_summary


class CallbackModule(fleet_summary.CallbackModule):
    """A class of its own, as Ansible writes on a class from where it was loaded."""
