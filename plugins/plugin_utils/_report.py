# The report of a fleet as data: what every node told, what is to be done about it, and the sums. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A *report* is plain data, as ``report.json`` has it; its schema is ``docs/report.schema.json``.

It depends on nothing but what the nodes told: the same answers give the same report, whatever the order they came in.
What changes from run to run all the same is in its *time fields*: ``generated``, ``seconds`` and ``age``.
"""

from __future__ import annotations

import json
import typing as t
from collections import Counter

from ansible_collections.primus.patches.plugins.module_utils._step import DONE
from ansible_collections.primus.patches.plugins.plugin_utils import _summary, _undeclared
from ansible_collections.primus.patches.plugins.plugin_utils._answer import received
from ansible_collections.primus.patches.plugins.plugin_utils._shown import natural
from ansible_collections.primus.patches.plugins.plugin_utils._summary import FAIL_STATES, REFUSED, STATES

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Data = dict[str, t.Any]

VERSION = 2
"""Of the schema: counted up when a key changes its meaning or goes away."""
SCHEMA = "https://github.com/primus-patches/primus.patches/blob/main/docs/report.schema.json"
STATUSES = ("ok", "drifted", "failed", "unreachable", "skipped")

_PATCH = ("name", "package", "version", "revision", "revision_found", "state", "action", "integrity", "message")
_DETAILS = ("copy_id", "others", "distributions")
_FILE = ("path", "integrity", "file", "bytecode")
_IMPORT = ("name", "ok", "proof", "blame", "seconds", "version", "cause", "error")
_WHERE = ("python", "python_version", "prefix", "path")

# What is found -> what to do about it; the most urgent first. Texts are filled with values of the patch.
_TODO = {
    "failed": "Look at the reason: this environment could not be looked at or changed.",
    "unreachable": "Mend the connection, then audit again.",
    "conflict": "Look at the file. Reinstall {package} {version} to have the wheel's own, then run setup_primus.",
    "import": "Look at the error: what the jobs import does not work here.",
    "stale_unchecked": "Remove this bytecode: Python runs it without a look at the source, which has changed.",
    "unsupported": "Install a version that the patch supports, or take the patch out of megatron_bridge_patches here.",
    "missing": "Install {package}, or take the environment out of the inventory.",
    "outdated": "Run setup_primus: it migrates the patch.",
    "pending": "Run setup_primus.",
    "unneeded": "Run setup_primus: it takes the patch out where it is still there.",
    "applied": "Run revert_primus: the patch is still there.",
    "distributions": "Reinstall {package}: an upgrade was interrupted.",
    "skipped": "Run the playbook again, if they were meant: no task of this collection ran there.",
    "accepted": "Mend the environment where it is to import this: it fails without the patch as well.",
    "undeclared": "See Undeclared edits: make a patch file of it with capture, or reinstall {package} {version}.",
    "foreign": "Find out who edited the file besides, or reinstall {package} {version}.",
    "links": "Clean the package cache: it holds the patched bytes, and other environments may get them.",
    "processes": "Restart these when it suits: they started before the patch came, and may run what was there.",
    "others": "Remove the other copy, unless it is meant: what is imported depends on the order of sys.path.",
    "stale": "Import the module once as the owner of the environment: each start compiles it anew.",
}
URGENT = frozenset(("failed", "unreachable", "conflict", "import", "stale_unchecked"))
_NOTES = frozenset(("accepted", "distributions", "undeclared", "foreign", "links", "processes", "others", "stale"))


class Answer(t.NamedTuple):
    """What one task told of one node."""

    node: str
    lost: str | None
    """Why it could not be reached."""
    environments: str
    """As JSON, since all of a fleet are kept until the playbook ends."""


def answer(
    node: str,
    result: Mapping[str, t.Any],
    status: str,
    *,
    predicted: bool,
    audited: bool,
    fail_states: Sequence[str] = FAIL_STATES,
) -> Answer:
    """Return what a report needs of a task's result.

    :param status: ok, failed or unreachable, as Ansible saw it.
    :param predicted: the task could not change anything.
    :param audited: it was one of `site_patch_info`.
    :param fail_states: states of patches that count as wrong, for what was audited.
    """
    plain = received(result)
    if status == "unreachable":
        return Answer(node, plain.get("msg") or "unreachable", "[]")
    several = "environments" in plain
    environments: dict[str, Data] = {}
    for each in _summary.environments_of(plain):
        failed = bool(each.get("failed")) or (status == "failed" and not several)
        found = _environment(each, fail_states, failed=failed, predicted=predicted, audited=audited)
        if found["environment"] in environments:  # (several interpreters on one directory)
            found["environment"] = f"{found['python']} {found['environment']}"
        environments[found["environment"]] = found
    told = list(environments.values())
    if audited and "failed_when_result" in plain:
        _judged(told, wrong=status == "failed")
    return Answer(node, None, json.dumps(told))


def _judged(environments: Sequence[Data], *, wrong: bool) -> None:
    """Let a playbook's own verdict stand: a node may have variables of its own that say what counts as wrong."""
    for each in environments:
        if not wrong and each["status"] == "drifted":
            each.update(status="ok", problems=[])
    if wrong and environments and all(each["status"] == "ok" for each in environments):
        environments[0].update(status="drifted", problems=["the playbook's own condition on this node says so"])


