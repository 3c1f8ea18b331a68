# Several patches and several files: any order, overlaps that name both, revisions, requirements, files that come.
from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _store
from ansible_collections.primus.patches.tests.lab import packages
from ansible_collections.primus.patches.tests.lab.acme import API, definition, install, one, replace, run
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = replace("LIMIT = 10", "LIMIT = 20")
CLIP = replace("clip(radius, a_max=LIMIT)", "clip(radius, max=LIMIT)", count=2)
RAISE = {"diff": "@@ -7,2 +7,3 @@\n \n def area(radius):\n+    check(radius)\n"}
NEW = {"file": "new.py", "write": {"content": "NEW = 1\n", "replaces": "absent"}}
BOTH = definition("both", LIMIT, NEW)


def reexport(*names: str) -> dict[str, Any]:
    return {"reexport": {"source": ".core", "names": list(names)}}


# Of each kind of edit. The check goes by a line that the clip changes: the order of the fold lets both in.
CHECK = """@@ -8,2 +8,3 @@
 def area(radius):
+    check(radius)
     return math.pi * clip(radius, a_max=LIMIT) ** 2
"""
INDEPENDENT = [
    definition("a_check", {"diff": CHECK}),
    definition("b_more", reexport("More", "Other"), after=["f_length"]),
    definition("c_clip", CLIP, reexport("More")),
    definition("d_limit", replace("LIMIT = 10\n", "LIMIT = 10\nLIMIT = 20\n")),
    definition("e_other", reexport("Other")),
    definition("f_length", replace("def length(radius):\n", ""), replace("    return 2 *", "DOUBLE = 2 *")),
    definition("g_new", NEW),
]


@pytest.fixture(scope="module", params=[True, False], ids=["RECORD", "no RECORD"])
def stock(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Return the package's file, in a site-packages for all examples."""
    return install(tmp_path_factory.mktemp("stock"), record=request.param)


@settings(max_examples=settings.default.max_examples // 4)
@given(st.lists(st.tuples(st.integers(0, len(INDEPENDENT) - 1), st.booleans()), max_size=10))
def test_patches_come_and_go_in_any_order_and_the_bytes_depend_on_which_are_there_alone(
    stock: Path, moves: list[tuple[int, bool]]
) -> None:
    site, new = stock.parents[1], stock.with_name("new.py")

    def anew() -> None:
        stock.write_text(API)
        new.unlink() if new.exists() else None

    anew()
    shutil.rmtree(site / _store.DIRECTORY, ignore_errors=True)
    there: set[int] = set()
    for index, present in moves:
        (result,) = run(site, INDEPENDENT[index], known=INDEPENDENT, present=present)
        assert result["state"] == ("applied" if index in there else "pending"), result
        (there.add if present else there.discard)(index)
        audit = run(site, *INDEPENDENT, check=True)
        assert [each["state"] for each in audit] == ["applied" if n in there else "pending" for n in range(len(audit))]
        assert new.exists() == (len(INDEPENDENT) - 1 in there)
    now = stock.read_bytes()
    anew()
    run(site, *(INDEPENDENT[index] for index in sorted(there, reverse=True)))
    assert stock.read_bytes() == now
    run(site, *INDEPENDENT, present=False)
    assert stock.read_text() == API
    assert {path.name for path in stock.parent.iterdir()} == {"__init__.py", "core.py", "api.py"}


OVERLAPS = [
    (definition("one", CLIP), definition("two", replace("* clip(radius, a_max=LIMIT) ** 2", "* radius"))),
    (definition("one", LIMIT), definition("two", replace("= 10\n", "= 30\n"))),
    (definition("one", RAISE), definition("two", replace("def area(radius):\n    return", "def area(r):\n    return"))),
]


@pytest.mark.parametrize(("first", "second"), OVERLAPS + [(b, a) for a, b in OVERLAPS])
@pytest.mark.parametrize("together", [True, False])
def test_two_patches_that_claim_the_same_text_are_a_conflict_that_names_both(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], *, together: bool
) -> None:
    file = install(tmp_path)
    if not together:
        run(tmp_path, first)
    before = file.read_bytes()
    results = run(tmp_path, first, second) if together else run(tmp_path, second, known=[first])
    assert file.read_bytes() == before
    (message,) = [result["message"] for result in results if result["state"] == "conflict"]
    assert f"patches two and one claim the same text of {file}" in message


@pytest.mark.parametrize("record", [True, False])
def test_an_earlier_revision_is_migrated_and_reverted_from_the_original(tmp_path: Path, *, record: bool) -> None:
    file = install(tmp_path, record=record)
    run(tmp_path, definition("limit", replace("LIMIT = 10", "LIMIT = 100")))
    at_one = file.read_bytes()
    new = definition("limit", LIMIT, revision=2)
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
        install(tmp_path / str(number), api, version)
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
    ("api", "edit", "reason"),
    [
        pytest.param("LIMIT = 10\0\n", LIMIT, "expected text in api.py, found a binary file", id="binary"),
        pytest.param(API, replace("= 10", "= (10"), "the result does not parse at line", id="no Python"),
        pytest.param(API, replace("no", "x"), "expected one occurrence of 'no', found 0", id="not there"),
        pytest.param("LIMIT = 100\n", LIMIT, "(partial: true takes those, too)", id="in a number"),
    ],
)
def test_what_cannot_be_done_is_a_conflict_that_says_why(
    tmp_path: Path, api: str, edit: dict[str, Any], reason: str
) -> None:
    file = install(tmp_path, api)
    (result,) = run(tmp_path, definition("bad", edit))
    assert (result["state"], result["action"]) == ("conflict", "none")
    assert reason in result["message"]
    assert file.read_text() == api


