# What is said of an ansible-core that is too old and of misspelt variables; the real ones are in tests/integration.
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.primus.patches.plugins.plugin_utils import _operator

ROOT = Path(__file__).resolve().parents[4]
RUNTIME = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())


def test_the_version_that_is_needed_is_written_as_it_is_read() -> None:
    assert re.fullmatch(r">=\d+\.\d+\.\d+", RUNTIME["requires_ansible"])


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("2.9.27", True),
        ("2.14.18", True),
        ("2.18.19rc1", True),
        ("2.19.0b3", False),
        ("2.19.0", False),
        ("2.22.0rc1", False),
        ("2.100.0.dev0", False),
        ("3.0.0", False),
    ],
)
def test_an_old_core_is_one_below_the_version_that_is_needed(version: str, old: bool) -> None:  # noqa: FBT001
    assert bool(_operator.old_core(version)) is old


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("megatron_bridge_python", "megatron_bridge_pythons"),
        ("megatron_bridge_environments", "megatron_bridge_import_environment"),
        ("megatron_bridge_x", "megatron_bridge_"),
        ("primus_host", "primus_hosts"),
        ("primus_serail", "primus_serial"),
        ("primus_audit_fail_state", "primus_audit_fail_states"),
    ],
)
def test_a_misspelt_name_is_told_with_one_of_the_options(name: str, expected: str) -> None:
    said = _operator.wrong_play({name: 1, "inventory_hostname": "a"})
    assert said.startswith(f"unknown variable {name}: ")
    assert expected in said
    assert "\n" not in said


@pytest.mark.parametrize("sizes", [5, "5", "10%", [1, "10%", "100%"], "{{ batch }}", 0, "-1", []])
def test_sizes_of_batches_that_ansible_takes_are_no_mistake(sizes: Any) -> None:
    assert _operator.wrong_play({"primus_serial": sizes}) == ""


@pytest.mark.parametrize("sizes", ["all", "1,10%", [1, "ten"], "12.5%", None, "[1, 2]"])
def test_sizes_of_batches_that_are_none_are_told_before_ansible_takes_them(sizes: Any) -> None:
    said = _operator.wrong_play({"primus_serial": sizes})
    assert said.startswith('primus_serial: expected sizes of batches, such as [1, "10%", "100%"], found ')


def test_the_playbooks_variables_are_those_that_their_page_has() -> None:
    page = (ROOT / "docs" / "OPERATING.md").read_text()
    assert _operator._playbook_names() == {*re.findall(r"`(primus_\w+)`", page), "primus_report_dir"} - {"primus_host"}


@pytest.mark.parametrize(
    "name",
    [
        *("megatron_bridge_pythons", "megatron_bridge_result", "megatron_bridge_audit", "megatron_bridge_environment"),
        *("primus_hosts", "primus_report_dir", "primus_patches", "primus_home", "primus_patch", "primus", "primus_url"),
        *("megatron_bridge", "megatron_bridges", "my_megatron_bridge_stat"),
    ],
)
def test_names_that_are_ours_or_those_of_others_are_no_mistake(name: str) -> None:
    assert _operator.wrong_play({name: 1}) == ""


def test_a_task_answers_for_the_names_of_the_role_alone_and_only_in_the_role() -> None:
    variables = {"megatron_bridge_stat": 1, "primus_host": 1}
    assert _operator.wrong_task(variables) == ""
    assert _operator.wrong_task({**variables, "ansible_role_name": "megatron_bridge"}) == ""
    said = _operator.wrong_task({**variables, "ansible_role_name": "primus.patches.megatron_bridge"})
    assert said == "unknown variable megatron_bridge_stat: the nearest one of the role is megatron_bridge_state"
