# The edit `replace`: the exact number of occurrences, whichever newline the file has, and back again.
from __future__ import annotations

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict
from ansible_collections.primus.patches.plugins.module_utils._replace import Replace
from hypothesis import assume, given
from hypothesis import strategies as st

TARGET = _edits.Target("pkg", lambda _module: None)


def do(edit: Replace, text: bytes) -> bytes:
    return edit.do(text, "p", 1, TARGET)


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (Replace("old", "new"), b"an old one\n", b"an new one\n"),
        (Replace("a=", "b=", 2), b"f(a=1)\ng(a=2)\n", b"f(b=1)\ng(b=2)\n"),
        (Replace("x", "x + x"), b"y = x\n", b"y = x + x\n"),
        (Replace("one\ntwo\n", "one\nand\ntwo\n"), b"zero\none\ntwo\nthree", b"zero\none\nand\ntwo\nthree"),
        (Replace("one\ntwo", "2\n1"), b"one\r\ntwo\r\nx\r\n", b"2\r\n1\r\nx\r\n"),
        (Replace("one\r\ntwo", "2"), b"one\ntwo\n", b"2\n"),
        (Replace("é", "è"), "é = 1".encode(), "è = 1".encode()),
        (Replace("(a|b)*", "\\1"), b"(a|b)*", b"\\1"),
    ],
)
def test_what_is_replaced_comes_back(edit: Replace, before: bytes, after: bytes) -> None:
    assert do(edit, before) == after
    assert edit.undo(after, "p") == before


@pytest.mark.parametrize(
    ("text", "count", "error"),
    [
        (b"y\n", 1, "expected one occurrence of 'old', found 0"),
        (b"old\n\nold\n", 1, "expected one occurrence of 'old', found 2 (lines 1, 3)"),
        (b"a\nold\n", 2, "expected 2 occurrences of 'old', found 1 (line 2)"),
        (b"old\nnew\n", 2, "expected 2 occurrences of 'old', found 1 (line 1), and 1 of what replaces it (line 2)"),
    ],
)
def test_another_number_of_occurrences_is_a_conflict_that_says_how_many_and_where(
    text: bytes, count: int, error: str
) -> None:
    with pytest.raises(Conflict) as caught:
        do(Replace("old", "new", count), text)
    assert str(caught.value) == error


def test_overlapping_occurrences_are_counted_each() -> None:
    with pytest.raises(Conflict, match=r"found 2 \(lines 1, 1\)"):
        do(Replace("aa", "b"), b"aaa")


@pytest.mark.parametrize("text", [b"new and new\n", b"nothing\n"])
def test_what_is_not_there_so_often_cannot_be_undone(text: bytes) -> None:
    assert Replace("old", "new").undo(text, "p") is None


@given(
    st.text("ab\n", min_size=1, max_size=4),
    st.text("abc\n", min_size=1, max_size=5),
    st.text("abc\n", max_size=30),
    st.integers(1, 3),
)
def test_where_it_says_it_can_be_undone_it_gives_the_bytes_back(before: str, after: str, text: str, count: int) -> None:
    assume(after not in before)
    edit = Replace(before, after, count)
    try:
        now = do(edit, text.encode())
    except Conflict:
        return
    base = edit.undo(now, "p")
    if base is not None and do(edit, base) == now:  # as a plan asks
        assert base == text.encode() or base.replace(before.encode(), after.encode()) == now
