# Bytecode: made anew beside a changed file in its own mode, and never used where it is stale.
from __future__ import annotations

import errno
import fcntl
import importlib.machinery
import importlib.util
import os
import time
from pathlib import Path
from typing import Any

import pytest
from lab import sandbox
from lab.commits import AFTER, BEFORE, LEVELS, MODES, TAG, cached, change, commit, compile_as, fails_at, imported
from lab.sandbox import USER, give, needs_root
from module_utils import _bytecode, _commit, _files

FLAGS = {"timestamp": 0, "checked-hash": 3, "unchecked-hash": 1}


@pytest.mark.parametrize("mode", MODES)
def test_bytecode_is_made_anew_in_its_own_mode_at_each_level(package: Path, api: Path, mode: str) -> None:
    compile_as(api, mode)
    os.utime(api, ns=(1, 10**18))
    if mode == "timestamp":
        compile_as(api, mode)
    for text, which in ((AFTER, "after, and longer"), (BEFORE, "before")):
        commit(api, after=text)
        for level in LEVELS:
            header = cached(api, level).read_bytes()[:16]
            assert int.from_bytes(header[4:8], "little") == FLAGS[mode]
            assert header[:4] == importlib.util.MAGIC_NUMBER
            assert imported(package.parent, level) == (which, str(cached(api, level))), "valid: nothing is compiled"
    assert len(list((package / "__pycache__").iterdir())) == len(LEVELS)


def test_each_file_keeps_its_own_mode_and_only_levels_that_were_there_are_made(api: Path) -> None:
    compile_as(api, "unchecked-hash", levels=(1,))
    compile_as(api, "checked-hash", levels=(2,))
    commit(api)
    assert sorted((api.parent / "__pycache__").iterdir()) == [cached(api, 1), cached(api, 2)]
    assert [cached(api, level).read_bytes()[4] for level in (1, 2)] == [1, 3]


def test_levels_are_optimised_as_their_names_say(api: Path) -> None:
    compile_as(api)
    commit(api)
    texts = [cached(api, level).read_bytes() for level in LEVELS]
    assert [b"Says it." in text for text in texts] == [True, True, False], "docstrings"
    assert len(texts[0]) > len(texts[1]), "assertions"


def test_no_bytecode_is_made_where_none_was(api: Path) -> None:
    commit(api)
    assert not (api.parent / "__pycache__").exists()
    (api.parent / "__pycache__").mkdir()
    commit(api, after=BEFORE)
    assert list((api.parent / "__pycache__").iterdir()) == []


def test_files_of_other_interpreters_are_removed_and_those_of_other_modules_are_not(api: Path) -> None:
    compile_as(api, levels=(0,))
    others = [
        f"api.{tag}.pyc" for tag in ("cpython-27", "pypy39", "cpython-38.opt-1", f"{TAG}-pytest-8.4.1", f"{TAG}.opt-9")
    ]
    strangers = [
        f"api2.{TAG}.pyc",
        f"ap.{TAG}.pyc",
        "api.py",
        f"api.{TAG}.pyc.140234",
        f"API.{TAG}.pyc",
        "note",
    ]
    for name in others + strangers:
        (cached(api).parent / name).write_bytes(b"kept")
    commit(api)
    assert sorted(os.listdir(cached(api).parent)) == sorted([*strangers, cached(api).name])
    assert all((cached(api).parent / name).read_bytes() == b"kept" for name in strangers)


def test_an_edit_of_the_same_size_in_the_same_second_is_not_hidden_by_old_bytecode(package: Path, api: Path) -> None:
    same = BEFORE.replace(b"before", b"AFTER_")
    assert len(same) == len(BEFORE)
    for text, which in ((same, "AFTER_"), (BEFORE, "before"), (same, "AFTER_")):
        now = int(time.time())
        os.utime(api, (now, now))
        compile_as(api, levels=(0,))
        commit(api, after=text)
        assert imported(package.parent)[0] == which


def test_bytecode_that_an_import_of_the_old_file_writes_late_is_not_used(package: Path, api: Path) -> None:
    compile_as(api, levels=(0,))
    late = cached(api).read_bytes()
    for which in (b"AFTER_", b"others"):
        commit(api, after=BEFORE.replace(b"before", which))
        written, late = late, cached(api).read_bytes()
        cached(api).write_bytes(written)
        assert imported(package.parent)[0] == which.decode()


class OnlyBytecode(importlib.machinery.SourceFileLoader):
    """The loader that imports use, but for one thing: it does not compile."""

    def source_to_code(self, *_arguments: Any, **_options: Any) -> Any:
        raise AssertionError("it was compiled")


