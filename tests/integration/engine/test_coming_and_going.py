# Files that come, go and become executable, their directories, and several files of one commit: all or none.
from __future__ import annotations

import errno
import itertools
import os
import py_compile
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import sandbox
from lab.sandbox import GROUP, USER, needs_root
from lab.stores import (
    BEFORE,
    NEW,
    api,
    back,
    change,
    commit,
    facts,
    install,
    leftovers,
    mode,
    new,
    originals,
    store,
)
from module_utils import _commit
from module_utils._edits import ABSENT, Text
from module_utils._errors import CommitError
from module_utils._store import Fact, Store

if TYPE_CHECKING:
    from module_utils._plan import Change


@pytest.fixture
def site(public: Path) -> Path:
    return install(public / "site")


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_a_file_comes_with_its_directories_and_goes_with_them(site: Path, umask: int) -> None:
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    (site / "acme").chmod(0o2775)
    coming = new(site, "sub", "deep", "new.py")
    with sandbox.umask(umask):
        assert commit(coming) == {}
    path = site / "acme" / "sub" / "deep" / "new.py"
    assert (path.read_bytes(), mode(path)) == (NEW, 0o664)
    assert [mode(each) & 0o777 for each in list(path.parents)[:2]] == [0o775, 0o775]
    (path.parent / "__pycache__").mkdir()
    (path.parent / "__pycache__" / "new.cpython-38.pyc").write_bytes(b"old")
    assert commit(back(coming)) == {}
    assert not (site / "acme" / "sub").exists()
    assert {
        path: path.read_bytes() for path in site.rglob("*") if path.is_file() and store(site) not in path.parents
    } == before
    (fact,) = Store(str(site)).facts(coming.place.relative)
    assert isinstance(fact, Fact)
    assert (fact.original, fact.directories) == ("absent", ("acme/sub/deep", "acme/sub"))


def test_a_directory_with_something_else_in_it_stays(site: Path) -> None:
    coming = new(site, "sub", "new.py")
    commit(coming)
    (site / "acme" / "sub" / "theirs.py").touch()
    commit(back(coming))
    assert os.listdir(site / "acme" / "sub") == ["theirs.py"]


def test_directories_that_were_not_made_stay_though_they_are_empty(site: Path) -> None:
    (site / "acme" / "data").mkdir()
    coming = new(site, "data", "new.py")._replace(fact=new(site, "new.py").fact)
    coming = coming._replace(fact=coming.fact and coming.fact._replace(path=coming.place.relative))
    commit(coming)
    commit(back(coming))
    assert (site / "acme" / "data").is_dir()


@needs_root
def test_what_root_adds_belongs_to_the_owner_of_the_directory(site: Path) -> None:
    os.chown(site / "acme", USER, GROUP)
    commit(new(site, "sub", "new.py"))
    for path in (site / "acme" / "sub", site / "acme" / "sub" / "new.py"):
        assert (path.stat().st_uid, path.stat().st_gid) == (USER, GROUP)


