# The role's scenarios for molecule, as their user runs them: on nodes that are this machine, and on the fleet lab.
from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from lab import checkout, controller, fleet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("molecule")]


@pytest.fixture
def collection_tree(tmp_path: Path) -> Path:
    return checkout.copy(tmp_path / "collections" / "ansible_collections" / "primus" / "patches")


def succeeded(tree: Path, command: Sequence[str | Path], scenario: str) -> list[str]:
    """Run a command in the collection; return the actions that it says it did."""
    home = tree.parents[3] / "home"
    environment = controller.clean_environment(home, ANSIBLE_COLLECTIONS_PATH=str(tree.parents[2]), NO_COLOR="1")
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(rf"^{scenario} > (\w+): Executed: Successful$", done.stdout + done.stderr, re.MULTILINE)


def test_the_default_scenario(collection_tree: Path) -> None:
    command = (controller.tool("molecule"), "test")
    assert succeeded(collection_tree, command, "default") == [
        "syntax",
        "prepare",
        "converge",
        "idempotence",
        "verify",
        "side_effect",
        "cleanup",
    ]


def test_the_scenario_of_the_fleet_lab(collection_tree: Path) -> None:
    reason = fleet.why_not()
    if reason and os.environ.get("CI") != "true":
        pytest.skip(reason)
    lab = (sys.executable, controller.ROOT / "tools" / "fleet.py", "--nodes", "2", "--")
    command = (*lab, controller.tool("molecule"), "test", "-s", "fleet")
    assert succeeded(collection_tree, command, "fleet") == [
        "syntax",
        "converge",
        "idempotence",
        "verify",
        "side_effect",
    ]
