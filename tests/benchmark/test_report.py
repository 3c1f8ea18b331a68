# What the report of 2,000 nodes costs the controller and the browser: ./dev bench tests/benchmark/test_report.py
from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _metrics, _page, _report
from lab import browser, controller, observations

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

NODES = 2000
GROUP = f"report of {NODES} nodes"


def _whole() -> list[int]:
    """Make all three files, as the callback does; return their sizes."""
    report = observations.report(NODES)
    return [len(make(report).encode()) for make in (_report.text, _page.html, _metrics.text)]


@pytest.mark.benchmark(group=GROUP)
def test_make_all_three_files(benchmark: BenchmarkFixture) -> None:
    sizes = benchmark.pedantic(_whole, rounds=5, warmup_rounds=1)
    benchmark.extra_info["bytes: json, html, prom"] = sizes
    assert sizes[1] < 3_000_000


@pytest.mark.parametrize("alike", [True, False], ids=["the same", "no two alike"])
@pytest.mark.benchmark(group=f"{GROUP}, each with 50 undeclared edits")
def test_make_all_three_files_of_nodes_with_edits(benchmark: BenchmarkFixture, *, alike: bool) -> None:
    """From the answers on, as the processor's time: `time.process_time` is pytest-benchmark's `--benchmark-timer`."""
    found = list(observations.edited(NODES, alike=alike))

    def whole() -> list[int]:
        report = observations.report_of(found)
        return [len(make(report).encode()) for make in (_report.text, _page.html, _metrics.text)]

    sizes = benchmark.pedantic(whole, rounds=3, warmup_rounds=1)
    benchmark.extra_info["bytes: json, html, prom"] = sizes
    assert sizes[1] < 5_000_000


def memory(code: str) -> int:
    """Return the most resident memory of a fresh process that runs ``code``, in MiB.

    (As the kernel has it of the program itself: `ru_maxrss` begins with what the process had that started it.)
    """
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{code}\nprint(open('/proc/self/status').read())"
    told = subprocess.check_output([sys.executable, "-c", program], cwd=controller.ROOT, text=True)
    return int(told.partition("VmHWM:")[2].split()[0]) // 1024


@pytest.mark.parametrize("fleet", ["many({})[0]", "edited({}, alike=True)", "edited({}, alike=False)"])
def test_memory_of_that_is_what_a_controller_can_spare(fleet: str) -> None:
    """With ansible-core, which is there besides; what a node told is kept as text, as by the callback."""
    imports = "import ansible.executor.playbook_executor\nfrom lab import observations\n"
    make = (
        "from ansible_collections.primus.patches.plugins.plugin_utils import _metrics, _page, _report\n"
        f"report = observations.report_of(observations.{fleet.format(NODES)})\n"
        "texts = [make(report) for make in (_report.text, _page.html, _metrics.text)]\n"
    )
    before, after = memory(imports), memory(imports + make)
    sys.stdout.write(f"{GROUP}: {after} MiB in all, {after - before} MiB of it for the report\n")
    assert after < 500


@pytest.mark.slow
@pytest.mark.benchmark(group=GROUP)
def test_open_the_page_in_chromium(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(_page.html(observations.report(NODES)), encoding="utf-8")
    try:
        with browser.chromium() as chromium:
            benchmark.pedantic(chromium.get, [page.as_uri()], rounds=5, warmup_rounds=1)
            assert chromium.execute_script("return document.querySelectorAll('.fleet tbody tr').length") == NODES
    except browser.NoBrowser as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
