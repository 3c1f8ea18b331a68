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
    _Place = tuple[str, t.Optional[str], str]
    """Distribution, version, and a path; or why it cannot be told."""
    _Seen = tuple[str, Data, t.Optional[str], t.Optional[float]]
    """Node, environment, and of a file its owner and time."""

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
    return [{**held, "found": [{key: entry[key] for key in _KEPT} for entry in edits_of(held)]} for held in integrity]


def of_fleet(nodes: Sequence[Data]) -> Data:
    """Return the section of the report: `files` that differ, and `unknown`: where not all can be told.

    Of a file there is one variant for each content, the most frequent first. Nodes with the same bytes share it. The
    nodes are left with what is told of each distribution as a whole.
    """
    files: dict[_Place, dict[tuple[t.Any, ...], tuple[Data, list[_Seen]]]] = {}
    unknown: dict[_Place, list[_Seen]] = {}
    for node, environment, held in _each(nodes):
        name, version = _normal(held["distribution"]), held["version"]
        if not held["complete"]:
            reason = held["reason"] or "not all was looked at"
            unknown.setdefault((name, version, reason), []).append((node["name"], environment, None, None))
        for entry in held.pop("found"):
            variants = files.setdefault((name, version, entry["path"]), {})
            same = tuple(map(entry.get, _SAME))
            if same not in variants:
                variants[same] = entry, []
            variants[same][1].append((node["name"], environment, entry["owner"], entry["time"]))
    return {
        "files": [_file(place, files.pop(place)) for place in sorted(files, key=_order)],
        "unknown": [
            {"distribution": place[0], "version": place[1], "reason": place[2], **_where(unknown[place])}
            for place in sorted(unknown, key=_order)
        ],
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


def _order(place: _Place) -> tuple[t.Any, ...]:
    return tuple(natural(each or "") for each in place)


def _file(place: _Place, variants: Mapping[t.Any, tuple[Data, list[_Seen]]]) -> Data:
    name, version, path = place
    told = [(_variant(entry, seen), seen[0][1]) for entry, seen in variants.values()]
    told.sort(key=lambda each: (-len(each[0]["nodes"]), str(each[0]["sha256"]), str(each[0]["kind"])))
    environment = told[0][1]
    where = ["--path", environment["path"]] if environment["path"] else ["--python", environment["python"] or "python3"]
    command = shlex.join([PROGRAM, "capture", *where, name])
    return {
        "distribution": name,
        "version": version,
        "path": path,
        "nodes": len({node for variant, _environment in told for node in variant["nodes"]}),
        "capture": f"{command} > {shlex.quote(name + '.patch')}",
        "variants": [variant for variant, _environment in told],
    }


def _variant(entry: Data, seen: Sequence[_Seen]) -> Data:
    return {
        **{key: entry[key] for key in _VARIANT},
        "owners": _sorted(owner for _node, _environment, owner, _time in seen if owner is not None),
        "since": min((time for _node, _environment, _owner, time in seen if time), default=None),
        **_where(seen),
    }


def _where(seen: Sequence[_Seen]) -> Data:
    return {
        "nodes": list(dict.fromkeys(each[0] for each in seen)),
        "environments": _sorted(each[1]["environment"] for each in seen),
    }


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=natural)
