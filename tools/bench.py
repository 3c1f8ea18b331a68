# What a fleet costs the controller, measured beside other ways to do the same: ./dev bench --fleet, and --memory.
"""Measures the collection and its peers side by side and, with --write, puts the tables into docs/COST.md.

    ./dev bench --fleet                               # 16 and 64 nodes, three rounds, warm and cold: twenty minutes
    ./dev bench --fleet --nodes 8 --warm --only ours,role
    ./dev bench --memory --hosts 2000,10000           # the controller's memory and time, with hosts that are none

The nodes are those of ./dev fleet: real SSH nodes, all on this machine. Needs root for --fleet.
"""

from __future__ import annotations

import argparse
import configparser
import datetime as dt
import difflib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "plugins")]

from lab import controller, environments, fleet, members, old_script, wheels  # noqa: E402 (needs the line above)
from lab.run import run  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PAGE = ROOT / "docs" / "COST.md"
FILE = "transformers/modeling_utils.py"
MITOGEN = "0.3.54"
ANSIBLE = "12.3.0"  # of the package `ansible`, whose wheel brings ansible.posix
# Most that a node may cost in the largest fleet, in multiples of what it costs in the smallest.
GROWTH = 1.1
# Fewer nodes than that are few: what a run costs however many there are then counts for more.
MANY = 64
# Most memory that the controller may need, in multiples of what it needs for ping.
MEMORY = 1.2
SCRIPT_MAIN = """

if __name__ == "__main__":
    import sys

    with open(sys.argv[1]) as file:
        before = file.read()
    after = old_script(before)
    if after != before:
        with open(sys.argv[1], "w") as file:
            file.write(after)
"""
FRAME = """# What it costs

What the controller spends on a fleet, measured beside other ways to get the same edit. Change the tool, not the tables,
which are [written by it](#again-on-your-machine).

## A fleet over SSH

- All contenders run against the same nodes, with [ansible.cfg](ansible.cfg) (pipelining, 64 forks) and without facts.
  In each round each of them runs once, one after the other; the tables have the medians and, beside them, the
  multiples of a play of one `ansible.builtin.ping` in the same rounds.
- The nodes are network namespaces with an sshd each, on the machine of the controller. So **wall time includes the
  nodes' own work**, on the same cores: on a real fleet, where each node has cores of its own, it matters less.
- **Controller CPU** is user and system time of `ansible-playbook` and all that it starts, `ssh` included. (The master
  processes of open SSH connections are in nobody's account, nor are the processes that mitogen leaves behind.)
- Output goes to a file, by Ansible's own callback.
- Nodes are as they should be, and the run finds nothing to do (imports are tried on changes alone:
  `megatron_bridge_verify: changed`). In a **first application** each node has the wheel's file and its bytecode, and
  nothing is imported (`megatron_bridge_imports: []`): what is measured is the collection, not Megatron-Bridge. There a
  node is asked first, and then sent the module.
- **In-interpreter**: Ansible's interpreter on the node is the environment's own. Otherwise it is the system's, as
  recommended, and the engine is a child process of the environment's.
- **Patches alone**: a play of one `site_patch_info` with `details: false` and no `integrity`: where the patch is, a
  question is enough; where it is not, the module follows. The role's audit asks for both, and has the module at once.
- The peers: `sha256sum` of the file, with no module, is the floor of what can be asked; `blockinfile` with the same
  block, also in the strategy of mitogen, which runs with this core; `ansible.posix.patch` with the same change as a
  unified diff; the old stand-alone script, copied to the node and run there; and a role of five small tasks (stat,
  command, command, blockinfile, command), of which the fourth is skipped.
- A figure **in bold** is over its limit. Fewer than 64 nodes have limits of their own: what a run costs however many
  nodes there are is shared by few.

### Where connections are open

As when a playbook follows another within `ControlPersist`: the cheapest that a ping can be, so the multiples of it are
larger.

<!-- fleet -->
<!-- /fleet -->

### Where each run opens its connections

As when somebody starts a playbook: SSH's handshakes are part of each run, of ping's as of all others.

<!-- cold -->
<!-- /cold -->

## Many hosts

What thousands of hosts cost the controller. They are no nodes: each is a local connection to one program that gives, at
once, the answer of a converged node. The memory is the most that one process of the run had resident, the main process
with what it keeps of each host.

<!-- memory -->
<!-- /memory -->

## Where the time goes

<!-- why -->
<!-- /why -->

## Again, on your machine

```shell
./dev bench --fleet --write                        # needs root; 16 and 64 nodes, three rounds: about 20 minutes
./dev bench --fleet --nodes 200 --warm             # more nodes, or fewer contenders: --only ours,role
./dev bench --memory --hosts 2000,10000 --write
```
"""


