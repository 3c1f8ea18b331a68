# What a playbook of this collection told: the summary that a person reads, and the custom stats that AWX reads.
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.controller import Run

TAKES_STATS = {"show_custom_stats": "true"}
"""Settings of a run whose custom stats somebody takes."""
DONE = {"would apply": "applied", "would migrate": "migrated", "would revert": "reverted"}
"""What check mode foresees -> what the summary of the run says of it."""


def summary(run: Run) -> dict[tuple[str, str], tuple[str, str, str]]:
    """Return the lines of the summary that -v brings: (node, environment) -> (state as found, action, reason)."""
    text = run.stdout.partition("PRIMUS PATCHES")[2]
    assert text, f"no summary\n{run}"
    assert "PRIMUS PATCHES" not in text, f"two summaries\n{run}"
    rows = [re.split(r" {2,}", line, maxsplit=5) for line in text.splitlines()[2:] if "  " in line]
    return {(row[0], row[1]): (row[3], row[4], row[5]) for row in rows}


def states(run: Run) -> dict[str, tuple[str, str]]:
    """Return the summary by node, for nodes with one line: (state, action)."""
    return {node: (state, action) for (node, _environment), (state, action, _reason) in summary(run).items()}


def stats(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return what was published as custom stats, over all batches; a run without TAKES_STATS has none."""
    return {
        node: records
        for task in run.of("set_stats")
        for node, records in task.result["ansible_stats"]["data"]["primus_patches"].items()
    }
