# A report as one HTML page that needs nothing else: no network, no script to be read, any text shown as text.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's looks are in ``_page.html.j2`` beside this file."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import typing as t
from pathlib import Path

import jinja2
import markupsafe
from ansible_collections.primus.patches.plugins.module_utils._step import DONE
from ansible_collections.primus.patches.plugins.plugin_utils import _merge, _undeclared
from ansible_collections.primus.patches.plugins.plugin_utils._report import STATES, STATUSES, is_wrong, standing
from ansible_collections.primus.patches.plugins.plugin_utils._shown import LONGEST_REASON, fold, printable, shorten
from ansible_collections.primus.patches.plugins.plugin_utils._summary import (
    did,
    failures,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Data = dict[str, t.Any]

_TEMPLATE, _MERGED = (Path(__file__).with_name(f"_{name}.html.j2") for name in ("page", "merged"))
# What a node or a patch may be found to be, the worst first -> letter in the picture of the fleet, and meaning.
KINDS = {
    "unreachable": ("X", "could not be reached"),
    "failed": ("F", "could not be looked at, or changed"),
    "conflict": ("C", "the text does not match, or was edited since"),
    "broken": ("I", "an import fails"),
    "unsupported": ("U", "the patch does not support this version"),
    "missing": ("M", "the package is not installed"),
    "outdated": ("O", "an earlier revision is there"),
    "pending": ("P", "not applied yet"),
    "undeclared": ("T", "somebody edited files without a patch, which counts as wrong here"),
    "skipped": ("S", "the playbook did not get there"),
    "applied": ("A", "in place, byte by byte"),
    "native": ("N", "upstream needs no patch"),
    "unneeded": ("D", "what it would be needed for is not there"),
    "imported": ("W", "the imports work; nothing was asked about patches"),
    "empty": ("E", "no package there, or nothing is told"),
}
_FILES = 5  # of one patch that the page tells more of
MOST_EDITED, MOST_VARIANTS = 500, 20  # files that differ, and variants of one, that the page shows
_LETTERS = {kind: letter for kind, (letter, _meaning) in KINDS.items()}


def _folded(nodes: t.Sequence[str]) -> markupsafe.Markup:
    """Nodes in a short form, which is not cut."""
    return markupsafe.escape(fold(nodes))


def html(report: Data) -> str:
    """Return the page of a report."""
    source = _TEMPLATE.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    # (The template's own script runs; should a text ever get out of its place, what it brings does not.)
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src " + " ".join(f"'sha256-{h}'" for h in hashes)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    numbers = {node["name"]: number for number, node in enumerate(report["nodes"])}
    above = environment.from_string(_MERGED.read_text(encoding="utf-8")).render(
        report=report, fold=_folded, most=MOST_EDITED, merged=_merge.lines(report) if "merged" in report else ()
    )
    page = environment.from_string(source).render(
        report=report,
        kinds=KINDS,
        states=STATES,
        statuses=STATUSES,
        policy=policy,
        grids=_grids(report, numbers),
        rows=list(_rows(report, numbers)),
        verdict=_verdict(report),
        date=_date,
        most_edited=MOST_EDITED,
        most_variants=MOST_VARIANTS,
        fold=_folded,
        above=markupsafe.Markup(above),  # noqa: S704 (it is a template's, with all texts escaped)
    )
    return page.encode("utf-8", "backslashreplace").decode()


def _date(seconds: float) -> str:
    """Return a day in UTC; what a node says may be out of all calendars."""
    try:
        return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "an odd date"


def _shown(value: t.Any) -> t.Any:
    """Return text cut, with invisible characters as escapes: nothing may reverse the reading direction of a page."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return shorten(printable(value), LONGEST_REASON)


def _kind(environment: Data, fail_states: Sequence[str]) -> str:
    """Return what is worst in an environment."""
    found = {standing(environment, patch) for patch in environment["patches"]}
    if failures(environment["imports"]):
        found.add("broken")
    if _is_edited(environment, fail_states):
        found.add(_undeclared.WORD)
    if environment["status"] == "failed" and not found & {"unsupported", "conflict", "missing", "broken"}:
        found.add("failed")
    nothing = "imported" if environment["imports"] else "empty"
    return next((kind for kind in KINDS if kind in found), nothing)


def _is_edited(environment: Data, fail_states: Sequence[str]) -> bool:
    """Tell whether undeclared edits count as wrong, and there are some."""
    wrong = environment["status"] != "ok" and _undeclared.WORD in fail_states
    return wrong and any(map(_undeclared.number, environment["integrity"] or ()))


def _grids(report: Data, numbers: dict[str, int]) -> list[tuple[str, list[tuple[int, str, str, str]]]]:
    """Return by environment: (number, name, kind, letter) of each node; first those that were not looked at."""
    grids: dict[str, list[tuple[int, str, str, str]]] = {}
    for node in report["nodes"]:
        number, name = numbers[node["name"]], node["name"]
        if node["status"] in ("unreachable", "skipped"):
            grids.setdefault("", []).append((number, name, node["status"], _LETTERS[node["status"]]))
        for environment in node["environments"]:
            kind = _kind(environment, report["fail_states"])
            grids.setdefault(environment["environment"], []).append((number, name, kind, _LETTERS[kind]))
    return sorted(grids.items(), key=lambda grid: (grid[0] == "", -len(grid[1]), grid[0]))


def _rows(report: Data, numbers: dict[str, int]) -> Iterator[Data]:
    for node in report["nodes"]:
        first = {"number": numbers[node["name"]], "node": node["name"], "age": _merge.age(report, node)}
        if node["status"] in ("unreachable", "skipped"):
            yield {**first, **_nothing(node["status"], node["message"] or KINDS["skipped"][1])}
            first = {**first, "number": None}
        for environment in node["environments"]:
            shown = {"environment": environment["environment"]}
            if not environment["patches"]:
                kind = _kind(environment, report["fail_states"])
                yield {**first, **_nothing(kind, "; ".join(environment["problems"]) or KINDS[kind][1]), **shown}
                first = {**first, "number": None}
            for patch in environment["patches"]:
                yield {
                    **first,
                    **shown,
                    "patch": patch["name"],
                    "state": patch["state"],
                    "action": _action(environment, patch, report["fail_states"]),
                    "version": patch["version"],
                    "integrity": patch["integrity"],
                    "broken": bool(failures(environment["imports"])),
                    "reason": _reason(environment, patch),
                    "about": _about(environment, patch),
                }
                first = {**first, "number": None}


def _action(environment: Data, patch: Data, fail_states: Sequence[str]) -> str:
    """Return what became of a patch in the run, in the words that the summary in the terminal has."""
    wrong = is_wrong(environment, patch, fail_states)
    if environment["audited"]:
        imports = environment["status"] == "drifted" and failures(environment["imports"])
        return "drifted" if wrong or imports or _is_edited(environment, fail_states) else "none"
    if environment["status"] == "failed" and (wrong or patch["action"] in DONE):
        return "failed"
    return did({**patch, "action": patch["action"] or "none"})


def _nothing(state: str, reason: str) -> Data:
    keys = ("environment", "patch", "action", "version", "integrity", "about", "broken")
    return {**dict.fromkeys(keys, ""), "state": state, "reason": reason}


def _reason(environment: Data, patch: Data) -> str:
    return "; ".join([patch["message"] or "", *failures(environment["imports"])])


def _about(environment: Data, patch: Data) -> str:
    """Return what else an audit found out, in a few words."""
    words = []
    several = len(patch["files"]) > 1
    if several:
        words.append(f"{len(patch['files'])} files")
    for each in patch["files"][:_FILES]:
        words += [f"{each['path']}: {word}" if several else word for word in _of_file(each)]
    if patch["others"]:
        words.append("other copies: " + ", ".join(other["path"] for other in patch["others"]))
    if environment["imports"]:
        seconds = sum(entry["seconds"] or 0 for entry in environment["imports"])
        words.append(f"{len(environment['imports'])} imports in {seconds:.1f} s")
    edits = sum(map(_undeclared.number, environment["integrity"] or ()))
    if edits:
        words.append(f"undeclared edits: {edits}")
    processes = environment["processes"]
    if processes and processes["candidates"]:
        pids = ", ".join(str(process["pid"]) for process in processes["candidates"][:8])
        words.append(f"older processes: {len(processes['candidates'])} (pid {pids})")
    if processes and processes["unreadable"]:
        words.append(f"{processes['unreadable']} processes could not be looked at")
    return "; ".join(words)


def _of_file(each: Data) -> list[str]:
    words = []
    file = each["file"]
    if file:
        words.append(f"{file['owner']}:{file['group']} {file['mode']} on {file['filesystem'] or 'unknown file system'}")
        if file["links"] > 1:
            words.append(f"{file['links']} hard links")
        if file["link"]:
            words.append(f"link to {file['link']}")
    if each["bytecode"]:
        stale = [entry for entry in each["bytecode"] if entry["fresh"] is False]
        words.append("bytecode stale: " + ", ".join(entry["mode"] for entry in stale) if stale else "bytecode fresh")
    return words


def _verdict(report: Data) -> str:
    found = report["summary"]["nodes"]
    total = sum(found.values())
    if not total:
        return "No node was looked at."
    if found["ok"] == total:
        return f"All {total} nodes are as they should be." if total > 1 else "The node is as it should be."
    return f"{found['ok']} of {total} nodes are as they should be."