def main() -> int:
    """Measure what the arguments name, print the tables, and write the page if told to."""
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    keys = [each.key for each in CONTENDERS]
    parser.add_argument("--fleet", action="store_true", help="measure on a fleet")
    parser.add_argument("--memory", action="store_true", help="measure the controller's memory")
    parser.add_argument("--nodes", default="16,64", metavar="N,...", help="sizes of the fleet (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--only", metavar="NAME,...", help=f"some contenders: {', '.join(keys)}")
    parser.add_argument("--warm", action="store_true", help="only where SSH connections are open")
    parser.add_argument("--cold", action="store_true", help="only where each run opens its SSH connections")
    parser.add_argument("--hosts", default="2000", metavar="N,...", help="for --memory (default: %(default)s)")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, metavar="PAGE", help=f"default: {PAGE.name}")
    options = parser.parse_args()
    chosen = ["ping", *options.only.split(",")] if options.only else keys
    if set(chosen) - set(keys) or (options.only and options.write):
        parser.error(f"--only takes some of {', '.join(keys)}, and there is no --write with it")
    if not options.fleet and not options.memory:
        parser.error("nothing to do: --fleet, --memory or both")
    contenders = [each for each in CONTENDERS if each.key in chosen]
    sections = {}
    with tempfile.TemporaryDirectory(prefix="primus-bench-") as directory:
        bench = Bench(Path(directory))
        if options.fleet:
            sizes = [int(size) for size in options.nodes.split(",")]
            for name, wanted, other in (("fleet", options.warm, options.cold), ("cold", options.cold, options.warm)):
                if wanted or not other:
                    found = {
                        size: compare(bench, size, options.rounds, contenders, cold=name == "cold") for size in sizes
                    }
                    sections[name] = fleet_section(found, contenders)
        if options.memory:
            found = {hosts: compare_memory(bench, hosts) for hosts in map(int, options.hosts.split(","))}
            sections["memory"] = memory_section(found)
    print("\n\n".join(sections.values()))
    if options.write:
        write(options.write, sections)
    return 0


@dataclass(frozen=True)
class Limits:
    """The most that a run may cost, in multiples of what a ping does."""

    wall: float | None = None
    cpu: float | None = None


@dataclass(frozen=True)
class Contender:
    """One way to have the import block in the file, and what a run of it should cost."""

    key: str
    title: str
    play: Callable[[Bench, str], str | list[dict[str, Any]]]
    """Gives the playbook's name, or its plays, for an environment in that directory of a node."""
    layer: str = "ours"
    """The node's environment is ``/opt/LAYER``; contenders that leave the same bytes share one."""
    variables: Callable[[str], dict[str, Any]] = lambda _environment: {}
    """Gives the variables in the inventory."""
    pristine: bool = False
    """Whether each round begins with the file as the wheel has it."""
    changes: bool = False
    """Whether each run says `changed` for every node."""
    limits: Limits | None = None
    """The most that it may cost on many nodes."""
    few: Limits | None = None
    """The same on fewer than MANY nodes, where that is another limit."""

    def most(self, nodes: int) -> Limits:
        """Return the most that it may cost on that many nodes."""
        return (self.few if self.few and nodes < MANY else self.limits) or Limits()


@dataclass(frozen=True)
class Sample:
    """What one run cost."""

    wall: float
    cpu: float
    """User and system time of ansible-playbook and all that it started and waited for."""
    memory: int
    """Most resident memory of a process of it, in KiB."""


def play(tasks: list[dict[str, Any]] | None = None, **more: Any) -> list[dict[str, Any]]:
    """Return a playbook of one play without facts."""
    return [{"hosts": "all", "gather_facts": False, **({"tasks": tasks} if tasks else {}), **more}]


def ping(_bench: Bench, _environment: str) -> list[dict[str, Any]]:
    """Give the least that a task can be."""
    return play([{"ansible.builtin.ping": {}}])


