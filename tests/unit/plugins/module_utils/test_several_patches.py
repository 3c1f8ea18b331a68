# Several patches: any order of applying and reverting, overlaps that name both, revisions, requirements, integrity.
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _commit, _patch, _plan
from ansible_collections.primus.patches.tests.lab import packages
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

API = """import math

from .core import Thing

LIMIT = 10


def area(radius):
    return math.pi * clip(radius, a_max=LIMIT) ** 2


def length(radius):
    return 2 * math.pi * clip(radius, a_max=LIMIT)
"""
CORE = "class Thing: pass\nclass Other: pass\nclass More: pass\n"
FILE = "acme/api.py"


def definition(name: str, *edits: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {
        "name": name,
        "package": "acme",
        "versions": ">=2,<3",
        "file": "api.py",
        "reason": "A test.",
        "upstream": "none",
        "retire": "Never.",
        "edits": list(edits),
        **keys,
    }


def replace(before: str, after: str, count: int = 1) -> dict[str, Any]:
    return {"replace": {"before": before, "after": after, "count": count}}


def reexport(*names: str) -> dict[str, Any]:
    return {"reexport": {"source": ".core", "names": list(names)}}


def install(site: Path, version: str = "2.3.0", **files: str) -> Path:
    """Install the package and return its patched file."""
    packages.install(site, "acme", version, {"acme/__init__.py": "", "acme/core.py": CORE, FILE: files.get("api", API)})
    return site / FILE


def run(site: Path, *patches: dict[str, Any], known: Any = (), present: bool = True) -> list[dict[str, Any]]:
    """Plan, carry it out unless it is refused, and return the results."""
    plan = _plan.plan([_patch.load(p) for p in patches], str(site), present, known=[_patch.load(p) for p in known])
    if plan.changes and not plan.refused:
        assert _commit.commit(plan.changes, backup=False) == {}
    return [step.result() for step in plan.steps]


CLIP = replace("clip(radius, a_max=LIMIT)", "clip(radius, max=LIMIT)", 2)
RAISE = {
    "diff": "@@ -7,2 +7,3 @@\n \n def area(radius):\n+    check(radius)\n",
}
INDEPENDENT = [
    definition("a_other", reexport("Other")),
    definition("b_more", reexport("More", "Other")),
    definition("c_clip", CLIP, reexport("More")),
    definition("d_limit", replace("LIMIT = 10\n", "LIMIT = 10\nLIMIT = 20\n")),
    definition("e_check", RAISE),
]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("stock")
    install(site)
    return site


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, len(INDEPENDENT) - 1), st.booleans()), max_size=14))
def test_patches_come_and_go_in_any_order_and_the_text_depends_on_which_are_there_alone(
    stock: Path, moves: list[tuple[int, bool]]
) -> None:
    (stock / FILE).write_text(API)
    there: set[int] = set()
    for index, present in moves:
        (result,) = run(stock, INDEPENDENT[index], known=INDEPENDENT, present=present)
        assert result["state"] == ("applied" if index in there else "pending"), result
        (there.add if present else there.discard)(index)
        states = [result["state"] for result in run_states(stock)]
        assert states == ["applied" if n in there else "pending" for n in range(len(INDEPENDENT))]
    now = (stock / FILE).read_text()
    (stock / FILE).write_text(API)
    for index in sorted(there):
        run(stock, INDEPENDENT[index], known=INDEPENDENT)
    assert (stock / FILE).read_text() == now
    run(stock, *INDEPENDENT, present=False)
    assert (stock / FILE).read_text() == API


def run_states(site: Path) -> list[dict[str, Any]]:
    """Return what an audit says of each patch on its own."""
    found = []
    for each in INDEPENDENT:
        plan = _plan.plan([_patch.load(each)], str(site), known=[_patch.load(other) for other in INDEPENDENT])
        found.append(plan.steps[0].result())
    assert {result["integrity"] for result in found} <= {"pristine", "patched"}
    return found


OVERLAPS = [
    (definition("one", CLIP), definition("two", replace("* clip(radius, a_max=LIMIT) ** 2", "* radius"))),
    (definition("one", replace("LIMIT = 10", "LIMIT = 20")), definition("two", replace("= 10\n", "= 30\n"))),
    (definition("one", RAISE), definition("two", replace("def area(radius):\n    return", "def area(r):\n    return"))),
]


@pytest.mark.parametrize(("first", "second"), OVERLAPS + [(b, a) for a, b in OVERLAPS])
@pytest.mark.parametrize("together", [True, False])
def test_two_patches_that_claim_the_same_text_are_a_conflict_that_names_both(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], *, together: bool
) -> None:
    file = install(tmp_path)
    if together:
        before = file.read_bytes()
        results = run(tmp_path, first, second)
        assert file.read_bytes() == before
    else:
        run(tmp_path, first)
        before = file.read_bytes()
        results = run(tmp_path, second, known=[first])
        assert file.read_bytes() == before
    (message,) = [result["message"] for result in results if result["state"] == "conflict"]
    assert f"patches two and one claim the same text of {file}" in message


