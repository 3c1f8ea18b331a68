# Plans: states, actions, integrity and versions, on real wheels where they can be had and on small packages elsewhere.
from __future__ import annotations

import re
import shutil
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from lab import packages
from lab.old_script import NAMES, old_script
from module_utils import _environment, _files, _patch, _plan
from module_utils._catalogue.transformers_modeling_utils import PATCH
from module_utils._errors import NoEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tree = Callable[[str], Path]

SEVEN = _patch.load(PATCH)
BEGIN = b"# >>> primus.patches: transformers_modeling_utils, revision 1 >>>\n"
END = b"# <<< primus.patches: transformers_modeling_utils <<<\n"


def look(
    path: Path, *patches: _patch.Patch, present: bool = True, skip: Sequence[str] = ()
) -> tuple[_plan.Plan, dict[str, Any]]:
    """Return the plan, and the result of its last patch."""
    plan = _plan.plan(patches or [SEVEN], str(path), present, skip)
    return plan, plan.steps[-1].result()


def states(path: Path, *patches: _patch.Patch) -> list[str]:
    return [step.state for step in _plan.plan(patches or [SEVEN], str(path)).steps]


def carry_out(plan: _plan.Plan) -> None:
    """Write what a plan would have written."""
    assert not plan.refused
    for change in plan.changes:
        assert Path(change.path).read_bytes() == change.before
        Path(change.path).write_bytes(change.after)


def snapshot(site: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in site.rglob("*") if path.is_file()}


# --- real wheels


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
        "path": str(site / "transformers" / "modeling_utils.py"),
        "message": f"transformers {version} in {site}/transformers: every name is there already",
    }
    assert plan.changes == ()


@pytest.mark.parametrize("version", ["4.56.2", "4.57.6"])
def test_a_pending_release_is_applied_and_reverted_to_the_bytes_of_record(tree: Tree, version: str) -> None:
    site = tree(version)
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_bytes()
    plan, result = look(site)
    assert (result["state"], result["action"], result["integrity"]) == ("pending", "apply", "pristine")
    assert result["message"] == f"transformers {version} in {site}/transformers: not applied; revision 1 is current"
    assert [(change.path, change.before) for change in plan.changes] == [(str(file), stock)]
    assert look(site, present=False)[1]["action"] == "none"

    carry_out(plan)
    line = stock[: stock.index(b"from .pytorch_utils")].count(b"\n") + 2
    for present, action in ((True, "none"), (False, "revert")):
        plan, result = look(site, present=present)
        assert (result["state"], result["action"], result["integrity"]) == ("applied", action, "patched")
        assert result["message"].endswith(f": revision 1 at line {line}")
    assert [change.after for change in plan.changes] == [stock]

    carry_out(plan)
    record = _environment.record(_package(site), str(file), None)
    assert record is not None
    assert _environment.matches(file.read_bytes(), record.hash)
    assert states(site) == ["pending"]


@pytest.mark.parametrize(
    ("version", "absent"),
    [
        ("4.29.2", ["id_tensor_storage"]),
        ("5.0.0", ["find_pruneable_heads_and_indices", "prune_conv1d_layer", "prune_layer"]),
        ("5.23.0", ["find_pruneable_heads_and_indices", "prune_conv1d_layer", "prune_layer"]),
    ],
)
def test_a_release_without_the_names_is_unsupported_and_they_are_listed(
    tree: Tree, version: str, absent: list[str]
) -> None:
    site = tree(version)
    before = snapshot(site)
    plan, result = look(site)
    assert (result["state"], result["action"], result["integrity"]) == ("unsupported", "none", "pristine")
    reason = f"expected version >=4.56,<5, found {version}; transformers.pytorch_utils does not define "
    head, _reason, names = result["message"].partition(reason)
    assert head == f"transformers {version} in {site}/transformers: "
    assert [name for name in names.split(", ") if name in absent] == absent
    assert set(names.split(", ")) <= set(NAMES)
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
    assert (
        "expected version >=4.56,<5, found 4.29.2; expected the module transformers.pytorch_utils" in result["message"]
    )


