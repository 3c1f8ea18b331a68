# What the nodes of a made-up fleet told, as the modules return it: for reports of any size. Nothing of it was measured.
from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.primus.patches.plugins.plugin_utils import _report
from ansible_collections.primus.patches.plugins.plugin_utils._report import FAIL_STATES, STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

GENERATED = "2026-11-25T10:00:00+00:00"
TITLE = "Audit the patches"
PYTHON = "/opt/venv/bin/python"


class Observation(NamedTuple):
    """What a task told of a node, as the callback sees it."""

    node: str
    result: dict[str, Any]
    status: str
    predicted: bool
    audited: bool = True


KINDS = {"applied": 80, "pending": 4, "conflict": 1, "native": 5, "unsupported": 2, "lost": 1, "import": 2, "busy": 3}


def patch(state: str = "applied", **more: Any) -> dict[str, Any]:
    site = "/opt/venv/lib/python3.11/site-packages/transformers"
    return {
        "name": "transformers_modeling_utils",
        "package": "transformers",
        "version": "4.57.6",
        "revision": 1,
        "revision_found": 1 if state == "applied" else None,
        "state": state,
        "action": "apply" if state == "pending" else "none",
        "integrity": "patched" if state == "applied" else "pristine",
        "files": [file(f"{site}/modeling_utils.py", "patched" if state == "applied" else "pristine")],
        "message": f"transformers 4.57.6 in {site}: found {state}, with words enough for a line of the usual length",
        "copy_id": "b5a0 fe01 1835021",
        "others": [],
        "distributions": ["transformers 4.57.6"],
        **more,
    }


def file(path: str, integrity: str = "pristine", **more: Any) -> dict[str, Any]:
    """Return what is told of one file; ``more`` replaces values of what it is like."""
    like = {
        "owner": "root",
        "group": "root",
        "mode": "0644",
        "links": 1,
        "filesystem": "ext4",
        "changed": 1795599166.5,
        "link": None,
    }
    cache = f"{path.rpartition('/')[0]}/__pycache__/x.pyc"
    bytecode = {"path": cache, "mode": "timestamp", "fresh": True, "ours": True}
    return {"path": path, "integrity": integrity, "file": {**like, **more}, "bytecode": [bytecode]}


def imported(name: str = "megatron.bridge", error: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "ok": error is None,
        "proof": "none",
        "blame": None,
        "seconds": 6.25,
        "version": "0.2.0",
        "cause": "name" if error else None,
        "error": error,
        "traceback": None,
    }


def edit(path: str = "transformers/trainer.py", kind: str = "changed", content: int = 1, **more: Any) -> dict[str, Any]:
    """Return what is told of one file that differs; ``content`` stands for its bytes."""
    there = kind != "missing"
    return {
        "kind": kind,
        "path": path,
        "size": 1000 + content if there else None,
        "owner": "root" if there else None,
        "time": 1795599166.5 if there else None,
        "sha256": f"{content:064x}" if there else None,
        "recorded": f"{0:064x}" if kind != "added" else None,
        "lines_added": 3 if kind == "changed" else None,
        "lines_removed": 1 if kind == "changed" else None,
        "patches": [],
        "note": None,
        **more,
    }


def held(*found: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what is told of one distribution of which every file was held against RECORD."""
    kinds = ("changed", "missing", "added", "declared", "untold")
    return {
        "distribution": "transformers",
        "version": "4.57.6",
        "path": "/opt/venv/lib/python3.11/site-packages",
        "source": "RECORD",
        "reason": None,
        "complete": True,
        "files": 2249,
        "sizes_only": 0,
        "left_out": 0,
        "counts": {kind: sum(each["kind"] == kind for each in found) for kind in kinds},
        "found": list(found),
        **more,
    }


def process(pid: int) -> dict[str, Any]:
    return {"pid": pid, "user": "trainer", "age": 86400, "command": "python train.py", "patches": ["a_patch"]}


def result(*patches: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what site_patch_info returns in one environment."""
    return {
        "environment": {"python": PYTHON, "python_version": "3.11.7", "prefix": "/opt/venv", "path": None},
        "patches": list(patches),
        "imports": [],
        "processes": {"candidates": [], "unreadable": 0},
        **more,
    }


def looked(node: str, *patches: dict[str, Any], **more: Any) -> Observation:
    """Return what an audit tells of a node."""
    told = result(*patches, **more)
    wrong = any(each["state"] in FAIL_STATES for each in patches) or any(not each["ok"] for each in told["imports"])
    return Observation(node, {**told, "failed": wrong}, "failed" if wrong else "ok", predicted=True)


def lost(node: str) -> Observation:
    message = f"Failed to connect to the host via ssh: ssh: connect to host {node} port 22: No route to host"
    return Observation(node, {"unreachable": True, "msg": message}, "unreachable", predicted=True)


def one(node: str, chance: random.Random) -> Observation:
    """Return what one node of a large fleet told."""
    (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
    if kind == "lost":
        return lost(node)
    error = "ImportError: cannot import name 'Conv1D'" if kind == "import" else None
    candidates = [process(4000 + number) for number in range(8)] if kind == "busy" else []
    return looked(
        node,
        patch(kind if kind in STATES else "applied"),
        imports=[imported(), imported("transformers.modeling_utils:Conv1D,prune_layer", error)],
        processes={"candidates": candidates, "unreadable": 0},
    )


def many(count: int) -> tuple[list[Observation], list[str]]:
    """Return what a fleet of so many nodes told, and the nodes; the last of several was not reached by the playbook."""
    chance = random.Random(57)  # noqa: S311 (the same fleet each time)
    names = [f"gpu{number:04d}" for number in range(1, count + 1)]
    return [one(name, chance) for name in (names[:-1] if count > 1 else names)], names


def edited(count: int, edits: int = 50, *, alike: bool) -> Iterator[Observation]:
    """Yield what such a fleet told, each node with so many edits: the same on all of them, or no two alike."""
    for number, each in enumerate(many(count)[0]):
        content = 0 if alike else edits * number
        told = [edit(f"transformers/models/m{place:02}.py", content=content + place) for place in range(1, edits + 1)]
        more = {"integrity": [held(*told)]} if "patches" in each.result else {}
        yield each._replace(result={**each.result, **more})


def report_of(
    observations: Iterable[Observation],
    nodes: Iterable[str] = (),
    wrong: Sequence[str] = FAIL_STATES,
    title: str = TITLE,
) -> dict[str, Any]:
    """Return the report of what was observed."""
    answers = [
        _report.answer(
            each.node, each.result, each.status, predicted=each.predicted, audited=each.audited, fail_states=wrong
        )
        for each in observations
    ]
    return _report.build(answers, nodes, wrong, GENERATED, title)


def report(count: int) -> dict[str, Any]:
    """Return the report of such a fleet."""
    return report_of(*many(count))
