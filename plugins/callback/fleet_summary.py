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
version_added: 1.0.0
short_description: What became of the patches on a fleet, in a few lines and as a report
description:
  - Collects the results of M(primus.patches.site_patch), M(primus.patches.site_patch_info) and
    M(primus.patches.import_check). After the play recap it prints a line per state and action with the nodes, and why
    it failed where it did.
  - With C(-v), prints a line for each node, environment and patch.
  - Nodes that failed or could not be reached are in it as what they are, also when every node is one of these.
  - Prints nothing when no task of these modules ran.
  - On a terminal, while such a task runs on more than 20 nodes, its last line tells how many are done, changed, failed
    and left, and about how long they will take. Nothing of that is printed where the variable C(CI) is set in the
    environment, or C(TERM) is C(dumb).
  - Where the variable C(megatron_bridge_report_dir) names a directory on the controller, writes C(report.json),
    C(report.html) and C(report.prom) there, in check mode, too. Nodes that the playbook did not get to are in it as
    skipped. C(failed.limit) and C(drifted.limit) have the nodes that failed or drifted, for C(--limit @FILE).
  - It is active in the playbooks of this collection without being enabled.
requirements:
  - To have it in your own playbooks, enable it in C(ansible.cfg) with
    C(callbacks_enabled = primus.patches.fleet_summary).
