# A node that converges by itself: docs/CLUSTERS.md's own script runs the real ansible-pull from a real repository.
from __future__ import annotations

import json
import platform
import re
from typing import TYPE_CHECKING

import pytest
from lab import controller, pull
from lab.run import CommandError, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tree = Callable[[str], Path]
    Pull = Callable[..., str]

pytestmark = pytest.mark.ansible
FILE = "transformers/modeling_utils.py"


@pytest.fixture
def primus_pull(tmp_path: Path, system_python: Path) -> Callable[[Path], Pull]:
    """Return ``primus_pull(site)``: the page's script, for a node with that directory of packages."""

    def make(site: Path) -> Pull:
        variables = {"ansible_python_interpreter": str(system_python), "megatron_bridge_paths": [str(site)]}
        variables["megatron_bridge_report_dir"] = str(tmp_path / "report")
        script = pull.script(tmp_path / "node", pull.repository(tmp_path), variables)
        return lambda *arguments: run(script, *arguments, env=controller.clean_environment(tmp_path / "home"))

    return make


def summary(output: str) -> tuple[str, str]:
    """Return what the summary says of the one environment: (state, action)."""
    state, action, nodes, _which = re.split(r" {2,}", output.partition("PRIMUS PATCHES")[2].splitlines()[2])
    assert nodes == "1"
    return state, action


def test_a_node_predicts_converges_and_stays_as_it_is(
    primus_pull: Callable[[Path], Pull], tree: Tree, tmp_path: Path
) -> None:
    site = tree("4.57.1")
    original = (site / FILE).read_bytes()
    pulled = primus_pull(site)

    assert summary(pulled("playbooks/setup_primus.yml", "--check")) == ("pending", "would apply")
    assert (site / FILE).read_bytes() == original
    with pytest.raises(CommandError, match=r"exit 2\b(?s:.*)\npending +drifted +1 "):
        pulled("playbooks/audit_primus.yml")

    first = pulled("playbooks/setup_primus.yml")
    assert summary(first) == ("pending", "applied")
    assert re.search(r"ok=\d+ +changed=1 ", first)
    second = pulled("playbooks/setup_primus.yml")
    assert summary(second) == ("applied", "none")
    assert re.search(r"ok=\d+ +changed=0 ", second)
    assert summary(pulled("playbooks/audit_primus.yml")) == ("applied", "none")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [(node["name"], node["status"]) for node in report["nodes"]] == [(platform.node(), "ok")]
    assert 'status="ok"} 1' in (tmp_path / "report" / "report.prom").read_text()

    assert summary(pulled("playbooks/revert_primus.yml")) == ("applied", "reverted")
    assert (site / FILE).read_bytes() == original


def test_a_refusal_is_the_exit_status_that_systemd_sees(primus_pull: Callable[[Path], Pull], tree: Tree) -> None:
    with pytest.raises(CommandError, match=r"exit 2\b(?s:.*)PRIMUS PATCHES(?s:.*)\nunsupported +failed +1 "):
        primus_pull(tree("5.0.0"))("playbooks/setup_primus.yml")
