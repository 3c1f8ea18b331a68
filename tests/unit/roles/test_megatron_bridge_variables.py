# The role's variables: argument_specs, defaults and the tasks must tell the same.
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.primus.patches.plugins.module_utils import _step
from ansible_collections.primus.patches.plugins.modules import site_patch
from ansible_collections.primus.patches.plugins.plugin_utils import _role

ROLE = Path(__file__).parents[3] / "roles" / "megatron_bridge"
SPECS: dict[str, dict[str, Any]] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
OPTIONS = {name: option for entry in SPECS.values() for name, option in entry["options"].items()}
NAMES = (
    "Conv1D",
    "apply_chunking_to_forward",
    "find_pruneable_heads_and_indices",
    "id_tensor_storage",
    "prune_conv1d_layer",
    "prune_layer",
    "prune_linear_layer",
)


def test_every_variable_has_its_one_default() -> None:
    assert {name: option["default"] for name, option in OPTIONS.items()} == DEFAULTS


def test_an_entry_point_specifies_exactly_the_variables_that_its_tasks_use() -> None:
    by_callback = {"megatron_bridge_report_dir"}
    audit = (ROLE / "tasks" / "audit.yml").read_text()
    used = {name for name in DEFAULTS if re.search(rf"\b{name}\b", audit)}
    assert used | by_callback == set(SPECS["audit"]["options"])
    asked: list[str] = []

    class Variables(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return super().__getitem__(name)

    (found,) = _role.options(Variables(DEFAULTS), lambda value: value)
    assert {*asked} | by_callback == set(SPECS["setup"]["options"])
    assert {*found} == {*site_patch.ARGUMENTS} - {"backup", "restore"}


def test_values_for_imports_are_kept_out_of_logs() -> None:
    assert OPTIONS["megatron_bridge_import_environment"]["no_log"] is True


def test_the_default_imports_prove_the_seven_names_and_megatron_bridge() -> None:
    assert DEFAULTS["megatron_bridge_imports"] == [
        "megatron.bridge",
        "transformers.modeling_utils:" + ",".join(NAMES),
    ]


WRONG = "megatron_bridge_audit_fail_states"


@pytest.mark.parametrize(
    ("given", "expected"),
    # What the state asked for would change is wrong, and what it could not deal with, unless that is passed over.
    [
        ({}, ["pending", "outdated", "unsupported", "conflict", "missing"]),
        ({"megatron_bridge_state": "absent"}, ["applied", "outdated", "conflict"]),
        ({"megatron_bridge_missing": "skip"}, ["pending", "outdated", "unsupported", "conflict"]),
        (
            {"megatron_bridge_missing": "skip", "megatron_bridge_unsupported": "skip"},
            ["pending", "outdated", "conflict"],
        ),
        ({"primus_audit_fail_states": []}, []),
        ({"primus_audit_fail_states": "conflict, outdated"}, ["conflict", "outdated"]),
        ({"primus_audit_fail_states": ["conflict"], "primus_audit_fail_undeclared": True}, ["conflict", "undeclared"]),
        ({"primus_audit_fail_states": [], "primus_audit_fail_undeclared": "true"}, ["undeclared"]),
    ],
)
def test_an_audit_objects_to_what_is_not_as_is_asked_or_to_what_the_operator_says(
    given: dict[str, Any], expected: list[str]
) -> None:
    variables = {key: DEFAULTS[key] for key in DEFAULTS if key != WRONG}
    templar = Templar(DataLoader(), variables={**variables, **given})
    assert list(templar.template(trust_as_template(DEFAULTS[WRONG]))) == expected
    assert {*_step.PRESENT, "undeclared"} == set(OPTIONS[WRONG]["choices"])
