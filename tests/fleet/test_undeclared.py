# From "who edited this?" to "declared, everywhere, revertible": the story of docs/AUDIT.md, on three real nodes.
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pip
import pytest
from lab import environments, fleet, pyz, wheels
from lab.fleet import Layer, Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Controller, Run

    Start = Callable[..., fleet.Fleet]
    Control = Callable[[fleet.Fleet], Controller]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet")]

VENV, TOOLS = "/opt/venv", "/srv/tools"
PYTHON = f"{VENV}/bin/python"
NAMES = ("n001", "n002", "n003")
FILE = "transformers/trainer_pt_utils.py"
LINE = "logger = logging.get_logger(__name__)"
# Two people wanted the same, and did it in different ways.
SPRING, SUMMER = f"{LINE}\\nlogger.setLevel(40)", f"{LINE}\\nlogger.setLevel('ERROR')"
DESCRIPTION = "A line for each step of each node fills the disk of the log server."


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Return a directory with primus-patches.pyz and the wheel that was installed."""
    directory = tmp_path / "tools"
    directory.mkdir()
    pyz.builder().build(directory)
    shutil.copy2(wheels.wheel("transformers", "4.57.6"), directory)
    shutil.copytree(Path(pip.__file__).parent, directory / "pip")  # (the lab's environments have none)
    return directory


class Story:
    """The fleet, and what an operator does with it."""

    def __init__(self, nodes: fleet.Fleet, control: Controller) -> None:
        self.nodes = nodes
        self.control = control
        self.directory = control.directory / "report"
        self.variables: dict[str, Any] = {
            "megatron_bridge_pythons": [PYTHON],
            "megatron_bridge_imports": [],
            "megatron_bridge_report_dir": str(self.directory),
        }

    def play(self, name: str, *arguments: str, **more: Any) -> Run:
        inventory = self.nodes.inventory(**self.variables)
        return self.control.playbook(f"primus.patches.{name}", *arguments, inventory=inventory, variables=more)

    def report(self) -> dict[str, Any]:
        return json.loads((self.directory / "report.json").read_text())  # type: ignore[no-any-return]

    def path(self, node: str) -> Path:
        (site,) = self.nodes.nodes[node].path(VENV).glob("lib/python3*/site-packages")
        return site / FILE

    def bytes(self) -> dict[str, bytes]:
        return {name: self.path(name).read_bytes() for name in NAMES}


def found(run: Run) -> dict[str, tuple[str, str]]:
    """Return what was found of the new patch on each node, and what was done, or would have been."""
    patches = {node: run.one("site_patch", node).result["patches"] for node in NAMES}
    return {node: (told[-1]["state"], told[-1]["action"]) for node, told in patches.items()}


def test_from_who_edited_this_to_declared_everywhere_and_revertible(
    start_fleet: Start, control: Control, tools: Path, tmp_path: Path
) -> None:
    base = fleet.base("4.57.6")
    layers = (Layer(base, VENV), Layer(tools, TOOLS, "image"))
    nodes = start_fleet(Node(name, layers) for name in NAMES)
    story = Story(nodes, control(nodes))
    wheel = (environments.site_packages(base) / FILE).read_bytes()
    for name, edit in zip(NAMES, (SPRING, SPRING, SUMMER), strict=True):
        nodes.run(name, "sed", "-i", f"s/^{LINE}$/{edit}/", str(story.path(name)).partition("/root")[2])
    edited = story.bytes()
    assert edited["n001"] == edited["n002"] != edited["n003"]

    # Who edited this? One file, two variants, and a command.
    story.play("setup_primus").exits(0)
    story.play("audit_primus").exits(0)
    told = story.report()
    assert told["summary"]["undeclared"] == {"edits": 3, "files": 1, "nodes": 3}
    (file,) = told["undeclared"]["files"]
    assert (file["path"], [each["nodes"] for each in file["variants"]]) == (FILE, [["n001", "n002"], ["n003"]])
    command = f"primus-patches.pyz capture --python {PYTHON} transformers > transformers.patch"
    assert file["capture"] == command

    # What the command prints on the first node is a patch file of that edit alone.
    wheel_there = f"{TOOLS}/{next(tools.glob('*.whl')).name}"
    typed = command.replace("primus-patches.pyz", f"{PYTHON} {TOOLS}/primus-patches.pyz")
    nodes.run("n001", "sh", "-c", f"cd /root && {typed} --wheel {wheel_there}")
    captured = nodes.nodes["n001"].path("/root/transformers.patch").read_text()
    assert [line for line in captured.splitlines() if line.startswith("diff ")] == [f"diff --git a/{FILE} b/{FILE}"]
    patch = tmp_path / "patches" / "quiet_trainer.patch"
    patch.parent.mkdir()
    patch.write_text(captured.replace("Description:", f"Description: {DESCRIPTION}"))

    # Declared: where its bytes are, it is in place. The other variant is refused, and named.
    story.variables["megatron_bridge_patch_files"] = [str(patch.parent)]
    done = story.play("setup_primus").exits(2)
    assert found(done) == {
        "n001": ("applied", "none"),
        "n002": ("applied", "none"),
        "n003": ("conflict", "none"),
    }
    assert story.bytes() == edited, "nothing was written"
    story.play("audit_primus").exits(2)
    assert story.report()["summary"]["undeclared"] == {"edits": 1, "files": 1, "nodes": 1}
    (conflict,) = [each for each in story.report()["todo"] if each["kind"] == "conflict"]
    assert conflict["nodes"] == ["n003"]
    assert "expected '', found \"logger.setLevel('ERROR')\"" in conflict["reason"]
    assert conflict["do"].startswith("Look at the file. Reinstall transformers 4.57.6 to have the wheel's own")

    # The way out: that node gets the wheel's own file, and then the patch as all others.
    reinstall = ("-m", "pip", "install", "--no-index", "--no-deps", "--force-reinstall", wheel_there)
    nodes.run("n003", "env", f"PYTHONPATH={TOOLS}", PYTHON, *reinstall)
    assert found(story.play("setup_primus").exits(0))["n003"] == ("pending", "apply")
    assert story.bytes() == dict.fromkeys(NAMES, edited["n001"])
    story.play("audit_primus", primus_audit_fail_undeclared=True).exits(0)
    told = story.report()
    assert (told["todo"], told["summary"]["undeclared"]) == ([], {"edits": 0, "files": 0, "nodes": 0})

    # And it can be taken back, on all three.
    story.play("revert_primus").exits(0)
    assert story.bytes() == dict.fromkeys(NAMES, wheel)
    story.play("audit_primus", megatron_bridge_state="absent", primus_audit_fail_undeclared=True).exits(0)
    assert story.report()["summary"]["undeclared"]["edits"] == 0
