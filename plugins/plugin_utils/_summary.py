# Turns results of this collection's modules into records and summary lines: one per node, environment and patch.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure functions, used on the controller by the callback `fleet_summary` and by the filters of this collection.

A *result* is what a task of `site_patch`, `site_patch_info` or `import_check` leaves behind, looped or not, as a
callback or a registered variable sees it. A *record* is one line of the summary.
"""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.primus.patches.plugins.module_utils._step import DONE
from ansible_collections.primus.patches.plugins.plugin_utils import _undeclared
from ansible_collections.primus.patches.plugins.plugin_utils._answer import STATES, received
from ansible_collections.primus.patches.plugins.plugin_utils._shown import (
    LONGEST_NAME,
    LONGEST_REASON,
    fold,
    natural,
    printable,
    shorten,
    width,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Result = Mapping[str, t.Any]

MODULES = frozenset(f"primus.patches.{name}" for name in ("site_patch", "site_patch_info", "import_check"))

FAIL_STATES = STATES[3:]
"""What counts as wrong in an audit unless said otherwise: every state but applied, native and unneeded."""

REFUSED = ("unsupported", "conflict", "missing")
"""What `present` cannot mend: where a task failed because of a patch, it was one in such a state, with action none."""

_COLUMNS = ("node", "environment", "patch", "found", "action", "reason")


class Record(t.TypedDict):
    """One line of the summary. Plain types only: it also goes to ansible-runner and AWX by `set_stats`."""

    node: str
    environment: str  # interpreter or directory; empty when the node did not get that far
    patch: str  # empty for a line about the node or the environment as a whole
    state: str  # a state of the patch as found, or: unreachable, failed, imported, hidden, undeclared
    action: str  # none, apply, migrate, revert, restore, skip, failed; of what an audit found wrong: drifted
    predicted: bool  # the action was not taken: check mode, or a module that only looks
    reason: str


def records(
    node: str,
    result: Result,
    *,
    predicted: bool,
    status: str = "",
    fail_states: Sequence[str] = FAIL_STATES,
) -> list[Record]:
    """Return the records of one task's result on one node.

    :param predicted: the task could not change anything (check mode, or a module that only looks).
    :param status: "ok", "failed" or "unreachable", where the caller knows it, else the result tells. (A callback
        knows; Ansible strips it from the results that it hands to callbacks.)
    :param fail_states: states of patches that count as wrong in an audit, as for :func:`problems`.
    """
    looped = result.get("results")
    if isinstance(looped, list):
        return [each for item in looped for each in _records(node, item, predicted, "", fail_states)]
    return _records(node, result, predicted, status, fail_states)


def _records(node: str, told: Result, predicted: bool, status: str, fail_states: Sequence[str]) -> list[Record]:  # noqa: FBT001
    result = received(told)
    found = _told(node, result, predicted=predicted, status=status)
    return _judge(found, fail_states, wrong=result["failed_when_result"]) if _is_judged(result) else found


def _told(node: str, result: Result, *, predicted: bool, status: str = "") -> list[Record]:
    """Return the records of a result that is not looped, whatever an audit makes of them."""
    if result.get("environments") is not None:
        return [record for each in result["environments"] for record in _told(node, each, predicted=predicted)]
    if result.get("skipped"):
        return []
    status = _status(result, status)
    environment = environment_of(result)

    def record(patch: str, state: str, action: str, reason: str) -> Record:
        return Record(
            node=node,
            environment=environment,
            patch=patch,
            state=state,
            action=action,
            predicted=predicted,
            reason=reason,
        )

    message = str(result.get("msg") or result.get("censored") or "")
    imports = result.get("imports") or []
    if status == "unreachable":
        return [record("", "unreachable", "none", message)]
    edited = _joined(*_undeclared.sentences(result.get("integrity")))
    more = [record("", _undeclared.WORD, "none", edited)] if edited else []
    if result.get("patches"):
        failure = _failure(imports, message) if status == "failed" else _broken(imports) if _is_look(result) else ""
        told = [record(patch["name"], patch["state"], *_outcome(patch, result, failure)) for patch in result["patches"]]
        return told + more
    if status == "failed" or _broken(imports):
        return [record("", "failed", "failed", _broken(imports) or message)]
    state, reason = ("imported", ", ".join(map(_module, imports))) if imports else ("hidden", message)
    return [*([record("", state, "none", reason)] if reason else []), *more]


def _judge(found: Sequence[Record], fail_states: Sequence[str], *, wrong: bool) -> list[Record]:
    """Return the records of an audit with its verdict as their action: drifted, or none, or skip as it was asked to."""
    blamed = [wrong and (record["state"] in fail_states or record["action"] == "failed") for record in found]
    own = "the playbook's own condition on this node says so" if wrong and not any(blamed) else ""
    return [
        Record(
            {**record, "action": _verdict(record, wrong=blame or bool(own)), "reason": _joined(record["reason"], own)}
        )
        if record["patch"]
        else Record({**record, "action": "drifted"})
        if blame and record["state"] == _undeclared.WORD
        else record
        for record, blame in zip(found, blamed)
    ]


def _verdict(record: Record, *, wrong: bool) -> str:
    return "drifted" if wrong else "skip" if record["action"] == "skip" else "none"


def _is_judged(result: Result) -> bool:
    """Tell whether `failed_when` had its say: "failed" is no longer the word of the module then, which did not fail."""
    return "failed_when_result" in result and _is_look(result)


def _is_look(result: Result) -> bool:
    """Tell whether a result has the patches of `site_patch_info`: it alone tells copies, or finds no patch in any."""
    patches = result.get("patches") or ()
    return any("copy_id" in patch for patch in patches) or (not patches and "environments" in result)


def _status(result: Result, known: str = "") -> str:
    # (What is received may have failed at the border, and Ansible not know.)
    unreachable = known == "unreachable" or (not known and result.get("unreachable"))
    status = "unreachable" if unreachable else "failed" if known == "failed" or result.get("failed") else "ok"
    return "ok" if status == "failed" and _is_judged(result) else status


def _outcome(patch: Mapping[str, t.Any], result: Result, failure: str) -> tuple[str, str]:
    """Return action and reason of one of the patches of a result that failed for that cause, or did not ("")."""
    action, reason = patch["action"], patch.get("message") or ""
    imports = result.get("imports") or []
    if not failure:
        proven = all(entry.get("proof") in ("before", "after") for entry in imports)
        works = ("imports proven" if proven else "imports work") if imports else ""
        return action, _joined(reason, _broken(imports) or works)  # (the task was told to put up with failures)
    if _broken(imports):
        return "failed", _joined(reason, failure)
    refused = [other for other in result["patches"] if other["state"] in REFUSED and other["action"] == "none"]
    if patch in refused:
        return "failed", reason
    # One transaction: with one patch refused, what was planned for the others is not done either.
    return ("failed", failure) if action != "none" or not refused else (action, reason)


def _failure(imports: Sequence[Mapping[str, t.Any]], message: str) -> str:
    """Return why a task failed. Imports that fail without the patch as well may have been accepted before that.

    Then the message, which has the error of each import that was refused, is about something else.
    """
    broken = [entry for entry in imports if not entry.get("ok")]
    accepted = [e for e in broken if e.get("blame") == "environment" and str(e.get("error")) not in message]
    return (message if accepted == broken else "") or _broken(imports) or "failed"


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def environments_of(result: Result) -> Sequence[Result]:
    """Return the results of which this one is made: site_patch_info may have looked at several environments."""
    several = result.get("environments")
    return [result] if several is None else several


def environment_of(result: Result) -> str:
    """Return the name of the environment that a result is about: its directory, else its interpreter, else ``""``.

    A module that failed early does not say; then the loop's item does, which in the role is the environment.
    """
    environment = result.get("environment") or {}
    return str(environment.get("path") or environment.get("python") or result.get("item") or "")


def _broken(imports: Sequence[Mapping[str, t.Any]]) -> str:
    """Return what is wrong with imports; ``""`` when nothing is."""
    return "; ".join(failures(imports))


def failures(imports: Iterable[Mapping[str, t.Any]]) -> list[str]:
    """Return a sentence for each import that failed; where it fails without the patch as well, its error says so."""
    return [
        f"import {_module(entry)}: {entry.get('error') or entry.get('cause') or 'failed'}"
        + "; without the patch it can be imported" * (entry.get("blame") == "patch")
        for entry in imports
        if not entry.get("ok")
    ]


def _module(entry: Mapping[str, t.Any]) -> str:
    """Return an import's module alone: an object reference can name more objects than a line has room for."""
    return str(entry.get("name")).partition(":")[0]


