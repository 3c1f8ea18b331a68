# The survey of a file: its owner, mode, links and file system, and whether the bytecode beside it is fresh.
from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, sandbox
from lab.commits import LEVELS, MODES, TAG, compiled
from lab.sandbox import GROUP, USER, needs_root
from module_utils import _edits, _environment, _evidence, _looking, _patch, _step, _storage, _survey

if TYPE_CHECKING:
    from collections.abc import Callable


# --- the file


def look(path: Path) -> dict[str, Any]:
    found = _survey.file(str(path))
    assert found is not None
    return found


@needs_root
def test_owner_group_and_mode_are_what_ls_shows_and_a_number_without_a_name_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.touch()
    path.chmod(0o2640)
    found = look(path)
    assert [found["owner"], found["group"]] == ["root", "root"]
    assert found["mode"] == "2640"
    assert found["links"] == 1
    assert found["link"] is None
    os.chown(path, USER, GROUP)
    path.chmod(0o44)
    found = look(path)
    assert [found["owner"], found["group"], found["mode"]] == [str(USER), str(GROUP), "0044"]


def test_the_kind_of_file_system_is_that_of_the_files_directory(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.touch()
    mount = _storage.mount_of(str(tmp_path))
    assert mount is not None
    assert look(path)["filesystem"] == mount.kind
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        shutil.copy(path, directory)
        assert look(Path(directory) / "api.py")["filesystem"] == "tmpfs"


def test_a_file_of_an_unknown_mount_is_told_of_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is not mounted: staged, as a test cannot unmount it for itself."""

    def find(_directory: str) -> None:
        raise FileNotFoundError("/proc/self/mountinfo")

    monkeypatch.setattr(_storage, "mount_of", find)
    (tmp_path / "api.py").touch()
    assert look(tmp_path / "api.py")["filesystem"] is None


def test_a_time_of_change_that_was_set_back_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.touch()
    os.utime(path, (0, 0))
    assert look(path)["changed"] == path.stat().st_ctime > path.stat().st_mtime


def test_a_further_hard_link_of_a_package_cache_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.touch()
    os.utime(path, (0, 86400))
    (tmp_path / "cache.py").hardlink_to(path)
    found = look(path)
    assert found["links"] == 2
    assert found["changed"] == 86400.0


def test_a_symbolic_link_is_followed_and_its_end_is_told(tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "api.py"
    cached.parent.mkdir()
    cached.touch(mode=0o600)
    (tmp_path / "between.py").symlink_to("cache/api.py")
    (tmp_path / "api.py").symlink_to("between.py")
    found = look(tmp_path / "api.py")
    assert found["link"] == str(cached)
    assert found == {**look(cached), "link": str(cached)}


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "dangling.py").symlink_to("gone")
    assert _survey.file(str(tmp_path / "dangling.py")) is None
    assert _survey.file(str(tmp_path / "absent" / "api.py")) is None


@needs_root
def test_what_a_user_cannot_reach_is_none(public: Path) -> None:
    (public / "closed").mkdir(mode=0o700)
    (public / "closed" / "api.py").touch()
    path = str(public / "closed" / "api.py")
    assert sandbox.child(lambda: _survey.file(path), user=USER) is None
    assert sandbox.child(lambda: _survey.bytecode(path), user=USER) == []


# --- bytecode


@pytest.fixture
def api(public: Path) -> Path:
    path = public / "site" / "api.py"
    path.parent.mkdir()
    path.write_text("ANSWER = 42\n")
    return path


def told(path: Path) -> list[tuple[str, str, bool | None, bool]]:
    entries = _survey.bytecode(str(path))
    return [(Path(entry["path"]).name, entry["mode"], entry["fresh"], entry["ours"]) for entry in entries]


@pytest.mark.parametrize("mode", MODES)
def test_each_level_of_a_mode_is_told_and_fresh_until_the_source_changes(api: Path, mode: str) -> None:
    files = [compiled(api, mode, level) for level in LEVELS]
    assert _survey.bytecode(str(api)) == [
        {"path": str(path), "mode": mode, "fresh": True, "ours": True} for path in sorted(files)
    ]
    made = api.stat()
    api.write_text("ANSWER = 43\n")
    os.utime(api, ns=(made.st_atime_ns, made.st_mtime_ns))
    # As long, and as old: only a hash can tell, and an unchecked one is told although Python would not look.
    assert {entry[2] for entry in told(api)} == {mode == "timestamp"}


def test_a_touched_source_makes_timestamps_stale_and_leaves_hashes_fresh(api: Path) -> None:
    compiled(api, "timestamp", 0)
    compiled(api, "checked-hash", 1)
    compiled(api, "unchecked-hash", 2)
    later = api.stat().st_mtime + 2
    os.utime(api, (later, later))
    assert told(api) == [
        (f"api.{TAG}.opt-1.pyc", "checked-hash", True, True),
        (f"api.{TAG}.opt-2.pyc", "unchecked-hash", True, True),
        (f"api.{TAG}.pyc", "timestamp", False, True),
    ]


def test_a_source_of_another_size_makes_timestamps_stale(api: Path) -> None:
    compiled(api)
    made = api.stat()
    api.write_text("ANSWER = 42  # longer\n")
    os.utime(api, ns=(made.st_atime_ns, made.st_mtime_ns))
    assert told(api) == [(f"api.{TAG}.pyc", "timestamp", False, True)]


def test_only_the_whole_second_and_four_bytes_of_a_time_count(api: Path) -> None:
    os.utime(api, (0, 2**32 + 7.25))
    compiled(api)
    os.utime(api, (0, 2**32 + 7.75))
    assert told(api) == [(f"api.{TAG}.pyc", "timestamp", True, True)]


def test_another_interpreters_hash_is_not_judged_as_its_key_is_its_magic_number(
    api: Path, python: Callable[[str], Path]
) -> None:
    other = python("3.9")
    code = (
        "import py_compile, sys; mode = py_compile.PycInvalidationMode[sys.argv[2]]; "
        "py_compile.compile(sys.argv[1], invalidation_mode=mode)"
    )
    for mode, expected in (("TIMESTAMP", True), ("CHECKED_HASH", None), ("UNCHECKED_HASH", None)):
        subprocess.run([other, "-I", "-c", code, api, mode], check=True)
        name = mode.lower().replace("_", "-")
        assert told(api) == [("api.cpython-39.pyc", name, expected, False)]
    (entry,) = engine.within(other, "_survey.bytecode(*arguments)", str(api))
    assert [entry["mode"], entry["fresh"], entry["ours"]] == ["unchecked-hash", True, True]


def test_a_hash_without_its_source_is_not_judged(api: Path) -> None:
    compiled(api, "checked-hash")
    api.unlink()
    assert told(api) == [(f"api.{TAG}.pyc", "checked-hash", None, True)]


def test_only_files_of_this_very_module_are_told(api: Path) -> None:
    for name in ("api_more", "ap", "test.api"):
        (api.parent / f"{name}.py").touch()
        py_compile.compile(str(api.parent / f"{name}.py"))
    (api.parent / "__pycache__" / f"api.{TAG}.pyc.140001").touch()  # what an interrupted import leaves
    assert told(api) == []
    compiled(api)
    assert [entry[0] for entry in told(api)] == [f"api.{TAG}.pyc"]
    assert _survey.bytecode(str(api.with_suffix(".txt"))) == []
    assert _survey.bytecode(str(api.parent / "elsewhere" / "api.py")) == []


def test_what_is_too_short_or_of_an_unknown_kind_is_unknown(api: Path) -> None:
    path = compiled(api)
    header = path.read_bytes()[:16]
    for text in (b"", header[:15], header[:4] + b"\xff" * 12):
        path.write_bytes(text)
        assert told(api) == [(path.name, "unknown", None, True)]
    path.unlink()
    path.mkdir()
    assert told(api) == [(path.name, "unknown", None, True)]


def test_a_pipe_in_the_place_of_bytecode_does_not_block(api: Path) -> None:
    path = compiled(api)
    path.unlink()
    os.mkfifo(path)
    assert told(api) == [(path.name, "unknown", None, True)]
    writer = os.open(path, os.O_RDWR)
    try:
        assert told(api) == [(path.name, "unknown", None, True)]
    finally:
        os.close(writer)


@needs_root
def test_unreadable_bytecode_and_sources_are_no_error(api: Path) -> None:
    path = compiled(api, "checked-hash", 0)
    compiled(api, "checked-hash", 1).chmod(0o600)
    expected = [(f"api.{TAG}.opt-1.pyc", "unknown", None, True), (path.name, "checked-hash", True, True)]
    assert sandbox.child(lambda: told(api), user=USER) == expected
    api.chmod(0o600)
    expected[1] = (path.name, "checked-hash", None, True)
    assert sandbox.child(lambda: told(api), user=USER) == expected
    path.parent.chmod(0o700)
    assert sandbox.child(lambda: told(api), user=USER) == []


# --- of the files of a patch


def found(*paths: Path, revision: int | None = 1) -> _step.Step:
    """Return the step of a patch that was found in files; those that are not there were deleted by it."""
    looks = []
    for path in paths:
        text = _edits.Text(path.read_bytes()) if path.exists() else _edits.ABSENT
        looks.append(_evidence.Look(_environment.Place(str(path), str(path.parent), path.name), text, None))
    return _step.Step(_patch.load(engine.PATCH), "applied", "none", "", "1.5", tuple(looks), revision)


def test_a_patch_came_when_the_last_of_its_files_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_survey, "processes", lambda changed: changed)
    paths = [tmp_path / name for name in ("a.py", "b.py", "c.py")]
    for path, when in zip(paths, (1000, 3000, 2000), strict=True):
        path.touch()
        path.with_suffix(".link").hardlink_to(path)  # (with a second link it is the mtime that counts)
        os.utime(path, (when, when))
    assert _survey.old_processes([found(*paths, tmp_path / "deleted.py")]) == {"thing_names": 3000}
    assert _survey.old_processes([found(*paths, revision=None)]) == {}
    assert _survey.old_processes([found(tmp_path / "deleted.py"), found()]) == {}


def test_the_copy_is_that_of_the_first_file_and_each_file_has_its_details(api: Path, tmp_path: Path) -> None:
    (tmp_path / "api.py").touch()
    assert _looking.copy_id(found()) is None
    assert _looking.copy_id(found(api, tmp_path / "api.py")) == _storage.copy_id(str(api.parent))
    compiled(api)
    details = _survey.file_details(str(api))
    assert details == {"file": look(api), "bytecode": _survey.bytecode(str(api))}
    assert len(details["bytecode"]) == 1
    assert _survey.file_details(str(tmp_path / "gone.py")) == {"file": None, "bytecode": []}
