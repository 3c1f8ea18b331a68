# Nodes that answer what no module of ours does: each is a failure of that node, with a reason, and of nobody else.
from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.filter.fleet import FilterModule
from ansible_collections.primus.patches.plugins.plugin_utils import _metrics, _page, _report
from ansible_collections.primus.patches.plugins.plugin_utils._report import FAIL_STATES
from ansible_collections.primus.patches.plugins.plugin_utils._shown import LONGEST_REASON, fold
from ansible_collections.primus.patches.plugins.plugin_utils._summary import (
    brief,
    counts,
    hint,
    merge,
    records,
    table,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import promtool
from lab.observations import Observation, imported, looked, patch, process, report_of, result
from lab.schema import VALIDATOR

HUGE = 10**5000
DEEP: Any = []
for _level in range(5000):
    DEEP = [DEEP]


def of(**more: Any) -> dict[str, Any]:
    """Return the answer of a node in whose patch something is odd."""
    return result(patch(**more))


def without(key: str) -> dict[str, Any]:
    return result({name: value for name, value in patch().items() if name != key})


def files(**more: Any) -> dict[str, Any]:
    """Return the answer of a node in one of whose files something is odd."""
    return of(files=[{**patch()["files"][0], **more}])


def file(**more: Any) -> dict[str, Any]:
    return files(file={**patch()["files"][0]["file"], **more})


def bytecode(**more: Any) -> dict[str, Any]:
    return files(bytecode=[{**patch()["files"][0]["bytecode"][0], **more}])


def other(**more: Any) -> dict[str, Any]:
    return of(others=[{"path": "/a", "version": "1", "where": "sys.path", **more}])


def tried(**more: Any) -> dict[str, Any]:
    return result(patch(), imports=[{**imported(), **more}])


def ran(**more: Any) -> dict[str, Any]:
    return result(patch(), processes={"candidates": [{**process(7), **more}], "unreadable": 0})


ODD: dict[str, Any] = {
    "patches: a number": result() | {"patches": 5},
    "patches: a text": result() | {"patches": "applied"},
    "patches: a mapping": result() | {"patches": {"a": 1}},
    "patches: of numbers": result() | {"patches": [1]},
    "patches: of null": result() | {"patches": [None]},
    "patches: one without a key": result({}),
    "patches: 100,000": result() | {"patches": [patch(name=f"p{number}") for number in range(100_000)]},
    "patches: one twice": result(patch(), patch("pending")),
    "patches: endlessly deep": result() | {"patches": DEEP},
    "name: a number": of(name=5),
    "name: a list": of(name=["a"]),
    "name: empty": of(name=""),
    "name: none": without("name"),
    "name: of a million characters": of(name="a" * 1_000_000),
    "state: a number": of(state=5),
    "state: a list": of(state=["applied"]),
    "state: null": of(state=None),
    "state: unknown": of(state="fine"),
    "state: none": without("state"),
    "action: unknown": of(action="explode"),
    "action: a mapping": of(action={}),
    "action: none": without("action"),
    "copy: a list": of(copy_id=["a"]),
    "copy: a mapping": of(copy_id={"a": 1}),
    "copy: a number": of(copy_id=5),
    "package: a mapping": of(package={}),
    "version: a list": of(version=[4, 57]),
    "version: 15 million characters": of(version="4" * 15_000_000),
    "revision: a text": of(revision="1"),
    "revision: 5,000 digits": of(revision=HUGE),
    "revision: true": of(revision=True),
    "revision_found: negative": of(revision_found=-1),
    "integrity: unknown": of(integrity="fine"),
    "integrity: a list": of(integrity=[]),
    "files: a number": of(files=5),
    "files: of texts": of(files=["a.py"]),
    "files: too many": of(files=[{"path": "a.py"}] * 1001),
    "files: path a number": files(path=5),
    "files: integrity unknown": files(integrity="fine"),
    "message: a number": of(message=5),
    "message: a mapping": of(message={"a": 1}),
    "file: a text": files(file="root"),
    "file: empty": files(file={}),
    "file: links a text": file(links="2"),
    "file: links 5,000 digits": file(links=HUGE),
    "file: links none": file(links=0),
    "file: changed not a number": file(changed=math.nan),
    "file: changed infinite": file(changed=math.inf),
    "file: owner a number": file(owner=0),
    "bytecode: of numbers": files(bytecode=[1, 2]),
    "bytecode: a number": files(bytecode=5),
    "bytecode: mode unknown": bytecode(mode="fast"),
    "bytecode: fresh a text": bytecode(fresh="no"),
    "bytecode: path a list": bytecode(path=[]),
    "others: of texts": of(others=["a"]),
    "others: where unknown": other(where="nowhere"),
    "distributions: of numbers": of(distributions=[1, 2]),
    "distributions: a number": of(distributions=7),
    "imports: a number": result(patch(), imports=5),
    "imports: of texts": result(patch(), imports=["json"]),
    "imports: name a number": tried(name=5),
    "imports: ok a text": tried(ok="yes"),
    "imports: seconds a text": tried(seconds="6"),
    "imports: seconds 5,000 digits": tried(seconds=HUGE),
    "imports: seconds infinite": tried(seconds=math.inf),
    "imports: error a list": tried(ok=False, error=["a"]),
    "imports: cause unknown": tried(cause="fun"),
    "processes: a list": result(patch(), processes=[1]),
    "processes: empty": result(patch(), processes={}),
    "processes: candidates a number": result(patch(), processes={"candidates": 5, "unreadable": 0}),
    "processes: pid a text": ran(pid="7"),
    "processes: age 5,000 digits": ran(age=HUGE),
    "processes: patches a number": ran(patches=5),
    "environment: a text": result(patch(), environment="/opt/venv"),
    "environment: a number": result(patch(), environment=5),
    "environment: path a list": result(patch(), environment={"path": ["a"]}),
    "environment: path a number": result(patch(), environment={"path": 5}),
    "environments: a number": {"environments": 5},
    "environments: a text": {"environments": "all"},
    "environments: of numbers": {"environments": [1]},
    "environments: of null": {"environments": [None]},
    "environments: 100,000": {"environments": [result()] * 100_000},
    "environments: in environments": {"environments": [{"environments": 5, "patches": 5}]},
    "environments: together too large": {
        "environments": [result(*(patch(name=f"p{n}", message="m" * 4000) for n in range(1000)))] * 10
    },
    "msg: a number": result(patch()) | {"msg": 5},
}
FITS: dict[str, Any] = {  # odd, but an answer: it is shown, and harms nobody
    "empty": {},
    "item that names a key": {**result(patch()), "ansible_loop_var": "patches"},
    "loop variable a list": {**result(patch()), "ansible_loop_var": ["a"]},
    "environments: none": {"environments": []},
    "message of a million characters": of(message="m" * 1_000_000),
    "control characters": of(message="\x1b[2J\r\n\u202eevil\u2066\x9b2J", path="/a\x1b]0;x\x07"),
    "lone surrogate": of(name="p\ud800", message="\udfff", path="/\udcff"),
    "markup": of(message="<script>alert(1)</script>", name="<b>'\"&"),
    "template": of(message="{{ lookup('pipe', 'id') }}{% x %}{# y #}"),
    "more keys": {**of(more=DEEP), "ansible_facts": {"a": 1}, "results": 5},
    "path of 4,000 digits": result(patch(), environment={"path": "1" * 4000}),
}
HEALTHY = looked("gpu2", patch(), imports=[imported()])


def told(answer: Any, status: str = "ok") -> Any:
    """Return the report of a node that answers this and of a healthy one; all that can be made of both is made."""
    lines = [*records("gpu1", answer, predicted=True, status=status), *records("gpu2", HEALTHY.result, predicted=True)]
    found = merge(lines)
    shown = "\n".join([*table(found), *(text for text, _record in brief(found)), counts(found), hint(found)])
    assert not re.search(r"[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert max(map(len, shown.splitlines())) < 5000
    report = report_of([Observation("gpu1", answer, status, predicted=True), HEALTHY], ["gpu1", "gpu2"])
    text = _report.text(report)
    VALIDATOR.validate(json.loads(text, parse_constant=pytest.fail))
    _page.html(report).encode()
    metrics = _metrics.text(report)
    metrics.encode()
    series = Counter(line.rpartition(" ")[0] for line in metrics.splitlines() if not line.startswith("#"))
    assert max(series.values()) == 1
    assert report["nodes"][1]["status"] == "ok"
    return report


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
def test_an_answer_that_is_none_is_the_failure_of_that_node_with_a_reason(answer: Any) -> None:
    """In the report, and for the filters."""
    report = told(answer)
    assert report["nodes"][0]["status"] == "failed"
    assert [entry["nodes"] for entry in report["todo"] if entry["kind"] == "failed"] == [["gpu1"]]
    (reason,) = report["nodes"][0]["environments"][0]["problems"]
    assert "expected " in reason
    assert ", found " in reason
    assert len(reason) < 500
    filters = FilterModule().filters()
    assert any("expected " in problem for problem in filters["audit_problems"](answer, list(FAIL_STATES)))
    looped = {"results": [answer, HEALTHY.result]}
    fleet = filters["fleet_records"]({"gpu1": {"found": looped}}, ["gpu1"], ["found"], predicted=True)
    assert json.loads(json.dumps(fleet)) == fleet
    assert {line["state"] for line in fleet["gpu1"]} == {"failed", "applied"}
    metrics = filters["node_metrics"](looped, "gpu1", list(FAIL_STATES))
    assert 'primus_patches_node_status{node="gpu1",status="failed"} 1' in metrics


@pytest.mark.parametrize("answer", FITS.values(), ids=FITS)
def test_what_is_odd_but_an_answer_harms_nobody(answer: Any) -> None:
    told(answer)


def test_prometheus_own_tool_has_nothing_against_odd_answers() -> None:
    answers = [Observation(f"n{number}", each, "ok", predicted=True) for number, each in enumerate(FITS.values())]
    assert promtool.complaints(_metrics.text(report_of(answers))) == ""


def test_the_page_cuts_what_nodes_say_and_no_list_of_nodes() -> None:
    names = [f"rack-{chr(97 + number % 26) * (number // 26 + 1)}" for number in range(300)]
    long = [looked(name, patch("conflict", message="m" * 4000, path="/p" * 2000)) for name in names]
    page = _page.html(report_of(long))
    assert max(map(len, re.findall(r"m{50,}|(?:/p){50,}", page))) <= LONGEST_REASON
    assert page.count(fold(names)) == 2  # (what is to be done, and who shares the copy)


def test_a_series_is_written_once_also_for_nodes_whose_names_differ_in_an_invisible_character() -> None:
    metrics = _metrics.text(report_of([looked("n\x1b", patch()), looked("n\\x1b", patch("pending"))]))
    assert promtool.complaints(metrics) == ""
    (wanted,) = [line for line in metrics.splitlines() if line.startswith("primus_patches_patch_wanted{")]
    assert wanted.endswith(" 0")


def test_what_is_handed_on_of_a_node_is_bounded_and_troubles_come_first() -> None:
    several = [result(patch(), environment={"path": f"/{number}"}) for number in range(5000)]
    several.append({"failed": True, "msg": "no room", "environment": {"path": "/odd"}})
    filters = FilterModule().filters()
    records = filters["fleet_records"]({"n": {"found": {"environments": several}}}, ["n"], ["found"])["n"]
    assert (len(records), records[0]["reason"], records[-1]["reason"]) == (1000, "no room", "4,002 more, not handed on")
    wrong = {"environments": [result(patch("conflict"), environment={"path": f"/{number}"}) for number in range(5000)]}
    problems = filters["audit_problems"](wrong, ["conflict"])
    assert (len(problems), problems[-1]) == (21, "and 4,980 more")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.builds(lambda: HUGE) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
PATHS = [
    *[("patches", 0, key) for key in patch()],
    *[("patches", 0, "files", 0, key) for key in patch()["files"][0]],
    *[("patches", 0, "files", 0, "file", key) for key in patch()["files"][0]["file"]],
    *[("patches", 0, "files", 0, "bytecode", 0, key) for key in patch()["files"][0]["bytecode"][0]],
    *[("imports", 0, key) for key in imported()],
    *[("processes", "candidates", 0, key) for key in process(1)],
    *[("environment", key) for key in result()["environment"]],
    *[(key,) for key in (*result(), "environments", "msg", "failed", "failed_when_result", "skipped", "item")],
    ("patches", 0),
    ("environments", 0),
    ("environments", 0, "patches", 0, "state"),
]


def put(where: tuple[Any, ...], value: Any) -> Any:
    """Return a sound answer with that value somewhere in it."""
    one = result(patch(), imports=[imported()], processes={"candidates": [process(1)], "unreadable": 0})
    answer: Any = json.loads(json.dumps({**one, **({"environments": [one]} if where[0] == "environments" else {})}))
    inside = answer
    for key in where[:-1]:
        inside = inside[key]
    inside[where[-1]] = value
    return answer


@settings(max_examples=100, deadline=None)
@given(JSON, st.sampled_from(["ok", "failed", "unreachable"]))
def test_whatever_a_node_answers_the_report_of_the_others_stands(answer: Any, status: str) -> None:
    told(answer if isinstance(answer, dict) else {"environments": answer}, status)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PATHS), JSON, st.sampled_from(["ok", "failed"]))
def test_whatever_stands_somewhere_in_an_answer_the_report_of_the_others_stands(
    where: tuple[Any, ...], value: Any, status: str
) -> None:
    told(put(where, value), status)
