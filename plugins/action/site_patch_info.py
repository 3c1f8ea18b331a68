# The controller's part of site_patch_info: a look at patches alone is a question first, as for site_patch.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible_collections.primus.patches.plugins.modules.site_patch_info import ARGUMENTS
from ansible_collections.primus.patches.plugins.plugin_utils import _asking
from ansible_collections.primus.patches.plugins.plugin_utils._module import Module

if t.TYPE_CHECKING:
    Result = dict[str, t.Any]

_VALIDATOR = _asking.validator_of(ARGUMENTS)


class ActionModule(Module):
    """Runs the module on the node, where that does not simply say that all patches are applied."""

    def _work(self, tmp: str | None, task_vars: dict[str, t.Any] | None) -> Result:
        told = _asking.ask(self, _VALIDATOR, task_vars or {})
        return super()._work(tmp, task_vars) if told is None else self._held(told, "site_patch_info", self._task.args)
