# Prints, at the end of a playbook, a line per node, environment and patch that this collection's modules dealt with.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in the controller's main process, so that it sees every node, whatever became of it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_summary
type: aggregate
author: The primus.patches contributors (@primus-patches)
version_added: 0.1.0
short_description: One line per node, environment and patch at the end of a playbook
description:
  - Collects the results of M(primus.patches.site_patch), M(primus.patches.site_patch_info) and
    M(primus.patches.import_check), and prints a table and the number of lines per state after the play recap.
  - Nodes that failed or could not be reached are in it as what they are, also when every node is one of these.
  - Prints nothing when no task of these modules ran.
  - Reasons are cut to the width of a terminal. They are whole where something failed, with C(-v), and where the
    output is no terminal.
  - It is active in the playbooks of this collection without being enabled.
requirements:
  - To have it in your own playbooks, enable it in C(ansible.cfg) with
    C(callbacks_enabled = primus.patches.fleet_summary).
"""

import sys
import typing as t

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible_collections.primus.patches.plugins.plugin_utils._summary import (
    MODULES,
    Record,
    counts,
    merge,
    records,
    table,
)

if t.TYPE_CHECKING:
    from ansible.executor.task_result import CallbackTaskResult

_NAME = "primus.patches.fleet_summary"


class CallbackModule(CallbackBase):
    """Collects records as results come in and prints them once, when the playbook ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = _NAME

    def __init__(self) -> None:
        """Step aside where the user enabled this callback: Ansible loads the copy beside the playbook as well."""
        super().__init__()
        self._found: list[Record] = []
        self.disabled = self.ansible_name != _NAME and _NAME in (constants.CALLBACKS_ENABLED or ())

    def _collect(self, result: CallbackTaskResult, status: str) -> None:
        # Items of a loop have had events of their own, which alone tell whether they failed: from ansible-core 2.21
        # on, callbacks do not find that in the list of results.
        if result.task.resolved_action in MODULES and not result.result.get("results"):
            looks = result.task.resolved_action != "primus.patches.site_patch"
            predicted = looks or bool(result.task.check_mode)
            self._found += records(self.host_label(result), result.result, predicted=predicted, status=status)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Collect the result of a node on which the task did not fail."""
        self._collect(result, "ok")

    def v2_runner_on_failed(self, result: CallbackTaskResult, **_options: bool) -> None:
        """Collect the result of a node on which the task failed, ignored or not."""
        self._collect(result, "failed")

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """Collect a node that could not be reached."""
        self._collect(result, "unreachable")

    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        """Collect the result of a loop's item that did not fail."""
        self._collect(result, "ok")

    def v2_runner_item_on_failed(self, result: CallbackTaskResult) -> None:
        """Collect the result of a loop's item that failed, or whose node could not be reached."""
        self._collect(result, "unreachable" if result.result.get("unreachable") else "failed")

    def v2_playbook_on_stats(self, _stats: object) -> None:
        """Print what was collected; a further playbook of the same command starts afresh."""
        lines, self._found = merge(self._found), []
        if not lines:
            return
        cut = sys.stdout.isatty() and not self._display.verbosity
        heading, *rows = table(lines, self._display.columns if cut else None)
        self._display.banner("PRIMUS PATCHES (state as found)")
        self._display.display(heading)
        for record, row in zip(lines, rows):
            self._display.display(row, color=_color(record))
        self._display.display(counts(lines))


def _color(record: Record) -> str:
    if record["state"] == "unreachable":
        return constants.COLOR_UNREACHABLE
    if record["action"] == "failed":
        return constants.COLOR_ERROR
    return {"none": constants.COLOR_OK, "skip": constants.COLOR_SKIP}.get(record["action"], constants.COLOR_CHANGED)
