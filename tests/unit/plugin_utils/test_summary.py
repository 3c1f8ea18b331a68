# The records and lines of the summary: what each kind of result becomes, and that no text can break a line.
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils._summary import (
    counts,
    merge,
    printable,
    problems,
    records,
    shorten,
    table,
    width,
)
from hypothesis import given
from hypothesis import strategies as st

ENVIRONMENT = {"python": "/opt/venv/bin/python", "python_version": "3.11.7", "prefix": "/opt/venv", "path": None}


def patch(state: str = "pending", action: str = "apply", name: str = "a_patch") -> dict[str, Any]:
    return {"name": name, "state": state, "action": action, "message": f"{name} was found {state}"}


def imported(*, ok: bool = True, proven: bool = False, name: str = "megatron.bridge") -> dict[str, Any]:
    return {"name": name, "ok": ok, "proven": proven, "error": None if ok else "No module named 'x'"}


def result(*patches: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"changed": False, "msg": "the module's message", "environment": ENVIRONMENT, "patches": [*patches], **more}


def told(*results: dict[str, Any], predicted: bool = False) -> list[tuple[str, str, str, str, str]]:
    lines = merge(line for each in results for line in records("gpu-1", each, predicted=predicted))
    return [(line["environment"], line["patch"], line["state"], line["action"], line["reason"]) for line in lines]


def test_each_patch_of_an_environment_gets_a_line() -> None:
    found = told(result(patch(), patch("native", "none", "other"), imports=[]))
    assert found == [
        ("/opt/venv/bin/python", "a_patch", "pending", "apply", "a_patch was found pending"),
        ("/opt/venv/bin/python", "other", "native", "none", "other was found native"),
    ]


def test_a_directory_names_the_environment_rather_than_the_interpreter() -> None:
    ((environment, *_others),) = told(result(patch(), environment={**ENVIRONMENT, "path": "/srv/checkout"}))
    assert environment == "/srv/checkout"


@pytest.mark.parametrize(("proven", "word"), [(True, "proven"), (False, "work")])
def test_imports_that_succeeded_are_told_with_the_patch(proven: bool, word: str) -> None:  # noqa: FBT001
    ((*_others, reason),) = told(result(patch(), imports=[imported(proven=proven)]))
    assert reason == f"a_patch was found pending; imports {word}"


def test_each_item_of_a_loop_is_told_and_skipped_items_are_not() -> None:
    looped = {"results": [result(patch()), {"skipped": True}, result(patch("native", "none", "b"))]}
    assert [line[2] for line in told(looped)] == ["pending", "native"]


def test_a_failed_task_claims_no_action() -> None:
    found = told(result(patch("unsupported", "none"), patch("pending", "apply", "b"), imports=[], failed=True))
    assert [(name, action, reason) for _environment, name, _state, action, reason in found] == [
        ("a_patch", "failed", "a_patch was found unsupported"),
        ("b", "failed", "the module's message"),
    ]


def test_a_failed_write_is_told_by_the_tasks_message() -> None:
    ((*_others, action, reason),) = told(result(patch(), imports=[], failed=True))
    assert (action, reason) == ("failed", "the module's message")


def test_an_import_that_failed_is_told_without_its_long_list_of_names() -> None:
    broken = imported(ok=False, name="transformers.modeling_utils:Conv1D,prune_layer")
    ((*_others, action, reason),) = told(result(patch(), imports=[broken], failed=True))
    assert action == "failed"
    assert reason == "a_patch was found pending; import transformers.modeling_utils: No module named 'x'"


def test_an_environment_whose_interpreter_does_not_run_is_told_by_the_item() -> None:
    failed = {"failed": True, "msg": "expected a Python", "patches": [], "env": "/opt/no", "ansible_loop_var": "env"}
    assert told({"results": [failed]}) == [("/opt/no", "", "failed", "failed", "expected a Python")]


def test_an_unreachable_node_is_told_as_such() -> None:
    assert told({"unreachable": True, "msg": "no route"}) == [("", "", "unreachable", "none", "no route")]


def test_a_callback_says_what_ansible_stripped_from_the_result() -> None:
    (line,) = records("gpu-1", {"msg": "boom"}, predicted=False, status="failed")
    assert (line["state"], line["reason"]) == ("failed", "boom")


def test_a_result_hidden_by_no_log_is_a_line_all_the_same() -> None:
    assert told({"censored": "hidden", "changed": True}) == [("", "", "hidden", "none", "hidden")]


