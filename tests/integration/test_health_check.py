# docs/CLUSTERS.md has a health check that drains a node that drifted; scontrol is a stand-in that notes its calls.
from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from lab import controller, engine, interpreters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tree = Callable[[str], Path]

PATCH = "transformers_modeling_utils"
CATALOGUE = "plugins/module_utils/_catalogue"


@pytest.fixture
def drained(tmp_path: Path) -> Callable[[Path], list[str]]:
    """Return ``drained(site)``: what the page's script has scontrol do for a node with that directory of packages."""

    def run(site: Path) -> list[str]:
        page = (controller.ROOT / "docs" / "CLUSTERS.md").read_text()
        (script,) = re.findall(r"```sh\n(#!/bin/sh\n# HealthCheckProgram=.*?)```", page, re.DOTALL)
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / "python3").unlink(missing_ok=True)
        (tmp_path / "bin" / "python3").symlink_to(interpreters.own())
        (tmp_path / "bin" / "scontrol").write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {log}\n")
        (tmp_path / "bin" / "scontrol").chmod(0o755)
        for old, new in {
            "PATH=": f"PATH={tmp_path}/bin:",
            "/opt/primus.patches": str(controller.ROOT),
            "/opt/venv/lib/python3.11/site-packages": str(site),
        }.items():
            assert script.count(old) == 1, old
            script = script.replace(old, new)
        subprocess.run(["sh", "-c", script], env={"SLURMD_NODENAME": "gpu007"}, check=True)
        return log.read_text().splitlines() if log.exists() else []

    return run


def test_a_node_that_drifted_is_drained_with_the_reason_and_no_other(
    drained: Callable[[Path], list[str]], tree: Tree, tmp_path: Path
) -> None:
    site = tree("4.57.6")
    *words, reason = drained(site)
    assert words == ["update", "NodeName=gpu007", "State=DRAIN"]
    assert reason.startswith(f"Reason=primus.patches: {PATCH} pending: transformers 4.57.6 in {site}/transformers: ")
    assert engine.ask("patch", name=[PATCH], path=site)["changed"]
    assert drained(site) == []
    assert drained(tree("4.49.0")) == []
    assert f"{PATCH} unsupported: " in drained(tree("5.0.0"))[-1]
    assert drained(tmp_path / "not-mounted") == []
