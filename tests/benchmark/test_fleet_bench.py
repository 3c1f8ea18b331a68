# The tool behind ./dev bench --fleet runs to its end and writes a whole page; what it measures is not judged here.
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab import controller, fleet
from lab.run import run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet")]

BENCH = controller.ROOT / "tools" / "bench.py"


@pytest.mark.skipif(os.environ.get("CI") != "true" and bool(fleet.why_not()), reason=fleet.why_not())
def test_all_contenders_on_two_nodes(tmp_path: Path) -> None:
    page = tmp_path / "COST.md"
    page.write_text("<!-- why -->\nBecause.\n<!-- /why -->\n<!-- memory -->\nold\n<!-- /memory -->\n")
    run(sys.executable, BENCH, "--fleet", "--nodes", "1,2", "--rounds", "1", "--write", page)
    text = page.read_text()
    # (A size's table has two ratios a line, that of the growth one for each of its two halves.)
    tables = re.findall(r"^\|--?-.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert [len(table.splitlines()) for table in tables] == [10, 10, 10], text
    for row in "".join(tables).splitlines():
        assert len(re.findall(r"\| \**\d+\.\d+", row)) >= 4, row
    for kept in ("<!-- why -->\nBecause.\n", "<!-- memory -->\nold\n", "#### 1 nodes", "#### 2 nodes", "#### Growth"):
        assert kept in text

    run(sys.executable, BENCH, "--memory", "--hosts", "3", "--write", page)
    again = page.read_text()
    assert again.partition("<!-- memory -->")[0] == text.partition("<!-- memory -->")[0]
    assert again.partition("<!-- /memory -->")[2] == text.partition("<!-- /memory -->")[2]
    assert len(re.findall(r"\| \d+ \| \**\d\.\d\d", again.partition("<!-- memory -->")[2])) == 2, again


@pytest.mark.parametrize("arguments", [(), ("--fleet", "--only", "nobody"), ("--fleet", "--only", "ours", "--write")])
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert done.stderr.startswith("usage: ./dev bench"), done
