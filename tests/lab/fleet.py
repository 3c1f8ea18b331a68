# A fleet of real SSH nodes on one Linux machine: namespaces instead of containers, overlays instead of copies.
"""A node has its own sshd, network, mounts, processes, host name and disk.

Nodes share the kernel and, read-only, the machine's files. A *hub* holds the network that connects them to the
controller, which runs in it too: the machine's own network is not touched, and no packet leaves. Needs root, ``sshd``
and ``ip`` (Debian: openssh-server, iproute2).

Nothing is left behind: all that is made belongs to processes which die with this one (see lab.node).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lab import cache, controller, environments, interpreters, wheels
from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_NODE = Path(__file__).with_name("node.py")
_HUB_ADDRESS = "10.77.0.1"
USERS = {"trainer": 20001}
NAMES = "Conv1D,apply_chunking_to_forward,find_pruneable_heads_and_indices,id_tensor_storage,prune_conv1d_layer"
# For nodes with the layer PROBE. They have no torch, without which Transformers' own modules do not import: lab_probe
# reads the seven names from the text that an import would run, a preview included.
PROBED = {
    "megatron_bridge_imports": [f"lab_probe:{NAMES},prune_layer,prune_linear_layer"],
    "megatron_bridge_import_environment": {"PYTHONPATH": "/srv/lab"},
}


class NoFleet(RuntimeError):
    """This machine cannot hold a fleet; the text says why."""


@dataclass(frozen=True)
class Layer:
    """A directory of the machine as nodes see it at ``target``."""

    source: Path
    target: str
    how: str = "overlay"
    """overlay: the node's changes stay on its own disk; image: nobody can write; shared: nodes write to it."""


PROBE = Layer(Path(__file__).with_name("inside"), "/srv/lab", "image")


@dataclass
class Node:
    """One node: what it is made of and, while it runs, its processes."""

    name: str
    layers: tuple[Layer, ...] = ()
    size: int = 256 * 1024 * 1024
    """Of its disk, in bytes."""
    variables: dict[str, Any] = field(default_factory=dict)
    """Ansible's variables for it."""
    number: int = 0
    process: subprocess.Popen[str] | None = None
    first: int = 0
    """PID of its first process."""

    @property
    def address(self) -> str:
        """Its address on the fleet's network."""
        return f"10.77.{(self.number + 9) // 250}.{(self.number + 9) % 250 + 1}"

    def path(self, inside: str) -> Path:
        """Return where a path of the running node is for this machine."""
        return Path(f"/proc/{self.first}/root{inside}")


