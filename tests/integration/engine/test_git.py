# Git's index: what real repositories say of a file, and that nothing that is wrong with one is taken for a proof.
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import sandbox
from lab.sandbox import USER, needs_root
from module_utils import _files, _git, _git_objects

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGINAL, PATCHED = b"LIMIT = 10\n", b"LIMIT = 20\n"
VERSIONS = ("2", "3", "4")


def git(where: Path, *arguments: str) -> str:
    """Run git without anybody's settings and return what it prints."""
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "HOME": str(where),
        **{f"GIT_{who}_{what}": f"{what}@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    done = subprocess.run(["git", *arguments], cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(top: Path, *options: str) -> Path:
    """Make a repository with one commit: a package of 30 modules, of which ``acme/api.py`` is looked at."""
    top.mkdir(parents=True)
    git(top, "init", "-q", "-b", "main", *options)
    (top / "acme" / "inner").mkdir(parents=True)
    for number in range(30):
        (top / "acme" / "inner" / f"module_{number:02}.py").write_text(f"NUMBER = {number}\n")
    (top / "acme" / "api.py").write_bytes(ORIGINAL)
    (top / ".gitignore").write_text("build/\n")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "first")
    return top / "acme" / "api.py"


def known(path: Path) -> bool:
    """Whether the index vouches for the bytes that are there."""
    oid = _git.indexed(str(path))
    return oid is not None and _git.matches(path.read_bytes(), oid)


@pytest.fixture
def api(tmp_path: Path) -> Path:
    return repository(tmp_path / "checkout")


# --- what git says


def test_the_object_id_is_gits_own_for_each_file(api: Path) -> None:
    top = api.parents[1]
    (top / "acme" / ("long_" + "x" * 200)).mkdir()
    deep = top / "acme" / ("long_" + "x" * 200) / ("y" * 200) / ("z" * 200)
    deep.mkdir(parents=True)
    for name in ("a b.py", "é.py", ".hidden", "api.py.orig", "api"):
        (deep / name).write_text(name)
        (top / name).write_text(name)
    git(top, "add", "-A", "-f")
    for version in VERSIONS:
        git(top, "update-index", "--index-version", version)
        for line in git(top, "-c", "core.quotePath=false", "ls-files", "-s").splitlines():
            entry, name = line.split("\t")
            assert _git.indexed(str(top / name)) == entry.split()[1], (version, name)
            assert known(top / name)
        for name in ("acme", "acme/none.py", "aaa", "zzz", "acme/api.pyc"):
            assert _git.indexed(str(top / name)) is None


def test_a_repository_with_sha256_and_its_worktree(tmp_path: Path) -> None:
    try:
        api = repository(tmp_path / "checkout", "--object-format=sha256")
    except AssertionError as error:
        pytest.skip(f"this git knows no SHA-256: {error}")
    for version in VERSIONS:
        git(api.parents[1], "update-index", "--index-version", version)
        assert _git.indexed(str(api)) == git(api.parents[1], "hash-object", str(api))
        assert known(api)
    git(api.parents[1], "worktree", "add", "-q", str(tmp_path / "side"))
    assert known(tmp_path / "side" / "acme" / "api.py"), "its configuration is the repository's"
    api.write_bytes(PATCHED)
    assert not known(api)


def test_bytes_that_git_has_not_are_not_vouched_for_until_they_are_added(api: Path) -> None:
    api.write_bytes(PATCHED)
    assert not known(api)
    git(api.parents[1], "add", str(api))
    assert known(api)
    api.write_bytes(ORIGINAL)
    assert not known(api)


def test_clean_and_stash(api: Path) -> None:
    top = api.parents[1]
    new = api.with_name("new.py")
    for command in (["stash", "-a", "-q"], ["checkout", "-q", "--", "."], ["clean", "-xdfq"]):
        api.write_bytes(PATCHED)
        new.write_bytes(PATCHED)
        assert not known(api)
        assert _git.indexed(str(new)) is None
        git(top, *command)
        assert known(api) == (command[0] != "clean")
        assert new.exists() == (command[0] == "checkout")


def test_what_is_committed_checked_out_merged_and_removed_is_known_as_it_then_is(api: Path) -> None:
    top = api.parents[1]
    git(top, "checkout", "-q", "-b", "other")
    api.write_bytes(PATCHED)
    for arguments, text in (
        (["commit", "-q", "-a", "-m", "patched"], PATCHED),
        (["checkout", "-q", "main"], ORIGINAL),
        (["checkout", "-q", "other"], PATCHED),
        (["checkout", "-q", "main"], ORIGINAL),
        (["merge", "-q", "other"], PATCHED),
    ):
        git(top, *arguments)
        assert (known(api), api.read_bytes()) == (True, text), arguments
    git(top, "rm", "-q", str(api))
    assert _git.indexed(str(api)) is None


