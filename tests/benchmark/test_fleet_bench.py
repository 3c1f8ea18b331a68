# The tool behind ./dev bench --fleet runs to its end and writes a whole page; what it measures is not judged here.
from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab import controller, fleet
from lab.run import run

BENCH = controller.ROOT / "tools" / "bench.py"
spec = importlib.util.spec_from_file_location("bench", BENCH)
assert spec
assert spec.loader
bench = sys.modules["bench"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def rows(text: str) -> list[list[str]]:
    """Return the rows of each table."""
    return [table.splitlines() for table in re.findall(r"^\|--?-.*\n((?:\|.*\n?)+)", text, re.MULTILINE)]


@pytest.mark.slow
@pytest.mark.xdist_group("fleet")
@pytest.mark.skipif(os.environ.get("CI") != "true" and bool(fleet.why_not()), reason=fleet.why_not())
def test_all_contenders_on_two_nodes(tmp_path: Path) -> None:
    page = tmp_path / "COST.md"
    page.write_text("<!-- why -->\nBecause.\n<!-- /why -->\n<!-- cold -->\nold\n<!-- /cold -->\n")
    measured = ("--fleet", "--warm", "--nodes", "2", "--rounds", "1", "--memory", "--hosts", "3")
    run(sys.executable, BENCH, *measured, "--write", page)
    text = page.read_text()
    contenders, memory = rows(text)
    assert len(contenders) == len(bench.CONTENDERS)
    for row in contenders:
        assert len(re.findall(r"\| \**\d+\.\d+", row)) >= 4, row
    assert len(memory) == 2
    for row in memory:
        assert re.search(r"\| \d+ \| \**\d\.\d\d", row), row
    for kept in ("<!-- why -->\nBecause.\n", "<!-- cold -->\nold\n", "#### 2 nodes"):
        assert kept in text


def test_growth_is_what_a_node_costs_among_many_by_what_it_costs_among_few() -> None:
    """Of samples that are made up: wall time that grows with the nodes, and controller CPU that grows faster."""
    found = {
        size: {each.key: [bench.Sample(wall=2.0 * size, cpu=cpu * size, memory=1)] for each in bench.CONTENDERS}
        for size, cpu in ((16, 0.1), (200, 0.2))
    }
    _few, _many, growth = rows(bench.fleet_section(found, bench.CONTENDERS))
    assert {row.partition(" |")[2] for row in growth} == {" 2.000 | 2.000 | 1.00 | 0.100 | 0.200 | **2.00** |"}
    assert len(growth) == len(bench.CONTENDERS)


def test_a_page_is_written_anew_in_the_sections_that_were_measured(tmp_path: Path) -> None:
    page = tmp_path / "COST.md"
    bench.write(page, {"fleet": "one", "memory": "two"})
    first = page.read_text()
    bench.write(page, {"memory": "three"})
    assert page.read_text() == first.replace("\ntwo\n", "\nthree\n") != first


@pytest.mark.parametrize("arguments", [(), ("--fleet", "--only", "nobody"), ("--fleet", "--only", "ours", "--write")])
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert done.stderr.startswith("usage: ./dev bench"), done
