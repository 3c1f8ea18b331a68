# docs/PATCHES.md: every example on the page is executed, and does what the page says.
from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from lab import packages
from lab.controller import ROOT
from module_utils import _engine, _patch
from module_utils._plan import ACTIONS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "PATCHES.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|diff)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SOURCES = [text.split("\n", 1) for language, text in BLOCKS if language == "python"]
FILES = {path.removeprefix("# "): source for path, source in SOURCES}
DEFINITIONS = {(found := yaml.safe_load(text))["name"]: found for language, text in BLOCKS if language == "yaml"}
DIFFS = {
    yaml.safe_load(text)["name"]: after
    for (language, text), (kind, after) in pairwise(BLOCKS)
    if (language, kind) == ("yaml", "diff")
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a site-packages with the page's package, and with what its example requires."""
    packages.install(tmp_path, "acme", "2.3.0", FILES)
    packages.install(tmp_path, "numlib", "1.4.1", {"numlib.py": ""})
    return tmp_path


def test_page_shows_each_kind_of_edit_and_each_key() -> None:
    assert {kind for each in DEFINITIONS.values() for edit in each["edits"] for kind in edit} == set(_patch._KINDS)
    rows = re.findall(r"^\| `(\w+)` \| (?:yes|no) \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(_patch._KEYS)
    for state in (*ACTIONS, "unsupported", "conflict", "missing"):
        assert f"`{state}`" in PAGE


@pytest.mark.parametrize("name", sorted(DIFFS))
def test_example_changes_what_the_page_shows_and_reverts(name: str, site: Path) -> None:
    before = (site / "acme" / "api.py").read_bytes()
    done = call(site, DEFINITIONS[name])
    assert [patch["action"] for patch in done["patches"]] == ["apply"]
    assert done["diff"]["prepared"].split("\n", 2)[2] == DIFFS[name]
    found = call(site, DEFINITIONS[name])["patches"][0]
    assert (found["state"], found["integrity"]) == ("applied", "patched")
    assert call(site, DEFINITIONS[name], state="absent")["changed"]
    assert (site / "acme" / "api.py").read_bytes() == before


def test_example_of_a_second_revision_migrates_the_first(site: Path) -> None:
    second = DEFINITIONS["acme_limit"]
    first = {**second, **second["previous"][0]}
    del first["previous"]
    call(site, first)
    assert "LIMIT = 20\n" in (site / "acme" / "api.py").read_text()
    (found,) = call(site, second)["patches"]
    assert (found["state"], found["action"]) == ("outdated", "migrate")
    assert "LIMIT = 30\n" in (site / "acme" / "api.py").read_text()


def test_example_made_by_upstream_is_native(site: Path) -> None:
    (found,) = call(site, DEFINITIONS["acme_old_limit"])["patches"]
    assert (found["state"], found["action"]) == ("native", "none")


def test_examples_that_claim_the_same_text_are_a_conflict(site: Path) -> None:
    call(site, DEFINITIONS["acme_clip"])
    both = [DEFINITIONS["acme_clip"], DEFINITIONS["acme_checked"]]
    refused = _engine.run({"operation": "patch", "definitions": both, "path": str(site)})
    assert "patches acme_checked and acme_clip claim the same text of api.py" in refused["msg"]


def test_examples_that_do_not_overlap_apply_together_and_revert_in_any_order(site: Path) -> None:
    before = (site / "acme" / "api.py").read_bytes()
    together = [DEFINITIONS[name] for name in ("acme_circle", "acme_clip", "acme_limit")]
    assert {each["action"] for each in call(site, *together)["patches"]} == {"apply"}
    for name in ("acme_clip", "acme_circle", "acme_limit"):
        call(site, *together, name=[name], state="absent")
    assert (site / "acme" / "api.py").read_bytes() == before


def test_example_that_requires_something_is_refused_without_it(site: Path) -> None:
    (site / "numlib-1.4.1.dist-info" / "METADATA").unlink()
    (site / "numlib-1.4.1.dist-info").rename(site / "numlib-1.3.0.dist-info")
    refused = _engine.run({"operation": "patch", "definitions": [DEFINITIONS["acme_clip"]], "path": str(site)})
    assert "requires numlib: expected version >=1.4, found 1.3.0" in refused["msg"]


def call(site: Path, *definitions: dict[str, Any], **more: Any) -> dict[str, Any]:
    result = _engine.run(
        {"operation": "patch", "definitions": list(definitions), "path": str(site), "diff": True, **more}
    )
    assert not result.get("failed"), result["msg"]
    return result
