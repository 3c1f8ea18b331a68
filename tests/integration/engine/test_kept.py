# Stores without definitions: what they say of the files as they are, and taking all patches out by facts alone.
from __future__ import annotations

import itertools
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import engine, packages, snapshot
from module_utils import _store

if TYPE_CHECKING:
    from pathlib import Path

# One file edited by two patches, a new file in a new directory, a deleted one, a moved one, and METADATA.
NAMES = {**engine.PATCH, "name": "b_names"}
NUMBER: dict[str, Any] = {
    **engine.PATCH,
    "name": "a_number",
    "edits": [{"replace": {"before": "return 42", "after": "return 43"}}],
}
IMPORT: dict[str, Any] = {
    **engine.PATCH,
    "name": "b_import",
    "edits": [{"replace": {"before": "import os", "after": "import os.path"}}],
}
FILES: dict[str, Any] = {
    **{key: value for key, value in engine.PATCH.items() if key != "file"},
    "name": "c_files",
    "edits": [
        {"file": "new/deep/module.py", "write": {"content": "NEW = 1\n", "replaces": "absent"}},
        {"file": "old.py", "delete": {}},
        {
            "diff": "diff --git a/thing/here.py b/thing/there.py\nsimilarity index 100%\n"
            "rename from thing/here.py\nrename to thing/there.py\n"
        },
    ],
}
METADATA: dict[str, Any] = {
    **{key: value for key, value in engine.PATCH.items() if key not in ("file", "package")},
    "name": "d_metadata",
    "distribution": "thing",
    "edits": [
        {
            "file": "thing-1.5.dist-info/METADATA",
            "replace": {"before": "Name: thing", "after": "Name: thing\nSummary: patched"},
        }
    ],
}
HOOK = """
import importlib.util, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        directory = %r
        if name == "thing":
            return importlib.util.spec_from_file_location(
                name, directory + "/__init__.py", submodule_search_locations=[directory]
            )

sys.meta_path.append(Finder())
"""
ALL = (NUMBER, NAMES, FILES, METADATA)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a site-packages with ``thing``."""
    return make(tmp_path / "site")


def make(site: Path) -> Path:
    files = {**engine.FILES, "old.py": "OLD = 1\n", "here.py": "HERE = 1\n"}
    packages.install(site, "thing", "1.5", {f"thing/{name}": text for name, text in files.items()})
    metadata = site / "thing-1.5.dist-info" / "METADATA"
    with (metadata.parent / "RECORD").open("a") as stream:
        stream.write(f"thing-1.5.dist-info/METADATA,{packages.recorded(metadata)}\n")
    return site


def apply(site: Path, *definitions: Any) -> None:
    result = engine.ask("patch", path=site, definitions=list(definitions))
    assert not result.get("failed"), result["msg"]


def revert(site: Path, **more: Any) -> dict[str, Any]:
    return engine.ask("patch", path=site, all=True, state="absent", **more)


def told(site: Path) -> dict[str, Any]:
    """Return what the one store says, or nothing."""
    result = engine.ask("kept", path=site)
    assert not result.get("failed"), result["msg"]
    (store,) = result["stores"] or [{}]
    return dict(store)


def content(site: Path) -> dict[str, bytes]:
    """Return all files but the store's, and all directories."""
    paths = [path for path in site.rglob("*") if _store.DIRECTORY not in path.relative_to(site).parts]
    return {str(path.relative_to(site)): path.read_bytes() if path.is_file() else b"" for path in paths}


def test_all_kinds_of_edits_are_told_and_taken_out(site: Path) -> None:
    before = content(site)
    apply(site, *ALL)
    store = told(site)
    assert store["root"] == str(site)
    assert not store["unclear"]
    assert {file["file"]: [patch["name"] for patch in file["patches"]] for file in store["files"]} == {
        "thing-1.5.dist-info/METADATA": ["d_metadata"],
        "thing/api.py": ["a_number", "b_names"],
        "thing/here.py": ["c_files"],
        "thing/new/deep/module.py": ["c_files"],
        "thing/old.py": ["c_files"],
        "thing/there.py": ["c_files"],
    }
    for file in store["files"]:
        assert file["as_written"], file
        assert (file["who"], file["distribution"], file["version"]) == (_store.who(), "thing", "1.5")
    result = revert(site)
    assert [(patch["name"], patch["action"]) for patch in result["patches"]] == [
        *(("a_number", "revert"), ("b_names", "revert"), ("c_files", "revert"), ("d_metadata", "revert")),
    ]
    assert content(site) == before
    assert told(site) == {}
    assert not revert(site)["changed"]


