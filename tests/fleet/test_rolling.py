# Rolling out: the canary first, then batches, a stop at a share of failures, and going on from there; as any user.
from __future__ import annotations

import hashlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest
from lab import environments, fleet, snapshot, wheels
from lab.fleet import Layer, Node
from lab.report import DONE, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lab.controller import Controller, Run

    Start = Callable[..., fleet.Fleet]
    Control = Callable[[fleet.Fleet], Controller]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet")]

SETUP, REVERT = "primus.patches.setup_primus", "primus.patches.revert_primus"
VENV = "/opt/venv"
CANARY_FIRST = {"primus_serial": [1, "10%", "100%"]}
ONE_THEN_ALL = {"primus_serial": [1, "100%"]}
SUMMARY = {"callbacks_enabled": "lab_record, primus.patches.fleet_summary"}
# Says which node imported it and when (the nodes have one clock, as they have one kernel).
WITNESS = """import os, socket, time
with open(os.path.join(os.path.dirname(__file__), "log"), "a") as log:
    log.write("%s %d\\n" % (socket.gethostname(), time.time_ns()))
"""


def names(first: int, last: int) -> list[str]:
    return [f"n{number:03d}" for number in range(first, last + 1)]


def inside(base: Path) -> str:
    """Return where nodes see the site-packages of an environment that is at /opt/venv."""
    return f"{VENV}/{environments.site_packages(base).relative_to(base)}"


def variables(**more: Any) -> dict[str, Any]:
    return {"megatron_bridge_pythons": [f"{VENV}/bin/python"], "megatron_bridge_imports": [], **more}


def file_of(nodes: fleet.Fleet, name: str) -> Path:
    (path,) = nodes.nodes[name].path(VENV).glob("lib/python3*/site-packages/transformers/modeling_utils.py")
    return path


def sums(nodes: fleet.Fleet, of: Iterable[str]) -> set[str]:
    return {hashlib.sha256(file_of(nodes, name).read_bytes()).hexdigest() for name in of}


def original() -> str:
    file = wheels.unpacked("transformers", "4.57.6") / "transformers" / "modeling_utils.py"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def disks(nodes: fleet.Fleet, of: Iterable[str]) -> dict[str, Any]:
    """Return all that is known about what these nodes have written to their environments."""
    return snapshot.take(*map(nodes.written, of))


def looked_at(run: Run) -> list[str]:
    """Return the nodes on which the patches were tried, in the order in which they were through."""
    return [task.host for task in run.of("site_patch")]


def told(run: Run) -> dict[str, Any]:
    """Return what the operator was told of each node, less what may differ from run to run."""
    return {task.host: (task.status, list(map(_item, task.environments))) for task in run.of("site_patch")}


def _item(item: dict[str, Any]) -> Any:
    imports = [(done["name"], done["ok"], done["proof"], done["error"]) for done in item.get("imports", [])]
    failed = item.get("failed", False)
    # (Of what did not fail, the message says in check mode that it would be done, and else that it was.)
    return item["changed"], failed, item["msg"] if failed else "", item.get("diff"), item.get("patches"), imports


def actions(run: Run) -> dict[str, tuple[str, str]]:
    """Return (state, action) of the only patch in the only environment of each node that told it."""
    return {
        task.host: (item["patches"][0]["state"], item["patches"][0]["action"])
        for task in run.of("site_patch")
        for item in task.environments
        if item.get("patches")
    }


def step(control: Controller, nodes: fleet.Fleet, *arguments: str, play: Any = SETUP, **options: Any) -> Run:
    """Return the run, after its prediction: that touched no node and told the same."""
    before = disks(nodes, nodes.nodes)
    predicted = control.playbook(play, *arguments, check=True, diff=True, **options)
    assert disks(nodes, nodes.nodes) == before, predicted
    run = control.playbook(play, *arguments, diff=True, **options)
    assert predicted.rc == run.rc, f"{predicted}\n{run}"
    assert told(predicted) == told(run), f"{predicted}\n{run}"
    would = {node: (state, DONE.get(action, action)) for node, (state, action) in states(predicted).items()}
    assert would == states(run), f"{predicted}\n{run}"
    return run


