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


# --- adoption


API = "LIMIT = 10\nMORE = 1\n"
LIKE_RETURNS = CHECK.replace("            return True\n", "            pass\n        return True\n")
LIMIT = definition("limit", replace("LIMIT = 10", "LIMIT = 20"))
THIRD = definition("third", replace("MORE = 1\n", "MORE = 1\nTHIRD = 1\n"))
WRITE = definition("fix", {"write": {"content": "A = 1\n", "replaces": "absent"}}, file="new.py")
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


def by_hand(site: Path, file: str, text: str | None) -> dict[str, str]:
    """Write a file of the package, or take it away; return the contents of all."""
    (site / "acme" / file).unlink() if text is None else (site / "acme" / file).write_text(text)
    return contents(site)


def contents(site: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (site / "acme").iterdir() if path.suffix == ".py"}


@pytest.mark.parametrize(
    ("patch", "file", "exact", "other"),
    [
        pytest.param(LIMIT, "api.py", "LIMIT = 20\nMORE = 1\n", "LIMIT = 20\nMORE = 2\n", id="sed"),
        pytest.param(of_diff(NEW), "new.py", "A = 1\n", "A = 1\n# more\n", id="a new file, by diff"),
        pytest.param(WRITE, "new.py", "A = 1\n", "A = 1\n# more\n", id="a new file, by write"),
        pytest.param(of_diff(GONE), "api.py", None, "LIMIT = 10\nMORE = 2\n", id="a file that is gone"),
    ],
)
def test_what_was_done_by_hand_is_adopted_where_the_patch_makes_these_very_bytes(
    tmp_path: Path, patch: dict[str, Any], file: str, exact: str | None, other: str
) -> None:
    install(tmp_path, API)
    before = contents(tmp_path)
    by_hand(tmp_path, file, exact)
    assert one(tmp_path, patch) == ("applied", "none")
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert contents(tmp_path) == before
    edited = by_hand(tmp_path, file, other)
    for present in (True, False):
        assert one(tmp_path, patch, present=present) == ("conflict", "none")
    assert contents(tmp_path) == edited


@pytest.mark.parametrize(
    ("patch", "file", "text", "record", "reason"),
    [
        pytest.param(
            RETURNS, "api.py", LIKE_RETURNS, False, "already holds what the edit would make", id="looks patched"
        ),
        pytest.param(THIRD, "api.py", f"{API}THIRD = 1\n# mine\n", True, "it is not made twice", id="and another edit"),
        pytest.param(of_diff(NEW), "new.py", "A = 1\n", False, "", id="a new file, and no RECORD lists the others"),
        pytest.param(of_diff(GONE.replace("E = 1", "E = 2")), "api.py", None, True, "", id="other lines are gone"),
        pytest.param(of_diff(MOVED), "new.py", "mine\n", True, "", id="where a patch moves another file"),
    ],
)
def test_what_was_done_by_hand_otherwise_is_neither_done_twice_nor_taken_out(
    tmp_path: Path, patch: dict[str, Any], file: str, text: str | None, *, record: bool, reason: str
) -> None:
    install(tmp_path, API, record=record)
    before = by_hand(tmp_path, file, text)
    for present in (True, False):
        (result,) = run(tmp_path, patch, present=present)
        assert (result["state"], result["action"]) == ("conflict", "none")
        assert reason in result["message"]
    assert contents(tmp_path) == before


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
    assert one(tmp_path, LIMIT) == ("pending", "apply")
    edited = file.read_text().replace("x = 1", "x = 2")
    file.write_text(edited)
    for present in (True, False):
        (result,) = run(tmp_path, LIMIT, present=present)
        assert (result["state"], result["action"]) == ("conflict", "none")
        assert "edited since" in result["message"]
        assert "line 2: expected 'x = 1', found 'x = 2'" in result["message"]
        assert "restore: true" in result["message"]
    assert one(tmp_path, LIMIT, present=False, restore=True) == ("conflict", "restore")
    assert file.read_text() == "LIMIT = 10\nx = 1\n"
    (backup,) = [path for path in file.parent.iterdir() if path.name.endswith("~")]
    assert backup.read_text() == edited
    assert one(tmp_path, LIMIT) == ("pending", "apply")


def test_a_newer_schema_and_a_damaged_fact_are_conflicts_and_never_guessed(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n", record=False)
    run(tmp_path, LIMIT)
    (fact,) = (tmp_path / _store.DIRECTORY / "facts").iterdir()
    text = fact.read_text()
    for damaged in (json.dumps({**json.loads(text), "schema": 99}), text[:40], "[]"):
        fact.write_text(damaged)
        (result,) = run(tmp_path, LIMIT)
        assert result["state"] == "conflict", damaged
        assert file.read_text() == "LIMIT = 20\n"
    fact.write_text(text)
    assert one(tmp_path, LIMIT) == ("applied", "none")


def test_a_lost_original_is_made_again_where_its_hash_confirms_it(tmp_path: Path) -> None:
    file = install(tmp_path, "LIMIT = 10\n", record=False)
    run(tmp_path, LIMIT)
    shutil.rmtree(tmp_path / _store.DIRECTORY / "originals")
    assert one(tmp_path, LIMIT) == ("applied", "none")
    assert one(tmp_path, LIMIT, present=False) == ("applied", "revert")
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
    patch = {**LIMIT, "versions": "*"}
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
    patch = {**LIMIT, "versions": "*"}
    assert one(tmp_path, patch) == ("pending", "apply")
    (tmp_path / "away").rename(info)
    (result,) = run(tmp_path, patch)
    assert (result["state"], result["integrity"]) == ("applied", "patched")
    assert one(tmp_path, patch, present=False) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\n"
