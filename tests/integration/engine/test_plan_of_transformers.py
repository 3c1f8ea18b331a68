# Plans on real releases: what becomes of Transformers' own files, also of those that were edited by hand.
from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.primus.patches.tests.unit.plugins.module_utils.test_plan import (
    SEVEN,
    carry_out,
    look,
    snapshot,
    states,
)
from lab.old_script import NAMES, old_script

if TYPE_CHECKING:
    from collections.abc import Callable

    Tree = Callable[[str], Path]

BEGIN = b"# >>> primus.patches: transformers_modeling_utils, revision 1 >>>\n"
END = b"# <<< primus.patches: transformers_modeling_utils <<<\n"


# --- the states of releases


@pytest.mark.parametrize("version", ["4.30.2", "4.49.0", "4.55.4"])
@pytest.mark.parametrize("present", [True, False])
def test_releases_that_re_export_all_seven_are_native(tree: Tree, version: str, *, present: bool) -> None:
    site = tree(version)
    plan, result = look(site, present=present)
    assert result == {
        "name": "transformers_modeling_utils",
        "revision": 1,
        "revision_found": None,
        "state": "native",
        "action": "none",
        "integrity": "pristine",
        "package": "transformers",
        "version": version,
        "files": [{"path": str(site / "transformers" / "modeling_utils.py"), "integrity": "pristine"}],
        "message": f"transformers {version} in {site}/transformers: every name is there already",
    }
    assert plan.changes == ()


@pytest.mark.parametrize("version", ["4.56.2", "4.57.6"])
def test_a_pending_release_is_applied_and_reverted_to_the_bytes_of_record(tree: Tree, version: str) -> None:
    site = tree(version)
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_bytes()
    everything = {path: text for path, (_time, text) in snapshot(site).items()}
    plan, result = look(site)
    assert (result["state"], result["action"], result["integrity"]) == ("pending", "apply", "pristine")
    assert result["message"] == f"transformers {version} in {site}/transformers: not applied; revision 1 is current"
    assert [(change.place.path, change.before.data) for change in plan.changes] == [(str(file), stock)]
    assert look(site, present=False)[1]["action"] == "none"

    carry_out(plan)
    for present, action in ((True, "none"), (False, "revert")):
        plan, result = look(site, present=present)
        assert (result["state"], result["action"], result["integrity"]) == ("applied", action, "patched")
        assert result["message"].endswith(": revision 1")
    assert [change.after.data for change in plan.changes] == [stock]

    carry_out(plan)
    found = {path: text for path, (_time, text) in snapshot(site).items() if "primus-patches" not in path.parts}
    assert found == everything
    assert look(site)[1]["integrity"] == "pristine"
    assert states(site) == ["pending"]


@pytest.mark.parametrize("version", ["4.29.2", "5.0.0", "5.23.0"])
def test_a_release_without_the_names_is_unsupported(tree: Tree, version: str) -> None:
    site = tree(version)
    before = snapshot(site)
    plan, result = look(site)
    assert (result["state"], result["action"], result["integrity"]) == ("unsupported", "none", "pristine")
    reason = f"expected version >=4.56,<5, found {version}"
    assert result["message"] == f"transformers {version} in {site}/transformers: {reason}"
    assert [step.action for step in plan.refused] == ["refuse"]
    assert plan.changes == ()
    assert look(site, skip=["unsupported"])[1]["action"] == "skip"
    assert look(site, present=False)[1]["action"] == "none"
    assert snapshot(site) == before


def test_a_release_without_the_source_module_is_unsupported_and_not_a_conflict(tree: Tree) -> None:
    site = tree("4.29.2")
    (site / "transformers" / "pytorch_utils.py").unlink()  # as before 4.18
    result = look(site)[1]
    assert result["state"] == "unsupported"


@pytest.mark.parametrize("version", ["4.56.2", "4.57.6"])
def test_the_old_scripts_block_is_adopted_where_record_proves_the_original(tree: Tree, version: str) -> None:
    site = tree(version)
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_text()
    file.write_text(old_script(stock))
    plan, result = look(site, present=False)
    assert (result["state"], result["action"], result["integrity"]) == ("outdated", "revert", "patched")
    assert [change.after.data for change in plan.changes] == [stock.encode()]
    plan, result = look(site)
    assert (result["state"], result["action"]) == ("outdated", "migrate")
    carry_out(plan)
    assert states(site) == ["applied"]
    carry_out(look(site, present=False)[0])
    assert file.read_text() == stock


@pytest.mark.parametrize("why", ["edited elsewhere", "no RECORD"])
def test_the_old_scripts_block_stays_where_nothing_proves_the_original(tree: Tree, why: str) -> None:
    site = tree("4.57.6")
    file = site / "transformers" / "modeling_utils.py"
    file.write_text(old_script(file.read_text()))
    if why == "no RECORD":
        next(site.glob("*.dist-info/RECORD")).unlink()
    else:
        file.write_text(file.read_text() + "# mine\n")
    plan, result = look(site, present=False)
    assert (result["state"], result["action"]) == ("native", "none")
    assert result["integrity"] == ("unknown" if why == "no RECORD" else "foreign")
    assert result["message"].endswith("(state absent leaves it: nothing proves the original)")
    assert plan.changes == ()