def test_a_merge_that_is_not_done_yet_vouches_for_nothing(api: Path) -> None:
    top = api.parents[1]
    for branch, text in (("other", PATCHED), ("main", b"LIMIT = 30\n")):
        git(top, "checkout", "-q", *(["-b"] if branch == "other" else []), branch)
        api.write_bytes(text)
        git(top, "commit", "-q", "-a", "-m", branch)
    with pytest.raises(AssertionError):
        git(top, "merge", "-q", "other")
    for version in VERSIONS:
        git(top, "update-index", "--index-version", version)
        assert _git.indexed(str(api)) is None
        assert known(api.parent / "inner" / "module_29.py")


def test_a_worktree_and_a_submodule_have_an_index_of_their_own(api: Path, tmp_path: Path) -> None:
    top = api.parents[1]
    git(top, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = tmp_path / "side" / "acme" / "api.py"
    side.write_bytes(PATCHED)
    git(tmp_path / "side", "add", "-A")
    assert known(side)
    assert known(api)
    api.write_bytes(PATCHED)
    assert not known(api)
    other = repository(tmp_path / "outer")
    git(other.parents[1], "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(top), "vendored")
    within = other.parents[1] / "vendored" / "acme" / "api.py"
    assert known(within)
    within.write_bytes(PATCHED)
    assert not known(within)
    assert _git.indexed(str(other.parents[1] / "vendored")) is None, "the submodule itself is no file"


def test_line_ends_that_a_checkout_has_changed(api: Path) -> None:
    top = api.parents[1]
    git(top, "config", "core.autocrlf", "true")
    api.unlink()
    git(top, "checkout", "--", str(api))
    assert api.read_bytes() == ORIGINAL.replace(b"\n", b"\r\n")
    assert known(api)
    api.write_bytes(PATCHED.replace(b"\n", b"\r\n"))
    assert not known(api)


def test_a_file_that_was_committed_with_cr_lf(api: Path) -> None:
    api.write_bytes(ORIGINAL.replace(b"\n", b"\r\n"))
    git(api.parents[1], "add", str(api))
    assert known(api)


def test_links_are_followed_to_the_file_that_git_knows(api: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "acme").symlink_to(api.parent)
    (tmp_path / "site" / "api.py").symlink_to(api)
    assert known(tmp_path / "site" / "acme" / "api.py")
    assert known(tmp_path / "site" / "api.py")
    link = api.with_name("link.py")
    link.symlink_to("gone.py")
    git(api.parents[1], "add", str(link))
    assert _git.indexed(str(link)) is None, "the object is the link's own text"


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree", "--split-index", "--chmod=+x"])
def test_entries_with_flags_are_read(api: Path, flag: str) -> None:
    split = flag == "--split-index"
    git(api.parents[1], "update-index", flag, *([] if split else [str(api)]))
    api.with_name("last.py").write_bytes(ORIGINAL)
    git(api.parents[1], "add", str(api.with_name("last.py")))
    assert known(api) == (not split), "what a split index shares is not looked for"
    assert known(api.with_name("last.py"))


def test_an_entry_without_content_is_no_proof(api: Path) -> None:
    empty = api.with_name("zero.py")
    empty.touch()
    git(api.parents[1], "add", "--intent-to-add", str(empty))
    assert _git.indexed(str(empty)) is None
    assert known(api)
    git(api.parents[1], "add", str(empty))
    assert known(empty)


def test_an_index_without_a_checksum(api: Path) -> None:
    index = api.parents[1] / ".git" / "index"
    index.write_bytes(index.read_bytes()[:-20] + bytes(20))  # as git writes it with index.skipHash, from 2.40 on
    git(api.parents[1], "-c", "index.skipHash=true", "status")
    assert known(api)


# --- what is no proof


def damage(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda top: (top / ".git" / "index").write_bytes(change((top / ".git" / "index").read_bytes()))


def replaced(make: Callable[[Path], object], *names: str) -> Callable[[Path], object]:
    def change(top: Path) -> None:
        path = top.joinpath(*names)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return change


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no repository": lambda top: shutil.rmtree(top / ".git"),
    "no index": lambda top: (top / ".git" / "index").unlink(),
    "empty": damage(lambda _text: b""),
    "cut": damage(lambda text: text[: len(text) // 2]),
    "one bit": damage(lambda text: text[:100] + bytes([text[100] ^ 1]) + text[101:]),
    "no checksum and cut": damage(lambda text: text[:120] + bytes(20)),
    "another version": damage(lambda text: text[:7] + b"\x09" + text[8:-20] + bytes(20)),
    "more entries than there are": damage(lambda text: text[:8] + b"\xff" * 4 + text[12:100] + bytes(20)),
    "another hash": lambda top: git(top, "config", "extensions.objectFormat", "blake3"),
    "the other hash": lambda top: git(top, "config", "extensions.objectFormat", "sha256"),
    "a pipe": replaced(os.mkfifo, ".git", "index"),
    "a directory": replaced(Path.mkdir, ".git", "index"),
    "a link to nothing": replaced(lambda path: path.symlink_to("gone"), ".git", "index"),
    "a file that leads nowhere": replaced(lambda path: path.write_text("gitdir: /nonexistent\n"), ".git"),
    "a file that leads to itself": replaced(lambda path: path.write_text("gitdir: .git\n"), ".git"),
    "a file that says something else": replaced(lambda path: path.write_text("hello\n"), ".git"),
    "a NUL in a path": replaced(lambda path: path.write_bytes(b"gitdir: a\0b\n"), ".git"),
    "a pipe instead of .git": replaced(os.mkfifo, ".git"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_or_odd_is_no_proof_and_no_error(api: Path, name: str) -> None:
    assert known(api)
    DAMAGES[name](api.parents[1])
    assert _git.indexed(str(api)) is None


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, bytes]]:
    """Return by version a file of a repository, and that one's index, which may be changed."""
    found = {}
    for version in VERSIONS:
        api = repository(tmp_path_factory.mktemp("index") / "checkout")
        git(api.parents[1], "update-index", "--index-version", version)
        found[version] = api, (api.parents[1] / ".git" / "index").read_bytes()
    return found


@settings(max_examples=300, deadline=None)
@given(data=st.data(), version=st.sampled_from(VERSIONS))
def test_no_index_that_was_changed_anywhere_is_taken_for_another_proof(
    data: st.DataObject, version: str, indexes: dict[str, tuple[Path, bytes]]
) -> None:
    """Without a checksum to catch it: what comes out is None or an object id."""
    api, whole = indexes[version]
    text = bytearray(whole)
    for _time in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 21))] = data.draw(st.integers(0, 255))
    (api.parents[1] / ".git" / "index").write_bytes(bytes(text[:-20]) + bytes(20))
    oid = _git.indexed(str(api))
    assert oid is None or len(oid) == 40


def test_what_is_too_large_is_not_read(api: Path) -> None:
    with (api.parents[1] / ".git" / "index").open("r+b") as index:
        index.truncate(65 << 20)
    assert _git.indexed(str(api)) is None


@needs_root
def test_a_repository_of_somebody_else_is_no_proof(api: Path) -> None:
    """As in /tmp, where anybody may make a .git above another user's tree."""
    top = api.parents[1]
    os.chown(top / ".git", USER, USER)
    assert _git.indexed(str(api)) is None
    os.chown(api.parent, USER, USER)
    assert known(api)
    os.chown(top / ".git", 0, 0)
    assert known(api), "root may vouch for everybody's"


@needs_root
def test_a_repository_that_this_user_may_not_read_is_no_proof(api: Path) -> None:
    top = api.parents[1]
    for path in api.parents[:4]:
        path.chmod(0o755)
    (top / ".git").chmod(0o700)
    assert known(api)
    assert sandbox.child(lambda: _git.indexed(str(api)), user=USER) is None


@needs_root
def test_root_follows_no_users_link_to_another_index(api: Path, tmp_path: Path) -> None:
    other = repository(tmp_path / "other")
    index = api.parents[1] / ".git" / "index"
    index.unlink()
    index.symlink_to(other.parents[1] / ".git" / "index")
    assert known(api), "its own link"
    os.chown(index, USER, USER, follow_symlinks=False)
    assert _git.indexed(str(api)) is None


@given(st.binary(max_size=200), st.sampled_from(["sha1", "sha256"]))
def test_a_file_matches_the_object_that_it_is_and_no_other(data: bytes, algorithm: str) -> None:
    oid = hashlib.new(algorithm, b"blob %d\0" % len(data) + data).hexdigest()
    assert _git.matches(data, oid)
    assert not _git.matches(data + b"x", oid)
    if b"\r" not in data:
        assert _git.matches(data.replace(b"\n", b"\r\n"), oid)


# --- what git keeps


def grown(top: Path, algorithm: str = "sha1") -> dict[str, bytes]:
    """Make a repository with many versions of a file, so that git keeps deltas of them; each by its object id."""
    api = repository(top, f"--object-format={algorithm}")
    found: dict[str, bytes] = {}
    lines = [f"LINE_{number} = {hashlib.sha256(b'%d' % number).hexdigest()!r}\n" for number in range(400)]
    for version in range(20):
        lines[version * 7 % 400] = f"VERSION = {version}\n"
        lines.insert(version * 11 % 400, f"# {version}\n")
        data = "".join(lines).encode()
        api.write_bytes(data)
        git(top, "commit", "-q", "-a", "-m", f"{version}")
        found[hashlib.new(algorithm, b"blob %d\0%s" % (len(data), data)).hexdigest()] = data
    return found


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, bytes]]]:
    """Return by algorithm such a repository, to be copied, and what is in it."""
    top = tmp_path_factory.mktemp("histories")
    return {algorithm: (top / algorithm, grown(top / algorithm, algorithm)) for algorithm in ("sha1", "sha256")}


