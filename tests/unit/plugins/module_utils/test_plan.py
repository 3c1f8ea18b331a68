# Plans: states, actions, integrity and versions, on small packages (on real releases: tests/integration/engine).
from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.primus.patches.plugins.module_utils import _commit, _files, _patch, _plan
from ansible_collections.primus.patches.plugins.module_utils._catalogue.transformers_modeling_utils import PATCH
from ansible_collections.primus.patches.plugins.module_utils._errors import NoEnvironment
from ansible_collections.primus.patches.tests.lab import packages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEVEN = _patch.load(PATCH)


def look(
    path: Path, *patches: _patch.Patch, present: bool = True, skip: Sequence[str] = ()
) -> tuple[_plan.Plan, dict[str, Any]]:
    """Return the plan, and the result of its last patch."""
    plan = _plan.plan(patches or [SEVEN], str(path), present, skip)
    return plan, plan.steps[-1].result()


def paths(result: dict[str, Any]) -> list[str]:
    return [file["path"] for file in result["files"]]


def states(path: Path, *patches: _patch.Patch) -> list[str]:
    return [step.state for step in _plan.plan(patches or [SEVEN], str(path)).steps]


def carry_out(plan: _plan.Plan) -> None:
    """Write what a plan says."""
    assert not plan.refused
    assert _commit.commit(plan.changes, backup=False) == {}


def snapshot(site: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in site.rglob("*") if path.is_file()}


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
    "unneeded": installed,
    "unsupported": lambda site: installed(site, "2.0"),
    "conflict": lambda site: installed(site, api="import os\n("),
    "missing": lambda site: packages.write(site, {"other/__init__.py": ""}),
}


def situated(state: str) -> _patch.Patch:
    """Return a patch that is in that state in its situation."""
    if state == "unneeded":
        return definition(when=["numlib>=2"])
    return definition(revision=2 if state == "outdated" else 1)


@pytest.mark.parametrize("skip", [[], ["unsupported"], ["missing"], ["unsupported", "missing"]])
@pytest.mark.parametrize(
    ("state", "present", "absent"),
    [
        ("native", "none", "none"),
        ("applied", "none", "revert"),
        ("pending", "apply", "none"),
        ("outdated", "migrate", "revert"),
        ("unneeded", "none", "none"),
        ("unsupported", "refuse", "none"),
        ("missing", "refuse", "none"),
        ("conflict", "refuse", "refuse"),
    ],
)
def test_the_table_of_states(tmp_path: Path, state: str, present: str, absent: str, skip: list[str]) -> None:
    SITUATIONS[state](tmp_path)
    patch = situated(state)
    for asked, action in ((True, "skip" if state in skip else present), (False, absent)):
        plan, result = look(tmp_path, patch, present=asked, skip=skip)
        assert (result["state"], plan.steps[0].action) == (state, action)
        assert result["action"] == ("none" if action == "refuse" else action)
        assert [step.state for step in plan.refused] == ([state] if action == "refuse" else [])
        assert len(plan.changes) == (action in ("apply", "migrate", "revert"))


