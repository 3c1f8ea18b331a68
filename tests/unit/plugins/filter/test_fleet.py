# The filters: the fleet's records for set_stats are plain data, whatever became of a host.
from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.primus.patches.plugins.filter.fleet import FilterModule

PATCH = {"name": "a_patch", "state": "pending", "action": "apply", "message": "found pending"}
HOSTVARS = {
    "ok": {"found": {"results": [{"patches": [PATCH], "imports": []}]}},
    "failed": {"found": {"failed": True, "msg": "boom"}},
    "unreachable": {"found": {"unreachable": True, "msg": "no route"}},
    "skipped": {"found": {"skipped": True}},
    "not_yet": {},
}


def test_records_are_json_by_host_and_hosts_without_a_result_are_left_out() -> None:
    fleet = FilterModule().filters()["fleet_records"](HOSTVARS, list(HOSTVARS), ["other", "found"], predicted=True)
    assert json.loads(json.dumps(fleet)) == fleet
    assert {host: [line["state"] for line in lines] for host, lines in fleet.items()} == {
        "ok": ["pending"],
        "failed": ["failed"],
        "unreachable": ["unreachable"],
    }
    assert fleet["ok"][0]["predicted"] is True


@pytest.mark.parametrize("fail_states", [["pendnig", "conflict"], "conflict,pendnig"])
def test_a_state_that_is_none_is_an_error_and_lets_no_node_pass(fail_states: list[str] | str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"expected some of applied, .*, undeclared, found pendnig$"):
        FilterModule().filters()["audit_problems"]({"patches": [PATCH]}, fail_states)


@pytest.mark.parametrize("fail_states", [None, ["conflict", None]])
def test_nothing_is_no_state(fail_states: list[str] | None) -> None:
    with pytest.raises(AnsibleFilterError, match=r", found None$"):
        FilterModule().filters()["audit_problems"]({"patches": [PATCH]}, fail_states)
