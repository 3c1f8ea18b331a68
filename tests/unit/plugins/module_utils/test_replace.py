# The edit `replace`: the exact number of occurrences, words, newlines and encodings.
from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits
from ansible_collections.primus.patches.plugins.module_utils._edits import Text
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict
from ansible_collections.primus.patches.plugins.module_utils._replace import Replace
from hypothesis import assume, given
from hypothesis import strategies as st

TARGET = _edits.Target("pkg", "p", 1, lambda _module: None, lambda _file: _edits.ABSENT)


def replace(before: str, after: str, occurrences: int = 1, file: str = "module.py", **more: Any) -> Replace:
    return Replace(file, before, after, occurrences, **more)


def pattern(before: str, after: str, occurrences: int = 1, **more: Any) -> Replace:
    return replace(before, after, occurrences, is_expression=True, **more)


def do(edit: Replace, text: bytes) -> bytes | None:
    return edit.do(Text(text), TARGET).data


LITERAL = [
    (replace("old", "new"), b"an old one\n", b"an new one\n"),
    (replace("a=", "b=", 2), b"f(a=1)\ng(a=2)\n", b"f(b=1)\ng(b=2)\n"),
    (replace("a=", "b=", 0), b"f(a=1)\ng(a=2)\n", b"f(b=1)\ng(b=2)\n"),
    (replace("x", "x + x"), b"y = x\n", b"y = x + x\n"),
    (replace("one\ntwo\n", "one\nand\ntwo\n"), b"zero\none\ntwo\nthree", b"zero\none\nand\ntwo\nthree"),
    (replace("(a|b)*", "\\1"), b"(a|b)*", b"\\1"),
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(("edit", "before", "after"), LITERAL)
def test_what_is_replaced_has_the_newlines_of_the_file_and_can_come_back(
    edit: Replace, before: bytes, after: bytes, end: bytes
) -> None:
    before, after = (text.replace(b"\n", end) for text in (before, after))
    assert do(edit, before) == after
    if edit.before not in edit.after:
        assert edit.undo(Text(after), TARGET) == Text(before)


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (replace("x = 1\n", ""), b"x = 1\ny = 2\n", b"y = 2\n"),
        (replace("old and ", ""), b"old and new", b"new"),
        (pattern(r"\w+ = 1", "x = 2"), b"y = 1\n", b"x = 2\n"),
        (
            pattern(r"(?m)^import (\w+)$", r"import \1 as _\1", 0),
            b"import a\nimport b\n",
            b"import a as _a\nimport b as _b\n",
        ),
        (pattern(r"f\((?P<what>\w+)\)", r"g(\g<what>, 1)"), b"f(a)", b"g(a, 1)"),
        (pattern(r"(?m)^(?=x)", "# why\n"), b"a\r\nx\r\n", b"a\r\n# why\r\nx\r\n"),
        (pattern(r"a$", "b"), b"a\r\na\r\n", b"a\r\nb\r\n"),
        (pattern(r"a.b", "c", partial=True), b"a\r\nb axb", b"a\r\nb c"),
    ],
)
def test_an_edit_need_not_be_one_that_can_be_undone(edit: Replace, before: bytes, after: bytes) -> None:
    assert do(edit, before) == after
    assert edit.undo(Text(after), TARGET) is None
    assert not edit.made(Text(after))


@pytest.mark.parametrize(
    ("text", "count", "error"),
    [
        (b"y\n", 1, "expected one occurrence of 'old', found 0"),
        (b"y\n", 0, "expected at least one occurrence of 'old', found 0"),
        (b"old\n\nold\n", 1, "expected one occurrence of 'old', found 2 (lines 1, 3)"),
        (b"a\nold\n", 2, "expected 2 occurrences of 'old', found 1 (line 2)"),
        (b"old\nnew\n", 2, "expected 2 occurrences of 'old', found 1 (line 1), and 1 of what replaces it (line 2)"),
        (
            b"older\n",
            1,
            (
                "expected one occurrence of 'old', found 0, and 1 that begins or ends inside of a word or number "
                "(partial: true takes those, too)"
            ),
        ),
    ],
)
def test_another_number_of_occurrences_is_a_conflict_that_says_how_many_and_where(
    text: bytes, count: int, error: str
) -> None:
    with pytest.raises(Conflict) as caught:
        do(replace("old", "new", count), text)
    assert str(caught.value) == error


