# The playbooks on nodes of every kind at once: each ends as what it is, stops no other, and the summary is true.
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import environments, fleet, interpreters, promtool, wheels
from lab.fleet import PROBE, Layer, Node
from lab.old_script import old_script
from lab.report import TAKES_STATS, stats, summary
from lab.run import run as command

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Controller, Run

    Start = Callable[..., fleet.Fleet]
    Control = Callable[[fleet.Fleet], Controller]
    Rows = dict[tuple[str, str], tuple[str, str]]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet")]

SETUP, AUDIT = "primus.patches.setup_primus", "primus.patches.audit_primus"
VENV, OTHER, CONDA, HANGS = "/opt/venv/bin/python", "/opt/other/bin/python", "/opt/conda/bin/python", "/opt/hangs"
DO, DONE, NATIVE = ("pending", "applied"), ("applied", "none"), ("native", "none")
MIGRATE = ("outdated", "migrated")
WOULD = {"applied": "would apply", "migrated": "would migrate"}
REFUSED, ABSENT, STUCK, BROKEN = (
    ("unsupported", "failed"),
    ("missing", "failed"),
    ("pending", "failed"),
    ("failed",) * 2,
)
LOST = ("unreachable", "none")
# (The real imports are in tests/integration/test_megatron.py.)
VARIABLES = {"megatron_bridge_pythons": [VENV], **fleet.PROBED}


@dataclass(frozen=True)
class Kind:
    """What some nodes have in common."""

    count: int
    expected: dict[str, tuple[str, str]]
    """State as found and action of the first run, by environment."""
    layers: tuple[Layer, ...] = ()
    prepare: Callable[[fleet.Fleet, Node], None] = lambda _nodes, _node: None
    size: int = 256 * 1024 * 1024
    variables: dict[str, Any] = field(default_factory=dict)


def venv(version: str = "4.57.6", target: str = "/opt/venv", how: str = "overlay") -> Layer:
    return Layer(fleet.base(version), target, how)


def file_of(prefix: Path) -> Path | None:
    """Return the file that is patched, of an environment that has it."""
    return next(prefix.glob("lib/python3*/site-packages/transformers/modeling_utils.py"), None)


def image(directory: Path, content: bytes) -> Path:
    """Return an environment that was patched when its image was built."""
    command("cp", "-a", fleet.base("4.57.6"), directory / "image")
    path = file_of(directory / "image")
    assert path
    path.write_bytes(content)
    return directory / "image"


def kinds(patched: Path, content: bytes) -> dict[str, Kind]:
    """Return the kinds by name; ``patched``: the environment of an image."""

    def write(new: Callable[[bytes], bytes]) -> Callable[[fleet.Fleet, Node], None]:
        def prepare(_nodes: fleet.Fleet, node: Node) -> None:
            path = file_of(node.path("/opt/venv"))
            assert path
            path.write_bytes(new(path.read_bytes()))

        return prepare

    both = {"megatron_bridge_pythons": [OTHER, VENV]}
    hangs = {"megatron_bridge_pythons": [HANGS, VENV], "megatron_bridge_timeout": 5}
    found = {
        "stock": Kind(3, {VENV: DO}, (venv(),)),
        "patched": Kind(2, {VENV: DONE}, (venv(),), write(lambda _old: content)),
        "script": Kind(2, {VENV: MIGRATE}, (venv(),), write(lambda old: old_script(old.decode()).encode())),
        "old": Kind(2, {VENV: NATIVE}, (venv("4.49.0"),)),
        "five": Kind(2, {VENV: REFUSED}, (venv("5.0.0"),)),
        "none": Kind(2, {VENV: ABSENT}, prepare=bare),
        "two": Kind(2, {OTHER: NATIVE, VENV: DO}, (venv("4.49.0", "/opt/other"), venv()), variables=both),
        "mixed": Kind(2, {OTHER: REFUSED, VENV: DO}, (venv("5.0.0", "/opt/other"), venv()), variables=both),
        "uv": Kind(2, {VENV: DO}, prepare=hard_links),
        "image": Kind(2, {VENV: DONE}, (Layer(patched, "/opt/venv", "image"),)),
        "readonly": Kind(2, {VENV: STUCK}, (venv(how="image"),)),
        "full": Kind(2, {VENV: STUCK}, (venv(),), fill, size=16 * 1024 * 1024),
        "hangs": Kind(2, {HANGS: BROKEN, VENV: DO}, (venv(),), hanging, variables=hangs),
        "absent": Kind(2, {VENV: LOST}),
        "lost": Kind(2, {VENV: DO}, (venv(),)),
        "conda": Kind(1, {VENV: DO}, (venv(),)),
    }
    try:
        alone = {"megatron_bridge_pythons": [CONDA]}
        found["conda"] = Kind(1, {CONDA: DO}, (Layer(fleet.conda(), "/opt/conda"),), variables=alone)
    except interpreters.NoInterpreter as error:
        warnings.warn(f"no node in conda's layout: {error}", stacklevel=1)
    return found