def test_within_the_range_a_missing_source_module_is_a_conflict(tree: Tree) -> None:
    site = tree("4.57.6")
    (site / "transformers" / "pytorch_utils.py").unlink()
    result = look(site)[1]
    assert result["state"] == "conflict"
    assert "expected the module transformers.pytorch_utils beside the file, found none" in result["message"]


def test_a_version_out_of_range_is_unsupported_even_where_every_name_could_be_had(tree: Tree) -> None:
    site = tree("4.57.6")
    _set_version(site, "4.55.9")
    result = look(site)[1]
    assert result["state"] == "unsupported"
    assert result["message"].endswith("expected version >=4.56,<5, found 4.55.9")


@pytest.mark.parametrize("version", ["4.56.2", "4.57.6"])
def test_the_old_scripts_block_is_native_named_and_taken_out_where_record_proves_it(tree: Tree, version: str) -> None:
    site = tree(version)
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_text()
    file.write_text(old_script(stock))
    line = file.read_text().split("\n").index("from .pytorch_utils import (  # noqa: F401") + 1
    plan, result = look(site)
    assert (result["state"], result["action"], result["integrity"]) == ("native", "none", "patched")
    assert result["message"].endswith(
        f"every name is there already, by the unmarked block at line {line} that the old stand-alone script wrote "
        "(state absent takes it out: RECORD proves the original)"
    )
    assert plan.changes == ()
    plan, result = look(site, present=False)
    assert (result["state"], result["action"]) == ("native", "revert")
    assert [change.after.decode() for change in plan.changes] == [stock]


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
    assert result["message"].endswith("(state absent leaves it: no RECORD proves the original)")
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
    assert "does not define find_pruneable_heads_and_indices, prune_conv1d_layer, prune_layer" in result["message"]


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
    ("changes", "message"),
    [
        ([(b"    Conv1D,\n", b"")], "expected the block of revision 1 as it would be written now, found another one: "),
        ([(b"    Conv1D,\n", b"    Conv1D,  # mine\n")], "expected one block from '# >>> primus.patches: "),
        ([(END, b"")], "expected one block from '# >>> primus.patches: "),
        ([(BEGIN, BEGIN + BEGIN)], "expected one block from '# >>> primus.patches: "),
        (
            [(b"revision 1 >>>", b"revision 7 >>>")],
            "expected revision 1 or older, found revision 7: a newer primus.patches",
        ),
    ],
)
@pytest.mark.parametrize("present", [True, False])
def test_a_block_edited_by_hand_or_newer_is_a_conflict_that_tells_the_line_and_what_to_do(
    applied: Path, changes: list[tuple[bytes, bytes]], message: str, *, present: bool
) -> None:
    line = edit(applied).read_bytes().partition(BEGIN)[0].count(b"\n") + 1
    edit(applied, *changes)
    plan, result = look(applied, present=present)
    assert (result["state"], result["action"]) == ("conflict", "none")
    assert result["version"] == "4.57.6"
    assert message in result["message"]
    assert re.search(rf"(?:line |lines )(?:\d+, )*{line}\b", result["message"])
    assert re.search("restore the block, or the file from its wheel|use that one", result["message"])
    assert len(plan.refused) == 1
    assert plan.changes == ()


def test_a_block_in_another_place_is_a_conflict(applied: Path) -> None:
    file = edit(applied)
    text = file.read_bytes()
    found = WHOLE.search(text)
    assert found
    file.write_bytes(text.replace(found[0], b"").replace(b"import os\n", b"import os\n" + found[0], 1))
    result = look(applied)[1]
    assert result["state"] == "conflict"
    assert "as it would be written now, found another one: it, or the file around it, was edited" in result["message"]


