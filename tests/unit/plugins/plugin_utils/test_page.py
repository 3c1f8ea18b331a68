# The page and the metrics as text: nothing that a node tells gets out of its place, and both stay small.
from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _metrics, _page, _report
from ansible_collections.primus.patches.tests.lab.observations import (
    Observation,
    edit,
    file,
    held,
    imported,
    looked,
    lost,
    patch,
    report,
    report_of,
    result,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

# Whatever a host name, a path or a message may hold.
TEXTS = st.text(
    st.sampled_from("<>&\"'`{}%$\\/=#;:\n\r\t\0\x1b\x7f\u202e\u200b\ufeff\ud800 é😀aA1") | st.characters(), max_size=12
)


class Tags(HTMLParser):
    """Keeps all tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _value in attrs)))


def fleet(node: str, text: str) -> Any:
    """Return the report of two nodes, one of which tells that text wherever it can."""
    told = patch("conflict", name=text or "p", message=text, version=text, integrity="foreign", copy_id=text)
    files = [file(text, owner=text, filesystem=text, link=text)]
    other = {"path": text, "version": text, "where": "sys.path"}
    told.update(files=files, others=[other], distributions=[text, text])
    processes = {
        "candidates": [{"pid": 1, "user": text, "age": 1, "command": text, "patches": [text]}],
        "unreadable": 1,
    }
    environment = {"python": text, "python_version": text, "prefix": text, "path": None}
    odd = edit(text or "p", note=text, owner=text, patches=[text])
    integrity = [held(odd, distribution=text or "d", version=text, path=text, reason=text, complete=False)]
    answers = [
        looked(
            node,
            told,
            environment=environment,
            imports=[imported(text, text)],
            processes=processes,
            integrity=integrity,
        ),
        looked("gpu2", patch()),
        Observation(f"{node}-lost", {"unreachable": True, "msg": text}, "unreachable", predicted=True),
    ]
    return report_of(answers, [f"{node}-late"], title=text)


PLAIN = Tags(_page.html(fleet("n1", "plain"))).tags


@settings(max_examples=settings.default.max_examples // 2)
@given(TEXTS, TEXTS)
def test_no_text_adds_a_tag_or_an_attribute(node: str, text: str) -> None:
    page = _page.html(fleet(f"n{node}", f"t{text}"))
    assert Tags(page).tags == PLAIN
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f\u202a-\u202e\u200b\ufeff]", page)
    page.encode()


@settings(max_examples=settings.default.max_examples // 2)
@given(TEXTS, TEXTS)
def test_any_text_is_a_label_in_both_formats(node: str, text: str) -> None:
    metrics = _metrics.text(fleet(f"n{node}", f"t{text}"))
    metrics.encode()
    plain = sum(not line.startswith("#") for line in _metrics.text(fleet("n1", "plain")).split("\n"))
    assert sum(not line.startswith("#") for line in metrics.split("\n")) == plain
    for families in (prometheus(metrics.replace("\r", "?")), openmetrics.text_string_to_metric_families(metrics)):
        assert {family.name.removeprefix("primus_patches_") for family in families} == set(_metrics.SERIES)


def test_a_label_holds_what_was_told() -> None:
    nasty = 'a"b\\c\nd é 😀'
    (family,) = [
        family
        for family in prometheus(_metrics.text(report_of([lost(nasty)])))
        if family.name == "primus_patches_node_status"
    ]
    assert [sample.labels for sample in family.samples] == [{"node": nasty, "status": "unreachable"}]


def test_metrics_tell_what_the_report_tells() -> None:
    told = report(64)
    found: dict[str, list[Any]] = {}
    for family in prometheus(_metrics.text(told)):
        found[family.name.removeprefix("primus_patches_")] = family.samples
    assert {sample.labels["status"]: sample.value for sample in found["nodes"]} == told["summary"]["nodes"]
    states = [sample.labels["state"] for sample in found["patch_state"]]
    assert {state: states.count(state) for state in told["summary"]["states"]} == told["summary"]["states"]
    wanted = {sample.labels["node"] for sample in found["patch_wanted"] if sample.value}
    assert wanted == {node["name"] for node in told["nodes"] if node["status"] == "ok"}
    assert sum(sample.value for sample in found["old_processes"]) == told["summary"]["processes"]
    assert [sample.value for sample in found["report_timestamp_seconds"]] == [1795600800.0]


def test_the_page_needs_nothing_else_and_stays_small() -> None:
    page = _page.html(report(2000))
    assert len(page.encode()) < 3_000_000
    assert not re.search(r'(src|href)=(?!"#)', page)
    assert "url(" not in page
    assert "@import" not in page
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src &#39;none&#39;; ")


def test_a_report_is_plain_data_whatever_it_holds() -> None:
    told = fleet("gpu\ud800", "x\ud800\n")
    assert json.loads(_report.text(told)) == told


@pytest.mark.parametrize(
    ("observed", "action"),
    [
        (Observation("n", result(patch("pending", action="apply")), "ok", predicted=False, audited=False), "applied"),
        (
            Observation("n", result(patch("pending", action="apply")), "ok", predicted=True, audited=False),
            "would apply",
        ),
        (
            Observation("n", result(patch("pending", action="apply")), "failed", predicted=False, audited=False),
            "failed",
        ),
        (looked("n", patch("pending", action="apply")), "drifted"),
        (looked("n", patch("applied"), imports=[imported(error="no")]), "drifted"),
        (looked("n", patch("applied")), "none"),
    ],
)
def test_the_page_has_the_words_of_the_summary(observed: Observation, action: str) -> None:
    report = report_of([observed])
    assert [row["action"] for row in _page._rows(report, {"n": 1})] == [action]


def test_very_many_edits_are_cut_on_the_page_and_whole_in_the_data() -> None:
    edits = [[edit(f"f{n}.py", content=number) for n in range(600 if number == 0 else 1)] for number in range(30)]
    report = report_of(looked(f"gpu{n}", patch(), integrity=[held(*each)]) for n, each in enumerate(edits))
    assert report["summary"]["undeclared"] == {"edits": 629, "files": 600, "nodes": 30}
    assert sorted(len(each["variants"]) for each in report["undeclared"]["files"]) == [1] * 599 + [30]
    page = _page.html(report)
    assert "and 10 more variants, in report.json" in page
    assert "and 100 more files, in report.json" in page


def test_edits_are_counted_for_each_distribution() -> None:
    told = [held(edit(), edit("b.py", "missing")), held(distribution="torch", version=None, complete=False)]
    text = _metrics.text(report_of([looked("gpu1", patch(), integrity=told)]))
    where = 'node="gpu1",environment="/opt/venv/bin/python"'
    assert f'primus_patches_undeclared_edits{{{where},distribution="transformers",version="4.57.6"}} 2\n' in text
    assert f'primus_patches_undeclared_edits{{{where},distribution="torch",version=""}} 0\n' in text
    assert f'primus_patches_integrity_complete{{{where},distribution="torch",version=""}} 0\n' in text