def merge(found: Iterable[Record]) -> list[Record]:
    """Return one record per node, environment and patch, sorted by node, from those of several tasks in any order.

    The last task's word on a patch stands. What became of imports is told with the patches of that environment, and
    has a line of its own only where there are none.
    """
    latest: dict[tuple[str, str, str], Record] = {}
    for record in found:
        about = record["patch"] or (record["state"] if record["state"] in ("unreachable", _undeclared.WORD) else "")
        latest[record["node"], record["environment"], about] = record
    patched = {(record["node"], record["environment"]) for record in latest.values() if record["patch"]}
    lines = []
    for (node, environment, about), record in latest.items():
        whole = latest.get((node, environment, ""))
        if record["patch"] and whole and record["action"] != "failed":
            failed = whole["action"] == "failed"
            reason = _joined(record["reason"], whole["reason"] if failed else "imports work")
            lines.append(Record({**record, "action": "failed" if failed else record["action"], "reason": reason}))
        elif about or (node, environment) not in patched:
            lines.append(record)
    return sorted(lines, key=lambda line: natural(line["node"]))


def problems(result: Result, fail_states: Sequence[str]) -> list[str]:
    """Return why what `site_patch_info` looked at is not as it should be; empty when it is.

    :param result: its result in one environment, or in several.
    :param fail_states: the states that count as wrong: a list, or one string that holds them, as `-e` gives.
    """
    found = received(result)
    if "environments" not in found:
        return wrong_in(found, fail_states)
    several = [(printable(environment_of(each)), each) for each in found["environments"]]
    return [f"{environment}: {problem}" for environment, each in several for problem in wrong_in(each, fail_states)]


