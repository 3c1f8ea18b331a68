# Commits: what of a file is kept, and what is put back where not all can be done. On real files; where a failure
# can only be staged (a rename, fsync or chown that fails), the test replaces that one call of os and says so.
from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from lab import sandbox, snapshot
from lab.commits import AFTER, BEFORE, LEVELS, MODES, cached, change, commit, compile_as, fails_at, imported, several
from lab.sandbox import GROUP, USER, give, needs_mounts, needs_root
from module_utils import _commit, _files
from module_utils._errors import CommitError

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
@pytest.mark.parametrize("user", [0, USER], ids=["root", "user"])
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


@pytest.mark.parametrize("mode", [0o644, 0o444, 0o600, 0o664, 0o755, 0o2755, 0o4755], ids=oct)
def test_mode_is_kept_whatever_the_umask_but_for_setuid_and_setgid(api: Path, mode: int) -> None:
    api.chmod(mode)
    with sandbox.umask(0o077):
        commit(api)
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


def acl(path: Path) -> bytes | None:
    name = "system.posix_acl_access"
    return os.getxattr(path, name) if name in os.listxattr(path) else None


OWN, HANDED_ON = ("-m", f"u:{USER}:r,m::rw"), ("-d", "-m", f"g:{GROUP}:rwx,m::rwx")


@pytest.mark.parametrize(
    ("of_file", "of_directory"),
    [(OWN, None), (None, HANDED_ON), (OWN, HANDED_ON)],
    ids=["its own", "the directory's", "both"],
)
def test_the_files_own_acl_is_kept_and_the_one_that_its_directory_hands_on_is_not_added(
    api: Path, of_file: tuple[str, str] | None, of_directory: tuple[str, str, str] | None
) -> None:
    if of_file:
        setfacl(*of_file, api)
    if of_directory:
        setfacl(*of_directory, api.parent)
        (api.parent / "fresh").touch()
        assert acl(api.parent / "fresh"), "the directory does hand it on"
    before = acl(api), api.stat().st_mode
    assert bool(before[0]) == bool(of_file)
    commit(api)
    assert (acl(api), api.stat().st_mode) == before


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


# -- all or none -----------------------------------------------------------------------------------------------------


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
def test_a_file_that_is_a_mount_point_is_refused_by_the_kernel_and_nothing_changes(package: Path, api: Path) -> None:
    """As where a container's runtime has bind-mounted that one file."""
    compile_as(api, "unchecked-hash")
    (package / "mounted.py").write_bytes(BEFORE)
    names = sorted(os.listdir(package))

    def run() -> tuple[str, bytes, list[str]]:
        changes = [change(api)]
        sandbox.mount(api, "--bind", str(package / "mounted.py"))
        with pytest.raises(CommitError) as caught:  # (where it was mounted since it was looked at)
            _commit.commit(changes, backup=False)
        return str(caught.value), api.read_bytes(), sorted(os.listdir(package))

    told = f"{api}: Device or resource busy; nothing was changed"
    assert sandbox.child(run, mounts=True) == (told, BEFORE, names)
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
