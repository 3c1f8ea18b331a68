# Commits: what is kept, what is put back, what is refused before anything is written. On real files; where a failure
# can only be staged (a rename, fsync or chown that fails), the test replaces that one call of os and says so.
from __future__ import annotations

import errno
import fcntl
import importlib.machinery
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import sandbox, snapshot
from lab.sandbox import GROUP, USER, needs_mounts, needs_root
from module_utils import _bytecode, _commit, _engine, _files, _locks, _staging, _temporary
from module_utils._catalogue import CATALOGUE
from module_utils._edits import Text
from module_utils._environment import Place
from module_utils._errors import CommitError
from module_utils._plan import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEFORE = b"WHICH = 'before'\n\n\ndef which():\n    '''Says it.'''\n    assert WHICH == 'before'\n    return WHICH\n"
AFTER = BEFORE.replace(b"before", b"after, and longer")
TAG = sys.implementation.cache_tag
LEVELS = {0: "", 1: ".opt-1", 2: ".opt-2"}
MODES = ("timestamp", "checked-hash", "unchecked-hash")
FLAGS = {"timestamp": 0, "checked-hash": 3, "unchecked-hash": 1}


@pytest.fixture
def package() -> Iterator[Path]:
    """Yield a package with one module, ``api.py``, in a directory that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="primus-commit-") as top:
        Path(top).chmod(0o755)
        directory = Path(top) / "site" / "thing"
        directory.mkdir(parents=True)
        (directory / "__init__.py").touch()
        (directory / "api.py").write_bytes(BEFORE)
        yield directory


@pytest.fixture
def api(package: Path) -> Path:
    return package / "api.py"


def change(path: Path, after: bytes = AFTER) -> Change:
    """Return a change of a file that leaves nothing of ours in it: no store is needed for it."""
    executable = bool(path.stat().st_mode & 0o100)
    return Change(place(path), Text(path.read_bytes(), executable), Text(after, executable), None, None)


def place(path: Path) -> Place:
    """Return where a file of the package is: its root is the directory above the package's."""
    root = next(each for each in path.parents if each.name == "site")
    return Place(str(path), str(root), str(path.relative_to(root)))


def commit(*paths: Path, after: bytes = AFTER, backup: bool = False) -> dict[str, str]:
    """Commit as a run does, preflight included."""
    changes = [change(path, after) for path in paths]
    _commit.preflight(changes, backup)
    kept = _commit.commit(changes, backup)
    assert kept is not None
    return kept


