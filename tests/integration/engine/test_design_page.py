# docs/DESIGN.md: its tables and its fact are those of the code.
from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from lab import environments, pages, pyz
from lab.controller import ROOT
from module_utils import _plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = (ROOT / "docs" / "DESIGN.md").read_text()
WORDS = {"none": "nothing", "apply": "apply", "migrate": "migrate"}


def test_the_table_of_states_is_the_one_of_the_code() -> None:
    rows = re.findall(r"^\| (`[a-z]+`(?:, `[a-z]+`)*) \| ([^|]+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    told = {state: text for states, text in rows for state in re.findall(r"`(\w+)`", states) if state in _plan.PRESENT}
    assert told.keys() == _plan.PRESENT.keys()
    for state, action in _plan.PRESENT.items():
        assert told[state].startswith(WORDS.get(action, "fail")), state


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
    assert (shown["path"], shown["dist"][:3], shown["proven"]) == (
        written["path"],
        written["dist"][:3],
        written["proven"],
    )
    for name in re.findall(r"^    (README|\.gitignore|originals|facts)", PAGE, re.MULTILINE):
        assert (site / "primus-patches" / name).exists()
