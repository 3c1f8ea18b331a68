# Two reports held together: what is new, mended, gone or came, and what nobody can tell.
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _compare, _page, _report
from ansible_collections.primus.patches.tests.lab.observations import (
    Observation,
    edit,
    file,
    held,
    imported,
    looked,
    lost,
    patch,
    process,
    report_of,
)
from ansible_collections.primus.patches.tests.lab.schema import VALIDATOR
from hypothesis import given
from hypothesis import strategies as st

NAME = "transformers_modeling_utils"


def since(before: list[Observation], now: list[Observation], nodes: tuple[str, ...] = (), **more: Any) -> Any:
    report, older = report_of(now, nodes, **more), report_of(before)
    report["since"] = _compare.compared(report, older)
    VALIDATOR.validate(json.loads(_report.text(report)))
    return report["since"]


def told(found: Any) -> dict[str, Any]:
    """Return in short what a comparison has: kinds, or places, with their nodes."""
    short: dict[str, Any] = {}
    for key in ("new", "mended"):
        short[key] = [(entry["kind"], entry["nodes"]) for entry in found[key]]
    for key in ("gone", "came"):
        short[key] = [(entry["environment"], entry["patch"], entry["nodes"]) for entry in found[key]]
    return {key: entries for key, entries in short.items() if entries}


def edited(node: str, *edits: dict[str, Any], **more: Any) -> Observation:
    return looked(node, patch(), integrity=[held(*edits, **more)])


def test_what_is_the_same_is_no_news() -> None:
    fleet = [looked("gpu1", patch()), looked("gpu2", patch("pending")), lost("gpu3"), edited("gpu4", edit())]
    found = since(fleet, fleet)
    assert told(found) == {}
    assert found["remaining"] == 2, "notes are left out"
    assert not _compare.is_worse(found)


def test_new_and_mended_name_all_nodes_with_the_same_thing_in_one_entry() -> None:
    before = [looked("gpu1", patch()), looked("gpu2", patch()), looked("gpu3", patch("pending")), lost("gpu4")]
    now = [*(looked(f"gpu{n}", patch("pending")) for n in (1, 2)), looked("gpu3", patch()), looked("gpu4", patch())]
    found = since(before, now)
    assert told(found) == {
        "new": [("pending", ["gpu1", "gpu2"])],
        "mended": [("unreachable", ["gpu4"]), ("pending", ["gpu3"])],
    }
    assert _compare.is_worse(found)


def test_a_patch_that_went_from_one_trouble_to_another_is_new_and_not_mended() -> None:
    found = since([looked("gpu1", patch("pending"))], [looked("gpu1", patch("conflict"))])
    assert told(found) == {"new": [("conflict", ["gpu1"])]}
    assert found["new"][0]["was"] == ["pending"]


@pytest.mark.parametrize("now", [[lost("gpu1")], []])
def test_where_nobody_could_look_nothing_is_mended_or_gone(now: list[Observation]) -> None:
    found = since([looked("gpu1", patch("pending"))], now, nodes=("gpu1",))
    assert told(found) == {"new": [("unreachable" if now else "skipped", ["gpu1"])]}


def test_a_node_that_failed_before_it_said_where_takes_no_environment_away() -> None:
    failed = Observation("gpu1", {"failed": True, "msg": "no room", "patches": []}, "failed", predicted=True)
    assert told(since([looked("gpu1", patch("pending"))], [failed])) == {"new": [("failed", ["gpu1"])]}
    assert told(since([failed], [looked("gpu1", patch())])) == {"mended": [("failed", ["gpu1"])]}


def test_what_is_no_longer_looked_at_is_gone_and_not_mended() -> None:
    other = {"python": "/b/python", "python_version": "3", "prefix": "/b", "path": None}
    before = [looked("gpu1", patch("pending"), patch("pending", name="b")), looked("gpu1", patch(), environment=other)]
    found = since([*before, looked("gpu2", patch("pending"))], [looked("gpu1", patch("pending"))])
    python = before[0].result["environment"]["python"]
    assert told(found) == {"gone": [("", "", ["gpu2"]), ("/b/python", "", ["gpu1"]), (python, "b", ["gpu1"])]}
    assert _compare.is_worse(found)


def test_what_came_is_told_and_is_no_trouble() -> None:
    found = since([looked("gpu1", patch())], [looked("gpu1", patch(), patch(name="b")), looked("gpu2", patch())])
    assert [nodes for *_place, nodes in told(found)["came"]] == [["gpu2"], ["gpu1"]]
    assert not _compare.is_worse(found)


def test_an_import_is_known_by_its_module_and_not_by_its_error() -> None:
    def fails(error: str | None, module: str = "acme") -> list[Observation]:
        return [looked("gpu1", patch(), imports=[imported("json"), imported(module, error)])]

    assert told(since(fails("ImportError: at 0x1"), fails("ImportError: at 0x2"))) == {}
    assert told(since(fails("no"), fails(None))) == {"mended": [("import", ["gpu1"])]}
    assert told(since(fails("no"), fails(None, "other"))) == {}, "nobody tried it"
    both = [looked("gpu1", patch(), imports=[imported("acme", "no"), imported("json", "no")])]
    assert [entry["reason"] for entry in since(fails("no"), both)["new"]] == ["import json: no"]


