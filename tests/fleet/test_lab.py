# The fleet itself: what the other tests take for granted about nodes, their network and what is left of them.
from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import fleet
from lab.fleet import Layer, Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Controller

    Start = Callable[..., fleet.Fleet]
    Control = Callable[[fleet.Fleet], Controller]


def command(line: str) -> list[dict[str, object]]:
    return [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.shell": line}]}]


def test_each_node_is_a_machine_of_its_own(start_fleet: Start, control: Control, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    own, image = Layer(fleet.base("4.57.6"), "/opt/venv"), Layer(fleet.base("4.57.6"), "/opt/image", "image")
    shared = Layer(tmp_path / "shared", "/srv/shared", "shared")
    nodes = start_fleet(Node(name, (own, image, shared)) for name in ("n001", "n002"))
    file = "/opt/venv/pyvenv.cfg"
    script = (
        f"hostname; echo x >> {file}; grep -c ^x$ {file}; echo x > /home/mine; ls /home;"
        f"touch /usr/x 2>&1 | tail -c 10; touch /opt/image/x 2>&1 | tail -c 10; echo x >> /srv/shared/all"
    )
    run = control(nodes).playbook(command(script), inventory=nodes.inventory()).exits(0)
    for name in ("n001", "n002"):
        lines = run.one("shell", name).result["stdout_lines"]
        assert lines[:4] == [name, "1", "mine", "trainer"], run
        assert lines[-2:] == ["le system", "le system"], run
    assert (tmp_path / "shared" / "all").read_text() == "x\nx\n"
    assert "x" not in (fleet.base("4.57.6") / "pyvenv.cfg").read_text().split()


def test_a_node_is_unplugged_plugged_in_again_and_rebooted(start_fleet: Start, control: Control) -> None:
    nodes = start_fleet([Node("n001"), Node("n002")])
    ping = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]}]

    def reached() -> list[str]:
        run = control(nodes).playbook(ping, inventory=nodes.inventory(), settings={"timeout": "2"})
        return sorted(task.host for task in run.tasks if task.status == "ok")

    nodes.unplug("n002")
    assert reached() == ["n001"]
    nodes.heal("n002")
    nodes.run("n001", "sh", "-c", "echo kept > /root/kept; echo gone > /run/gone; sleep 1000 > /dev/null 2>&1 &")
    nodes.stop("n001")
    assert reached() == ["n002"]
    nodes.start("n001")
    assert reached() == ["n001", "n002"]
    assert nodes.run("n001", "sh", "-c", "cat /root/kept; ls /run; pgrep -c sleep || true").split() == (
        ["kept", "lab", "lock", "sshd", "0"]
    )


@pytest.mark.skipif(os.environ.get("CI") != "true" and bool(fleet.why_not()), reason=fleet.why_not())
def test_nothing_is_left_of_a_fleet(control: Control) -> None:
    def things() -> tuple[set[str], str, str]:
        processes = subprocess.check_output(["ps", "-eo", "pid,args"], text=True).splitlines()
        lab = {line for line in processes if "node.py" in line or "sshd -D" in line or "ControlPersist" in line}
        links = subprocess.check_output(["ip", "-o", "link"], text=True)
        return lab, "\n".join(line.split(":")[1] for line in links.splitlines()), Path("/proc/mounts").read_text()

    before = things()
    with fleet.Fleet([Node("n001"), Node("n002")], **fleet.seen()) as nodes:
        run = control(nodes).playbook(command("sleep 300 > /dev/null 2>&1 &"), inventory=nodes.inventory()).exits(0)
        assert len(run.tasks) == 2
        assert len(things()[0]) > len(before[0])
        directory = nodes.directory
    assert things() == before
    assert not directory.exists()
