# The report that playbooks leave on the controller: after audits and set-ups of real nodes, whatever becomes of them.
from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _metrics
from lab import environments, observations, promtool
from lab.run import run as command
from lab.schema import VALIDATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Run

    Playbook = Callable[..., Run]
    Tree = Callable[[str], Path]

AUDIT, SETUP = "primus.patches.audit_primus", "primus.patches.setup_primus"
FILE = "transformers/modeling_utils.py"
UNREACHABLE = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "ansible_ssh_args": "-o BatchMode=yes",
}
TIME = ("generated", "seconds", "age")


@pytest.fixture
def fleet(system_python: Path) -> Callable[..., dict[str, Any]]:
    """Return ``fleet(name={variables})``: an inventory of local nodes with Ansible on the system's Python."""

    def make(**hosts: dict[str, Any]) -> dict[str, Any]:
        local = {"ansible_connection": "local", "ansible_python_interpreter": str(system_python)}
        return {"all": {"hosts": {name: {**local, **variables} for name, variables in hosts.items()}}}

    return make


def paths(*directories: Path) -> dict[str, Any]:
    return {"megatron_bridge_paths": [str(directory) for directory in directories]}


@pytest.fixture
def report_of(playbook: Playbook, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Run]]:
    """Return ``report_of(playbook, inventory)``: the valid report that a run wrote, and the run."""

    def make(name: Any, inventory: Any, *arguments: str, **options: Any) -> tuple[dict[str, Any], Run]:
        directory = tmp_path / "report"
        variables = {"megatron_bridge_report_dir": str(directory), **options.pop("variables", {})}
        run = playbook(name, *arguments, inventory=inventory, variables=variables, **options)
        assert (directory / "report.json").exists(), run
        report = json.loads((directory / "report.json").read_text())
        VALIDATOR.validate(report)
        assert promtool.complaints((directory / "report.prom").read_text()) == ""
        assert "<h1>" in (directory / "report.html").read_text()
        limits = {"failed.limit": ("failed", "unreachable"), "drifted.limit": ("drifted",)}
        for file, wrong in limits.items():
            names = [node["name"] for node in report["nodes"] if node["status"] in wrong]
            assert (directory / file).exists() is bool(names), "an empty file would limit nothing"
            assert not names or (directory / file).read_text().splitlines() == names
        left = [path for path in directory.iterdir() if path.name not in limits]
        assert sorted(path.name for path in left) == ["report.html", "report.json", "report.prom"]
        modes = {path.suffix: oct(stat.S_IMODE(path.stat().st_mode)) for path in left}
        assert modes == {".html": "0o644", ".json": "0o600", ".prom": "0o644"}
        return report, run

    return make


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {node["name"]: node["status"] for node in report["nodes"]}