@pytest.mark.parametrize("count", [0, 2])
def test_occurrences_that_overlap_are_a_conflict(count: int) -> None:
    with pytest.raises(Conflict, match=r"found some that overlap \(lines 1, 1\): put more into before"):
        do(replace("--", "+", count), b"---")
    with pytest.raises(Conflict, match=r"found 2 \(lines 1, 1\)"):
        do(replace("--", "+"), b"---")


def test_a_file_that_is_not_there_is_a_conflict() -> None:
    with pytest.raises(Conflict, match=r"expected the file module\.py, found none"):
        replace("a", "b").do(_edits.ABSENT, TARGET)


# --- words and numbers


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ("LIMIT = 10", "LIMIT = 100"),
        ("LIMIT = 10", "LIMIT = 10.5"),
        ("LIMIT = 10", "THE_LIMIT = 10"),
        ("LIMIT = 10", "LIMIT = 10_000"),
        ("LIMIT = 10", "LIMIT = 10e3"),
        ("5", "1.5"),
        (".5", "1.5"),
        ("1.", "1.5"),
        ("a", "ça"),
        ("x\ny", "x\nyes"),
    ],
)
def test_a_part_of_a_word_or_number_is_none(before: str, text: str) -> None:
    with pytest.raises(Conflict, match=r"1 that begins or ends inside of a word or number \(partial: true takes"):
        do(replace(before, "Z"), text.encode())
    assert do(replace(before, "Z", partial=True), text.encode()) == text.replace(before, "Z").encode()
    assert do(pattern(re.escape(before), "Z", partial=True), text.encode()) == text.replace(before, "Z").encode()
    with pytest.raises(Conflict, match="partial: true"):
        do(pattern(re.escape(before), "Z"), text.encode())


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ("10", "LIMIT = 10."),
        ("10", "See 10.\n"),
        ("10", "(10)"),
        ("b", "a.b.c"),
        ("x1", "x1.5"[:2] + ".y"),
        ("= ", "x = 1"),
        ("\nx", "a\nx"),
        ('"', 'f("a)'),
    ],
)
def test_whole_words_and_numbers_are_found(before: str, text: str) -> None:
    assert do(replace(before, "Z"), text.encode()) == text.replace(before, "Z").encode()


# --- newlines


def test_what_is_put_in_has_the_newline_of_the_lines_that_it_replaces() -> None:
    mixed = b"a\nb\r\nc\r\nd\n"
    assert do(replace("b\nc\n", "b\nx\nc\n"), mixed) == b"a\nb\r\nx\r\nc\r\nd\n"
    assert do(replace("d", "x\ny"), mixed) == b"a\nb\r\nc\r\nx\ny\n"
    assert do(replace("a\nb", "a"), mixed) == b"a\r\nc\r\nd\n"
    assert do(replace("c", "x\ny"), b"a\r\nc") == b"a\r\nx\r\ny"
    assert do(replace("c", "x\ny"), b"c") == b"x\ny"


def test_a_newline_is_never_the_half_of_one() -> None:
    with pytest.raises(Conflict, match="found 0"):
        do(replace("a\n\nb", "c"), b"a\r\nb")


# --- encodings


@pytest.mark.parametrize(
    ("cookie", "codec"),
    [
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ("# coding: latin-1\n", "latin-1"),
        ("#!/usr/bin/python\r# vim: set fileencoding=cp1252 :\r", "cp1252"),
    ],
)
def test_a_text_is_put_in_by_the_encoding_of_the_file(cookie: str, codec: str) -> None:
    text = cookie + "x = 'é'\ny = 'ü'\n"
    assert do(replace("'é'", "'ö'"), text.encode(codec)) == text.replace("é", "ö").encode(codec)


