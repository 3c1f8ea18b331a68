# lab.members: single files of wheels are those of the whole wheel, however the package index serves them.
from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import remotezip
from lab import members, wheels

if TYPE_CHECKING:
    from pathlib import Path

# A small wheel, and a file in it.
PROJECT, VERSION, FILE = "einops", "0.8.2", "einops/__init__.py"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("ranges", [True, False])
def test_files_are_those_of_the_whole_wheel(ranges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    def refuse(*_arguments: Any, **_more: Any) -> NoReturn:
        raise remotezip.RangeNotSupported("no ranges here")

    if not ranges:
        monkeypatch.setattr(remotezip, "RemoteZip", refuse)
    fetched = members.files(members.release(PROJECT, VERSION), [FILE, "einops/not_there.py"])
    assert (tmp_path / "cache" / "primus-patches" / "wheels").exists() == (not ranges)
    names = {path.relative_to(fetched).as_posix() for path in fetched.rglob("*") if path.is_file()}
    assert names == {FILE, *(f"{PROJECT}-{VERSION}.dist-info/{name}" for name in ("METADATA", "RECORD"))}
    with zipfile.ZipFile(wheels.wheel(PROJECT, VERSION)) as whole:
        assert {name: (fetched / name).read_bytes() for name in names} == {name: whole.read(name) for name in names}


def patch_of(*edits: dict[str, Any], **more: str) -> dict[str, Any]:
    texts = dict.fromkeys(("reason", "upstream", "retire"), "r")
    return {"name": "lab", "versions": "*", **texts, "edits": list(edits), **(more or {"package": "a.b"})}


DIFF = """\
--- a/x/a/b/c.py
+++ b/x/a/b/c.py
@@ -1 +1 @@
-1
+2
diff --git a/x/a/b/old.py b/x/a/b/new.py
similarity index 100%
rename from x/a/b/old.py
rename to x/a/b/new.py
"""


@pytest.mark.parametrize(
    ("patch", "wanted"),
    [
        (
            patch_of({"file": "c/d.py", "reexport": {"source": "..e", "names": ["f"]}}),
            {"a/b/c/d.py", "a/b/e.py", "a/b/e/__init__.py"},
        ),
        (patch_of({"diff": DIFF}), {"a/b/c.py", "a/b/old.py", "a/b/new.py"}),
        (patch_of({"file": "**/*.py", "replace": {"before": "1", "after": "2"}}), {"a/b/**/*.py"}),
        (patch_of({"file": "g.txt", "delete": None}), {"a/b/g.txt"}),
    ],
)
def test_needed_are_the_files_of_all_edits_the_packages_own_and_the_sources_of_re_exports(
    patch: dict[str, Any], wanted: set[str]
) -> None:
    assert set(members.needed(patch)) == {*wanted, "a/b/__init__.py", "a/b/version.py"}


def test_a_patch_of_a_distribution_alone_needs_the_files_that_it_names() -> None:
    file = "torch-*.dist-info/METADATA"
    patch = patch_of({"file": file, "replace": {"before": "1", "after": "2"}}, distribution="torch")
    assert set(members.needed(patch)) == {file}
    assert members.project_of(patch) == "torch"


def test_a_pattern_of_files_is_met_by_those_of_the_wheel() -> None:
    fetched = members.files(members.release(PROJECT, VERSION), ["einops/layers/*.py"])
    with zipfile.ZipFile(wheels.wheel(PROJECT, VERSION)) as whole:
        wanted = {name for name in whole.namelist() if name.startswith("einops/layers/")}
    found = {path.relative_to(fetched).as_posix() for path in fetched.rglob("*.py")}
    assert found == wanted
    assert "einops/layers/torch.py" in found


def test_a_release_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match=r"no wheel of einops 999 for this platform"):
        members.release(PROJECT, "999")
