# The fleet itself: what the other tests take for granted about nodes, their network and what is left of them.
from __future__ import annotations

import contextlib
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
    # (Only of this fleet: others may run on the machine at the same time.)
    def started(pid: str) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]

    def alive(pid: str, since: str) -> bool:
        try:
            return started(pid) == since
        except (FileNotFoundError, ProcessLookupError):
            return False

    def traces(directory: Path) -> list[str]:
        links = subprocess.check_output(["ip", "-o", "link"], text=True).splitlines()
        mounts = Path("/proc/mounts").read_text().splitlines()
        return [line for line in (*links, *mounts) if "left-over" in line or str(directory) in line]

    with fleet.Fleet([Node("left-over-1"), Node("left-over-2")], **fleet.seen()) as nodes:
        run = control(nodes).playbook(command("sleep 300 > /dev/null 2>&1 &"), inventory=nodes.inventory()).exits(0)
        assert len(run.tasks) == 2
        firsts = (nodes._hub_first, *(node.first for node in nodes.nodes.values()))
        networks = {os.readlink(f"/proc/{first}/ns/net") for first in firsts}
        own = {}
        for process in Path("/proc").glob("[1-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(process / "ns" / "net") in networks:
                    own[process.name] = started(process.name)
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in own]
        for part, least in ((b"node.py", 3), (b"sshd", 2), (b"mux", 2), (b"sleep", 2)):
            assert sum(part in line for line in lines) >= least, (part, lines)
        assert nodes.directory.exists()
    fleet.wait(lambda: not any(alive(pid, since) for pid, since in own.items()), 20)  # (the kernel takes its time)
    assert traces(nodes.directory) == []
    assert not nodes.directory.exists()