"""

import datetime as dt
import os
import shlex
import sys
import typing as t

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible_collections.primus.patches.plugins.plugin_utils import _progress
from ansible_collections.primus.patches.plugins.plugin_utils._progress import Progress
from ansible_collections.primus.patches.plugins.plugin_utils._shown import printable
from ansible_collections.primus.patches.plugins.plugin_utils._summary import (
    FAIL_STATES,
    MODULES,
    Record,
    brief,
    counts,
    hint,
    is_trouble,
    merge,
    records,
    table,
)

if t.TYPE_CHECKING:
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task
    from ansible_collections.primus.patches.plugins.plugin_utils._report import Answer

_NAME = "primus.patches.fleet_summary"
_DIRECTORY = "megatron_bridge_report_dir"
_OURS = ("megatron_bridge_", "primus_")
_FAIL_STATES = "megatron_bridge_audit_fail_states"


class CallbackModule(CallbackBase):
    """Collects what nodes tell as it comes in, and tells it once, when the playbook ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = _NAME

    def __init__(self) -> None:
        """Step aside where the user enabled this callback: Ansible loads the copy beside the playbook as well."""
        super().__init__()
        self._afresh()
        self.disabled = self.ansible_name != _NAME and _NAME in (constants.CALLBACKS_ENABLED or ())

    def _afresh(self) -> None:
        self._records: list[Record] = []
        self._once: dict[t.Any, t.Any] = {}  # what records have in common, each kept once
        self._answers: list[Answer] = []  # (only where there will be a report)
        self._play: Play | None = None
        self._ours = False  # whether a task of ours was started in it
        self._nodes: dict[str, None] = {}
        self._title = ""
        self._settings: dict[str, t.Any] = {_DIRECTORY: "", _FAIL_STATES: FAIL_STATES}
        self._lost: dict[str, Answer] = {}
        self._progress: Progress | None = None
        self._task = ""  # the one that it is of

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Keep the play, or the next batch of it."""
        self._end_progress()
        self._play, self._ours = play, False

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:  # noqa: ARG002, FBT001 (Ansible's)
        """Remember whom a play with a task of ours is for, and what is to be written: some may never tell anything."""
        if task._uuid != self._task:  # (some strategies start a task for each node)
            self._end_progress()
            self._task = task._uuid
            if task.resolved_action in MODULES and self._play and not task.run_once and sys.stdout.isatty():
                self._start_progress(self._play)
        if task.resolved_action in MODULES and self._play and not self._ours:
            self._ours = True
            self._title = self._title or self._play.get_name()
            manager = self._play.get_variable_manager()
            names = manager.get_vars(play=self._play, include_hostvars=False)["ansible_play_hosts_all"]
            self._nodes.update(dict.fromkeys(map(str, names)))
            if names:
                first = manager._inventory.get_host(str(names[0]))
                variables = manager.get_vars(play=self._play, host=first, task=task)
                # (Facts are what a node says, and come before what the inventory says of it.)
                if any(str(name).startswith(_OURS) for name in variables.get("ansible_facts") or ()):
                    variables = manager.get_vars(play=self._play, task=task)
                self._set(task, variables)

    def _start_progress(self, play: Play) -> None:
        nodes = play.get_variable_manager().get_vars(play=play, include_hostvars=False)["ansible_play_batch"]
        if _progress.is_wanted(len(nodes), os.environ):
            self._progress = Progress(len(nodes), self._display)

    def _end_progress(self) -> None:
        if self._progress:
            self._progress.end()
        self._progress, self._task = None, ""

    def _count(self, result: CallbackTaskResult, *, failed: bool) -> None:
        if self._progress and result.task._uuid == self._task:
            self._progress.add(changed=bool(result.result.get("changed")), failed=failed)

    def _set(self, task: Task, variables: dict[str, t.Any]) -> None:
        """Read what is to be written, from the variables of a play's first node; the last play that says it counts."""
        templar = Templar(loader=task.get_loader(), variables=variables)
        for name in (_DIRECTORY, _FAIL_STATES):
            try:
                value = templar.template(variables.get(name, self._settings[name]))
            except AnsibleError as error:
                self._display.error(
                    f"{name} has no value, so the report is not as you want it: {printable(str(error))}"
                )
                continue
            if value or name == _FAIL_STATES:  # (no state may count as wrong, but a play without a report ends none)
                self._settings[name] = value

    def _collect(self, result: CallbackTaskResult, status: str) -> None:
        # Items of a loop have had events of their own, which alone tell whether they failed: from ansible-core 2.21
        # on, callbacks do not find that in the list of results.
        node, told = result.host.get_name(), result.result
        if result.task.resolved_action not in MODULES:
            if status == "unreachable":  # (before a task of ours had its turn, as when facts are gathered)
                self._lost[node] = _answer(node, told, status, predicted=True, audited=False)
        elif not told.get("results") and not told.get("ansible_job_id"):
            looks = result.task.resolved_action != "primus.patches.site_patch"
            predicted = looks or bool(result.task.check_mode)
            states = self._settings[_FAIL_STATES]
            label = self.host_label(result)
            for record in records(label, told, predicted=predicted, status=status, fail_states=states):
                self._records.append(
                    t.cast("Record", {key: self._once.setdefault(value, value) for key, value in record.items()})
                )
            if self._settings[_DIRECTORY]:
                audited = result.task.resolved_action == "primus.patches.site_patch_info"
                found = _answer(node, told, status, predicted=predicted, audited=audited, fail_states=states)
                self._answers.append(found)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Collect the result of a node on which the task did not fail."""
        self._collect(result, "ok")
        self._count(result, failed=False)

    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        """Count a node that the task was not for."""
        self._count(result, failed=False)

    def v2_runner_on_failed(self, result: CallbackTaskResult, **_options: bool) -> None:
        """Collect the result of a node on which the task failed, ignored or not."""
        self._collect(result, "failed")
        self._count(result, failed=True)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """Collect a node that could not be reached."""
        self._collect(result, "unreachable")
        self._count(result, failed=True)

    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        """Collect the result of a loop's item that did not fail."""
        self._collect(result, "ok")

    def v2_runner_item_on_failed(self, result: CallbackTaskResult) -> None:
        """Collect the result of a loop's item that failed, or whose node could not be reached."""
        self._collect(result, "unreachable" if result.result.get("unreachable") else "failed")

    def v2_playbook_on_stats(self, _stats: object) -> None:
        """Tell what was collected; a further playbook of the same command starts afresh."""
        self._end_progress()
        lines = merge(self._records)
        if lines:
            self._display.banner("PRIMUS PATCHES")
            if self._display.verbosity:
                self._print_table(lines)
            else:
                self._print_brief(lines)
            if hint(lines):
                self._display.display(hint(lines))
        if self._settings[_DIRECTORY]:
            self._report(os.path.abspath(os.path.expanduser(self._settings[_DIRECTORY])))
        self._afresh()

    def _print_table(self, lines: list[Record]) -> None:
        heading, *rows = table(lines)
        self._display.display(heading)
        for record, row in zip(lines, rows):
            self._display.display(row, color=_color(record))
        self._display.display(counts(lines))

    def _print_brief(self, lines: list[Record]) -> None:
        columns = self._display.columns if sys.stdout.isatty() else None
        for text, record in brief(lines, columns):
            self._display.display(text, color=_color(record) if record else None)

    def _report(self, directory: str) -> None:
        """Write the report; a directory that cannot be written costs nothing but the report."""
        from ansible_collections.primus.patches.plugins.plugin_utils._report import build  # noqa: PLC0415 (as below)
        from ansible_collections.primus.patches.plugins.plugin_utils._writing import write  # noqa: PLC0415

        generated = dt.datetime.now(dt.timezone.utc).replace(microsecond=0).isoformat()
        lost = [self._lost[node] for node in self._nodes if node in self._lost]
        report = build([*lost, *self._answers], self._nodes, self._settings[_FAIL_STATES], generated, self._title)
        try:
            page, limits = write(report, directory)
        except OSError as error:
            self._display.error(f"the report could not be written: {error}")
            return
        self._display.display(f"Report: {page}")
        for path, count in limits.items():
            nodes = f"the {count} nodes" if count > 1 else "this node"
            self._display.display(f"For {nodes} again: --limit {shlex.quote('@' + path)}")


def _answer(*told: t.Any, **how: t.Any) -> Answer:
    """Return a node's part of the report."""
    # (Most runs write none, and Ansible compiles what it imports of a collection in each run anew.)
    from ansible_collections.primus.patches.plugins.plugin_utils._report import answer  # noqa: PLC0415

    return answer(*told, **how)


def _color(record: Record) -> str:
    if record["state"] == "unreachable":
        return constants.COLOR_UNREACHABLE
    if is_trouble(record):
        return constants.COLOR_ERROR
    return {"none": constants.COLOR_OK, "skip": constants.COLOR_SKIP}.get(record["action"], constants.COLOR_CHANGED)
