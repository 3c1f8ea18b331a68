# What ./dev docs runs: the documentation site, from the pages in docs/ and the documentation of the plugins.
"""Builds the site. Every warning is an error; what other projects have is linked only where they can be reached."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import checkout  # noqa: E402 (needs the line above)

if TYPE_CHECKING:
    from collections.abc import Mapping

INVENTORIES = {  # by the names that docs/docsite/conf.py gives them
    "ansible_devel": "https://docs.ansible.com/ansible/devel/objects.inv",
    "python3": "https://docs.python.org/3/objects.inv",
}
SECONDS = 5  # for each inventory


def main() -> int:
    """Build it, and print where it begins."""
    parser = argparse.ArgumentParser(prog="./dev docs", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "dist" / "docs", help="default: dist/docs")
    parser.add_argument("--offline", action="store_true", help="ask no other project for its inventory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="primus-docs-") as name:
        site = lay_out(Path(name), {} if options.offline else INVENTORIES)
        shutil.rmtree(options.directory, ignore_errors=True)
        command = (sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--builder", "html")
        done = subprocess.run([*command, "--doctree-dir", Path(name, "trees"), site, options.directory], check=False)
    print(
        options.directory / "index.html" if done.returncode == 0 else "the site was not built: see the warnings above"
    )
    return done.returncode


def lay_out(directory: Path, inventories: Mapping[str, str]) -> Path:
    """Make the tree that Sphinx reads: the pages where the repository has them, so that their links lead on."""
    collection = checkout.copy(directory / "ansible_collections" / "primus" / "patches")
    site = directory / "site"
    shutil.copytree(collection / "docs", site / "docs", ignore=shutil.ignore_patterns("docsite"))
    for each in (*collection.glob("*.md"), collection / "execution-environment.yml", *collection.glob("roles/*/*.md")):
        (site / each.relative_to(collection)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(each, site / each.relative_to(collection))
    shutil.copytree(collection / "docs" / "docsite", site, dirs_exist_ok=True)
    for name, address in inventories.items():
        # (a network that answers slowly, or with a page of its own, must not end the build)
        with suppress(OSError, ValueError), requests.get(address, timeout=SECONDS) as answer:
            answer.raise_for_status()
            (site / f"{name}.inv").write_bytes(answer.content)
    (site / "reference").mkdir(mode=0o755)
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath))),
        "ANSIBLE_COLLECTIONS_PATH": str(directory),
        "ANSIBLE_HOME": str(directory / "home"),
    }
    settings = collection / "docs" / "docsite" / "antsibull-docs.cfg"
    program = (
        programs / "antsibull-docs",
        "--config-file",
        settings,
        "collection",
        "--use-current",
        "--squash-hierarchy",
    )
    options = ("--fail-on-error", "--no-add-antsibull-docs-version", "--dest-dir", site / "reference")
    subprocess.run([*program, *options, "primus.patches"], check=True, env=environment)
    for page in (site / "reference").glob("*.rst"):  # (the theme has the contents of a page beside it)
        page.write_text(page.read_text().replace(".. contents::\n   :local:\n   :depth: 1\n", ""))
    return site


if __name__ == "__main__":
    sys.exit(main())
