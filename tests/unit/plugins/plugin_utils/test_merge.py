# Several reports as one: the newest word on a node stands, whatever the order, and a merged report can be merged again.
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _merge, _metrics, _page, _report
from ansible_collections.primus.patches.tests.lab.observations import looked, lost, patch, report_of
from ansible_collections.primus.patches.tests.lab.schema import VALIDATOR
from hypothesis import given
from hypothesis import strategies as st

NOW = "2026-11-25T12:00:00+00:00"


def made(hour: int, *observations: Any, nodes: tuple[str, ...] = (), **more: Any) -> Any:
    """Return the report that was made at that hour of the day, 0 to 11."""
    return {**report_of(observations, nodes, **more), "generated": f"2026-11-25T{hour:02d}:00:00+00:00"}


def merged(*reports: Any, unused: dict[str, str] | None = None) -> Any:
    found = _merge.merged({f"{number}.json": each for number, each in enumerate(reports)}, unused or {}, NOW)
    VALIDATOR.validate(json.loads(_report.text(found)))
    return found


def words(report: Any) -> dict[str, tuple[str, str]]:
    return {node["name"]: (node["status"], _merge.age(report, node)) for node in report["nodes"]}


def test_the_newest_word_on_a_node_stands_and_its_age_is_told() -> None:
    older = made(2, looked("gpu1", patch("conflict")), looked("gpu2", patch("pending")))
    newer = made(9, looked("gpu2", patch()), looked("gpu10", patch()))
    found = merged(older, newer)
    assert words(found) == {"gpu1": ("drifted", "10 h old"), "gpu2": ("ok", "3 h old"), "gpu10": ("ok", "3 h old")}
    assert found["summary"]["nodes"] == {"ok": 2, "drifted": 1, "failed": 0, "unreachable": 0, "skipped": 0}
    assert [(entry["kind"], entry["nodes"]) for entry in found["todo"]] == [("conflict", ["gpu1"])]
    assert (found["generated"], found["title"]) == (NOW, older["title"])
    assert _merge.lines(found) == [
        f"Merged from 2 reports, made {older['generated']} to {newer['generated']}.",
        "The oldest word is 10 h old: gpu1.",
    ]


def test_a_node_that_a_playbook_did_not_get_to_keeps_what_it_told_before() -> None:
    assert words(merged(made(2, looked("gpu1", patch())), made(9, nodes=("gpu1",)))) == {"gpu1": ("ok", "10 h old")}
    assert words(merged(made(2, nodes=("gpu1",)))) == {"gpu1": ("skipped", "10 h old")}


def test_that_a_node_cannot_be_reached_any_more_is_a_word() -> None:
    assert words(merged(made(2, looked("gpu1", patch())), made(9, lost("gpu1")))) == {
        "gpu1": ("unreachable", "3 h old")
    }


def test_of_two_words_of_one_moment_the_one_with_more_detail_stands() -> None:
    full, bare = made(2, looked("gpu1", patch())), made(2, looked("gpu1", patch(files=[], message=None)))
    for reports in ((full, bare), (bare, full)):
        (node,) = merged(*reports)["nodes"]
        assert node["environments"][0]["patches"][0]["files"]


def test_what_counts_as_wrong_is_what_counted_anywhere() -> None:
    found = merged(made(2, looked("gpu1", patch()), wrong=("pending",)), made(3, wrong=("conflict", "undeclared")))
    assert found["fail_states"] == ["pending", "conflict", "undeclared"]


def test_a_report_that_could_not_be_used_is_named_on_the_page() -> None:
    found = merged(made(2, looked("gpu1", patch())), unused={"gpu7.json": "No such file <b>"})
    assert "Not used: gpu7.json: No such file &lt;b&gt;" in _page.html(found)
    assert found["merged"][-1] == {"report": "gpu7.json", "generated": None, "nodes": 0, "problem": "No such file <b>"}


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_names_that_each_machine_has_for_itself_are_refused(name: str) -> None:
    one = made(2, looked(name, patch()))
    assert words(merged(one)) == {name: ("ok", "10 h old")}
    with pytest.raises(
        _merge.CannotMerge, match=f"found {name} in 2 reports \\(0.json, 1.json\\): give each node its own"
    ):
        merged(one, made(3, looked(name, patch("conflict"))))


def test_nothing_to_merge_is_said() -> None:
    with pytest.raises(_merge.CannotMerge, match="expected a report"):
        merged()


def test_metrics_tell_when_each_word_is_from_and_not_when_the_reports_were_merged() -> None:
    text = _metrics.text(merged(made(2, looked("gpu1", patch())), made(9, lost("gpu2"), nodes=("gpu3",))))
    lines = [line for line in text.splitlines() if line.startswith("primus_patches_node_timestamp_seconds{")]
    assert lines == [
        'primus_patches_node_timestamp_seconds{node="gpu1"} 1795572000',
        'primus_patches_node_timestamp_seconds{node="gpu2"} 1795597200',
    ]


STATES = st.sampled_from(["applied", "pending", "conflict", "native", "lost", "skipped"])
FLEETS = st.lists(
    st.tuples(st.integers(0, 11), st.dictionaries(st.sampled_from([f"gpu{n}" for n in range(5)]), STATES, max_size=5)),
    min_size=1,
    max_size=4,
)


def fleet(hour: int, states: dict[str, str]) -> Any:
    told = [
        lost(node) if state == "lost" else looked(node, patch(state))
        for node, state in states.items()
        if state != "skipped"
    ]
    return made(hour, *told, nodes=tuple(states))


@given(FLEETS, st.randoms(use_true_random=False), st.integers(0, 4))
def test_neither_the_order_nor_merging_step_by_step_changes_anything(found: Any, chance: Any, cut: int) -> None:
    reports = {f"{number}.json": fleet(*each) for number, each in enumerate(found)}
    whole = _merge.merged(reports, {}, NOW)
    names = list(reports)
    chance.shuffle(names)
    assert _merge.merged({name: reports[name] for name in names}, {}, NOW) == whole
    first, second = ({name: reports[name] for name in part} for part in (names[:cut], names[cut:]))
    steps = {f"m{place}": _merge.merged(part, {}, NOW) for place, part in enumerate((first, second)) if part}
    assert _merge.merged(steps, {}, NOW) == whole


@given(FLEETS)
def test_every_node_is_there_once_with_its_newest_word(found: Any) -> None:
    told = _merge.merged({f"{number}.json": fleet(*each) for number, each in enumerate(found)}, {}, NOW)
    assert {node["name"] for node in told["nodes"]} == {name for _hour, states in found for name in states}
    for node in told["nodes"]:
        hours = [hour for hour, states in found if states.get(node["name"], "skipped") != "skipped"]
        assert (node["status"] == "skipped") == (not hours)
        if hours:
            assert _merge.moment(node["generated"]).hour == max(hours)
