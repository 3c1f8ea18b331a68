# Reports read again: what was written comes back, metrics tell the same, what is no report is refused with the reason.
from __future__ import annotations

import copy
import datetime as dt
import json
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _merge, _metrics, _report, _reread
from ansible_collections.primus.patches.tests.lab.observations import (
    GENERATED,
    Observation,
    edit,
    held,
    imported,
    looked,
    lost,
    many,
    patch,
    report,
    report_of,
    result,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.timezone.utc)
# Whatever a host name, a path or a message may hold.
TEXTS = st.text(st.sampled_from("<>&\"'`{}%$\\/=#;:\n\r\t\0\x1b\x7f\u202e\u200b é😀aA1") | st.characters(), max_size=12)


def read(told: Any) -> Any:
    return _reread.report(_report.text(told).encode(), NOW)


def refused(data: bytes) -> str:
    with pytest.raises(_reread.NoReport) as error:
        _reread.report(data, NOW)
    return str(error.value)


@pytest.mark.parametrize("count", [0, 1, 64])
def test_what_was_written_comes_back(count: int) -> None:
    told = report(count) if count else report_of([])
    assert read(told) == told
    merged = _merge.merged({"a.json": told}, {"b.json": "No such file"}, NOW.isoformat())
    assert read(merged) == merged


def test_what_a_set_up_told_comes_back() -> None:
    done = Observation("gpu1", result(patch("pending")), "ok", predicted=False, audited=False)
    told = report_of([done, looked("gpu2", patch(), integrity=[held(edit())])])
    assert read(told) == told


def test_undeclared_edits_come_back_and_are_merged_by_file() -> None:
    both = [held(edit("a.py"), edit("b.py", "missing")), held(edit("x.py", content=7), distribution="Acme_Tools")]
    told = report_of([looked("gpu1", patch(), integrity=both)])
    other = report_of([looked("gpu2", patch(), integrity=both[:1])])
    assert read(told) == told
    merged = _merge.merged({"a.json": told, "b.json": other}, {}, NOW.isoformat())
    nodes = {file["path"]: file["variants"][0]["nodes"] for file in merged["undeclared"]["files"]}
    assert nodes == {"a.py": ["gpu1", "gpu2"], "b.py": ["gpu1", "gpu2"], "x.py": ["gpu1"]}
    assert read(merged) == merged


def test_a_comparison_is_not_carried_on() -> None:
    told = report(4)
    assert read({**told, "since": {"generated": GENERATED}}) == told


def test_sums_and_what_is_to_be_done_are_made_anew() -> None:
    told = report(64)
    nothing = {"summary": {}, "todo": [], "shared_copies": [], "undeclared": {"files": [], "unknown": []}}
    assert read({**told, **nothing}) == told


def kept(found: Any) -> Any:
    """Return of a report what its metrics tell."""
    nodes: dict[str, Any] = {}
    for node in found["nodes"]:
        places = {}
        for each in node["environments"]:
            places[each["environment"]] = (
                each["status"],
                sorted((one["name"], _report.standing(each, one), one["version"]) for one in each["patches"]),
                sorted((one["name"].partition(":")[0], one["ok"]) for one in each["imports"]),
            )
        nodes[node["name"]] = (node["status"], places)
    return nodes


def test_metrics_read_back_tell_of_each_node_what_they_told() -> None:
    told = report_of(*many(64))
    found = _reread.report(_metrics.text(told).encode(), NOW)
    assert kept(found) == kept(told)
    assert found["generated"] == told["generated"]
    assert found["summary"]["nodes"] == told["summary"]["nodes"]
    assert found["summary"]["states"] == told["summary"]["states"]


@given(TEXTS, TEXTS)
def test_metrics_of_any_text_are_the_same_when_they_were_read_back(node: str, text: str) -> None:
    about = {"python": f"t{text}", "python_version": "3", "prefix": "/", "path": None}
    more = [held(edit(), distribution=f"d{text}", version=text)]
    told = patch("conflict", name=f"p{text}", version=text)
    fleet = report_of(
        [looked(f"n{node}", told, environment=about, imports=[imported(f"i{text}", "no")], integrity=more)]
    )
    metrics = _metrics.text(fleet)
    again = _metrics.text(_reread.report(metrics.encode(), NOW))
    assert _series(again) == _series(metrics)


def _series(metrics: str) -> set[str]:
    """Return the samples, but those of processes, which a report can only have with their names."""
    return {line for line in metrics.split("\n") if "old_processes" not in line}


def test_metrics_tell_how_many_undeclared_edits_there_are_and_not_which() -> None:
    told = report_of([looked("gpu1", patch(), integrity=[held(edit("a.py"), edit("b.py", "missing"))])])
    found = _reread.report(_metrics.text(told).encode(), NOW)
    assert found["summary"]["undeclared"] == {"edits": 2, "files": 0, "nodes": 1}
    assert [(entry["kind"], entry["reason"]) for entry in found["todo"]] == [
        ("undeclared", "files of transformers 4.57.6 are not as they were installed")
    ]