def build(
    answers: Iterable[Answer], nodes: Iterable[str], fail_states: Sequence[str], generated: str, title: str
) -> Data:
    """Return the report.

    :param answers: in the order in which they came; the last word on a patch stands.
    :param nodes: all that the playbook was to look at; those that told nothing were skipped.
    :param fail_states: as for :func:`answer`.
    :param generated: when the report was made, ISO 8601.
    :param title: name of the play.
    """
    fleet: dict[str, Data] = {name: {} for name in nodes}
    lost: dict[str, str] = {}
    for node, reason, told in answers:
        environments = fleet.setdefault(node, {})
        lost.pop(node, None)
        if reason is not None:
            lost[node] = reason
        for each in json.loads(told):
            old = environments.get(each["environment"])
            environments[each["environment"]] = _merged(old, each) if old else each
    found = [_node(name, list(fleet[name].values()), lost.get(name)) for name in sorted(fleet, key=natural)]
    return of_nodes(found, fail_states, generated, title)


def of_nodes(found: Sequence[Data], fail_states: Sequence[str], generated: str, title: str) -> Data:
    """Return the report of nodes as a report has them, in natural order: their sums and what is to be done."""
    undeclared = _undeclared.of_fleet(found)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "generated": generated,
        "title": title,
        "fail_states": [state for state in (*STATES, _undeclared.WORD) if state in fail_states],
        "summary": {**_sums(found), "undeclared": _undeclared.sums(found, undeclared)},
        "todo": _todo(found, fail_states),
        "undeclared": undeclared,
        "shared_copies": _shared(found),
        "nodes": found,
    }


def text(report: Data) -> str:
    """Return the report as JSON."""
    return json.dumps(report, indent=1, ensure_ascii=True) + "\n"


def patches_of(report: Data) -> t.Iterator[tuple[Data, Data, Data]]:
    """Yield each patch with its node and environment."""
    for node in report["nodes"]:
        for environment in node["environments"]:
            for patch in environment["patches"]:
                yield node, environment, patch


def standing(environment: Data, patch: Data) -> str:
    """Return the state of a patch when the run was through; the report has it as it was found."""
    done = environment["status"] != "failed" and not patch["predicted"]
    if done and patch["action"] == "revert" and patch["state"] in ("unneeded", "unsupported", "missing"):
        return str(patch["state"])  # (what it is for has not come by that)
    return {"apply": "applied", "migrate": "applied", "revert": "pending", "restore": "pending"}.get(
        patch["action"] if done else "", patch["state"]
    )


def is_wrong(environment: Data, patch: Data, fail_states: Sequence[str]) -> bool:
    """Tell whether something is to be done about the state of a patch."""
    if environment["audited"]:
        left = patch["state"] == "unneeded" and patch["action"] == "revert"
        return (left or patch["state"] in fail_states) and environment["status"] != "ok"
    if environment["status"] == "failed":
        return patch["state"] in REFUSED and patch["action"] == "none"
    return patch["predicted"] and patch["action"] in DONE


def _node(name: str, environments: list[Data], lost: str | None) -> Data:
    environments.sort(key=lambda environment: natural(environment["environment"]))
    states = {environment["status"] for environment in environments}
    if lost is not None:
        status = "unreachable"
    elif not environments:
        status = "skipped"
    else:
        status = next(each for each in ("failed", "drifted", "ok") if each in states)
    return {"name": name, "status": status, "message": lost, "environments": environments}


