# ./dev fleet: many SSH nodes on this machine, to try the collection on. They are gone when the command ends.
"""Starts nodes with a real Transformers 4.57 in /opt/venv, and runs a command, or a shell, on their network.

There, ansible-playbook has the collection as it is in the checkout, the inventory of the nodes and docs/ansible.cfg::

    ./dev fleet                                       # a shell, to run playbooks from
    ./dev fleet --nodes 64 -- ansible-playbook primus.patches.setup_primus

The nodes have no torch, so nothing is imported there (``megatron_bridge_imports`` is empty). Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import controller, environments, fleet  # noqa: E402 (needs the line above)


def main() -> int:
    """Start the nodes, run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="./dev fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=16, metavar="N", help="how many (default: 16; at most 1000)")
    parser.add_argument("command", nargs="*", help="after --; default: your shell")
    options = parser.parse_args()
    layers = (fleet.Layer(fleet.base(environments.TRANSFORMERS), "/opt/venv"),)
    wanted = [fleet.Node(f"gpu{number:03d}", layers) for number in range(1, options.nodes + 1)]
    try:
        with fleet.Fleet(wanted, **fleet.seen()) as nodes:
            return run(nodes, options.command)
    except fleet.NoFleet as error:
        sys.exit(f"no fleet: {error}")


def run(nodes: fleet.Fleet, command: list[str]) -> int:
    """Run the command where the nodes can be reached."""
    directory = nodes.directory
    controller.install_artifact(controller.build_artifact(directory / "artifact"), directory / "collections")
    inventory = nodes.inventory(megatron_bridge_pythons=["/opt/venv/bin/python"], megatron_bridge_imports=[])
    (directory / "inventory.yml").write_text(json.dumps(inventory, indent=2))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
        "ANSIBLE_CONFIG": str(ROOT / "docs" / "ansible.cfg"),
        "ANSIBLE_INVENTORY": str(directory / "inventory.yml"),
        "LC_ALL": "C.UTF-8",
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
    }
    print(f"{len(nodes.nodes)} nodes: gpu001 and so on; inventory: {directory}/inventory.yml")
    if not command:
        command = [os.environ.get("SHELL", "/bin/sh")]
        print("Try: ansible-playbook primus.patches.setup_primus --check --diff   (leave the shell to end the nodes)")
    sys.stdout.flush()
    return subprocess.run(nodes.enter(Path.cwd(), command), env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