def test_a_hand_made_import_of_all_seven_is_native(tree: Tree) -> None:
    site = tree("4.57.6")
    file = site / "transformers" / "modeling_utils.py"
    imports = f"import transformers.pytorch_utils\nfrom transformers.pytorch_utils import {', '.join(NAMES)}"
    file.write_text(file.read_text().replace("from .pytorch_utils import id_tensor_storage", imports))
    result = look(site)[1]
    assert (result["state"], result["integrity"]) == ("native", "foreign")
    assert result["message"].endswith(": every name is there already")


@pytest.mark.parametrize("imports", ["old script", "by hand"])
def test_an_import_of_all_seven_on_5_is_unsupported_as_it_cannot_work(tree: Tree, imports: str) -> None:
    site = tree("5.0.0")
    file = site / "transformers" / "modeling_utils.py"
    line = f"from .pytorch_utils import {', '.join(NAMES)}\n"
    text = file.read_text()
    file.write_text(
        old_script(text) if imports == "old script" else text.replace("import os\n", f"import os\n{line}", 1)
    )
    result = look(site)[1]
    assert result["state"] == "unsupported"


# --- a block that is not the one that would be written now


@pytest.fixture
def applied(tree: Tree) -> Path:
    """Return a site-packages with 4.57.6 and the patch."""
    site = tree("4.57.6")
    carry_out(look(site)[0])
    return site


def edit(site: Path, *changes: tuple[bytes, bytes]) -> Path:
    file = site / "transformers" / "modeling_utils.py"
    text = file.read_bytes()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_bytes(text)
    return file


WHOLE = re.compile(re.escape(BEGIN) + b".*" + re.escape(END), re.DOTALL)


@pytest.mark.parametrize(
    "changes",
    [[(b"    Conv1D,\n", b"    Conv1D,  # mine\n")], [(END, b"")], [(b"import os\n", b""), (END, b"")]],
    ids=["a line", "its end", "its end and another line"],
)
@pytest.mark.parametrize("present", [True, False])
def test_a_block_edited_by_hand_is_a_conflict_that_tells_the_line_and_what_to_do(
    applied: Path, changes: list[tuple[bytes, bytes]], *, present: bool
) -> None:
    edit(applied, *changes)
    plan, result = look(applied, present=present)
    assert (result["state"], result["action"], result["version"]) == ("conflict", "none", "4.57.6")
    assert "edited since primus.patches wrote it" in result["message"]
    assert re.search(r"line \d+: expected '", result["message"])
    assert "restore: true" in result["message"]
    assert len(plan.refused) == 1
    assert plan.changes == ()


def test_a_newer_block_is_a_conflict(applied: Path) -> None:
    edit(applied, (b"revision 1 >>>", b"revision 7 >>>"))
    result = look(applied)[1]
    assert (result["state"], result["integrity"], result["revision_found"]) == ("conflict", "patched", 7)
    assert "expected revision 1 or older, found revision 7" in result["message"]


@pytest.mark.parametrize("change", ["fewer names", "moved"])
def test_a_block_by_its_marks_is_outdated_where_it_is_not_as_it_would_be_written(applied: Path, change: str) -> None:
    file = edit(applied)
    stock = WHOLE.sub(b"", file.read_bytes())
    shutil.rmtree(applied / "primus-patches")
    if change == "fewer names":
        edit(applied, (b"    Conv1D,\n", b""))
    else:
        found = WHOLE.search(file.read_bytes())
        assert found
        file.write_bytes(stock.replace(b"import os\n", b"import os\n" + found[0], 1))
    plan, result = look(applied)
    assert (result["state"], result["action"], result["integrity"]) == ("outdated", "migrate", "patched")
    carry_out(plan)
    assert states(applied) == ["applied"]
    carry_out(look(applied, present=False)[0])
    assert file.read_bytes() == stock


def test_other_edits_of_the_file_do_not_hinder_and_are_called_foreign(applied: Path) -> None:
    file = edit(applied, (b"import os\n", b"import os  # mine\n"))
    plan, result = look(applied, present=False)
    assert (result["state"], result["action"], result["integrity"]) == ("applied", "revert", "foreign")
    carry_out(plan)
    assert b"import os  # mine\n" in file.read_bytes()
    assert b"primus.patches" not in file.read_bytes()


def test_a_revision_with_the_same_edits_changes_nothing(applied: Path) -> None:
    assert states(applied, SEVEN._replace(revision=4)) == ["applied"]


@pytest.mark.parametrize("version", ["4.55.4", "5.0.0"])
def test_a_block_left_over_in_a_version_that_does_not_admit_it_is_unsupported_and_absent_takes_it_out(
    tree: Tree, version: str
) -> None:
    """Upstream has made it needless, or cannot have it any more."""
    site = tree(version)
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_bytes()
    file.write_bytes(stock.replace(b"import os\n", b"import os\n" + _block(), 1))
    result = look(site)[1]
    assert (result["state"], result["action"], result["integrity"]) == ("unsupported", "none", "patched")
    assert result["message"].endswith("; what is left of revision 1 goes with state absent")
    plan, result = look(site, present=False)
    assert (result["state"], result["action"]) == ("unsupported", "revert")
    assert [change.after.data for change in plan.changes] == [stock]


def _block() -> bytes:
    names = "".join(f"    {name},\n" for name in NAMES).encode()
    return BEGIN + b"from .pytorch_utils import (  # noqa: F401\n" + names + b")\n" + END