def blockinfile(bench: Bench, environment: str) -> list[dict[str, Any]]:
    """Give one task with the block and its markers, behind the line that is there in the version at hand."""
    task = {
        "path": f"{environment}/{bench.site}/{FILE}",
        "block": old_script.BLOCK,
        "marker": "# {mark} Megatron-Bridge",
        "insertafter": r"^from \.pytorch_utils import id_tensor_storage",
    }
    return play([{"ansible.builtin.blockinfile": task}])


def posix_patch(bench: Bench, environment: str) -> list[dict[str, Any]]:
    """Give one task with the same change as a unified diff, which lies on the controller."""
    task = {"src": str(bench.diff), "basedir": f"{environment}/{bench.site}", "strip": 1}
    return play([{"ansible.posix.patch": task}])


def script(bench: Bench, environment: str) -> list[dict[str, Any]]:
    """Give one task that copies the old script and runs it with the environment's interpreter."""
    task = {
        "cmd": f"{bench.script} {environment}/{bench.site}/{FILE}",
        "executable": f"{environment}/bin/python",
    }
    return play([{"ansible.builtin.script": task}])


def raw(bench: Bench, environment: str) -> list[dict[str, Any]]:
    """Give the least that one can ask a node about the file, without a module: its hash."""
    return play([{"ansible.builtin.raw": f"sha256sum {environment}/{bench.site}/{FILE}"}])


def mitogen(bench: Bench, environment: str) -> list[dict[str, Any]]:
    """Give the task with the block, in the strategy that keeps a Python process on each node."""
    return [{**each, "strategy": "mitogen_linear"} for each in blockinfile(bench, environment)]


def audit(_bench: Bench, environment: str) -> list[dict[str, Any]]:
    """Give a look at the patch alone."""
    task = {"name": ["transformers_modeling_utils"], "python": f"{environment}/bin/python"}
    return play([{"primus.patches.site_patch_info": {**task, "details": False, "integrity": []}}])


def naive(bench: Bench, environment: str) -> list[dict[str, Any]]:
    """Give the role that one writes first: look, find, look, edit, try. No task does what need not be done."""
    purelib = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    parse = "import ast, sys; ast.parse(open(sys.argv[1]).read())"
    python, file = "{{ naive_environment }}/bin/python", f"{{{{ naive_site.stdout }}}}/{FILE}"
    tasks = [
        {
            "name": "Look for the environment",
            "ansible.builtin.stat": {"path": python},
            "register": "naive_python",
            "failed_when": "not naive_python.stat.exists",
        },
        {
            "name": "Find its packages",
            "ansible.builtin.command": {"argv": [python, "-c", purelib]},
            "register": "naive_site",
            "changed_when": False,
        },
        {
            "name": "Look for the names",
            "ansible.builtin.command": {"argv": ["grep", "-c", "^    prune_linear_layer,$", file]},
            "register": "naive_found",
            "changed_when": False,
            "failed_when": "naive_found.rc > 1",
        },
        {
            "name": "Import the names",
            "ansible.builtin.blockinfile": {
                "path": file,
                "block": old_script.BLOCK,
                "marker": "# {mark} Megatron-Bridge",
                "insertafter": r"^from \.pytorch_utils import id_tensor_storage",
            },
            "when": "naive_found.rc != 0",
        },
        {
            "name": "Try whether the file parses",
            "ansible.builtin.command": {"argv": [python, "-c", parse, file]},
            "changed_when": False,
        },
    ]
    role = bench.directory / "roles" / "naive" / "tasks"
    role.mkdir(parents=True, exist_ok=True)
    (role / "main.yml").write_text(json.dumps(tasks, indent=2))
    return play(roles=[{"role": "naive"}], vars={"naive_environment": environment})


def setup(_bench: Bench, _environment: str) -> str:
    """Give the collection's own playbook."""
    return "primus.patches.setup_primus"


def role(_bench: Bench, _environment: str) -> list[dict[str, Any]]:
    """Give the role as it stands in a user's play."""
    return play(roles=["primus.patches.megatron_bridge"])


def checked(_bench: Bench, _environment: str) -> list[dict[str, Any]]:
    """Give the role with Ansible's own check of its variables before."""
    return play([{"ansible.builtin.import_role": {"name": "primus.patches.megatron_bridge", "tasks_from": "setup"}}])


