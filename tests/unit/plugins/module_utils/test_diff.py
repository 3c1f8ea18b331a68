# The edit `diff`: diffs as real tools write them, zero fuzz, of one or several files.
from __future__ import annotations

import difflib
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits, _patch, _unified
from ansible_collections.primus.patches.plugins.module_utils._diff import Diff
from ansible_collections.primus.patches.plugins.module_utils._edits import ABSENT, Text
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict
from ansible_collections.primus.patches.plugins.module_utils._whole import Delete
from hypothesis import assume, given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

TARGET = _edits.Target("pkg", "p", 1, lambda _module: None, lambda _file: ABSENT)
OLD = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n"
NEW = OLD.replace("two\n", "2\n").replace("nine\n", "nine\nnine and a half\n")


def unified(old: str, new: str, context: int = 3) -> str:
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a/f", "b/f", n=context)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def load(diff: str, file: str | None = "f") -> Any:
    (edit,) = _unified.load(diff, None, file)
    return edit


def do(diff: str, text: bytes, file: str = "f") -> bytes | None:
    return load(diff, file).do(Text(text), TARGET).data


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("extra", ["", "# before\n" * 7])
def test_a_diff_matches_wherever_its_lines_stand_and_can_be_undone(newline: str, extra: str) -> None:
    old, new = ((extra + text).replace("\n", newline).encode() for text in (OLD, NEW))
    diff = unified(OLD, NEW)
    assert do(diff, old) == new
    assert load(diff).undo(Text(new), TARGET) == Text(old)
    assert load(diff).undo(Text(old), TARGET) is None


def test_lines_that_stand_in_several_places_are_meant_where_the_hunk_says() -> None:
    text = b"x\nsame\nx\nsame\n"
    assert do("@@ -3,2 +3,2 @@\n x\n-same\n+other\n", text) == b"x\nsame\nx\nother\n"
    with pytest.raises(Conflict, match="stand in several places, and none is the one that it names"):
        do("@@ -9,2 +9,2 @@\n x\n-same\n+other\n", text)


def test_a_hunk_stands_behind_the_one_before_it() -> None:
    diff = "@@ -1 +1,2 @@\n a\n+b\n@@ -2 +3 @@\n-b\n+c\n"
    assert do(diff, b"a\nb\n") == b"a\nb\nc\n"
    with pytest.raises(Conflict, match=r"hunk 2 \(line 2\)"):
        do(diff, b"b\na\n")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (OLD.replace("two", "TWO"), "hunk 1 (line 1): nearest at line 2: expected 'two', found 'TWO'"),
        (OLD.replace("ten\n", ""), "hunk 2 (line 7): nearest at line 6: expected 'seven', found 'six'"),
        (OLD.replace("seven\n", "seven \n"), "hunk 2 (line 7): nearest at line 7: expected 'seven', found 'seven '"),
        (OLD[:-1], "hunk 2 (line 7): nearest at line 10: expected 'ten' with LF, found 'ten' without a newline"),
        ("", "hunk 1 (line 1): nearest at line 1: expected 'one', found the end of the file"),
    ],
)
def test_a_hunk_that_does_not_match_exactly_is_a_conflict_that_shows_the_nearest_lines(text: str, error: str) -> None:
    with pytest.raises(Conflict) as caught:
        do(unified(OLD, NEW), text.encode())
    assert str(caught.value) == error


# --- without context


@pytest.mark.parametrize(
    ("diff", "text", "after"),
    [
        ("@@ -2,0 +3 @@\n+new\n", b"1\n2\n3\n", b"1\n2\nnew\n3\n"),
        ("@@ -0,0 +1 @@\n+new\n", b"1\r\n2\r\n", b"new\r\n1\r\n2\r\n"),
        ("@@ -3,0 +4 @@\n+new\n", b"1\n2\n3\n", b"1\n2\n3\nnew\n"),
        ("@@ -2 +1,0 @@\n-2\n", b"1\n2\n3\n", b"1\n3\n"),
        ("@@ -2 +1,0 @@\n-2\n", b"0\n1\n2\n3\n", b"0\n1\n3\n"),
        ("@@ -1 +1 @@\n-1\n+2\n", b"0\n1\n", b"0\n2\n"),
        ("@@ -1,2 +1,2 @@\n\n-1\n+2\n", b"\n1\n", b"\n2\n"),
    ],
)
def test_a_hunk_without_context_goes_where_it_says(diff: str, text: bytes, after: bytes) -> None:
    assert do(diff, text) == after


