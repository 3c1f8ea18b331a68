# Two reports of a fleet held together: what is new, what is mended, what is gone, what came. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A *finding* is what is to be done on one node.

It is mended where the node was looked at again and no longer has it; where nobody could look, it is neither mended nor
gone.
"""

from __future__ import annotations

import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils._report import patches_of
from ansible_collections.primus.patches.plugins.plugin_utils._shown import (
    LONGEST_REASON,
    fold,
    natural,
    printable,
    shorten,
)
from ansible_collections.primus.patches.plugins.plugin_utils._undeclared import (
    WORD,
    edits_of,
    number,
    sentence,
    spread,
    title,
)

if t.TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    Data = dict[str, t.Any]

MOST = 20  # entries of each list that the terminal shows
_KEYS = ("new", "mended", "gone", "came")
_LOST = ("unreachable", "skipped")
# Kinds of findings that only an audit with details can tell, and so mend.
_OF_FILES = ("stale_unchecked", "stale", "foreign", "links", "distributions", "others")


class Finding(t.NamedTuple):
    """What makes two findings the same one: not its reason, which may have a time or an address in it."""

    node: str
    environment: str
    patch: str
    kind: str
    subject: tuple[str, ...]


class _Told:
    """What a report knows, by what it is about."""

    def __init__(self, report: Data, unlisted: Container[tuple[str, str, str]]) -> None:
        self.nodes: dict[str, str] = {node["name"]: node["status"] for node in report["nodes"]}
        self.environments: dict[tuple[str, str], Data] = {
            (node["name"], each["environment"]): each for node in report["nodes"] for each in node["environments"]
        }
        self.patches: dict[tuple[str, str, str], Data] = {
            (node["name"], environment["environment"], patch["name"]): patch
            for node, environment, patch in patches_of(report)
        }
        self.findings: dict[Finding, Data] = {}
        for entry in report["todo"]:
            for node in entry["nodes"] if entry["kind"] != WORD else ():
                about = Finding(node, entry["environment"], entry["patch"], entry["kind"], _subject(entry))
                self.findings.setdefault(about, entry)
        shared: dict[tuple[str, str], Data] = {}  # (many nodes have the same edits)
        self.complete: set[tuple[str, str, str]] = set()
        for place, held in _held(report):
            if held["complete"]:
                self.complete.add(place)
            for subject, reason in _edits(held, listed=place not in unlisted):
                about = Finding(*place[:2], "", WORD, (place[2], *subject))
                entry = {"kind": WORD, "note": WORD not in report["fail_states"], "reason": reason}
                entry.update(environment=place[1], patch="")
                self.findings[about] = shared.setdefault((place[1], reason), entry)
        self.edited = {
            (found.node, found.environment, *found.subject[:2]) for found in self.findings if found.kind == WORD
        }
        self.wrong: dict[tuple[str, str, str], list[str]] = {}
        for found, entry in self.findings.items():
            if not entry["note"]:
                self.wrong.setdefault(found[:3], []).append(found.kind)

    def silent(self, node: str) -> bool:
        """Tell whether nobody knows what the environments of a node are: it was lost, or failed before it said."""
        return self.nodes.get(node) in _LOST or (node, "") in self.environments

    def looked_at(self, found: Finding) -> bool:
        """Tell whether a finding, were it there, would have been told."""
        node, environment, patch, kind, subject = found
        if not environment:
            return node in self.nodes and self.nodes[node] not in _LOST
        where = self.environments.get((node, environment))
        if where is None or where["status"] == "failed":
            return False
        if kind == "processes":
            return where["processes"] is not None
        if kind == WORD:
            place = (node, environment, *subject[:2])
            return place[:3] in self.complete and place not in self.edited
        if kind in ("import", "accepted"):
            return subject[0] in {_module(entry["name"]) for entry in where["imports"]}
        known = self.patches.get((node, environment, patch)) if patch else {}
        return known is not None and (kind not in _OF_FILES or known.get("others") is not None)


def compared(report: Data, older: Data) -> Data:
    """Return what is different in a report since an older one, as `since` in the report has it."""
    unlisted = {place for each in (report, older) for place, held in _held(each) if number(held) > len(edits_of(held))}
    now, before = _Told(report, unlisted), _Told(older, unlisted)
    new = [found for found in now.findings if found not in before.findings]
    mended = [found for found in before.findings if found not in now.findings and now.looked_at(found)]
    # (What became something else that is wrong is new, and is not mended.)
    mended = [
        found for found in mended if before.findings[found]["note"] or not found.patch or found[:3] not in now.wrong
    ]
    both = [found for found in now.findings if found in before.findings and not now.findings[found]["note"]]
    return {
        "generated": older["generated"],
        "new": _entries(new, now.findings, before.wrong),
        "mended": _entries(mended, before.findings, {}),
        "gone": _places(_missing(before, now)),
        "came": _places(_missing(now, before)),
        "remaining": len(both),
    }


def is_worse(since: Data) -> bool:
    """Tell whether a comparison is one that somebody is to look at: something is wrong that was not, or is gone."""
    return bool(since["gone"]) or any(not entry["note"] for entry in since["new"])


def lines(since: Data) -> list[str]:
    """Return a comparison as text: the sums, then a line for all nodes of which the same is told."""
    counts = [f"{sum(len(entry['nodes']) for entry in since[key])} {key}" for key in _KEYS]
    told = [f"Since {since['generated']}: {', '.join(counts)}, {since['remaining']} as before."]
    for key in ("new", "mended"):
        for entry in since[key][:MOST]:
            was = f" (was {', '.join(entry['was'])})" if entry["was"] else ""
            note = " (note)" if entry["note"] else ""
            told.append(
                _line(
                    key,
                    fold(entry["nodes"]),
                    entry["environment"],
                    entry["patch"],
                    entry["kind"] + was + note,
                    entry["reason"],
                )
            )
    for key in ("gone", "came"):
        told += [_line(key, fold(entry["nodes"]), entry["environment"], entry["patch"]) for entry in since[key][:MOST]]
    more = [f"{len(since[key]) - MOST} more {key}" for key in _KEYS if len(since[key]) > MOST]
    return [*told, f"... and {', '.join(more)}, in the report"] if more else told


def _line(key: str, nodes: str, *texts: str) -> str:
    return f"{key}: " + ": ".join([nodes, *(shorten(printable(text), LONGEST_REASON) for text in texts if text)])


def _subject(entry: Data) -> tuple[str, ...]:
    """Return what a finding is about within its environment, where its kind and patch do not say that."""
    if entry["kind"] in ("import", "accepted"):
        return (entry["reason"].partition(": ")[0].removeprefix("import "),)
    return (entry["reason"].partition(" (")[0],) if entry["kind"] == "others" else ()


def _held(report: Data) -> Iterator[tuple[tuple[str, str, str], Data]]:
    """Yield what is told of each distribution that was held against what was installed, by its place."""
    for node in spread(report):
        for environment in node["environments"]:
            for held in environment["integrity"] or ():
                yield (node["name"], environment["environment"], held["distribution"]), held


def _edits(held: Data, *, listed: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what each undeclared edit is about, and its reason; where one of the reports lists not all, one for all."""
    if listed:
        for edit in edits_of(held):
            yield (
                (edit["path"], edit["kind"], edit.get("sha256") or ""),
                f"{title(held)}: {edit['path']} {edit['kind']}",
            )
    elif number(held):
        yield ("",), sentence(held)


