# Evidence: what counts as ours, and that nothing does without a fact or a proof.
from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _store
from ansible_collections.primus.patches.tests.lab import packages
from ansible_collections.primus.patches.tests.lab.acme import definition, install, one, replace, run

if TYPE_CHECKING:
    from pathlib import Path

CHECK = """def check(a, b):
    if a != b:
        if a in OK:
            return True
        raise ValueError(a)
    return True
"""


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
    return definition("fix", {"diff": text}, file=None)


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
    names = {"reexport": {"source": ".core", "names": ["Thing"]}}
    patch = definition("names", *({"file": file, **names} for file in ("api.py", "has.py")))
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
