# The root of a container image, and commands in it: the machine's own /usr, and a place for everything else.
from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from lab import environments

if TYPE_CHECKING:
    from pathlib import Path

# The image's /usr, /dev and /proc are this machine's own (a whole image would take minutes to make), bound there in a
# mount namespace that ends with each command.
CHROOT = """#!/bin/sh
exec unshare --mount sh -c 'set -e
mount --bind -o ro /usr "$1/usr"; mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"
exec chroot "$@"' sh "$@"
"""


def make(root: Path, python: Path) -> Path:
    """Make the root of an image with an empty virtual environment at /opt/venv; return its site-packages.

    The test is skipped where this machine has no namespaces, or its Python is not in /usr.
    """
    if not str(python).startswith("/usr/bin/"):
        pytest.skip(f"the system's Python {python} is not in /usr/bin, which the image shares with this machine")
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    for name in ("usr", "dev", "proc", "etc", "root", "tmp", "opt"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "usr" / "bin").mkdir()
    shutil.copy("/bin/sh", root / "usr" / "bin")  # the plugin looks for it before the first command binds /usr
    shutil.copy("/etc/passwd", root / "etc")
    venv = environments.bare(python, root / "opt" / "venv")
    (site_packages,) = venv.glob("lib/python3*/site-packages")
    return site_packages


def inside(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the image, with an environment as small as a container's."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    words = ["sh", "-c", CHROOT.partition("\n")[2], "sh", str(root), *command]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)
