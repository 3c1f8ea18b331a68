# docs/DESIGN.md: its fact is one that the code writes.
from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from lab import environments, pages, pyz
from lab.controller import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = (ROOT / "docs" / "DESIGN.md").read_text()


def test_the_fact_on_the_page_has_the_keys_and_hashes_of_one_that_is_written(
    tmp_path: Path, venv: Callable[..., Path]
) -> None:
    home = venv()
    site = environments.site_packages(home)
    pyz.install(site)
    pyz.patch(tmp_path / "here" / "patches", "raise-limit")
    guide = pages.Guide(tmp_path / "here", home)
    code, printed = guide.run("python3 primus-patches.pyz apply --python /opt/venv/bin/python --patch patches/")
    assert code == 0, printed
    (file,) = (site / "primus-patches" / "facts").iterdir()
    written = json.loads(file.read_text())
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block
    shown = json.loads(block[1])
    assert shown.keys() <= written.keys()
    assert shown["patches"][0].keys() <= written["patches"][0].keys()
    for key in ("original", "written"):
        assert written[key].startswith(shown[key].rstrip("…"))
    for key in ("schema", "path", "proven", "proof", "tool"):
        assert shown[key] == written[key], key
    assert shown["dist"][:3] == written["dist"][:3]
    for name in re.findall(r"^    (README|\.gitignore|originals|facts)", PAGE, re.MULTILINE):
        assert (site / "primus-patches" / name).exists()
