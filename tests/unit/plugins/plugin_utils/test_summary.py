# The records and lines of the summary: what each kind of result becomes, and that no text can break a line.
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils._shown import fold, printable, shorten, width
from ansible_collections.primus.patches.plugins.plugin_utils._summary import (
    FAIL_STATES,
    brief,
    counts,
    hint,
    merge,
    problems,
    records,
    table,
)
from ansible_collections.primus.patches.tests.lab.observations import edit, held
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

ENVIRONMENT = {"python": "/opt/venv/bin/python", "python_version": "3.11.7", "prefix": "/opt/venv", "path": None}


def patch(state: str = "pending", action: str = "apply", name: str = "a_patch") -> dict[str, Any]:
    return {"name": name, "state": state, "action": action, "message": f"{name} was found {state}"}


def imported(*, ok: bool = True, proof: str = "none", name: str = "megatron.bridge") -> dict[str, Any]:
    return {"name": name, "ok": ok, "proof": proof, "error": None if ok else "No module named 'x'"}


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


@pytest.mark.parametrize(("proof", "word"), [("before", "proven"), ("after", "proven"), ("none", "work")])
def test_imports_that_succeeded_are_told_with_the_patch(proof: str, word: str) -> None:
    ((*_others, reason),) = told(result(patch(), imports=[imported(proof=proof)]))
    assert reason == f"a_patch was found pending; imports {word}"


def test_an_import_that_fails_is_told_with_whose_failure_it_is() -> None:
    theirs = {**imported(ok=False), "blame": "environment", "error": "fails without the patch as well: IndexError"}
    ours = {**imported(ok=False), "blame": "patch"}
    accepted = "a_patch was found pending; import megatron.bridge: fails without the patch as well: IndexError"
    assert [line[3:] for line in told(result(patch(), imports=[theirs]))] == [("apply", accepted)]
    refused = result(patch(), imports=[theirs], failed=True, msg=f"import failed: x ({theirs['error']})")
    assert [line[3:] for line in told(refused)] == [("failed", accepted)]
    later = "a_patch was found pending; the module's message"
    assert [line[3:] for line in told(result(patch(), imports=[theirs], failed=True))] == [("failed", later)]
    reason = "import megatron.bridge: No module named 'x'; without the patch it can be imported"
    found = told(result(patch(), imports=[ours], failed=True))
    assert [line[3:] for line in found] == [("failed", "a_patch was found pending; " + reason)]


def test_each_item_of_a_loop_is_told_and_skipped_items_are_not() -> None:
    looped = {"results": [result(patch()), {"skipped": True}, result(patch("native", "none", "b"))]}
    assert [line[2] for line in told(looped)] == ["pending", "native"]


def test_a_failed_task_claims_no_action() -> None:
    found = told(result(patch("unsupported", "none"), patch("pending", "apply", "b"), imports=[], failed=True))
    assert [(name, action, reason) for _environment, name, _state, action, reason in found] == [
        ("a_patch", "failed", "a_patch was found unsupported"),
        ("b", "failed", "the module's message"),
    ]