def test_a_state_that_only_failed_when_objected_to_keeps_its_planned_action() -> None:
    ((*_others, state, action, _reason),) = told(result(patch(), failed=True, failed_when_result=True), predicted=True)
    assert (state, action) == ("pending", "apply")


@pytest.mark.parametrize("imports_first", [True, False])
def test_imports_tried_by_a_task_of_their_own_join_the_patches_of_that_environment(imports_first: bool) -> None:  # noqa: FBT001
    check, info = result(imports=[imported(ok=False)], failed=True), result(patch("applied", "none"))
    found = told(*((check, info) if imports_first else (info, check)))
    assert [line[1:] for line in found] == [
        ("a_patch", "applied", "failed", "a_patch was found applied; import megatron.bridge: No module named 'x'")
    ]


def test_imports_of_an_environment_without_patches_have_their_own_line() -> None:
    assert told(result(imports=[imported()])) == [("/opt/venv/bin/python", "", "imported", "none", "megatron.bridge")]


def test_the_last_task_has_the_word_and_nodes_come_in_natural_order() -> None:
    found = [
        *records("gpu-10", result(patch()), predicted=False),
        *records("gpu-2", result(patch()), predicted=False),
        *records("gpu-10", result(patch("applied", "none")), predicted=False),
    ]
    assert [(line["node"], line["state"]) for line in merge(found)] == [("gpu-2", "pending"), ("gpu-10", "applied")]


def test_an_audit_objects_to_states_imports_and_what_could_not_be_looked_at() -> None:
    wanted = ["pending", "conflict"]
    assert problems(result(patch("applied", "none")), {}, wanted) == []
    assert problems(result(patch("native", "none")), result(imports=[imported()]), wanted) == []
    assert problems(result(patch()), {}, wanted) == ["a_patch is pending"]
    assert problems(result(patch()), {}, "conflict,pending") == ["a_patch is pending"]
    assert problems(result(patch()), {}, "conflict") == []
    assert problems(result(patch("applied", "none")), result(imports=[imported(ok=False)]), wanted) == [
        "import megatron.bridge: No module named 'x'"
    ]
    assert problems({"failed": True, "msg": "no Python", "patches": []}, {}, wanted) == ["no Python"]
    assert problems(result(patch("applied", "none")), {"msg": "boom"}, wanted) == ["boom"]
    # Ansible asks once more, for the label, when failed_when has set "failed" itself.
    assert problems(result(patch(), failed=True, failed_when_result=True), {}, wanted) == ["a_patch is pending"]


def test_lines_are_aligned_also_with_wide_characters() -> None:
    found = [*records("gpu-1", result(patch()), predicted=True), *records("節點", result(patch()), predicted=True)]
    heading, *rows = table(found)
    starts = {width(row[: row.index("/opt")]) for row in rows}
    assert starts == {heading.index("ENVIRONMENT")}
    assert all("would apply" in row for row in rows)


def test_reasons_are_cut_to_a_terminal_but_for_failures() -> None:
    long = {**patch(), "message": "long " * 100}
    found = [
        *records("ok", result(long), predicted=False),
        *records("no", {"unreachable": True, "msg": "x" * 500}, predicted=False),
    ]
    _heading, fine, trouble = table(found, columns=120)
    assert width(fine) <= 120
    assert fine.endswith("...")
    assert trouble.endswith("x" * 500)
    assert all("..." not in row for row in table(found))


def test_the_count_tells_states_and_actions() -> None:
    found = [
        *(line for node in "abc" for line in records(node, result(patch()), predicted=True)),
        *records("d", {"unreachable": True, "msg": ""}, predicted=True),
        *records("e", {"failed": True, "msg": ""}, predicted=True),
    ]
    assert counts(found) == "3 pending (would apply), 1 unreachable, 1 failed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\nlines\r\n\tand a tab", "two lines and a tab"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft", "right\\u202eleft"),
        ("lone \ud800", "lone \\ud800"),
        ("größe 節點", "größe 節點"),
    ],
)
def test_text_cannot_break_a_line(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text())
def test_any_text_stays_on_one_line(text: str) -> None:
    assert len(printable(text).splitlines()) <= 1
    assert printable(text).isprintable()


@given(st.text(), st.integers(min_value=4, max_value=40))
def test_a_shortened_text_fits(text: str, columns: int) -> None:
    assert width(shorten(text, columns)) <= columns
