# Evidence: what counts as ours, and that nothing does without a fact or a proof.
from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _commit, _patch, _plan, _store
from ansible_collections.primus.patches.tests.lab import packages
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHECK = """def check(a, b):
    if a != b:
        if a in OK:
            return True
        raise ValueError(a)
    return True
"""


REEXPORT = {"source": ".core", "names": ["Thing"]}


def definition(name: str, *edits: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """Return a patch of the package ``acme``."""
    texts = dict.fromkeys(("reason", "upstream", "retire"), "none")
    written = {"name": name, "package": "acme", "versions": ">=2.3,<2.4", "file": "api.py", **texts}
    return {**written, "edits": list(edits), **keys}


def replace(before: str, after: str, **keys: Any) -> dict[str, Any]:
    return {"replace": {"before": before, "after": after, **keys}}


def install(site: Path, api: str, version: str = "2.3.0", *, record: bool = True) -> Path:
    """Install the package and return its file."""
    info = packages.install(site, "acme", version, {"acme/__init__.py": "", "acme/api.py": api})
    if not record:
        (info / "RECORD").unlink()
    return site / "acme" / "api.py"


def run(site: Path, *patches: dict[str, Any], present: bool = True, restore: bool = False) -> list[dict[str, Any]]:
    """Plan, carry it out unless it is refused, and return the results."""
    plan = _plan.plan([_patch.load(each) for each in patches], str(site), present, restore=restore)
    if plan.changes and not plan.refused:
        assert _commit.commit(plan.changes, backup=restore) is not None
    return [step.result() for step in plan.steps]


def one(site: Path, patch: dict[str, Any], **keys: Any) -> tuple[str, str]:
    """Return state and action of one patch."""
    (result,) = run(site, patch, **keys)
    return result["state"], result["action"]


# --- what lost data before


RETURNS = definition(
    "returns", replace("        raise ValueError(a)\n", "        return True\n        raise ValueError(a)\n")
)


def test_a_text_that_looks_patched_is_neither_patched_again_nor_ever_taken_out(tmp_path: Path) -> None:
    file = install(
        tmp_path, CHECK.replace("            return True\n", "            pass\n        return True\n"), record=False
    )
    before = file.read_bytes()
    (result,) = run(tmp_path, RETURNS)
    assert (result["state"], result["action"]) == ("conflict", "none")
    assert "already holds what the edit would make" in result["message"]
    assert file.read_bytes() == before


@pytest.mark.parametrize("record", [True, False])
def test_a_line_that_was_always_there_is_no_evidence(tmp_path: Path, *, record: bool) -> None:
    file = install(tmp_path, CHECK, record=record)
    assert one(tmp_path, RETURNS, present=False) == ("pending" if record else "conflict", "none")
    assert file.read_text() == CHECK
    if not record:  # (nothing says that it was not somebody else who put the line there)
        return
    other = definition("other", replace("def check(a, b):", "def check(a, b, c=None):"))
    assert one(tmp_path, other) == ("pending", "apply")
    assert one(tmp_path, RETURNS, present=False) == ("pending", "none")
    assert one(tmp_path, RETURNS) == ("pending", "apply")
    assert file.read_text().count("return True") == CHECK.count("return True") + 1
    assert one(tmp_path, RETURNS, present=False) == ("applied", "revert")
    assert one(tmp_path, other, present=False) == ("applied", "revert")
    assert file.read_text() == CHECK


@pytest.mark.parametrize("hand", ["", "# mine\n"])
def test_upstreams_own_fix_is_never_ours(tmp_path: Path, hand: str) -> None:
    patch = definition("fix", replace("LIMIT = 10", "LIMIT = 20"), applied_upstream=">=2.4")
    file = install(tmp_path, "LIMIT = 20\n" + hand, "2.4.0", record=bool(hand))
    if hand:
        file.write_text("LIMIT = 20\n# by hand\n")
    before = file.read_bytes()
    assert one(tmp_path, patch) == ("native", "none")
    assert one(tmp_path, patch, present=False) == ("native", "none")
    assert file.read_bytes() == before


def test_a_match_inside_of_a_number_is_none(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 100\n")
    (result,) = run(tmp_path, definition("limit", replace("LIMIT = 10", "LIMIT = 20")))
    assert result["state"] == "conflict"
    assert "partial" in result["message"]
    assert file.read_text() == "LIMIT = 100\n"


def test_what_somebody_put_there_by_hand_beside_another_edit_is_not_done_twice(tmp_path: Path) -> None:
    patch = definition("more", replace("LIMIT = 10\n", "LIMIT = 10\nMORE = 1\n"))
    file = install(tmp_path, "LIMIT = 10\n")
    file.write_text("LIMIT = 10\nMORE = 1\n# another edit by hand\n")
    (result,) = run(tmp_path, patch)
    assert (result["state"], result["integrity"]) == ("conflict", "foreign")
    assert "it is not made twice" in result["message"]
    assert one(tmp_path, patch, present=False) == ("conflict", "none")


# --- adoption


def test_what_sed_did_exactly_as_the_patch_does_is_adopted(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\nx = 1\n")
    file.write_text("LIMIT = 20\nx = 1\n")
    patch = definition("limit", replace("LIMIT = 10", "LIMIT = 20"))
    assert one(tmp_path, patch) == ("applied", "none")
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\nx = 1\n"


NEW = """--- /dev/null
+++ acme/new.py
@@ -0,0 +1 @@
+A = 1
"""
GONE = """--- acme/api.py
+++ /dev/null
@@ -1,2 +0,0 @@
-LIMIT = 10
-MORE = 1
"""
MOVED = """diff --git a/acme/api.py b/acme/new.py
rename from acme/api.py
rename to acme/new.py
"""


def of_diff(text: str) -> dict[str, Any]:
    patch = definition("fix", {"diff": text})
    del patch["file"]
    return patch


@pytest.mark.parametrize(
    "edit", [{"diff": NEW}, {"file": "new.py", "write": {"content": "A = 1\n", "replaces": "absent"}}]
)
def test_a_file_that_was_made_by_hand_is_adopted_where_the_edit_makes_these_very_bytes(
    tmp_path: Path, edit: dict[str, Any]
) -> None:
    patch = {**of_diff(NEW), "edits": [edit]}
    api = install(tmp_path, "LIMIT = 10\n")
    new = api.with_name("new.py")
    new.write_text("A = 1\n")
    assert one(tmp_path, patch) == ("applied", "none")
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert not new.exists()
    new.write_text("A = 1\n# more\n")
    for present in (True, False):
        assert one(tmp_path, patch, present=present) == ("conflict", "none")
    assert new.read_text() == "A = 1\n# more\n"


def test_a_file_that_was_made_by_hand_is_not_adopted_where_nothing_lists_the_others(tmp_path: Path) -> None:
    new = install(tmp_path, "LIMIT = 10\n", record=False).with_name("new.py")
    new.write_text("A = 1\n")
    for present in (True, False):
        assert one(tmp_path, of_diff(NEW), present=present) == ("conflict", "none")
    assert new.read_text() == "A = 1\n"


def test_a_file_that_was_removed_by_hand_is_adopted_where_the_diff_has_what_record_has(tmp_path: Path) -> None:
    api = install(tmp_path, "LIMIT = 10\nMORE = 1\n")
    api.unlink()
    assert one(tmp_path, of_diff(GONE)) == ("applied", "none")
    assert one(tmp_path, of_diff(GONE), present=False) == ("applied", "revert")
    assert api.read_text() == "LIMIT = 10\nMORE = 1\n"
    api.unlink()
    other = of_diff(GONE.replace("MORE = 1", "MORE = 2"))
    for present in (True, False):
        assert one(tmp_path, other, present=present) == ("conflict", "none")
    assert not api.exists()


def test_a_file_that_lies_where_a_patch_moves_another_one_is_not_adopted(tmp_path: Path) -> None:
    new = install(tmp_path, "LIMIT = 10\n").with_name("new.py")
    new.write_text("mine\n")
    for present in (True, False):
        assert one(tmp_path, of_diff(MOVED), present=present) == ("conflict", "none")
    assert new.read_text() == "mine\n"


def test_a_patch_that_has_nothing_to_do_in_one_of_its_files_is_applied_all_the_same(tmp_path: Path) -> None:
    patch = definition("names", *({"file": file, "reexport": REEXPORT} for file in ("api.py", "has.py")))
    files = {
        "api.py": "import os\n",
        "core.py": "class Thing: pass\n",
        "has.py": "from .core import Thing\n",
        "__init__.py": "",
    }
    packages.install(tmp_path, "acme", "2.3.0", {f"acme/{name}": text for name, text in files.items()})
    assert one(tmp_path, patch) == ("pending", "apply")
    assert one(tmp_path, patch) == ("applied", "none")
    (tmp_path / "acme" / "has.py").write_text("import os\n")  # (what it had is gone: now there is something to do)
    assert one(tmp_path, patch) == ("outdated", "migrate")
    assert one(tmp_path, patch) == ("applied", "none")


# --- facts


def test_an_edited_file_is_a_conflict_with_ways_out_and_restore_gives_the_original_back(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\nx = 1\n", record=False)
    patch = definition("limit", replace("LIMIT = 10", "LIMIT = 20"))
    assert one(tmp_path, patch) == ("pending", "apply")
    edited = file.read_text().replace("x = 1", "x = 2")
    file.write_text(edited)
    for present in (True, False):
        (result,) = run(tmp_path, patch, present=present)
        assert (result["state"], result["action"]) == ("conflict", "none")
        assert "edited since" in result["message"]
        assert "line 2: expected 'x = 1', found 'x = 2'" in result["message"]
        assert "restore: true" in result["message"]
    assert one(tmp_path, patch, present=False, restore=True) == ("conflict", "restore")
    assert file.read_text() == "LIMIT = 10\nx = 1\n"
    (backup,) = [path for path in file.parent.iterdir() if path.name.endswith("~")]
    assert backup.read_text() == edited
    assert one(tmp_path, patch) == ("pending", "apply")


def test_a_newer_schema_and_a_damaged_fact_are_conflicts_and_never_guessed(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n", record=False)
    patch = definition("limit", replace("LIMIT = 10", "LIMIT = 20"))
    run(tmp_path, patch)
    (fact,) = (tmp_path / _store.DIRECTORY / "facts").iterdir()
    text = fact.read_text()
    for damaged in (json.dumps({**json.loads(text), "schema": 99}), text[:40], "[]"):
        fact.write_text(damaged)
        (result,) = run(tmp_path, patch)
        assert result["state"] == "conflict", damaged
        assert file.read_text() == "LIMIT = 20\n"
    fact.write_text(text)
    assert one(tmp_path, patch) == ("applied", "none")


def test_a_lost_original_is_made_again_where_its_hash_confirms_it(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n", record=False)
    patch = definition("limit", replace("LIMIT = 10", "LIMIT = 20"))
    run(tmp_path, patch)
    shutil.rmtree(tmp_path / _store.DIRECTORY / "originals")
    assert one(tmp_path, patch) == ("applied", "none")
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\n"


def test_a_lost_original_that_cannot_be_made_again_is_a_conflict_for_absent_alone(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\nx = 1\n", record=False)
    patch = definition("gone", replace("LIMIT = 10\n", ""))
    run(tmp_path, patch)
    shutil.rmtree(tmp_path / _store.DIRECTORY / "originals")
    assert one(tmp_path, patch) == ("applied", "none")
    (result,) = run(tmp_path, patch, present=False)
    assert (result["state"], result["action"]) == ("conflict", "none")
    assert "expected its original in" in result["message"]
    assert file.read_text() == "x = 1\n"


def test_facts_of_another_version_say_nothing(tmp_path: Path) -> None:
    install(tmp_path, "LIMIT = 10\n")
    patch = definition("limit", replace("LIMIT = 10", "LIMIT = 20"), versions="*")
    run(tmp_path, patch)
    shutil.rmtree(tmp_path / "acme-2.3.0.dist-info")
    file = install(tmp_path, "LIMIT = 10\nNEW = 1\n", "2.3.1")
    assert one(tmp_path, patch) == ("pending", "apply")
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\nNEW = 1\n"


def test_a_fact_from_while_an_installer_was_at_work_is_true_where_its_record_has_the_original(tmp_path: Path) -> None:
    """An installer writes the files first, and what tells whose they are last."""
    file = install(tmp_path, "LIMIT = 10\n")
    info = tmp_path / "acme-2.3.0.dist-info"
    info.rename(tmp_path / "away")
    patch = definition("limit", replace("LIMIT = 10", "LIMIT = 20"), versions="*")
    assert one(tmp_path, patch) == ("pending", "apply")
    (tmp_path / "away").rename(info)
    (result,) = run(tmp_path, patch)
    assert (result["state"], result["integrity"]) == ("applied", "patched")
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\n"


# --- several files, and files that come and go


def several(*edits: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    return definition("several", *edits, **keys)


def test_a_patch_of_several_files_is_applied_only_where_every_file_is(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n")
    wrote = {"write": {"content": "NEW = 1\n", "replaces": "absent"}, "file": "sub/new.py"}
    patch = several(replace("LIMIT = 10", "LIMIT = 20"), wrote)
    assert one(tmp_path, patch) == ("pending", "apply")
    new = file.parent / "sub" / "new.py"
    assert new.read_text() == "NEW = 1\n"
    assert one(tmp_path, patch) == ("applied", "none")
    less = several(replace("LIMIT = 10", "LIMIT = 20"), revision=2)
    assert one(tmp_path, less) == ("outdated", "migrate")
    assert not new.exists()
    assert not new.parent.exists()
    assert one(tmp_path, less) == ("applied", "none")
    assert one(tmp_path, less, present=False) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\n"


def test_each_fact_of_a_patch_of_several_files_names_them_all(tmp_path: Path) -> None:
    install(tmp_path, "LIMIT = 10\n")
    run(tmp_path, several(replace("LIMIT = 10", "LIMIT = 20"), {"write": {"content": "NEW = 1\n"}, "file": "new.py"}))
    facts = [json.loads(path.read_text()) for path in (tmp_path / _store.DIRECTORY / "facts").iterdir()]
    assert [fact["patches"][0]["files"] for fact in facts] == [["acme/api.py", "acme/new.py"]] * 2


def test_one_file_of_several_put_back_by_hand_is_outdated_and_made_again(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n")
    new = {"write": {"content": "X = 1\n", "replaces": "absent"}, "file": "x.py"}
    patch = several(replace("LIMIT = 10", "LIMIT = 20"), new)
    run(tmp_path, patch)
    file.write_text("LIMIT = 10\n")
    assert one(tmp_path, patch) == ("outdated", "migrate")
    assert file.read_text() == "LIMIT = 20\n"
    assert one(tmp_path, patch) == ("applied", "none")


def test_a_pattern_of_files_is_one_count_and_one_state(tmp_path: Path) -> None:
    files = {f"acme/{name}.py": f"import os\nold({name!r})\n" for name in ("a", "b", "sub/c")}
    packages.install(tmp_path, "acme", "2.3.0", {"acme/__init__.py": "", "acme/api.py": "", **files})
    rename = {"replace": {"before": "old(", "after": "new(", "count": "all"}, "file": "**/*.py"}
    patch = several(rename)
    (result,) = run(tmp_path, patch)
    assert (result["state"], result["action"], len(result["files"])) == ("pending", "apply", 3)
    assert one(tmp_path, patch) == ("applied", "none")
    assert [(tmp_path / name).read_text().count("new(") for name in files] == [1, 1, 1]
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert {name: (tmp_path / name).read_text() for name in files} == files
    (result,) = run(tmp_path, several({**rename, "replace": {**rename["replace"], "count": 2}}))
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
    patch = several({"write": {"content": "X = 1\n", "replaces": "absent"}, "file": "x.py"})
    run(tmp_path, patch)
    for name in ("acme/__init__.py", "acme/api.py"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "acme-2.3.0.dist-info")
    (result,) = run(tmp_path, patch)
    assert result["state"] == "missing"
    assert one(tmp_path, patch, present=False) == ("missing", "revert")
    assert not (tmp_path / "acme" / "x.py").exists()


# --- the fold


LINES = [f"line_{number} = {number}\n" for number in range(6)]
MOVES = [
    definition("p0", replace("line_0 = 0\n", "line_0 = 0\nnew_0 = 1\n")),
    definition("p1", replace("line_1 = 1\n", "")),
    definition("p2", replace("line_2 = 2", "line_2 = 22"), after=["p3"]),
    definition("p3", {"diff": "@@ -4,2 +4,3 @@\n line_3 = 3\n+more = 3\n line_4 = 4\n"}),
    definition("p4", {"write": {"content": "x = 1\n", "replaces": "absent"}, "file": "x.py"}),
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(MOVES) - 1), st.booleans()), max_size=10), st.booleans())
def test_the_bytes_depend_on_which_patches_are_there_alone_and_the_original_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    moves: list[tuple[int, bool]],
    record: bool,  # noqa: FBT001
) -> None:
    sites = [tmp_path_factory.mktemp("site") for _number in range(2)]
    file, again = (install(site, "".join(LINES), record=record) for site in sites)
    there: set[int] = set()
    for index, present in moves:
        state, _action = one(sites[0], MOVES[index], present=present)
        assert state == ("applied" if index in there else "pending")
        (there.add if present else there.discard)(index)
    for index in sorted(there, reverse=True):
        run(sites[1], MOVES[index])
    assert file.read_bytes() == again.read_bytes()
    assert (file.parent / "x.py").exists() == (again.parent / "x.py").exists() == (4 in there)
    run(sites[0], *MOVES, present=False)
    assert file.read_text() == "".join(LINES)
    assert sorted(path.name for path in file.parent.iterdir()) == ["__init__.py", "api.py"]


def test_of_several_files_a_conflict_names_the_one_that_does_not_fit(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n")
    other = file.with_name("other.py")
    other.write_text("x = 1\n")
    (result,) = run(
        tmp_path, several(replace("LIMIT = 10", "LIMIT = 20"), {**replace("y = 1", "y = 2"), "file": "other.py"})
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
    patch = several({"write": {"content": "X = 1\n", "replaces": "absent"}, "file": "x.py"})
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
    (result,) = run(tmp_path, several({**replace("old", "new", count="all"), "file": "*.py"}))
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
    patch = several(*({**edit, "file": file} for file, edit in edits.items()), versions="*", distribution="tool")
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
