# The whole role on a node that is reached by a real SSH connection, with the real Megatron-Bridge.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lab import environments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.controller import Run


@pytest.mark.slow
def test_a_node_behind_ssh_is_checked_set_up_audited_and_reverted(
    playbook: Callable[..., Run], ssh_node: dict[str, Any], megatron_copy: Path
) -> None:
    python = environments.python_of(megatron_copy)
    (file,) = megatron_copy.glob("lib/python3*/site-packages/transformers/modeling_utils.py")
    original = file.read_bytes()
    variables = {"megatron_bridge_pythons": [str(python)]}

    def run(action: str, *, check: bool = False) -> Run:
        return playbook(f"primus.patches.{action}_primus", inventory=ssh_node, variables=variables, check=check)

    def imported(done: Run) -> list[tuple[str, bool, str]]:
        (item,) = done.one("site_patch").environments
        return [(entry["name"].partition(":")[0], entry["ok"], entry["proof"]) for entry in item["imports"]]

    predicted = run("setup", check=True).exits(0)
    assert predicted.changed
    assert imported(predicted) == [("megatron.bridge", True, "before"), ("transformers.modeling_utils", True, "before")]
    assert file.read_bytes() == original
    run("audit").exits(2)
    done = run("setup").exits(0)
    assert done.changed
    assert imported(done) == imported(predicted)
    again = run("setup").exits(0)
    assert not again.changed
    assert imported(again) == [("megatron.bridge", True, "none"), ("transformers.modeling_utils", True, "none")]
    run("audit").exits(0)
    assert run("revert").exits(0).changed
    assert file.read_bytes() == original
