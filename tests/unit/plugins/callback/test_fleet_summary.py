# The callback: which tasks it listens to and what it prints.
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible_collections.primus.patches.plugins.callback.fleet_summary import CallbackModule

PATCH = {"name": "a_patch", "state": "pending", "action": "apply", "message": "found pending"}


class Screen:
    """Stands for Ansible's Display: keeps lines and their colours."""

    columns = 79
    verbosity = 1  # (a line for each node, environment and patch)

    def __init__(self) -> None:
        self.lines: list[tuple[str, str | None]] = []

    def display(self, text: str, color: str | None = None) -> None:
        self.lines.append((text, color))

    def banner(self, text: str) -> None:
        self.display(text)


def outcome(action: str = "primus.patches.site_patch", *, check: bool = False, **result: Any) -> Any:
    task = SimpleNamespace(resolved_action=action, check_mode=check, delegate_to=None)
    return SimpleNamespace(task=task, host=SimpleNamespace(get_name=lambda: "gpu-1"), result=result)


@pytest.fixture
def callback() -> CallbackModule:
    plugin = CallbackModule()
    plugin._display = Screen()
    return plugin


def test_prints_nothing_when_no_task_of_ours_ran(callback: CallbackModule) -> None:
    callback.v2_runner_on_ok(outcome("ansible.builtin.ping", ping="pong"))
    callback.v2_playbook_on_stats(None)
    assert callback._display.lines == []


@pytest.mark.parametrize(("check", "action"), [(True, "would apply"), (False, "applied")])
def test_check_mode_predicts(callback: CallbackModule, check: bool, action: str) -> None:  # noqa: FBT001
    callback.v2_runner_on_ok(outcome(check=check, patches=[PATCH]))
    callback.v2_playbook_on_stats(None)
    text, color = callback._display.lines[2]
    reason = "found pending" if check else "found: found pending"
    assert text.split() == ["gpu-1", "-", "a_patch", "pending", *action.split(), *reason.split()]
    assert color == constants.COLOR_CHANGED
    assert callback._display.lines[3][0] == ("1 pending (would apply)" if check else "1 applied (was pending)")


@pytest.mark.parametrize("module", ["site_patch_info", "import_check"])
def test_modules_that_only_look_predict(callback: CallbackModule, module: str) -> None:
    callback.v2_runner_on_ok(outcome(f"primus.patches.{module}", patches=[PATCH]))
    callback.v2_playbook_on_stats(None)
    assert "would apply" in callback._display.lines[2][0]


def test_failed_and_unreachable_nodes_are_shown_in_ansibles_colours(callback: CallbackModule) -> None:
    callback.v2_runner_on_failed(outcome(msg="boom"), ignore_errors=False)
    callback.v2_runner_on_unreachable(outcome(msg="no route"))
    callback.v2_playbook_on_stats(None)
    assert [color for _text, color in callback._display.lines[2:4]] == [
        constants.COLOR_ERROR,
        constants.COLOR_UNREACHABLE,
    ]


def test_items_of_a_loop_are_told_once_by_their_own_events(callback: CallbackModule) -> None:
    callback.v2_runner_item_on_ok(outcome(patches=[PATCH]))
    callback.v2_runner_item_on_failed(outcome(msg="boom", item="/opt/a"))
    callback.v2_runner_item_on_failed(outcome(msg="no route", item="/opt/b", unreachable=True))
    callback.v2_runner_on_failed(outcome(results=[{"patches": [PATCH]}, {"msg": "boom"}, {"msg": "no route"}]))
    callback.v2_playbook_on_stats(None)
    assert callback._display.lines[-1][0] == "1 applied (was pending), 1 failed, 1 unreachable"


def test_a_second_playbook_of_one_command_starts_afresh(callback: CallbackModule) -> None:
    callback.v2_runner_on_ok(outcome(patches=[PATCH]))
    callback.v2_playbook_on_stats(None)
    before = len(callback._display.lines)
    callback.v2_playbook_on_stats(None)
    assert len(callback._display.lines) == before


def test_without_v_there_is_a_line_for_a_state_and_not_for_each_node(callback: CallbackModule) -> None:
    callback._display.verbosity = 0
    for _number in range(64):
        callback.v2_runner_on_ok(outcome(check=True, patches=[PATCH]))
    callback.v2_runner_on_failed(outcome(msg="boom", item="/opt/b"))
    callback.v2_playbook_on_stats(None)
    assert [text for text, _color in callback._display.lines[1:]] == [
        "FOUND    ACTION       NODES",
        "pending  would apply      1  gpu-1",
        "failed   -                1  gpu-1",
        "gpu-1: /opt/b: failed: boom",
    ]
    assert callback._display.lines[-1][1] == constants.COLOR_ERROR


@pytest.mark.parametrize(
    ("name", "enabled", "disabled"),
    [
        ("fleet_summary", [], False),
        ("fleet_summary", ["primus.patches.fleet_summary"], True),
        ("primus.patches.fleet_summary", ["primus.patches.fleet_summary"], False),
    ],
)
def test_of_two_copies_only_the_enabled_one_prints(
    monkeypatch: pytest.MonkeyPatch, name: str, enabled: list[str], *, disabled: bool
) -> None:
    monkeypatch.setattr(constants, "CALLBACKS_ENABLED", enabled)
    monkeypatch.setattr(CallbackModule, "ansible_name", name)
    assert CallbackModule().disabled is disabled
