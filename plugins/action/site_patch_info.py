# The controller's part of site_patch_info: in a task of the role, what the operator got wrong ends it before it begins.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.primus.patches.plugins.plugin_utils._operator import wrong_task


class ActionModule(Normal):
    """Runs the module on the node."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result."""
        wrong = wrong_task(task_vars or {})
        if wrong:
            return {"failed": True, "msg": wrong}
        return super().run(tmp, task_vars)