def test_check_mode_tells_the_same_and_writes_nothing(site: Path) -> None:
    apply(site, *ALL)
    before = snapshot.take(site)
    checked = revert(site, check_mode=True, diff=True)
    assert snapshot.take(site) == before
    done = revert(site, diff=True)
    assert checked["diff"] == done["diff"]
    for result in (checked, done):
        assert [(patch["state"], patch["action"]) for patch in result["patches"]] == [("applied", "revert")] * 4


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(ALL), out=st.sets(st.sampled_from([each["name"] for each in ALL])))
def test_whatever_came_and_went_the_originals_come_back(
    tmp_path_factory: pytest.TempPathFactory, order: list[Any], out: set[str]
) -> None:
    site = make(tmp_path_factory.mktemp("kept") / "site")
    before = content(site)
    for definition in order:
        apply(site, definition)
    for name in sorted(out):
        engine.ask("patch", path=site, definitions=list(ALL), name=[name], state="absent")
    left = {patch["name"] for file in told(site).get("files", []) for patch in file["patches"]}
    assert left == {each["name"] for each in ALL} - out
    assert {patch["name"] for patch in revert(site)["patches"]} == left
    assert content(site) == before


def test_what_an_upgrade_has_left_behind_goes_as_well(site: Path) -> None:
    apply(site, FILES)
    shutil.rmtree(site / "thing-1.5.dist-info")
    (site / "thing" / "api.py").unlink()
    assert [file["file"] for file in told(site)["files"]] == ["thing/new/deep/module.py", "thing/there.py"]
    assert revert(site)["changed"]
    assert not (site / "thing" / "new").exists()


def test_files_of_another_version_are_none_of_ours(site: Path) -> None:
    apply(site, NUMBER)
    shutil.rmtree(site / "thing-1.5.dist-info")
    engine.thing(site, "1.6")
    assert told(site) == {}
    before = snapshot.take(site)
    assert not revert(site)["changed"]
    assert snapshot.take(site) == before


def test_an_edited_file_is_told_refused_and_restored_with_a_copy(site: Path) -> None:
    apply(site, NUMBER, FILES)
    api = site / "thing" / "api.py"
    api.write_bytes(api.read_bytes() + b"# by hand\n")
    (file,) = [file for file in told(site)["files"] if not file["as_written"]]
    assert file["file"] == "thing/api.py"
    assert file["message"].startswith("edited since primus.patches wrote it (a_number, ")
    before = snapshot.take(site)
    result = revert(site)
    assert result["failed"]
    assert "a_number: conflict: " in result["msg"]
    assert snapshot.take(site) == before
    result = revert(site, restore=True)
    assert [patch["action"] for patch in result["patches"]] == ["restore", "revert"]
    assert api.read_text() == engine.FILES["api.py"]