def test_what_an_encoding_cannot_say_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="the file is in iso-8859-1, which has no '€': write it in another way"):
        do(replace("7", "'a€'"), b"# coding: latin-1\nx = 7\n")


@pytest.mark.parametrize(
    ("codec", "line"),
    [
        ("utf-7", b"x = 1 # +AGE-\n"),
        ("utf-7", b"x = 1 # +!\n"),
        ("iso2022_jp", b"x = 1 # \x1b$B~{\n"),
        ("utf-16-le", b"x = 1\n\n"),
        ("idna", b"x = 1\n"),
        ("punycode", b"x = 1\n"),
    ],
)
def test_what_does_not_come_back_from_its_encoding_is_a_conflict(codec: str, line: bytes) -> None:
    with pytest.raises(Conflict, match=f"is in {codec}, and is not the same when it is decoded and encoded again"):
        do(replace("1", "2"), f"# coding: {codec}\n".encode() + line)


@pytest.mark.parametrize("name", ["data.txt", "module.py"])
@pytest.mark.parametrize("cookie", [b"", *(f"# coding: {each}\n".encode() for each in ("none", "rot13", "undefined"))])
def test_bytes_that_are_no_text_stay(name: str, cookie: bytes) -> None:
    assert do(replace("old", "n\u00e9w", file=name), cookie + b"\xe9\xff old\n") == cookie + b"\xe9\xff n\xc3\xa9w\n"


@pytest.mark.parametrize(
    ("name", "is_python"),
    [("a.py", True), ("bin/tool", True), ("tool.sh", False), ("tool.txt", False), ("a.pyx", False)],
)
def test_what_is_python_goes_by_suffix_or_by_its_first_line(name: str, *, is_python: bool) -> None:
    text = b"#!/usr/bin/env python3\n# coding: latin-1\nx = 7\n"
    after = do(replace("7", "'é'", file=name), text)
    assert after == text.replace(b"7", "'é'".encode("latin-1" if is_python else "utf-8"))
    assert _edits.is_python(name, text) is is_python


def test_a_binary_file_is_a_conflict() -> None:
    with pytest.raises(Conflict, match=r"expected text in module\.py, found a binary file"):
        do(replace("a", "b"), b"a\0")


def test_the_executable_bit_stays() -> None:
    assert replace("a", "b").do(Text(b"a", executable=True), TARGET) == Text(b"b", executable=True)


# --- over several files


def test_over_several_files_each_may_have_any_number() -> None:
    edit = replace("old", "new", 3, over=True)
    assert [edit.count(Text(text)) for text in (b"", b"old old", None)] == [0, 2, 0]
    assert do(edit, b"") == b""
    assert do(edit, b"old older old") == b"new older new"


# --- what the file holds already


def test_a_match_within_what_would_be_put_in_is_held() -> None:
    check = (
        "def check(a, b):\n    if a != b:\n        if a in OK:\n            return True\n"
        "        raise ValueError(a)\n    return True\n"
    )
    raising = "        raise ValueError(a)\n"
    edit = replace(raising, "        return True\n" + raising)
    assert edit.held(Text(check.encode())) == "line 5"
    assert edit.held(Text(check.replace("            return True\n", "            pass\n").encode())) is None
    assert replace("x", "x + x").held(Text(b"\n\ny = x + x\n")) == "line 3"
    assert replace("x", "x + x").held(Text(b"x - x\nx+ x")) is None
    assert pattern(r"(\w) = 1", r"\1 = 0; \1 = 1").held(Text(b"y = 0; x = 1\nx = 0; x = 1")) == "line 2"
    assert replace("LIMIT = 10", "LIMIT = 20").held(Text(b"LIMIT = 20\nLIMIT = 10")) is None
    assert replace("a", "").held(Text(b"a")) is None
    assert replace("a", "b").held(_edits.ABSENT) is None