def _environment(
    result: Mapping[str, t.Any], fail_states: Sequence[str], *, failed: bool, predicted: bool, audited: bool
) -> Data:
    """Return what a result tells of the one environment that it is about."""
    where = result.get("environment") or {}
    patches = result.get("patches") or []
    broken = failed and not (audited and patches)
    if broken:
        problems = [result.get("msg") or result.get("censored") or "failed"]
    elif audited:
        problems = _summary.wrong_in({**result, "failed": False}, fail_states)
    else:  # (a task that may change something was content with it, but maybe only foresees what it would do)
        problems = [
            f"{patch['name']} is {patch['state']}" for patch in patches if predicted and patch["action"] in DONE
        ]
    return {
        "environment": _summary.environment_of(result),
        **{key: where.get(key) for key in _WHERE},
        "audited": audited,
        "status": "failed" if broken else "drifted" if problems else "ok",
        "problems": problems,
        "patches": [
            {
                **{key: patch.get(key) for key in _PATCH},
                "files": [{key: file.get(key) for key in _FILE} for file in patch.get("files") or ()],
                "predicted": predicted,
                **{key: patch.get(key) for key in _DETAILS},
            }
            for patch in patches
        ],
        "imports": [
            {**{key: entry.get(key) for key in _IMPORT}, "proof": entry.get("proof") or "none"}
            for entry in result.get("imports") or ()
        ],
        "processes": result.get("processes"),
        "integrity": _undeclared.kept(result.get("integrity")),
    }


def _merged(old: Data, new: Data) -> Data:
    """Return what two tasks told of one environment, the later one's word before the earlier one's."""
    named = {patch["name"] for patch in new["patches"]}
    tried = {entry["name"] for entry in new["imports"]}
    worse = max((old, new) if not new["patches"] else (new,), key=lambda each: STATUSES.index(each["status"]))
    return {
        **new,
        "status": worse["status"],
        "audited": old["audited"] or new["audited"],
        "problems": new["problems"] if new["patches"] else old["problems"] + new["problems"],
        "patches": [patch for patch in old["patches"] if patch["name"] not in named] + new["patches"],
        "imports": [entry for entry in old["imports"] if entry["name"] not in tried] + new["imports"],
        "processes": new["processes"] or old["processes"],
        "integrity": new["integrity"] if new["integrity"] is not None else old["integrity"],
    }


def _sums(nodes: Sequence[Data]) -> Data:
    statuses = Counter(node["status"] for node in nodes)
    environments = [environment for node in nodes for environment in node["environments"]]
    states: Counter[str] = Counter()
    by_patch: dict[str, Counter[str]] = {}
    for _of_node, environment, patch in patches_of({"nodes": nodes}):
        state = standing(environment, patch)
        states[state] += 1
        by_patch.setdefault(patch["name"], Counter())[state] += 1
    return {
        "nodes": {status: statuses[status] for status in STATUSES},
        "environments": len(environments),
        "states": {state: states[state] for state in STATES},
        "patches": {name: {state: found[state] for state in STATES} for name, found in sorted(by_patch.items())},
        "processes": sum(len((each["processes"] or {}).get("candidates") or ()) for each in environments),
    }


def _shared(nodes: Sequence[Data]) -> list[Data]:
    """Return the physical copies that are seen from several places."""
    seen: dict[str, list[tuple[str, str, Data]]] = {}
    for node, environment, patch in patches_of({"nodes": nodes}):
        if patch["copy_id"]:
            seen.setdefault(patch["copy_id"], []).append((node["name"], environment["environment"], patch))
    return [
        {
            "copy_id": copy_id,
            "nodes": list(dict.fromkeys(node for node, _environment, _patch in places)),
            "environments": sorted({environment for _node, environment, _patch in places}),
            "patches": {patch["name"]: patch["state"] for _node, _environment, patch in places},
        }
        for copy_id, places in sorted(seen.items())
        if len({place[:2] for place in places}) > 1
    ]