def bare(nodes: fleet.Fleet, node: Node) -> None:
    nodes.run(node.name, fleet.python(), "-I", "-m", "venv", "--without-pip", "/opt/venv")


def hard_links(nodes: fleet.Fleet, node: Node) -> None:
    """Let uv fill the environment from its cache on the same disk."""
    bare(nodes, node)
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("no uv beside this interpreter: run the tests by ./dev test")
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--no-config", "--link-mode", "hardlink"]
    install += ["--cache-dir", node.path("/opt/uv"), "--python", sys.executable]
    install += ["--target", environments.site_packages(node.path("/opt/venv")), wheels.wheel("transformers", "4.57.6")]
    subprocess.run(install, check=True)
    path = file_of(node.path("/opt/venv"))
    assert path
    assert path.stat().st_nlink == 2


def fill(_nodes: fleet.Fleet, node: Node) -> None:
    """Leave less room on the disk than the new file takes, and as much as Ansible needs for its module."""
    system = os.statvfs(node.path("/opt"))
    size = system.f_bfree * system.f_frsize - 300 * 1000
    node.path("/opt/filler").write_bytes(bytes(size))


def hanging(_nodes: fleet.Fleet, node: Node) -> None:
    node.path(HANGS).write_text("#!/bin/sh\nsleep 1234\n")
    node.path(HANGS).chmod(0o755)


def rows(run: Run) -> Rows:
    """Return the summary's lines without their reasons."""
    return {key: (state, action) for key, (state, action, _reason) in summary(run).items()}


def status(expected: dict[str, tuple[str, str]]) -> str:
    """Return how Ansible's own task must end on a node with these lines."""
    if LOST in expected.values():
        return "unreachable"
    actions = {action for _state, action in expected.values()}
    return (
        "failed"
        if "failed" in actions
        else "changed"
        if actions & WOULD.keys() | actions & set(WOULD.values())
        else "ok"
    )


def told(run: Run, expected: Rows) -> None:
    """Check a run of setup_primus: exit status, the summary, Ansible's own verdict and the custom stats agree."""
    # (Of a node that cannot be reached, the task has no result in any environment.)
    expected = {(node, "-" if line == LOST else where): line for (node, where), line in expected.items()}
    assert rows(run) == expected, run
    run.exits(4 if LOST in expected.values() else 2)
    nodes: dict[str, dict[str, tuple[str, str]]] = {}
    for (node, environment), line in expected.items():
        nodes.setdefault(node, {})[environment] = line
    assert {node: run.one("site_patch", node).status for node in nodes} == {
        node: status(lines) for node, lines in nodes.items()
    }
    assert {
        (node, record["environment"] or "-"): record["state"]
        for node, records in stats(run).items()
        for record in records
    } == {key: state for key, (state, _action) in expected.items()}