# --- several files, and files that come and go


def test_a_patch_of_several_files_is_applied_only_where_every_file_is(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n")
    patch = definition("several", LIMIT, {**NEW, "file": "sub/new.py"})
    assert one(tmp_path, patch) == ("pending", "apply")
    new = file.parent / "sub" / "new.py"
    assert new.read_text() == "NEW = 1\n"
    assert one(tmp_path, patch) == ("applied", "none")
    less = definition("several", LIMIT, revision=2)
    assert one(tmp_path, less) == ("outdated", "migrate")
    assert not new.exists()
    assert not new.parent.exists()
    assert one(tmp_path, less) == ("applied", "none")
    assert one(tmp_path, less, present=False) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\n"


def test_each_fact_of_a_patch_of_several_files_names_them_all(tmp_path: Path) -> None:
    install(tmp_path, "LIMIT = 10\n")
    run(tmp_path, BOTH)
    facts = [json.loads(path.read_text()) for path in (tmp_path / _store.DIRECTORY / "facts").iterdir()]
    assert [fact["patches"][0]["files"] for fact in facts] == [["acme/api.py", "acme/new.py"]] * 2


def test_one_file_of_several_put_back_by_hand_is_outdated_and_made_again(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n")
    run(tmp_path, BOTH)
    file.write_text("LIMIT = 10\n")
    assert one(tmp_path, BOTH) == ("outdated", "migrate")
    assert file.read_text() == "LIMIT = 20\n"
    assert one(tmp_path, BOTH) == ("applied", "none")


def test_a_pattern_of_files_is_one_count_and_one_state(tmp_path: Path) -> None:
    files = {f"acme/{name}.py": f"import os\nold({name!r})\n" for name in ("a", "b", "sub/c")}
    packages.install(tmp_path, "acme", "2.3.0", {"acme/__init__.py": "", "acme/api.py": "", **files})
    rename = {"replace": {"before": "old(", "after": "new(", "count": "all"}, "file": "**/*.py"}
    patch = definition("several", rename)
    (result,) = run(tmp_path, patch)
    assert (result["state"], result["action"], len(result["files"])) == ("pending", "apply", 3)
    assert one(tmp_path, patch) == ("applied", "none")
    assert [(tmp_path / name).read_text().count("new(") for name in files] == [1, 1, 1]
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert {name: (tmp_path / name).read_text() for name in files} == files
    (result,) = run(tmp_path, definition("several", {**rename, "replace": {**rename["replace"], "count": 2}}))
    assert result["state"] == "conflict"
    assert "expected 2 of what is to be replaced in **/*.py, found 3" in result["message"]


def test_a_file_that_is_deleted_comes_back(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n")
    patch = definition("gone", {"delete": {}})
    assert one(tmp_path, patch) == ("pending", "apply")
    assert not file.exists()
    assert one(tmp_path, patch) == ("applied", "none")
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\n"


def test_a_file_that_we_added_is_a_leftover_once_its_distribution_is_gone(tmp_path: Path) -> None:
    install(tmp_path, "LIMIT = 10\n")
    patch = definition("several", NEW)
    run(tmp_path, patch)
    for name in ("acme/__init__.py", "acme/api.py"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "acme-2.3.0.dist-info")
    (result,) = run(tmp_path, patch)
    assert result["state"] == "missing"
    assert one(tmp_path, patch, present=False) == ("missing", "revert")
    assert not (tmp_path / "acme" / "new.py").exists()


def test_of_several_files_a_conflict_names_the_one_that_does_not_fit(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n")
    other = file.with_name("other.py")
    other.write_text("x = 1\n")
    (result,) = run(
        tmp_path,
        definition("several", LIMIT, {**replace("y = 1", "y = 2"), "file": "other.py"}),
    )
    assert result["state"] == "conflict"
    assert f"{other}: expected one occurrence of 'y = 1', found 0" in result["message"]


@pytest.mark.parametrize("path", ["../../../victim.txt", "other/unlisted.py", "acme/link/victim.txt"])
def test_a_fact_is_no_authority_on_files_that_are_none_of_the_patch(tmp_path: Path, path: str) -> None:
    """Whoever may write to the store says of a file that the patch added it: it stays all the same."""
    site = tmp_path / "lib" / "python3" / "site-packages"
    install(site, "LIMIT = 10\n")
    packages.write(tmp_path, {"victim.txt": "mine\n"})
    packages.write(site, {"other/__init__.py": "", "other/unlisted.py": "mine\n"})
    (site / "acme" / "link").symlink_to(tmp_path)
    patch = definition("several", NEW)
    run(site, patch)
    facts = site / _store.DIRECTORY / "facts"
    (fact,) = (_store.parse(each.read_bytes()) for each in facts.iterdir())
    forged = fact._replace(path=path, written=_store.sha(b"mine\n"), dist=None, directories=())
    (facts / _store.fact_name(forged.path, forged.written)).write_bytes(_store.dump(forged))
    assert one(site, patch) == ("applied", "none")
    assert one(site, patch, present=False) == ("applied", "revert")
    assert (site / path).read_text() == "mine\n"


def test_a_patch_of_more_files_than_an_answer_may_name_is_refused_before_it_is_made(tmp_path: Path) -> None:
    files = {f"acme/m{number}.py": "old()\n" for number in range(1001)}
    packages.install(tmp_path, "acme", "2.3.0", {"acme/__init__.py": "", **files})
    (result,) = run(tmp_path, definition("several", {**replace("old", "new", count="all"), "file": "*.py"}))
    assert (result["state"], result["action"]) == ("conflict", "none")
    assert "expected a patch of at most 1000 files, found 1001" in result["message"]


def test_a_distributions_own_files_are_patched_and_come_back_metadata_included(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3" / "site-packages"
    packages.write(tmp_path, {"pyvenv.cfg": ""})
    info = packages.install(site, "tool", "1.0", {"tool.py": "x = 1\n", "../../../bin/tool": "#!/bin/sh\necho 1\n"})
    edits = {
        "../../../bin/tool": replace("echo 1", "echo 2"),
        "tool-1.0.dist-info/METADATA": replace("Version: 1.0", "Version: 1.0+site"),
        "tool.py": replace("x = 1", "x = 2"),
    }
    before = {file: (site / file).read_text() for file in edits}
    patch = definition(
        "several", *({**edit, "file": file} for file, edit in edits.items()), versions="*", distribution="tool"
    )
    for key in ("package", "file"):
        del patch[key]
    assert one(site, patch) == ("pending", "apply")
    assert one(site, patch) == ("applied", "none")
    assert "Version: 1.0+site" in (info / "METADATA").read_text()
    assert one(site, patch, present=False) == ("applied", "revert")
    assert {file: (site / file).read_text() for file in edits} == before
    outside = {**patch, "edits": [{"write": {"content": "x", "replaces": "absent"}, "file": "../../../../out"}]}
    assert one(site, outside) == ("conflict", "none")
    assert not (tmp_path.parent / "out").exists()


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


def test_the_patch_that_stands_on_another_one_is_named_and_no_other(tmp_path: Path) -> None:
    low, high = stacked("low", "high", 20)
    install(tmp_path)
    run(tmp_path, low, high, definition("apart", CLIP))
    (told,) = run(tmp_path, low, present=False)
    assert "patch high stands on low in " in told["message"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_patch_that_replaces_all_that_another_one_made_is_a_conflict_in_both_orders(
    tmp_path: Path, *, turned: bool
) -> None:
    low = definition("low", replace("one\n", "two\n"))
    high = definition("top", {"replace": {"before": "two\n", "after": "one\n", "count": "all"}}, after=["low"])
    install(tmp_path, "LIMIT = one\nOTHER = two\n")
    first, second = (high, low) if turned else (low, high)
    run(tmp_path, first)
    (told,) = run(tmp_path, second)
    assert told["state"] == "conflict", told


def test_a_patch_that_is_passed_over_gives_no_way(tmp_path: Path) -> None:
    """The plan must not end where it is listed behind one that would need its text."""
    old = definition("old", replace("LIMIT = 10\n", "LIMIT = 20\n"))
    api = install(tmp_path)
    run(tmp_path, old)
    text = api.read_text()
    newer = definition("old", replace("LIMIT = 10\n", "LIMIT = 30\n"), revision=2, versions="==99")
    other = definition("a_first", replace("LIMIT = 10\n", "LIMIT = 40\n"))
    told = run(tmp_path, other, newer, skip=("unsupported",))
    assert [each["state"] for each in told] == ["conflict", "unsupported"]
    assert api.read_text() == text


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
