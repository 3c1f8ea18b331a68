# Prometheus' own judge of metrics, out of Debian's package, which is unpacked and not installed: no server is started.
from __future__ import annotations

import subprocess
from pathlib import Path

from lab import cache
from lab.run import run


def program() -> Path:
    """Return the path of promtool, downloaded once."""
    found = Path("/usr/bin/promtool")
    return found if found.exists() else cache.once("promtool", "debian", _unpack) / "usr" / "bin" / "promtool"


def _unpack(directory: Path) -> None:
    # Debian 13 has promtool in a package of its own. (The lists of packages may be missing or old.)
    fetch = "fetch() { apt-get download -qq promtool || apt-get download -qq prometheus; }"
    script = (
        f'cd "$0" && {fetch} && {{ fetch || {{ apt-get update -qq && fetch; }}; }} && dpkg-deb -x *.deb . && rm *.deb'
    )
    run("sh", "-c", script, directory)


def complaints(text: str) -> str:
    """Return what ``promtool check metrics`` has against a text; empty when it is fine."""
    done = subprocess.run(
        [program(), "check", "metrics"],
        input=text,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout or (f"exit {done.returncode}" if done.returncode else "")