def common(environment: str) -> dict[str, Any]:
    """Return the variables of the common case: Ansible on the system's Python, the environment elsewhere."""
    return {"megatron_bridge_pythons": [f"{environment}/bin/python"], "megatron_bridge_verify": "changed"}


def inside(environment: str) -> dict[str, Any]:
    """Return the variables where Ansible runs in the environment's own interpreter."""
    return {"ansible_python_interpreter": f"{environment}/bin/python", "megatron_bridge_verify": "changed"}


def without_imports(variables: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """Return the variables with no imports to be proven."""
    return lambda environment: {**variables(environment), "megatron_bridge_imports": []}


CONVERGED = {"limits": Limits(wall=0.45, cpu=1.0), "few": Limits(wall=0.55, cpu=1.1)}
FIRST = {"pristine": True, "changes": True, "limits": Limits(wall=1.5, cpu=1.3)}
CONTENDERS = (
    Contender("ping", "`ansible.builtin.ping`", ping),
    Contender("raw", "`sha256sum` of the file, by `ansible.builtin.raw`", raw, changes=True),
    Contender("blockinfile", "`ansible.builtin.blockinfile`", blockinfile, "blockinfile"),
    Contender("mitogen", "the same with mitogen's strategy", mitogen, "blockinfile"),
    Contender("patch", "`ansible.posix.patch`", posix_patch, "patch"),
    Contender("script", "the old script, by `ansible.builtin.script`", script, "script", changes=True),
    Contender("naive", "a role of five small tasks", naive, "naive"),
    Contender("ours", "**`setup_primus`**", setup, variables=common, **CONVERGED),
    Contender("ours-inside", "**`setup_primus`**, in-interpreter", setup, variables=inside, **CONVERGED),
    Contender("role", "**the role** in a user's play", role, variables=common, limits=Limits(wall=0.8, cpu=1.3)),
    Contender("checked", "the same with Ansible's check, by `tasks_from: setup`", checked, variables=common),
    Contender("audit", "**`site_patch_info`**, patches alone", audit, limits=Limits(wall=1.4, cpu=1.3)),
    Contender("look", "the same on nodes without the patch", audit, "first", pristine=True),
    Contender(
        "first",
        "**`setup_primus`**, first application",
        setup,
        "first",
        variables=without_imports(common),
        **FIRST,
    ),
    Contender(
        "first-inside",
        "**`setup_primus`**, first application, in-interpreter",
        setup,
        "first",
        variables=without_imports(inside),
        **FIRST,
    ),
)
LAYERS = tuple(dict.fromkeys(each.layer for each in CONTENDERS))


class Bench:
    """A directory with all that a measurement needs: the collections, the environments, the files of the peers."""

    def __init__(self, directory: Path) -> None:
        """Build the collection from the checkout, and one environment for each layer."""
        self.directory = directory
        self._number = 0
        say("building the collection and the environments")
        artifact = controller.build_artifact(directory / "artifact")
        self.collections = controller.install_artifact(artifact, directory / "collections")
        shutil.copytree(posix() / "ansible_collections", self.collections / "ansible_collections", dirs_exist_ok=True)
        self.script = directory / "old_script.py"
        self.script.write_text(Path(old_script.__file__).read_text() + SCRIPT_MAIN)
        self.diff = directory / "reexport.patch"
        self._mitogen = wheels.unpacked("mitogen", MITOGEN)
        self.layers = directory / "layers"
        self._seed = self.layers / LAYERS[0]
        shutil.copytree(fleet.base(environments.TRANSFORMERS), self._seed, symlinks=True)
        self.site = environments.site_packages(self._seed).relative_to(self._seed)
        # As an installer leaves it, with its bytecode.
        run(self._seed / "bin" / "python", "-m", "compileall", "-q", self._seed / self.site / FILE)
        for name in LAYERS[1:]:
            shutil.copytree(self._seed, self.layers / name, symlinks=True)
        self._converge()

    def start(self, nodes: int) -> fleet.Fleet:
        """Return a fleet, to be entered, whose nodes have a private copy of each layer as ``/opt/LAYER``."""
        layers = tuple(fleet.Layer(self.layers / name, f"/opt/{name}") for name in LAYERS)
        wanted = [fleet.Node(f"gpu{number:04d}", layers) for number in range(1, nodes + 1)]
        return fleet.Fleet(wanted, **fleet.seen())

    def reset(self, nodes: fleet.Fleet, layer: str) -> None:
        """Give the wheel's file back to each node, and its bytecode."""
        names = [self.site / FILE, *self._bytecode(self.layers / "first")]
        for node in nodes.nodes.values():
            for name in names:
                place = node.path(f"/opt/{layer}/{name}")
                spare = place.with_name(f"{place.name}.new")
                shutil.copy2(self.layers / "first" / name, spare)
                spare.replace(place)

    def measure(
        self, contender: Contender, inventory: Mapping[str, Any], place: str, nodes: fleet.Fleet | None = None
    ) -> Sample:
        """Run the contender once on all hosts of the inventory; ends the tool when it did not do what it should."""
        directory = self.directory / "runs" / f"{self._number:04d}-{contender.key}"
        self._number += 1
        sample, output = self._run(contender, inventory, directory, place, nodes)
        recap = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in output.partition("PLAY RECAP")[2].splitlines()]
        recap = [each for each in recap if each]
        hosts = sum(len(group["hosts"]) for group in inventory.values())
        wrong = [each for each in recap if any(each[word] != "0" for word in ("unreachable", "failed"))]
        changed = sum(int(each["changed"]) for each in recap)
        if len(recap) != hosts or wrong or changed != hosts * contender.changes:
            sys.exit(f"{contender.key} did not run as it should:\n{output[-3000:]}")
        shutil.rmtree(directory)
        return sample

    def answers(self, contender: Contender) -> str:
        """Return a program that answers as the interpreter of a converged host does, and does nothing for it."""
        program, said = self.directory / f"{contender.key}.sh", self.directory / f"{contender.key}.said"
        python = fleet.python()
        # A question comes as -ISBc and its text, a module on standard input.
        program.write_text(f'#!/bin/sh\n{python} "$@" > {said} && exec cat {said}\n')
        program.chmod(0o755)
        place = str(self.layers)
        variables = contender.variables(f"{place}/{contender.layer}")
        self.measure(contender, local(1, {**variables, "ansible_python_interpreter": str(program)}), place)
        program.write_text(f'#!/bin/sh\n[ "$1" = -ISBc ] || cat > /dev/null\nexec cat {said}\n')
        return str(program)

    def _run(
        self,
        contender: Contender,
        inventory: Mapping[str, Any],
        directory: Path,
        place: str,
        nodes: fleet.Fleet | None = None,
    ) -> tuple[Sample, str]:
        """Run the contender once; return what it cost and what it printed."""
        directory.mkdir(parents=True)
        what = contender.play(self, f"{place}/{contender.layer}")
        if not isinstance(what, str):
            (directory / "play.yml").write_text(json.dumps(what, indent=2))
            what = "play.yml"
        (directory / "inventory.yml").write_text(json.dumps(inventory))
        self._configure(directory / "ansible.cfg", local=nodes is None)
        command = [controller.tool("ansible-playbook"), "--inventory", "inventory.yml", what]
        environment = controller.clean_environment(
            self.directory / "home", ANSIBLE_CONFIG=str(directory / "ansible.cfg")
        )
        output = directory / "output"
        with output.open("w") as file:
            start = time.monotonic()
            process = subprocess.Popen(
                nodes.enter(directory, command) if nodes else command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            _pid, status, usage = os.wait4(process.pid, 0)  # (its own and that of all who were waited for)
            wall = time.monotonic() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        text = output.read_text()
        if process.returncode:
            sys.exit(f"{contender.key} ended with {process.returncode}:\n{text[-3000:]}")
        return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss), text

    def _configure(self, path: Path, *, local: bool) -> None:
        """Write the settings: those of the docs, but connections that stay open from run to run."""
        config = configparser.RawConfigParser()
        config.read(ROOT / "docs" / "ansible.cfg")
        config["defaults"]["collections_path"] = str(self.collections)
        config["defaults"]["roles_path"] = str(self.directory / "roles")
        config["defaults"]["strategy_plugins"] = str(self._mitogen / "ansible_mitogen" / "plugins" / "strategy")
        if local:
            config["defaults"]["forks"] = "20"
            config["connection"] = {"pipelining": "true"}
        arguments = config["ssh_connection"]["ssh_args"]
        config["ssh_connection"]["ssh_args"] = re.sub(r"ControlPersist=\w+", "ControlPersist=60m", arguments)
        with path.open("w") as file:
            config.write(file)

    def _converge(self) -> None:
        """Let the contenders themselves edit their layers, on this machine, so that they find nothing to do later."""
        pristine = (self._seed / self.site / FILE).read_text()
        named = {each.key: each for each in CONTENDERS}
        variables = {"ansible_python_interpreter": str(fleet.python())}
        for contender in (replace(named["first"], layer=LAYERS[0]), *map(named.get, LAYERS[1:-1])):
            self.measure(
                replace(contender, changes=True),
                local(1, {**variables, **contender.variables(f"{self.layers}/{contender.layer}")}),
                str(self.layers),
            )
            if contender.layer == LAYERS[0]:
                ours = (self._seed / self.site / FILE).read_text()
                texts = (pristine.splitlines(keepends=True), ours.splitlines(keepends=True))
                self.diff.write_text("".join(difflib.unified_diff(*texts, f"a/{FILE}", f"b/{FILE}")))

    def _bytecode(self, environment: Path) -> list[Path]:
        """Return the file's bytecode, as paths in the environment."""
        found = (environment / self.site / FILE).parent.glob("__pycache__/modeling_utils.*.pyc")
        return [path.relative_to(environment) for path in found]


