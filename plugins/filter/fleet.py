# Filters for this collection's own playbooks and role: the fleet's records for set_stats, the verdict of an audit.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja filters over the functions that the callback `fleet_summary` uses, so that both tell the same."""

from __future__ import annotations

import datetime as dt
import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils import _metrics, _report
from ansible_collections.primus.patches.plugins.plugin_utils._summary import (
    FAIL_STATES,
    Record,
    merge,
    problems,
    records,
)

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


def fleet_records(
    hostvars: Mapping[str, Mapping[str, t.Any]],
    hosts: Iterable[str],
    names: Sequence[str],
    *,
    predicted: bool = False,
    fail_states: Sequence[str] = FAIL_STATES,
) -> dict[str, list[Record]]:
    """Return, for each of these hosts that ran a task registered under one of these names, its records."""
    fleet = {}
    for host in map(str, hosts):
        found: list[Record] = []
        for result in (hostvars[host].get(name) for name in names):
            found += records(host, result, predicted=predicted, fail_states=fail_states) if result else []
        if found:
            fleet[host] = merge(found)
    return fleet


def node_metrics(result: Mapping[str, t.Any], node: str, fail_states: Sequence[str]) -> str:
    """Return the metrics of one node, from the result of `site_patch_info` there, looped or not."""
    answers = []
    for each in result.get("results", [result]):
        status = "unreachable" if each.get("unreachable") else "failed" if each.get("failed") else "ok"
        answers.append(_report.answer(str(node), each, status, predicted=True, audited=True, fail_states=fail_states))
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0).isoformat()
    return _metrics.text(_report.build(answers, [str(node)], fail_states, now, ""))


class FilterModule:
    """Entry point of Ansible's filter loader."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"fleet_records": fleet_records, "audit_problems": problems, "node_metrics": node_metrics}