def test_nobodys_file_is_replaced_by_one_that_comes(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody puts a file there just before ours is linked, behind the last look."""
    switch = _commit._Work.switch

    def late(work: Any, step: Any) -> bool:
        (site / "acme" / "new.py").write_bytes(b"theirs")
        return switch(work, step)

    monkeypatch.setattr(_commit._Work, "switch", late)
    assert _commit.commit([api(site), new(site, "new.py")], backup=False) is None
    assert (site / "acme" / "new.py").read_bytes() == b"theirs"
    assert (site / "acme" / "api.py").read_bytes() == BEFORE, "the other file of the commit was put back"
    assert leftovers(site) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK], ids=errno.errorcode.get)
def test_where_there_are_no_hard_links_a_file_comes_by_rename(
    site: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_names: str, **_where: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    assert commit(new(site, "new.py")) == {}
    assert (site / "acme" / "new.py").read_bytes() == NEW
    assert leftovers(site) == []
    assert commit(new(site, "new.py")) is None
    assert (site / "acme" / "new.py").read_bytes() == NEW


def test_where_the_answer_to_a_link_is_lost_it_is_found_done(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(*names: str, **where: Any) -> None:
        real(*names, **where)
        raise FileExistsError(errno.EEXIST, "as a file server says to a call that it gets twice")

    monkeypatch.setattr(os, "link", link)
    assert commit(new(site, "new.py")) == {}
    assert (site / "acme" / "new.py").stat().st_nlink == 1


def test_a_file_that_goes_takes_its_bytecode_with_it_and_comes_back_as_it_was(site: Path) -> None:
    path = site / "acme" / "old.py"
    cached = path.parent / "__pycache__" / "old.cpython-38.pyc"
    cached.parent.mkdir()
    cached.write_bytes(b"x")
    path.chmod(0o640)
    going = change(path, Text(b"OLD = 1\n"), ABSENT)
    kept = commit(going, backup=True)
    assert kept is not None
    assert Path(kept[str(path)]).read_bytes() == b"OLD = 1\n"
    assert (path.exists(), cached.exists(), leftovers(site)) == (False, False, [])
    assert [mode(each) for each in (*facts(site), *originals(site))] == [0o640, 0o640]
    assert commit(back(going)) == {}
    assert path.read_bytes() == b"OLD = 1\n"


def test_a_file_that_is_edited_when_it_is_to_go_stays(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, switch = site / "acme" / "old.py", _commit._Work.switch

    def late(work: Any, step: Any) -> bool:
        path.write_bytes(b"edited")
        return switch(work, step)

    monkeypatch.setattr(_commit._Work, "switch", late)
    assert _commit.commit([change(path, Text(b"OLD = 1\n"), ABSENT)], backup=False) is None
    assert path.read_bytes() == b"edited"
    assert leftovers(site) == []


@pytest.mark.parametrize(("was", "is_now"), [(0o644, 0o755), (0o640, 0o750), (0o600, 0o700), (0o444, 0o555)], ids=oct)
def test_the_executable_bit_comes_for_whoever_may_read_and_goes_for_all(site: Path, was: int, is_now: int) -> None:
    path = site / "acme" / "run.sh"
    path.chmod(was)
    text = path.read_bytes()
    commit(change(path, Text(text), Text(text, executable=True)))
    assert mode(path) == is_now
    commit(change(path, Text(text, executable=True), Text(text)))
    assert mode(path) == was


def test_a_mode_that_was_changed_since_is_another_file(site: Path) -> None:
    planned = api(site)
    (site / "acme" / "api.py").chmod(0o755)
    assert _commit.commit([planned], backup=False) is None


@pytest.mark.parametrize("user", [0, USER] if os.geteuid() == 0 else [None], ids=lambda user: f"user {user}")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_file_that_is_gone_since_it_was_planned_for_is_planned_for_again(
    site: Path, what: str, user: int | None
) -> None:
    """As by another run that takes the same patch out."""
    coming = new(site, "sub", "new.py")
    commit(coming)
    for path in (site, *site.rglob("*")):
        os.chown(path, -1 if user is None else user, -1)
    (site / "acme" / "sub" / "new.py").unlink()
    if what == "directory":
        (site / "acme" / "sub").rmdir()
    edit = change(site / "acme" / "sub" / "new.py", Text(NEW), Text(NEW + b"# 2\n"))
    for each in (back(coming), edit):
        assert sandbox.child(lambda: commit(each), user=user or None) is None  # noqa: B023 (it is run at once)
        assert leftovers(site) == []


@pytest.mark.parametrize("step", ["stage", "switch"])
def test_a_directory_that_another_run_removes_just_now_is_planned_for_again(
    site: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (site / "acme" / "sub").mkdir()
    real = getattr(_commit._Work, step)

    def late(*arguments: Any) -> Any:
        shutil.rmtree(site / "acme" / "sub", ignore_errors=True)
        return real(*arguments)

    monkeypatch.setattr(_commit._Work, step, late)
    assert _commit.commit([api(site), new(site, "sub", "new.py")], backup=False) is None
    assert (site / "acme" / "api.py").read_bytes() == BEFORE
    assert leftovers(site) == []


# --- all or none


def three(site: Path) -> list[Change]:
    return [api(site), new(site, "sub", "new.py"), change(site / "acme" / "old.py", Text(b"OLD = 1\n"), ABSENT)]


@pytest.mark.parametrize("call", ["fsync", "rename", "link", "unlink", "mkdir", "fchmod"])
def test_wherever_a_call_fails_all_files_are_as_they_were(
    site: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each n-th call of one kind fails once, until one commit comes to its end without having met it."""
    how = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(site / "acme" / "api.py"), invalidation_mode=how)
    before = _tree(site)
    real = getattr(os, call)
    for number in itertools.count(1):
        count = 0

        def fail(*arguments: Any, **keywords: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:  # noqa: B023 (it is used in this round alone)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            try:
                done = _commit.commit(three(site), backup=False)
            except CommitError as error:
                assert "nothing was changed" in str(error)  # noqa: PT017
                done = None
        if done is None:
            assert _tree(site) == before, f"call {number}"
            assert leftovers(site) == []
        else:
            assert not (site / "acme" / "old.py").exists()
            _commit.commit([back(each) for each in three(site)], backup=False)
            py_compile.compile(str(site / "acme" / "api.py"), invalidation_mode=how)  # (without it, it is no failure)
            assert _tree(site) == before
        if count < number:
            break
        shutil.rmtree(store(site), ignore_errors=True)
    assert number > 1


def _tree(site: Path) -> dict[str, tuple[bytes | None, int]]:
    """Everything but the store: content and mode."""
    paths = [path for path in site.rglob("*") if store(site) not in (path, *path.parents)]
    return {str(path.relative_to(site)): (path.read_bytes() if path.is_file() else None, mode(path)) for path in paths}