def test_an_edited_file_of_which_several_facts_tell_is_restored_by_the_newest(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each patch that comes or goes, a fact more is kept for a while; bytes that nobody wrote lead to none."""
    day = itertools.count(10)
    monkeypatch.setattr(_store, "now", lambda: f"2026-01-{next(day)}T12:00:00Z")
    api = site / "thing" / "api.py"
    for definitions, names in (([NUMBER], "a_number"), ([NUMBER, IMPORT], "a_number, b_import"), ([], "b_import")):
        if definitions:
            apply(site, *definitions)
        else:
            engine.ask("patch", path=site, definitions=[NUMBER], state="absent")
        written = api.read_bytes()
        api.write_bytes(written + b"# by hand\n")
        (file,) = told(site)["files"]
        assert file["message"].startswith(f"edited since primus.patches wrote it ({names}, 2026-01-")
        assert f"{names.partition(',')[0]}: conflict" in revert(site)["msg"]
        restored = revert(site, restore=True, check_mode=True)
        assert [(patch["name"], patch["action"]) for patch in restored["patches"]] == [
            (name, "restore") for name in names.split(", ")
        ]
        api.write_bytes(written)
    api.write_bytes(written + b"# by hand\n")
    assert not revert(site, restore=True).get("failed")
    assert api.read_text() == engine.FILES["api.py"]


def test_what_is_not_clear_is_told_and_nothing_is_taken_out(site: Path) -> None:
    apply(site, NUMBER, FILES)
    facts = site / _store.DIRECTORY / "facts"
    fact = next(path for path in facts.iterdir() if json.loads(path.read_text())["path"] == "thing/old.py")
    for text, reason in (("{", "expected JSON"), (json.dumps({"schema": 99}), "a newer primus.patches wrote this")):
        fact.write_text(text)
        (unclear,) = told(site)["unclear"]
        assert unclear.startswith(f"{fact}: ")
        assert reason in unclear
        before = snapshot.take(site)
        result = revert(site)
        assert "not all patches can be taken out: " in result["msg"]
        assert snapshot.take(site) == before


@pytest.mark.parametrize("path", ["../outside.py", "linked/outside.py"])
def test_a_store_is_no_authority_on_what_lies_outside(site: Path, path: str) -> None:
    """Whoever may write to a store could name any file in it, with bytes of his own as its original."""
    outside = site.parent / "outside.py"
    outside.write_text("return 43\n")
    (site / "linked").symlink_to(site.parent)
    apply(site, NUMBER)
    facts = site / _store.DIRECTORY / "facts"
    fact = json.loads(next(facts.iterdir()).read_text())
    original = b"raise SystemExit\n"
    written = _store.sha(outside.read_bytes())
    planted = {**fact, "path": path, "original": _store.sha(original), "written": written}
    (facts / _store.fact_name(path, written)).write_text(json.dumps(planted))
    originals = site / _store.DIRECTORY / "originals"
    (originals / _store.original_name(_store.sha(original))).write_bytes(_store.pack(original))
    (unclear,) = told(site)["unclear"]
    assert unclear == f"{path}: expected a file inside of the environment, as the store names it"
    assert revert(site)["failed"]
    assert outside.read_text() == "return 43\n"


def test_a_source_checkout_and_a_package_by_its_own_directory(tmp_path: Path) -> None:
    engine.source(tmp_path / "checkout" / "src" / "thing")
    (tmp_path / "checkout" / "pyproject.toml").write_text("[project]\nname = 'thing'\n")
    (tmp_path / "checkout" / "src" / "thing" / "__init__.py").write_text('__version__ = "1.5"\n')
    for path in (tmp_path / "checkout", tmp_path / "checkout" / "src" / "thing"):
        result = engine.ask("patch", path=path, definitions=[NUMBER])
        assert result["changed"], result["msg"]
        assert [file["distribution"] for file in told(path)["files"]] == [None]
        assert revert(path)["changed"]
        assert (tmp_path / "checkout" / "src" / "thing" / "api.py").read_text() == engine.FILES["api.py"]


def test_an_environment_has_the_stores_of_what_is_linked_and_editable(
    environment: Path, interpreter: Path, tmp_path: Path
) -> None:
    (packages_of,) = (environment / "lib").glob("python3*/site-packages")
    # In place by an import hook, as setuptools does it where a directory cannot be put on sys.path.
    source = tmp_path / "checkout" / "src"
    engine.source(source / "thing")
    (source / "thing" / "__init__.py").write_text('__version__ = "1.5"\n')
    url = {"url": f"file://{tmp_path}/checkout", "dir_info": {"editable": True}}
    packages.install(packages_of, "thing", "1.5", {"thing-1.5.dist-info/direct_url.json": json.dumps(url)})
    packages.at_start(packages_of, HOOK % str(source / "thing"))
    # Linked into site-packages from elsewhere.
    engine.thing(tmp_path / "elsewhere")
    os.rename(tmp_path / "elsewhere" / "thing", tmp_path / "elsewhere" / "other")
    (packages_of / "other").symlink_to(tmp_path / "elsewhere" / "other")
    (tmp_path / "elsewhere" / "other" / "__init__.py").write_text('__version__ = "1.5"\n')
    other = {**NUMBER, "name": "other_number", "package": "other"}
    result = engine.ask("patch", interpreter, definitions=[NUMBER, other])
    assert result["changed"], result["msg"]
    roots = {store["root"] for store in engine.ask("kept", interpreter)["stores"]}
    assert roots == {str(source), str(tmp_path / "elsewhere")}
    assert {patch["name"] for patch in engine.ask("patch", interpreter, all=True, state="absent")["patches"]} == {
        "a_number",
        "other_number",
    }
    assert engine.ask("kept", interpreter)["stores"] == []