def objects(top: Path, versions: dict[str, bytes]) -> list[bytes | None]:
    """Return what is read of each version, in their order."""
    checkout = _git.checkout(str(top))
    assert checkout
    return [_git_objects.read(checkout, oid) for oid in versions]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize(
    "packing",
    [
        ["gc", "-q", "--prune=now"],
        ["repack", "-q", "-a", "-d", "-f", "--depth=250", "--window=50"],
        ["-c", "repack.useDeltaBaseOffset=false", "repack", "-q", "-a", "-d", "-f"],
        ["-c", "pack.indexVersion=2", "repack", "-q", "-d"],
        ["repack", "-q", "-a", "-d", "-f", "--max-pack-size=1m"],
        ["repack", "-q", "-a", "-d", "--write-midx"],
    ],
    ids=["gc", "deep", "by name", "new ones alone", "several", "midx"],
)
def test_each_version_of_a_file_is_read_from_a_pack_as_git_has_it(
    histories: dict[str, tuple[Path, dict[str, bytes]]], tmp_path: Path, packing: list[str], algorithm: str
) -> None:
    history, versions = histories[algorithm]
    top = shutil.copytree(history, tmp_path / "checkout")
    assert objects(top, versions) == list(versions.values()), "loose"
    before = objects(top, {hashlib.new(algorithm, name).hexdigest(): b"" for name in (b"none", b"nothing")})
    git(top, *packing)
    loose = [path for path in (top / ".git" / "objects").glob("??/*") if path.parent.name + path.name in versions]
    assert not loose
    assert list((top / ".git" / "objects" / "pack").glob("*.pack"))
    assert objects(top, versions) == list(versions.values())
    assert objects(top, {hashlib.new(algorithm, name).hexdigest(): b"" for name in (b"none", b"nothing")}) == before


