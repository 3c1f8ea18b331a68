# What a playbook of this collection told: the summary that a person reads, and what went to AWX.
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.controller import Run


def summary(run: Run) -> dict[tuple[str, str], tuple[str, str, str]]:
    """Return the lines of the summary that -v brings: (node, environment) -> (state, action, reason)."""
    text = run.stdout.partition("PRIMUS PATCHES")[2]
    assert text, f"no summary\n{run}"
    assert "PRIMUS PATCHES" not in text, f"two summaries\n{run}"
    rows = [re.split(r" {2,}", line, maxsplit=5) for line in text.splitlines()[2:] if "  " in line]
    return {(row[0], row[1]): (row[3], row[4], row[5]) for row in rows}


def states(run: Run) -> dict[str, tuple[str, str]]:
    """Return the summary by node, for nodes with one line: (state, action)."""
    return {node: (state, action) for (node, _environment), (state, action, _reason) in summary(run).items()}


def stats(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return what went to AWX, over all batches."""
    return {
        node: records
        for task in run.of("set_stats")
        for node, records in task.result["ansible_stats"]["data"]["primus_patches"].items()
    }
