# The report as data: what becomes of each kind of answer, what is to be done, and that order does not matter.
from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _report
from ansible_collections.primus.patches.plugins.plugin_utils._report import FAIL_STATES, STATES
from ansible_collections.primus.patches.tests.lab.observations import (
    PYTHON,
    Observation,
    edit,
    file,
    held,
    imported,
    looked,
    lost,
    many,
    patch,
    process,
    report,
    report_of,
    result,
)
from ansible_collections.primus.patches.tests.lab.schema import SCHEMA, VALIDATOR
from hypothesis import given, settings
from hypothesis import strategies as st


def build(*observations: Observation, nodes: tuple[str, ...] = (), wrong: tuple[str, ...] = FAIL_STATES) -> Any:
    report = report_of(observations, nodes, wrong)
    VALIDATOR.validate(json.loads(_report.text(report)))
    return report


def status(*observations: Observation, **more: Any) -> dict[str, str]:
    return {node["name"]: node["status"] for node in build(*observations, **more)["nodes"]}


def todo(*observations: Observation, **more: Any) -> list[tuple[str, str, list[str]]]:
    return [(entry["kind"], entry["reason"], entry["nodes"]) for entry in build(*observations, **more)["todo"]]


def changed(node: str, *patches: dict[str, Any], failed: bool = False, check: bool = False, **more: Any) -> Observation:
    """Return what site_patch tells of a node."""
    bare = [{key: value for key, value in each.items() if key not in _report._DETAILS} for each in patches]
    told = {key: value for key, value in result(*bare, **more).items() if key != "processes"}
    return Observation(node, told, "failed" if failed else "ok", check, audited=False)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_refuses_what_is_no_report() -> None:
    good = build(looked("gpu1", patch()))
    for bad in ({**good, "version": 1}, {**good, "more": 1}, {key: good[key] for key in good if key != "nodes"}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(bad)
    good["nodes"][0]["environments"][0]["patches"][0]["state"] = "fine"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(good)


@pytest.mark.parametrize("state", STATES)
def test_an_audited_node_is_ok_or_has_drifted_by_the_states_that_count(state: str) -> None:
    expected = "drifted" if state in FAIL_STATES else "ok"
    assert status(looked("gpu1", patch(state))) == {"gpu1": expected}
    assert status(looked("gpu1", patch(state)), wrong=()) == {"gpu1": "ok"}
    assert status(looked("gpu1", patch(state)), wrong=(state,)) == {"gpu1": "drifted"}


def test_nodes_that_told_nothing_or_could_not_be_reached_are_in_it_as_what_they_are() -> None:
    assert build()["nodes"] == []
    found = build(looked("gpu1", patch()), lost("gpu2"), nodes=("gpu1", "gpu2", "gpu3"))
    assert [(node["name"], node["status"]) for node in found["nodes"]] == [
        ("gpu1", "ok"),
        ("gpu2", "unreachable"),
        ("gpu3", "skipped"),
    ]
    assert "No route to host" in found["nodes"][1]["message"]
    assert found["summary"]["nodes"] == {"ok": 1, "drifted": 0, "failed": 0, "unreachable": 1, "skipped": 1}


def test_an_environment_that_cannot_be_looked_at_is_failed_also_among_others() -> None:
    broken = {"failed": True, "msg": "python /opt/b/bin/python: expected a Python", "patches": []}
    alone = Observation("gpu1", {**broken, "item": "/opt/b"}, "failed", predicted=True)
    assert status(alone) == {"gpu1": "failed"}
    several = {"environments": [result(patch()), {**broken, "environment": {"python": "/opt/b", "path": None}}]}
    found = build(Observation("gpu1", {**several, "patches": [], "failed": True}, "failed", predicted=True))
    assert found["nodes"][0]["status"] == "failed"
    assert [each["status"] for each in found["nodes"][0]["environments"]] == ["failed", "ok"]
    assert todo(alone) == [("failed", "python /opt/b/bin/python: expected a Python", ["gpu1"])]


def test_what_a_run_was_content_with_is_ok_and_what_it_refused_is_failed() -> None:
    assert status(changed("gpu1", patch("pending"))) == {"gpu1": "ok"}
    assert todo(changed("gpu1", patch("pending"))) == []
    assert status(changed("gpu1", patch("unsupported", action="skip"))) == {"gpu1": "ok"}
    refused = changed("gpu1", patch("unsupported"), failed=True, msg="transformers_modeling_utils: unsupported: x")
    assert status(refused) == {"gpu1": "failed"}
    assert [kind for kind, _reason, _nodes in todo(refused)] == ["unsupported"]
    broken = changed("gpu1", patch("pending"), failed=True, imports=[imported(error="ImportError: x")], msg="m")
    assert todo(broken) == [("import", "import megatron.bridge: ImportError: x", ["gpu1"])]
    given_back = patch("conflict", action="restore", name="b")
    other = changed("gpu1", patch("missing"), given_back, failed=True, msg="m")
    assert [kind for kind, _reason, _nodes in todo(other)] == ["missing"]
    foreseen = changed("gpu1", patch("pending"), check=True)
    assert [kind for kind, *_rest in todo(foreseen)] == ["pending"]
    assert status(foreseen) == {"gpu1": "drifted"}


def test_states_are_counted_as_they_are_when_the_run_was_through() -> None:
    def states(*observations: Observation) -> dict[str, int]:
        return {state: count for state, count in build(*observations)["summary"]["states"].items() if count}

    assert states(changed("gpu1", patch("pending"))) == {"applied": 1}
    assert states(changed("gpu1", patch("applied", action="revert"))) == {"pending": 1}
    assert states(changed("gpu1", patch("conflict", action="restore"))) == {"pending": 1}
    for state in ("unneeded", "unsupported", "missing"):
        assert states(changed("gpu1", patch(state, action="revert"))) == {state: 1}
    assert states(changed("gpu1", patch("pending"), check=True)) == {"pending": 1}
    assert states(changed("gpu1", patch("pending"), failed=True)) == {"pending": 1}
    assert states(looked("gpu1", patch("pending"))) == {"pending": 1}


LOOK = {"environment": {"python": PYTHON}, "patches": [], "failed_when_result": True, "msg": "no room"}
TAKEN = {"patches": [patch()], "imports": [], "failed": True, "msg": "n1, which stands for this copy: import failed"}
WRONG, RIGHT = ("gpu1", "drifted"), ("gpu1", "ok")
CHECK = Observation("gpu1", result(imports=[imported()]), "ok", predicted=True, audited=False)
JUDGED = {
    (state, verdict): Observation("gpu1", result(patch(state), failed_when_result=verdict == "failed"), verdict, True)
    for state in ("pending", "applied")
    for verdict in ("ok", "failed")
}
STATUSES: dict[str, tuple[list[Observation], tuple[str, str]]] = {
    "lost, and answers later": ([lost("gpu1"), looked("gpu1", patch())], RIGHT),
    "answers, and is lost": ([looked("gpu1", patch()), lost("gpu1")], ("gpu1", "unreachable")),
    "the look failed": ([Observation("gpu1", LOOK, "failed", True)], ("gpu1", "failed")),
    "another copy's failure": ([Observation("gpu1", TAKEN, "failed", False, audited=False)], ("gpu1", "failed")),
    "the playbook is content with pending": ([JUDGED["pending", "ok"]], RIGHT),
    "the playbook is content with applied": ([JUDGED["applied", "ok"]], RIGHT),
    "the playbook objects to pending": ([JUDGED["pending", "failed"]], WRONG),
    "the playbook objects to applied": ([JUDGED["applied", "failed"]], WRONG),
    "imports that work": ([CHECK], RIGHT),
    "imports that work do not make up for a patch": ([looked("gpu1", patch("pending")), CHECK], WRONG),
    "an answer that is none": (
        [Observation("gpu1", {"patches": [{}], "environment": {}}, "ok", True), looked("gpu2", patch())],
        ("gpu1", "failed"),
    ),
}


@pytest.mark.parametrize(("observations", "expected"), STATUSES.values(), ids=STATUSES)
def test_a_node_is_what_its_answers_say(observations: list[Observation], expected: tuple[str, str]) -> None:
    others = {each.node: "ok" for each in observations}
    assert status(*observations) == {**others, expected[0]: expected[1]}


def test_several_interpreters_on_one_directory_are_told_apart() -> None:
    several = [
        result(patch(state), environment={"python": python, "path": "/srv/site"})
        for python, state in (("/a/python", "conflict"), ("/b/python", "applied"))
    ]
    found = Observation("gpu1", {"environments": several, "patches": []}, "ok", predicted=True)
    environments = build(found)["nodes"][0]["environments"]
    assert {each["python"]: each["status"] for each in environments} == {"/a/python": "drifted", "/b/python": "ok"}


def test_the_last_word_on_a_patch_stands() -> None:
    found = build(changed("gpu1", patch("pending")), looked("gpu1", patch("applied")))
    (environment,) = found["nodes"][0]["environments"]
    assert [(each["state"], each["predicted"]) for each in environment["patches"]] == [("applied", True)]
    two = build(looked("gpu1", patch(name="a")), looked("gpu1", patch(name="b"), imports=[imported()]))
    (environment,) = two["nodes"][0]["environments"]
    assert [each["name"] for each in environment["patches"]] == ["a", "b"]


def test_alike_nodes_share_an_entry_and_the_most_urgent_comes_first() -> None:
    slow = looked("gpu4", patch(), processes={"candidates": [process(7), process(9)], "unreadable": 0})
    found = todo(
        looked("gpu1", patch("pending")),
        looked("gpu2", patch("pending")),
        looked("gpu3", patch("conflict")),
        slow,
        lost("gpu5"),
        lost("gpu6"),
        nodes=("gpu7",),
    )
    kinds = [("unreachable", ["gpu5", "gpu6"]), ("conflict", ["gpu3"]), ("pending", ["gpu1", "gpu2"])]
    assert [(kind, nodes) for kind, _reason, nodes in found] == [
        *kinds,
        ("skipped", ["gpu7"]),
        ("processes", ["gpu4"]),
    ]
    assert found[-1][1] == f"2 of {PYTHON}"


def of(bytecode: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of two files, the second one with this bytecode."""
    return {"files": [file("a.py"), {**file("b.py"), "bytecode": [{"path": "b.pyc", **bytecode}]}]}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("stale_unchecked", of({"mode": "unchecked-hash", "fresh": False, "ours": False})),
        ("stale", of({"mode": "timestamp", "fresh": False, "ours": True})),
        ("foreign", {"files": [file("a.py", "foreign")]}),
        ("distributions", {"distributions": ["transformers 4.49.0", "transformers 4.57.6"]}),
        ("others", {"others": [{"path": "/home/u/transformers", "version": None, "where": "user site"}]}),
    ],
)
def test_what_is_worth_knowing_is_told_and_makes_no_node_drift(kind: str, more: dict[str, Any]) -> None:
    found = looked("gpu1", patch(**more))
    assert [each for each, *_rest in todo(found)] == [kind]
    assert status(found) == {"gpu1": "ok"}


def test_of_many_files_with_the_same_trouble_the_first_is_named() -> None:
    files = [file("a.py"), *(file(f"{name}.py", "foreign") for name in "bcd")]
    assert todo(looked("gpu1", patch(files=files))) == [("foreign", "b.py (+2 files)", ["gpu1"])]


def test_an_import_that_was_accepted_as_it_fails_without_the_patch_as_well_is_a_note() -> None:
    broken = {**imported(error="fails without the patch as well: IndexError"), "proof": "before"}
    theirs, ours = ({**broken, "blame": blame} for blame in ("environment", "patch"))
    accepted = changed("gpu1", patch("pending"), imports=[theirs])
    reason = "import megatron.bridge: fails without the patch as well: IndexError"
    assert status(accepted) == {"gpu1": "ok"}
    assert [(entry["kind"], entry["note"], entry["reason"]) for entry in build(accepted)["todo"]] == [
        ("accepted", True, reason)
    ]
    refused = changed("gpu1", patch("pending"), imports=[theirs], failed=True, msg="m")
    assert todo(refused) == [("import", reason, ["gpu1"])]
    assert [kind for kind, *_rest in todo(changed("gpu1", patch("pending"), imports=[ours]))] == ["import"]


def test_a_patch_that_is_to_go_is_not_asked_to_fit() -> None:
    def kinds(state: str) -> list[str]:
        return [kind for kind, *_rest in todo(changed("gpu1", patch(state, action="revert"), check=True))]

    assert [kinds(state) for state in ("unsupported", "missing", "applied")] == [["applied"]] * 3
    assert kinds("unneeded") == ["unneeded"]


def test_hard_links_count_for_what_is_patched_alone() -> None:
    linked = {"files": [file("a.py"), file("b.py", links=2)]}
    assert [kind for kind, *_rest in todo(looked("gpu1", patch(**linked)))] == ["links"]
    assert todo(looked("gpu1", patch("native", **linked))) == []


def test_copies_that_several_nodes_see_are_told_once() -> None:
    shared = patch(copy_id="nfs4 storage:/envs 0 7")
    found = build(looked("gpu1", shared), looked("gpu2", shared), looked("gpu3", patch(copy_id="boot 1 2")))
    (copy,) = found["shared_copies"]
    assert (copy["copy_id"], copy["nodes"]) == ("nfs4 storage:/envs 0 7", ["gpu1", "gpu2"])


@settings(max_examples=settings.default.max_examples // 4)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_the_order_in_which_nodes_answer_changes_nothing(chance: random.Random, count: int) -> None:
    observations, names = many(count)
    text = _report.text(report(count))
    chance.shuffle(observations)
    chance.shuffle(names)
    assert _report.text(report_of(observations, names)) == text


def test_names_alike_to_a_natural_order_are_in_a_fixed_one() -> None:
    orders = [status(looked(a, patch()), looked(b, patch())) for a, b in (("n1", "n01"), ("n01", "n1"))]
    assert [*orders[0]] == [*orders[1]]


def test_what_is_to_be_done_agrees_with_the_verdict_on_the_node() -> None:
    forgiven = Observation("gpu1", result(patch("pending"), failed_when_result=False), "ok", predicted=True)
    assert todo(forgiven, looked("gpu2", patch("pending"))) == [("pending", patch("pending")["message"], ["gpu2"])]
    assert build(looked("gpu1", patch("pending")), wrong=())["fail_states"] == []


def test_where_a_patch_shall_not_be_there_an_older_revision_is_reverted_and_not_migrated() -> None:
    absent = ("applied", "outdated", "conflict")
    entries = build(looked("gpu1", patch("outdated")), looked("gpu2", patch("pending")), wrong=absent)["todo"]
    assert [(entry["do"], entry["nodes"]) for entry in entries] == [
        ("Run revert_primus: the patch is still there.", ["gpu1"])
    ]


# --- undeclared edits

EDITED = (*FAIL_STATES, "undeclared")


def test_an_edited_file_is_one_entry_and_nodes_with_the_same_bytes_are_one_variant() -> None:
    answers = [
        looked(
            f"gpu{number}", patch(), integrity=[held(edit("a.py", content=content, time=time), edit("b.py", "missing"))]
        )
        for number, content, time in ((1, 1, 1795599167.5), (2, 2, 1.0), (10, 1, 1795599166.5))
    ]
    answers.append(looked("gpu3", patch(), integrity=[held()]))
    found = build(*answers)
    assert found["summary"]["undeclared"] == {"edits": 6, "files": 2, "nodes": 3}
    first, second = found["undeclared"]["files"]
    assert (first["path"], first["nodes"], first["distribution"], first["version"]) == (
        "a.py",
        3,
        "transformers",
        "4.57.6",
    )
    assert [(each["kind"], each["size"], each["nodes"]) for each in first["variants"]] == [
        ("changed", 1001, ["gpu1", "gpu10"]),
        ("changed", 1002, ["gpu2"]),
    ]
    assert (
        first["capture"] == "primus-patches.pyz capture --python /opt/venv/bin/python transformers > transformers.patch"
    )
    assert [each["nodes"] for each in second["variants"]] == [["gpu1", "gpu2", "gpu10"]]


@pytest.mark.parametrize("kind", ["declared", "untold"])
def test_what_a_patch_explains_or_nothing_can_tell_is_no_undeclared_edit(kind: str) -> None:
    found = build(looked("gpu1", patch(), integrity=[held(edit(kind=kind))]), wrong=EDITED)
    assert found["summary"]["undeclared"] == {"edits": 0, "files": 0, "nodes": 0}
    assert found["nodes"][0]["status"] == "ok"
    assert found["nodes"][0]["environments"][0]["integrity"][0]["counts"][kind] == 1


def test_an_undeclared_edit_is_shown_and_counts_as_wrong_only_when_told_so() -> None:
    answer = looked("gpu1", patch(), integrity=[held(edit("a.py"))])
    reason = "1 undeclared edit of transformers 4.57.6: a.py changed"
    assert status(answer) == {"gpu1": "ok"}
    assert todo(answer) == [("undeclared", "files of transformers 4.57.6 are not as they were installed", ["gpu1"])]
    assert build(answer)["todo"][0]["note"] is True
    assert status(answer, wrong=EDITED) == {"gpu1": "drifted"}
    found = build(answer, wrong=EDITED)
    assert found["fail_states"][-1] == "undeclared"
    assert found["nodes"][0]["environments"][0]["problems"] == [reason]
    assert found["todo"][0]["note"] is False


def test_where_not_all_can_be_told_that_is_said() -> None:
    why = "cannot be told: no RECORD says what was installed"
    answers = [looked(f"gpu{n}", patch(), integrity=[held(reason=why, complete=False, source=None)]) for n in (1, 2)]
    assert build(*answers)["undeclared"]["unknown"] == [
        {
            "distribution": "transformers",
            "version": "4.57.6",
            "reason": why,
            "nodes": ["gpu1", "gpu2"],
            "environments": [PYTHON],
        }
    ]


def test_a_set_up_takes_no_edits_away_that_an_audit_found() -> None:
    audit = looked("gpu1", patch(), integrity=[held(edit())])
    assert build(audit, changed("gpu1", patch()))["summary"]["undeclared"]["edits"] == 1