def test_a_commit_is_no_file_and_a_large_one_is_not_read(tmp_path: Path) -> None:
    top = tmp_path / "checkout"
    api = repository(top)
    api.write_bytes(b"x" * (_files.MAX_BYTES + 100))
    git(top, "commit", "-q", "-a", "-m", "large")
    ids = dict.fromkeys((git(top, "rev-parse", "HEAD"), git(top, "hash-object", str(api))), b"")
    for command in ([], ["gc", "-q", "--prune=now"]):
        if command:
            git(top, *command)
        assert objects(top, ids) == [None, None]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, histories: dict[str, tuple[Path, dict[str, bytes]]]) -> Path:
    top = Path(shutil.copytree(histories["sha1"][0], tmp_path_factory.mktemp("packed") / "checkout"))
    git(top, "gc", "-q", "--prune=now")
    return top


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_pack_that_was_changed_anywhere_gives_the_same_bytes_or_none(data: st.DataObject, packed: Path) -> None:
    name = "acme/api.py"
    checkout = _git.checkout(str(packed))
    assert checkout
    oid = checkout.files[name].oid
    path = data.draw(st.sampled_from(sorted((packed / ".git" / "objects" / "pack").glob("*.*[kx]"))))
    whole = path.read_bytes()
    changed = bytearray(whole)
    for _number in range(data.draw(st.integers(1, 4))):
        # (Mostly where something is decided: the table of an index, the heads of objects.)
        place = data.draw(st.integers(0, min(3000, len(whole) - 1)) | st.integers(0, len(whole) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    del changed[data.draw(st.just(len(whole)) | st.integers(0, len(whole))) :]
    path.chmod(0o644)
    try:
        path.write_bytes(changed)
        assert _git_objects.read(checkout, oid) in (None, (packed / name).read_bytes())
    finally:
        path.write_bytes(whole)
    assert _git_objects.read(checkout, oid) == (packed / name).read_bytes()