def test_notes_are_told_and_make_nothing_worse() -> None:
    busy = looked("gpu1", patch(), processes={"candidates": [process(7)], "unreadable": 0})
    linked = looked("gpu1", patch(files=[file("a.py", links=2)]))
    for note, kind in ((busy, "processes"), (linked, "links")):
        found = since([looked("gpu1", patch())], [note])
        assert told(found) == {"new": [(kind, ["gpu1"])]}
        assert not _compare.is_worse(found)
        assert told(since([note], [looked("gpu1", patch())])) == {"mended": [(kind, ["gpu1"])]}
    blind = looked("gpu1", patch(files=[], others=None), processes=None)
    for note in (busy, linked):
        assert told(since([note], [blind])) == {}, "nobody looked at files and processes"


def test_undeclared_edits_are_compared_by_file_and_content() -> None:
    one, again, two = edit("a.py"), edit("a.py", content=2), edit("b.py")
    fresh = since([edited("gpu1", one)], [edited("gpu1", one, two)])
    assert [entry["reason"] for entry in fresh["new"]] == ["transformers 4.57.6: b.py changed"]
    assert not _compare.is_worse(fresh)
    other = since([edited("gpu1", one)], [edited("gpu1", again)])
    assert told(other) == {"new": [("undeclared", ["gpu1"])]}, "it was edited again, and is not mended"
    assert told(since([edited("gpu1", one)], [edited("gpu1")])) == {"mended": [("undeclared", ["gpu1"])]}
    assert told(since([edited("gpu1", one)], [edited("gpu1", complete=False)])) == {}, "not all was looked at"
    assert told(since([edited("gpu1", one)], [looked("gpu1", patch())])) == {}, "nobody looked"


def test_undeclared_edits_that_are_not_listed_are_compared_by_whether_there_are_some() -> None:
    counts = {**dict.fromkeys(("missing", "added", "declared", "untold"), 0), "changed": 2}
    counted = edited("gpu1", counts=counts)
    listed = edited("gpu1", edit("a.py"), edit("b.py"))
    assert told(since([counted], [listed])) == told(since([listed], [counted])) == {}
    assert told(since([edited("gpu1")], [counted])) == {"new": [("undeclared", ["gpu1"])]}
    assert told(since([counted], [edited("gpu1")])) == {"mended": [("undeclared", ["gpu1"])]}


def test_undeclared_edits_that_count_as_wrong_make_it_worse() -> None:
    states = (*_report.FAIL_STATES, "undeclared")
    assert _compare.is_worse(since([edited("gpu1")], [edited("gpu1", edit())], wrong=states))


def test_the_text_has_a_line_for_each_and_the_page_a_section_on_top() -> None:
    before = [looked("gpu1", patch("pending")), looked("gpu2", patch("pending")), looked("gpu9", patch())]
    now = [looked("gpu1", patch("conflict", message="edited <since>")), looked("gpu2", patch())]
    report, older = report_of(now), report_of(before)
    report["since"] = _compare.compared(report, older)
    python = now[0].result["environment"]["python"]
    assert _compare.lines(report["since"]) == [
        f"Since {older['generated']}: 1 new, 1 mended, 1 gone, 0 came, 0 as before.",
        f"new: gpu1: {python}: {NAME}: conflict (was pending): edited <since>",
        f"mended: gpu2: {python}: {NAME}: pending: {patch('pending')['message']}",
        "gone: gpu9",
    ]
    page = _page.html(report)
    assert page.index('id="since"') < page.index('id="fleet"')
    assert "edited &lt;since&gt;" in page


def test_a_long_comparison_is_cut_and_says_so() -> None:
    many = [looked("gpu1", *(patch("pending", name=f"p{n}") for n in range(_compare.MOST + 3)))]
    fine = [looked("gpu1", *(patch("applied", name=f"p{n}") for n in range(_compare.MOST + 3)))]
    lines = _compare.lines(since(fine, many))
    assert (len(lines), lines[-1]) == (_compare.MOST + 2, "... and 3 more new, in the report")


STATES = st.sampled_from(["applied", "pending", "conflict", "native", "lost"])
FLEETS = st.dictionaries(st.sampled_from([f"gpu{n}" for n in range(6)]), STATES)


def fleet(states: dict[str, str]) -> list[Observation]:
    return [lost(node) if state == "lost" else looked(node, patch(state)) for node, state in states.items()]


@given(FLEETS, FLEETS)
def test_every_node_is_in_the_lists_that_its_two_states_say(before: dict[str, str], now: dict[str, str]) -> None:
    found = since(fleet(before), fleet(now))
    lists = {
        key: {node for entry in found[key] for node in entry["nodes"]} for key in ("new", "mended", "gone", "came")
    }
    bad = ("pending", "conflict", "lost")
    both = before.keys() & now.keys()
    assert lists["gone"] == before.keys() - now.keys()
    assert lists["came"] == now.keys() - before.keys()
    assert lists["new"] == {node for node in now if now[node] in bad and before.get(node) != now[node]}
    assert lists["mended"] >= {node for node in both if before[node] in bad and now[node] not in bad}
    for node in lists["mended"]:
        assert before[node] == "lost" or now[node] not in bad
    assert found["remaining"] == sum(before[node] == now[node] for node in both if now[node] in bad)
