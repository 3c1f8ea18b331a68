# The store: its form, what is read of it, what a commit keeps there and in what order, and who may read that.
from __future__ import annotations

import json
import os
import re
import shutil
import time
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import sandbox, snapshot
from lab.sandbox import GROUP, USER, give, needs_mounts, needs_root
from lab.stores import (
    AFTER,
    BEFORE,
    FACT,
    LISTED,
    api,
    change,
    commit,
    facts,
    install,
    leftovers,
    mode,
    originals,
    plant,
    store,
)
from module_utils import _commit, _files, _keeping, _locks, _store
from module_utils._edits import Text
from module_utils._errors import CommitError, Conflict, SitePatchError
from module_utils._store import Damaged, Fact, Listed, Store
from module_utils._trust import Trust


@pytest.fixture
def site(public: Path) -> Path:
    return install(public / "site")


# --- form


HASHES = st.binary(max_size=8).map(_store.sha) | st.just(_store.NOTHING)
LETTERS = st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff")
NAMES = st.text(LETTERS, min_size=1, max_size=300).filter(lambda name: name.strip("."))
PATHS = st.builds(
    lambda up, names: "../" * up + "/".join(names), st.integers(0, 3), st.lists(NAMES, min_size=1, max_size=4)
)


@given(
    st.builds(
        Fact,
        path=PATHS,
        original=HASHES,
        written=HASHES,
        dist=st.none() | st.tuples(st.text(), st.none() | st.text(), st.text(), st.none() | st.text()),
        proven=st.sampled_from(["pristine", "index", "foreign", "unknown"]),
        patches=st.lists(
            st.builds(Listed, after=st.tuples(st.text()), edits=st.just([{"delete": {}}]), files=st.tuples(PATHS)),
            max_size=3,
        ).map(tuple),
        directories=st.just(()),
        proof=st.sampled_from(["before", "after", "owed", "none"]),
    )
)
def test_a_fact_comes_back_as_it_was_from_ascii_alone(fact: Fact) -> None:
    text = _store.dump(fact)
    assert text.isascii()
    assert _store.parse(text) == fact
    assert _store.dump(_store.parse(text)) == text
    assert len(_store.fact_name(fact.path, fact.written)) <= 102, "no path is too long"


@given(st.binary(max_size=3000))
def test_an_original_comes_back_as_it_was_and_is_kept_in_the_same_bytes_each_time(data: bytes) -> None:
    packed = _store.pack(data)
    assert packed == _store.pack(data)
    assert packed[4:8] == bytes(4), "no date"
    assert _store.unpack(packed, _store.sha(data)) == data
    assert _store.unpack(packed, _store.sha(data + b"x")) is None
    assert _store.unpack(packed[:-1], _store.sha(data)) is None


def test_the_largest_file_that_is_read_can_be_kept() -> None:
    data = bytes(_files.MAX_BYTES)
    assert _store.unpack(_store.pack(data), _store.sha(data)) == data


def test_the_version_is_that_of_the_collection() -> None:
    galaxy = (Path(__file__).parents[3] / "galaxy.yml").read_text()
    assert f"\nversion: {_store.TOOL}\n" in galaxy


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "a//b",
        "a/../b",
        "./a",
        "a/.",
        "..",
        "../..",
        "../../../../etc/passwd",
        "a/",
        "a\0b",
        "../a/../b",
        "a\ud800",
    ],
)
def test_a_path_that_leads_elsewhere_is_none(path: str) -> None:
    assert not _store.is_below(path)
    for wrong in (FACT._replace(path=path), FACT._replace(patches=(LISTED._replace(files=(path,)),))):
        with pytest.raises(ValueError, match="expected a path below the root"):
            _store.parse(_store.dump(wrong))


@pytest.mark.parametrize("path", ["a", "a/b.py", "../../../bin/x", "..a/b..", "a b/c"])
def test_a_path_as_record_has_it_is_one(path: str) -> None:
    assert _store.is_below(path)


