# Diffs as real tools write them, of one or several files: what is read, and what is no diff.
from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits, _patch, _unified
from ansible_collections.primus.patches.plugins.module_utils._edits import ABSENT, Text
from hypothesis import assume, given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

TARGET = _edits.Target("pkg", "p", 1, lambda _module: None, lambda _file: ABSENT)
END = "\\ No newline at end of file\n"


def load(diff: str, file: str | None = "f") -> Any:
    (edit,) = _unified.load(diff, None, file)
    return edit


# --- which files a diff is of

CHANGE = "@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.parametrize(
    ("diff", "package", "files"),
    [
        (f"--- a/f.py\n+++ b/f.py\n{CHANGE}", None, ["f.py"]),
        (f"--- f.py.orig\t2020-01-01 00:00:00\n+++ f.py\t2021-01-01 00:00:00.0 +0200\n{CHANGE}", None, ["f.py"]),
        (f"--- ./src/acme/sub/f.py\n+++ ./src/acme/sub/f.py\n{CHANGE}", "acme", ["sub/f.py"]),
        (f"--- a/src/name/space/f.py\n+++ b/src/name/space/f.py\n{CHANGE}", "name.space", ["f.py"]),
        (f"--- a/acme/acme/f.py\n+++ b/acme/acme/f.py\n{CHANGE}", "acme", ["acme/f.py"]),
        (f"--- a/sub/f.py\n+++ b/sub/f.py\n{CHANGE}", "acme", ["sub/f.py"]),
        (f"--- a/acme\n+++ b/acme\n{CHANGE}", "acme", ["acme"]),
        (f"--- acme/f.py\n+++ acme/f.py\n{CHANGE}--- acme/g.py\n+++ acme/g.py\n{CHANGE}", "acme", ["f.py", "g.py"]),
        (f"diff --git i/f.py w/f.py\nindex 7898192..6178079 100644\n--- i/f.py\n+++ w/f.py\n{CHANGE}", None, ["f.py"]),
        (f'--- "a/\\303\\251\\t\\"x.py"\n+++ "b/\\303\\251\\t\\"x.py"\n{CHANGE}', None, ['é\t"x.py']),
        (f"diff --git a/a b.py b/a b.py\n--- a/a b.py\t\n+++ b/a b.py\t\n{CHANGE}", None, ["a b.py"]),
        ("diff --git a/a b.py b/a b.py\nnew file mode 100644\nindex 0000000..e69de29\n", None, ["a b.py"]),
        ("diff --git a/old/acme/x b/newer/acme/x\nold mode 100644\nnew mode 100755\n", "acme", ["x"]),
    ],
)
def test_the_files_are_those_that_the_headers_name(diff: str, package: str | None, files: list[str]) -> None:
    assert [edit.file for edit in _unified.load(diff, package)] == files


def test_with_a_file_given_the_names_in_the_headers_do_not_matter() -> None:
    assert load(f"--- a/x.py\n+++ b/y.py\n{CHANGE}") == load(CHANGE) == load(f"Subject: why\n\n--- x\n+++ x\n{CHANGE}")
    with pytest.raises(ValueError, match="a diff of 2 files: leave file out, then their names in the diff count"):
        load(f"--- a/x\n+++ b/x\n{CHANGE}--- a/y\n+++ b/y\n{CHANGE}")
    with pytest.raises(ValueError, match="line 1: a rename is of two files: leave file out"):
        load("diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n")


RENAME = "diff --git a/acme/x.py b/acme/y.py\nsimilarity index 90%\nrename from acme/x.py\nrename to acme/y.py\n"


@pytest.mark.parametrize(
    ("diff", "edits"),
    [
        ("--- /dev/null\n+++ b/acme/x.py\n@@ -0,0 +1 @@\n+a\n", {"x.py": (ABSENT, Text(b"a\n"))}),
        (
            "--- o/acme/x.py\t1970-01-01 01:00:00.0 +0100\n+++ n/acme/x.py\t2024-01-01 00:00:00\n@@ -0,0 +1 @@\n+a\n",
            {"x.py": (ABSENT, Text(b"a\n"))},
        ),
        (
            "diff --git a/acme/x b/acme/x\nnew file mode 100755\n--- /dev/null\n+++ b/acme/x\n@@ -0,0 +1 @@\n+a\n",
            {"x": (ABSENT, Text(b"a\n", executable=True))},
        ),
        ("diff --git a/acme/x b/acme/x\nnew file mode 100644\nindex 0..e69de29\n", {"x": (ABSENT, Text(b""))}),
        ("--- a/acme/x.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n", {"x.py": (Text(b"a\n"), ABSENT)}),
        ("diff --git a/acme/x b/acme/x\ndeleted file mode 100644\nindex e69de29..0\n", {"x": (Text(b""), ABSENT)}),
        (
            "diff --git a/acme/x b/acme/x\nold mode 100644\nnew mode 100755\n",
            {"x": (Text(b"a\n"), Text(b"a\n", executable=True))},
        ),
        (
            f"diff --git a/acme/x b/acme/x\nold mode 100755\nnew mode 100644\n--- a/acme/x\n+++ b/acme/x\n{CHANGE}",
            {"x": (Text(b"a\n", executable=True), Text(b"b\n"))},
        ),
        (RENAME, {"x.py": (Text(b"a\n", executable=True), ABSENT), "y.py": (ABSENT, Text(b"a\n", executable=True))}),
        (
            f"{RENAME}--- a/acme/x.py\n+++ b/acme/y.py\n{CHANGE}",
            {"x.py": (Text(b"a\n"), ABSENT), "y.py": (ABSENT, Text(b"b\n"))},
        ),
        (
            "diff --git a/x b/y\nrename from x\nrename to y\ndiff --git a/y b/x\nrename from y\nrename to x\n",
            {"x": (Text(b"1"), Text(b"2")), "y": (Text(b"2"), Text(b"1"))},
        ),
        (
            f"diff --git a/x b/y\ncopy from x\ncopy to y\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n{CHANGE}",
            {"y": (ABSENT, Text(b"a\n")), "x": (Text(b"a\n"), Text(b"b\n"))},
        ),
    ],
)
def test_files_come_go_move_and_change_their_mode(diff: str, edits: dict[str, tuple[Text, Text]]) -> None:
    before = {file: each[0] for file, each in edits.items()}
    assert patched(diff, "acme", before) == {file: each[1] for file, each in edits.items()}


