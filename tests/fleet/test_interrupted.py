# Controllers and nodes that die in the middle: no file is half-written, nothing blocks, the next run converges.
from __future__ import annotations

import contextlib
import fcntl
import random
import time
from typing import TYPE_CHECKING

import pytest
from lab import fleet
from lab.fleet import PROBE, Layer, Node
from lab.report import states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lab.controller import Controller, Started

    Start = Callable[..., fleet.Fleet]
    Control = Callable[[fleet.Fleet], Controller]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet")]

SETUP = "primus.patches.setup_primus"
VENV = "/opt/venv/bin/python"
VARIABLES = {"megatron_bridge_pythons": [VENV], **fleet.PROBED}
DO, DONE, LOST = ("pending", "applied"), ("applied", "none"), ("unreachable", "none")
# The moments at which a node is stopped (see lab/inside): before the file is replaced, and after.
BEFORE, AFTER = ("import", "created", "written", "kept", "rename"), ("renamed", "bytecode")
FREE = ("free1", "free2")
COMPILE = """
import py_compile, sys
print(py_compile.compile(sys.argv[1], invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH))
"""


class Patients:
    """Nodes with an environment to be patched, which has bytecode that Python believes without a look at the source."""

    def __init__(self, nodes: fleet.Fleet, original: bytes, patched: bytes) -> None:
        """Prepare the nodes."""
        self.nodes, self.original, self.patched = nodes, original, patched
        first = next(iter(nodes.nodes))
        (path,) = nodes.nodes[first].path("/opt/venv").glob("lib/python3*/site-packages/transformers/modeling_utils.py")
        self._file = f"/opt/venv/{path.relative_to(nodes.nodes[first].path('/opt/venv'))}"
        self._bytecode = nodes.run(first, VENV, "-c", COMPILE, self._file).strip()
        self._compiled = nodes.nodes[first].path(self._bytecode).read_bytes()
        assert b"prune_linear_layer" not in self._compiled
        self.reset()
        for name in nodes.nodes:
            (self.path(name).parents[1] / "lab.pth").write_text("/srv/lab\nimport lab_pause\n")

    def path(self, name: str) -> Path:
        return self.nodes.nodes[name].path(self._file)

    def reset(self) -> None:
        """Give each node what it had in the beginning."""
        for name, node in self.nodes.nodes.items():
            self.path(name).write_bytes(self.original)
            node.path(self._bytecode).parent.mkdir(exist_ok=True)
            node.path(self._bytecode).write_bytes(self._compiled)

    def pause(self, moments: Iterable[str]) -> None:
        """Let the node of that name stop at each of these moments."""
        for moment in moments:
            self.nodes.nodes[moment].path(f"/run/pause-{moment}").touch()

    def reached(self, moments: Iterable[str]) -> None:
        """Wait until these nodes have stopped."""
        for moment in moments:
            fleet.wait(self.nodes.nodes[moment].path(f"/run/reached-{moment}").exists, 120)

    def begun(self) -> None:
        """Wait until the first module is on its node."""
        fleet.wait(lambda: any(self.temporary().values()), 120)

    def temporary(self) -> dict[str, list[str]]:
        """Return the names of temporary files, less their random ends."""
        found = {name: node.path("/tmp").iterdir() for name, node in self.nodes.nodes.items()}  # noqa: S108 (a node's)
        return {name: sorted(path.name[:-8].rstrip("_-") for path in paths) for name, paths in found.items()}

    def elsewhere(self) -> dict[str, list[str]]:
        """Return the names of what is in other places where programs leave something behind."""
        places = ("/root", "/home/trainer", "/var/tmp")  # noqa: S108 (a node's)
        return {
            name: sorted(path.name for place in places for path in node.path(place).iterdir())
            for name, node in self.nodes.nodes.items()
        }

    def clear(self, *names: str) -> None:
        """Empty the directory of temporary files, as most systems do when they boot."""
        for name in names:
            self.nodes.run(name, "sh", "-c", "rm -rf /tmp/*")

    def release(self, moments: Iterable[str]) -> None:
        for moment in moments:
            self.nodes.nodes[moment].path(f"/run/pause-{moment}").unlink()

    def done(self) -> dict[str, bool]:
        """Return which nodes have the patched file; there is nothing between that and the original one."""
        content = {}
        for name, node in self.nodes.nodes.items():
            # The bytecode first. The nodes work while we read, and new bytecode may follow a new file, but never come
            # before it: what was new when the bytecode was read is new when the file is.
            new = False
            with contextlib.suppress(FileNotFoundError):
                new = node.path(self._bytecode).read_bytes() != self._compiled
            content[name] = self.path(name).read_bytes()
            assert content[name] in (self.original, self.patched), name
            assert content[name] == self.patched or not new, name
        return {name: text == self.patched for name, text in content.items()}

    def settle(self) -> None:
        """Wait until nothing of ours runs on the nodes any more."""
        for name in self.nodes.nodes:
            fleet.wait(lambda name=name: self.nodes.run(name, "sh", "-c", "pgrep -c python || true") == "0\n")

    def unlocked(self) -> None:
        """Check that nobody holds a lock on the files."""
        for name in self.nodes.nodes:
            with self.path(name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def leftovers(self, below: str = "/opt/venv") -> dict[str, list[str]]:
        """Return the new files that were never put in their place."""
        found = {name: list(node.path(below).rglob("*primus-tmp")) for name, node in self.nodes.nodes.items()}
        return {name: [path.name for path in paths] for name, paths in found.items() if paths}

    def healthy(self) -> None:
        """Check that every node is as it should be: the patch, its bytecode, and nothing besides."""
        self.settle()
        assert set(self.done().values()) == {True}
        for name, node in self.nodes.nodes.items():
            path = node.path(self._bytecode)
            assert not path.exists() or b"prune_linear_layer" in path.read_bytes(), name
        self.unlocked()
        assert self.leftovers() == {}


@pytest.fixture
def patients(start_fleet: Start, tmp_path: Path) -> Callable[[Iterable[str]], Patients]:
    def make(names: Iterable[str]) -> Patients:
        layers = (Layer(fleet.base("4.57.6"), "/opt/venv"), PROBE)
        return Patients(start_fleet(Node(name, layers) for name in names), *fleet.texts(tmp_path / "tree"))

    return make


def power_off(nodes: fleet.Fleet, started: Started) -> None:
    """Kill the controller with all that it started."""
    started.kill()
    nodes.power_off_controller()


def interrupted(patients: Patients, controls: Controller) -> None:
    """Kill the controller while each node is at its moment of the work, and the free ones are done."""
    nodes = patients.nodes
    patients.pause((*BEFORE, *AFTER))
    with controls.start(SETUP, inventory=nodes.inventory(**VARIABLES)) as started:
        patients.reached((*BEFORE, *AFTER))
        fleet.wait(lambda: {task.host for task in started.tasks() if task.status == "changed"} == set(FREE))
        power_off(nodes, started)
    assert patients.done() == {**dict.fromkeys(BEFORE, False), **dict.fromkeys((*AFTER, *FREE), True)}


def test_nodes_finish_their_work_when_the_controller_dies(
    patients: Callable[[Iterable[str]], Patients], control: Control
) -> None:
    those = patients((*BEFORE, *AFTER, *FREE))
    controls = control(those.nodes)
    interrupted(those, controls)
    those.release((*BEFORE, *AFTER))
    those.healthy()
    assert not any(those.temporary().values())
    run = controls.playbook(SETUP, inventory=those.nodes.inventory(**VARIABLES)).exits(0)
    assert states(run) == dict.fromkeys(those.nodes.nodes, DONE)
    assert not run.changed


def test_the_next_run_converges_when_controller_and_nodes_lose_power(
    patients: Callable[[Iterable[str]], Patients], control: Control
) -> None:
    those = patients((*BEFORE, *AFTER, *FREE))
    controls, elsewhere = control(those.nodes), those.elsewhere()
    interrupted(those, controls)
    before = those.done()
    those.nodes.stop(*BEFORE, *AFTER)
    those.nodes.start(*BEFORE, *AFTER)
    assert those.done() == before
    assert set(those.leftovers()) == {"created", "written", "kept", "rename", "bytecode"}
    # What an import and Ansible's module leave in /tmp; beyond that, nothing.
    payload = "ansible_primus.patches.site_patch_payload"
    left = {"import": [payload, "primus-imports"], **{name: [payload] for name in (*BEFORE[1:], *AFTER)}}
    assert {name: names for name, names in those.temporary().items() if names} == left
    assert those.elsewhere() == elsewhere
    those.unlocked()
    run = controls.playbook(SETUP, inventory=those.nodes.inventory(**VARIABLES)).exits(0)
    assert states(run) == {**dict.fromkeys(BEFORE, DO), **dict.fromkeys((*AFTER, *FREE), DONE)}
    those.healthy()
    controls.playbook("primus.patches.revert_primus", inventory=those.nodes.inventory(**VARIABLES)).exits(0)
    assert those.leftovers() == {}


def test_a_node_that_reboots_costs_nobody_else_and_converges(
    patients: Callable[[Iterable[str]], Patients], control: Control
) -> None:
    moments = ("import", "rename", "renamed")
    those = patients((*moments, *FREE))
    controls, inventory = control(those.nodes), those.nodes.inventory(**VARIABLES)
    those.pause(moments)
    with controls.start(SETUP, inventory=inventory) as started:
        those.reached(moments)
        those.nodes.stop(*moments)
        those.nodes.start(*moments)
        run = started.end(120)
    run.exits(4)
    assert states(run) == {**dict.fromkeys(moments, LOST), **dict.fromkeys(FREE, DO)}
    assert those.done() == {"import": False, "rename": False, "renamed": True, **dict.fromkeys(FREE, True)}
    again = controls.playbook(SETUP, inventory=inventory).exits(0)
    assert states(again) == {"import": DO, "rename": DO, "renamed": DONE, **dict.fromkeys(FREE, DONE)}
    those.healthy()


def test_no_moment_leaves_a_file_that_is_neither_the_old_nor_the_new_one(
    patients: Callable[[Iterable[str]], Patients], control: Control
) -> None:
    chance = random.Random(57)  # noqa: S311 (the same moments, as far as machines are alike, each time)
    those = patients(f"n{number}" for number in range(1, 9))
    controls, inventory = control(those.nodes), those.nodes.inventory(**VARIABLES)
    with controls.start(SETUP, inventory=inventory) as started:
        those.begun()
        start = time.monotonic()
        fleet.wait(lambda: all(those.done().values()))
        span = time.monotonic() - start
        started.end().exits(0)
    for number in range(4):
        those.reset()
        with controls.start(SETUP, inventory=inventory) as started:
            those.begun()
            time.sleep(span * chance.random())
            power_off(those.nodes, started)
        if number % 2:
            those.nodes.stop("n2", "n4", "n6", "n8")
            those.nodes.start("n2", "n4", "n6", "n8")
            those.clear("n2", "n4", "n6", "n8")
        those.done()
        # (While those that were not cut off may still be at it.)
        run = controls.playbook(SETUP, inventory=inventory).exits(0)
        assert set(states(run).values()) <= {DO, DONE}
        those.healthy()
