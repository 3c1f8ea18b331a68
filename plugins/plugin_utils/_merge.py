# Several reports as one: of each node the newest word stands, and its age is shown. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that pull, the slices of a job and several controllers write a report each; a fleet has one all the same."""

from __future__ import annotations

import datetime as dt
import json
import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils import _report, _undeclared
from ansible_collections.primus.patches.plugins.plugin_utils._shown import fold, natural

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    Data = dict[str, t.Any]

_UNNAMED = ("localhost", "127.0.0.1", "::1")  # another machine in each report
_AGES = (("d", 86400), ("h", 3600), ("min", 60))


class CannotMerge(Exception):
    """Reports that do not go together; the text says why and what to do."""


def merged(reports: Mapping[str, Data], unused: Mapping[str, str], generated: str) -> Data:
    """Return one report of all nodes. Raises CannotMerge.

    Nothing depends on the order of the reports, and a report that was merged may be merged again. The verdict on a
    node stands with its word; `fail_states` are those of all reports.

    :param reports: by the names of their files.
    :param unused: why a file is none of a report, by its name: the page shows it.
    :param generated: the present time, ISO 8601.
    """
    if not reports:
        raise CannotMerge("expected a report, found none that can be used")
    _named(reports)
    words: dict[str, tuple[tuple[bool, dt.datetime], Data]] = {}
    for report in reports.values():
        for node in _undeclared.spread(report):
            since = word_of(report, node)
            rank, word = (node["status"] != "skipped", moment(since)), {**node, "generated": since}
            old = words.get(node["name"])
            if not old or (rank, *_detail(rank, old[0], word)) > (old[0], *_detail(rank, old[0], old[1])):
                words[node["name"]] = (rank, word)
    nodes = [words[name][1] for name in sorted(words, key=natural)]
    states = {state for report in reports.values() for state in report["fail_states"]}
    titles = sorted({report["title"] for report in reports.values()})
    report = _report.of_nodes(nodes, sorted(states), generated, ", ".join(titles))
    return {**report, "merged": _sources(reports, unused)}


def word_of(report: Data, node: Data) -> str:
    """Return when the report was made that a node's word is from, ISO 8601."""
    return str(node.get("generated") or report["generated"])


def moment(text: str) -> dt.datetime:
    """Return a time of a report. Raises ValueError."""
    found = dt.datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found


def age(report: Data, node: Data) -> str:
    """Return how old a node's word is in its report, as a person says it; ``""`` where the report was not merged."""
    if not node.get("generated"):
        return ""
    seconds = (moment(report["generated"]) - moment(node["generated"])).total_seconds()
    found = [f"{int(seconds // size)} {unit} old" for unit, size in _AGES if seconds >= size]
    return found[0] if found else "new"


def lines(report: Data) -> list[str]:
    """Return of what a report was merged, in a few lines of text."""
    used = [each for each in report["merged"] if each["generated"]]
    times = sorted((each["generated"] for each in used), key=moment)
    many = f"{len(used)} reports" if len(used) != 1 else "one report"
    told = [f"Merged from {many}, made {' to '.join(dict.fromkeys((times[0], times[-1])))}."]
    words = [node for node in report["nodes"] if node["status"] != "skipped"]
    if words:
        oldest = min(moment(node["generated"]) for node in words)
        nodes = [node for node in words if moment(node["generated"]) == oldest]
        told.append(f"The oldest word is {age(report, nodes[0])}: {fold(node['name'] for node in nodes)}.")
    return told + [f"Not used: {each['report']}: {each['problem']}" for each in report["merged"] if each["problem"]]


def _named(reports: Mapping[str, Data]) -> None:
    """Refuse names that mean another machine in each report: all but one of these would be lost without a word."""
    for name in _UNNAMED:
        found = [path for path, report in reports.items() if any(node["name"] == name for node in report["nodes"])]
        if len(found) > 1:
            raise CannotMerge(
                f"expected names that tell nodes apart, found {name} in {len(found)} reports ({found[0]}, {found[1]}): "
                "give each node its own name in the inventory that it is audited with, as docs/CLUSTERS.md shows."
            )


def _detail(new: t.Any, old: t.Any, word: Data) -> tuple[int, str]:
    """Return what decides between words of one moment: the longer one has more detail, a textfile has the least."""
    if new != old:  # (and costs something)
        return (0, "")
    text = json.dumps(word, sort_keys=True)
    return (len(text), text)


def _sources(reports: Mapping[str, Data], unused: Mapping[str, str]) -> list[Data]:
    """Return the files that a report is of; of reports that were merged themselves, what those were of."""
    found: dict[str, Data] = {}
    for path, report in reports.items():
        own = {"report": path, "generated": report["generated"], "nodes": len(report["nodes"]), "problem": None}
        for each in report.get("merged") or [own]:
            found[json.dumps(each, sort_keys=True)] = each
    for path, problem in unused.items():
        each = {"report": path, "generated": None, "nodes": 0, "problem": problem}
        found[json.dumps(each, sort_keys=True)] = each
    return sorted(found.values(), key=lambda each: (natural(each["report"]), each["generated"] or ""))