def reported(directory: Path, expected: Rows) -> None:
    """Check the report of an audit against what the summary must say of the same nodes."""
    report = json.loads((directory / "report.json").read_text())
    by_node: dict[str, set[tuple[str, str]]] = {}
    for (node, _environment), line in expected.items():
        by_node.setdefault(node, set()).add(line)
    status = {
        node: "unreachable" if LOST in lines else "ok" if lines <= {DONE, NATIVE} else "drifted"
        for node, lines in by_node.items()
    }
    assert {node["name"]: node["status"] for node in report["nodes"]} == status
    assert sum(report["summary"]["nodes"].values()) == len(status)
    assert promtool.complaints((directory / "report.prom").read_text()) == ""
    details = {node["name"]: node["environments"][0]["patches"][0] for node in report["nodes"] if node["environments"]}
    assert details["uv-1"]["files"][0]["file"]["links"] == 1, "the patched file is no longer the cache's"
    assert (details["stock-1"]["files"][0]["file"]["filesystem"], details["stock-1"]["revision_found"]) == (
        "overlay",
        1,
    )
    assert details["script-1"]["integrity"] == "patched"
    (unreachable,) = [entry for entry in report["todo"] if entry["kind"] == "unreachable"]
    assert unreachable["nodes"] == ["absent-1", "absent-2"]