def test_a_newer_block_in_an_untouched_file_is_no_foreign_edit(applied: Path) -> None:
    edit(applied, (b"revision 1 >>>", b"revision 2 >>>"))
    assert look(applied)[1]["integrity"] == "patched"


def test_other_edits_of_the_file_do_not_hinder_and_are_called_foreign(applied: Path) -> None:
    file = edit(applied, (b"import os\n", b"import os  # mine\n"))
    plan, result = look(applied, present=False)
    assert (result["state"], result["action"], result["integrity"]) == ("applied", "revert", "foreign")
    carry_out(plan)
    assert b"import os  # mine\n" in file.read_bytes()
    assert b"primus.patches" not in file.read_bytes()


@pytest.mark.parametrize("fewer", [False, True])
def test_an_older_revision_is_migrated_and_absent_gives_the_original(tree: Tree, *, fewer: bool) -> None:
    site = tree("4.57.6")
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_bytes()
    old = _with_names(SEVEN, *NAMES[:3]) if fewer else SEVEN
    carry_out(look(site, old)[0])
    new = _revised(SEVEN, 4)
    plan, result = look(site, new)
    assert (result["state"], result["action"], result["revision"]) == ("outdated", "migrate", 4)
    assert result["integrity"] == "patched"
    assert re.search(r": revision 1 at line \d+, revision 4 is current$", result["message"])
    back, result = look(site, new, present=False)
    assert (result["state"], result["action"]) == ("outdated", "revert")
    assert [change.after for change in back.changes] == [stock]
    carry_out(plan)
    assert look(site, new)[1]["state"] == "applied"
    assert file.read_bytes().count(b"# >>> primus.patches") == 1
    carry_out(look(site, new, present=False)[0])
    assert file.read_bytes() == stock


def test_an_older_revision_that_was_edited_by_hand_is_not_migrated(applied: Path) -> None:
    edit(applied, (b"    Conv1D,\n", b"    Conv1D,\n    mine_too,  # keep\n"))
    for present in (True, False):
        assert look(applied, _revised(SEVEN, 2), present=present)[1]["state"] == "conflict"


@pytest.mark.parametrize("revision", [1, 2])
@pytest.mark.parametrize("version", ["4.57.6", "5.0.0"])
def test_a_block_that_is_quoted_in_a_string_is_a_conflict(tree: Tree, version: str, revision: int) -> None:
    site = tree(version)
    file = site / "transformers" / "modeling_utils.py"
    file.write_bytes(file.read_bytes() + b'\n"""\n' + _block() + b'"""\n')
    for present in (True, False):
        assert look(site, _revised(SEVEN, revision), present=present)[1]["state"] == "conflict"


def test_an_older_block_that_upstream_made_needless_is_taken_out_by_a_migration(tree: Tree) -> None:
    site = tree("4.55.4")
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_bytes()
    file.write_bytes(stock.replace(b"import os\n", b"import os\n" + _block(), 1))
    plan, result = look(site, _revised(SEVEN, 2))
    assert (result["state"], result["action"]) == ("outdated", "migrate")
    assert [change.after for change in plan.changes] == [stock]


def test_a_block_left_over_in_a_version_that_does_not_admit_it_is_unsupported_and_absent_takes_it_out(
    tree: Tree,
) -> None:
    site = tree("5.0.0")
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_bytes()
    file.write_bytes(stock.replace(b"import os\n", b"import os\n" + _block(), 1))
    result = look(site)[1]
    assert (result["state"], result["action"], result["integrity"]) == ("unsupported", "none", "patched")
    assert re.search(
        r"; the block at line \d+ is left from another version: state absent takes it out$", result["message"]
    )
    plan, result = look(site, present=False)
    assert (result["state"], result["action"]) == ("unsupported", "revert")
    assert [change.after for change in plan.changes] == [stock]


# --- small packages: the table of states, versions, integrity