def _module(name: str) -> str:
    return name.partition(":")[0]


def _missing(first: _Told, second: _Told) -> list[tuple[str, str, str]]:
    """Return nodes, environments and patches that one report has and the other has not, though it could."""
    nodes = [(node, "", "") for node in first.nodes if node not in second.nodes]
    environments = [
        (node, environment, "")
        for node, environment in first.environments
        if environment
        and node in second.nodes
        and not second.silent(node)
        and (node, environment) not in second.environments
    ]
    patches = [
        place
        for place in first.patches
        if place not in second.patches and second.environments.get(place[:2], {}).get("status") in ("ok", "drifted")
    ]
    return nodes + environments + patches


def _entries(
    found: Iterable[Finding], findings: Mapping[Finding, Data], wrong: Mapping[tuple[str, str, str], list[str]]
) -> list[Data]:
    """Return findings with one entry for all nodes with the same one, in the order of what is to be done."""
    groups: dict[tuple[t.Any, ...], Data] = {}
    for each in found:
        entry = findings[each]
        was = wrong.get(each[:3], []) if each.patch and not entry["note"] else []
        group = {key: entry[key] for key in ("kind", "note", "environment", "patch", "reason")}
        key = (*each[1:], *was)
        groups.setdefault(key, {**group, "was": was, "nodes": []})["nodes"].append(each.node)
    for group in groups.values():
        group["nodes"].sort(key=natural)
    return list(groups.values())


def _places(found: Iterable[tuple[str, str, str]]) -> list[Data]:
    groups: dict[tuple[str, str], list[str]] = {}
    for node, environment, patch in found:
        groups.setdefault((environment, patch), []).append(node)
    return [
        {"environment": environment, "patch": patch, "nodes": sorted(nodes, key=natural)}
        for (environment, patch), nodes in sorted(groups.items())
    ]
