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


def test_needed_files_are_the_patched_one_the_packages_own_and_the_sources_of_re_exports() -> None:
    patch = {"package": "a.b", "file": "c/d.py", "edits": [{"reexport": {"source": "..e"}}, {"replace": {}}]}
    assert set(members.needed(patch)) == {
        *("a/b/c/d.py", "a/b/__init__.py", "a/b/version.py"),
        *("a/b/e.py", "a/b/e/__init__.py"),
    }


def test_a_release_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match=r"no wheel of einops 999 for this platform"):
        members.release(PROJECT, "999")
