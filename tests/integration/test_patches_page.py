# docs/PATCHES.md: every example on the page is executed, and does what the page says.
from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from lab import packages
from lab.controller import ROOT
from module_utils import _engine, _patch, _patch_file, _patch_header
from module_utils._errors import DefinitionError
from module_utils._step import ABSENT_ACTIONS, PRESENT

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
PATCHES = re.findall(
    r"a file `(\S+\.patch)`\.\n\n```patch\n(.*?)^```$\n\n```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)
WORDS = {"none": "nothing", "apply": "apply", "migrate": "migrate", "refuse": "fail"}
NOTHING_TO_DO = {"acme_new_numlib": "unneeded", "acme_old_limit": "native"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a site-packages with the page's package, and with what its examples name."""
    metadata = "Metadata-Version: 2.1\nName: acme\nVersion: 2.3.0\nRequires-Dist: numlib<1.4\n"
    info = packages.install(tmp_path, "acme", "2.3.0", FILES)
    (info / "METADATA").write_text(metadata)
    packages.install(tmp_path, "numlib", "1.4.1", {"numlib.py": ""})
    return tmp_path


def test_page_shows_each_kind_of_edit_each_key_and_each_state() -> None:
    kinds = {kind for each in DEFINITIONS.values() for edit in each["edits"] for kind in edit}
    assert kinds - {"file"} == set(_patch.KINDS)
    rows = re.findall(r"^\| `(\w+)` \| (?:yes|no) \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(_patch.KEYS)
    states = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert sorted(row[0] for row in states) == sorted(PRESENT)
    for state, present, absent in states:
        assert present.startswith(WORDS[PRESENT[state]]), state
        assert absent.startswith(WORDS[ABSENT_ACTIONS.get(state, "none")]) or absent == "take out", state
    links = re.findall(r"\]\(#([\w-]+)\)", PAGE)
    headings = {found.lower().replace(" ", "-") for found in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)}
    assert set(links) <= headings


def test_each_example_shows_what_it_does_or_is_one_with_nothing_to_do() -> None:
    assert DIFFS.keys() | NOTHING_TO_DO.keys() == DEFINITIONS.keys()


@pytest.mark.parametrize("name", sorted(DIFFS))
def test_example_changes_what_the_page_shows_and_reverts(name: str, site: Path) -> None:
    before = files(site)
    done = call(site, DEFINITIONS[name])
    assert [patch["action"] for patch in done["patches"]] == ["apply"]
    assert shown(done["diff"]["prepared"], site) == DIFFS[name]
    (found,) = call(site, DEFINITIONS[name])["patches"]
    assert (found["state"], found["action"]) == ("applied", "none")
    assert call(site, DEFINITIONS[name], state="absent")["changed"]
    assert files(site) == before


@pytest.mark.parametrize(("name", "text", "after"), PATCHES)
def test_patch_file_changes_what_the_page_shows_and_reverts(name: str, text: str, after: str, site: Path) -> None:
    before = files(site)
    definition = _patch_file.load(text.encode(), name)
    assert f"{definition['name']}.patch" == name
    assert shown(call(site, definition)["diff"]["prepared"], site) == after
    assert call(site, definition, state="absent")["changed"]
    assert files(site) == before
    left_out = "".join(each for each in text.splitlines(True) if not each.startswith("Leave-Out"))
    with pytest.raises(DefinitionError, match=r"Leave-Out: tests/test_api\.py$"):
        _patch_file.load(left_out.encode(), name)


def test_page_shows_a_patch_file_and_each_field_of_ours() -> None:
    assert PATCHES
    rows = re.findall(r"^\| (`[A-Z][^|]+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    assert set(_patch_header.OURS) <= set(re.findall(r"`([A-Z][\w-]+)`", " ".join(rows)))


@pytest.mark.parametrize("name", sorted(NOTHING_TO_DO))
def test_example_with_nothing_to_do_says_so(name: str, site: Path) -> None:
    (found,) = call(site, DEFINITIONS[name])["patches"]
    assert (found["state"], found["action"]) == (NOTHING_TO_DO[name], "none")


def test_example_that_is_needed_with_a_newer_library_applies_there(site: Path) -> None:
    call(site, DEFINITIONS["acme_new_numlib"])
    (site / "numlib-1.4.1.dist-info").rename(site / "numlib-2.0.dist-info")
    (site / "numlib-2.0.dist-info" / "METADATA").unlink()
    assert call(site, DEFINITIONS["acme_new_numlib"])["changed"]
    assert (site / "acme" / "api.py").read_text().count("min(radius, LIMIT)") == 2


def test_example_of_a_second_revision_migrates_the_first(site: Path) -> None:
    second = DEFINITIONS["acme_limit"]
    before = files(site)
    call(site, {**second, "revision": 1, "edits": [{"replace": {"before": "LIMIT = 10", "after": "LIMIT = 20"}}]})
    assert "LIMIT = 20\n" in (site / "acme" / "api.py").read_text()
    (found,) = call(site, second)["patches"]
    assert (found["state"], found["action"]) == ("outdated", "migrate")
    assert "LIMIT = 30\n" in (site / "acme" / "api.py").read_text()
    call(site, second, state="absent")
    assert files(site) == before


def test_examples_that_claim_the_same_text_are_a_conflict(site: Path) -> None:
    call(site, DEFINITIONS["acme_clip"])
    always = {key: value for key, value in DEFINITIONS["acme_new_numlib"].items() if key != "when"}
    both = [DEFINITIONS["acme_clip"], always]
    refused = _engine.run({"operation": "patch", "definitions": both, "path": str(site)})
    assert "patches acme_new_numlib and acme_clip claim the same text of " in refused["msg"]


def test_examples_that_edit_one_line_beside_each_other_give_one_file_in_any_order(site: Path) -> None:
    """The one is a diff whose context the other changes: the order of the fold is what counts."""
    both = [DEFINITIONS["acme_clip"], DEFINITIONS["acme_checked"]]
    before = files(site)
    made = []
    for definitions in (both, both[::-1]):
        for number in (1, 2):
            call(site, *definitions[:number])
        made.append(files(site))
        call(site, *both, state="absent")
        assert files(site) == before
    assert made[0] == made[1] != before


def test_examples_that_do_not_overlap_apply_together_and_revert_in_any_order(site: Path) -> None:
    before = files(site)
    names = ["acme_circle", "acme_clip", "acme_int", "acme_limit", "acme_pin", "acme_pure", "acme_quiet"]
    together = [DEFINITIONS[name] for name in names]
    assert {each["action"] for each in call(site, *together)["patches"]} == {"apply"}
    for name in ("acme_clip", "acme_pure", "acme_quiet", "acme_circle", "acme_pin", "acme_limit", "acme_int"):
        assert call(site, *together, name=[name], state="absent")["changed"]
    assert files(site) == before


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


def files(site: Path) -> dict[str, bytes]:
    """Return all files but the store's."""
    found = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("primus-patches/")}


def shown(diff: str, site: Path) -> str:
    """Return a diff as the page has it: with paths below site-packages, and without notes behind them."""
    return re.sub(r"^(---|\+\+\+) (\S+)\t\(\w+\)$", r"\1 \2", diff, flags=re.MULTILINE).replace(f" {site}/", " ")