def patched(diff: str, package: str | None, before: dict[str, Text]) -> dict[str, Text]:
    """Return all files with a diff applied, also after it went through a fact."""
    found = dict(before)
    target = TARGET._replace(other=lambda file: before.get(file, ABSENT))
    for edit in _unified.load(diff, package):
        (again,) = _patch.restored(edit.file, _patch.stored([edit]))
        assert again == edit
        found[edit.file] = again.do(found.get(edit.file, ABSENT), target)
    return found


# --- what is no diff


@pytest.mark.parametrize(
    ("diff", "error"),
    [
        ("", "expected a unified diff that changes something, found no hunk"),
        ("--- a\n+++ b\n", "line 3: expected '@@ -N,N +N,N @@', found the end: is it truncated?"),
        ("@@ -1 +1 @@\n x\n", "expected a unified diff that changes something, found no hunk"),
        ("@@ -1,2 +1,2 @@\n x\n-a\n", "line 4: expected more lines of a hunk, found the end: is it truncated?"),
        ("@@ -1,2 +1,2 @@\n x\n?a\n", "line 3: expected a line of a hunk, found '?a'"),
        ("@@ -1 +1,2 @@\n-x\n-a\n", "line 3: expected a line of a hunk, found '-a'"),
        (f"{CHANGE}rubbish\n", "line 4: expected '@@ -N,N +N,N @@', found 'rubbish'"),
        (f"{CHANGE} one more\n", "line 4: expected '@@ -N,N +N,N @@', found ' one more'"),
        (f"@@ -1 +1 @@\n{END}-a\n+b\n", "line 2: expected a line of a hunk before '\\ No newline', found none"),
        ("Binary files a/x and b/x differ\n", "line 1: f: a binary file cannot be patched"),
        ("diff --git a/x b/x\nGIT binary patch\nliteral 3\n", "line 1: f: a binary file cannot be patched"),
        (
            f"diff --git a/x b/x\nindex 1..2 160000\n{CHANGE}",
            "line 1: f: a submodule cannot be patched",
        ),
        ("diff --git a/x b/x\nnew file mode 120000\n", "line 1: f: a symbolic link cannot be patched"),
        ("diff --cc x\n", "line 1: the diff of a merge cannot be used: make one against one parent"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_the_line(diff: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (its whole text is compared)
        _unified.load(diff, None, "f")
    assert str(caught.value) == error


def test_a_copy_of_a_file_that_the_diff_leaves_alone_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"^y: copied from x, which stays as it is: make the diff without copies \(git "
    ):
        _unified.load("diff --git a/x b/y\nsimilarity index 100%\ncopy from x\ncopy to y\n")


def test_hunks_without_a_name_are_an_error_where_no_file_is_given() -> None:
    with pytest.raises(
        ValueError, match="line 1: expected the name of the file that the hunks are of, found none: giv"
    ):
        _unified.load(CHANGE)


def test_mails_with_patches_are_read() -> None:
    head = "From 1 Mon Sep 17\nSubject: x\n---\n f | 2 +-\n\ndiff --git a/f b/f\n--- a/f\n+++ b/f\n"
    mail = f"{head}{CHANGE}-- \n2.39.2\n\n"
    assert [edit.file for edit in _unified.load(mail + mail.replace("/f", "/g"))] == ["f", "g"]


# --- properties

BYTES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\r\n", b"a\r\n", b"\xe9\n", b"\n", b"x\ry\n", b"end"]), max_size=9)
FILE = st.one_of(st.none(), st.builds(b"".join, BYTES))


@given(old=FILE, new=FILE, context=st.integers(0, 3))
def test_whatever_git_writes_gives_the_new_file(
    tmp_path_factory: pytest.TempPathFactory, old: bytes | None, new: bytes | None, context: int
) -> None:
    # (An insertion without context takes the newline of the lines around it: nothing else tells which one is meant.)
    assume(context or b"\r" not in (old or b""))
    top = tmp_path_factory.mktemp("git")
    for name, data in (("old", old), ("new", new)):
        (top / name / "acme").mkdir(parents=True)
        if data is not None:
            (top / name / "acme" / "f").write_bytes(data)
    diff = git_diff(top, f"-U{context}")
    if old == new:
        assert not diff
        return
    assert patched(diff, "acme", {"f": Text(old)}) == {"f": Text(new)}


def git_diff(top: Path, *options: str) -> str:
    command = ["git", "diff", "--no-index", "--no-color", "--text", *options, "old", "new"]
    done = subprocess.run(command, cwd=top, capture_output=True, check=False)
    assert not done.stderr
    return done.stdout.decode("utf-8", "surrogateescape")
