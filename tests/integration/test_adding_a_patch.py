# The guide to adding a patch in CONTRIBUTING.md, followed literally on a copy of the checkout and a real Transformers.
from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from lab import checkout, controller

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = (controller.ROOT / "CONTRIBUTING.md").read_text()
GUIDE = re.search(r"^## Add a patch\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
CATALOGUE = "plugins/module_utils/_catalogue"


@pytest.mark.ansible
def test_the_guide_to_adding_a_patch_works_literally(tmp_path: Path, tree: Callable[[str], Path]) -> None:
    assert GUIDE
    blocks = re.findall(r"^   ```(?:python|text|shell)\n(.*?)^   ```$", GUIDE[1], re.MULTILINE | re.DOTALL)
    file, line, commands = (textwrap.dedent(block) for block in blocks)
    (name,) = re.findall(r"_catalogue/(transformers_meshgrid\.py)`", GUIDE[1])
    copy = checkout.copy(tmp_path / "checkout")
    (copy / CATALOGUE / name).write_text(file)
    listed = copy / CATALOGUE / "__init__.py"
    listed.write_text(listed.read_text().replace("\n)\n", f"\n    {line.strip()}\n)\n", 1))

    site = tree("4.57.6")
    patched = site / "transformers" / "modeling_utils.py"
    stock = patched.read_bytes()
    exits = []
    for command in commands.replace("SITE_PACKAGES", shlex.quote(str(site))).splitlines():
        done = subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=copy, capture_output=True, check=False)
        assert not done.stderr, done.stderr.decode()
        exits.append((done.returncode, b"meshgrid," in patched.read_bytes()))
    assert exits == [(1, False), (0, True), (0, False)]
    assert patched.read_bytes() == stock

    collections = tmp_path / "collections" / "ansible_collections" / "primus"
    collections.mkdir(parents=True)
    copy.rename(collections / "patches")
    run = controller.Controller(tmp_path / "controller", tmp_path / "collections").playbook
    for state in ("present", "present", "absent"):
        task = {"primus.patches.site_patch": {"name": ["transformers_meshgrid"], "path": str(site), "state": state}}
        run([{"hosts": "all", "gather_facts": False, "tasks": [task]}]).exits(0)
        assert (b"meshgrid," in patched.read_bytes()) == (state == "present")
    assert patched.read_bytes() == stock
