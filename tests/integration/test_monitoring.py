# docs/monitoring: Prometheus' own tool takes the alert rules, a real Prometheus answers each query of the dashboard.
from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.primus.patches.plugins.plugin_utils import _metrics
from lab import controller, observations, prometheus, promtool
from lab.observations import edit, held, imported, looked, lost, patch, process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONITORING = controller.ROOT / "docs" / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
SERIES = re.compile(r"primus_patches_(\w+)")


def tool(*arguments: str | Path, where: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    command = [promtool.program(), *arguments]
    return subprocess.run(command, cwd=where, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def test_the_rules_are_rules_and_say_what_their_tests_expect() -> None:
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        done = tool(*command)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_tests_of_the_rules_see_to_each_of_them(rule: dict[str, Any], tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts_test.yml"):
        shutil.copy(MONITORING / name, tmp_path)
    others = [each for each in RULES if each != rule]
    rules = {"groups": [{"name": "primus_patches", "rules": [*others, {**rule, "expr": "vector(1) == 2"}]}]}
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    assert tool("test", "rules", "alerts_test.yml", where=tmp_path).returncode == 1


def test_rules_and_dashboard_name_series_that_there_are() -> None:
    expressions = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]
    assert {name for text in expressions for name in SERIES.findall(text)} <= set(_metrics.SERIES)


def test_the_dashboard_is_of_the_classic_model_that_grafana_documents() -> None:
    """Grafana is not to be had here: held against its page "Dashboard JSON model" (v13.0), by name and place."""
    documented = {"id", "uid", "title", "tags", "timezone", "editable", "graphTooltip", "panels", "time", "timepicker"}
    documented |= {"templating", "annotations", "refresh", "schemaVersion", "version", "links", "description"}
    assert set(DASHBOARD) <= documented
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 17
    numbers = [panel["id"] for panel in PANELS]
    assert len(set(numbers)) == len(numbers)
    cells: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in PANELS):
        assert set(place) == {"x", "y", "w", "h"}
        assert place["x"] + place["w"] <= 24, "the page is 24 columns wide"
        taken = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, "no panel covers another one"
        cells |= taken
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([PANELS, DASHBOARD["templating"]]))) - {"__all"}
    assert used == variables


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[prometheus.Server]:
    """A Prometheus with the report of nodes that have one trouble each."""
    directory = tmp_path_factory.mktemp("prometheus")
    more = {"imports": [imported()], "integrity": [held()]}
    report = observations.report_of(
        [
            looked("fine", patch(), **more),
            looked("conflict", patch("conflict"), **more),
            looked("import", patch(), imports=[imported(error="no")]),
            looked("edited", patch(), integrity=[held(edit(), edit("b.py"), complete=False)]),
            looked("busy", patch(), processes={"candidates": [process(7)], "unreadable": 0}),
            lost("lost"),
        ]
    )
    report["generated"] = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=40)).isoformat()
    (directory / "report.prom").write_text(_metrics.text(report))
    with prometheus.prometheus(directory) as running:
        yield running


def anywhere(query: str) -> str:
    """Return the query with all nodes and environments chosen."""
    return query.replace("$node", ".*").replace("$environment", ".*")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_real_prometheus_answers_each_query_of_the_dashboard(
    server: prometheus.Server, panel: dict[str, Any]
) -> None:
    (target,) = panel["targets"]
    found = server.query(anywhere(target["expr"]))
    assert found, "the report has something to show in each panel"
    labels = re.findall(r"{{(\w+)}}", target["legendFormat"])
    assert all(label in sample["metric"] for label in labels for sample in found)


QUERIES = {panel["title"]: panel["targets"][0]["expr"] for panel in PANELS} | {
    rule["alert"]: rule["expr"] for rule in RULES
}


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("Nodes that are not as they should be", {"conflict", "import", "lost"}),
        ("Patches that are not as they should be", {"conflict", "import"}),
        ("Imports that fail", {"import"}),
        ("Undeclared edits by distribution", {"edited"}),
        ("Processes that started before a patch came", {"busy"}),
        ("Not all files could be held against what was installed", {"edited"}),
        ("PrimusPatchesImportFails", {"import"}),
        ("PrimusPatchesConflict", {"conflict"}),
        ("PrimusPatchesNodeDrifted", {"conflict", "import"}),
        ("PrimusPatchesNodeNotLookedAt", {"lost"}),
        ("PrimusPatchesNodeGone", set()),
        ("PrimusPatchesWordOld", {"fine", "conflict", "import", "edited", "busy", "lost"}),
        ("PrimusPatchesNoReport", set()),
        ("PrimusPatchesUndeclaredEdits", {"edited"}),
        ("PrimusPatchesOldProcesses", {"busy"}),
    ],
)
def test_tables_and_alerts_name_the_nodes_that_have_it(server: prometheus.Server, name: str, nodes: set[str]) -> None:
    assert {sample["metric"]["node"] for sample in server.query(anywhere(QUERIES[name]))} == nodes
