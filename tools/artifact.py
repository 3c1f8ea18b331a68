# What ./dev artifact runs: the collection's artifact, made from the checkout.
"""Builds ``primus-patches-VERSION.tar.gz``. The same commit gives the same bytes, wherever and whenever it is built."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import controller  # noqa: E402 (needs the line above)


def main() -> None:
    """Build it, and print its sha256 and path as sha256sum does."""
    parser = argparse.ArgumentParser(prog="./dev artifact", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "dist", help="default: dist, in the checkout")
    artifact = controller.build_artifact(parser.parse_args().directory)
    print(f"{hashlib.sha256(artifact.read_bytes()).hexdigest()}  {artifact}")


if __name__ == "__main__":
    main()
