# What runs inside the fleet's namespaces: the hub (the network between the nodes), and the first process of a node.
"""Started by lab.fleet as ``python -I -S node.py ROLE JSON``; the standard library alone, Linux alone, root alone.

Each process that is started here dies with its parent, and a PID namespace dies with its first process: however the
tests end, the kernel clears everything away.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

_NEWNS, _NEWUTS, _NEWPID, _NEWNET = 0x00020000, 0x04000000, 0x20000000, 0x40000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

# Places that a node has for itself; what else of the machine it sees, it cannot write.
_OWN = {"opt": 0o755, "srv": 0o755, "home": 0o755, "root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}
_SSHD_CONFIG = """ListenAddress {address}
HostKey /run/lab/host_key
AuthorizedKeysFile /run/lab/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
PidFile none
StrictModes no
MaxStartups 200:30:400
MaxSessions 64
LogLevel ERROR
Subsystem sftp internal-sftp
"""


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def _mount(source: str, target: str | Path, kind: str = "none", flags: int = 0, options: str = "") -> None:
    _call("mount", source.encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def _bind(source: str | Path, target: str | Path, *, read_only: bool = False) -> None:
    _mount(str(source), target, flags=_BIND | _REC)
    if read_only:
        _mount("none", target, flags=_REMOUNT | _BIND | _RDONLY)


def _die_with_parent() -> None:
    parent = os.getppid()
    _call("prctl", _PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _first_process(namespaces: int) -> int:
    """Return in the first process of a new PID namespace; its parent stays behind to wait for it.

    Before that the parent prints the PID of that process as its own namespace has it.
    """
    _call("unshare", namespaces | _NEWPID)
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        print(child, flush=True)
        os.close(writer)
        os.waitpid(child, 0)
        os._exit(0)
    _die_with_parent()
    os.close(writer)
    os.read(reader, 1)  # (nothing comes: it is closed once the PID is said, so that no line of ours is before that)
    os.close(reader)
    _mount("none", "/", flags=_REC | _PRIVATE)
    _mount("proc", "/proc", "proc")
    for name in ("all", "default"):  # its multicast on all those ports is noise
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    return child


def hub(config: dict[str, Any]) -> NoReturn:
    """Hold the network to which the nodes and the controller are plugged, and the nodes' disks.

    ``disks``: where the disks are; what is there is seen only from here and by nodes. ``network``: lines for ip.
    """
    _first_process(_NEWNS | _NEWNET)
    _mount("disks", config["disks"], "tmpfs")
    _ip(config["network"])
    print("ready", flush=True)
    while True:  # the first process of a PID namespace inherits what the others leave behind
        with contextlib.suppress(ChildProcessError):
            os.wait()
        time.sleep(0.2)


def node(config: dict[str, Any]) -> NoReturn:
    """Become one node: its own network, mounts, processes and host name; sshd is its first process.

    ``disk``: its directory, kept from start to start; ``size``: of that in bytes. ``layers``: directories of the
    machine to be seen elsewhere in the node, each ``[source, target, how]`` with how: overlay (what the node writes is
    on its own disk), image (nobody can write), shared (the node writes to it). ``keep``: directories seen as they are,
    not to be written. ``hide``: directories seen empty. Standard input gives a line when the cable is plugged in.
    """
    disk = Path(config["disk"])
    disk.mkdir(exist_ok=True)
    if not os.path.ismount(disk):
        _mount(config["name"], disk, "tmpfs", options=f"size={config['size']},mode=0755")
    _first_process(_NEWNS | _NEWUTS | _NEWNET)
    socket.sethostname(config["name"])
    sys.stdin.readline()
    _ip(config["network"])

    _place(config, disk)
    etc = _accounts(disk / "etc", config["users"])
    run, empty = disk / "run", disk / "empty"
    shutil.rmtree(run, ignore_errors=True)  # (as a boot does)
    for path in (run / "lab", run / "sshd", run / "lock", empty):
        path.mkdir(parents=True, exist_ok=True)
    for name, mode in (("host_key", 0o600), ("authorized_keys", 0o644)):
        (run / "lab" / name).touch(mode)
        (run / "lab" / name).write_text(config[name])
    (run / "lab" / "sshd_config").write_text(_SSHD_CONFIG.format(address=config["address"]))

    _mount("none", "/", flags=_REMOUNT | _BIND | _RDONLY)
    # (By descriptor: the disk's own path may be below a directory that is covered here.)
    covered = Path("/proc/self/fd", str(os.open(disk, os.O_PATH)))
    for name in (*(f"etc/{file}" for file in etc), "run", *_OWN):
        if os.path.exists(f"/{name}"):
            _bind(covered / name, f"/{name}")
    for path in config["hide"]:
        if os.path.isdir(path):
            _bind(covered / "empty", path, read_only=True)
    os.chdir("/")
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    os.execve(config["sshd"], [config["sshd"], "-D", "-e", "-f", "/run/lab/sshd_config"], environment)  # noqa: S606


def _place(config: dict[str, Any], disk: Path) -> None:
    """Lay out below ``disk`` what the node is to see in its own places."""
    for name, mode in _OWN.items():
        (disk / name).mkdir(parents=True, exist_ok=True)
        (disk / name).chmod(mode)
    for number, (source, target, how) in enumerate(config["layers"]):
        place = disk / target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        if how == "overlay":
            upper, work = disk / "upper" / str(number), disk / "work" / str(number)
            for path in (upper, work):
                path.mkdir(parents=True, exist_ok=True)
            shutil.copystat(source, upper)
            _mount(
                config["name"], place, "overlay", options=f"lowerdir={source},upperdir={upper},workdir={work},xino=off"
            )
        else:
            _bind(source, place, read_only=how == "image")
    for path in config["keep"]:
        place = disk / path.lstrip("/")
        if place.relative_to(disk).parts[0] in {name.partition("/")[0] for name in _OWN}:
            place.mkdir(parents=True, exist_ok=True)
            _bind(path, place, read_only=True)


def _ip(lines: list[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _accounts(etc: Path, users: dict[str, int]) -> list[str]:
    """Write the node's own account files, with these users besides the machine's own; return their names."""
    etc.mkdir(exist_ok=True)
    rows = {
        "passwd": "{name}:x:{number}:{number}::/home/{name}:/bin/sh",
        "group": "{name}:x:{number}:",
        "shadow": "{name}:*:19000:0:99999:7:::",
    }
    for file, row in rows.items():
        lines = Path("/etc", file).read_text().splitlines()
        if file == "shadow":  # without PAM, sshd lets nobody in whose password is locked
            lines = ["root:*:19000:0:99999:7:::", *(line for line in lines if not line.startswith("root:"))]
        lines += [row.format(name=name, number=number) for name, number in users.items()]
        (etc / file).write_text("\n".join(lines) + "\n")
    (etc / "shadow").chmod(0o640)
    for name, number in users.items():
        home = etc.parent / "home" / name
        home.mkdir(parents=True, exist_ok=True)
        os.chown(home, number, number)
    return list(rows)


def greeted(config: dict[str, Any]) -> None:
    """Print the addresses on which no sshd answers by the deadline (``seconds``); run in the hub's network."""
    left, end = list(config["addresses"]), time.monotonic() + config["seconds"]
    while left and time.monotonic() < end:
        left = [address for address in left if not _greets(address)]
        if left:
            time.sleep(0.05)
    print(json.dumps(left))


def _greets(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


if __name__ == "__main__":
    if sys.argv[1] != "greeted":
        _die_with_parent()
    {"hub": hub, "node": node, "greeted": greeted}[sys.argv[1]](json.loads(sys.argv[2]))