@pytest.mark.parametrize("state", SITUATIONS)
def test_a_result_has_the_documented_keys(tmp_path: Path, state: str) -> None:
    SITUATIONS[state](tmp_path)
    result = look(tmp_path, situated(state))[1]
    documented = _documented_keys()
    assert list(result) == list(documented)
    types = {"str": (str, type(None)), "int": (int, type(None)), "list": (list,)}
    assert all(isinstance(result[key], types[documented[key]["type"]]) for key in result)
    assert result["revision"] == (2 if state == "outdated" else 1)
    assert result["revision_found"] == (1 if state in ("applied", "outdated") else None)
    assert result["integrity"] in ("pristine", "patched", "foreign", "unknown", None)
    assert (result["integrity"] is None) == (state == "missing")
    assert [set(file) for file in result["files"]] == [{"path", "integrity"}] * (state != "missing")
    assert result["message"].startswith(
        f"pkg {result['version']} in {tmp_path}/pkg: " if result["files"] else "package pkg:"
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
    assert (result["state"], result["files"]) == ("missing", [])
    expected = f"package pkg: expected it in {tmp_path}, found only {tmp_path}/pkg, which no distribution has"
    assert result["message"] == expected


def test_a_file_missing_from_the_package_is_a_conflict_and_out_of_range_unsupported(tmp_path: Path) -> None:
    for version, state, reason in (
        ("1.5", "conflict", "expected the file api.py, found none"),
        ("2.0", "unsupported", "expected version >=1,<2, found 2.0"),
    ):
        site = installed(tmp_path / version, version)
        (site / "pkg" / "api.py").unlink()
        result = look(site, definition())[1]
        assert (result["state"], paths(result), result["version"]) == (state, [f"{site}/pkg/api.py"], version)
        assert result["message"].endswith(reason)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda file: file.mkdir(), ": expected a readable file, found: "),
        (lambda file: file.symlink_to("nothing"), ": expected a readable file, found: "),
        (lambda file: file.write_bytes(b"#" * (_files.MAX_BYTES + 1)), "larger than 16777216 bytes"),
        (lambda file: file.write_text("import os\nx = (\n"), "the file does not parse at line 2: "),
        (lambda file: file.write_text("from .core import other\nx = (\n"), "the file does not parse at line 2: "),
    ],
    ids=["a directory", "a dangling link", "too large", "no Python", "no Python below the import"],
)
def test_a_file_that_cannot_be_read_is_a_conflict_that_says_why(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    file = installed(tmp_path) / "pkg" / "api.py"
    file.unlink()
    make(file)
    result = look(tmp_path, definition())[1]
    assert result["state"] == "conflict"
    assert reason in result["message"]
    assert str(file.parent) in result["message"]


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
        assert paths(result) == [str(checkout / "src" / "pkg" / "api.py")]
    if version is None:
        expected = "pkg (unknown version) in .*: expected version >=1,<2, found no version: no RECORD, no __version__"
        assert re.match(expected.replace("(", r"\(").replace(")", r"\)"), result["message"])
    if version == "unknown":
        assert result["message"].endswith("expected version >=1,<2, found 'unknown', which is no PEP 440 version")


def test_metadata_wins_over_the_source(tmp_path: Path) -> None:
    files = {**FILES, "pkg/__init__.py": '__version__ = "1.0"\n'}
    packages.install(tmp_path, "pkg", "1.5+rocm", files)
    assert look(tmp_path, definition())[1]["version"] == "1.5+rocm"


def test_a_file_that_two_versions_claim_is_a_conflict(tmp_path: Path) -> None:
    """Where the source does not tell which one is there: see test_records.py."""
    for number in ("1.5", "1.6"):
        packages.install(tmp_path, "pkg", number, FILES)
    result = look(tmp_path, definition())[1]
    assert (result["state"], result["version"]) == ("conflict", None)
    assert "installed distributions (pkg 1.5, pkg 1.6): an upgrade was interrupted" in result["message"]


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
    file.write_bytes(api.encode())
    results = set()
    for come in permutations((A, B, C)):
        plan, _result = look(site, *come)
        assert [step.patch for step in plan.steps] == list(come)
        assert [step.action for step in plan.steps] == ["apply"] * 3
        assert [(change.place.path, change.before.data) for change in plan.changes] == [(str(file), api.encode())]
        carry_out(plan)
        results.add(after := file.read_bytes())
        assert states(site, *come) == ["applied"] * 3
        go = come[1:] + come[:1]
        for number, patch in enumerate(go):
            carry_out(look(site, patch, present=False)[0])
            assert states(site, *go) == ["pending"] * (number + 1) + ["applied"] * (2 - number)
        assert file.read_bytes() == api.encode()
        file.write_bytes(after)
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
    assert sorted(Path(change.place.path).name for change in plan.changes) == ["api.py", "core.py"]
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
    assert (result["state"], paths(result)) == ("pending", [f"{site}/pkg/sub/api.py"])
    assert b"from .. import core\n# >>> primus.patches: a, revision 1 >>>\nfrom ..core import (  # noqa: F401\n" in (
        plan.changes[0].after.data or b""
    )


UNBOUND = "the file would not bind Thing even with the block; nothing is written"


@pytest.mark.parametrize(
    ("api", "changes", "reason"),
    [
        ("import os\nThing = 1\ndel Thing\n", None, UNBOUND),
        (WITH_BLOCK + "del Thing\n", None, "expected no block of a, found one that no fact explains: take it out"),
        # What one edit binds, another edit must leave bound.
        ("from .core import Thing\nx = 1\n", ("x = 1", "x = 1\ndel Thing"), UNBOUND),
        ("import os\nThing = 1\n", ("Thing = 1", "if os:\n    Thing = 1"), UNBOUND),
        ("from .core import other\nx = 1\n", ("x = 1", "del Thing"), UNBOUND),
    ],
)
def test_what_would_be_written_is_proven_first(
    tmp_path: Path, api: str, changes: tuple[str, str] | None, reason: str
) -> None:
    edits: list[Any] = [{"reexport": {"source": ".core", "names": ["Thing"]}}]
    edits += [{"replace": dict(zip(("before", "after"), changes))}] if changes else []
    plan, result = look(installed(tmp_path, api=api), definition(edits=edits, revision=1 if changes else 2))
    assert result["state"] == "conflict"
    assert reason in result["message"]
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
    assert (plan.changes[0].after.data or b"").index(b"import third\n# >>> primus.patches: one") > 0


def _documented_keys() -> dict[str, dict[str, str]]:
    """Return what the documentation of site_patch says of an entry of ``patches``."""
    source = (Path(__file__).parents[4] / "plugins" / "modules" / "site_patch.yml").read_text()
    keys: dict[str, dict[str, str]] = yaml.safe_load(source)["RETURN"]["patches"]["contains"]
    return keys
