# The report's page in a real browser: what is seen, counted and filtered; light, dark, printed, and without scripts.
from __future__ import annotations

import base64
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.plugin_utils import _compare, _merge, _page
from lab import browser, observations
from lab.observations import edit, held, looked, lost, patch

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

PICTURES = Path(__file__).parents[1] / "output"
NASTY = "<img src=x onerror=\"document.title='owned'\">'\"&amp;</script><script>document.title='owned'</script>\n😀"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(browser.chromium())
        except browser.NoBrowser as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))


def opened(chromium: Any, report: dict[str, Any], tmp_path: Path, *, scripts: bool = True, **media: str) -> Any:
    """Open the report's page as a file, in a window of the usual width, and return the browser."""
    page = tmp_path / "report.html"
    page.write_text(_page.html(report), encoding="utf-8")
    features = [{"name": "prefers-color-scheme", "value": media.get("scheme", "light")}]
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media.get("media", ""), "features": features})
    chromium.set_window_size(1400, 1000)
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get(page.as_uri())
    return chromium


def picture(chromium: Any, name: str) -> bytes:
    """Keep a picture of the page's top in tests/output, which git ignores, and return it."""
    PICTURES.mkdir(exist_ok=True)
    data = chromium.get_screenshot_as_png()
    (PICTURES / f"report-{name}.png").write_bytes(data)
    return data


def texts(chromium: Any, selector: str) -> list[str]:
    return [element.text for element in chromium.find_elements("css selector", selector)]


def evaluate(chromium: Any, expression: str) -> Any:
    """Evaluate an expression through the debugger, which works with scripts off, too."""
    answer = chromium.execute_cdp_cmd("Runtime.evaluate", {"expression": expression, "returnByValue": True})
    return answer["result"]["value"]