class Disks:
    """What is on the nodes' disks where the patch is at work."""

    def __init__(self, nodes: fleet.Fleet) -> None:
        """Find the files of all environments of all nodes."""
        self.files: dict[tuple[str, str], Path] = {}
        for node in nodes.nodes.values():
            for prefix in node.path("/opt").iterdir():
                path = file_of(prefix)
                if path:
                    self.files[node.name, f"/opt/{prefix.name}/bin/python"] = path
        self.original = self.contents()
        self.names = self._names()

    def contents(self) -> dict[tuple[str, str], bytes]:
        return {key: path.read_bytes() for key, path in self.files.items()}

    def identities(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """Return what a write would change, even one of the same bytes."""
        stats = {key: (path.stat(), path.parent.stat()) for key, path in self.files.items()}
        return {key: (one.st_ino, one.st_ctime_ns, two.st_ctime_ns) for key, (one, two) in stats.items()}

    def no_file_more(self) -> bool:
        """Tell whether no other file has come into being beside one that is patched."""
        return self._names() == self.names

    def _names(self) -> dict[tuple[str, str], list[str]]:
        return {key: sorted(entry.name for entry in path.parent.iterdir()) for key, path in self.files.items()}


def one_fleet(table: dict[str, Kind], start_fleet: Start) -> tuple[fleet.Fleet, dict[str, Any], Rows]:
    """Return the fleet, its inventory and what is expected of the first run."""
    members = {f"{name}-{number}": kind for name, kind in table.items() for number in range(1, kind.count + 1)}
    nodes = start_fleet(
        Node(name, (*kind.layers, PROBE), kind.size, kind.variables)
        for name, kind in members.items()
        if not name.startswith("absent")
    )
    for name, node in nodes.nodes.items():
        members[name].prepare(nodes, node)
    inventory = nodes.inventory(**VARIABLES)
    for number in (1, 2):
        inventory["gpu_nodes"]["hosts"][f"absent-{number}"] = {"ansible_host": f"10.77.200.{number}"}
    return (
        nodes,
        inventory,
        {(name, where): line for name, kind in members.items() for where, line in kind.expected.items()},
    )


def true_reasons(run: Run) -> None:
    """Check what the summary says of those that failed."""
    reasons = {key: line[2] for key, line in summary(run).items()}
    assert "read-only file system" in reasons["readonly-1", VENV]
    assert "expected room for" in reasons["full-1", VENV]
    assert "did not answer within" in reasons["hangs-1", HANGS]
    assert "5.0.0" in reasons["five-1", VENV]
    assert "No route to host" in reasons["absent-1", "-"]


def nothing_hangs(nodes: fleet.Fleet) -> None:
    """Check that no interpreter was left behind where it hangs."""
    for name in ("hangs-1", "hangs-2"):
        assert nodes.run(name, "sh", "-c", "pgrep -f 'sleep 123[4]' || echo none") == "none\n"


def caches_hold(nodes: fleet.Fleet, content: bytes) -> None:
    """Check the file that uv's cache shared with the environment."""
    for name in ("uv-1", "uv-2"):
        (cached,) = nodes.nodes[name].path("/opt/uv").rglob("transformers/modeling_utils.py")
        assert cached.read_bytes() == content


def nothing_left(nodes: fleet.Fleet) -> bool:
    """Tell whether every node's directory of temporary files is empty."""
    return not any(os.listdir(node.path("/tmp")) for node in nodes.nodes.values())  # noqa: S108 (inside of a node)


def test_all_nodes_end_as_what_they_are_and_stop_no_other(start_fleet: Start, control: Control, tmp_path: Path) -> None:
    original, content = fleet.texts(tmp_path / "tree")
    nodes, inventory, first = one_fleet(kinds(image(tmp_path, content), content), start_fleet)
    controls, disks = control(nodes), Disks(nodes)

    # What check mode says is what comes, and it touches nothing.
    before = disks.identities()
    predicted = controls.playbook(SETUP, inventory=inventory, check=True, settings=TAKES_STATS)
    told(
        predicted,
        {key: (state, WOULD.get(action, action)) for key, (state, action) in first.items()},
    )
    true_reasons(predicted)
    assert disks.identities() == before
    assert disks.contents() == disks.original

    # The run; two nodes are unplugged while they try the imports.
    lost = [nodes.nodes[name] for name in ("lost-1", "lost-2")]
    for node in lost:
        node.path("/run/pause-import").touch()
    with controls.start(SETUP, inventory=inventory, settings=TAKES_STATS) as started:
        for node in lost:
            fleet.wait(node.path("/run/reached-import").exists, 120)
            nodes.unplug(node.name)
        run = started.end()
    done = {key: LOST if key[0].startswith("lost") else line for key, line in first.items()}
    told(run, done)
    true_reasons(run)
    assert disks.contents() == {
        key: content if done[key] in (DO, MIGRATE) else old for key, old in disks.original.items()
    }
    assert disks.no_file_more()
    nothing_hangs(nodes)
    caches_hold(nodes, original)

    # A node whose cable is out does its work to the end all the same.
    for node in lost:
        node.path("/run/pause-import").unlink()
        fleet.wait(lambda node=node: disks.files[node.name, VENV].read_bytes() == content)
        nodes.heal(node.name)
    # Those that hang are mended. The next run finds nothing more to do, and the audit says the same.
    for name in ("hangs-1", "hangs-2"):
        inventory["gpu_nodes"]["hosts"][name]["megatron_bridge_pythons"] = [VENV]
    then = {key: DONE if line in (DO, MIGRATE) else line for key, line in first.items() if key[1] != HANGS}
    before = disks.identities()
    again = controls.playbook(SETUP, inventory=inventory, settings=TAKES_STATS)
    told(again, then)
    assert not again.changed
    audit = controls.playbook(AUDIT, inventory=inventory, variables={"megatron_bridge_report_dir": str(tmp_path)})
    judged = {key: (line[0], "drifted") if line in (REFUSED, ABSENT, STUCK) else line for key, line in then.items()}
    assert rows(audit.exits(4)) == judged
    reported(tmp_path, then)
    names = [
        f"{name}-1" for name in ("stock", "patched", "script", "old", "two", "uv", "image", "conda", "hangs", "lost")
    ]
    healthy = controls.playbook(AUDIT, inventory=inventory, variables={"primus_hosts": ",".join(names)}).exits(0)
    assert rows(healthy) == {key: line for key, line in then.items() if key[0] in names}
    assert disks.identities() == before
    assert nothing_left(nodes)


def test_an_unplugged_node_is_unreachable_within_30_seconds(start_fleet: Start, control: Control) -> None:
    nodes = start_fleet(Node(name, (venv(), PROBE)) for name in ("n1", "n2", "n3"))
    unplugged, controls = nodes.nodes["n2"], control(nodes)
    unplugged.path("/run/pause-import").touch()
    ping = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]}]
    controls.playbook(ping, inventory=nodes.inventory()).exits(0)
    assert len(list(nodes.directory.glob("cp/*"))) == 3, "connections that live on"
    with controls.start(SETUP, inventory=nodes.inventory(**VARIABLES), settings=TAKES_STATS) as started:
        fleet.wait(unplugged.path("/run/reached-import").exists)
        nodes.unplug("n2")
        start = time.monotonic()
        fleet.wait(lambda: any(task.status == "unreachable" for task in started.tasks()))
        assert time.monotonic() - start < 30
        run = started.end(30)
    told(run, {("n1", VENV): DO, ("n2", VENV): LOST, ("n3", VENV): DO})