def definition(name: str = "a", **changes: object) -> _patch.Patch:
    """Return a patch of a package ``pkg``."""
    texts = dict.fromkeys(("reason", "upstream", "retire"), "none")
    written = {"name": name, "package": "pkg", "versions": ">=1,<2", "file": "api.py", **texts}
    edits = [{"reexport": {"source": ".core", "names": ["Thing"]}}]
    return _patch.load({**written, "edits": edits, **changes})


FILES = {"pkg/__init__.py": "", "pkg/core.py": "class Thing: pass\nother = third = 1\n", "pkg/api.py": "import os\n"}
WITH_BLOCK = (
    "import os\n# >>> primus.patches: a, revision 1 >>>\nfrom .core import (  # noqa: F401\n    Thing,\n)\n"
    "# <<< primus.patches: a <<<\n"
)


def installed(site: Path, version: str = "1.5", **files: str) -> Path:
    """Install ``pkg`` as FILES have it, then write other contents of its modules."""
    packages.install(site, "pkg", version, FILES)
    packages.write(site, {f"pkg/{name}.py": content for name, content in files.items()})
    return site


SITUATIONS: dict[str, Callable[[Path], object]] = {
    "native": lambda site: installed(site, api="from .core import Thing\n"),
    "applied": lambda site: installed(site, api=WITH_BLOCK),
    "pending": installed,
    "outdated": lambda site: installed(site, api=WITH_BLOCK),
    "unsupported": lambda site: installed(site, "2.0"),
    "conflict": lambda site: installed(site, api="import os\n("),
    "missing": lambda site: packages.write(site, {"other/__init__.py": ""}),
}


@pytest.mark.parametrize("skip", [[], ["unsupported"], ["missing"], ["unsupported", "missing"]])
@pytest.mark.parametrize(
    ("state", "present", "absent"),
    [
        ("native", "none", "none"),
        ("applied", "none", "revert"),
        ("pending", "apply", "none"),
        ("outdated", "migrate", "revert"),
        ("unsupported", "refuse", "none"),
        ("missing", "refuse", "none"),
        ("conflict", "refuse", "refuse"),
    ],
)
def test_the_table_of_states(tmp_path: Path, state: str, present: str, absent: str, skip: list[str]) -> None:
    SITUATIONS[state](tmp_path)
    patch = definition(revision=2 if state == "outdated" else 1)
    for asked, action in ((True, "skip" if state in skip else present), (False, absent)):
        plan, result = look(tmp_path, patch, present=asked, skip=skip)
        assert (result["state"], plan.steps[0].action) == (state, action)
        assert result["action"] == ("none" if action == "refuse" else action)
        assert [step.state for step in plan.refused] == ([state] if action == "refuse" else [])
        assert len(plan.changes) == (action in ("apply", "migrate", "revert"))


@pytest.mark.parametrize("state", SITUATIONS)
def test_a_result_has_the_documented_keys(tmp_path: Path, state: str) -> None:
    SITUATIONS[state](tmp_path)
    result = look(tmp_path, definition(revision=2 if state == "outdated" else 1))[1]
    documented = _documented_keys()
    assert list(result) == [key for key in documented if key != "backup_file"]
    types = {"str": (str, type(None)), "int": (int, type(None))}
    assert all(isinstance(result[key], types[documented[key]["type"]]) for key in result)
    assert result["revision"] == (2 if state == "outdated" else 1)
    assert result["revision_found"] == (1 if state in ("applied", "outdated") else None)
    assert result["integrity"] in ("pristine", "patched", "foreign", "unknown", None)
    assert (result["integrity"] is None) == (state == "missing")
    assert result["message"].startswith(
        f"pkg {result['version']} in {tmp_path}/pkg: " if result["path"] else "package pkg:"
    )


def test_what_is_missing_tells_what_was_expected_where(tmp_path: Path) -> None:
    assert look(tmp_path, definition())[1]["message"] == f"package pkg: expected it in {tmp_path}, found none"
    with pytest.raises(
        NoEnvironment, match=r"expected a directory \(site-packages, a package or a source checkout\), found "
    ):
        look(tmp_path / "nothing", definition())


