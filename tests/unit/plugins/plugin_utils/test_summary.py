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

ENVIRONMENT: dict[str, Any] = {
    "python": "/opt/venv/bin/python",
    "python_version": "3.11.7",
    "prefix": "/opt/venv",
    "path": None,
}


def patch(state: str = "pending", action: str = "apply", name: str = "a_patch") -> dict[str, Any]:
    return {"name": name, "state": state, "action": action, "message": f"{name} was found {state}"}


def imported(*, ok: bool = True, proof: str = "none", name: str = "megatron.bridge") -> dict[str, Any]:
    return {"name": name, "ok": ok, "proof": proof, "error": None if ok else "No module named 'x'"}


def result(*patches: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"changed": False, "msg": "the module's message", "environment": ENVIRONMENT, "patches": [*patches], **more}


def told(*results: dict[str, Any], predicted: bool = False) -> list[tuple[str, str, str, str, str]]:
    lines = merge(line for each in results for line in records("gpu-1", each, predicted=predicted))
    return [(line["environment"], line["patch"], line["state"], line["action"], line["reason"]) for line in lines]


# What fails without the patch as well is not the patch's doing: a task may have accepted it.
THEIRS = {**imported(ok=False), "blame": "environment", "error": "fails without it as well"}
OURS = {**imported(ok=False), "blame": "patch"}
LONG = imported(ok=False, name="transformers.modeling_utils:Conv1D,prune_layer")
NO_PYTHON = {"failed": True, "msg": "expected a Python", "patches": [], "env": "/opt/no", "ansible_loop_var": "env"}
B_NATIVE = patch("native", "none", "b")
FOUND, NATIVE = "~ a_patch pending apply a_patch was found pending", "~ b native none b was found native"
FAILED = "~ a_patch pending failed a_patch was found pending"
TOLD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "each patch": (result(patch(), B_NATIVE, imports=[]), [FOUND, NATIVE]),
    "a directory rather than the interpreter": (
        result(patch(), environment={**ENVIRONMENT, "path": "/srv/checkout"}),
        [FOUND.replace("~", "/srv/checkout")],
    ),
    "imports before": (result(patch(), imports=[imported(proof="before")]), [f"{FOUND}; imports proven"]),
    "imports after": (result(patch(), imports=[imported(proof="after")]), [f"{FOUND}; imports proven"]),
    "imports as the files are": (result(patch(), imports=[imported()]), [f"{FOUND}; imports work"]),
    "imports without patches": (result(imports=[imported()]), ["~ - imported none megatron.bridge"]),
    "an import that was accepted": (
        result(patch(), imports=[THEIRS]),
        [f"{FOUND}; import megatron.bridge: fails without it as well"],
    ),
    "an import that was refused": (
        result(patch(), imports=[THEIRS], failed=True, msg="import failed: x (fails without it as well)"),
        [f"{FAILED}; import megatron.bridge: fails without it as well"],
    ),
    "a later failure than the import's": (
        result(patch(), imports=[THEIRS], failed=True),
        [f"{FAILED}; the module's message"],
    ),
    "an import that the patch breaks": (
        result(patch(), imports=[OURS], failed=True),
        [f"{FAILED}; import megatron.bridge: No module named 'x'; without the patch it can be imported"],
    ),
    "an import without its long list of names": (
        result(patch(), imports=[LONG], failed=True),
        [f"{FAILED}; import transformers.modeling_utils: No module named 'x'"],
    ),
    "a failed write": (
        result(patch(), imports=[], failed=True),
        ["~ a_patch pending failed the module's message"],
    ),
    "a failed task claims no action": (
        result(patch("unsupported", "none"), patch("pending", "apply", "b"), imports=[], failed=True),
        ["~ a_patch unsupported failed a_patch was found unsupported", "~ b pending failed the module's message"],
    ),
    "what was to be given back is not what failed": (
        result(patch("missing", "none"), patch("conflict", "restore", "b"), imports=[], failed=True),
        ["~ a_patch missing failed a_patch was found missing", "~ b conflict failed the module's message"],
    ),
    "each item of a loop that was not skipped": (
        {"results": [result(patch()), {"skipped": True}, result(B_NATIVE)]},
        [FOUND, NATIVE],
    ),
    "the item whose interpreter does not run": (
        {"results": [NO_PYTHON]},
        ["/opt/no - failed failed expected a Python"],
    ),
    "an unreachable node": ({"unreachable": True, "msg": "no route"}, ["- - unreachable none no route"]),
    "hidden by no_log": ({"censored": "hidden", "changed": True}, ["- - hidden none hidden"]),
}


@pytest.mark.parametrize(("given", "lines"), TOLD.values(), ids=TOLD)
def test_each_result_becomes_lines_of_environment_patch_state_action_and_reason(
    given: dict[str, Any], lines: list[str]
) -> None:
    assert [" ".join(word or "-" for word in line).replace(ENVIRONMENT["python"], "~") for line in told(given)] == lines


def test_a_callback_says_what_ansible_stripped_from_the_result() -> None:
    (line,) = records("gpu-1", {"msg": "boom"}, predicted=False, status="failed")
    assert (line["state"], line["reason"]) == ("failed", "boom")


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