@needs_root
def test_who_cannot_write_there_still_imports_without_compiling(api: Path) -> None:
    compile_as(api)
    with sandbox.umask(0o077):
        commit(api)

    def load() -> str:
        names: dict[str, Any] = {}
        code = OnlyBytecode("api", str(api)).get_code("api")
        assert code is not None
        exec(code, names)  # noqa: S102 (the module of this test)
        return str(names["which"]())

    assert sandbox.child(load, user=USER) == "after, and longer"
    cached(api).unlink()
    with pytest.raises(AssertionError, match="it was compiled"):
        sandbox.child(load, user=USER)


@pytest.mark.parametrize("step", ["rename", "sync", "remake"])
@pytest.mark.parametrize("mode", MODES)
def test_stale_bytecode_is_never_used_wherever_a_commit_is_killed(
    package: Path, api: Path, mode: str, step: str
) -> None:
    """The process ends itself at a step, without any cleaning up: as SIGKILL would."""
    compile_as(api, mode)
    for path in (cached(api, 1), cached(api, 2)):
        path.unlink()
    changes = [change(api)]

    def killed() -> None:
        where = {"rename": os, "sync": _files.Directory, "remake": _bytecode.Cache}[step]
        setattr(where, step, lambda *_arguments, **_keywords: os._exit(9))
        _commit.commit(changes, backup=False)

    with pytest.raises(AssertionError, match="the child died"):
        sandbox.child(killed)
    expected = "before" if step == "rename" else "after, and longer"
    assert api.read_bytes() == (BEFORE if step == "rename" else AFTER)
    assert imported(package.parent)[0] == expected
    commit(api, after=AFTER + b"# again\n")
    assert imported(package.parent)[0] == "after, and longer"


def test_bytecode_that_cannot_be_made_stays_away(package: Path, api: Path) -> None:
    compile_as(api, "unchecked-hash", levels=(0,))
    commit(api, after=b"return 1\n")  # parses, yet does not compile
    assert list((package / "__pycache__").iterdir()) == []
    cached(api).write_bytes(b"cut")
    commit(api, after=AFTER)
    assert list((package / "__pycache__").iterdir()) == []
    assert imported(package.parent) == ("after, and longer", str(api))


def test_a_disk_that_fills_up_while_bytecode_is_written_leaves_none(
    package: Path, api: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second rename of the commit is the bytecode's; it fails as on a full disk."""
    compile_as(api, "unchecked-hash", levels=(0,))
    fails_at(monkeypatch, "rename", 2, errno.ENOSPC)
    commit(api)
    assert list((package / "__pycache__").iterdir()) == []
    assert api.read_bytes() == AFTER


@needs_root
def test_bytecode_that_the_owner_cannot_read_is_removed(package: Path, api: Path) -> None:
    compile_as(api, "unchecked-hash")
    give(package)
    os.chown(cached(api), 0, 0)
    cached(api).chmod(0o600)
    sandbox.child(lambda: commit(api), user=USER)
    assert sorted((package / "__pycache__").iterdir()) == [cached(api, 1), cached(api, 2)]
    assert imported(package.parent)[0] == "after, and longer"


def test_the_new_file_is_locked_until_its_bytecode_is_there(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next run could replace the file before the bytecode of this one is written beside it."""
    compile_as(api)
    remake, seen = _bytecode.Cache.remake, []

    def check(*arguments: Any) -> None:
        with api.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                seen.append("locked")
        remake(*arguments)

    monkeypatch.setattr(_bytecode.Cache, "remake", check)
    commit(api)
    assert seen == ["locked"]


def test_bytecode_that_another_run_removes_first_is_no_failure(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As happens where there are no locks: it is gone between the look and the removal."""
    compile_as(api, levels=(0, 1))
    look = _bytecode.Cache.read

    def late(cache: _bytecode.Cache) -> list[Any]:
        found = list(look(cache))
        cached(api, 1).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(_bytecode.Cache, "read", late)
    assert _commit.commit([change(api)], backup=False) == {}
    assert api.read_bytes() == AFTER


@pytest.mark.parametrize("mode", ["timestamp", "checked-hash"])
def test_bytecode_of_a_file_that_another_run_has_replaced_since_is_not_taken_for_its_own(
    package: Path, api: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """As happens where there are no locks: the file is another one when our bytecode is written beside it."""
    compile_as(api, mode, levels=(0,))
    remake = _bytecode.Cache.remake

    def late(*arguments: Any) -> None:
        made = api.stat()
        api.write_bytes(BEFORE)
        os.utime(api, ns=(made.st_atime_ns, made.st_mtime_ns))
        remake(*arguments)

    monkeypatch.setattr(_bytecode.Cache, "remake", late)
    commit(api)
    assert imported(package.parent) == ("before", str(api))