def give(directory: Path, user: int = USER, group: int = GROUP) -> None:
    """Give a directory and everything in it to a user."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user, group, follow_symlinks=False)


def cached(path: Path, level: int = 0, tag: str = TAG) -> Path:
    return path.parent / "__pycache__" / f"{path.stem}.{tag}{LEVELS[level]}.pyc"


def compile_as(path: Path, mode: str = "timestamp", levels: tuple[int, ...] = (0, 1, 2)) -> None:
    """Compile a module as compileall does."""
    for level in levels:
        flags = ["-" + "O" * level] if level else []
        subprocess.run(
            [sys.executable, *flags, "-m", "compileall", "-q", "-f", "--invalidation-mode", mode, str(path)], check=True
        )
        assert cached(path, level).exists()


def imported(site: Path, level: int = 0) -> tuple[str, str]:
    """Import ``thing.api`` in a fresh interpreter that writes nothing: what it says, and where its code came from."""
    command = [sys.executable, "-B", "-v", *(["-" + "O" * level] if level else [])]
    command += ["-c", f"import sys; sys.path.insert(0, {str(site)!r}); import thing.api; print(thing.api.which())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    (code,) = re.findall(
        r"^# code object from '?([^'\n]*/thing/(?:__pycache__/)?api\.[^'\n]*?)'?$", done.stderr, re.MULTILINE
    )
    return done.stdout.strip(), code


def fails_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: int = errno.EIO) -> list[str]:
    """Let the n-th call of a function of os fail, as the kernel would; return the last arguments of all its calls."""
    real = getattr(os, name)
    seen: list[str] = []

    def call(*arguments: Any, **keywords: Any) -> Any:
        seen.append(str(arguments[-1]))
        if len(seen) == number:
            raise OSError(code, os.strerror(code), arguments[0], None, *arguments[1:2])
        return real(*arguments, **keywords)

    monkeypatch.setattr(_commit.os, name, call)
    return seen


# -- by rename, never in place ---------------------------------------------------------------------------------------


def test_a_file_is_replaced_by_a_new_one(api: Path) -> None:
    old = api.stat()
    with api.open("rb") as reader:
        assert commit(api) == {}
        assert reader.read() == BEFORE, "who has the file open keeps what it was"
    assert api.read_bytes() == AFTER
    assert api.stat().st_ino != old.st_ino
    assert sorted(path.name for path in api.parent.iterdir()) == ["__init__.py", "api.py"], "no temporary file is left"


def test_other_names_of_a_hard_linked_file_stay_as_they_were(api: Path) -> None:
    other = api.parent.parent / "cache"
    other.mkdir()
    os.link(api, other / "api.py")
    old = (other / "api.py").stat()
    commit(api)
    new = (other / "api.py").stat()
    assert (other / "api.py").read_bytes() == BEFORE
    assert (new.st_ino, new.st_mtime_ns, new.st_mode, new.st_nlink) == (old.st_ino, old.st_mtime_ns, old.st_mode, 1)
    assert (api.read_bytes(), api.stat().st_nlink) == (AFTER, 1)


@pytest.mark.parametrize("relative", [False, True])
def test_a_link_becomes_a_private_file_and_the_cache_behind_it_is_not_touched(
    api: Path,
    relative: bool,  # noqa: FBT001
) -> None:
    cache = api.parent.parent / "cache"
    cache.mkdir()
    shutil.move(api, cache / "stored")
    api.symlink_to("../cache/stored" if relative else cache / "stored")
    (cache / "stored").chmod(0o640)
    before = snapshot.take(cache)
    commit(api)
    assert snapshot.take(cache) == before
    found = api.lstat()
    assert stat.S_ISREG(found.st_mode)
    assert (stat.S_IMODE(found.st_mode), found.st_nlink, api.read_bytes()) == (0o640, 1, AFTER)


@needs_root
@pytest.mark.parametrize("user", [0, USER])
def test_a_link_to_a_file_of_somebody_elses_is_followed_by_that_user_and_never_by_root(api: Path, user: int) -> None:
    cache = api.parent.parent / "cache"
    cache.mkdir()
    shutil.move(api, cache / "stored")
    api.symlink_to(cache / "stored")
    give(api.parent)
    if user:
        sandbox.child(lambda: commit(api), user=USER)
        assert (api.lstat().st_uid, api.lstat().st_gid, api.read_bytes()) == (USER, GROUP, AFTER)
    else:
        assert _commit.commit([change(api)], backup=False) is None, "not what was planned for: it is not read at all"
        assert api.is_symlink()
    assert (cache / "stored").read_bytes() == BEFORE


def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_directory_after(
    api: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a disk really has it can't be seen from here: the calls and their order are what is tested."""
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        complete = stat.S_ISDIR(found.st_mode) or found.st_size == len(AFTER)
        events.append("directory" if stat.S_ISDIR(found.st_mode) else "file" if complete else "incomplete file")
        fsync(descriptor)

    monkeypatch.setattr(_commit.os, "fsync", note_fsync)
    monkeypatch.setattr(
        _commit.os, "rename", lambda *names, **where: (events.append("rename"), rename(*names, **where))
    )
    commit(api)
    assert events == ["file", "rename", "directory"]


def test_readers_never_see_a_torn_file(api: Path) -> None:
    texts = {BEFORE, AFTER * 500}
    torn: list[bytes] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            text = api.read_bytes()
            if text not in texts:
                torn.append(text)

    readers = [threading.Thread(target=read) for _reader in range(3)]
    for reader in readers:
        reader.start()
    for _round in range(60):
        commit(api, after=AFTER * 500)
        commit(api, after=BEFORE)
    stop.set()
    for reader in readers:
        reader.join()
    assert not torn, f"{len(torn)} torn reads, one of {len(torn[0])} bytes"


# -- what belongs to a file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o644, 0o444, 0o600, 0o664, 0o755, 0o2755, 0o4755])
def test_mode_is_kept_whatever_the_umask_but_for_setuid_and_setgid(api: Path, mode: int) -> None:
    api.chmod(mode)
    umask = os.umask(0o077)
    try:
        commit(api)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(api.stat().st_mode) == mode & 0o777


@needs_root
def test_owner_and_group_are_kept(api: Path) -> None:
    os.chown(api, USER, GROUP)
    api.chmod(0o755)
    commit(api)
    found = api.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (USER, GROUP, 0o755)


def test_extended_attributes_are_kept(api: Path) -> None:
    names = ["user.origin", "user.empty", *(["trusted.note"] if os.geteuid() == 0 else [])]
    try:
        for name in names:
            os.setxattr(api, name, b"" if name == "user.empty" else name.encode() + b"\0\xff")
    except OSError as error:
        pytest.skip(f"no extended attributes on the file system of {api}: {error}")
    before = {name: os.getxattr(api, name) for name in os.listxattr(api)}
    commit(api)
    assert {name: os.getxattr(api, name) for name in os.listxattr(api)} == before
    assert set(names) <= set(before)


def setfacl(*arguments: str | Path) -> None:
    program = shutil.which("setfacl")
    if not program:
        pytest.skip("no setfacl here: apt-get install acl")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no ACLs on this file system: {done.stderr}")