def _todo(nodes: Sequence[Data], fail_states: Sequence[str]) -> list[Data]:
    """Return what is to be done: one entry for all nodes with the same thing, the most urgent first."""
    found: dict[tuple[str, ...], list[str]] = {}
    examples: dict[str, str] = {}  # (each node has its own address in what ssh says: one of them stands for all)

    def add(node: str, environment: str, kind: str, patch: Data | None, reason: str) -> None:
        about = patch or {}
        do = _TODO[kind].format(package=about.get("package") or "the package", version=about.get("version") or "")
        key = (kind, environment, about.get("name") or "", reason, " ".join(do.split()))
        found.setdefault(key, []).append(node)

    for node in nodes:
        name = node["name"]
        if node["status"] in ("unreachable", "skipped"):
            example = examples.setdefault(node["status"], node["message"] or "nothing was run there")
            add(name, "", node["status"], None, example)
        for environment in node["environments"]:
            for finding in _findings(environment, fail_states):
                add(name, environment["environment"], *finding)
    order = list(_TODO)
    return [
        {
            "kind": kind,
            "urgent": kind in URGENT,
            "note": kind in _NOTES and kind not in fail_states,
            "environment": environment,
            "patch": patch,
            "reason": reason,
            "do": do,
            "nodes": list(dict.fromkeys(names)),
        }
        for (kind, environment, patch, reason, do), names in sorted(
            found.items(), key=lambda entry: (order.index(entry[0][0]), -len(entry[1]), entry[0])
        )
    ]


def _findings(environment: Data, fail_states: Sequence[str]) -> t.Iterator[tuple[str, Data | None, str]]:
    """Yield kind, patch and reason of all that is to be done in an environment."""
    failed = environment["status"] == "failed"
    patches = environment["patches"]
    due = [patch for patch in patches if is_wrong(environment, patch, fail_states) and patch["state"] in _TODO]
    accepted = [each for each in environment["imports"] if not failed and each["blame"] == "environment"]
    broken = _summary.failures(each for each in environment["imports"] if each not in accepted)
    if failed and not due and not broken:
        yield "failed", None, "; ".join(environment["problems"])
    for reason in broken:
        yield "import", None, reason
    for reason in _summary.failures(accepted):
        yield "accepted", None, reason
    for patch in due:
        # (Where a patch shall not be there, an earlier revision of it shall not either.)
        gone = patch["state"] == "outdated" and "applied" in fail_states
        gone = gone or (patch["action"] == "revert" and patch["state"] != "unneeded")
        yield "applied" if gone else patch["state"], patch, patch["message"] or ""
    for patch in environment["patches"]:
        yield from ((kind, patch, reason) for kind, reason in _notes(patch))
    for held in environment["integrity"] or ():
        if _undeclared.number(held):  # (which files, is told for the fleet: here it would part nodes from each other)
            about = {"package": held["distribution"], "version": held["version"]}
            yield "undeclared", about, f"files of {_undeclared.title(held)} are not as they were installed"
    processes = (environment["processes"] or {}).get("candidates") or []
    if processes:
        yield "processes", None, f"{len(processes)} of {environment['python'] or environment['environment']}"


def _notes(patch: Data) -> t.Iterator[tuple[str, str]]:
    files = patch["files"]
    stale = [(file, entry) for file in files for entry in file["bytecode"] or () if entry["fresh"] is False]
    links = {file["path"]: (file["file"] or {}).get("links") or 1 for file in files}
    linked = [path for path in links if links[path] > 1 and patch["state"] in ("applied", "outdated")]
    found = {
        "stale_unchecked": [entry["path"] for _file, entry in stale if entry["mode"] == "unchecked-hash"],
        "stale": [file["path"] for file, entry in stale if entry["mode"] != "unchecked-hash" and entry["ours"]],
        "foreign": [file["path"] for file in files if file["integrity"] == "foreign"],
        "links": [f"{path} has {links[path]} hard links" for path in linked],
    }
    yield from ((kind, _first(told)) for kind, told in found.items() if told)
    if len(patch["distributions"] or ()) > 1:
        yield "distributions", ", ".join(patch["distributions"])
    for other in patch["others"] or ():
        yield "others", f"{other['path']} ({other['version'] or 'unknown version'}, {other['where']})"


def _first(told: Sequence[str]) -> str:
    """Return the first of what is told of each file: of a patch of many, all would hide the rest of a report."""
    first, *others = dict.fromkeys(told)
    return f"{first} (+{len(others)} files)" if others else first
