# Nodes on one shared directory: it is written once, nobody reads a torn file, and one node can stand for all.
from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from lab import environments, fleet, snapshot
from lab.fleet import Layer, Node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.controller import Controller, Run

    Start = Callable[..., fleet.Fleet]
    Control = Callable[[fleet.Fleet], Controller]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet")]

PYTHON = "/srv/venv/bin/python"
# Writes a line when it is imported: so it is known which nodes imported, and how often.
WITNESS = "import socket\nwith open('/srv/venv/witness', 'a') as log:\n    log.write(socket.gethostname() + '\\n')\n"
# The first node that imports it never comes back.
ENDLESS = """
import socket, time
try:
    with open("/srv/venv/first", "x") as file:
        file.write(socket.gethostname())
except FileExistsError:
    pass
else:
    time.sleep(600)
"""
# Loads the shared file as an import does, bytecode included, until it is told to stop, and says which sizes it had. It
# is not executed, as that needs torch.
READER = r"""
import importlib.machinery, os, sys
path, stop = sys.argv[1:]
seen = set()
while not os.path.exists(stop):
    loader = importlib.machinery.SourceFileLoader("modeling_utils", path)
    code = loader.get_code("modeling_utils")           # raises for what is torn: SyntaxError, EOFError, ...
    text = open(path, "rb").read()
    compile(text, path, "exec")
    seen.add(len(text))
print(*sorted(seen))
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a directory with an environment that all nodes see as /srv/venv."""
    directory = shutil.copytree(fleet.base("4.57.6"), tmp_path / "venv", symlinks=True)
    (environments.site_packages(directory) / "witness.py").write_text(WITNESS)
    return directory


@pytest.fixture
def on_shared(start_fleet: Start, shared: Path) -> Callable[[int], fleet.Fleet]:
    def start(count: int) -> fleet.Fleet:
        layer = Layer(shared, "/srv/venv", "shared")
        return start_fleet(Node(f"n{number:03d}", (layer,)) for number in range(1, count + 1))

    return start


def file_of(shared: Path) -> Path:
    return environments.site_packages(shared) / "transformers" / "modeling_utils.py"


def witnesses(shared: Path) -> list[str]:
    path = shared / "witness"
    return path.read_text().split() if path.exists() else []


def variables(**more: Any) -> dict[str, Any]:
    return {"megatron_bridge_pythons": [PYTHON], "megatron_bridge_imports": ["witness"], **more}


def outcomes(run: Run) -> Counter[tuple[bool, str, str]]:
    """Return how many nodes had (changed, state, action), by the last word on each."""
    found: dict[str, tuple[bool, str, str]] = {}
    for task in run.of("site_patch"):
        for item in task.environments:
            for patch in item.get("patches", []):
                found[task.host] = (item["changed"], patch["state"], patch["action"])
    return Counter(found.values())


def test_of_all_nodes_on_one_file_system_one_writes_while_others_read(
    on_shared: Callable[[int], fleet.Fleet], shared: Path, control: Control
) -> None:
    nodes = on_shared(32)
    inventory = nodes.inventory(**variables(megatron_bridge_imports=[]))
    path = file_of(shared)
    original = path.stat().st_size
    (shared / "reader.py").write_text(READER)
    inside = f"/srv/venv/{path.relative_to(shared)}"
    readers = [
        nodes.start_command(name, PYTHON, "-B", "/srv/venv/reader.py", inside, "/srv/venv/stop")
        for name in ("n001", "n020")
    ]
    done = control(nodes).playbook("primus.patches.setup_primus", inventory=inventory).exits(0)
    back = control(nodes).playbook("primus.patches.revert_primus", inventory=inventory).exits(0)
    again = control(nodes).playbook("primus.patches.setup_primus", inventory=inventory).exits(0)
    patched = path.stat().st_size
    (shared / "stop").touch()
    for reader in readers:
        said, errors = reader.communicate(timeout=120)
        assert reader.returncode == 0, errors
        assert said.split() == [str(original), str(patched)]

    for run in (done, again):
        found = outcomes(run)
        assert found == {(True, "pending", "apply"): 1, (False, "applied", "none"): 31}, found
    assert sum(number for outcome, number in outcomes(back).items() if outcome[0]) == 1, outcomes(back)
    assert not list(shared.rglob("*.primus-tmp"))