def test_directories_that_are_not_above_the_file_are_refused() -> None:
    for wrong in ("other", "acme/api.py", "acme/ap"):
        with pytest.raises(ValueError, match=r"expected (directories above the file|a path)"):
            _store.parse(_store.dump(FACT._replace(directories=(wrong,))))


# --- reading what anybody may have put there


def change_key(key: str, value: Any) -> bytes:
    return json.dumps({**json.loads(_store.dump(FACT)), key: value}).encode()


DAMAGED = {
    "empty": b"",
    "cut": _store.dump(FACT)[:200],
    "not UTF-8": b"\xff\xfe{",
    "no object": b"[]",
    "deep": b"[" * 100_000,
    "no schema": json.dumps(FACT._asdict()).encode(),
    "schema true": change_key("schema", True),
    "newer": change_key("schema", _store.SCHEMA + 1),
    "another path": _store.dump(FACT._replace(path="acme/other.py")),
    "other bytes": _store.dump(FACT._replace(written=_store.sha(b"other"))),
    "traversal": _store.dump(FACT._replace(path="../../../../../etc/passwd")),
    "half of a pair": change_key("path", "a\ud800"),
    "more keys": change_key("more", 1),
    "number": change_key("original_executable", 1),
    "no hash": change_key("original", "0" * 63),
    "dist": change_key("dist", ["acme"]),
    "dist without a name": change_key("dist", [None, "1", "x", None]),
    "proof": change_key("proof", "sure"),
    "proven": change_key("proven", ["pristine"]),
    "patch": change_key("patches", [{"name": "x"}]),
    "patches": change_key("patches", {}),
    "directories": change_key("directories", [1]),
    "large number": change_key("patches", []).replace(b"[]", b"1" * 10_000),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_fact_of_ours_is_told_with_its_hash_and_where_it_is(site: Path, name: str) -> None:
    path = plant(site, DAMAGED[name])
    (found,) = Store(str(site)).facts(FACT.path)
    assert isinstance(found, Damaged)
    assert (found.path, found.written) == (str(path), FACT.written)
    assert found.reason
    if name == "newer":
        assert found.reason == "a newer primus.patches wrote this: schema 2, this one knows 1"
    if name == "another path":
        assert found.reason == "it is about another file, acme/other.py"
    assert Store(str(site)).all() == [found]
    assert Store(str(site)).naming("limit") == []


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "too large"])
def test_what_is_no_plain_file_is_neither_waited_for_nor_followed(site: Path, kind: str) -> None:
    path = plant(site, b"")
    path.unlink()
    if kind == "link":
        (site / "elsewhere").write_bytes(_store.dump(FACT))
        path.symlink_to(site / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        with path.open("wb") as stream:
            stream.truncate(_files.MAX_BYTES + 1)
    (found,) = Store(str(site)).facts(FACT.path)
    assert isinstance(found, Damaged)
    assert "expected a regular file, found" in found.reason


def test_other_names_are_no_facts(site: Path) -> None:
    for name in ("README", ".x.json", _store.fact_name("a", "0" * 63), _store.fact_name("a", _store.sha(b"")) + "~"):
        plant(site, _store.dump(FACT), name)
    assert Store(str(site)).all() == []


def test_all_facts_of_one_call_are_bounded(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(site, _store.dump(FACT))
    monkeypatch.setattr(_store, "_MOST_BYTES", 100)
    with pytest.raises(OSError, match="expected at most 100 bytes of facts, found more"):
        Store(str(site)).all()
    monkeypatch.setattr(_store, "_MOST_NAMES", 0)
    with pytest.raises(OSError, match="expected at most 0 files, found more"):
        Store(str(site)).all()


def test_an_original_that_is_a_bomb_or_not_itself_is_none(site: Path) -> None:
    commit(api(site))
    (path,) = originals(site)
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    inner = b"".join(bomb.compress(bytes(1 << 20)) for _number in range(256)) + bomb.flush()
    for text in (inner, b"", path.read_bytes()[:-3], _store.pack(AFTER), b"no gzip"):
        path.write_bytes(text)
        assert Store(str(site)).original(FACT.original) is None
    path.unlink()
    assert Store(str(site)).original(FACT.original) is None
    os.mkfifo(path)
    assert Store(str(site)).original(FACT.original) is None
    assert Store(str(site)).original("../../acme/api.py") is None


def test_where_there_is_no_store_there_are_no_facts(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nothing"):
        assert Store(str(root)).facts(FACT.path) == []
        assert Store(str(root)).original(FACT.original) is None


@pytest.mark.parametrize("which", ["", "facts", "originals"])
def test_a_store_that_is_a_link_is_refused_and_nothing_is_written_through_it(site: Path, which: str) -> None:
    elsewhere = site.parent / "elsewhere"
    shutil.copytree(store(site), elsewhere) if store(site).exists() else elsewhere.mkdir()
    link = store(site) / which if which else store(site)
    if which:
        store(site).mkdir()
    link.symlink_to(elsewhere)
    before = snapshot.take(elsewhere, site / "acme")
    expected = f"^{re.escape(str(link))}: expected a directory, found a symbolic link: remove it, and see who made it"
    with pytest.raises(Conflict, match=expected):
        Store(str(site)).facts(FACT.path), Store(str(site)).original(FACT.original)
    with pytest.raises(CommitError, match=expected):
        _commit.preflight([api(site)], backup=False)
    with pytest.raises(CommitError, match=expected.replace("^", "")):
        _commit.commit([api(site)], backup=False)
    assert snapshot.take(elsewhere, site / "acme").keys() == before.keys()
    assert (site / "acme" / "api.py").read_bytes() == BEFORE


@needs_root
def test_a_store_of_somebody_else_is_refused(site: Path) -> None:
    store(site).mkdir()
    os.chown(store(site), USER, GROUP)
    expected = f"expected a directory of user 0, as {site} is, found one of user {USER}"
    for refused in (lambda: Store(str(site)).all(), lambda: _commit.preflight([api(site)], backup=False)):
        with pytest.raises(SitePatchError, match=re.escape(expected)):
            refused()


@needs_root
@pytest.mark.parametrize("which", ["", "facts"])
def test_a_store_that_others_may_write_is_refused_for_root_unless_that_is_trusted(site: Path, which: str) -> None:
    commit(api(site))
    (store(site) / which).chmod(0o777)
    with pytest.raises(SitePatchError, match=f"^{store(site) / which}: expected that only root may write there"):
        Store(str(site), Trust(by_root=True).guard()).all()
    assert len(Store(str(site), Trust(by_root=True, writers=True).guard()).all()) == 1


# --- what a commit keeps


def test_original_and_fact_are_on_the_disk_before_the_file_is_in_its_place(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a disk really has it can't be seen from here: the calls and their order are what is tested."""
    events: list[str] = []
    sizes: dict[int, int] = {}
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        events.append("sync " + (os.path.basename(path) if os.path.isdir(path) else os.path.basename(path)[1:4]))
        found = os.fstat(descriptor)
        sizes[found.st_ino] = found.st_size
        fsync(descriptor)

    def note_rename(source: str, target: str, **where: int) -> None:
        events.append("rename " + target[:3])
        found = os.stat(source, dir_fd=where["src_dir_fd"])
        assert sizes[found.st_ino] == found.st_size, "whole when it was synced"
        rename(source, target, **where)

    commit(change(site / "acme" / "old.py", Text(b"OLD = 1\n"), Text(b"OLD = 2\n")))
    events.clear()
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    commit(api(site))
    original, fact = FACT.original[:3], _store.path_hash(FACT.path)[:3]
    assert events == [
        "sync api",
        *(f"sync {original}", f"rename {original}", "sync originals"),
        *(f"sync {fact}", f"rename {fact}", "sync facts"),
        *("rename api", "sync acme"),
    ]


def test_what_is_kept_says_what_was_there_and_what_was_written(site: Path) -> None:
    commit(api(site))
    (fact,) = Store(str(site)).facts(FACT.path)
    assert fact == api(site).fact
    assert Store(str(site)).original(FACT.original) == BEFORE
    assert Store(str(site)).naming("limit") == ["acme/api.py"]
    assert Store(str(site)).naming("other") == []
    assert (store(site) / ".gitignore").read_text() == "*\n"
    assert len((store(site) / "README").read_text().splitlines()) == 3


def test_a_fact_that_is_there_already_is_left_alone_and_one_that_says_less_is_not(site: Path) -> None:
    commit(api(site))
    before = snapshot.take(*facts(site), *originals(site))
    (site / "acme" / "api.py").write_bytes(BEFORE)
    commit(api(site))
    assert snapshot.take(*facts(site), *originals(site)) == before
    _commit.record([(api(site).place, FACT._replace(proof="after"))])
    (fact,) = Store(str(site)).all()
    assert isinstance(fact, Fact)
    assert (fact.proof, fact.written) == ("after", FACT.written)
    assert originals(site), "recording a proof takes nothing away"


def test_where_nothing_of_ours_is_left_nothing_is_kept(site: Path) -> None:
    commit(api(site)._replace(fact=None, original=None))
    assert not store(site).exists()


def test_two_files_of_one_content_share_their_original_and_each_has_its_own_fact(site: Path) -> None:
    first, second = site / "acme" / "__init__.py", site / "acme" / "sub.py"
    second.write_bytes(b"")
    first.chmod(0o600)
    second.chmod(0o644)
    commit(change(first, Text(b""), Text(b"")._replace(data=b"x = 1\n")))
    assert [mode(path) for path in originals(site)] == [0o600]
    commit(change(second, Text(b""), Text(b"x = 1\n")))
    assert [mode(path) for path in originals(site)] == [0o644], "who may read the one may read these bytes"
    assert sorted(mode(path) for path in facts(site)) == [0o600, 0o644]
    assert len({fact.path for fact in Store(str(site)).all()}) == 2


@pytest.mark.parametrize("length", [120, 121, 200, 250])
def test_a_name_may_be_as_long_as_file_systems_allow(site: Path, length: int) -> None:
    path = site / "acme" / ("ä" * (length // 2) + "n" * (length % 2) + ".py")[: length - 3]
    path.write_bytes(BEFORE)
    commit(change(path, Text(BEFORE), Text(AFTER)))
    assert path.read_bytes() == AFTER
    assert Store(str(site)).original(FACT.original) == BEFORE
    assert leftovers(site) == []


def test_a_damaged_original_is_written_anew(site: Path) -> None:
    commit(api(site))
    originals(site)[0].write_bytes(b"cut")
    (site / "acme" / "api.py").write_bytes(BEFORE)
    commit(api(site))
    assert Store(str(site)).original(FACT.original) == BEFORE


# --- who may read it


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
@pytest.mark.parametrize(("root", "target"), [(0o755, 0o644), (0o700, 0o600), (0o755, 0o640), (0o775, 0o755)], ids=oct)
def test_modes_are_those_of_root_and_target_whatever_the_umask(site: Path, root: int, target: int, umask: int) -> None:
    site.chmod(root)
    (site / "acme" / "api.py").chmod(target)
    executable = bool(target & 0o100)
    with sandbox.umask(umask):
        commit(change(site / "acme" / "api.py", Text(BEFORE, executable), Text(AFTER, executable)))
    assert {mode(path) for path in (store(site), store(site) / "facts", store(site) / "originals")} == {root}
    assert {mode(path) for path in (*facts(site), *originals(site))} == {target & 0o666}
    assert {mode(store(site) / name) for name in ("README", ".gitignore")} == {root & 0o666}


@needs_root
def test_root_keeps_for_a_user_what_owner_and_others_can_read(site: Path) -> None:
    give(site)
    with sandbox.umask(0o077):
        commit(api(site))
    assert {path.stat().st_uid for path in store(site).rglob("*")} == {USER}
    assert {path.stat().st_gid for path in (*facts(site), *originals(site))} == {GROUP}

    def look() -> Any:
        return Store(str(site)).all(), Store(str(site)).original(FACT.original)

    assert sandbox.child(look, user=USER) == sandbox.child(look, user=USER + 7, group=GROUP + 7) == look()


@needs_root
def test_where_the_group_cannot_be_kept_the_store_is_not_wider(site: Path) -> None:
    """Of a group that the user who owns the root is not in; it may have the file, as the file is not replaced."""
    target = site / "acme" / "api.py"
    give(site)
    os.chown(target, USER, GROUP + 1)
    target.chmod(0o640)
    like = _like(target)
    kept = [_keeping.Kept(FACT, BEFORE, like)]

    def keep() -> None:
        with ExitStack() as stack:
            locks = _locks.Locks(stack, time.monotonic())
            _keeping.keep(str(site), kept, _commit.KERNEL, stack, locks)

    sandbox.child(keep, user=USER)
    assert {mode(path) for path in (*facts(site), *originals(site))} == {0o600}


def _like(target: Path) -> _keeping.Like:
    with _files.open_directory(str(target.parent)) as directory:
        return _keeping.like(directory, target.name)


@needs_root
@pytest.mark.parametrize("closed", ["site", "store", "facts", "originals"])
def test_where_the_store_cannot_be_written_nothing_is(site: Path, closed: str) -> None:
    if closed != "site":
        (store(site) / "facts").mkdir(parents=True)
        (store(site) / "originals").mkdir()
    give(site)
    where = {"site": site, "store": store(site)}.get(closed, store(site) / closed)
    where.chmod(0o555)
    before = snapshot.take(site)

    def refused() -> str:
        with pytest.raises(CommitError) as caught:
            _commit.preflight([api(site)], backup=False)
        return str(caught.value)

    what = "directory for the store of originals" if closed == "site" else "store of originals"
    told = sandbox.child(refused, user=USER)
    assert told.startswith(f"{where}: expected a writable {what}, found mode dr-xr-xr-x, owner {USER}")
    assert snapshot.take(site) == before
    sandbox.child(lambda: _commit.preflight([api(site)._replace(fact=None, original=None)], backup=False), user=USER)


@needs_mounts
def test_room_for_what_is_kept_is_counted(site: Path) -> None:
    def run() -> list[str]:
        sandbox.mount(site, "-t", "tmpfs", "-o", "size=80k", "tmpfs")
        install(site)
        told = []
        for free in (16, 60):
            used = os.statvfs(site)
            (site / "filler").write_bytes(b"-" * (used.f_bfree * used.f_frsize - free * 1024))
            try:
                _commit.preflight([api(site)], backup=False)
                told.append("")
            except CommitError as error:
                told.append(str(error))
            (site / "filler").unlink()
        return told

    refused, accepted = sandbox.child(run, mounts=True)
    assert "expected room for 32768 bytes, found 16384" in refused
    assert accepted == ""


def test_a_fact_that_could_not_be_read_again_is_not_written(site: Path) -> None:
    huge = LISTED._replace(edits=[{"write": {"content": "x" * _files.MAX_BYTES}}])
    wide = api(site)._replace(fact=FACT._replace(patches=(huge,)))
    with pytest.raises(CommitError, match=f"expected edits of at most {_files.MAX_BYTES} bytes, found"):
        _commit.preflight([wide], backup=False)