@pytest.mark.parametrize(
    ("edit", "text", "made"),
    [
        (replace("a = 1", "a = 2"), b"a = 2\n", True),
        (replace("a = 1", "a = 2"), b"b = 0\r\na = 2", True),
        (replace("a = 1", "a = 2"), b"a = 2\na = 1\n", False),
        (replace("a = 1", "a = 2"), b"a = 2 \n", False),
        (replace("a = 1", "a = 2"), b"    a = 2\n", False),
        (replace("a = 1", "a = 2"), b"a = 2\na = 2\n", False),
        (replace("a = 1", "a = 2", 0), b"a = 2\na = 2\n", True),
        (replace("a = 1", "a = 2", partial=True), b"a = 2\na = 10\n", False),
        (replace("raise\n", "pass\nraise\n"), b"x\npass\nraise\n", True),
        (replace("raise\n", "pass\nraise\n"), b"raise\npass\nraise\n", False),
        (replace("a = 1\n", ""), b"b\n", False),
        (replace("a", "b"), None, False),
    ],
)
def test_made_is_what_stands_there_as_whole_lines_and_not_what_is_looked_for(
    edit: Replace, text: bytes | None, *, made: bool
) -> None:
    assert edit.made(Text(text)) is made


@pytest.mark.parametrize("text", [b"new and new\n", b"nothing\n", None])
def test_what_is_not_there_so_often_cannot_be_undone(text: bytes | None) -> None:
    assert replace("old", "new").undo(Text(text), TARGET) is None


# --- properties

PARTS = st.text("ab1._ \n", min_size=1, max_size=4)
ENDS = st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=1, max_size=3)


@given(PARTS, st.text("abc \n", max_size=5), st.text("ab1._ \n", max_size=30), st.integers(0, 3), ENDS)
def test_it_is_what_replacing_does_or_a_conflict(
    before: str, after: str, text: str, count: int, ends: list[str]
) -> None:
    """And newlines change nothing but newlines."""
    assume(before != after)
    edit = replace(before, after, count, partial=True)
    lines = text.split("\n")
    mixed = "".join(line + end for line, end in zip(lines, [*(ends * len(lines))[: len(lines) - 1], ""]))
    assume(re.split(r"\r\n|\r|\n", mixed) == lines)
    try:
        found = do(edit, text.encode())
    except Conflict:
        with pytest.raises(Conflict):
            do(edit, mixed.encode())
        return
    assert found == text.replace(before, after).encode()
    assert text.count(before) == count or (not count and before in text)
    there = do(edit, mixed.encode())
    assert there is not None
    assert re.sub(rb"\r\n|\r", b"\n", there) == found


@given(PARTS, st.sampled_from(["x", "xy", "xyz"]), st.text("ab1._ \n", max_size=30), st.sampled_from(["\n", "\r\n"]))
def test_undoing_gives_a_candidate_that_is_the_file_of_before(before: str, after: str, text: str, end: str) -> None:
    assume(end == "\n" or "\n" not in before)  # (which newline was taken out, nothing tells)
    edit = replace(before, after, 0, partial=True)
    old = Text(text.replace("\n", end).encode())
    try:
        assert edit.undo(edit.do(old, TARGET), TARGET) == old
    except Conflict:
        return


@given(st.text("ab1. ", min_size=1, max_size=3), st.text("ab1. ", max_size=12))
def test_without_partial_the_ends_of_what_goes_are_no_inside(before: str, text: str) -> None:
    """Held against tokens: words, numbers, and all other characters one by one."""
    tokens = re.finditer(r"\d+(?:\.\d+)+|\w+|.", text)
    inside = {at for token in tokens for at in range(token.start() + 1, token.end())}
    starts = [found.start() for found in re.finditer(f"(?={re.escape(before)})", text)]
    wanted = [start for start in starts if start not in inside and start + len(before) not in inside]
    mixed = re.search(r"[ab]\d*\.|\d[ab]|[ab]\d", text)  # (x1.5 is no number, though 1.5 is in it: rather none)
    if not mixed:
        assert replace(before, "Z").count(Text(text.encode())) == len(wanted)
