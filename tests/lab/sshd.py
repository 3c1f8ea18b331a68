# A real SSH node on the loopback address: an sshd with its own keys and configuration, for one test session.
from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoSshd(RuntimeError):
    """The machine has no sshd, or it did not start; the text says why."""


@contextlib.contextmanager
def node(directory: Path, name: str = "node") -> Iterator[dict[str, Any]]:
    """Run an sshd on 127.0.0.1 with everything that it needs in ``directory``; yield an inventory with that one host.

    No PAM, one host key, one key that may log in as the user who runs the tests. Ansible's remote files go to
    ``directory`` as well, as the session's HOME is that user's real one. The server ends with the context.
    """
    program = shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if not program or not shutil.which("ssh"):
        raise NoSshd("no sshd or ssh here: apt-get install openssh-server openssh-client")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's privilege separation directory
    directory.mkdir(parents=True, exist_ok=True)
    for key in ("host", "login"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", directory / key)
    port = free_port()
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    (directory / "sshd_config").write_text(
        f"""ListenAddress 127.0.0.1:{port}
HostKey {directory}/host
AuthorizedKeysFile {directory}/login.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PidFile none
StrictModes no
PrintMotd no
Subsystem sftp internal-sftp
"""
    )
    with (directory / "log").open("w") as log:
        server = subprocess.Popen(
            [program, "-D", "-e", "-f", directory / "sshd_config"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait(server, port, directory / "log")
        yield _inventory(directory, name, port)
    finally:
        server.terminate()
        server.wait(timeout=10)


def _inventory(directory: Path, name: str, port: int) -> dict[str, Any]:
    """Return an Ansible inventory with the node as its only host."""
    options = {
        "UserKnownHostsFile": f"{directory}/known_hosts",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }
    host = {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_user": getpass.getuser(),
        "ansible_ssh_private_key_file": f"{directory}/login",
        # -F: the developer's own configuration has no say. No ControlPersist: its master would outlive the test.
        "ansible_ssh_args": "-F /dev/null " + " ".join(f"-o {key}={value}" for key, value in options.items()),
        "ansible_remote_tmp": f"{directory}/remote",
        "ansible_pipelining": True,
    }
    return {"all": {"hosts": {name: host}}}


def free_port() -> int:
    """Return a port of the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return as soon as the server greets; raise NoSshd when it ends or stays silent for ten seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if connection.recv(4) == b"SSH-":
                return
        time.sleep(0.05)
    raise NoSshd(f"sshd did not start on 127.0.0.1:{port}: {log.read_text()[-2000:]}")