def cells(chromium: Any) -> dict[str, int]:
    """Return how many cells of the fleet's picture are of each kind."""
    found = evaluate(chromium, "[...document.querySelectorAll('#fleet .grid a')].map(cell => cell.className)")
    return {kind: found.count(kind) for kind in set(found)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("count", [1, 64, 2000])
def test_the_page_counts_what_the_fleet_is(chromium: Any, tmp_path: Path, count: int, scheme: str) -> None:
    report = observations.report(count)
    opened(chromium, report, tmp_path, scheme=scheme)
    picture(chromium, f"{count}-{scheme}")
    found = report["summary"]["nodes"]
    verdict = f"{found['ok']} of {count} nodes are as they should be." if count > 1 else "The node is as it should be."
    assert texts(chromium, "h1") == [verdict]
    tiles = "[...document.querySelectorAll('#statuses li')].map(li => [li.dataset.status, +li.firstChild.textContent])"
    shown = {status: number for status, number in found.items() if number or status == "ok"}
    assert dict(evaluate(chromium, tiles)) == shown
    assert sum(cells(chromium).values()) == count
    states = "[...document.querySelectorAll('#patches [data-state]')].map(td => [td.dataset.state, +td.textContent])"
    assert dict(evaluate(chromium, states)) == report["summary"]["patches"]["transformers_modeling_utils"]
    assert len(texts(chromium, ".todo li")) == len(report["todo"])
    assert evaluate(chromium, "document.querySelectorAll('.fleet tbody tr').length") == count
    assert chromium.get_log("browser") == []
    background = evaluate(chromium, "getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")
    # Nothing is wider than the window.
    assert evaluate(chromium, "document.documentElement.scrollWidth <= innerWidth")


def contrast(chromium: Any, selector: str) -> list[tuple[str, float]]:
    """Return the contrast of text and background of each element, as WCAG 2 defines it."""
    script = """[...document.querySelectorAll(SELECTOR)].map(element => {
      const style = getComputedStyle(element);
      const part = value => { value /= 255; return value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4 };
      const light = text => { const [r, g, b] = text.match(/[0-9.]+/g).map(Number);
        return .2126 * part(r) + .7152 * part(g) + .0722 * part(b) };
      const pair = [light(style.color), light(style.backgroundColor)].sort((one, two) => two - one);
      return [element.className, (pair[0] + .05) / (pair[1] + .05)] })"""
    return [tuple(pair) for pair in evaluate(chromium, script.replace("SELECTOR", repr(selector)))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_are_readable_on_every_colour_and_each_kind_has_one_of_its_own(
    chromium: Any, tmp_path: Path, scheme: str
) -> None:
    opened(chromium, observations.report(64), tmp_path, scheme=scheme)
    found = contrast(chromium, ".legend .key")
    assert len(found) == len(_page.KINDS)
    assert [entry for entry in found if entry[1] < 4.5] == []
    letters = texts(chromium, ".legend .key")
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_undeclared_edits_are_told_by_file_with_what_to_do(chromium: Any, tmp_path: Path, scheme: str) -> None:
    edits = {1: [edit(content=1)], 2: [edit(content=1), edit("b.py", "missing")], 3: [edit(content=2)]}
    report = observations.report_of(looked(f"gpu{n}", patch(), integrity=[held(*each)]) for n, each in edits.items())
    opened(chromium, report, tmp_path, scheme=scheme)
    picture(chromium, f"undeclared-{scheme}")
    assert texts(chromium, "#undeclared .edits > li > b") == ["b.py", "transformers/trainer.py"]
    variants = texts(chromium, "#undeclared .edits ul li:not(:last-child)")
    assert [each.partition(" 0000")[0] for each in variants] == [
        "missing 1: gpu2 in /opt/venv/bin/python",
        "changed 2: gpu[1-2]",
        "changed 1: gpu3",
    ]
    assert texts(chromium, "#undeclared .edits ul li:last-child") == [report["undeclared"]["files"][0]["capture"]] * 2
    assert [entry for entry in contrast(chromium, "#undeclared .badge") if entry[1] < 4.5] == []
    assert evaluate(chromium, "document.documentElement.scrollWidth <= innerWidth")


def test_a_filter_narrows_the_table_and_a_cell_leads_to_its_row(chromium: Any, tmp_path: Path) -> None:
    report = observations.report(64)
    opened(chromium, report, tmp_path)

    def shown() -> int:
        return evaluate(chromium, "document.querySelectorAll('.fleet tbody tr:not([hidden])').length")

    assert texts(chromium, ".filter output") == ["64 of 64 lines"]
    search = chromium.find_element("css selector", ".filter [type=search]")
    search.send_keys("GPU0017")
    assert shown() == 1
    search.clear()
    search.send_keys(" ")
    search.send_keys("\b")
    assert shown() == 64
    chromium.find_element("css selector", ".filter [value=applied]").click()
    assert shown() == 64 - report["summary"]["states"]["applied"]
    assert texts(chromium, ".filter output") == [f"{shown()} of 64 lines"]
    chromium.find_element("css selector", "#fleet .grid a[title^='gpu0020']").click()
    assert evaluate(chromium, "document.querySelector('.fleet tr:target td').textContent") == "gpu0020"
    assert evaluate(chromium, "document.querySelector('.fleet tr:target').hidden") is False


def test_without_scripts_all_is_there_but_the_filter(chromium: Any, tmp_path: Path) -> None:
    opened(chromium, observations.report(64), tmp_path, scripts=False)
    try:
        assert evaluate(chromium, "document.querySelectorAll('.fleet tbody tr:not([hidden])').length") == 64
        assert evaluate(chromium, "getComputedStyle(document.querySelector('.filter')).display") == "none"
        assert sum(cells(chromium).values()) == 64
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [1100, 800, 400])
def test_no_screen_is_too_small(chromium: Any, tmp_path: Path, width: int) -> None:
    opened(chromium, observations.report(64), tmp_path)
    chromium.set_window_size(width, 1000)
    assert evaluate(chromium, "document.documentElement.scrollWidth") == evaluate(chromium, "innerWidth") == width
    assert evaluate(chromium, "document.querySelectorAll('.fleet tbody tr').length") > 0


def test_texts_from_nodes_are_shown_as_text_and_run_nothing(chromium: Any, tmp_path: Path) -> None:
    told = patch("conflict", message=NASTY, path=NASTY, name="p")
    answers = [
        looked(NASTY, told, environment={"python": NASTY, "python_version": "3", "prefix": "/", "path": None}),
        lost(f"{NASTY}2"),
    ]
    report = observations.report_of(answers, title=NASTY)
    opened(chromium, report, tmp_path)
    picture(chromium, "nasty")
    shown = " ".join(NASTY.split())
    assert "owned" not in chromium.title.replace(shown, "")
    assert texts(chromium, "img, iframe, object, svg") == []
    assert evaluate(chromium, "document.scripts.length") == 1
    assert evaluate(chromium, "document.querySelector('.fleet td').textContent") == shown
    assert evaluate(chromium, "document.querySelector('#fleet h3 code').textContent") == shown
    assert evaluate(chromium, "document.querySelector('#fleet .grid a').title") == f"{shown}: conflict"
    assert chromium.get_log("browser") == []


def test_a_script_that_got_into_the_page_all_the_same_would_not_run(chromium: Any, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    opened(chromium, observations.report(1), tmp_path)
    page.write_text(page.read_text().replace("<main>", "<main><script>document.title = 'owned'</script>"))
    chromium.get(page.as_uri())
    assert chromium.title != "owned"
    assert any("Content Security Policy" in entry["message"] for entry in chromium.get_log("browser"))


def test_the_page_is_printed_in_black_on_white_whatever_the_screen(chromium: Any, tmp_path: Path) -> None:
    opened(chromium, observations.report(64), tmp_path, scheme="dark", media="print")
    picture(chromium, "64-print")
    assert evaluate(chromium, "getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert evaluate(chromium, "getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert evaluate(chromium, "getComputedStyle(document.querySelector('.filter')).display") == "none"
    printed = base64.b64decode(chromium.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") <= 12, "64 lines fill some pages"
    (PICTURES / "report-64.pdf").write_bytes(printed)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_merged_report_begins_with_what_is_new(chromium: Any, tmp_path: Path, scheme: str) -> None:
    before = observations.report_of(
        [looked("gpu1", patch("pending")), looked("gpu2", patch()), looked("gpu3", patch())]
    )
    now = observations.report_of([looked("gpu1", patch("conflict")), looked("gpu2", patch()), lost("gpu4")])
    older = {**before, "generated": "2026-11-24T10:00:00+00:00"}
    report = _merge.merged({"a.json": now}, {"b.json": NASTY}, "2026-11-25T13:00:00+00:00")
    report["since"] = _compare.compared(report, older)
    opened(chromium, report, tmp_path, scheme=scheme)
    picture(chromium, f"since-{scheme}")
    assert texts(chromium, "main h2")[0] == f"Since {older['generated']}"
    assert texts(chromium, "#since .badge") == ["unreachable", "conflict, was pending", "gone", "came"]
    assert [entry for entry in contrast(chromium, "#since .badge") if entry[1] < 4.5] == []
    assert texts(chromium, ".fleet td:first-child") == ["gpu1\n3 h old", "gpu2\n3 h old", "gpu4\n3 h old"]
    assert "owned" not in chromium.title
    assert evaluate(chromium, "document.documentElement.scrollWidth <= innerWidth")
    assert chromium.get_log("browser") == []
