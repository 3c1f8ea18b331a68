# Undeclared edits of a fleet: which file of which distribution differs on which nodes, in how many variants. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node tells of a distribution is described in `site_patch_info`, under `integrity`."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils._answer import EDITS
from ansible_collections.primus.patches.plugins.plugin_utils._shown import natural

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Data = dict[str, t.Any]

WORD = "undeclared"
"""What stands for them among the states that count as wrong, and for a line about them in the summary."""

UNDECLARED = EDITS[:3]
PROGRAM = "primus-patches.pyz"

_NAMED = 3  # files that a sentence names
_SAME = ("kind", "sha256", "size", "note")
_VARIANT = (*_SAME, "lines_added", "lines_removed")
_KEPT = ("path", *_VARIANT, "owner", "time")


def number(held: Mapping[str, t.Any]) -> int:
    """Return how many undeclared edits a distribution has, also those that are not listed."""
    return sum(held["counts"][kind] for kind in UNDECLARED)


def edits_of(held: Mapping[str, t.Any]) -> list[Mapping[str, t.Any]]:
    """Return the undeclared edits of a distribution that are listed."""
    return [entry for entry in held["found"] if entry["kind"] in UNDECLARED]


def title(held: Mapping[str, t.Any]) -> str:
    """Return a distribution's name and version."""
    return " ".join(filter(None, (held["distribution"], held["version"])))


def sentences(integrity: Iterable[Mapping[str, t.Any]] | None) -> list[str]:
    """Return a sentence for each distribution that somebody edited: "2 undeclared edits of acme 2.3.0: api.py ..."."""
    return [sentence(held) for held in integrity or () if number(held)]


def sentence(held: Mapping[str, t.Any]) -> str:
    """Return how many undeclared edits a distribution has, and the first of them."""
    count, found = number(held), edits_of(held)
    named = ", ".join(f"{entry['path']} {entry['kind']}" for entry in found[:_NAMED])
    more = f" (+{count - _NAMED})" if count > _NAMED else ""
    told = f"{count} undeclared edit{'s' * (count > 1)} of {title(held)}"
    return f"{told}: {named}{more}" if found else told


def kept(integrity: Iterable[Mapping[str, t.Any]] | None) -> list[Data] | None:
    """Return what a report keeps of a node until it is built: all of a fleet may have fifty edits each."""
    if integrity is None:
        return None
    return [
        {**held, "found": [{key: entry[key] for key in _KEPT} for entry in edits_of(held)]} for held in integrity
    ]


def of_fleet(nodes: Sequence[Data]) -> Data:
    """Return the section of the report: `files` that differ, and `unknown`: where not all can be told.

    Of a file there is one variant for each content, the most frequent first. Nodes with the same bytes share it. The
    nodes are left with what is told of each distribution as a whole.
    """
    files: dict[tuple[str, str, str], Data] = {}
    unknown: dict[tuple[str, str, str], Data] = {}
    for node, environment, held in _each(nodes):
        name, version = _normal(held["distribution"]), held["version"]
        about = {"distribution": name, "version": version}
        if not held["complete"]:
            reason = held.get("reason") or "not all was looked at"
            _seen(unknown.setdefault((name, version or "", reason), {**about, "reason": reason}), node, environment)
        for entry in held.pop("found"):
            file = files.setdefault((name, version or "", entry["path"]), {**about, "path": entry["path"], "by": {}})
            new = {**{each: entry[each] for each in _VARIANT}, "owners": {}, "since": None}
            variant = file["by"].setdefault(tuple(entry[each] for each in _SAME), new)
            if entry["owner"] is not None:
                variant["owners"][entry["owner"]] = None
            variant["since"] = min(filter(None, (variant["since"], entry["time"])), default=None)
            _seen(variant, node, environment)
    return {
        "files": [_file(files[key]) for key in sorted(files, key=lambda key: tuple(map(natural, key)))],
        "unknown": [_listed(unknown[key]) for key in sorted(unknown)],
    }


def spread(report: Data) -> list[Data]:
    """Return a report's nodes with what :func:`of_fleet` took from them: copies, from which it can be taken again.

    Which of several environments of a node has which variant of a file, the section does not say: all of these have it.
    """
    found: dict[tuple[str, str, str], list[tuple[list[str], Data]]] = {}
    for file in report["undeclared"]["files"]:
        for variant in file["variants"]:
            edit = {"path": file["path"], **{key: variant[key] for key in _VARIANT}, "time": variant["since"]}
            for place, node in enumerate(variant["nodes"]):
                owner = variant["owners"][min(place, len(variant["owners"]) - 1)] if variant["owners"] else None
                key = (node, file["distribution"], file["version"] or "")
                found.setdefault(key, []).append((variant["environments"], {**edit, "owner": owner}))

    def held_in(node: str, environment: str, held: Data) -> Data:
        edits = found.get((node, _normal(held["distribution"]), held["version"] or ""), []) if number(held) else []
        return {**held, "found": [edit for places, edit in edits if environment in places]}

    def spread_in(node: str, environment: Data) -> Data:
        several = environment.get("integrity")
        told = several and [held_in(node, environment["environment"], held) for held in several]
        return {**environment, "integrity": told}

    return [
        {**node, "environments": [spread_in(node["name"], each) for each in node["environments"]]}
        for node in report["nodes"]
    ]


def _normal(name: str) -> str:
    """Return a distribution's name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sums(nodes: Sequence[Data], section: Data) -> Data:
    """Return the numbers of the report's summary: edits over all nodes, different files, and nodes that have some."""
    found = [(node["name"], number(held)) for node, _environment, held in _each(nodes)]
    return {
        "edits": sum(count for _node, count in found),
        "files": len(section["files"]),
        "nodes": len({node for node, count in found if count}),
    }


def _each(nodes: Sequence[Data]) -> t.Iterator[tuple[Data, Data, Data]]:
    for node in nodes:
        for environment in node["environments"]:
            for held in environment.get("integrity") or ():
                yield node, environment, held


def _seen(entry: Data, node: Data, environment: Data) -> None:
    """Note where something was found: dictionaries keep the order, and have each name once."""
    entry.setdefault("nodes", {})[node["name"]] = None
    entry.setdefault("environments", {})[environment["environment"]] = None
    entry.setdefault("example", (environment.get("python"), environment.get("path")))


def _listed(entry: Data) -> Data:
    told = {key: entry[key] for key in entry if key != "example"}
    sets = {key: sorted(entry[key], key=natural) for key in ("owners", "environments") if key in entry}
    return {**told, **sets, "nodes": list(entry["nodes"])}


def _file(file: Data) -> Data:
    by = file.pop("by")
    variants = sorted(by.values(), key=lambda each: (-len(each["nodes"]), str(each["sha256"]), str(each["kind"])))
    python, path = variants[0]["example"]
    where = ["--path", path] if path else ["--python", python or "python3"]
    command = shlex.join([PROGRAM, "capture", *where, file["distribution"]])
    nodes = dict.fromkeys(node for each in variants for node in each["nodes"])
    return {
        **file,
        "nodes": len(nodes),
        "capture": f"{command} > {shlex.quote(file['distribution'] + '.patch')}",
        "variants": [_listed(each) for each in variants],
    }