def test_a_namespace_of_that_name_without_the_file_is_missing(tmp_path: Path) -> None:
    packages.write(tmp_path, {"pkg/else.py": ""})
    result = look(tmp_path, definition())[1]
    assert (result["state"], result["path"]) == ("missing", None)
    assert result["message"] == f"package pkg: expected it in {tmp_path}, found {tmp_path}/pkg without api.py"


def test_a_file_missing_from_the_package_is_a_conflict_and_out_of_range_unsupported(tmp_path: Path) -> None:
    for version, state, reason in (
        ("1.5", "conflict", "expected the file api.py, found none"),
        ("2.0", "unsupported", "expected version >=1,<2, found 2.0"),
    ):
        site = installed(tmp_path / version, version)
        (site / "pkg" / "api.py").unlink()
        result = look(site, definition())[1]
        assert (result["state"], result["path"], result["version"]) == (state, f"{site}/pkg/api.py", version)
        assert result["message"].endswith(reason)


@pytest.mark.parametrize("first", ["import os", "from .core import other"])
def test_a_file_that_does_not_parse_is_a_conflict_that_tells_the_line(tmp_path: Path, first: str) -> None:
    result = look(installed(tmp_path, api=f"{first}\nx = (\n"), definition())[1]
    assert result["state"] == "conflict"
    assert f"pkg 1.5 in {tmp_path}/pkg: the file does not parse at line 2: " in result["message"]


@pytest.mark.parametrize("kind", ["directory", "dangling link", "too large"])
def test_a_file_that_cannot_be_read_is_a_conflict(tmp_path: Path, kind: str) -> None:
    file = installed(tmp_path) / "pkg" / "api.py"
    file.unlink()
    if kind == "directory":
        file.mkdir()
    elif kind == "dangling link":
        file.symlink_to("nothing")
    else:
        file.write_bytes(b"#" * (_files.MAX_BYTES + 1))
    result = look(tmp_path, definition())[1]
    assert result["state"] == "conflict"
    assert re.search(rf"{file}: expected a readable file, found: ", result["message"])


# --- versions


@pytest.mark.parametrize(
    ("source", "version", "state"),
    [
        ('__version__ = "1.9.dev0"\n', "1.9.dev0", "pending"),
        ('__version__ = "2.0"\n', "2.0", "unsupported"),
        ("__version__ = compute()\n", None, "unsupported"),
        ('if True:\n    __version__ = "1.5"\n', None, "unsupported"),
        ("", None, "unsupported"),
        ('__version__ = "unknown"\n', "unknown", "unsupported"),
    ],
)
def test_the_version_of_a_checkout_is_read_from_its_source(
    tmp_path: Path, source: str, version: str | None, state: str
) -> None:
    checkout = tmp_path / "checkout"
    packages.write(checkout / "src", {**FILES, "pkg/__init__.py": source})
    for path in (checkout, checkout / "src", checkout / "src" / "pkg"):
        result = look(path, definition())[1]
        assert (result["state"], result["version"], result["integrity"]) == (state, version, "unknown")
        assert result["path"] == str(checkout / "src" / "pkg" / "api.py")
    if version is None:
        expected = "pkg (unknown version) in .*: expected version >=1,<2, found no version: no RECORD, no __version__"
        assert re.match(expected.replace("(", r"\(").replace(")", r"\)"), result["message"])
    if version == "unknown":
        assert result["message"].endswith("expected version >=1,<2, found 'unknown', which is no PEP 440 version")


def test_metadata_wins_over_the_source(tmp_path: Path) -> None:
    files = {**FILES, "pkg/__init__.py": '__version__ = "1.0"\n'}
    packages.install(tmp_path, "pkg", "1.5+rocm", files)
    assert look(tmp_path, definition())[1]["version"] == "1.5+rocm"