def test_a_hunk_without_context_behind_the_end_is_a_conflict() -> None:
    with pytest.raises(Conflict, match=r"hunk 1 \(line 4\): expected at least 4 lines and no change further down, fou"):
        do("@@ -4,0 +5 @@\n+new\n", b"1\n2\n3\n")
    with pytest.raises(Conflict, match="expected a newline before what the diff puts behind the last line, found none"):
        do("@@ -1,0 +2 @@\n+new\n", b"1")


# --- newlines

END = "\\ No newline at end of file\n"


@pytest.mark.parametrize(
    ("diff", "before", "after"),
    [
        (f"@@ -1,2 +1,2 @@\n one\n-two\n{END}+2\n{END}", b"one\ntwo", b"one\n2"),
        (f"@@ -1 +1 @@\n-one\n{END}+one\n", b"one", b"one\n"),
        (f"@@ -1 +1 @@\n-one\n+one\n{END}", b"one\n", b"one"),
        (f"@@ -1,2 +1,2 @@\n-one\n+1\n two\n{END}", b"one\r\ntwo", b"1\r\ntwo"),
        (f"@@ -1,2 +1 @@\n-one\n-two\n{END}+2\n{END}", b"one\ntwo", b"2"),
    ],
)
def test_a_last_line_may_have_no_newline_before_after_or_both(diff: str, before: bytes, after: bytes) -> None:
    assert do(diff, before) == after
    assert load(diff).undo(Text(after), TARGET) == Text(before)
    for other in (before + b"\n", before.rstrip(b"\n")):
        if other != before:
            with pytest.raises(Conflict):
                do(diff, other)


def test_a_diff_that_was_written_with_crlf_is_the_same_diff() -> None:
    diff = unified(OLD, NEW)
    assert load(diff.replace("\n", "\r\n")) == load(diff)


def test_a_diff_that_tells_crlf_from_lf_is_exact() -> None:
    diff = "@@ -1,2 +1,2 @@\n-one\r\n+one\n two\r\n"
    assert do(diff, b"one\r\ntwo\r\n") == b"one\ntwo\r\n"
    with pytest.raises(Conflict, match="nearest at line 1: expected 'one' with CRLF, found 'one' with LF"):
        do(diff, b"one\ntwo\r\n")


def test_lines_that_stay_keep_their_own_newlines() -> None:
    assert do("@@ -1,3 +1,4 @@\n a\n b\n+x\n c\n", b"a\nb\r\nc\n") == b"a\nb\r\nx\r\nc\n"


# --- encodings


@pytest.mark.parametrize(("cookie", "codec"), [("", "utf-8"), ("# coding: latin-1\n", "latin-1")])
def test_lines_are_matched_and_put_in_by_the_encoding_of_the_file(cookie: str, codec: str) -> None:
    old = cookie + "x = 'é'\n"
    new = cookie + "x = 'ü'\n"
    assert do(unified(old, new), old.encode(codec), "f.py") == new.encode(codec)
    raw = unified(old, new).encode(codec).decode("utf-8", "surrogateescape")  # as it is read from a patch file
    assert do(raw, old.encode(codec), "f.py") == new.encode(codec)


def test_what_the_encoding_cannot_say_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="the file is in iso-8859-1, which has no '€': write it in another way"):
        do("@@ -2 +2 @@\n-x\n+€\n", b"# coding: latin-1\nx\n", "f.py")


# --- what the file holds already


def test_a_hunk_that_matches_within_what_it_would_make_is_held() -> None:
    edit = load("@@ -3 +3,2 @@\n+        return True\n         raise ValueError(a)\n")
    assert edit.held(Text(b"x\n        return True\n        raise ValueError(a)\n")) == "line 3"
    assert edit.held(Text(b"x\n        return False\n        raise ValueError(a)\n")) is None
    bare = load("@@ -2,0 +3 @@\n+new\n")
    assert [bare.held(Text(text)) for text in (b"1\n2\nnew\n", b"1\nnew\n3\n", b"new\n2\n3\n")] == ["line 3"] * 2 + [
        None
    ]
    assert load(unified(OLD, NEW)).held(Text(OLD.encode())) is None
    assert load("@@ -1 +0,0 @@\n-a\n").held(Text(b"a\na\n")) is None