def test_an_acl_is_kept(api: Path) -> None:
    setfacl("-m", f"u:{USER}:rw,g:{GROUP}:r,m::rw", api)
    acl, mode = os.getxattr(api, "system.posix_acl_access"), api.stat().st_mode
    commit(api)
    assert os.getxattr(api, "system.posix_acl_access") == acl
    assert api.stat().st_mode == mode


def test_an_acl_that_the_directory_would_give_is_not_added(api: Path) -> None:
    setfacl("-d", "-m", f"u:{USER}:rwx,g::rwx,m::rwx", api.parent)
    mode = api.stat().st_mode
    (api.parent / "fresh").touch()
    assert "system.posix_acl_access" in os.listxattr(api.parent / "fresh"), "the directory does hand it on"
    commit(api)
    assert "system.posix_acl_access" not in os.listxattr(api)
    assert api.stat().st_mode == mode


def test_another_acl_than_the_directorys_is_kept(api: Path) -> None:
    setfacl("-m", f"u:{USER}:r", api)
    setfacl("-d", "-m", f"g:{GROUP}:rwx", api.parent)
    acl = os.getxattr(api, "system.posix_acl_access")
    commit(api)
    assert os.getxattr(api, "system.posix_acl_access") == acl


def test_an_selinux_context_is_kept(api: Path) -> None:
    if not Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("no SELinux on this machine")
    before = os.getxattr(api, "security.selinux")
    commit(api)
    assert os.getxattr(api, "security.selinux") == before


