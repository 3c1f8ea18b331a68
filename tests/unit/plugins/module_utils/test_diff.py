# The edit `diff`: what a hunk does to a file, with zero fuzz.
from __future__ import annotations

import difflib
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits, _patch, _unified
from ansible_collections.primus.patches.plugins.module_utils._diff import Diff
from ansible_collections.primus.patches.plugins.module_utils._edits import ABSENT, Text
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict
from ansible_collections.primus.patches.plugins.module_utils._whole import Delete
from hypothesis import given
from hypothesis import strategies as st

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
    with pytest.raises(Conflict, match="stand in several places, and nothing tells which is meant"):
        do("@@ -9,2 +9,2 @@\n x\n-same\n+other\n", text)


UNIQUE = "@@ -1 +1 @@\n-first\n+FIRST\n"
TWICE = "@@ -3,3 +3,3 @@\n x\n-same\n+other\n y\n"
BARE = "@@ -4,0 +5 @@\n+put\n"
LAST = "@@ -7 +7 @@\n-last\n+LAST\n"
BLOCK = "x\nsame\ny\n"


@pytest.mark.parametrize(
    ("hunks", "text", "after"),
    [
        (UNIQUE + TWICE, f"first\n\n{BLOCK}{BLOCK}", f"FIRST\n\nx\nother\ny\n{BLOCK}"),
        (UNIQUE + TWICE, f"0\n1\n2\nfirst\n\n{BLOCK}{BLOCK}", f"0\n1\n2\nFIRST\n\nx\nother\ny\n{BLOCK}"),
        (UNIQUE + TWICE, f"first\n{BLOCK}{BLOCK}", None),
        (TWICE + LAST, f"\n\n{BLOCK}\nlast\n{BLOCK}", f"\n\nx\nother\ny\n\nLAST\n{BLOCK}"),
        (TWICE + LAST, f"\n\n{BLOCK}{BLOCK}\nlast\n", None),
        (UNIQUE + BARE, "0\nfirst\n2\n3\n4\n5\n", "0\nFIRST\n2\n3\n4\nput\n5\n"),
        (BARE + LAST, "1\n2\n3\n4\n5\n6\n7\nlast\n", None),
        ("@@ -1 +1,2 @@\n a\n+b\n", "a\nx\na\n", None),
        ("@@ -3 +3,2 @@\n a\n+b\n", "a\nx\na\n", "a\nx\na\nb\n"),
        ("@@ -1 +1,2 @@\n+b\n a\n", "a\nx\na\n", "b\na\nx\na\n"),
        ("@@ -3 +3,2 @@\n+b\n a\n", "a\nx\na\n", None),
    ],
)
def test_lines_that_stand_several_times_are_meant_where_the_other_hunks_and_the_ends_of_the_file_have_them(
    hunks: str, text: str, after: str | None
) -> None:
    if after is None:
        with pytest.raises(
            Conflict, match=r"several places, and nothing tells which|no context, and what is around it"
        ):
            do(hunks, text.encode())
    else:
        assert do(hunks, text.encode()) == after.encode()


def test_a_hunk_stands_behind_the_one_before_it() -> None:
    diff = "@@ -1 +1,2 @@\n a\n+b\n@@ -2 +3 @@\n-b\n+c\n"
    assert do(diff, b"a\nb\n") == b"a\nb\nc\n"
    with pytest.raises(Conflict, match=r"hunk 2 of f \(line 2\)"):
        do(diff, b"b\na\n")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (OLD.replace("two", "TWO"), "hunk 1 of f (line 1): nearest at line 2: expected 'two', found 'TWO'"),
        (OLD.replace("ten\n", ""), "hunk 2 of f (line 7): nearest at line 6: expected 'seven', found 'six'"),
        (
            OLD.replace("seven\n", "seven \n"),
            "hunk 2 of f (line 7): nearest at line 7: expected 'seven', found 'seven '",
        ),
        (OLD[:-1], "hunk 2 of f (line 7): nearest at line 10: expected 'ten' with LF, found 'ten' without a newline"),
        ("", "hunk 1 of f (line 1): nearest at line 1: expected 'one', found the end of the file"),
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
    with pytest.raises(Conflict, match=r"hunk 1 of f \(line 4\): expected at least 4 lines, found 3"):
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


# --- what upstream has


@pytest.mark.parametrize(
    ("diff", "text", "told"),
    [
        (unified(OLD, NEW), NEW, True),
        (unified(OLD, NEW), "more\n" + NEW, True),
        (unified(OLD, NEW), OLD.replace("two\n", "2\n"), False),
        ("@@ -1 +0,0 @@\n-a\n", "b\n", False),
        ("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+a\n", "a\n", True),
        ("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+a\n", "b\n", False),
        ("--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n", None, True),
        ("--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n", "b\n", False),
    ],
)
def test_a_conflict_says_where_the_diff_fits_the_other_way_round(diff: str, text: str | None, *, told: bool) -> None:
    with pytest.raises(Conflict) as caught:
        load(diff).do(Text(None if text is None else text.encode()), TARGET)
    assert str(caught.value).endswith("; upstream seems to have this already") is told


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
        ("@@ -1,0 +2 @@\n+a\n", "b\na\n", False),
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


# --- files that come and go


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
        (
            Diff("x", removes=True),
            ABSENT,
            "expected the file x, found none; upstream seems to have this already",
        ),
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