@pytest.mark.parametrize(("literal", "version"), [("1.6", "1.6"), ("1.5", "1.5"), ("1.7", None), (None, None)])
def test_of_two_dist_infos_the_source_tells_the_right_one_else_it_is_a_conflict(
    tmp_path: Path, literal: str | None, version: str | None
) -> None:
    files = {**FILES, "pkg/__init__.py": f"__version__ = {literal!r}\n"}
    for number in ("1.5", "1.6"):
        packages.install(tmp_path, "pkg", number, files)
    result = look(tmp_path, definition())[1]
    assert (result["state"], result["version"]) == ("pending" if version else "conflict", version)
    if not version:
        assert (
            "claimed by several installed distributions (pkg 1.5, pkg 1.6): an upgrade was interrupted"
            in result["message"]
        )


# --- integrity


@pytest.mark.parametrize(
    ("api", "integrity"),
    [
        ("import os\n", "pristine"),
        (WITH_BLOCK, "patched"),
        (WITH_BLOCK.replace(": a", ": b"), "patched"),
        (WITH_BLOCK + "# mine\n", "foreign"),
        (WITH_BLOCK.replace(")\n", ")\nx = 1\n"), "foreign"),
        ("import sys\n", "foreign"),
    ],
)
def test_integrity_is_the_file_against_its_record(tmp_path: Path, api: str, integrity: str) -> None:
    assert look(installed(tmp_path, api=api), definition())[1]["integrity"] == integrity


@pytest.mark.parametrize(
    ("row", "integrity"),
    [
        ("", "unknown"),
        ("pkg/api.py,,\n", "unknown"),
        ("pkg/api.py\n", "unknown"),
        ("pkg/api.py,nohash=a,1\n", "foreign"),
    ],
)
def test_without_a_hash_in_record_integrity_is_unknown(tmp_path: Path, row: str, integrity: str) -> None:
    record = installed(tmp_path) / "pkg-1.5.dist-info" / "RECORD"
    record.write_text(re.sub(r"pkg/api\.py,.*\n", row, record.read_text()))
    packages.write(tmp_path, {"pkg/__init__.py": '__version__ = "1.5"\n'})
    result = look(tmp_path, definition())[1]
    assert (result["state"], result["integrity"]) == ("pending", integrity)


# --- several patches of one file


A, B, C = (
    definition(name, edits=[{"reexport": {"source": ".core", "names": names}}])
    for name, names in (("a", ["Thing"]), ("b", ["Thing", "other"]), ("c", ["other", "third"]))
)


@pytest.mark.parametrize(
    "api", ["import os\n", "from .core import third\r\nx = 1\r\n", "import os\nfrom .core import nothing", "import os"]
)
def test_patches_of_one_file_compose_in_one_call_and_go_in_any_order(tmp_path: Path, api: str) -> None:
    site = installed(tmp_path, core=FILES["pkg/core.py"] + "nothing = 1\n")
    file = site / "pkg" / "api.py"
    results = set()
    for come in permutations((A, B, C)):
        file.write_bytes(api.encode())
        plan, _result = look(site, *come)
        assert [step.patch for step in plan.steps] == list(come)
        assert [step.action for step in plan.steps] == ["apply"] * 3
        assert [(change.path, change.before) for change in plan.changes] == [(str(file), api.encode())]
        carry_out(plan)
        results.add(file.read_bytes())
        assert states(site, *come) == ["applied"] * 3
        for go in permutations((A, B, C)):
            file.write_bytes(plan.changes[0].after)
            for number, patch in enumerate(go):
                carry_out(look(site, patch, present=False)[0])
                assert states(site, *go) == ["pending"] * (number + 1) + ["applied"] * (2 - number)
            assert file.read_bytes() == api.encode()
        file.write_bytes(plan.changes[0].after)
        carry_out(look(site, *come, present=False)[0])
        assert file.read_bytes() == api.encode()
    assert len(results) == 1