def wrong_in(result: Result, fail_states: Sequence[str]) -> list[str]:
    """As :func:`problems`, of a result in one environment that was held against what a node may answer."""
    if _status(result) in ("failed", "unreachable"):
        return [printable(str(result.get("msg") or "the patches could not be looked at"))]
    patches = result.get("patches") or ()
    wrong = [f"{patch['name']} is {patch['state']}" for patch in patches if patch["state"] in fail_states]
    wrong += [
        f"{patch['name']} is unneeded, and still there"
        for patch in patches
        if patch["state"] == "unneeded" and patch["action"] == "revert" and "unneeded" not in fail_states
    ]
    broken = _broken(result.get("imports") or [])
    edited = _undeclared.sentences(result.get("integrity")) if _undeclared.WORD in fail_states else []
    return [printable(problem) for problem in (*wrong, broken, *edited) if problem]


def did(record: Record) -> str:
    """Return a record's action as a person reads it: what was done, or would be."""
    action = record["action"]
    return f"would {action}" if record["predicted"] and action in DONE else DONE.get(action, action)


def _why(record: Record) -> str:
    """Return a record's reason, as what was true before where that was changed since."""
    return f"found: {record['reason']}" if _is_done(record) and record["reason"] else record["reason"]


def _is_done(record: Record) -> bool:
    return record["action"] in DONE and not record["predicted"]


def table(lines: Sequence[Record]) -> list[str]:
    """Return a heading and one aligned line per record."""
    rows = [[name.upper() for name in _COLUMNS]]
    for record in lines:
        names = (record["node"], record["environment"], record["patch"], record["state"], did(record))
        cells = [shorten(printable(name), LONGEST_NAME) for name in names]
        cells.append(shorten(printable(_why(record)), LONGEST_REASON))
        rows.append([cell or "-" for cell in cells])
    widths = [max(width(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
    text = []
    for row in rows:
        padded = [cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths)]
        text.append("  ".join([*padded, row[-1]]))
    return text


def brief(lines: Sequence[Record], columns: int | None = None, most: int = 20) -> list[tuple[str, Record | None]]:
    """Return a heading, a line per state and action with its nodes, and one per trouble; each with a record like it.

    :param columns: the terminal's width, to which lists of nodes are cut; None cuts nothing.
    :param most: how many troubles and undeclared edits are told; nodes with the same one share a line.
    """
    kinds: dict[tuple[str, str], list[Record]] = {}
    troubles: dict[tuple[str, ...], list[Record]] = {}
    for record in lines:
        kinds.setdefault((record["state"], did(record)), []).append(record)
        if is_trouble(record) or record["state"] == _undeclared.WORD:
            about = (record["state"], record["environment"], record["patch"], record["reason"])
            troubles.setdefault(about, []).append(record)
    rows = [("FOUND", "ACTION", "NODES", "")]
    alike: list[Record | None] = [None]
    for (state, action), found in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
        nodes = {record["node"] for record in found}
        rows.append((state, "-" if action == state else action, str(len(nodes)), fold(nodes)))
        alike.append(found[0])
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    texts = [f"{row[0]:{first}}  {row[1]:{second}}  {row[2]:>{third}}  {row[3]}".rstrip() for row in rows]
    told = [(text if columns is None else shorten(text, columns), record) for text, record in zip(texts, alike)]
    for (state, environment, patch, reason), found in [*troubles.items()][:most]:
        names = [shorten(printable(name), LONGEST_NAME) for name in (environment, patch)]
        folded = fold(record["node"] for record in found)
        parts = (folded, *names, state, shorten(printable(reason), LONGEST_REASON))
        told.append((": ".join(filter(None, parts)), found[0]))
    if len(troubles) > most:
        told.append((f"... and {len(troubles) - most} more, which -v shows", None))
    return told


def is_trouble(record: Record) -> bool:
    """Tell whether a record says that something did not work, and not only that something is to be done."""
    return record["action"] in ("failed", "drifted") or record["state"] == "unreachable"


def hint(lines: Sequence[Record]) -> str:
    """Return what to do next where an audit found a fleet without patches, as after a revert; else ``""``."""
    drifted = {record["state"] for record in lines if record["action"] == "drifted"}
    there = {"applied", "outdated", "conflict"}.intersection(record["state"] for record in lines)
    if "pending" not in drifted or there:
        return ""
    return (
        "No patch is applied. To apply them, run primus.patches.setup_primus. "
        "Where that is right, as after a revert, audit with -e megatron_bridge_state=absent."
    )


def counts(lines: Sequence[Record]) -> str:
    """Return how many records there are of each state and action, the most frequent first."""
    kinds: Counter[str] = Counter()
    for record in lines:
        state, action = record["state"], did(record)
        if _is_done(record):
            state, action = action, f"was {state}"
        kinds[state if action in ("none", state) else f"{state} ({action})"] += 1
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
