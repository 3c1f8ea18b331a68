# The playbooks on real controllers: setup, audit and revert, the summary and exit status, whatever becomes of nodes.
from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import environments
from lab.report import TAKES_STATS, states, stats, summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Run

    Playbook = Callable[..., Run]
    Tree = Callable[[str], Path]

FILE = "transformers/modeling_utils.py"
LOCAL = {"ansible_connection": "local"}
# Without ControlPersist: the path of its socket would be too long in a test's directory.
UNREACHABLE = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "ansible_ssh_args": "-o BatchMode=yes",
}


@pytest.fixture
def fleet(system_python: Path) -> Callable[..., dict[str, Any]]:
    """Return ``fleet(name={variables})``: an inventory of local nodes with Ansible on the system's Python."""

    def make(**hosts: dict[str, Any]) -> dict[str, Any]:
        local = {**LOCAL, "ansible_python_interpreter": str(system_python)}
        return {"all": {"hosts": {name: {**local, **variables} for name, variables in hosts.items()}}}

    return make


@pytest.fixture
def with_transformers(venv: Callable[[str], Path], tree: Tree) -> Callable[[str], Path]:
    """Return ``with_transformers(version)``: an interpreter whose environment holds the top of Transformers only."""

    def make(version: str) -> Path:
        environment = venv(f"{sys.version_info.major}.{sys.version_info.minor}")
        (environments.site_packages(environment) / "transformers.pth").write_text(f"{tree(version)}\n")
        return environments.python_of(environment)

    return make


def paths(*directories: Path) -> dict[str, Any]:
    return {"megatron_bridge_paths": [str(directory) for directory in directories]}


def fingerprint(site: Path) -> dict[str, tuple[int, int]]:
    """Return what tells whether anything below a directory was written."""
    return {str(path): (path.stat().st_ino, path.stat().st_ctime_ns) for path in (site, *site.rglob("*"))}