@pytest.mark.parametrize("record", [True, False])
def test_an_earlier_revision_is_migrated_and_reverted_from_the_original(tmp_path: Path, *, record: bool) -> None:
    file = install(tmp_path)
    if not record:
        (tmp_path / "acme-2.3.0.dist-info" / "RECORD").unlink()
    run(tmp_path, definition("limit", replace("LIMIT = 10", "LIMIT = 100")))
    at_one = file.read_bytes()
    new = definition("limit", replace("LIMIT = 10", "LIMIT = 20"), revision=2)
    (result,) = run(tmp_path, new)
    assert (result["state"], result["action"]) == ("outdated", "migrate")
    assert result["integrity"] == ("patched" if record else "unknown")
    assert "LIMIT = 20\n" in file.read_text()
    assert run(tmp_path, new)[0]["state"] == "applied"
    older = definition("limit", replace("LIMIT = 10", "LIMIT = 100"))
    (result,) = run(tmp_path, older)
    assert result["state"] == "conflict"
    assert "expected revision 1 or older, found revision 2" in result["message"]
    file.write_bytes(at_one)
    (result,) = run(tmp_path, new, present=False)
    assert (result["state"], result["action"]) == ("outdated", "revert")
    assert file.read_text() == API


def test_what_upstream_made_is_native_by_version_or_by_the_pristine_text(tmp_path: Path) -> None:
    for number, (version, api, patch) in enumerate(
        [
            ("2.9", API, definition("limit", replace("gone", "new"), versions="<2.5", applied_upstream=">=2.5")),
            ("2.9", API.replace("= 10\n", "= 30\n"), definition("limit", replace("LIMIT = 10\n", "LIMIT = 30\n"))),
            ("2.9", API, definition("limit", CLIP, file="gone.py", versions="<2.5", applied_upstream=">=2.5")),
        ]
    ):
        install(tmp_path / str(number), version, api=api)
        (result,) = run(tmp_path / str(number), patch)
        assert (result["state"], result["action"], result["version"]) == ("native", "none", "2.9"), result
        assert run(tmp_path / str(number), patch, present=False)[0]["action"] == "none"


@pytest.mark.parametrize(
    ("numlib", "requires", "reason"),
    [
        (None, "numlib>=1.4", "requires numlib >=1.4, found none"),
        ("1.3", "numlib>=1.4", "requires numlib: expected version >=1.4, found 1.3"),
        ("1.4", "numlib>=1.4", None),
        ("1.4", "Num.Lib", "requires Num.Lib , found none"),
        ("1.4", "NumLib", None),
    ],
)
def test_a_requirement_that_is_not_met_is_unsupported_and_named(
    tmp_path: Path, numlib: str | None, requires: str, reason: str | None
) -> None:
    install(tmp_path)
    if numlib:
        packages.install(tmp_path, "numlib", numlib, {"numlib.py": ""})
    (result,) = run(tmp_path, definition("clip", CLIP, requires=[requires]))
    assert result["state"] == ("unsupported" if reason else "pending")
    assert reason is None or reason in result["message"]


def test_a_patched_file_with_several_links_is_reported_as_a_poisoned_cache(tmp_path: Path) -> None:
    file = install(tmp_path)
    run(tmp_path, definition("clip", CLIP))
    assert "hard links" not in run(tmp_path, definition("clip", CLIP))[0]["message"]
    os.link(file, tmp_path / "cache")
    (result,) = run(tmp_path, definition("clip", CLIP))
    assert result["state"] == "applied"
    assert "a file has 2 hard links: a package cache may hold the patched bytes" in result["message"]


def test_a_file_that_is_not_python_is_patched_and_not_parsed(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "acme" / "data.json").write_text('{"limit": 10}\n')
    patch = definition("data", replace('"limit": 10', '"limit": (20'), file="data.json")
    assert run(tmp_path, patch)[0]["action"] == "apply"
    assert (tmp_path / "acme" / "data.json").read_text() == '{"limit": (20}\n'
    assert run(tmp_path, patch, present=False)[0]["action"] == "revert"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (replace("LIMIT = 10", "LIMIT = (10"), "the result does not parse at line"),
        (replace("nothing", "something"), "expected one occurrence of 'nothing', found 0"),
    ],
)
def test_an_edit_that_cannot_be_kept_is_refused(tmp_path: Path, edit: dict[str, Any], reason: str) -> None:
    file = install(tmp_path)
    (result,) = run(tmp_path, definition("bad", edit))
    assert result["state"] == "conflict"
    assert reason in result["message"]
    assert file.read_text() == API


