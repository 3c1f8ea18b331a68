# A textfile read back into the report that its metrics are of. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reverse of ``_metrics.py``, as far as metrics go: they have no files, reasons, revisions or processes."""

from __future__ import annotations

import datetime as dt
import re
import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils._answer import EDITS
from ansible_collections.primus.patches.plugins.plugin_utils._report import VERSION
from ansible_collections.primus.patches.plugins.plugin_utils._shown import natural
from ansible_collections.primus.patches.plugins.plugin_utils._summary import FAIL_STATES
from ansible_collections.primus.patches.plugins.plugin_utils._undeclared import UNDECLARED

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    Data = dict[str, t.Any]
    Labels = dict[str, str]

_SAMPLE = re.compile(r'primus_patches_([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? ([^ ]+)')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_UNTOLD = "a textfile does not tell"


class NoMetrics(Exception):
    """A text that is none of our textfiles; it says what was expected."""


class _Environment:
    """What the series of one environment tell."""

    def __init__(self) -> None:
        self.wanted = True
        self.patches: dict[str, Data] = {}
        self.imports: dict[str, Data] = {}
        self.held: dict[tuple[str, str], Data] = {}

    def patch(self, labels: Labels) -> Data:
        return self.patches.setdefault(labels["patch"], {})

    def imported(self, labels: Labels) -> Data:
        return self.imports.setdefault(labels["import"], {})

    def distribution(self, labels: Labels) -> Data:
        return self.held.setdefault((labels["distribution"], labels["version"]), {"edits": 0, "complete": False})


def report(text: str) -> Data:
    """Return what a textfile tells, as report.json has it, without sums and what is to be done. Raises NoMetrics.

    What metrics do not tell is null or empty. Whether the words in it are ours is for :mod:`_reread` to see.
    """
    generated = ""
    statuses: dict[str, str] = {}
    fleet: dict[str, dict[str, _Environment]] = {}
    for name, labels, value in _samples(text):
        try:
            if name == "report_timestamp_seconds":
                generated = dt.datetime.fromtimestamp(value, dt.timezone.utc).isoformat()
            elif name == "node_status":
                statuses[labels["node"]] = labels["status"]
            elif "environment" in labels:
                environments = fleet.setdefault(labels["node"], {})
                _take(environments.setdefault(labels["environment"], _Environment()), name, labels, value)
        except (KeyError, OverflowError, OSError, ValueError) as error:
            raise NoMetrics(f"primus_patches_{name}: expected labels and a value of ours, found {error!r}") from None
    if not generated:
        raise NoMetrics(
            "expected metrics as megatron_bridge_textfile writes them, found no primus_patches_report_timestamp_seconds"
        )
    nodes = [_node(name, statuses[name], fleet.get(name, {})) for name in sorted(statuses, key=natural)]
    about = {"version": VERSION, "generated": generated, "title": "Metrics of nodes"}
    return {**about, "fail_states": [*FAIL_STATES], "nodes": nodes, "undeclared": {"files": []}}


def _samples(text: str) -> Iterator[tuple[str, Labels, float]]:
    """Yield our samples: name without prefix, labels and value."""
    for line in text.split("\n"):
        found = _SAMPLE.fullmatch(line)
        if found:
            labels = {name: _unescaped(value) for name, value in _LABEL.findall(found[2] or "")}
            yield found[1], labels, _number(found[3])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise NoMetrics(f"expected a number, found {text[:40]!r}") from None


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)


def _take(environment: _Environment, name: str, labels: Labels, value: float) -> None:
    """Keep what a sample tells; a series that is not known here tells nothing."""
    if name == "patch_state":
        environment.patch(labels)["state"] = labels["state"]
    elif name == "package_info":
        environment.patch(labels).update({key: labels[key] or None for key in ("package", "version", "integrity")})
    elif name == "patch_wanted":
        environment.wanted = environment.wanted and bool(value)
    elif name == "import_ok":
        environment.imported(labels)["ok"] = bool(value)
    elif name == "import_duration_seconds":
        environment.imported(labels)["seconds"] = value
    elif name == "undeclared_edits":
        environment.distribution(labels)["edits"] = int(value)
    elif name == "integrity_complete":
        environment.distribution(labels)["complete"] = bool(value)


def _node(name: str, status: str, told: dict[str, _Environment]) -> Data:
    environments = [_environment(where, told[where]) for where in sorted(told, key=natural)]
    if status == "failed":  # (an environment that could not be looked at has no series)
        environments.insert(
            0,
            {
                **_environment("", _Environment()),
                "status": "failed",
                "problems": [f"{_UNTOLD} which environment failed"],
            },
        )
    message = f"{_UNTOLD} why" if status == "unreachable" else None
    return {"name": name, "status": status, "message": message, "environments": environments}


def _environment(where: str, told: _Environment) -> Data:
    broken = [module for module, found in told.imports.items() if not found.get("ok")]
    problems = [f"import {module}: failed; {_UNTOLD} why" for module in broken]
    if not told.wanted:
        problems += [
            f"{name} is {patch['state']}" for name, patch in told.patches.items() if patch.get("state") in FAIL_STATES
        ]
        problems = problems or [f"{_UNTOLD} what is wrong"]
    return {
        "environment": where,
        **dict.fromkeys(("python", "python_version", "prefix", "path")),
        "audited": True,
        "status": "drifted" if problems else "ok",
        "problems": problems,
        "patches": [_patch(name, patch) for name, patch in told.patches.items()],
        "imports": [_import(module, found) for module, found in told.imports.items()],
        "processes": None,
        "integrity": [_held(*about, found) for about, found in told.held.items()] or None,
    }


def _patch(name: str, told: Data) -> Data:
    unknown = dict.fromkeys(("revision", "revision_found", "message", "copy_id", "others", "distributions"))
    about = {"package": None, "version": None, "integrity": None, "state": None, **told}
    return {"name": name, **unknown, **about, "action": "none", "files": [], "predicted": True}


def _held(distribution: str, version: str, told: Data) -> Data:
    """Return what is told of a distribution: the number of edits, whatever kind they are of."""
    return {
        "distribution": distribution,
        "version": version or None,
        "source": None,
        "reason": None if told["complete"] else f"{_UNTOLD} why",
        "complete": told["complete"],
        "files": 0,
        "sizes_only": 0,
        "left_out": told["edits"],
        "counts": {**dict.fromkeys(EDITS, 0), UNDECLARED[0]: told["edits"]},
        "found": [],
    }


def _import(module: str, told: Data) -> Data:
    error = None if told.get("ok") else f"{_UNTOLD} why"
    unknown = dict.fromkeys(("blame", "version", "cause"))
    return {"name": module, "proof": "none", "seconds": None, **told, **unknown, "error": error}