def test_setup_predicts_then_changes_then_has_nothing_to_do(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    name = "primus.patches.setup_primus"
    site = tree("4.57.6")
    original = (site / FILE).read_bytes()
    inventory = fleet(node=paths(site))

    predicted = playbook(name, inventory=inventory, check=True, diff=True)
    assert (predicted.rc, states(predicted)) == (0, {"node": ("pending", "would apply")}), predicted
    assert predicted.changed
    assert "+from .pytorch_utils import" in predicted.stdout
    assert (site / FILE).read_bytes() == original

    done = playbook(name, inventory=inventory)
    assert (done.rc, states(done)) == (0, {"node": ("pending", "applied")}), done
    assert (site / FILE).read_bytes() != original

    for check in (True, False):
        again = playbook(name, inventory=inventory, check=check)
        assert (again.rc, states(again), again.changed) == (0, {"node": ("applied", "none")}, False), again


@pytest.mark.parametrize("name", ["setup_primus", "audit_primus", "revert_primus"])
def test_playbooks_run_by_file_too(playbook: Playbook, collection: Path, tree: Tree, fleet: Any, name: str) -> None:
    file = collection / f"ansible_collections/primus/patches/playbooks/{name}.yml"
    run = playbook(file, inventory=fleet(node=paths(tree("4.49.0"))))
    assert (run.rc, states(run)) == (0, {"node": ("native", "none")}), run


def test_each_node_ends_as_what_it_is_and_stops_no_other(
    playbook: Playbook, tree: Tree, fleet: Any, with_transformers: Callable[[str], Path], tmp_path: Path
) -> None:
    broken = with_transformers("4.57.6")
    (empty := tmp_path / "empty").mkdir()
    inventory = fleet(
        gpu1=paths(stock := tree("4.57.6")),
        gpu2=paths(native := tree("4.49.0")),
        gpu3=paths(five := tree("5.0.0")),
        gpu4=paths(empty),
        gpu5={"megatron_bridge_pythons": ["/no/such/python"]},
        gpu6={"megatron_bridge_pythons": str(broken), "megatron_bridge_imports": ["no_such_module"]},
        gpu7=UNREACHABLE,
        gpu10=paths(five, second := tree("4.56.2")),
    )
    run = playbook("primus.patches.setup_primus", inventory=inventory, settings=TAKES_STATS)

    lines = summary(run)
    assert {key: line[:2] for key, line in lines.items()} == {
        ("gpu1", str(stock)): ("pending", "applied"),
        ("gpu2", str(native)): ("native", "none"),
        ("gpu3", str(five)): ("unsupported", "failed"),
        ("gpu4", str(empty)): ("missing", "failed"),
        ("gpu5", "/no/such/python"): ("failed", "failed"),
        ("gpu6", str(broken)): ("pending", "failed"),
        ("gpu7", "-"): ("unreachable", "none"),
        ("gpu10", str(five)): ("unsupported", "failed"),
        ("gpu10", str(second)): ("pending", "applied"),
    }, run
    assert [node for node, _environment in lines][-3:] == ["gpu7", "gpu10", "gpu10"]
    assert "5.0.0" in lines["gpu3", str(five)][2]
    assert "/no/such/python" in lines["gpu5", "/no/such/python"][2]
    assert "import no_such_module: " in lines["gpu6", str(broken)][2]
    assert "Connection refused" in lines["gpu7", "-"][2]
    assert run.rc == 4
    # Who takes custom stats gets the same, of nodes in any condition.
    assert {
        (node, line["environment"] or "-"): line["state"] for node, lines in stats(run).items() for line in lines
    } == {key: state for key, (state, *_others) in lines.items()}


@pytest.mark.parametrize("check", [False, True])
def test_the_summary_comes_also_when_every_node_failed(
    playbook: Playbook, tree: Tree, fleet: Any, *, check: bool
) -> None:
    inventory = fleet(one=paths(tree("5.0.0")), two=UNREACHABLE)
    run = playbook("primus.patches.setup_primus", inventory=inventory, check=check, settings=TAKES_STATS)
    assert states(run) == {"one": ("unsupported", "failed"), "two": ("unreachable", "none")}
    assert set(stats(run)) == {"one", "two"}


def test_the_summary_comes_also_when_every_node_is_unreachable(playbook: Playbook, fleet: Any) -> None:
    for name in ("setup_primus", "audit_primus", "revert_primus"):
        run = playbook(f"primus.patches.{name}", inventory=fleet(one=UNREACHABLE))
        assert (run.rc, states(run)) == (4, {"one": ("unreachable", "none")}), run


def test_batches_add_up_and_stop_at_the_failure_share(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    good, bad = paths(tree("4.49.0")), paths(tree("5.0.0"))
    inventory = fleet(n1=good, n2=good, n3=bad, n4=good)
    serial = {"primus_serial": [1, 2, "100%"]}

    through = playbook("primus.patches.setup_primus", inventory=inventory, variables=serial, settings=TAKES_STATS)
    expected = {
        "n1": ("native", "none"),
        "n2": ("native", "none"),
        "n3": ("unsupported", "failed"),
        "n4": ("native", "none"),
    }
    assert (through.rc, states(through)) == (2, expected), through
    assert set(stats(through)) == set(expected)

    variables = {**serial, "primus_max_fail_percentage": 49}
    stopped = playbook("primus.patches.setup_primus", inventory=inventory, variables=variables, settings=TAKES_STATS)
    assert (stopped.rc, set(states(stopped))) == (2, {"n1", "n2", "n3"}), stopped
    assert "1 of 2 nodes of this batch failed, more than primus_max_fail_percentage=49 allows" in stopped.stdout
    assert set(stats(stopped)) == {"n1", "n2", "n3"}

    allowed = playbook(
        "primus.patches.setup_primus", inventory=inventory, variables={**serial, "primus_max_fail_percentage": 50}
    )
    assert set(states(allowed)) == set(expected), allowed


def test_strategy_free_in_the_configuration_is_no_obstacle(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    inventory = fleet(one=paths(tree("4.49.0")), two=paths(tree("5.0.0")))
    run = playbook("primus.patches.setup_primus", inventory=inventory, settings={"strategy": "free", **TAKES_STATS})
    assert states(run) == {"one": ("native", "none"), "two": ("unsupported", "failed")}
    assert len(run.of("set_stats")) == 1


def test_the_role_costs_a_node_one_task(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    inventory = fleet(one=paths(tree("4.49.0"), tree("4.55.4")), two=paths(tree("4.49.0")))
    run = playbook("primus.patches.setup_primus", inventory=inventory)
    assert [task.action.rpartition(".")[2] for task in run.tasks if task.host == "two"] == ["site_patch"], run


def test_primus_hosts_names_the_nodes(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    inventory = fleet(one=paths(tree("4.49.0")), two={})
    run = playbook("primus.patches.audit_primus", inventory=inventory, variables={"primus_hosts": "one"})
    assert (run.rc, states(run)) == (0, {"one": ("native", "none")})


def test_revert_gives_back_the_wheels_bytes_and_tries_no_import(
    playbook: Playbook, tree: Tree, fleet: Any, with_transformers: Callable[[str], Path]
) -> None:
    site = tree("4.57.6")
    original = (site / FILE).read_bytes()
    python = with_transformers("4.57.6")
    inventory = fleet(one=paths(site), two={"megatron_bridge_pythons": [str(python)]})
    playbook("primus.patches.setup_primus", inventory=inventory, variables={"megatron_bridge_imports": []})
    assert (site / FILE).read_bytes() != original

    predicted = playbook("primus.patches.revert_primus", inventory=inventory, check=True)
    assert (predicted.rc, set(states(predicted).values())) == (0, {("applied", "would revert")}), predicted
    run = playbook("primus.patches.revert_primus", inventory=inventory)
    assert (run.rc, set(states(run).values())) == (0, {("applied", "reverted")}), run
    assert (site / FILE).read_bytes() == original
    again = playbook("primus.patches.revert_primus", inventory=inventory)
    assert (again.rc, set(states(again).values()), again.changed) == (0, {("pending", "none")}, False), again


def test_an_audit_changes_nothing_whatever_the_flags(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    pending, applied = tree("4.57.6"), tree("4.57.6")
    inventory = fleet(pending=paths(pending), applied=paths(applied))
    playbook("primus.patches.setup_primus", "--limit", "applied", inventory=inventory)
    before = [fingerprint(site) for site in (pending, applied)]
    for check, state, wrong in ((True, "present", "pending"), (False, "absent", "applied")):
        variables = {"megatron_bridge_state": state}
        run = playbook("primus.patches.audit_primus", inventory=inventory, variables=variables, check=check, diff=True)
        assert (run.rc, run.changed) == (2, False), run
        assert states(run) == {name: (name, "drifted" if name == wrong else "none") for name in ("pending", "applied")}
    assert [fingerprint(site) for site in (pending, applied)] == before


def test_an_audit_exits_non_zero_for_the_states_that_count(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    inventory = fleet(pending=paths(tree("4.57.6")), native=paths(tree("4.49.0")))

    def audit(*arguments: str, **more: Any) -> Run:
        return playbook("primus.patches.audit_primus", *arguments, inventory=inventory, **more)

    failed = audit()
    assert failed.rc == 2
    assert "transformers_modeling_utils is pending" in failed.stdout, failed
    assert audit("--limit", "native").rc == 0
    assert audit(variables={"primus_audit_fail_states": ["conflict", "outdated"]}).rc == 0
    assert audit("--extra-vars", "primus_audit_fail_states=pending").rc == 2
    assert audit("--limit", "native", variables={"primus_audit_fail_states": ["native"]}).rc == 2


def test_after_a_revert_an_audit_says_how_to_audit_for_absence(
    playbook: Playbook, fleet: Any, with_transformers: Callable[[str], Path], tree: Tree, tmp_path: Path
) -> None:
    (empty := tmp_path / "empty").mkdir()
    sites = (tree("4.57.6"), tree("4.49.0"), tree("5.0.0"), empty)
    # What jobs import from a patched Transformers fails without the patch.
    python = {
        "megatron_bridge_pythons": [str(with_transformers("4.57.6"))],
        "megatron_bridge_imports": ["no_such_name"],
    }
    inventory = fleet(one=paths(*sites[:2]), two={**python, **paths(*sites[2:])})
    revert = {
        "megatron_bridge_unsupported": "skip",
        "megatron_bridge_missing": "skip",
        "megatron_bridge_verify": "never",
    }
    playbook("primus.patches.setup_primus", inventory=inventory, variables=revert).exits(0)

    absent = {"megatron_bridge_state": "absent", "megatron_bridge_report_dir": str(tmp_path / "report")}
    still = playbook("primus.patches.audit_primus", inventory=inventory, variables=absent).exits(2)
    assert sorted((line[0], line[1]) for line in summary(still).values()) == [
        *[("applied", "drifted")] * 2,
        ("missing", "none"),
        ("native", "none"),
        ("unsupported", "none"),
    ]
    assert "megatron_bridge_state=absent" not in still.stdout.partition("PRIMUS PATCHES")[2]
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {entry["do"] for entry in report["todo"] if not entry["note"]} == {
        "Run revert_primus: the patch is still there."
    }

    playbook("primus.patches.revert_primus", inventory=inventory).exits(0)
    gone = playbook("primus.patches.audit_primus", inventory=inventory, variables=absent).exits(0)
    assert sorted({line[:2] for line in summary(gone).values()}) == [
        ("missing", "none"),
        ("native", "none"),
        ("pending", "none"),
        ("unsupported", "none"),
    ]
    limited = playbook("primus.patches.audit_primus", "--limit", "one", inventory=inventory).exits(2)
    hint = "Where that is right, as after a revert, audit with -e megatron_bridge_state=absent."
    assert hint in limited.stdout.partition("PRIMUS PATCHES")[2]


def test_an_audit_that_ends_with_2_says_one_word_and_the_reason_also_without_v(
    playbook: Playbook, fleet: Any, with_transformers: Callable[[str], Path], tree: Tree
) -> None:
    inventory = fleet(
        one=paths(tree("4.57.6")),
        two={"megatron_bridge_pythons": [str(with_transformers("4.49.0"))], "megatron_bridge_imports": ["no_such"]},
        three=paths(tree("5.0.0")),
    )
    run = playbook("primus.patches.audit_primus", inventory=inventory, environment={"ANSIBLE_VERBOSITY": "0"}).exits(2)
    lines = run.stdout.partition("PRIMUS PATCHES")[2].splitlines()[2:]
    assert sorted(line.split()[:2] for line in lines[:3]) == [
        ["native", "drifted"],
        ["pending", "drifted"],
        ["unsupported", "drifted"],
    ]
    reasons = "\n".join(lines[3:])
    for reason in ("not applied; revision 1 is current", "import no_such: ", "transformers 5.0.0 in "):
        assert reason in reasons, run


def test_records_are_published_only_where_somebody_takes_them(
    playbook: Playbook, tree: Tree, fleet: Any, tmp_path: Path
) -> None:
    inventory = fleet(one=paths(tree("4.49.0")))
    runner = {"AWX_ISOLATED_DATA_DIR": str(tmp_path)}
    for name in ("setup_primus", "audit_primus", "revert_primus"):
        for arguments in ((), ("--tags", "megatron_bridge")):
            plain = playbook(f"primus.patches.{name}", *arguments, inventory=inventory).exits(0)
            assert stats(plain) == {}, plain
            assert "custom stats" not in plain.stdout.lower(), plain
            assert re.findall(r"ok=(\d+)", plain.stdout) == ["1"], plain
        taken = playbook(f"primus.patches.{name}", inventory=inventory, settings=TAKES_STATS)
        assert set(stats(taken)) == {"one"}
    taken = playbook("primus.patches.setup_primus", inventory=inventory, environment=runner)
    assert set(stats(taken)) == {"one"}


@pytest.mark.parametrize(
    ("name", "variable", "message"),
    [
        (
            "setup_primus",
            "megatron_bridge_stat",
            "unknown variable megatron_bridge_stat: the nearest one of the role is megatron_bridge_state",
        ),
        ("audit_primus", "primus_host", "unknown variable primus_host: expected primus_hosts"),
        (
            "revert_primus",
            "primus_max_fail_percent",
            "unknown variable primus_max_fail_percent: expected primus_max_fail_percentage",
        ),
    ],
)
def test_a_misspelt_variable_ends_a_playbook_before_a_node_is_asked(
    playbook: Playbook, tree: Tree, fleet: Any, name: str, variable: str, message: str
) -> None:
    inventory = fleet(one=paths(tree("4.57.6")), two=UNREACHABLE)
    run = playbook(f"primus.patches.{name}", inventory=inventory, variables={variable: "absent"})
    assert run.rc not in (0, 2), run
    assert run.tasks == []
    assert (run.stdout + run.stderr).count(message) == 1, run


def test_names_of_others_and_those_that_runs_leave_behind_are_no_mistake(
    playbook: Playbook, tree: Tree, fleet: Any
) -> None:
    known = {
        # (AWX makes the custom stats of one job variables of the next.)
        "primus_patches": {},
        "primus_home": "/opt/primus",
        "primus_port": 1,
        "megatron_bridge": "",
        "megatron_bridge_result": {},
        "megatron_bridge_audit": {},
        "megatron_bridge_roots": [],
    }
    inventory = fleet(one=paths(tree("4.49.0")))
    for name in ("setup_primus", "audit_primus"):
        playbook(f"primus.patches.{name}", inventory=inventory, variables=known).exits(0)


def test_a_misspelt_variable_of_one_node_fails_that_node(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    site = paths(tree("4.57.6"))
    inventory = fleet(one={**site, "megatron_bridge_imprts": ["json"]}, two=paths(tree("4.49.0")))
    before = fingerprint(Path(site["megatron_bridge_paths"][0]))
    for name in ("setup_primus", "audit_primus", "revert_primus"):
        run = playbook(f"primus.patches.{name}", inventory=inventory).exits(2)
        assert states(run) == {"one": ("failed", "failed"), "two": ("native", "none")}, run
        (reason,) = (line[2] for (node, _environment), line in summary(run).items() if node == "one")
        assert (
            reason == "unknown variable megatron_bridge_imprts: the nearest one of the role is megatron_bridge_imports"
        )
    assert fingerprint(Path(site["megatron_bridge_paths"][0])) == before


def test_an_audit_tells_the_states_also_where_imports_fail(
    playbook: Playbook, fleet: Any, with_transformers: Callable[[str], Path]
) -> None:
    python = with_transformers("4.49.0")
    inventory = fleet(
        good={"megatron_bridge_imports": ["json"]},
        bad={"megatron_bridge_imports": ["json", "no_such_module"]},
        unasked={"megatron_bridge_imports": ["no_such_module"], "megatron_bridge_verify": "never"},
    )
    variables = {"megatron_bridge_pythons": [str(python)]}
    run = playbook("primus.patches.audit_primus", inventory=inventory, variables=variables, settings=TAKES_STATS)
    assert run.rc == 2
    assert states(run) == {"good": ("native", "none"), "bad": ("native", "drifted"), "unasked": ("native", "none")}, run
    lines = summary(run)
    assert lines["good", str(python)][2].endswith("; imports work")
    assert "import no_such_module: " in lines["bad", str(python)][2]
    assert {task.host for task in run.of("site_patch_info") if task.status == "failed"} == {"bad"}
    assert stats(run)["bad"][0]["action"] == "drifted"


def test_an_audit_tells_of_interpreters_and_nodes_that_do_not_answer(
    playbook: Playbook, tree: Tree, fleet: Any
) -> None:
    inventory = fleet(
        one={"megatron_bridge_pythons": ["/no/such/python"], **paths(tree("4.49.0"))},
        two=UNREACHABLE,
        three=paths(tree("4.49.0")),
    )
    run = playbook("primus.patches.audit_primus", inventory=inventory)
    assert run.rc == 4
    lines = {key: line[:2] for key, line in summary(run).items()}
    assert lines["one", "/no/such/python"] == ("failed", "failed")
    assert lines["two", "-"] == ("unreachable", "none")
    assert sorted(state for state, _action in lines.values()) == ["failed", "native", "native", "unreachable"], run


def test_the_summary_is_printed_once_also_where_the_user_enabled_it(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    inventory = fleet(one=paths(tree("4.49.0")))
    settings = {"callbacks_enabled": "lab_record, primus.patches.fleet_summary"}
    run = playbook("primus.patches.setup_primus", inventory=inventory, settings=settings)
    assert states(run) == {"one": ("native", "none")}
    own = [{"hosts": "all", "gather_facts": False, "roles": ["primus.patches.megatron_bridge"]}]
    assert states(playbook(own, inventory=inventory, settings=settings)) == {"one": ("native", "none")}
    nothing = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": "hello"}}]}]
    assert "PRIMUS PATCHES" not in playbook(nothing, inventory=inventory, settings=settings).stdout


def test_a_playbook_of_the_user_may_import_ours(playbook: Playbook, tree: Tree, fleet: Any) -> None:
    inventory = fleet(one=paths(tree("4.57.6")))
    site = [{"import_playbook": "primus.patches.setup_primus"}, {"import_playbook": "primus.patches.audit_primus"}]
    run = playbook(site, inventory=inventory)
    assert (run.rc, states(run)) == (0, {"one": ("applied", "none")}), run


def test_names_with_control_characters_break_no_line(
    playbook: Playbook, tree: Tree, fleet: Any, tmp_path: Path
) -> None:
    nasty = tree("4.49.0").rename(tmp_path / "one\ntwo\x1b[31m\u202e")
    run = playbook("primus.patches.setup_primus", inventory=fleet(one=paths(nasty)))
    ((node, environment),) = summary(run)
    assert (node, environment) == ("one", f"{tmp_path}/one two\\x1b[31m\\u202e"), run


@pytest.mark.parametrize("no_color", [False, True])
def test_the_summary_has_ansibles_colours(playbook: Playbook, tree: Tree, fleet: Any, *, no_color: bool) -> None:
    environment = {"ANSIBLE_FORCE_COLOR": "1"} if not no_color else {"NO_COLOR": "1"}
    settings = {} if no_color else {"nocolor": "false"}
    inventory = fleet(one=paths(tree("4.49.0")))
    run = playbook("primus.patches.setup_primus", inventory=inventory, environment=environment, settings=settings)
    (line,) = [line for line in run.stdout.partition("PRIMUS PATCHES")[2].splitlines() if "native  none" in line]
    assert line.startswith("one" if no_color else "\x1b[0;32mone"), repr(line)