def test_a_linked_directory_in_a_package_is_followed_to_where_it_leads(tmp_path: Path) -> None:
    install(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.py").write_text("LIMIT = 10\n")
    (tmp_path / "site" / "acme" / "sub").symlink_to(tmp_path / "elsewhere")
    (result,) = run(tmp_path / "site", definition("out", replace("10", "20"), file="sub/x.py"))
    assert (result["state"], result["version"], result["integrity"]) == ("pending", "2.3.0", "unknown")
    packages.install(tmp_path / "elsewhere", "acme_sub", "2.3.5", {"x.py": "LIMIT = 10\n"})
    (result,) = run(tmp_path / "site", definition("out", replace("10", "20"), file="sub/x.py"))
    assert (result["state"], result["version"], result["integrity"]) == ("pending", "2.3.5", "pristine")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"LIMIT = 10\0\n", "expected text in api.py, found a binary file"),
        (b"#" * (17 << 20), "larger than 16777216 bytes"),
    ],
)
def test_binary_and_huge_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = install(tmp_path)
    file.write_bytes(content)
    (result,) = run(tmp_path, definition("limit", replace("LIMIT = 10", "LIMIT = 20")))
    assert result["state"] == "conflict"
    assert reason in result["message"]


def stacked(low: str, high: str, limit: int, revision: int = 1) -> list[dict[str, Any]]:
    """Return two patches of which the second one edits what the first one makes."""
    return [
        definition(low, replace("LIMIT = 10\n", f"LIMIT = {limit}\n"), revision=revision),
        definition(high, replace(f"LIMIT = {limit}\n", f"LIMIT = {limit}5\n"), after=[low], revision=revision),
    ]


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("turned", [False, True])
def test_patches_that_stand_on_each_other_come_change_and_go_together_in_whichever_order_they_are_listed(
    tmp_path: Path, names: tuple[str, str], *, turned: bool
) -> None:
    api = install(tmp_path)
    for patches, limit in ((stacked(*names, 20), "205"), (stacked(*names, 30, 2), "305")):
        listed = patches[::-1] if turned else patches
        done = run(tmp_path, *listed)
        assert [each["name"] for each in done] == [each["name"] for each in listed], "told as they are listed"
        assert f"LIMIT = {limit}\n" in api.read_text(), done
    assert [each["action"] for each in run(tmp_path, *listed, present=False)] == ["revert", "revert"]
    assert api.read_text() == API


def test_a_patch_that_another_one_stands_on_is_not_taken_out_alone(tmp_path: Path) -> None:
    low, high = stacked("low", "high", 20)
    api = install(tmp_path)
    run(tmp_path, low, high)
    (told,) = run(tmp_path, low, present=False)
    assert (told["state"], told["action"]) == ("conflict", "none")
    assert told["message"].endswith(
        f"patch high stands on low in {api}: take both out, or keep both (expected one occurrence of 'LIMIT = 20\\n', "
        "found 0)"
    )


RENAME = "diff --git a/api.py b/new.py\nsimilarity index 100%\nrename from api.py\nrename to new.py\n"


@pytest.mark.parametrize(
    "edit",
    [
        {"write": {"content": "LIMIT = 5\n"}},
        {"delete": {}},
        {"replace": {"pattern": "(?s).+", "after": "LIMIT = 5"}},
        {"diff": RENAME},
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_patch_that_leaves_nothing_of_another_one_is_a_conflict_whichever_came_first(
    tmp_path: Path, edit: dict[str, Any], *, turned: bool
) -> None:
    """Else the first one would be told as applied, or as pending, for ever."""
    low, high = definition("low", CLIP), definition("top", edit)
    if "diff" in edit:
        del high["file"]
    first, second = (high, low) if turned else (low, high)
    api = install(tmp_path)
    run(tmp_path, first)
    (told,) = run(tmp_path, second)
    assert told["state"] == "conflict"
    assert f"patches low and top claim the same text of {api}: take one of them out first" in told["message"]
    run(tmp_path, first, present=False)
    assert api.read_text() == API


@pytest.mark.parametrize("turned", [False, True])
def test_a_copy_is_one_of_the_original_whatever_other_patches_are_in_it(tmp_path: Path, *, turned: bool) -> None:
    copied = definition("copied", {"diff": RENAME.replace("rename", "copy")})
    del copied["file"]
    patches = [copied, definition("b_clip", CLIP)]
    api = install(tmp_path)
    for patch in patches[::-1] if turned else patches:
        run(tmp_path, patch)
    assert api.with_name("new.py").read_text() == API != api.read_text()
    run(tmp_path, *patches, present=False)
    assert (api.read_text(), api.with_name("new.py").exists()) == (API, False)
