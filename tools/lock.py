# What ./dev lock runs: tests/locks, made from tests/requirements.txt.
"""Pins all that development needs, with hashes, in ``tests/locks``: the tools, and each supported ansible-core alone.

What is pinned stays where it still fits; ``--upgrade`` takes the newest of everything.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import controller, cores  # noqa: E402 (needs the line above)
from lab.index import pip_settings  # noqa: E402

LOCKS = ROOT / "tests" / "locks"


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(
        prog="./dev lock", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upgrade", action="store_true", help="to the newest of everything")
    upgrade = ["--upgrade"] * parser.parse_args().upgrade
    oldest = next(iter(cores.SUPPORTED.values()))[0]
    asked = (ROOT / "tests" / "requirements.txt").read_text()
    # One file for all Pythons; the core is what differs from one test environment to the next.
    pin("tools.txt", asked, oldest, "--universal", "--no-emit-package", "ansible-core", *upgrade)
    for core, pythons in cores.SUPPORTED.items():
        pin(f"ansible-core-{core}.txt", cores.requirement(core), pythons[0], "--no-deps", *upgrade)


def pin(name: str, asked: str, python: str, *options: str) -> None:
    """Write one file, with what is asked for from that Python on."""
    index = pip_settings().get("index-url")
    command = [controller.tool("uv"), "pip", "compile", "--quiet", "--generate-hashes", "--python-version", python]
    command += ["--no-emit-index-url", "--no-annotate", "--custom-compile-command", "./dev lock"]
    command += [*(["--default-index", index] if index else []), *options]
    subprocess.run([*command, "--output-file", LOCKS / name, "-"], input=asked, text=True, check=True)


if __name__ == "__main__":
    main()