def test_a_label_that_the_security_module_gave_is_replaced_by_the_files_own(
    api: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for SELinux, which test machines mostly lack: labels held in a table, one for each new file."""
    labels: dict[int, bytes] = {api.stat().st_ino: b"system_u:object_r:lib_t:s0\0"}
    written: list[tuple[str, bytes]] = []

    def label(descriptor: int, _name: str) -> bytes:
        return labels.get(os.fstat(descriptor).st_ino, b"unconfined_u:tmp_t\0")

    monkeypatch.setattr(_commit.os, "listxattr", lambda _file: ["security.selinux"])
    monkeypatch.setattr(_commit.os, "getxattr", label)
    monkeypatch.setattr(_commit.os, "setxattr", lambda _file, name, value: written.append((name, value)))
    commit(api)
    assert written == [("security.selinux", *labels.values())]


@needs_root
def test_a_user_who_is_not_the_owner_is_refused_before_anything_is_written(package: Path, api: Path) -> None:
    package.chmod(0o777)
    os.chown(api, 0, GROUP)
    before = snapshot.take(package)
    changes = [change(api)]
    expected = rf"{api}: expected a file of user {USER} \(api.py\), found owner 0:{GROUP}, which cannot be kept"
    with pytest.raises(CommitError, match=expected):
        sandbox.child(lambda: _commit.preflight(changes, backup=False), user=USER)
    assert snapshot.take(package) == before
    with pytest.raises(CommitError, match=rf"{api}: the new file cannot be made beside it: .*Operation not permitted"):
        sandbox.child(lambda: _commit.commit(changes, backup=True), user=USER)
    now = snapshot.take(package)
    assert {path: entry for path, entry in now.items() if path != str(package)} == {
        path: entry for path, entry in before.items() if path != str(package)
    }, "only the directory's own times may differ, for a temporary file that came and went"


@needs_root
def test_a_user_who_owns_everything_needs_no_root(package: Path, api: Path) -> None:
    api.chmod(0o444)
    compile_as(api)
    give(package)
    sandbox.child(lambda: commit(api), user=USER)
    found = api.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (USER, GROUP, 0o444)
    assert {path.stat().st_uid for path in (package / "__pycache__").iterdir()} == {USER}
    assert imported(package.parent) == ("after, and longer", str(cached(api)))


@needs_root
def test_a_group_that_the_directory_hands_on_can_be_kept_by_who_is_not_in_it(package: Path, api: Path) -> None:
    give(package, group=GROUP + 1)
    package.chmod(0o2755)
    sandbox.child(lambda: commit(api), user=USER)
    assert (api.stat().st_uid, api.stat().st_gid, api.read_bytes()) == (USER, GROUP + 1, AFTER)


@needs_root
def test_a_group_that_the_user_is_not_in_is_refused(package: Path, api: Path) -> None:
    give(package)
    os.chown(api, USER, GROUP + 1)
    changes = [change(api)]
    expected = (
        rf"^{api}: expected a file of a group that user {USER} is in, found group {GROUP + 1}, which could not be "
        r"kept: change its group \(chgrp\)$"
    )
    with pytest.raises(CommitError, match=expected):
        sandbox.child(lambda: _commit.preflight(changes, backup=False), user=USER)
    sandbox.child(lambda: _commit.preflight(changes, backup=False), user=USER, groups=[GROUP + 1])


@pytest.mark.parametrize("call", ["fchown", "fchmod"])
def test_where_owner_or_mode_silently_is_not_kept_nothing_is_replaced(
    api: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """As with an NFS server that squashes root: a call that reports success and does nothing stands in for it."""
    if os.geteuid() == 0:
        os.chown(api, USER, GROUP)
    elif call == "fchown":
        pytest.skip("giving a file away needs root")
    before = snapshot.take(api)
    names = set(os.listdir(api.parent))
    monkeypatch.setattr(_commit.os, call, lambda *_arguments: None)
    with pytest.raises(CommitError, match=rf"^{api}: cannot keep owner and mode: expected .*, found "):
        commit(api)
    assert snapshot.take(api) == before
    assert set(os.listdir(api.parent)) == names


# -- bytecode --------------------------------------------------------------------------------------------------------


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
    strangers = [f"api2.{TAG}.pyc", f"ap.{TAG}.pyc", "api.py", f"api.{TAG}.pyc.140234", f"API.{TAG}.pyc", "note"]
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


def only_bytecode(path: Path) -> importlib.machinery.SourceFileLoader:
    """Return the loader that imports use, but for one thing: it does not compile."""

    class OnlyBytecode(importlib.machinery.SourceFileLoader):
        def source_to_code(self, *_arguments: Any, **_options: Any) -> Any:
            raise AssertionError("it was compiled")

    return OnlyBytecode(path.stem, str(path))


@needs_root
def test_who_cannot_write_there_still_imports_without_compiling(api: Path) -> None:
    compile_as(api)
    umask = os.umask(0o077)
    try:
        commit(api)
    finally:
        os.umask(umask)

    def load() -> str:
        names: dict[str, Any] = {}
        code = only_bytecode(api).get_code("api")
        assert code is not None
        exec(code, names)  # noqa: S102 (the module of this test)
        return str(names["which"]())

    assert sandbox.child(load, user=USER) == "after, and longer"
    cached(api).unlink()
    with pytest.raises(AssertionError, match="it was compiled"):
        sandbox.child(load, user=USER)


@needs_root
def test_who_cannot_write_to_site_packages_imports_the_patched_transformers_from_bytecode(
    tree: Callable[[str], Path],
) -> None:
    """Patched by root in a site-packages of root's, whose bytecode an installer compiled for all."""
    with tempfile.TemporaryDirectory(prefix="primus-commit-") as top:
        site = Path(shutil.move(tree("4.57.6"), Path(top) / "site"))
        Path(top).chmod(0o755)
        give(site, 0, 0)
        file = site / "transformers" / "modeling_utils.py"
        compile_as(file)
        request = {
            "operation": "patch",
            "name": ["transformers_modeling_utils"],
            "path": str(site),
            "catalogue": list(CATALOGUE),
        }
        assert _engine.run(request)["changed"]

        def load() -> tuple[str, ...]:
            assert not os.access(site / "transformers" / "__pycache__", os.W_OK)
            code = only_bytecode(file).get_code(file.stem)
            assert code is not None
            return code.co_names

        before = snapshot.take(site)
        assert {"prune_layer", "Conv1D"} <= set(sandbox.child(load, user=USER))
        assert snapshot.take(site) == before
        cached(file).unlink()
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


# -- all or none -----------------------------------------------------------------------------------------------------


def several(package: Path, count: int = 3) -> list[Path]:
    paths = [package / f"module{number}.py" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(BEFORE.replace(b"before", b"before%d" % number))
        path.chmod(0o640)
    return paths


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_a_failure_at_any_rename_puts_the_others_back(
    package: Path, monkeypatch: pytest.MonkeyPatch, mode: str, number: int
) -> None:
    """The rename of the n-th file fails, as the disk of one directory may."""
    paths = several(package)
    for path in paths:
        compile_as(path, mode)
        (package / "__pycache__" / f"{path.stem}.cpython-27.pyc").write_bytes(b"of another one")
    texts = {path: path.read_bytes() for path in paths}
    names = sorted(str(path) for path in package.rglob("*"))
    changes = [change(path, AFTER) for path in paths]
    seen = fails_at(monkeypatch, "rename", number)
    expected = f"^{re.escape(str(paths[number - 1]))}: Input/output error; nothing was changed$"
    with pytest.raises(CommitError, match=expected):
        _commit.commit(changes, backup=False)
    assert seen[:number] == [path.name for path in paths[:number]]
    assert sorted(str(path) for path in package.rglob("*")) == names, "no file more, no file less"
    for which, (path, text) in enumerate(texts.items()):
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (text, 0o640)
        code = f"import sys; sys.path.insert(0, {str(package.parent)!r}); import thing.{path.stem} as m; print(m.WHICH)"
        for level in LEVELS:
            flags = ["-B", "-v", *(["-" + "O" * level] if level else [])]
            done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
            assert done.stdout.strip() == f"before{which}"
            assert f"# code object from '{cached(path, level)}'" in done.stderr, "valid as it was before"
        assert (package / "__pycache__" / f"{path.stem}.cpython-27.pyc").read_bytes() == b"of another one"


@pytest.mark.parametrize("call", ["unlink", "fsync"])
def test_a_failure_of_another_step_changes_nothing_either(
    package: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Removing bytecode, or the disk when it is to keep a new file, fails once."""
    paths = several(package)
    compile_as(paths[1], "unchecked-hash")
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    changes = [change(path, AFTER) for path in paths]
    fails_at(monkeypatch, call, 2, errno.ENOSPC)
    with pytest.raises(CommitError, match=r"nothing was changed$"):
        _commit.commit(changes, backup=False)
    assert {path: path.read_bytes() for path in package.rglob("*") if path.is_file()} == before


def test_an_interrupt_puts_back_and_goes_on(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = several(package)
    texts = [path.read_bytes() for path in paths]
    names = sorted(os.listdir(package))

    def interrupt(_directory: _files.Directory) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_files.Directory, "sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _commit.commit([change(path, AFTER) for path in paths], backup=True)
    assert [path.read_bytes() for path in paths] == texts
    assert sorted(os.listdir(package)) == names


def test_what_cannot_be_put_back_is_named_and_the_rest_is_put_back(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third rename fails, and then the one that is to put the second file back."""
    paths = several(package)
    texts = [path.read_bytes() for path in paths]
    rename, renamed = os.rename, []

    def call(source: str, target: str, **where: int) -> None:
        renamed.append(target)
        if len(renamed) >= 3 and target in (paths[1].name, paths[2].name):
            raise OSError(errno.EIO, os.strerror(errno.EIO), source, None, target)
        rename(source, target, **where)

    monkeypatch.setattr(_commit.os, "rename", call)
    with pytest.raises(CommitError) as caught:
        _commit.commit([change(path, AFTER) for path in paths], backup=False)
    assert str(caught.value).startswith(f"{paths[2]}: Input/output error; could not be put back: {paths[1]} (")
    assert [path.read_bytes() for path in paths] == [texts[0], AFTER, texts[2]]
    assert sorted(os.listdir(package)) == ["__init__.py", "api.py", *(path.name for path in paths)]


@needs_mounts
def test_a_file_that_is_a_mount_point_is_told_and_refused_by_the_kernel_and_nothing_changes(
    package: Path, api: Path
) -> None:
    """As where a container's runtime has bind-mounted that one file."""
    compile_as(api, "unchecked-hash")
    (package / "mounted.py").write_bytes(BEFORE)
    names = sorted(os.listdir(package))

    def run() -> tuple[list[str], bytes, list[str]]:
        changes = [change(api)]
        sandbox.mount(api, "--bind", str(package / "mounted.py"))
        told = [refused(step, changes, False) for step in (_commit.preflight, _commit.commit)]
        return told, api.read_bytes(), sorted(os.listdir(package))

    told, text, left = sandbox.child(run, mounts=True)
    assert told == [
        f"{api}: expected a replaceable file, found it mounted by itself (findmnt)",
        f"{api}: Device or resource busy; nothing was changed",
    ]
    assert (text, left) == (BEFORE, names)
    assert imported(package.parent) == ("before", str(cached(api)))


# -- backups ---------------------------------------------------------------------------------------------------------


def test_a_backup_is_a_copy_named_as_ansibles_with_everything_that_belongs_to_it(api: Path) -> None:
    api.chmod(0o640)
    os.utime(api, ns=(10**18, 10**18 + 5))
    if os.geteuid() == 0:
        os.chown(api, USER, GROUP)
    old = api.stat()
    kept = commit(api, backup=True)
    (copy,) = kept.values()
    assert list(kept) == [str(api)]
    assert re.fullmatch(re.escape(str(api)) + rf"\.{os.getpid()}\.\d{{4}}-\d\d-\d\d@\d\d:\d\d:\d\d~", copy)
    new = Path(copy).stat()
    assert Path(copy).read_bytes() == BEFORE
    assert (new.st_mode, new.st_uid, new.st_gid, new.st_mtime_ns) == (
        old.st_mode,
        old.st_uid,
        old.st_gid,
        old.st_mtime_ns,
    )


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_no_backup_is_left_of_a_commit_that_failed(package: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The n-th rename fails: two are of backups, two of files."""
    paths = several(package, 2)
    names = sorted(os.listdir(package))
    fails_at(monkeypatch, "rename", number)
    with pytest.raises(CommitError, match=r"nothing was changed$"):
        commit(*paths, backup=True)
    assert sorted(os.listdir(package)) == names


# -- who else is at it -----------------------------------------------------------------------------------------------


def test_a_file_that_is_not_the_planned_one_any_more_is_left_alone(package: Path) -> None:
    paths = several(package)
    changes = [change(path, AFTER) for path in paths]
    paths[2].write_bytes(b"# edited by somebody else\n")
    before = snapshot.take(package)
    assert _commit.commit(changes, backup=True) is None
    assert snapshot.take(package) == before
    paths[2].unlink()
    assert _commit.commit(changes, backup=True) is None


def test_a_file_that_changes_while_the_new_one_is_made_is_left_alone(
    package: Path, api: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: somebody else edits the file while ours is being written to it."""
    compile_as(api)
    changes, fsync = [change(api)], os.fsync

    def slow(descriptor: int) -> None:
        fsync(descriptor)
        api.write_bytes(b"# edited by somebody else\n")

    names = sorted(map(str, package.rglob("*")))
    monkeypatch.setattr(_commit.os, "fsync", slow)
    assert _commit.commit(changes, backup=True) is None
    assert api.read_bytes() == b"# edited by somebody else\n"
    assert sorted(map(str, package.rglob("*"))) == names


def test_a_lock_is_waited_for_and_nothing_of_it_is_left(package: Path, api: Path) -> None:
    with api.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        threading.Timer(0.3, fcntl.flock, [holder, fcntl.LOCK_UN]).start()
        start = time.monotonic()
        commit(api)
        assert 0.2 < time.monotonic() - start < 5
    assert sorted(os.listdir(package)) == ["__init__.py", "api.py"]
    with api.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_who_waited_for_a_file_that_was_replaced_meanwhile_locks_the_new_one(api: Path) -> None:
    (api.parent / "new").write_bytes(BEFORE)
    with api.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def replace() -> None:
            (api.parent / "new").rename(api)
            fcntl.flock(holder, fcntl.LOCK_UN)

        threading.Timer(0.2, replace).start()
        with (
            _files.open_directory(str(api.parent)) as directory,
            _locks.hold(directory, api.name, time.monotonic() + 10),
            api.open("rb") as other,
        ):
            assert os.fstat(other.fileno()).st_ino != os.fstat(holder.fileno()).st_ino
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_locks_that_others_hold_on_to_are_not_waited_for_for_ever(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = several(package)
    monkeypatch.setattr(_locks, "SECONDS", 0.4)
    holders = [path.open("rb") for path in paths]
    for holder in holders:
        fcntl.flock(holder, fcntl.LOCK_EX)
    start = time.monotonic()
    commit(*paths)
    assert 0.3 < time.monotonic() - start < 1, "one limit for all files together"
    assert [path.read_bytes() for path in paths] == [AFTER] * 3
    for holder in holders:
        holder.close()


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


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_written_all_the_same(
    api: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The call of flock answers as on such a file system (Lustre without -o flock, some FUSE ones)."""

    def flock(*_arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(_locks.fcntl, "flock", flock)
    descriptors = len(os.listdir("/proc/self/fd"))
    commit(api)
    assert api.read_bytes() == AFTER
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_where_a_lock_needs_a_descriptor_for_writing_it_gets_one(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call of flock answers as an NFS mount does, whose exclusive locks want an open for writing."""
    flock, got = fcntl.flock, []

    def nfs(descriptor: int, operation: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, operation)
        got.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(_locks.fcntl, "flock", nfs)
    old = api.stat().st_mtime_ns
    os.link(api, api.parent.parent / "other")
    commit(api)
    assert got[0] == str(api)
    assert (api.parent.parent / "other").stat().st_mtime_ns == old, "opened for writing, not written to"
    assert api.read_bytes() == AFTER


# -- what a killed run leaves ----------------------------------------------------------------------------------------


def leftovers(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob(".*") if path.suffix == ".primus-tmp")


def kill_at(step: Callable[[Callable[[], None]], None], api: Path, after: bytes = AFTER) -> None:
    """Let a child commit, and be killed where ``step`` has put the call that it is given."""
    changes = [change(api, after)]

    def run() -> None:
        step(lambda: os.kill(os.getpid(), signal.SIGKILL))
        _commit.commit(changes, backup=False)

    with pytest.raises(AssertionError, match="the child died"):
        sandbox.child(run)


def in_stage(kill: Callable[[], None]) -> None:
    _staging._copy_attributes = lambda *_arguments: kill()


def before_rename(kill: Callable[[], None]) -> None:
    _commit.os.rename = lambda *_arguments, **_keywords: kill()


def in_bytecode(kill: Callable[[], None]) -> None:
    rename = os.rename
    _commit.os.rename = lambda source, target, **where: (
        kill() if target.endswith(".pyc") else rename(source, target, **where)
    )


@pytest.mark.parametrize("step", [in_stage, before_rename, in_bytecode])
def test_the_next_commit_removes_what_a_killed_one_left(package: Path, api: Path, step: Callable[..., None]) -> None:
    compile_as(api, levels=(0,))
    kill_at(step, api)
    (left,) = leftovers(package)
    assert left.parent == (package / "__pycache__" if step is in_bytecode else package)
    commit(api, after=AFTER + b"# again\n")
    assert leftovers(package) == []
    assert imported(package.parent)[0] == "after, and longer"


def test_wherever_runs_are_killed_the_next_one_converges_and_nothing_is_left(package: Path, api: Path) -> None:
    """Killed at 40 moments, half a millisecond apart, of a child that does one commit after the other."""
    compile_as(api, levels=(0,))
    seen = set()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from module_utils import _commit; from module_utils._plan import "
        "Change, Place, Text\nplace, one, two = Place(*sys.argv[2:5]), *(text.encode() for text in sys.argv[5:])\n"
        "now = open(place.path, 'rb').read()\nprint(flush=True)\n"
        "while True:\n then = two if now == one else one\n"
        " assert _commit.commit([Change(place, Text(now), Text(then), None, None)], False) == {}\n now = then\n"
    )
    plugins = str(Path(_commit.__file__).parents[1])
    command = [sys.executable, "-B", "-c", code, plugins, *place(api), BEFORE.decode(), AFTER.decode()]
    for moment in range(40):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd="/") as process:
            assert process.stdout
            assert process.stdout.readline(), "it has begun"
            time.sleep(moment / 2000)
            process.kill()
        found = api.read_bytes()
        assert found in (BEFORE, AFTER)
        seen.update(path.parent.name for path in leftovers(package))
        compile_as(api, levels=(0,))
        start = time.monotonic()
        commit(api, after=BEFORE if found == AFTER else AFTER)
        assert time.monotonic() - start < 5, "no lock is left"
        assert leftovers(package) == []
    assert imported(package.parent) == (
        "before" if api.read_bytes() == BEFORE else "after, and longer",
        str(cached(api)),
    )
    assert seen, "some were killed between the new file and its rename"


def old(path: Path, seconds: float) -> Path:
    path.touch()
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_new_file_that_a_live_run_has_locked_is_left_alone(package: Path, api: Path) -> None:
    """As of a run that went on without the lock of the file, which was not to be had in time."""
    left = old(package / f".api.py.{_temporary.HOST}.abcdefgh.primus-tmp", 100)
    with left.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        commit(api)
        assert left.exists()
    commit(api, after=BEFORE)
    assert not left.exists()


def no_locks(*_arguments: Any) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize("locks", ["of another host", "none"])
def test_what_locks_cannot_tell_age_does(package: Path, api: Path, monkeypatch: pytest.MonkeyPatch, locks: str) -> None:
    host = _temporary.HOST
    if locks == "none":
        monkeypatch.setattr(_locks.fcntl, "flock", no_locks)
    else:
        host = "node_2"
    (package / "__pycache__").mkdir()
    names = [f".api.py.{host}.%s.primus-tmp", f"__pycache__/.api.py.{host}.%s.primus-tmp"]
    young = [old(package / (name % "abcdefgh"), 3500) for name in names]
    dead = [old(package / (name % "abcdefg_"), 3700) for name in names]
    commit(api)
    assert [path.exists() for path in young + dead] == [True, True, False, False]


def test_new_files_of_others_are_left_alone(package: Path, api: Path) -> None:
    (package / "__pycache__").mkdir()
    end = f"{_temporary.HOST}.abcdefgh.primus-tmp"
    names = (f".api.pyx.{end}", f".api2.py.{end}", f".__init__.py.{end}", f".api.{end}", f"api.py.{end}", ".api.py.x")
    files = [old(package / name, 9999) for name in (*names, f"__pycache__/.api2.py.{end}")]
    (package / f".api.py.{end}").symlink_to(package / "__init__.py")
    os.mkfifo(package / f".api.py.{_temporary.HOST}.fifo.primus-tmp")
    (package / f".api.py.{_temporary.HOST}.directory.primus-tmp").mkdir()
    before = sorted(package.rglob("*"))
    commit(api)
    assert sorted(package.rglob("*")) == before
    assert all(path.exists() for path in files)


def test_what_cannot_be_removed_is_no_failure(package: Path, api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = old(package / f".api.py.{_temporary.HOST}.abcdefgh.primus-tmp", 0)

    def unlink(path: str, **_where: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    monkeypatch.setattr(_commit.os, "unlink", unlink)
    commit(api)
    assert (api.read_bytes(), left.exists()) == (AFTER, True)


# -- told before anything is written ---------------------------------------------------------------------------------


def refused(run: Callable[..., Any], *arguments: Any) -> str:
    try:
        run(*arguments)
    except CommitError as error:
        return str(error)
    return "nothing was refused"


@needs_root
@pytest.mark.parametrize("which", ["directory", "directory of its bytecode"])
def test_a_directory_that_the_user_may_not_write(package: Path, api: Path, which: str) -> None:
    compile_as(api)
    give(package)
    closed = package if which == "directory" else package / "__pycache__"
    closed.chmod(0o555)
    before = snapshot.take(package)
    changes = [change(api)]
    expected = (
        f"{closed}: expected a writable {which}, found mode dr-xr-xr-x, owner {USER}, and this is user {USER}: "
        "run as its owner (become_user)"
    )
    assert sandbox.child(lambda: refused(_commit.preflight, changes, False), user=USER) == expected
    assert snapshot.take(package) == before
    assert "nothing was changed" in sandbox.child(lambda: refused(_commit.commit, changes, False), user=USER)
    assert (api.read_bytes(), imported(package.parent)) == (BEFORE, ("before", str(cached(api))))


@needs_mounts
def test_a_read_only_file_system(package: Path, api: Path) -> None:
    before = snapshot.take(package)
    changes = [change(api)]

    def run() -> list[str]:
        sandbox.read_only(package)
        return [refused(step, changes, False) for step in (_commit.preflight, _commit.commit)]

    told, failed = sandbox.child(run, mounts=True)
    assert told == f"{package}: expected a writable directory, found a read-only file system"
    assert "Read-only file system" in failed
    assert snapshot.take(package) == before


@needs_root
@pytest.mark.parametrize("flags", [sandbox.IMMUTABLE, sandbox.APPEND_ONLY])
@pytest.mark.parametrize("what", ["directory", "file", "bytecode", "directory of its bytecode"])
def test_the_immutable_flag(package: Path, api: Path, what: str, flags: int) -> None:
    compile_as(api, "unchecked-hash")
    where = {"directory": package, "file": api, "bytecode": cached(api, 1)}.get(what, package / "__pycache__")
    changes = [change(api)]
    contents = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    sandbox.flag(where, flags)
    try:
        told, failed = (refused(step, changes, False) for step in (_commit.preflight, _commit.commit))
    finally:
        sandbox.flag(where, 0)
    kind = "replaceable file" if where.suffix else f"writable {what}"
    assert told == f"{where}: expected a {kind}, found it immutable (lsattr, chattr)"
    assert "Operation not permitted" in failed
    assert all(path.read_bytes() == content for path, content in contents.items())


@needs_root
def test_a_link_to_an_immutable_file_can_be_replaced(package: Path, api: Path) -> None:
    stored = package.parent / "stored"
    shutil.move(api, stored)
    api.symlink_to(stored)
    sandbox.flag(stored, sandbox.IMMUTABLE)
    try:
        commit(api)
    finally:
        sandbox.flag(stored, 0)
    assert (api.read_bytes(), stored.read_bytes()) == (AFTER, BEFORE)


@needs_mounts
def test_a_full_disk(package: Path) -> None:
    """One file of two fits, as do both without their copies: all that is to be written is counted together."""

    def run() -> list[str]:
        sandbox.mount(package, "-t", "tmpfs", "-o", "size=64k", "tmpfs")
        paths = [package / "one.py", package / "two.py"]
        for path in paths:
            path.write_bytes(b"#" * 8192)
        changes = [change(path, b"#" * 12000) for path in paths]
        told = []
        for free in (24, 20, 36):
            used = os.statvfs(package)
            filler = used.f_bfree * used.f_frsize - free * 1024
            (package / "filler").write_bytes(b"-" * filler)
            told += [refused(_commit.preflight, changes, backup) for backup in (False, True)]
            (package / "filler").unlink()
        (package / "filler").write_bytes(b"-" * (used.f_bfree * used.f_frsize - 20 * 1024))
        told.append(refused(_commit.commit, changes, False))
        return [*told, repr(sorted(os.listdir(package))), repr({path.read_bytes()[:1] for path in paths})]

    wanted = f"{package}: expected room for %d bytes, found %d"
    *told, failed, names, texts = sandbox.child(run, mounts=True)
    assert told == [
        *("nothing was refused", wanted % (40960, 24576)),
        *(wanted % (24576, 20480), wanted % (40960, 20480)),
        *("nothing was refused", wanted % (40960, 36864)),
    ]
    assert "No space left on device" in failed
    assert "nothing was changed" in failed
    assert (names, texts) == ("['filler', 'one.py', 'two.py']", "{b'#'}")


@needs_mounts
def test_a_file_system_without_inodes_left_and_one_without_limits(package: Path) -> None:
    def run() -> list[str]:
        told = []
        for options in ("nr_inodes=2", "size=0,nr_inodes=0"):
            sandbox.mount(package, "-t", "tmpfs", "-o", options, "tmpfs")
            (package / "one.py").write_bytes(BEFORE)
            told.append(refused(commit, package / "one.py"))
        return told

    assert sandbox.child(run, mounts=True) == [
        f"{package}: expected 1 free inodes, found 0",
        "nothing was refused",
    ]


def test_a_refusal_before_the_write_leaves_no_trace(package: Path, api: Path) -> None:
    compile_as(api)
    (package / f".api.py.{_temporary.HOST}.abcdefgh.primus-tmp").touch()
    before = snapshot.take(package)
    _commit.preflight([change(api)], backup=True)
    assert snapshot.take(package) == before