def test_one_node_stands_for_the_copy_the_others_take_its_verdict_and_an_audit_tells_of_one_copy(
    on_shared: Callable[[int], fleet.Fleet], shared: Path, control: Control, tmp_path: Path
) -> None:
    nodes = on_shared(16)
    before = snapshot.take(environments.site_packages(shared))
    given = {"megatron_bridge_report_dir": str(tmp_path / "report")}
    audit = {"inventory": nodes.inventory(**variables()), "variables": given}
    control(nodes).playbook("primus.patches.audit_primus", **audit).exits(2)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    (copy,) = report["shared_copies"]
    assert copy["nodes"] == list(nodes.nodes)
    assert copy["patches"] == {"transformers_modeling_utils": "pending"}
    assert report["summary"]["nodes"]["drifted"] == 16
    assert [entry["nodes"] for entry in report["todo"] if entry["kind"] == "pending"] == [list(nodes.nodes)]

    (shared / "witness").unlink()
    inventory = nodes.inventory(**variables(megatron_bridge_shared=True))
    predicted = control(nodes).playbook("primus.patches.setup_primus", inventory=inventory, check=True).exits(0)
    assert snapshot.take(environments.site_packages(shared)) == before
    assert outcomes(predicted) == {(True, "pending", "apply"): 1, (False, "pending", "none"): 15}
    assert len(witnesses(shared)) == 1

    done = control(nodes).playbook("primus.patches.setup_primus", inventory=inventory).exits(0)
    assert outcomes(done) == {(True, "pending", "apply"): 1, (False, "applied", "none"): 15}
    assert witnesses(shared)[1:] == [task.host for task in done.tasks if task.status == "changed"]


def test_batches_do_not_repeat_what_an_earlier_one_proved(
    on_shared: Callable[[int], fleet.Fleet], shared: Path, control: Control
) -> None:
    nodes = on_shared(8)
    inventory = nodes.inventory(**variables(megatron_bridge_shared=True))
    batches = {"primus_serial": [1, 3, "100%"]}
    run = control(nodes).playbook("primus.patches.setup_primus", inventory=inventory, variables=batches).exits(0)
    assert outcomes(run) == {(True, "pending", "apply"): 1, (False, "applied", "none"): 7}
    assert witnesses(shared) == ["n001"]

    again = control(nodes).playbook("primus.patches.setup_primus", inventory=inventory, variables=batches).exits(0)
    assert not again.changed
    assert witnesses(shared) == ["n001"] * 2


def test_a_failed_verdict_is_everybodys_and_nothing_is_written(
    on_shared: Callable[[int], fleet.Fleet], shared: Path, control: Control
) -> None:
    nodes = on_shared(4)
    inventory = nodes.inventory(
        **variables(megatron_bridge_shared=True, megatron_bridge_imports=["witness", "no_such_module"])
    )
    before = file_of(shared).read_bytes()
    for check in (True, False):
        run = control(nodes).playbook("primus.patches.setup_primus", inventory=inventory, check=check).exits(2)
        told = run.stdout.partition("PRIMUS PATCHES")[2]
        assert told.count(f"{witnesses(shared)[-1]}, which stands for this copy: import failed") == 3, run
        assert "4 pending (failed)" in told, run
    assert file_of(shared).read_bytes() == before
    assert len(witnesses(shared)) == 2


def test_copies_of_their_own_and_lost_representatives_cost_no_node_its_patch(
    start_fleet: Start, shared: Path, control: Control
) -> None:
    layer, own = Layer(shared, "/srv/venv", "shared"), Layer(shared, "/srv/venv")
    nodes = start_fleet([*(Node(f"n{number:03d}", (layer,)) for number in range(1, 5)), Node("n005", (own,))])
    inventory = nodes.inventory(**variables(megatron_bridge_shared=True, megatron_bridge_imports=["endless"]))
    # The node that stands for the others is lost while it proves the imports.
    (environments.site_packages(shared) / "endless.py").write_text(ENDLESS)
    nodes.nodes["n005"].path("/srv/venv/first").touch()
    with control(nodes).start("primus.patches.setup_primus", inventory=inventory) as started:
        fleet.wait((shared / "first").exists)
        lost = (shared / "first").read_text()
        nodes.unplug(lost)
        run = started.end()
    assert run.rc == 4, run
    assert outcomes(run) == {(True, "pending", "apply"): 2, (False, "applied", "none"): 2}, run
    assert {task.host for task in run.tasks if task.status == "unreachable"} == {lost}
    inside = f"/srv/venv/{file_of(shared).relative_to(shared)}"
    assert nodes.nodes["n005"].path(inside).read_bytes() == file_of(shared).read_bytes()


def test_a_play_of_ones_own_may_be_free_and_without_pipelining(
    on_shared: Callable[[int], fleet.Fleet], shared: Path, control: Control
) -> None:
    nodes = on_shared(4)
    play = {
        "hosts": "all",
        "gather_facts": False,
        "strategy": "ansible.builtin.free",
        "roles": [{"role": "primus.patches.megatron_bridge", **variables(megatron_bridge_shared=True)}],
    }
    inventory = nodes.inventory(ansible_pipelining=False)
    run = control(nodes).playbook([play], inventory=inventory).exits(0)
    assert outcomes(run) == {(True, "pending", "apply"): 1, (False, "applied", "none"): 3}
    assert len(witnesses(shared)) == 1