def posix() -> Path:
    """Return a directory with what there is to ansible.posix.patch in a collections tree; shared, read-only."""
    names = ("MANIFEST.json", "FILES.json", "meta/runtime.yml", "plugins/action/patch.py", "plugins/modules/patch.py")
    release = members.release("ansible", ANSIBLE)
    return members.files(release, (f"ansible_collections/ansible/posix/{name}" for name in names))


def local(hosts: int, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return an inventory of so many hosts, each of which is this machine."""
    names = {f"host{number:04d}": {} for number in range(1, hosts + 1)}
    return {"local": {"hosts": names, "vars": {"ansible_connection": "local", **variables}}}


def compare(
    bench: Bench, size: int, rounds: int, contenders: Sequence[Contender], *, cold: bool
) -> dict[str, list[Sample]]:
    """Return what the contenders cost on that many nodes: in each round, each of them runs once.

    ``cold``: each run opens its SSH connections anew; else they are open all the time.
    """
    samples: dict[str, list[Sample]] = {each.key: [] for each in contenders}
    say(f"starting {size} nodes")
    with bench.start(size) as nodes:
        inventories = {each.key: nodes.inventory(**each.variables(f"/opt/{each.layer}")) for each in contenders}
        bench.measure(contenders[0], inventories["ping"], "/opt", nodes)  # (opens the connections; not counted)
        for number in range(1, rounds + 1):
            for each in contenders:
                if each.pristine:
                    bench.reset(nodes, each.layer)
                if cold:
                    nodes.power_off_controller()  # (by now that is only the masters of the connections)
                sample = bench.measure(each, inventories[each.key], "/opt", nodes)
                samples[each.key].append(sample)
                times = f"{sample.wall:6.1f} s, controller CPU {sample.cpu / size:.3f} s a node"
                say(f"{size} nodes, round {number} of {rounds}: {each.key:12} {times}")
    return samples


def compare_memory(bench: Bench, hosts: int) -> dict[str, Sample]:
    """Return what ping and the playbook cost the controller on that many hosts, for which one program answers."""
    samples = {}
    for each in (each for each in CONTENDERS if each.key in ("ping", "ours")):
        place = str(bench.layers)
        variables = {**each.variables(f"{place}/{each.layer}"), "ansible_python_interpreter": bench.answers(each)}
        samples[each.key] = bench.measure(each, local(hosts, variables), place)
        found = samples[each.key]
        say(f"{hosts} hosts: {each.key:12} {found.memory / 1024:.0f} MiB, {found.wall:.0f} s, CPU {found.cpu:.0f} s")
    return samples


def fleet_section(found: Mapping[int, Mapping[str, Sequence[Sample]]], contenders: Sequence[Contender]) -> str:
    """Return the tables of what was measured on fleets, by number of nodes."""
    rounds = len(next(iter(found.values()))["ping"])
    parts = [f"{circumstances()}. Rounds: {rounds}; the figures are medians."]
    for size, samples in found.items():
        base = medians(samples["ping"])
        walls = [each.wall for each in samples["ping"]]
        rows = [
            "| contender | wall, s | x ping | limit | controller CPU, s a node | x ping | limit |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        for each in contenders:
            wall, cpu = medians(samples[each.key])
            most = each.most(size)
            rows.append(
                f"| {each.title} | {wall:.1f} | {ratio(wall, base[0], most.wall)} "
                f"| {cpu / size:.3f} | {ratio(cpu, base[1], most.cpu)} |"
            )
        title = f"#### {size} nodes"
        spread = f"Ping took from {min(walls):.1f} to {max(walls):.1f} s."
        parts += [title, "\n".join(rows), spread]
    if len(found) > 1:
        parts += ["#### Growth", growth(found, contenders)]
    return "\n\n".join(parts)


def growth(found: Mapping[int, Mapping[str, Sequence[Sample]]], contenders: Sequence[Contender]) -> str:
    """Return the table of what one node costs among few and among many."""
    few, many = min(found), max(found)
    sizes = " | ".join(map(str, found))
    lines = [
        f"What one node costs in a fleet of so many. The limit: at {many} nodes 1.1 times what it costs at {few}.",
        "",
        f"| contender | wall, s: {sizes} | {many} / {few} | CPU, s: {sizes} | {many} / {few} |",
        "|---" + "|--:" * (2 * len(found) + 2) + "|",
    ]
    for each in contenders:
        cells = []
        for number in (0, 1):
            costs = {size: medians(samples[each.key])[number] / size for size, samples in found.items()}
            grown = costs[many] / costs[few]
            cells += [
                *(f"{cost:.3f}" for cost in costs.values()),
                f"**{grown:.2f}**" if grown > GROWTH else f"{grown:.2f}",
            ]
        lines.append(f"| {each.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def memory_section(found: Mapping[int, Mapping[str, Sample]]) -> str:
    """Return the table of what many hosts cost the controller, which are no nodes."""
    rows = []
    for hosts, samples in found.items():
        base = samples["ping"].memory
        for each in (each for each in CONTENDERS if each.key in samples):
            sample = samples[each.key]
            times = f"{sample.wall / hosts * 1000:.0f} | {sample.cpu / hosts * 1000:.0f}"
            most = None if each.key == "ping" else MEMORY
            rows.append(
                f"| {hosts:,} | {each.title} | {sample.memory / 1024:.0f} | {ratio(sample.memory, base, most)} "
                f"| {sample.memory / hosts:.0f} | {times} |"
            )
    return "\n".join(
        [
            f"{circumstances()}. `forks = 20`, local connections.",
            "",
            "| hosts | contender | largest process, MiB | x ping | limit | KiB a host | wall, ms a host | CPU, ms |",
            "|--:|---|--:|--:|--:|--:|--:|--:|",
            *rows,
        ]
    )


def medians(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the medians of wall time and of CPU time."""
    return statistics.median(each.wall for each in samples), statistics.median(each.cpu for each in samples)


def ratio(value: float, base: float, limit: float | None) -> str:
    """Return the cells for a ratio and its limit; in bold when it is over that."""
    found = f"{value / base:.2f}"
    if limit is None:
        return f"{found} |"
    return f"{f'**{found}**' if value / base > limit else found} | {limit:g}"


def circumstances() -> str:
    """Return when and on what this is measured, in general words."""
    day = dt.datetime.now(dt.UTC).date()
    versions = f"Python {'.'.join(map(str, sys.version_info[:3]))}, ansible-core {metadata.version('ansible-core')}"
    return f"Measured on {day}, on a machine with {os.cpu_count()} cores, for nodes and controller together; {versions}"


def write(path: Path, sections: Mapping[str, str]) -> None:
    """Write the page: these sections anew, the others as they are in it."""
    old = path.read_text() if path.exists() else ""
    text = FRAME
    for name in ("cold", "fleet", "memory", "why"):
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        kept = old.partition(start)[2].partition(end)[0].strip("\n")
        text = text.replace(f"{start}{end}", "\n".join((f"<!-- {name} -->", sections.get(name, kept), end)))
    path.write_text(text)
    say(f"wrote {path}")


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(f"[bench] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