@pytest.mark.parametrize(
    ("diff", "text", "made"),
    [
        (unified(OLD, NEW), NEW, True),
        (unified(OLD, NEW), "more\n" + NEW, True),
        (unified(OLD, NEW), OLD, False),
        (unified(OLD, NEW), NEW + OLD, False),
        (unified(OLD, NEW), OLD.replace("two\n", "2\n"), False),
        ("@@ -1 +0,0 @@\n-a\n", "b\n", False),
        ("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+a\n", "a\n", True),
        ("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+a\n", "a\nb\n", False),
        ("--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n", "a\n", False),
        ("--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n", None, True),
    ],
)
def test_made_is_what_stands_there_as_whole_lines_and_not_what_is_looked_for(
    diff: str, text: str | None, *, made: bool
) -> None:
    assert load(diff).made(Text(None if text is None else text.encode())) is made


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
            "diff --git a/x b/y\ncopy from x\ncopy to y\n",
            {"x": (Text(b"1"), Text(b"1")), "y": (ABSENT, Text(b"1"))},
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


@pytest.mark.parametrize(
    ("edit", "text", "error"),
    [
        (Diff("x", creates=True), Text(b"a"), "expected no file, for the diff makes it; found one of 1 bytes"),
        (Diff("x", source="y"), ABSENT, "expected the file y, which the diff renames; found none"),
        (
            Diff("x", removes=True),
            Text(b"a"),
            "expected a file that is empty without the diff's lines, found 1 bytes more",
        ),
        (Diff("x", removes=True), ABSENT, "expected the file x, found none"),
        (Delete("x", moved=True), ABSENT, "expected a file to delete, found none"),
    ],
)
def test_a_file_that_is_there_or_not_otherwise_than_the_diff_has_it_is_a_conflict(
    edit: Diff | Delete, text: Text, error: str
) -> None:
    with pytest.raises(Conflict) as caught:
        edit.do(text, TARGET)
    assert str(caught.value) == error


def test_what_was_before_a_file_came_or_went_is_a_candidate() -> None:
    new = load("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+a\n")
    assert [new.undo(Text(text), TARGET) for text in (b"a\n", b"a\nb\n", b"b\n", None)] == [ABSENT, None, None, None]
    gone = load("--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n")
    assert [gone.undo(text, TARGET) for text in (ABSENT, Text(b"a\n"))] == [Text(b"a\n"), None]
    assert Diff("f", source="g").undo(Text(b"a"), TARGET) == ABSENT
    assert Diff("f", executable=True).undo(Text(b"a", executable=True), TARGET) == Text(b"a")


# --- what is no diff


@pytest.mark.parametrize(
    ("diff", "error"),
    [
        ("", "expected a unified diff that changes something, found no hunk"),
        ("--- a\n+++ b\n", "expected a unified diff that changes something, found no hunk"),
        ("@@ -1 +1 @@\n x\n", "expected a unified diff that changes something, found no hunk"),
        ("@@ -1,2 +1,2 @@\n x\n-a\n", "line 4: expected more lines of a hunk, found the end"),
        ("@@ -1,2 +1,2 @@\n x\n?a\n", "line 3: expected a line of a hunk, found '?a'"),
        ("@@ -1 +1,2 @@\n-x\n-a\n", "line 3: expected a line of a hunk, found '-a'"),
        (f"{CHANGE}rubbish\n", "line 4: expected '@@ -N,N +N,N @@', found 'rubbish'"),
        (f"{CHANGE} one more\n", "line 4: expected '@@ -N,N +N,N @@', found ' one more'"),
        (f"@@ -1 +1 @@\n{END}-a\n+b\n", "line 2: expected a line of a hunk before '\\ No newline', found none"),
        ("Binary files a/x and b/x differ\n", "line 1: f: a binary file cannot be patched"),
        ("diff --git a/x b/x\nGIT binary patch\nliteral 3\n", "line 1: f: a binary file cannot be patched"),
        (
            "diff --git a/x b/x\nindex 1..2 160000\n--- a/x\n+++ b/x\n" + CHANGE,
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

LINES = st.lists(st.sampled_from(["a", "b", "c", "d e", "", "é", "-- x", "++ x"]), max_size=12)
FINAL = st.sampled_from(["", "\n"])


def text_of(lines: list[str], end: str) -> str:
    return "\n".join(lines) + (end if lines else "")


@given(LINES, FINAL, LINES, FINAL, st.integers(0, 4))
def test_whatever_difflib_writes_gives_the_new_file_and_the_old_one_again(
    old: list[str], end: str, new: list[str], last: str, context: int
) -> None:
    before, after = text_of(old, end), text_of(new, last)
    diff = unified(before, after, context)
    if before == after:
        return
    edit = load(diff)
    assert edit.do(Text(before.encode()), TARGET) == Text(after.encode())
    assert edit.undo(Text(after.encode()), TARGET) == Text(before.encode())
    assert _patch.restored("f", _patch.stored([edit])) == (edit,)


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