def timeless(value: Any) -> Any:
    """Return the report without its time fields."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key not in TIME}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def test_an_audit_reports_every_node_as_what_it_is(report_of: Any, playbook: Playbook, tree: Tree, fleet: Any) -> None:
    inventory = fleet(
        applied=paths(good := tree("4.57.6")),
        pending=paths(tree("4.57.6")),
        native=paths(tree("4.49.0")),
        five=paths(tree("5.0.0")),
        broken={"megatron_bridge_pythons": ["/no/such/python"]},
        away=UNREACHABLE,
    )
    playbook(SETUP, "--limit", "applied", inventory=inventory).exits(0)
    report, run = report_of(AUDIT, inventory)
    assert run.rc == 4
    assert statuses(report) == {
        "applied": "ok",
        "away": "unreachable",
        "broken": "failed",
        "five": "drifted",
        "native": "ok",
        "pending": "drifted",
    }
    assert [entry["kind"] for entry in report["todo"]] == ["failed", "unreachable", "unsupported", "pending"]
    (environment,) = report["nodes"][0]["environments"]
    (patch,) = environment["patches"]
    assert (patch["state"], patch["revision"], patch["revision_found"]) == ("applied", 1, 1)
    assert (patch["integrity"], patch["files"][0]["path"]) == ("patched", str(good / FILE))
    assert patch["files"][0]["file"]["links"] == 1
    assert patch["files"][0]["file"]["mode"] == "0644"
    assert patch["distributions"] == ["transformers 4.57.6"]
    assert f"Report: {Path(environment['path']).parent}/report/report.html" in run.stdout
    # What the summary says can be pasted back.
    for file, names in (("failed.limit", {"broken", "away"}), ("drifted.limit", {"five", "pending"})):
        path = f"@{Path(environment['path']).parent}/report/{file}"
        assert f"For the 2 nodes again: --limit {path}\n" in run.stdout
        once_more = playbook(SETUP, "--limit", path, inventory=inventory)
        assert {task.host for task in once_more.tasks} == names
    # One call of a module for each environment, and no other for a node.
    actions = [task.action.rpartition(".")[2] for task in run.tasks if task.host == "pending"]
    assert [action for action in actions if action != "include_tasks"] == ["site_patch_info"]


def test_undeclared_edits_are_told_by_file_over_all_nodes(
    report_of: Any, playbook: Playbook, tree: Tree, fleet: Any
) -> None:
    trees = {name: tree("4.57.6") for name in ("good", "one", "two", "three")}
    inventory = fleet(**{name: paths(where) for name, where in trees.items()})
    playbook(SETUP, inventory=inventory).exits(0)
    for name, text in {"one": "# mine\n", "two": "# mine\n", "three": "# other\n"}.items():
        with (trees[name] / "transformers" / "trainer.py").open("a") as stream:
            stream.write(text)
    (trees["three"] / "transformers" / "hack.py").write_text("")
    report, run = report_of(AUDIT, inventory)
    run.exits(0)
    assert set(statuses(report).values()) == {"ok"}
    assert report["summary"]["undeclared"] == {"edits": 4, "files": 2, "nodes": 3}
    added, changed = report["undeclared"]["files"]
    assert (added["path"], [each["nodes"] for each in added["variants"]]) == ("transformers/hack.py", [["three"]])
    assert [(each["kind"], each["nodes"]) for each in changed["variants"]] == [
        ("changed", ["one", "two"]),
        ("changed", ["three"]),
    ]
    assert report["undeclared"]["unknown"] == []
    assert [(entry["kind"], entry["note"]) for entry in report["todo"]] == [("undeclared", True)] * 3
    (held,) = report["nodes"][0]["environments"][0]["integrity"]
    assert held["counts"]["declared"] == 1, "the patch explains what it wrote"
    assert "undeclared edit of transformers 4.57.6: transformers/trainer.py changed" in run.stdout
    wrong, run = report_of(AUDIT, inventory, variables={"primus_audit_fail_undeclared": True})
    run.exits(2)
    assert statuses(wrong) == {"good": "ok", "one": "drifted", "three": "drifted", "two": "drifted"}
    off, run = report_of(AUDIT, inventory, "--limit", "good", variables={"megatron_bridge_integrity": []})
    assert off["nodes"][0]["environments"][0]["integrity"] is None


@pytest.mark.parametrize(
    ("name", "versions", "expected"),
    [
        pytest.param(AUDIT, "", {"n1": "unreachable", "n2": "unreachable"}, id="no node audited"),
        pytest.param(SETUP, "", {"n1": "unreachable", "n2": "unreachable"}, id="no node set up"),
        pytest.param(SETUP, "5.0.0 5.0.0", {"n1": "failed", "n2": "failed"}, id="every node failed"),
        # (One after the other, so the playbook ends before it gets to the others.)
        pytest.param(SETUP, "5.0.0 4.49.0 4.49.0", {"n1": "failed", "n2": "skipped", "n3": "skipped"}, id="it ended"),
    ],
)
def test_the_report_is_written_also_when_no_node_is_as_it_should_be(
    report_of: Any, tree: Tree, fleet: Any, name: str, versions: str, expected: dict[str, str]
) -> None:
    hosts = [paths(tree(version)) for version in versions.split()] or [UNREACHABLE] * 2
    inventory = fleet(**{f"n{number}": each for number, each in enumerate(hosts, 1)})
    report, run = report_of(name, inventory, variables={"primus_serial": 1 if len(hosts) > 2 else "100%"})
    assert run.rc == (2 if versions else 4)
    assert statuses(report) == expected
    assert versions or "Connection refused" in report["nodes"][0]["message"]


def test_check_mode_gives_the_same_report_and_two_runs_differ_in_time_fields_alone(
    report_of: Any, tree: Tree, fleet: Any, venv: Callable[[str], Path]
) -> None:
    python = environments.python_of(venv(f"{sys.version_info.major}.{sys.version_info.minor}"))
    imports = {"megatron_bridge_pythons": [str(python)], "megatron_bridge_imports": ["json", "no_such_module"]}
    inventory = fleet(n10=paths(tree("4.57.6")), n9=paths(tree("4.49.0")), n8=UNREACHABLE, n7=imports)
    first, _run = report_of(AUDIT, inventory)
    assert list(statuses(first)) == ["n7", "n8", "n9", "n10"]
    texts = {json.dumps(timeless(first), indent=1)}
    texts.add(json.dumps(timeless(report_of(AUDIT, inventory, "--forks", "1")[0]), indent=1))
    texts.add(json.dumps(timeless(report_of(AUDIT, inventory, check=True)[0]), indent=1))
    assert len(texts) == 1


def test_a_set_up_reports_when_it_is_asked_to(report_of: Any, playbook: Playbook, tree: Tree, fleet: Any) -> None:
    inventory = fleet(one=paths(tree("4.57.6")))
    predicted, _run = report_of(SETUP, inventory, check=True)
    (patch,) = predicted["nodes"][0]["environments"][0]["patches"]
    assert (patch["state"], patch["action"], patch["predicted"]) == ("pending", "apply", True)
    done, _run = report_of(SETUP, inventory)
    (patch,) = done["nodes"][0]["environments"][0]["patches"]
    assert (patch["state"], patch["action"], patch["predicted"], patch["files"][0]["file"]) == (
        "pending",
        "apply",
        False,
        None,
    )
    assert statuses(done) == {"one": "ok"}
    assert "Report:" not in playbook(SETUP, inventory=inventory).stdout


def test_an_audit_reports_to_the_current_directory_unless_told_otherwise(
    playbook: Playbook, tree: Tree, fleet: Any, tmp_path: Path
) -> None:
    inventory = fleet(one=paths(tree("4.49.0")))
    run = playbook(AUDIT, inventory=inventory).exits(0)
    (written,) = tmp_path.rglob("primus-report/report.html")
    assert f"Report: {written}" in run.stdout
    inventory["all"]["vars"] = {"megatron_bridge_report_dir": str(tmp_path / "{{ 'elsewhere' }}")}
    playbook(AUDIT, inventory=inventory).exits(0)
    assert (tmp_path / "elsewhere" / "report.json").exists()
    none = playbook(AUDIT, inventory=inventory, variables={"megatron_bridge_report_dir": ""}).exits(0)
    assert "Report:" not in none.stdout


def test_a_set_up_before_an_audit_in_one_command_takes_no_report_away(
    playbook: Playbook, tree: Tree, fleet: Any, tmp_path: Path
) -> None:
    both = [{"import_playbook": SETUP}, {"import_playbook": AUDIT}]
    playbook(both, inventory=fleet(one=paths(tree("4.57.6")))).exits(0)
    (written,) = tmp_path.rglob("primus-report/report.json")
    assert json.loads(written.read_text())["nodes"][0]["environments"][0]["patches"][0]["state"] == "applied"


def test_nodes_that_are_lost_before_a_task_of_ours_are_unreachable(
    playbook: Playbook, tree: Tree, fleet: Any, tmp_path: Path
) -> None:
    play = [{"hosts": "all", "gather_facts": True, "roles": ["primus.patches.megatron_bridge"]}]
    variables = {"megatron_bridge_report_dir": str(tmp_path / "report")}
    settings = {"callbacks_enabled": "lab_record, primus.patches.fleet_summary"}
    inventory = fleet(one=paths(tree("4.49.0")), two=UNREACHABLE)
    playbook(play, inventory=inventory, variables=variables, settings=settings).exits(4)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert statuses(report) == {"one": "ok", "two": "unreachable"}


def test_no_state_may_count_as_wrong_and_each_node_is_judged_by_its_own_variables(
    report_of: Any, tree: Tree, fleet: Any
) -> None:
    inventory = fleet(one=paths(tree("4.57.6")), two=paths(tree("4.57.6")))
    none, run = report_of(AUDIT, inventory, variables={"primus_audit_fail_states": []})
    run.exits(0)
    assert (statuses(none), none["fail_states"], none["todo"]) == ({"one": "ok", "two": "ok"}, [], [])
    inventory["all"]["hosts"]["two"]["primus_audit_fail_states"] = ["conflict"]
    own, run = report_of(AUDIT, inventory)
    run.exits(2)
    assert statuses(own) == {"one": "drifted", "two": "ok"}
    assert [entry["nodes"] for entry in own["todo"]] == [["one"]]


def test_a_root_with_odd_things_below_is_looked_at_all_the_same(
    report_of: Any, tree: Tree, fleet: Any, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for name in ("empty", "pipe", "odd", "good"):
        (home / name).mkdir(parents=True)
    tree("4.49.0").rename(home / "good" / "site")
    pipe = tree("4.57.6").rename(home / "pipe" / "site")
    (pipe / FILE).unlink()
    os.mkfifo(pipe / FILE)
    os.rename(tree("4.49.0"), os.fsencode(home / "odd") + b"/\xff")
    inventory = fleet(
        full={"megatron_bridge_roots": [str(home)]}, none={"megatron_bridge_roots": [str(home / "empty")]}
    )
    report, run = report_of(AUDIT, inventory)
    run.exits(2)
    nodes = {node["name"]: node for node in report["nodes"]}
    states = [each["patches"][0]["state"] for each in nodes["full"]["environments"]]
    assert sorted(states) == ["conflict", "native", "native"]
    assert nodes["none"]["status"] == "ok"


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("/dev/null/report", "the report could not be written: "),
        ("{{ no_such_variable }}/report", "megatron_bridge_report_dir has no value"),
    ],
)
def test_a_directory_that_cannot_be_used_is_told_and_costs_only_the_report(
    playbook: Playbook, tree: Tree, fleet: Any, directory: str, said: str
) -> None:
    variables = {"megatron_bridge_report_dir": directory}
    run = playbook(AUDIT, inventory=fleet(one=paths(tree("4.49.0"))), variables=variables).exits(0)
    assert said in run.stdout + run.stderr
    assert "PRIMUS PATCHES" in run.stdout


def test_an_audit_covers_patterns_and_every_copy_below_a_root(
    report_of: Any, tree: Tree, fleet: Any, venv: Callable[[str], Path], tmp_path: Path
) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    prefixes = [venv(version), venv(version)]
    (environments.site_packages(prefixes[0]) / "transformers.pth").write_text(f"{tree('4.49.0')}\n")
    deep = tmp_path / "home" / "user" / "deep" / "site-packages"
    deep.parent.mkdir(parents=True)
    tree("4.57.6").rename(deep)
    inventory = fleet(
        pattern={"megatron_bridge_pythons": [f"{tmp_path}/venv-*/bin/python*"], "megatron_bridge_imports": ["json"]},
        root={"megatron_bridge_roots": [str(tmp_path / "home")]},
        nothing={"megatron_bridge_pythons": [f"{tmp_path}/no-such-*/bin/python"]},
    )
    report, _run = report_of(AUDIT, inventory)
    nodes = {node["name"]: node["environments"] for node in report["nodes"]}
    assert [(each["prefix"], each["patches"][0]["state"]) for each in nodes["pattern"]] == [
        (str(prefixes[0]), "native"),
        (str(prefixes[1]), "missing"),
    ]
    assert [[entry["name"] for entry in each["imports"]] for each in nodes["pattern"]] == [["json"], ["json"]]
    assert [(each["path"], each["patches"][0]["state"]) for each in nodes["root"]] == [(str(deep), "pending")]
    assert [each["patches"][0]["state"] for each in nodes["nothing"]] == ["missing"]
    assert statuses(report) == {"pattern": "drifted", "root": "drifted", "nothing": "drifted"}


def test_older_processes_of_the_environment_are_told_and_left_alone(
    report_of: Any, playbook: Playbook, tree: Tree, fleet: Any, venv: Callable[[str], Path]
) -> None:
    environment = venv(f"{sys.version_info.major}.{sys.version_info.minor}")
    (environments.site_packages(environment) / "transformers.pth").write_text(f"{tree('4.57.6')}\n")
    python = environments.python_of(environment)
    inventory = fleet(
        one={"megatron_bridge_pythons": [str(python)], "megatron_bridge_imports": [], "megatron_bridge_verify": "never"}
    )
    wait = [python, "-c", "print('ready', flush=True); input()", "old training"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as old:
        assert old.stdout
        assert old.stdout.readline() == b"ready\n"
        playbook(SETUP, inventory=inventory).exits(0)
        with subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as new:
            assert new.stdout
            assert new.stdout.readline() == b"ready\n"
            report, run = report_of(AUDIT, inventory)
            assert (old.poll(), new.poll()) == (None, None)
            new.kill()
        old.kill()
    run.exits(0)
    processes = report["nodes"][0]["environments"][0]["processes"]
    (candidate,) = processes["candidates"]
    assert candidate["pid"] == old.pid
    assert candidate["command"].endswith("old training")
    assert candidate["patches"] == ["transformers_modeling_utils"]
    assert [entry["kind"] for entry in report["todo"]] == ["processes"]


def test_a_node_writes_its_own_metrics_where_it_is_told_to(
    playbook: Playbook, tree: Tree, fleet: Any, tmp_path: Path
) -> None:
    inventory = fleet(good=paths(tree("4.49.0")), bad=paths(tree("4.57.6")))
    for name, variables in inventory["all"]["hosts"].items():
        variables["megatron_bridge_textfile"] = str(tmp_path / f"{name}.prom")
    run = playbook(AUDIT, inventory=inventory).exits(2)
    assert not run.changed
    for name, wanted in {"good": "1", "bad": "0"}.items():
        text = (tmp_path / f"{name}.prom").read_text()
        assert promtool.complaints(text) == ""
        (line,) = [line for line in text.splitlines() if line.startswith("primus_patches_patch_wanted{")]
        assert f'node="{name}"' in line
        assert line.endswith(f"}} {wanted}")


def test_names_and_paths_with_markup_break_nothing(report_of: Any, tree: Tree, fleet: Any, tmp_path: Path) -> None:
    nasty = tree("4.57.6").rename(tmp_path / "<b>\"'&\n😀")
    name = "<img src=x onerror=alert(1)>'\"😀"
    report, run = report_of(AUDIT, fleet(**{name: paths(nasty)}))
    run.exits(2)
    assert report["nodes"][0]["name"] == name
    assert report["nodes"][0]["environments"][0]["path"] == str(nasty)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<img" not in page
    assert "<b>\"'" not in page


def test_an_unprivileged_user_audits_a_read_only_environment(
    report_of: Any, tree: Tree, fleet: Any, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    site = tree("4.57.6")
    for path in (site, *site.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "nobody").mkdir(mode=0o777)
    (tmp_path / "nobody").chmod(0o777)
    top = tmp_path
    while top != Path("/"):
        top.chmod(top.stat().st_mode | 0o011)
        top = top.parent
    before = command("find", str(site), "-printf", "%p %i %m %C@\n")
    nobody = {"ansible_become": True, "ansible_become_user": "nobody", "ansible_become_method": "su"}
    nobody |= {
        "ansible_become_flags": "-s /bin/sh",
        "ansible_remote_tmp": str(tmp_path / "nobody"),
        "ansible_pipelining": True,
    }
    report, _run = report_of(AUDIT, fleet(one={**paths(site), **nobody}))
    (patch,) = report["nodes"][0]["environments"][0]["patches"]
    assert (patch["state"], patch["files"][0]["file"]["mode"]) == ("pending", "0444")
    assert command("find", str(site), "-printf", "%p %i %m %C@\n") == before


@pytest.mark.parametrize("count", [1, 64, 2000])
def test_prometheus_own_tool_has_nothing_against_the_metrics(count: int) -> None:
    assert promtool.complaints(_metrics.text(observations.report(count))) == ""
