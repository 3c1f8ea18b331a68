# Reports of several runs merged by the command and by the playbook of the installed collection, and held against one.
from __future__ import annotations

import json
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _metrics, _report
from lab import controller, observations, promtool
from lab.observations import looked, lost, patch
from lab.schema import VALIDATOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.controller import Run

    Playbook = Callable[..., Run]
    Tree = Callable[[str], Path]

AUDIT, SETUP, MERGE = (f"primus.patches.{name}" for name in ("audit_primus", "setup_primus", "merge_reports"))
COMMAND = controller.ROOT / "playbooks" / "merge_reports.py"


def merge(where: Path, *arguments: str | Path) -> tuple[int, list[str], str]:
    """Run the command in a directory; return its exit status, the lines of its output, and what it complains of."""
    done = subprocess.run(
        [sys.executable, "-I", COMMAND, *arguments], cwd=where, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def written(directory: Path) -> Any:
    """Return the valid report in a directory."""
    report = json.loads((directory / "report.json").read_text())
    VALIDATOR.validate(report)
    assert promtool.complaints((directory / "report.prom").read_text()) == ""
    assert "<h1>" in (directory / "report.html").read_text()
    assert stat.S_IMODE((directory / "report.json").stat().st_mode) == 0o600
    return report


def statuses(report: Any) -> dict[str, str]:
    return {node["name"]: node["status"] for node in report["nodes"]}


def save(path: Path, hour: int, *told: Any, of: Callable[[Any], str] = _report.text) -> Path:
    """Write the report that was made at that hour; ``of`` makes its text."""
    path.write_text(of({**observations.report_of(told), "generated": f"2026-11-2{hour // 24}T{hour % 24:02d}:00:00Z"}))
    return path


def test_a_fleet_of_real_runs_has_one_report_and_tells_what_is_new(
    playbook: Playbook, tree: Tree, system_python: Path, tmp_path: Path
) -> None:
    """Two slices of an audit and a node's textfile are merged; then one node is mended, and one is gone."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": str(system_python)}
    nodes = {name: {**local, "megatron_bridge_paths": [str(tree("4.57.6"))]} for name in ("gpu1", "gpu2", "gpu3")}
    nodes["gpu3"]["megatron_bridge_textfile"] = str(tmp_path / "gpu3.prom")
    inventory = {"all": {"hosts": nodes}}
    for name, directory in {"gpu1": "a", "gpu2": "b", "gpu3": ""}.items():
        variables = {"megatron_bridge_report_dir": str(tmp_path / directory) if directory else ""}
        playbook(AUDIT, "--limit", name, inventory=inventory, variables=variables).exits(2)
    given = [str(tmp_path / "[ab]"), str(tmp_path / "gpu3.prom")]
    first = {"primus_reports": given, "primus_merged_dir": str(tmp_path / "first")}
    run = playbook(MERGE, inventory={}, variables=first, check=True).exits(0)
    assert not run.changed
    assert "Merged from 3 reports" in run.stdout
    assert statuses(written(tmp_path / "first")) == dict.fromkeys(nodes, "drifted")

    playbook(SETUP, "--limit", "gpu1", inventory=inventory).exits(0)
    playbook(
        AUDIT, "--limit", "gpu1", inventory=inventory, variables={"megatron_bridge_report_dir": str(tmp_path / "a")}
    )
    given = [str(tmp_path / "a"), str(tmp_path / "gpu3.prom")]
    since = {"primus_reports": given, "primus_since": str(tmp_path / "first" / "report.json")}
    run = playbook(MERGE, inventory={}, variables={**since, "primus_merged_dir": str(tmp_path / "second")}).exits(2)
    report = written(tmp_path / "second")
    assert statuses(report) == {"gpu1": "ok", "gpu3": "drifted"}
    assert [(entry["kind"], entry["nodes"]) for entry in report["since"]["mended"]] == [("pending", ["gpu1"])]
    assert [entry["nodes"] for entry in report["since"]["gone"]] == [["gpu2"]]
    assert (report["since"]["new"], report["since"]["remaining"]) == ([], 1)
    assert "gone: gpu2" in run.stdout


def test_the_exit_status_says_whether_something_is_new_or_gone(tmp_path: Path) -> None:
    old = save(tmp_path / "old.json", 2, looked("gpu1", patch()), looked("gpu2", patch("pending")))
    save(tmp_path / "same.json", 9, looked("gpu1", patch()), looked("gpu2", patch("pending")))
    save(tmp_path / "mended.json", 10, looked("gpu1", patch()), looked("gpu2", patch()), looked("gpu3", patch()))
    save(tmp_path / "worse.json", 11, looked("gpu1", patch("conflict")), looked("gpu2", patch("pending")))
    save(tmp_path / "gone.json", 12, looked("gpu1", patch()))
    found = {name: merge(tmp_path, f"{name}.json", "--since", old) for name in ("same", "mended", "worse", "gone")}
    assert {name: (status, errors) for name, (status, _lines, errors) in found.items()} == {
        "same": (0, ""),
        "mended": (0, ""),
        "worse": (1, ""),
        "gone": (1, ""),
    }
    assert found["worse"][1][-1] == f"Report: {tmp_path}/primus-merged/report.html"
    assert merge(tmp_path, "worse.json")[0] == 0, "without --since, nothing is new"


def test_textfiles_alone_are_enough(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        told = lost("gpu3") if number == 3 else looked(f"gpu{number}", patch("conflict" if number == 2 else "applied"))
        save(tmp_path / f"gpu{number}.prom", number, told, of=_metrics.text)
    status, lines, errors = merge(tmp_path, "*.prom", "--output", "out")
    assert (status, errors) == (0, "")
    assert lines[0].startswith("Merged from 3 reports, made 2026-11-20T01:00:00+00:00 to 2026-11-20T03:00:00+00:00.")
    assert statuses(written(tmp_path / "out")) == {"gpu1": "ok", "gpu2": "drifted", "gpu3": "unreachable"}


def test_a_file_that_is_no_report_stops_none_of_the_others(tmp_path: Path) -> None:
    save(tmp_path / "a.json", 1, looked("gpu1", patch()))
    (tmp_path / "b.json").write_text('{"version": 2, "generated": "2026-11-20T01:00:00Z", "nodes": [7]}')
    status, lines, errors = merge(tmp_path, "a.json", "b.json", "c.json")
    assert (status, errors) == (2, "")
    (line,) = [line for line in lines if line.startswith("Not used: b.json: ")]
    assert "nodes[0]: expected a mapping, found 7" in line
    assert "Not used: c.json: No such file or directory" in lines
    assert statuses(written(tmp_path / "primus-merged")) == {"gpu1": "ok"}
    assert "c.json: No such file" in (tmp_path / "primus-merged" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["no.json"], "not used: no.json: No such file or directory\nexpected a report, found none that can be used."),
        (["a.json", "l.json"], "found localhost in 2 reports (a.json, l.json)"),
        (["a.json", "--since", "no.json"], "No such file or directory: 'no.json'"),
        (["a.json", "--since", "bad.json"], "bad.json: expected a report of version 2, found 1: audit again"),
        (["a.json", "--since", "new.json"], "--since new.json: expected an earlier report, found one made"),
        (["a.json", "--output", "a.json"], "File exists"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    save(tmp_path / "a.json", 1, looked("localhost", patch()))
    save(tmp_path / "l.json", 1, looked("localhost", patch()))
    save(tmp_path / "new.json", 5, looked("gpu1", patch()))
    (tmp_path / "bad.json").write_text('{"version": 1}')
    before = sorted(tmp_path.rglob("*"))
    status, lines, errors = merge(tmp_path, *arguments)
    assert (status, lines) == (2, [])
    assert expected in errors
    assert errors.endswith("Nothing was written.\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_two_thousand_reports_of_a_node_each_are_one(tmp_path: Path) -> None:
    told, _names = observations.many(2000)
    for number, each in enumerate(told):
        save(tmp_path / f"{number}.json", number % 24, each)
    status, _lines, errors = merge(tmp_path, "*.json")
    assert (status, errors) == (0, "")
    assert len(written(tmp_path / "primus-merged")["nodes"]) == len(told)


def test_an_interpreter_without_jinja2_is_told_where_there_is_one(system_python: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.json", 1, looked("gpu1", patch()))
    command = [system_python, "-I", "-S", COMMAND, "a.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "jinja2" in done.stderr
    assert "ansible-playbook primus.patches.merge_reports" in done.stderr