def test_a_node_of_which_metrics_tell_that_it_failed_is_failed() -> None:
    broken = Observation(
        "gpu1", {"failed": True, "msg": "no room", "patches": [], "item": "/b"}, "failed", predicted=True
    )
    found = _reread.report(_metrics.text(report_of([broken, lost("gpu2")])).encode(), NOW)
    assert [(node["name"], node["status"]) for node in found["nodes"]] == [("gpu1", "failed"), ("gpu2", "unreachable")]
    assert found["nodes"][0]["environments"][0]["problems"] == ["a textfile does not tell which environment failed"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "found no primus_patches_report_timestamp_seconds"),
        (b"\xff\xfe", "expected report.json or a textfile, found UnicodeDecodeError"),
        (b"{", "expected report.json or a textfile, found JSONDecodeError"),
        (b"{" * 100000, "found"),
        (b'{"version": 1}', "expected a report of version 2, found 1: audit again"),
        (b'{"version": 3}', "or merge with the newer one that wrote it"),
        (b"node_load1 0.5\n", "expected metrics as megatron_bridge_textfile writes them"),
        (b"primus_patches_report_timestamp_seconds x\n", "expected a number, found 'x'"),
        (b"primus_patches_report_timestamp_seconds 1e300\n", "primus_patches_report_timestamp_seconds: expected"),
        (b'primus_patches_node_status{node="a"} 1\n', "primus_patches_node_status: expected labels"),
    ],
)
def test_what_is_no_report_is_refused_with_what_was_expected(data: bytes, expected: str) -> None:
    assert expected in refused(data)


def without(told: Any, path: str, *value: Any) -> bytes:
    """Return a report as text with one value in it replaced, or taken away."""
    found = copy.deepcopy(told)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = found
    for part in way:
        place = place[part]
    if value:
        place[last] = value[0]
    else:
        del place[last]
    return json.dumps(found).encode()


ENVIRONMENT = "nodes.0.environments.0"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("generated", "yesterday", "generated: expected a time with its zone, found 'yesterday'"),
        ("generated", "2026-11-25T10:00:00", "generated: expected a time with its zone"),
        ("generated", "2026-11-25T12:06:00+00:00", "expected a time before 2026-11-25T12:05:00+00:00"),
        ("nodes", 7, "nodes: expected a list, found 7"),
        ("nodes.1.name", "gpu1", "nodes: expected each node once"),
        ("nodes.0.generated", "2026-11-25T10:00:01+00:00", "nodes[0].generated: expected a time before"),
        (
            "nodes.0.status",
            "fine",
            "nodes[0].status: expected one of ok, drifted, failed, unreachable, skipped, found 'fine'",
        ),
        ("nodes.0.name", "x" * 5000, "nodes[0].name: expected a text of at most 4,096 characters"),
        ("nodes.0", "gpu1", "nodes[0]: expected a mapping, found 'gpu1'"),
        ("fail_states.0", "ugly", "fail_states[0]: expected one of applied"),
        (f"{ENVIRONMENT}.audited", "yes", "nodes[0].environments[0].audited: expected true or false, found 'yes'"),
        (
            f"{ENVIRONMENT}.patches.0.state",
            "fine",
            "nodes[0].environments[0]: not an answer of this collection's modules",
        ),
        (f"{ENVIRONMENT}.patches.0.predicted", 1, "patches[0].predicted: expected true or false, found 1"),
        (f"{ENVIRONMENT}.problems", [1], "problems[0]: expected a text, found 1"),
        ("undeclared.files", [7], "undeclared: expected the section as the schema has it, found TypeError"),
        (f"{ENVIRONMENT}.integrity", [{}], "integrity[0]: expected the key distribution"),
    ],
)
def test_a_report_with_something_odd_in_it_is_refused_with_the_place(path: str, value: Any, expected: str) -> None:
    told = report_of([looked("gpu1", patch()), looked("gpu2", patch())])
    assert expected in refused(without(told, path, value))


@pytest.mark.parametrize("path", ["version", "generated", "title", "nodes", "nodes.0.name", "nodes.0.environments"])
def test_a_report_without_a_key_that_it_needs_is_refused(path: str) -> None:
    assert "expected" in refused(without(report(1), path))


def test_clocks_may_differ_a_little() -> None:
    late = {**report(1), "generated": "2026-11-25T12:04:00+00:00"}
    assert read(late)["generated"] == late["generated"]


def test_no_text_of_a_file_keeps_control_characters() -> None:
    told = report_of([looked("gpu1", patch())], title="x")
    told["title"] = told["nodes"][0]["name"] = told["nodes"][0]["environments"][0]["environment"] = "a\x1b[2J\u202e"
    found = read(told)
    shown = "a\\x1b[2J\\u202e"
    assert [found["title"], found["nodes"][0]["name"], found["nodes"][0]["environments"][0]["environment"]] == [
        shown
    ] * 3