class Fleet:
    """The nodes, started together. Use it as a context manager; everything is gone when that ends."""

    def __init__(self, nodes: Iterable[Node], keep: Sequence[Path] = (), hide: Sequence[Path] = ()) -> None:
        """Describe a fleet: ``keep`` directories are visible in nodes at their place, ``hide`` ones are empty."""
        self.nodes = {node.name: replace(node, number=number) for number, node in enumerate(nodes, 1)}
        self._keep = [str(path) for path in keep]
        self._hide = [str(path) for path in hide]
        self._hub: subprocess.Popen[str] | None = None
        self._hub_first = 0

    def __enter__(self) -> Self:
        """Start the hub and all nodes, and wait until each of them can be reached."""
        reason = why_not()
        if reason:
            raise NoFleet(reason)
        self.directory = Path(tempfile.mkdtemp(prefix="primus-fleet-"))
        try:
            (self.directory / "disks").mkdir()
            self._keys()
            self._start_hub()
            self.start(*self.nodes)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        """End every process of the fleet; the kernel removes what belonged to them."""
        self.stop(*self.nodes)
        if self._hub:
            self._hub.kill()
            self._hub.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *names: str) -> None:
        """Start nodes that do not run, with the disks that they had, and wait for their sshd."""
        nodes = [self.nodes[name] for name in names]
        for node in nodes:
            node.process = self._python("node", self._config(node), ["--mount"], self.directory / f"{node.name}.log")
        for node in nodes:
            node.first = self._line(node.process, node.name)
        self._ip(
            *(f"link delete {node.name}" for node in nodes),  # (of a node that ran before: the kernel takes its time)
            force=True,
        )
        self._ip(
            # (The same hardware address each time: the other nodes need not learn a new one.)
            *(
                f"link add {node.name} type veth peer name eth0 address 02:00:00:00:{node.number >> 8:02x}:"
                f"{node.number & 255:02x} netns {node.first}"
                for node in nodes
            ),
            *(f"link set {node.name} master br0 up" for node in nodes),
        )
        for node in nodes:
            assert node.process
            assert node.process.stdin
            node.process.stdin.write("plugged\n")
            node.process.stdin.flush()
        addresses = {node.address: node.name for node in nodes}
        wanted = json.dumps({"addresses": list(addresses), "seconds": 20 + len(nodes) / 4})
        silent = json.loads(self._run_in_hub(sys.executable, "-I", "-S", _NODE, "greeted", wanted))
        if silent:
            name = addresses[silent[0]]
            raise NoFleet(f"{name} did not start: {(self.directory / f'{name}.log').read_text()[-2000:]}")

    def stop(self, *names: str) -> None:
        """End nodes with all their processes, as a power failure does (what is on their disks stays)."""
        processes = [self.nodes[name].process for name in names]
        for process in filter(None, processes):
            process.kill()
        for name, process in zip(names, processes, strict=True):
            if process:
                process.wait()
                for stream in filter(None, (process.stdin, process.stdout)):
                    stream.close()
            self.nodes[name].process = None

    def unplug(self, name: str) -> None:
        """Cut the node off the network: packets are lost, no connection is reset."""
        self._ip(f"link set {name} down")

    def heal(self, name: str) -> None:
        """Plug the node in again."""
        self._ip(f"link set {name} up")

    def run(self, name: str, *command: str | Path) -> str:
        """Run a command inside a node, without SSH, and return its output."""
        return run("nsenter", "--target", str(self.nodes[name].first), "--all", "--", *command)

    def start_command(self, name: str, *command: str | Path) -> subprocess.Popen[str]:
        """Start a command inside a node, without SSH."""
        enter = ["nsenter", "--target", str(self.nodes[name].first), "--all", "--", *command]
        return subprocess.Popen(
            enter, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def written(self, name: str) -> Path:
        """Return where this machine sees all that the running node has written to its overlays, and nothing else."""
        return Path(f"/proc/{self._hub_first}/root{self.directory}/disks/{name}/upper")

    def enter(self, directory: Path, command: Sequence[str]) -> list[str]:
        """Return the command line that runs ``command`` in ``directory`` on the fleet's network.

        In a PID namespace of the hub's, so that no SSH master outlives the fleet.
        """
        control = f"ANSIBLE_SSH_CONTROL_PATH_DIR={self.directory}/cp"  # (a socket's path may have 108 bytes)
        enter = ("nsenter", "--target", str(self._hub_first), "--net", "--pid", "--mount", "--", "env", control)
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(directory), *command]

    def power_off_controller(self) -> None:
        """Kill everything that was started by :meth:`enter`, SSH masters and detached workers included."""
        # (-1: all processes of the namespace but its first.)
        run("nsenter", "--target", str(self._hub_first), "--pid", "--", "sh", "-c", "kill -KILL -1 || true")

    def inventory(self, **variables: Any) -> dict[str, Any]:
        """Return Ansible's inventory of the fleet, all nodes in the group ``gpu_nodes``."""
        options = f"-F /dev/null -o UserKnownHostsFile={self.directory}/known_hosts -o StrictHostKeyChecking=yes"
        common = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": f"{self.directory}/login",
            "ansible_ssh_common_args": f"{options} -o IdentitiesOnly=yes",
            "ansible_python_interpreter": str(python()),
            **variables,
        }
        hosts = {node.name: {"ansible_host": node.address, **node.variables} for node in self.nodes.values()}
        return {"gpu_nodes": {"hosts": hosts, "vars": common}}

    def _config(self, node: Node) -> dict[str, Any]:
        return {
            "name": node.name,
            "address": node.address,
            "disk": str(self.directory / "disks" / node.name),
            "size": node.size,
            "layers": [(str(layer.source), layer.target, layer.how) for layer in node.layers],
            "keep": self._keep,
            "hide": self._hide,
            "users": USERS,
            "host_key": (self.directory / "host").read_text(),
            "authorized_keys": (self.directory / "login.pub").read_text(),
            "network": ["link set lo up", f"address add {node.address}/16 dev eth0", "link set eth0 up"],
            "sshd": shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin"),
        }

    def _keys(self) -> None:
        for key in ("host", "login"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"fleet {key}", "-f", self.directory / key)
        kind, text = (self.directory / "host.pub").read_text().split()[:2]
        lines = [f"{node.address} {kind} {text}\n" for node in self.nodes.values()]
        (self.directory / "known_hosts").write_text("".join(lines))

    def _start_hub(self) -> None:
        network = [
            "link set lo up",
            "link add br0 type bridge forward_delay 0",
            f"address add {_HUB_ADDRESS}/16 dev br0",
            "link set br0 up",
        ]
        config = {"disks": str(self.directory / "disks"), "network": network}
        self._hub = self._python("hub", config, [], self.directory / "hub.log")
        self._hub_first = self._line(self._hub, "hub")
        assert self._hub.stdout
        if self._hub.stdout.readline() != "ready\n":
            raise NoFleet(f"no hub: {(self.directory / 'hub.log').read_text()}")

    def _python(self, role: str, config: dict[str, Any], namespaces: list[str], log: Path) -> subprocess.Popen[str]:
        enter = ["nsenter", "--target", str(self._hub_first), *namespaces, "--"] if namespaces else []
        with log.open("w") as errors:
            return subprocess.Popen(
                [*enter, sys.executable, "-I", "-S", _NODE, role, json.dumps(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def _line(self, process: subprocess.Popen[str] | None, name: str) -> int:
        assert process
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise NoFleet(f"{name} did not start: {(self.directory / f'{name}.log').read_text()[-2000:]}")
        return int(line)

    def _ip(self, *lines: str, force: bool = False) -> None:
        command = ["nsenter", "--target", str(self._hub_first), "--net", "--", "ip", *["-force"] * force, "-batch", "-"]
        done = subprocess.run(command, input="\n".join(lines), text=True, capture_output=True, check=False)
        if done.returncode and not force:
            raise NoFleet(f"{lines}: {done.stderr}")

    def _run_in_hub(self, *command: str | Path) -> str:
        return run("nsenter", "--target", str(self._hub_first), "--net", "--", *command)


def wait(event: Callable[[], Any], seconds: float = 60) -> None:
    """Return as soon as ``event()`` is true; an AssertionError is raised when it takes longer than that."""
    end = time.monotonic() + seconds
    while not event():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.05)


def python() -> Path:
    """Return the interpreter for Ansible itself on a node: one that a node can see."""
    system = interpreters.system()
    return system if system.is_relative_to("/usr") else interpreters.own().resolve()


def why_not() -> str:
    """Return why this machine cannot hold a fleet; empty when it can."""
    if os.geteuid() != 0:
        return "a fleet needs root, for namespaces and mounts"
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists() or not any(line.split()[4] == "/" for line in mounts.read_text().splitlines()):
        # (Then no mount namespace can be made: "cannot change root filesystem propagation".)
        return (
            "expected / to be a mount point, as on a machine or in a container, and /proc to be mounted; "
            "found a plain chroot. Mount its directory on itself (mount --bind DIR DIR) and its /proc, then chroot"
        )
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    absent = [name for name in ("ssh", "sshd", "ip", "nsenter") if not shutil.which(name, path=path)]
    if absent:
        return f"no {', '.join(absent)}: apt-get install openssh-client openssh-server iproute2 util-linux"
    allowed = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no namespaces: {allowed.stderr.strip()}" if allowed.returncode else ""


def seen(*pythons: Path) -> dict[str, list[Path]]:
    """Return ``keep`` and ``hide`` for a fleet: interpreters (these ones, too) are seen, the checkout is not."""
    homes = {path.resolve().parents[1] for path in (interpreters.own(), python(), *pythons)}
    top = Path("/", *controller.ROOT.parts[1:2])
    hide = [top] if top.name not in {"", "usr", "opt", "home", "root", "tmp", "run", "srv", "var"} else []
    return {"keep": [home for home in homes if not home.is_relative_to("/usr")], "hide": hide}


def base(version: str) -> Path:
    """Return a virtual environment of :func:`python` with the whole wheel of that Transformers, made once: a layer.

    Without what Transformers depends on: ``import transformers`` needs that, reading and patching its files does not.
    """
    interpreter = python()

    def build(directory: Path) -> None:
        environments.bare(interpreter, directory)
        shutil.copytree(
            wheels.unpacked("transformers", version), environments.site_packages(directory), dirs_exist_ok=True
        )

    return cache.once("fleet", cache.digest(str(interpreter), version), build)


def conda() -> Path:
    """Return an installation with the whole wheel of Transformers 4.57.6 in the layout of conda, made once: a layer.

    Made without conda: no virtual environment, but an interpreter whose prefix is where it lies, with ``conda-meta``.

    :raises interpreters.NoInterpreter: when every Python here is Debian's, which looks for packages elsewhere.
    """
    # (First that of the tests themselves: its shared library, which is named by its path, is seen in nodes.)
    for version in (f"{sys.version_info.major}.{sys.version_info.minor}", *interpreters.PROMISED):
        with contextlib.suppress(interpreters.NoInterpreter):
            real = interpreters.find(version).resolve()
            library = real.parents[1] / "lib" / f"python{version}"
            if (library / "os.py").exists() and (library / "site-packages").is_dir():
                break
    else:
        raise interpreters.NoInterpreter("no Python here can be copied")

    def build(directory: Path) -> None:
        (directory / "conda-meta").mkdir()
        (directory / "conda-meta" / "history").touch()
        (directory / "bin").mkdir()
        shutil.copy2(real, directory / "bin" / "python")
        ignored = shutil.ignore_patterns("site-packages", "test", "__pycache__", "config-*")
        shutil.copytree(library, directory / "lib" / library.name, symlinks=True, ignore=ignored)
        for path in library.parent.glob("libpython*.so*"):
            shutil.copy2(path, directory / "lib", follow_symlinks=False)
        unpacked = wheels.unpacked("transformers", "4.57.6")
        shutil.copytree(unpacked, directory / "lib" / library.name / "site-packages")

    return cache.once("fleet", cache.digest("conda", str(real)), build)


def texts(directory: Path) -> tuple[bytes, bytes]:
    """Return ``modeling_utils.py`` of Transformers 4.57.6 as it comes, and what the patch makes of it."""
    path = wheels.modeling_tree("4.57.6", directory) / "transformers" / "modeling_utils.py"
    original = path.read_bytes()
    script = controller.ROOT / "plugins" / "module_utils" / "_catalogue" / "transformers_modeling_utils.py"
    run(sys.executable, "-B", script, directory)
    assert (b"prune_linear_layer" in original, b"prune_linear_layer" in path.read_bytes()) == (False, True)
    return original, path.read_bytes()