def batches(order: list[str], *sizes: int) -> list[set[str]]:
    """Cut a list of nodes into batches."""
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    assert len(order) == ends[-1], order
    return [set(order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """Return a package whose imports are logged, in one file for all nodes."""
    (package := tmp_path / "witness").mkdir()
    (package / "__init__.py").write_text(WITNESS)
    return package


def started(witness: Path) -> list[tuple[str, int]]:
    """Return when the imports began on which node, in that order; and forget it."""
    log = witness / "log"
    lines = [line.split() for line in log.read_text().splitlines()]
    log.unlink()
    return [(name, int(time)) for name, time in lines]


def test_each_batch_waits_for_the_proof_and_the_writing_of_the_one_before(
    start_fleet: Start, control: Control, witness: Path
) -> None:
    base = fleet.base("4.57.6")
    layers = (Layer(base, VENV), Layer(witness, f"{inside(base)}/witness", "shared"))
    nodes = start_fleet(Node(name, layers) for name in names(1, 10))
    options = {
        "inventory": nodes.inventory(**variables(megatron_bridge_imports=["witness"])),
        "variables": {"primus_serial": [1, "20%", "100%"]},
    }
    expected = [{"n001"}, {"n002", "n003"}, set(names(4, 10))]

    def in_batches(run: Run, imported: list[tuple[str, int]]) -> None:
        assert batches(looked_at(run), 1, 2, 7) == expected, run
        assert batches([name for name, _time in imported], 1, 2, 7) == expected

    before = disks(nodes, nodes.nodes)
    predicted = control(nodes).playbook(SETUP, check=True, diff=True, **options).exits(0)
    assert disks(nodes, nodes.nodes) == before
    assert set(states(predicted).values()) == {("pending", "would apply")}
    in_batches(predicted, started(witness))

    run = control(nodes).playbook(SETUP, diff=True, **options).exits(0)
    imported = started(witness)
    in_batches(run, imported)
    assert told(run) == told(predicted)
    assert states(run) == dict.fromkeys(names(1, 10), ("pending", "applied"))
    proofs = [_item(item)[-1] for task in run.of("site_patch") for item in task.environments]
    assert proofs == [[("witness", True, "before", None)]] * 10
    for earlier, later in itertools.pairwise(expected):
        written = max(file_of(nodes, name).stat().st_ctime_ns for name in earlier)
        assert written < min(time for name, time in imported if name in later)
    assert len(sums(nodes, nodes.nodes)) == 1
    assert original() not in sums(nodes, nodes.nodes)

    again = control(nodes).playbook(SETUP, **options).exits(0)
    assert not again.changed
    assert states(again) == dict.fromkeys(names(1, 10), ("applied", "none"))


@pytest.mark.parametrize("cause", ["import", "unsupported", "interpreter", "unreachable"])
def test_a_canary_that_fails_keeps_all_others_as_they_were(start_fleet: Start, control: Control, cause: str) -> None:
    """Also with the default primus_max_fail_percentage, which lets every batch fail."""
    good, five = Layer(fleet.base("4.57.6"), VENV), Layer(fleet.base("5.0.0"), VENV)
    broken: dict[str, Any] = {
        "import": {"megatron_bridge_imports": ["json", "no_such_module"]},
        "interpreter": {"megatron_bridge_pythons": ["/no/such/python"]},
    }
    canary = Node("n001", (five if cause == "unsupported" else good,), variables=broken.get(cause, {}))
    nodes = start_fleet([canary, *(Node(name, (good,)) for name in names(2, 4))])
    if cause == "unreachable":
        nodes.unplug("n001")
    inventory = nodes.inventory(**variables())
    options = {"inventory": inventory, "variables": CANARY_FIRST, "settings": {"timeout": "2"}}

    before = disks(nodes, nodes.nodes)
    run = step(control(nodes), nodes, **options)
    assert run.rc == (4 if cause == "unreachable" else 2), run
    assert disks(nodes, nodes.nodes) == before
    assert {task.host for task in run.tasks if not task.action.endswith("set_stats")} == {"n001"}, run
    assert set(states(run)) == {"n001"}, run

    inventory["gpu_nodes"]["hosts"]["n001"].update(variables())
    nodes.heal("n001")
    limit = ["--limit", "!n001"] if cause == "unsupported" else []
    done = control(nodes).playbook(SETUP, *limit, **options).exits(0)
    assert states(done) == dict.fromkeys(names(2 if limit else 1, 4), ("pending", "applied"))
    assert looked_at(done)[0] == ("n002" if limit else "n001")


@pytest.mark.skipif(os.environ.get("CI") != "true" and bool(fleet.why_not()), reason=fleet.why_not())
def test_the_real_megatron_bridge_is_imported_on_the_canary_before_others_are_touched(
    control: Control, megatron_env: Path
) -> None:
    layer = Layer(megatron_env, VENV)
    seen = fleet.seen(environments.python_of(megatron_env))
    with fleet.Fleet((Node(name, (layer,)) for name in names(1, 4)), **seen) as nodes:
        # No megatron_bridge_imports: the role's own are meant.
        inventory = nodes.inventory(megatron_bridge_pythons=[f"{VENV}/bin/python"])
        options = {"inventory": inventory, "variables": CANARY_FIRST}
        real = ["megatron.bridge", "transformers.modeling_utils"]

        def imported(run: Run) -> dict[str, list[tuple[str, bool, str]]]:
            return {
                task.host: [(done["name"].partition(":")[0], done["ok"], done["proof"]) for done in item["imports"]]
                for task in run.of("site_patch")
                for item in task.environments
            }

        before = disks(nodes, nodes.nodes)
        inventory["gpu_nodes"]["hosts"]["n001"]["megatron_bridge_imports"] = ["megatron.bridge", "megatron.no_such"]
        stopped = step(control(nodes), nodes, **options).exits(2)
        assert disks(nodes, nodes.nodes) == before
        tried = [("megatron.bridge", True, "before"), ("megatron.no_such", False, "before")]
        assert imported(stopped) == {"n001": tried}
        assert states(stopped) == {"n001": ("pending", "failed")}

        del inventory["gpu_nodes"]["hosts"]["n001"]["megatron_bridge_imports"]
        run = control(nodes).playbook(SETUP, **options).exits(0)
        assert batches(looked_at(run), 1, 1, 2) == [{"n001"}, {"n002"}, {"n003", "n004"}]
        assert imported(run) == {node: [(name, True, "before") for name in real] for node in nodes.nodes}
        assert states(run) == dict.fromkeys(names(1, 4), ("pending", "applied"))
        times = {name: file_of(nodes, name).stat().st_ctime_ns for name in nodes.nodes}
        assert times["n001"] < times["n002"] < min(times["n003"], times["n004"])
        # The nodes' own interpreters, without any preview, now find what the wheel had lost.
        for name in ("n001", "n004"):
            code = "from transformers.modeling_utils import Conv1D, prune_linear_layer; print(Conv1D.__name__)"
            assert nodes.run(name, f"{VENV}/bin/python", "-B", "-c", code) == "Conv1D\n"


def some_broken(*five: str, last: int) -> list[Node]:
    """Return nodes n001 to ``last``, these with a Transformers that the patch does not admit."""
    good, bad = Layer(fleet.base("4.57.6"), VENV), Layer(fleet.base("5.0.0"), VENV)
    return [Node(name, (bad if name in five else good,)) for name in names(1, last)]


def test_the_share_of_failures_stops_and_a_second_run_goes_on_from_there(start_fleet: Start, control: Control) -> None:
    nodes = start_fleet(some_broken("n003", last=8))
    nodes.run("n004", "mv", f"{VENV}/bin", f"{VENV}/away")  # a broken environment

    def given(**more: Any) -> dict[str, Any]:
        return {"inventory": nodes.inventory(**variables()), "variables": {"primus_serial": [1, 4, "100%"], **more}}

    untried = disks(nodes, names(6, 8))
    stopped = step(control(nodes), nodes, **given(primus_max_fail_percentage=49)).exits(2)
    assert "2 of 4 nodes of this batch failed, more than primus_max_fail_percentage=49 allows" in stopped.stdout
    done = dict.fromkeys(["n001", "n002", "n005"], ("pending", "applied"))
    assert states(stopped) == {**done, "n003": ("unsupported", "failed"), "n004": ("failed", "failed")}, stopped
    assert batches(looked_at(stopped), 1, 4) == [{"n001"}, set(names(2, 5))]
    assert disks(nodes, names(6, 8)) == untried

    # Not mended, it stops where it stopped, and what was done stays as it is.
    kept = disks(nodes, done)
    again = control(nodes).playbook(SETUP, **given(primus_max_fail_percentage=49)).exits(2)
    assert {name: states(again)[name] for name in done} == dict.fromkeys(done, ("applied", "none")), again
    assert set(states(again)) == set(names(1, 5))
    assert disks(nodes, names(6, 8)) == untried

    # One is mended, the other left out.
    nodes.run("n004", "mv", f"{VENV}/away", f"{VENV}/bin")
    resumed = step(control(nodes), nodes, "--limit", "!n003", **given(primus_max_fail_percentage=0)).exits(0)
    pending = dict.fromkeys(["n004", *names(6, 8)], ("pending", "applied"))
    assert states(resumed) == {**pending, **dict.fromkeys(done, ("applied", "none"))}
    assert disks(nodes, done) == kept
    assert {task.host for task in resumed.tasks if task.status == "changed"} == set(pending)

    # Put up with, the other one is passed by.
    last = control(nodes).playbook(SETUP, **given(primus_max_fail_percentage=25)).exits(2)
    assert set(states(last)) == set(names(1, 8))
    assert states(last)["n003"] == ("unsupported", "failed")
    skip = given(primus_max_fail_percentage=0, megatron_bridge_unsupported="skip")
    assert not control(nodes).playbook(SETUP, **skip).exits(0).changed


def test_the_share_is_of_each_batch_and_of_nodes_that_could_be_reached(start_fleet: Start, control: Control) -> None:
    nodes = start_fleet(some_broken("n003", "n007", last=10))
    inventory = nodes.inventory(**variables())

    def reached(share: int) -> tuple[int, set[str]]:
        given = {"primus_serial": [1, 4], "primus_max_fail_percentage": share}
        settings = {"timeout": "2"}
        run = control(nodes).playbook(SETUP, inventory=inventory, variables=given, check=True, settings=settings)
        return run.rc, set(states(run))

    # 1 of 4, and 1 of 4 again: nobody adds that up.
    assert reached(25) == (2, set(names(1, 10)))
    assert reached(24) == (2, set(names(1, 5)))
    nodes.unplug("n002")
    assert reached(34) == (4, set(names(1, 10)))  # 1 of 3
    assert reached(25) == (4, set(names(1, 5)))


def test_limit_and_forks_change_which_nodes_and_how_many_at_once_and_nothing_else(
    start_fleet: Start, control: Control
) -> None:
    nodes = start_fleet(some_broken("n004", last=6))
    # (The last one may stay behind.)
    inventory = nodes.inventory(**variables(megatron_bridge_unsupported="skip"))
    options = {"inventory": inventory, "variables": CANARY_FIRST}
    chosen = ["n002", "n005", "n006"]
    others = [name for name in nodes.nodes if name not in chosen]

    before = disks(nodes, others)
    limited = step(control(nodes), nodes, "--limit", "~n00[256]", **options).exits(0)
    assert states(limited) == dict.fromkeys(chosen, ("pending", "applied")), limited
    assert looked_at(limited)[0] == "n002"
    assert disks(nodes, others) == before
    assert sums(nodes, chosen).isdisjoint(sums(nodes, others))
    control(nodes).playbook(REVERT, "--limit", ",".join(chosen), **options).exits(0)
    assert sums(nodes, chosen) == {original()}

    found, contents = {}, {}
    for forks in ("1", "32"):
        run = control(nodes).playbook(SETUP, "--forks", forks, **options).exits(0)
        found[forks], contents[forks] = told(run), [file_of(nodes, name).read_bytes() for name in nodes.nodes]
        assert looked_at(run)[:1] == ["n001"]
        if forks == "1":
            assert looked_at(run) == names(1, 6)
        back = control(nodes).playbook(REVERT, "--forks", forks, **options).exits(0)
        assert states(back)["n004"] == ("unsupported", "none")
        assert sums(nodes, set(nodes.nodes) - {"n004"}) == {original()}
    assert found["1"] == found["32"]
    assert contents["1"] == contents["32"]
    assert {name: state for name, (state, *_rest) in found["1"].items()} == {
        **dict.fromkeys(names(1, 6), "changed"),
        "n004": "ok",
    }


def test_the_role_in_plays_with_strategy_free(start_fleet: Start, control: Control) -> None:
    """Each way to name the role is a play of its own, on two good nodes, a bad one, and one that is unplugged."""
    role = "primus.patches.megatron_bridge"
    ways: dict[str, Any] = {
        "roles": {"roles": [role]},
        "import_role": {"tasks": [{"ansible.builtin.import_role": {"name": role}}]},
        "include_role": {"tasks": [{"ansible.builtin.include_role": {"name": role}}]},
    }
    free = {"gather_facts": False, "strategy": "ansible.builtin.free"}
    play = [{"hosts": way, **free, **work} for way, work in ways.items()]
    bad, unplugged = ("n003", "n007", "n011"), ("n004", "n008", "n012")
    nodes = start_fleet(some_broken(*bad, last=12))
    for name in unplugged:
        nodes.unplug(name)
    inventory = nodes.inventory(**variables())
    for number, way in enumerate(ways):
        inventory[way] = {"hosts": {name: {} for name in names(4 * number + 1, 4 * number + 4)}}
    options = {"inventory": inventory, "settings": {"timeout": "2", **SUMMARY}}

    run = step(control(nodes), nodes, play=play, **options).exits(4)
    good = [name for name in nodes.nodes if name not in {*bad, *unplugged}]
    failed = dict.fromkeys(bad, ("unsupported", "failed"))
    lost = dict.fromkeys(unplugged, ("unreachable", "none"))
    assert states(run) == {**dict.fromkeys(good, ("pending", "applied")), **failed, **lost}, run
    assert len(sums(nodes, good)) == 1
    for name in unplugged:
        nodes.heal(name)
    again = control(nodes).playbook(play, **options).exits(2)
    fine, healed = dict.fromkeys(good, ("applied", "none")), dict.fromkeys(unplugged, ("pending", "applied"))
    assert states(again) == {**fine, **failed, **healed}, again
    assert len(sums(nodes, [*good, *unplugged])) == 1


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return an environment with the top of Transformers only, of which chown in a node makes a copy."""
    base = environments.bare(fleet.python(), tmp_path / "small")
    site = wheels.modeling_tree("4.57.6", tmp_path / "tree")
    for path in site.iterdir():
        path.rename(environments.site_packages(base) / path.name)
    return base


TRAINER = fleet.USERS["trainer"]


def own(nodes: fleet.Fleet, name: str, base: Path, owner: str, *only: str) -> None:
    """Give the environment of a node (or ``only`` these paths below transformers) to an owner."""
    below = f"{inside(base)}/transformers"
    nodes.run(name, "chown", "-R", owner, *([f"{below}/{path}" for path in only] or [VENV]))


def let_in(nodes: fleet.Fleet) -> None:
    """Let sshd read its list of keys as the user who logs in."""
    for name in nodes.nodes:
        nodes.run(name, "chmod", "644", "/run/lab/authorized_keys")


def belongings(nodes: fleet.Fleet) -> set[tuple[int, int, str]]:
    """Return owner, group and mode of the file on all nodes."""
    found = [file_of(nodes, name).stat() for name in nodes.nodes]
    return {(file.st_uid, file.st_gid, oct(file.st_mode & 0o7777)) for file in found}


def compiled(nodes: fleet.Fleet, base: Path, owner: str) -> None:
    """Compile the file on all nodes, as the first import does."""
    for name in nodes.nodes:
        file = f"{inside(base)}/transformers/modeling_utils.py"
        nodes.run(name, f"{VENV}/bin/python", "-m", "compileall", "-q", file)
        nodes.run(name, "chown", "-R", owner, f"{inside(base)}/transformers/__pycache__")


# Ansible's variables for a node on which it works as that user without become.
LOGIN, ROOT = {"ansible_user": "trainer", "ansible_become": False}, {"ansible_become": False}
BECOME = ("--become", "--become-user", "trainer")


@pytest.mark.parametrize("how", ["command line", "role"])
def test_a_user_who_owns_the_environment(start_fleet: Start, control: Control, small: Path, how: str) -> None:
    """By become, which the command line or the play of the role asks for; by login; and root for that user."""
    users: dict[str, dict[str, Any]] = {"n001": {}, "n002": LOGIN, "n003": ROOT}
    nodes = start_fleet(Node(name, (Layer(small, VENV),), variables=more) for name, more in users.items())
    for name in nodes.nodes:
        own(nodes, name, small, "trainer:trainer")
    compiled(nodes, small, "trainer:trainer")
    for name in nodes.nodes:
        file_of(nodes, name).chmod(0o640)
    let_in(nodes)
    inventory = nodes.inventory(**variables(ansible_become_method="su", megatron_bridge_imports=["json"]))
    arguments = BECOME if how == "command line" else ()
    role = {"role": "primus.patches.megatron_bridge", "become": True, "become_user": "trainer"}
    plays = {
        state: [{"hosts": "all", "gather_facts": False, "vars": {"megatron_bridge_state": state}, "roles": [role]}]
        for state in ("present", "absent")
    }
    setup, revert = (SETUP, REVERT) if how == "command line" else plays.values()
    options = {"inventory": inventory, "variables": ONE_THEN_ALL, "settings": SUMMARY}
    kept = belongings(nodes)
    assert kept == {(TRAINER, TRAINER, "0o640")}
    caches = [file_of(nodes, name).parent / "__pycache__" for name in nodes.nodes]

    applied = step(control(nodes), nodes, *arguments, play=setup, **options).exits(0)
    assert states(applied) == dict.fromkeys(users, ("pending", "applied"))
    assert original() not in sums(nodes, nodes.nodes)
    assert belongings(nodes) == kept
    made = [path.stat() for cache in caches for path in cache.iterdir()]
    assert {(file.st_uid, file.st_gid) for file in made} == {(TRAINER, TRAINER)}
    assert not control(nodes).playbook(setup, *arguments, **options).exits(0).changed
    reverted = step(control(nodes), nodes, *arguments, play=revert, **options).exits(0)
    assert states(reverted) == dict.fromkeys(users, ("applied", "reverted"))
    assert sums(nodes, nodes.nodes) == {original()}
    assert belongings(nodes) == kept


# What of an environment of trainer's belongs to whom else, and what trainer is told then.
TOLD = {
    ("root:root",): "run as its owner (become_user)",
    ("root:root", "modeling_utils.py"): "run as its owner (become_user)",
    ("trainer:daemon", "modeling_utils.py"): "change its group (chgrp)",
}


def test_a_user_who_does_not_own_it_changes_nothing_and_is_told_so_by_the_prediction(
    start_fleet: Start, control: Control, small: Path
) -> None:
    cases = {
        f"n{number:03d}": (foreign, more)
        for number, (foreign, more) in enumerate(itertools.product(TOLD, ({}, LOGIN)), 1)
    }
    nodes = start_fleet(Node(name, (Layer(small, VENV),), variables=more) for name, (_foreign, more) in cases.items())
    for name, (foreign, _more) in cases.items():
        own(nodes, name, small, "trainer:trainer")
        own(nodes, name, small, *foreign)
    let_in(nodes)
    before = disks(nodes, nodes.nodes)

    inventory = nodes.inventory(**variables(ansible_become_method="su"))
    run = step(control(nodes), nodes, *BECOME, inventory=inventory).exits(2)
    assert states(run) == dict.fromkeys(cases, ("pending", "failed")), run
    for name, (foreign, _more) in cases.items():
        (item,) = run.one("site_patch", name).environments
        assert TOLD[foreign] in item["msg"], run
    assert "Traceback" not in str(run)
    assert disks(nodes, nodes.nodes) == before
    # Whether a node is as it should be, it may ask all the same.
    audit = control(nodes).playbook("primus.patches.audit_primus", *BECOME, inventory=inventory).exits(2)
    assert states(audit) == dict.fromkeys(cases, ("pending", "drifted"))

    # Root does it where all is root's. Where there is more than one owner, or a group that the owner cannot give, root
    # would have to mix one user's files with another's.
    for host in inventory["gpu_nodes"]["hosts"].values():
        host["ansible_user"] = "root"
    mixed = [name for name, (foreign, _more) in cases.items() if len(foreign) > 1]
    before = disks(nodes, mixed)
    root = step(control(nodes), nodes, inventory=inventory).exits(2)
    done = {name: action for name, (_state, action) in states(root).items()}
    assert done == {name: "failed" if name in mixed else "applied" for name in cases}, root
    assert disks(nodes, mixed) == before
    assert original() not in sums(nodes, set(cases) - set(mixed))