def test_a_file_that_was_to_be_given_back_is_not_what_a_task_failed_for() -> None:
    found = told(result(patch("missing", "none"), patch("conflict", "restore", "b"), imports=[], failed=True))
    assert [line[-2:] for line in found] == [
        ("failed", "a_patch was found missing"),
        ("failed", "the module's message"),
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


@pytest.mark.parametrize(
    ("state", "ok", "wrong", "action", "reason"),
    [
        ("pending", True, True, "drifted", "a_patch was found pending; imports work"),
        ("unsupported", True, True, "drifted", "a_patch was found unsupported; imports work"),
        ("native", False, True, "drifted", "a_patch was found native; import megatron.bridge: No module named 'x'"),
        ("applied", True, False, "none", "a_patch was found applied; imports work"),
        ("pending", True, False, "none", "a_patch was found pending; imports work"),
        (
            "applied",
            True,
            True,
            "drifted",
            "a_patch was found applied; imports work; the playbook's own condition on this node says so",
        ),
    ],
)
def test_an_audit_says_drifted_and_why_of_whatever_it_objects_to(
    state: str,
    ok: bool,  # noqa: FBT001
    wrong: bool,  # noqa: FBT001
    action: str,
    reason: str,
) -> None:
    found = {**patch(state, "apply" if state == "pending" else "none"), "copy_id": None}
    judged = result(found, imports=[imported(ok=ok)], failed=wrong, failed_when_result=wrong)
    assert [line[2:] for line in told(judged, predicted=True)] == [(state, action, reason)]


def test_an_audit_objects_to_no_patch_but_the_wrong_one() -> None:
    patches = [{**patch(state, "none", state), "copy_id": None} for state in ("applied", "pending", "conflict")]
    judged = result(*patches, failed=True, failed_when_result=True)
    lines = records("gpu-1", judged, predicted=True, fail_states=["applied", "conflict"])
    assert [line["action"] for line in lines] == ["drifted", "none", "drifted"]


def test_undeclared_edits_have_a_line_of_their_own_whatever_becomes_of_the_patches() -> None:
    edited = held(edit("a.py"), edit("b.py", "missing"), edit("c.py", "added"), edit("d.py", "added"))
    good = {**patch("applied", "none"), "copy_id": None}
    reason = "4 undeclared edits of transformers 4.57.6: a.py changed, b.py missing, c.py added (+1)"
    found = told(result(good, imports=[imported()], integrity=[edited]), predicted=True)
    assert [line[1:] for line in found] == [
        ("a_patch", "applied", "none", "a_patch was found applied; imports work"),
        ("", "undeclared", "none", reason),
    ]
    lines = records("gpu-1", result(good, integrity=[edited]), predicted=True)
    assert [text for text, _record in brief(lines)][-1] == f"gpu-1: /opt/venv/bin/python: undeclared: {reason}"
    wrong = ["pending", "undeclared"]
    assert problems(result(good, integrity=[edited]), wrong) == [reason]
    assert problems(result(good, integrity=[edited]), FAIL_STATES) == []
    judged = result(good, integrity=[edited], failed=True, failed_when_result=True)
    lines = records("gpu-1", judged, predicted=True, fail_states=wrong)
    assert [(line["state"], line["action"]) for line in lines] == [("applied", "none"), ("undeclared", "drifted")]


def test_only_where_no_patch_is_applied_an_audit_says_how_to_audit_for_absence() -> None:
    def audited(*states: str, fail_states: Sequence[str] = FAIL_STATES) -> str:
        wrong = any(state in fail_states for state in states)
        results = [
            result({**patch(state, "none"), "copy_id": None}, failed_when_result=wrong and state in fail_states)
            for state in states
        ]
        found = [
            record
            for number, each in enumerate(results)
            for record in records(f"n{number}", each, predicted=True, fail_states=fail_states)
        ]
        return hint(merge(found))

    assert "-e megatron_bridge_state=absent" in audited("pending", "native", "unsupported", "missing")
    assert audited("pending", "applied") == audited("pending", "conflict") == audited("native") == ""
    assert audited("unsupported", "missing") == ""
    assert audited("pending", fail_states=["applied"]) == ""
    assert hint(merge(records("n1", result(patch()), predicted=True))) == ""


@pytest.mark.parametrize(
    ("state", "action", "after", "count"),
    [
        ("pending", "apply", "applied", "1 applied (was pending)"),
        ("outdated", "migrate", "migrated", "1 migrated (was outdated)"),
        ("applied", "revert", "reverted", "1 reverted (was applied)"),
        ("unneeded", "revert", "reverted", "1 reverted (was unneeded)"),
        ("conflict", "restore", "restored", "1 restored (was conflict)"),
    ],
)
def test_what_was_done_is_told_as_done(state: str, action: str, after: str, count: str) -> None:
    lines = records("gpu-1", result(patch(state, action)), predicted=False)
    (_heading, row) = table(lines)
    assert row.split() == [
        *("gpu-1", "/opt/venv/bin/python", "a_patch", state, after),
        *f"found: a_patch was found {state}".split(),
    ]
    assert [text for text, _record in brief(lines)][1].split() == [state, after, "1", "gpu-1"]
    assert counts(lines) == count


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
    assert problems(result(patch("applied", "none")), wanted) == []
    assert problems(result(patch("native", "none"), imports=[imported()]), wanted) == []
    assert problems(result(patch("unneeded", "none")), wanted) == []
    assert problems(result(patch("unneeded", "revert")), wanted) == ["a_patch is unneeded, and still there"]
    assert problems(result(patch()), wanted) == ["a_patch is pending"]
    assert problems(result(patch()), "conflict,pending") == ["a_patch is pending"]
    assert problems(result(patch()), "conflict") == []
    broken = ["import megatron.bridge: No module named 'x'"]
    assert problems(result(patch("applied", "none"), imports=[imported(ok=False)]), wanted) == broken
    assert problems({"failed": True, "msg": "no Python", "patches": []}, wanted) == ["no Python"]
    assert problems({"unreachable": True, "msg": "no route"}, wanted) == ["no route"]
    # Ansible asks once more, for the label, when failed_when has set "failed" itself.
    judged = result({**patch(), "copy_id": None}, failed=True, failed_when_result=True)
    assert problems(judged, wanted) == ["a_patch is pending"]


SEVERAL = {
    "environments": [
        result(patch("applied", "none")),
        result(patch(), environment={"python": "/opt/b/bin/python", "path": None}),
        {
            "environment": {"python": "/opt/c/bin/python", "path": None},
            "failed": True,
            "msg": "no Python",
            "patches": [],
        },
    ],
    "patches": [],
}


CHANGED = {
    "environments": [
        result(patch()),
        result(
            patch("unsupported", "none"),
            environment={"python": "/opt/b/bin/python", "path": None},
            failed=True,
            msg="x",
        ),
    ],
    "patches": [patch(), patch("unsupported", "none")],
}


@pytest.mark.parametrize("judged", [{}, {"failed": True, "failed_when_result": True}])
def test_several_environments_of_one_call_are_told_and_judged_one_by_one(judged: dict[str, Any]) -> None:
    found = {**SEVERAL, **judged}
    assert [line[:3] for line in told(found)] == [
        ("/opt/venv/bin/python", "a_patch", "applied"),
        ("/opt/b/bin/python", "a_patch", "pending"),
        ("/opt/c/bin/python", "", "failed"),
    ]
    assert problems(found, ["pending"]) == ["/opt/b/bin/python: a_patch is pending", "/opt/c/bin/python: no Python"]
    assert told({"environments": [], "patches": []}) == []


def test_a_change_in_several_environments_is_told_one_by_one_whatever_the_task_thought_of_it() -> None:
    """It alone tells no copies: an audit's verdict is not for it."""
    for judged in ({}, {"failed_when_result": False}):
        found = records("node", {**CHANGED, **judged}, predicted=False)
        assert [(line["environment"], line["state"], line["action"]) for line in found] == [
            ("/opt/venv/bin/python", "pending", "apply"),
            ("/opt/b/bin/python", "unsupported", "failed"),
        ]


def test_what_an_audit_was_told_to_pass_over_is_no_drift() -> None:
    passed = {**patch("missing", "skip"), "copy_id": None}
    for wrong, action in ((False, "skip"), (True, "drifted")):
        (line,) = records("node", result(passed, failed_when_result=wrong), predicted=True)
        assert line["action"] == action


def test_lines_are_aligned_also_with_wide_characters() -> None:
    found = [*records("gpu-1", result(patch()), predicted=True), *records("節點", result(patch()), predicted=True)]
    heading, *rows = table(found)
    starts = {width(row[: row.index("/opt")]) for row in rows}
    assert starts == {heading.index("ENVIRONMENT")}
    assert all("would apply" in row for row in rows)


def fleet() -> list[Any]:
    found = [line for number in range(1, 65) for line in records(f"gpu{number:03d}", result(patch()), predicted=True)]
    for name in ("gpu7", "gpu9"):
        found += records(name, {"unreachable": True, "msg": "no route"}, predicted=True)
    return merge([*found, *records("web", result(patch("conflict", "none"), failed=True), predicted=False)])


def test_a_fleet_is_told_in_a_line_for_each_state_and_one_for_each_trouble() -> None:
    assert [text for text, _record in brief(fleet())] == [
        "FOUND        ACTION       NODES",
        "pending      would apply     64  gpu[001-064]",
        "unreachable  none             2  gpu[7,9]",
        "conflict     failed           1  web",
        "gpu[7,9]: unreachable: no route",
        "web: /opt/venv/bin/python: a_patch: conflict: a_patch was found conflict",
    ]


def test_lists_of_nodes_are_cut_to_a_terminal_and_troubles_are_not() -> None:
    many = [line for number in range(1, 200, 2) for line in records(f"n{number}", result(patch()), predicted=True)]
    lost = records("no", {"unreachable": True, "msg": "x" * 500}, predicted=False)
    _heading, fine, _lost, trouble = [text for text, _record in brief([*many, *lost], columns=79)]
    assert width(fine) <= 79
    assert fine.endswith("...")
    assert trouble.endswith("x" * 500)


def test_a_wall_of_troubles_is_cut() -> None:
    lost = [
        line for each in range(30) for line in records(f"n{each}", {"failed": True, "msg": f"{each}"}, predicted=True)
    ]
    told = [text for text, _record in brief(lost)]
    assert len(told) == 1 + 1 + 20 + 1
    assert told[-1] == "... and 10 more, which -v shows"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (["gpu-1"], "gpu-1"),
        (["gpu3", "gpu1", "gpu2", "gpu2"], "gpu[1-3]"),
        ([f"gpu{number:02d}" for number in (8, 9, 10, 12)], "gpu[08-10,12]"),
        (["n9", "n10", "n11"], "n[9-11]"),
        (["n09", "n10", "n100"], "n100,n[09-10]"),
        (["n0", "n1"], "n[0-1]"),
        (["rack1-gpu2.local", "rack1-gpu3.local", "web"], "rack1-gpu[2-3].local,web"),
        (["a\nb1", "a\nb2"], "a b[1-2]"),
        ([], ""),
    ],
)
def test_nodes_are_folded_as_cluster_tools_do(nodes: list[str], expected: str) -> None:
    assert fold(nodes) == expected


@given(st.sets(st.from_regex(r"[a-c]?(0|[1-9][0-9]?|0[0-9]{1,2})(\.x)?", fullmatch=True), max_size=30))
def test_folded_nodes_can_be_unfolded(nodes: set[str]) -> None:
    found = set()
    for part in re.findall(r"[^,\[]*(?:\[[^\]]*\])?[^,\[]*", fold(nodes)):
        match = re.fullmatch(r"([^\[]*)\[([^\]]*)\](.*)", part)
        if not match:
            found.add(part)
            continue
        for span in match[2].split(","):
            first, _dash, last = span.partition("-")
            numbers = range(int(first), int(last or first) + 1)
            found.update(f"{match[1]}{number:0{len(first) if first[0] == '0' else 0}d}{match[3]}" for number in numbers)
    padded = {name for name in found - nodes - {""} if name}
    assert nodes <= found | padded
    assert len(found - {""}) == len(nodes)


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
        ("two \n\n lines\r\n\tand a tab\n", "two lines and a tab"),
        ("expected '    a  = 1', found ' a = 1'", "expected '    a  = 1', found ' a = 1'"),
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
