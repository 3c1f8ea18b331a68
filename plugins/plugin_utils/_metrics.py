# A report as metrics: text that node_exporter's textfile collector, a push gateway and OpenMetrics parsers read. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only gauges, whose lines are the same in Prometheus' text format 0.0.4 and in OpenMetrics 1.0."""

from __future__ import annotations

import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils import _undeclared
from ansible_collections.primus.patches.plugins.plugin_utils._answer import visible
from ansible_collections.primus.patches.plugins.plugin_utils._merge import moment, word_of
from ansible_collections.primus.patches.plugins.plugin_utils._report import STATUSES, patches_of, standing

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    Data = dict[str, t.Any]

SERIES = {  # name -> help; docs/REPORT.md tells the same
    "nodes": "Nodes of the last report by status.",
    "node_status": "1 for the status that the node has in the last report.",
    "node_timestamp_seconds": "When the report was made that the node's status is from, in seconds since the epoch.",
    "patch_state": "1 for the state of the patch when the playbook was through.",
    "patch_wanted": "Whether the environment of the patch is as it should be.",
    "package_info": "Version of the package that is patched, and the worst integrity of its files.",
    "import_ok": "Whether the import worked.",
    "import_duration_seconds": "How long the import took.",
    "old_processes": "Processes that started before the file was patched.",
    "undeclared_edits": "Files of the distribution that differ from what was installed, and no patch explains.",
    "integrity_complete": "Whether all files of the distribution were held against what was installed.",
    "report_timestamp_seconds": "When the report was made, in seconds since the epoch.",
}


def text(report: Data) -> str:
    """Return the metrics of a report.

    A collector refuses a whole file for a series that is there twice. Names that differ in nothing but how an invisible
    character is written make one; then the worse of two verdicts stands.
    """
    lines = []
    found: dict[str, dict[str, float]] = {name: {} for name in SERIES}
    for name, labels, value in _samples(report):
        series = found[name]
        written = _labels(labels)
        series[written] = min(value, series.get(written, value))
    for name, samples in found.items():
        lines += [f"# HELP primus_patches_{name} {SERIES[name]}", f"# TYPE primus_patches_{name} gauge"]
        lines += [f"primus_patches_{name}{labels} {_number(value)}" for labels, value in samples.items()]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _samples(report: Data) -> Iterator[tuple[str, dict[str, str], float]]:
    for status in STATUSES:
        yield "nodes", {"status": status}, report["summary"]["nodes"][status]
    for node in report["nodes"]:
        yield "node_status", {"node": node["name"], "status": node["status"]}, 1
        if node["status"] != "skipped":
            yield "node_timestamp_seconds", {"node": node["name"]}, moment(word_of(report, node)).timestamp()
        for environment in node["environments"]:
            where = {"node": node["name"], "environment": environment["environment"]}
            modules: dict[str, list[Data]] = {}  # (several references may lead into one module)
            for entry in environment["imports"]:
                modules.setdefault(entry["name"].partition(":")[0], []).append(entry)
            for module, entries in modules.items():
                labels = {**where, "import": module}
                yield "import_ok", labels, all(entry["ok"] for entry in entries)
                yield "import_duration_seconds", labels, sum(entry["seconds"] or 0.0 for entry in entries)
            for held in environment["integrity"] or ():
                labels = {**where, "distribution": held["distribution"], "version": held["version"] or ""}
                yield "undeclared_edits", labels, _undeclared.number(held)
                yield "integrity_complete", labels, held["complete"]
            if environment["processes"]:
                yield "old_processes", where, len(environment["processes"]["candidates"])
    for node, environment, patch in patches_of(report):
        about = {"node": node["name"], "environment": environment["environment"], "patch": patch["name"]}
        yield "patch_state", {**about, "state": standing(environment, patch)}, 1
        yield "patch_wanted", about, environment["status"] == "ok"
        info = {key: str(patch[key] or "") for key in ("package", "version", "integrity")}
        yield "package_info", {**about, **info}, 1
    yield "report_timestamp_seconds", {}, moment(report["generated"]).timestamp()


def _labels(labels: dict[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return visible(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
