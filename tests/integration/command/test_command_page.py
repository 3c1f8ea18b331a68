# docs/COMMAND.md: every command on the page is run, in the page's order, and prints what the page says.
from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from lab import environments, pages, pyz, wheels
from lab.controller import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = (ROOT / "docs" / "COMMAND.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = [found for block in BLOCKS for found in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)]


def test_each_command_prints_what_the_page_says(
    tmp_path: Path, venv: Callable[..., Path], python: Callable[[str], Path]
) -> None:
    home = venv()
    site = environments.site_packages(home)
    pyz.install(site)
    wheels.modeling_tree("4.57.6", site)
    pyz.builder().build(tmp_path)
    example = dict(EXAMPLES)["cat patches/raise-limit.patch"]
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "raise-limit.patch").write_text(example)
    names = {"python3": str(python("3.8"))}
    assert len(EXAMPLES) == 8
    for command, expected in EXAMPLES:
        words = [names.get(word, word).replace("/opt/venv", str(home)) for word in shlex.split(command)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (pages.shown(done.stdout, home), done.stderr) == (expected, ""), command
        assert done.returncode == (1 if "--check" in words else 0), command


def test_the_page_names_every_command(tmp_path: Path) -> None:
    pyz.builder().build(tmp_path)
    for command in re.findall(r"^    (\w+)  ", pyz.run(tmp_path / "primus-patches.pyz", "--help").stdout, re.MULTILINE):
        assert f"`{command}`" in PAGE, command
