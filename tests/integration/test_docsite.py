# The documentation site is built, without a network and without a warning, and is walked from page to page.
from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from lab.controller import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# What it shows does not depend on the ansible-core that builds it, and it takes half a minute.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("docsite")]


class Page(HTMLParser):
    """A page's links, what it loads, and the places that a link may name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what leads somewhere."""
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in {"index", "search", "next", "prev", "author"}:
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, ROOT / "tools" / "docsite.py", "--offline", directory]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout == f"{directory}/index.html\n"
    assert done.stderr == ""
    return directory


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_internal_link_leads_to_a_place_that_is_there(pages: dict[Path, Page]) -> None:
    broken, followed = [], 0
    for path, page in pages.items():
        for link in page.links + page.loads:
            address, place = urldefrag(link)
            if urlsplit(link).scheme:
                continue
            target = (path.parent / unquote(urlsplit(address).path)).resolve() if address else path
            is_there = target.is_file() and (target not in pages or unquote(place) in pages[target].places)
            followed += 1
            if not is_there:
                broken.append(f"{path.name}: {link}")
    assert broken == []
    assert followed > 1000


def test_every_page_of_docs_is_in_the_contents(site: Path, pages: dict[Path, Page]) -> None:
    contents = {urldefrag(link)[0] for link in pages[site / "index.html"].links}
    wanted = {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    assert wanted - contents == set()
    plugins = ("site_patch_module", "site_patch_info_module", "import_check_module", "megatron_bridge_role")
    assert {f"reference/{name}.html" for name in plugins} <= contents


def test_a_reader_s_browser_asks_nobody_else(pages: dict[Path, Page]) -> None:
    loaded = [load for page in pages.values() for load in page.loads]
    assert loaded
    assert [load for load in loaded if urlsplit(load).netloc] == []
