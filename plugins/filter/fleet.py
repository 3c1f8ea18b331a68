# Filters for this collection's own playbooks and role: the fleet's records for set_stats, the verdict of an audit.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja filters over the functions that the callback `fleet_summary` uses, so that both tell the same."""

from __future__ import annotations

import datetime as dt
import re
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.primus.patches.plugins.plugin_utils import _answer, _metrics, _report, _undeclared
from ansible_collections.primus.patches.plugins.plugin_utils._answer import received
from ansible_collections.primus.patches.plugins.plugin_utils._shown import LONGEST_REASON, printable, shorten
from ansible_collections.primus.patches.plugins.plugin_utils._summary import (
    FAIL_STATES,
    Record,
    is_trouble,
    merge,
    problems,
    records,
)

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

MOST_RECORDS = 1000  # of a node
MOST_PROBLEMS = 20  # that a line has room for


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
            fleet[host] = [_published(record) for record in _fewer(merge(found))]
    return fleet


def _fewer(found: list[Record]) -> list[Record]:
    """Return no more records of a node than a job hands on, those of troubles first; the last one counts the others."""
    if len(found) <= MOST_RECORDS:
        return found
    sorted_ = sorted(found, key=lambda record: not is_trouble(record))
    rest = sorted_[MOST_RECORDS - 1 :]
    action = "failed" if any(map(is_trouble, rest)) else "none"
    about = {**rest[0], "environment": "", "patch": "", "state": "hidden", "action": action}
    return [*sorted_[: MOST_RECORDS - 1], t.cast("Record", {**about, "reason": f"{len(rest):,} more, not handed on"})]


def _published(record: Record) -> Record:
    """Return a record whose texts are of one line, of a length that is sensible, and no templates.

    Whoever gives them to a further playbook as extra variables has them for templates of the operator's own.
    """
    shown = {key: _plain(value) if isinstance(value, str) else value for key, value in record.items()}
    return t.cast("Record", shown)


def _plain(text: str) -> str:
    return shorten(re.sub(r"\{(?=[{%#])", "{ ", printable(text)), LONGEST_REASON)


def audit_problems(result: Mapping[str, t.Any], fail_states: Sequence[str]) -> list[str]:
    """Return why what `site_patch_info` looked at is not as it should be, in as much as a line has room for."""
    words = " ".join(map(str, fail_states)) if isinstance(fail_states, (list, tuple)) else str(fail_states)
    unknown = sorted(set(re.findall(r"\w+", words)) - {*_answer.STATES, _undeclared.WORD})
    if unknown:  # (a misspelt one would let every node pass)
        known = ", ".join((*_answer.STATES, _undeclared.WORD))
        raise AnsibleFilterError(f"states that count as wrong: expected some of {known}, found {', '.join(unknown)}")
    found = [shorten(problem, LONGEST_REASON) for problem in problems(result, fail_states)]
    if len(found) <= MOST_PROBLEMS:
        return found
    return [*found[:MOST_PROBLEMS], f"and {len(found) - MOST_PROBLEMS:,} more"]


def node_metrics(result: Mapping[str, t.Any], node: str, fail_states: Sequence[str]) -> str:
    """Return the metrics of one node, from the result of `site_patch_info` there, looped or not."""
    answers = []
    looped = result.get("results")
    for each in looped if isinstance(looped, list) else [result]:
        told = received(each)
        status = "unreachable" if told.get("unreachable") else "failed" if told.get("failed") else "ok"
        answers.append(_report.answer(str(node), each, status, predicted=True, audited=True, fail_states=fail_states))
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0).isoformat()
    return _metrics.text(_report.build(answers, [str(node)], fail_states, now, ""))


class FilterModule:
    """Entry point of Ansible's filter loader."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"fleet_records": fleet_records, "audit_problems": audit_problems, "node_metrics": node_metrics}