def test_the_integrity_of_a_file_with_several_patches_is_patched(tmp_path: Path) -> None:
    site = installed(tmp_path)
    carry_out(look(site, A, B)[0])
    for patches in ((A, B), (A,), (B,)):
        assert {step.integrity for step in look(site, *patches)[0].steps} == {"patched"}


def test_steps_and_changes_of_absent_are_in_the_order_given(tmp_path: Path) -> None:
    site = installed(tmp_path)
    carry_out(look(site, A)[0])
    plan, _result = look(site, B, A, present=False)
    assert [(step.patch.name, step.action) for step in plan.steps] == [("b", "none"), ("a", "revert")]


def test_a_patch_sees_the_source_as_an_earlier_patch_of_the_call_makes_it(tmp_path: Path) -> None:
    site = installed(tmp_path, core="import os\n", more="Thing = 1\n")
    first = definition("first", file="core.py", edits=[{"reexport": {"source": ".more", "names": ["Thing"]}}])
    plan, _result = look(site, first, A)
    assert [step.state for step in plan.steps] == ["pending", "pending"]
    assert sorted(Path(change.path).name for change in plan.changes) == ["api.py", "core.py"]
    carry_out(plan)
    carry_out(look(site, first, A, present=False)[0])
    assert (site / "pkg" / "core.py").read_text() == "import os\n"


def test_one_refused_patch_is_told_beside_the_others(tmp_path: Path) -> None:
    site = installed(tmp_path)
    gone = definition("gone", edits=[{"reexport": {"source": ".core", "names": ["Gone"]}}])
    plan, _result = look(site, A, gone, B)
    assert [step.state for step in plan.steps] == ["pending", "unsupported", "pending"]
    assert [step.patch.name for step in plan.refused] == ["gone"]


def test_the_source_is_looked_for_as_python_does(tmp_path: Path) -> None:
    site = installed(tmp_path, core="")
    packages.write(site, {"pkg/core/__init__.py": "Thing = 1\n"})  # a package goes before a module of the same name
    assert states(site, A) == ["pending"]


def test_a_source_outside_of_the_package_is_a_conflict(tmp_path: Path) -> None:
    site = installed(tmp_path)
    packages.write(site, {"pkgs/core.py": "Thing = 1\n"})
    result = look(site, definition(edits=[{"reexport": {"source": "pkgs.core", "names": ["Thing"]}}]))[1]
    assert result["message"].endswith("expected the module pkgs.core beside the file, found none")


def test_a_file_further_down_may_re_export_from_its_parents(tmp_path: Path) -> None:
    site = tmp_path
    packages.install(
        site, "pkg", "1.5", {**FILES, "pkg/sub/__init__.py": "", "pkg/sub/api.py": "from .. import core\n"}
    )
    patch = definition(file="sub/api.py", edits=[{"reexport": {"source": "..core", "names": ["Thing"]}}])
    plan, result = look(site, patch)
    assert (result["state"], result["path"]) == ("pending", f"{site}/pkg/sub/api.py")
    assert (
        b"from .. import core\n# >>> primus.patches: a, revision 1 >>>\nfrom ..core import (  # noqa: F401\n"
        in plan.changes[0].after
    )


@pytest.mark.parametrize(("api", "revision"), [("import os\nThing = 1\n", 1), (WITH_BLOCK, 2)])
def test_what_would_be_written_is_proven_first(tmp_path: Path, api: str, revision: int) -> None:
    plan, result = look(installed(tmp_path, api=api + "del Thing\n"), definition(revision=revision))
    assert result["state"] == "conflict"
    assert "the file would not bind Thing even with the block; nothing is written" in result["message"]
    assert plan.changes == ()


