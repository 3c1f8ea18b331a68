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


def fails(error: str | None, *modules: str) -> list[Observation]:
    """Return a node on which the import of acme, or those of the modules, ends so, and that of json is fine."""
    tried = [imported(each, error) for each in modules or ("acme",)]
    return [looked("gpu1", patch(), imports=[*tried, *([] if "json" in modules else [imported("json")])])]


FINE, PENDING, CONFLICT = ([looked("gpu1", patch(state))] for state in ("applied", "pending", "conflict"))
FAILED = [Observation("gpu1", {"failed": True, "msg": "no room", "patches": []}, "failed", predicted=True)]
FLEET = [looked("gpu1", patch()), looked("gpu2", patch("pending")), lost("gpu3"), edited("gpu4", edit())]
PYTHON = FINE[0].result["environment"]["python"]
OTHER = looked(
    "gpu1", patch(), environment={"python": "/b/python", "python_version": "3", "prefix": "/b", "path": None}
)
TWO = [looked("gpu1", patch(), patch(name="b"))]
BUSY = [looked("gpu1", patch(), processes={"candidates": [process(7)], "unreadable": 0})]
LINKED = [looked("gpu1", patch(files=[file("a.py", links=2)]))]
BLIND = [looked("gpu1", patch(files=[], others=None), processes=None)]  # (nobody looked at files and processes)
COUNTED = [edited("gpu1", counts={**dict.fromkeys(("missing", "added", "declared", "untold"), 0), "changed": 2})]
LISTED = [edited("gpu1", edit("a.py"), edit("b.py"))]
ONE = [edited("gpu1", edit("a.py"))]

NEWS: dict[str, tuple[list[Observation], list[Observation], dict[str, Any]]] = {
    "the same": (FLEET, FLEET, {}),
    "all nodes with one trouble are one entry": (
        [looked("gpu1", patch()), looked("gpu2", patch()), looked("gpu3", patch("pending")), lost("gpu4")],
        [*(looked(f"gpu{n}", patch("pending")) for n in (1, 2)), *(looked(f"gpu{n}", patch()) for n in (3, 4))],
        {"new": [("pending", ["gpu1", "gpu2"])], "mended": [("unreachable", ["gpu4"]), ("pending", ["gpu3"])]},
    ),
    "from one trouble to another is not mended": (PENDING, CONFLICT, {"new": [("conflict", ["gpu1"])]}),
    "what is lost is not mended": (PENDING, [lost("gpu1")], {"new": [("unreachable", ["gpu1"])]}),
    "a node takes no environment away that failed before it said where": (
        PENDING,
        FAILED,
        {"new": [("failed", ["gpu1"])]},
    ),
    "a node that failed is mended": (FAILED, FINE, {"mended": [("failed", ["gpu1"])]}),
    "what is no longer looked at is gone": (
        [looked("gpu1", patch("pending"), patch("pending", name="b")), OTHER, looked("gpu2", patch("pending"))],
        PENDING,
        {"gone": [("", "", ["gpu2"]), ("/b/python", "", ["gpu1"]), (PYTHON, "b", ["gpu1"])]},
    ),
    "what came is no trouble": (
        FINE,
        [*TWO, looked("gpu2", patch())],
        {"came": [("", "", ["gpu2"]), (PYTHON, "b", ["gpu1"])]},
    ),
    "an import is not known by its error": (fails("ImportError: at 0x1"), fails("ImportError: at 0x2"), {}),
    "an import that works": (fails("no"), fails(None), {"mended": [("import", ["gpu1"])]}),
    "an import that nobody tried": (fails("no"), fails(None, "other"), {}),
    "another import": (fails("no"), fails("no", "acme", "json"), {"new": [("import", ["gpu1"])]}),
    "old processes": (FINE, BUSY, {"new": [("processes", ["gpu1"])]}),
    "no old processes": (BUSY, FINE, {"mended": [("processes", ["gpu1"])]}),
    "old processes that nobody looked for": (BUSY, BLIND, {}),
    "links": (FINE, LINKED, {"new": [("links", ["gpu1"])]}),
    "no links": (LINKED, FINE, {"mended": [("links", ["gpu1"])]}),
    "links that nobody looked for": (LINKED, BLIND, {}),
    "one more edit": (ONE, LISTED, {"new": [("undeclared", ["gpu1"])]}),
    "edited again is not mended": (ONE, [edited("gpu1", edit("a.py", content=2))], {"new": [("undeclared", ["gpu1"])]}),
    "no edit": (ONE, [edited("gpu1")], {"mended": [("undeclared", ["gpu1"])]}),
    "an edit, and not all was looked at": (ONE, [edited("gpu1", complete=False)], {}),
    "an edit, and nobody looked": (ONE, FINE, {}),
    "edits that are no longer counted alone": (COUNTED, LISTED, {}),
    "edits that are now counted alone": (LISTED, COUNTED, {}),
    "edits that are counted": ([edited("gpu1")], COUNTED, {"new": [("undeclared", ["gpu1"])]}),
    "edits that were counted": (COUNTED, [edited("gpu1")], {"mended": [("undeclared", ["gpu1"])]}),
}
NOTES = ("processes", "links", "undeclared")


@pytest.mark.parametrize(("before", "now", "expected"), NEWS.values(), ids=NEWS)
def test_news_are_what_is_new_mended_gone_or_came(
    before: list[Observation], now: list[Observation], expected: dict[str, Any]
) -> None:
    found = since(before, now)
    assert told(found) == expected
    worse = "gone" in expected or any(kind not in NOTES for kind, _nodes in expected.get("new", ()))
    assert _compare.is_worse(found) == worse


def test_news_tell_what_was_and_why_and_how_much_is_as_it_was() -> None:
    assert since(PENDING, CONFLICT)["new"][0]["was"] == ["pending"]
    assert since(FLEET, FLEET)["remaining"] == 2, "notes are left out"
    assert [entry["reason"] for entry in since(fails("no"), fails("no", "acme", "json"))["new"]] == ["import json: no"]
    assert [entry["reason"] for entry in since(ONE, LISTED)["new"]] == ["transformers 4.57.6: b.py changed"]
    assert told(since(PENDING, [], nodes=("gpu1",))) == {"new": [("skipped", ["gpu1"])]}, "nobody got to it"


def test_undeclared_edits_that_count_as_wrong_make_it_worse() -> None:
    states = (*_report.FAIL_STATES, "undeclared")
    assert _compare.is_worse(since([edited("gpu1")], ONE, wrong=states))


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
