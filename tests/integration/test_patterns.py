# Patterns of interpreters and directories: one inventory sets up, audits and reverts, whatever it passes over.
from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from lab import environments, packages
from lab.report import summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.controller import Run

    Playbook = Callable[..., Run]

API = "LIMIT = 10\n"
PATCH = """\
Description: Our circles are larger than acme expects.
Package: acme
Versions: >=2.3,<3

--- a/src/acme/api.py
+++ b/src/acme/api.py
@@ -1 +1 @@
-LIMIT = 10
+LIMIT = 30
"""


def install(site: Path, version: str = "2.3.0") -> Path:
    packages.install(site, "acme", version, {"acme/__init__.py": "", "acme/api.py": API})
    return site


@pytest.fixture
def inventory(tmp_path: Path, system_python: Path) -> Callable[..., Path]:
    """Return ``inventory(node={variables})``: local nodes, with a patch file that lies beside the inventory."""

    def write(**hosts: dict[str, Any]) -> Path:
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(system_python),
            "megatron_bridge_patches": [],
            "megatron_bridge_patch_files": ["{{ inventory_dir }}/patches"],
            "megatron_bridge_imports": ["no_such_module"],
        }
        content = json.dumps({"all": {"vars": variables, "hosts": hosts}})
        packages.write(tmp_path / "inventory", {"hosts.yml": content, "patches/acme_limit.patch": PATCH})
        return tmp_path / "inventory" / "hosts.yml"

    return write


def told(run: Run) -> dict[str, list[tuple[str, str]]]:
    """Return state and action of each environment, by node."""
    found: dict[str, list[tuple[str, str]]] = {}
    for (node, _environment), (state, action, _reason) in summary(run).items():
        found.setdefault(node, []).append((state, action))
    return found


def test_one_inventory_sets_up_audits_and_reverts(
    playbook: Playbook, inventory: Callable[..., Path], venv: Callable[..., Path], tmp_path: Path
) -> None:
    sites = [install(tmp_path / "envs" / name) for name in ("a", "b")]
    install(tmp_path / "envs" / "old", "2.2.0")
    bare = environments.python_of(venv())
    hosts = inventory(
        # (Where all is passed over, no import is tried.)
        skips={
            "megatron_bridge_pythons": [f"{bare.parent}/pytho?", f"{tmp_path}/gone/*/python"],
            "megatron_bridge_paths": [f"{tmp_path}/envs/*"],
            "megatron_bridge_missing": "skip",
            "megatron_bridge_unsupported": "skip",
        },
        fails={"megatron_bridge_paths": [f"{tmp_path}/gone/*", f"{tmp_path}/envs/o*"]},
    )
    limits = [site / "acme" / "api.py" for site in sites]
    passed = [("missing", "skip"), ("missing", "skip")], ("unsupported", "skip")

    def run(name: str, rc: int) -> dict[str, list[tuple[str, str]]]:
        ran = playbook(f"primus.patches.{name}", inventory=hosts).exits(rc)
        assert {task.host for task in ran.tasks if task.status == "failed"} == ({"fails"} if rc else set())
        return told(ran)

    def skips(*found: tuple[str, str]) -> list[tuple[str, str]]:
        return [*passed[0], *found, *found, passed[1]]

    refused = [("missing", "failed"), ("unsupported", "failed")]
    assert run("setup_primus", 2) == {"skips": skips(("pending", "applied")), "fails": refused}
    assert [path.read_text() for path in limits] == ["LIMIT = 30\n"] * 2
    drifted = [(state, "drifted") for state, _action in refused]
    assert run("audit_primus", 2) == {"skips": skips(("applied", "none")), "fails": drifted}
    idle = [("missing", "none"), ("missing", "none"), ("applied", "reverted"), ("applied", "reverted")]
    gone = {"skips": [*idle, ("unsupported", "none")], "fails": [("missing", "none"), ("unsupported", "none")]}
    assert run("revert_primus", 0) == gone
    assert [path.read_text() for path in limits] == [API] * 2


def test_patch_files_are_used_besides_the_patches_that_are_named(
    playbook: Playbook, inventory: Callable[..., Path], tree: Callable[[str], Path], tmp_path: Path
) -> None:
    """And are found from where Ansible was started, though the playbook lies elsewhere."""
    site = install(tree("4.57.6"))
    here = str(tmp_path / "inventory" / "patches")
    hosts = inventory(
        one={
            "megatron_bridge_paths": [str(site)],
            "megatron_bridge_patches": ["transformers_modeling_utils"],
            "megatron_bridge_patch_files": [os.path.relpath(here, tmp_path / "controller" / "run-0")],
        }
    )
    both = ("transformers_modeling_utils", "acme_limit")

    def run(name: str) -> dict[str, tuple[str, str]]:
        ran = playbook(f"primus.patches.{name}", inventory=hosts).exits(0)
        task = ran.one("site_patch_info" if name == "audit_primus" else "site_patch")
        (item,) = task.result.get("results", [task.result])
        return {patch["name"]: (patch["state"], patch["action"]) for patch in item["patches"]}

    assert run("setup_primus") == dict.fromkeys(both, ("pending", "apply"))
    assert run("audit_primus") == dict.fromkeys(both, ("applied", "none"))
    assert run("revert_primus") == dict.fromkeys(both, ("applied", "revert"))
    assert (site / "acme" / "api.py").read_text() == API


def test_of_nodes_that_share_what_matches_one_does_the_work(
    playbook: Playbook, inventory: Callable[..., Path], tmp_path: Path
) -> None:
    """In check mode, and where it fails."""
    file = install(tmp_path / "envs" / "a") / "acme" / "api.py"
    install(tmp_path / "envs" / "b")
    shares = {"megatron_bridge_paths": [f"{tmp_path}/envs/*"], "megatron_bridge_shared": True}
    hosts = inventory(one=shares, two=shares)
    run = playbook("primus.patches.setup_primus", inventory=hosts, check=True).exits(0)
    assert sorted(told(run).values()) == [[("pending", "none")] * 2, [("pending", "would apply")] * 2]
    assert file.read_text() == API
    install(tmp_path / "envs" / "c", "2.2.0")
    run = playbook("primus.patches.setup_primus", inventory=hosts).exits(2)
    assert file.read_text() == "LIMIT = 30\n"
    assert [("pending", "applied"), ("pending", "applied"), ("unsupported", "failed")] in told(run).values()
    messages = [task.result["msg"] for task in run.of("site_patch")]
    assert sum(", which stands for this copy: 1 of 3 environments: " in message for message in messages) == 1