@pytest.mark.parametrize(
    ("api", "before", "after"),
    [
        ("from .core import Thing\nx = 1\n", "x = 1", "x = 1\ndel Thing"),
        ("import os\nThing = 1\n", "Thing = 1", "if os:\n    Thing = 1"),
        ("from .core import other\nx = 1\n", "x = 1", "del Thing"),
    ],
)
def test_what_one_edit_binds_another_edit_must_leave_bound(tmp_path: Path, api: str, before: str, after: str) -> None:
    edits = [{"reexport": {"source": ".core", "names": ["Thing"]}}, {"replace": {"before": before, "after": after}}]
    plan, result = look(installed(tmp_path, api=api), definition(edits=edits))
    assert result["state"] == "conflict"
    assert "the file would not bind Thing even with the block; nothing is written" in result["message"]
    assert plan.changes == ()


@pytest.mark.parametrize(
    "rest",
    [
        "return 1\n",  # parses, and does not compile: what that means is for the import to tell
        "try:\n    pass\nexcept OSError as Thing:\n    pass\n",
        "if other:\n    del Thing\n",
        "if other:\n    del Thing\n    Thing = 1\n",
    ],
)
def test_what_does_not_compile_or_is_deleted_perhaps_is_proven_by_its_syntax(tmp_path: Path, rest: str) -> None:
    plan, result = look(installed(tmp_path, api=f"from .core import other\n{rest}"), definition())
    assert (result["state"], len(plan.changes)) == ("pending", 1)


def test_blocks_of_two_patches_lie_in_one_place_where_the_source_is_the_files_own_package(tmp_path: Path) -> None:
    api = "from . import core\n# see sub\nx = 1\nfrom . import third\ny = 1\n"
    files = {**FILES, "pkg/sub/__init__.py": "a = b = 1\n", "pkg/sub/core.py": "", "pkg/sub/third.py": ""}
    packages.install(tmp_path, "pkg", "1.5", {**files, "pkg/sub/api.py": api})
    one, two = (
        definition(name, file="sub/api.py", edits=[{"reexport": {"source": "pkg.sub", "names": [bound]}}])
        for name, bound in (("one", "a"), ("two", "b"))
    )
    plan = _plan.plan([one, two], str(tmp_path))
    assert [step.state for step in plan.steps] == ["pending", "pending"]
    assert plan.changes[0].after.index(b"import third\n# >>> primus.patches: one") > 0


def test_a_plan_writes_nothing(tree: Tree) -> None:
    site = tree("4.57.6")
    before = snapshot(site)
    listing = sorted(site.rglob("*"))
    look(site)
    look(site, present=False)
    assert snapshot(site) == before
    assert sorted(site.rglob("*")) == listing


# ---


def _package(site: Path) -> _environment.Package:
    package = _environment.find("transformers", str(site))
    assert package is not None
    return package


def _set_version(site: Path, version: str) -> None:
    (dist_info,) = site.glob("transformers-*.dist-info")
    metadata = dist_info / "METADATA"
    metadata.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}", metadata.read_text(), count=1))
    shutil.move(dist_info, site / f"transformers-{version}.dist-info")


def _revised(patch: _patch.Patch, number: int) -> _patch.Patch:
    (current,) = patch.revisions
    return patch._replace(revisions=(current._replace(number=number),))


def _with_names(patch: _patch.Patch, *names: str) -> _patch.Patch:
    (current,) = patch.revisions
    return patch._replace(revisions=(current._replace(edits=(current.edits[0]._replace(names=names),)),))


def _block() -> bytes:
    names = "".join(f"    {name},\n" for name in NAMES).encode()
    return BEGIN + b"from .pytorch_utils import (  # noqa: F401\n" + names + b")\n" + END


def _documented_keys() -> dict[str, dict[str, str]]:
    """Return what the documentation of site_patch says of an entry of ``patches``."""
    source = (Path(__file__).parents[3] / "plugins" / "modules" / "site_patch.py").read_text()
    returned = re.search(r'^RETURN = r"""\n(.*?)^"""', source, re.MULTILINE | re.DOTALL)
    assert returned
    keys: dict[str, dict[str, str]] = yaml.safe_load(returned[1])["patches"]["contains"]
    return keys
