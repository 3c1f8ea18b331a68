# The edit `diff`: unified diffs as real tools write them, zero fuzz, and back again.
from __future__ import annotations

import difflib
import subprocess
from typing import TYPE_CHECKING

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _diff, _edits
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

TARGET = _edits.Target("pkg", lambda _module: None)
OLD = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n"
NEW = OLD.replace("two\n", "2\n").replace("nine\n", "nine\nnine and a half\n")


def unified(old: str, new: str) -> str:
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a/f", "b/f"))


def do(diff: str, text: bytes) -> bytes:
    return _diff.load(diff).do(text, "p", 1, TARGET)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("extra", ["", "# before\n" * 7])
def test_a_diff_matches_wherever_its_lines_stand_and_is_undone(newline: str, extra: str) -> None:
    old, new = ((extra + text).replace("\n", newline).encode() for text in (OLD, NEW))
    diff = unified(OLD, NEW)
    assert do(diff, old) == new
    assert _diff.load(diff).undo(new, "p") == old
    assert _diff.load(diff).undo(old, "p") is None


def test_a_diff_of_git_is_read(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "new").write_text(NEW)
    command = ["git", "diff", "--no-index", "--no-color", "old", "new"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert do(done.stdout, OLD.encode()) == NEW.encode()


def test_a_last_line_without_newline_stays_without() -> None:
    assert do("@@ -1,2 +1,2 @@\n one\n-two\n+2\n", b"one\ntwo") == b"one\n2"


def test_lines_that_stand_in_several_places_are_meant_where_the_hunk_says() -> None:
    text = b"x\nsame\nx\nsame\n"
    assert do("@@ -3,2 +3,2 @@\n x\n-same\n+other\n", text) == b"x\nsame\nx\nother\n"
    with pytest.raises(Conflict, match="stand in several places, and none is the one that it names"):
        do("@@ -9,2 +9,2 @@\n x\n-same\n+other\n", text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (OLD.replace("two", "TWO"), r"hunk 1 \(line 1\): nearest at line 2: expected 'two', found 'TWO'"),
        (OLD.replace("ten\n", ""), r"hunk 2 \(line 7\): nearest at line 6: expected 'seven', found 'six'"),
        (OLD.replace("seven\n", "seven \n"), r"hunk 2 \(line 7\): nearest at line 7: expected 'seven', found 'seven '"),
        ("", r"hunk 1 \(line 1\): nearest at line 1: expected 'one', found 'the end of the file'"),
    ],
)
def test_a_hunk_that_does_not_match_exactly_is_a_conflict_that_shows_the_nearest_lines(text: str, error: str) -> None:
    with pytest.raises(Conflict, match=error):
        do(unified(OLD, NEW), text.encode())


LINES = st.lists(st.sampled_from(["a", "b", "c", "d e", "", "é"]), min_size=1, max_size=12)


@given(LINES, LINES)
def test_whatever_difflib_writes_is_applied_and_undone_or_refused(old: list[str], new: list[str]) -> None:
    before, after = ("".join(f"{line}\n" for line in lines) for lines in (old, new))
    try:
        edit = _diff.load(unified(before, after))
        assert edit.do(before.encode(), "p", 1, TARGET) == after.encode()
    except (ValueError, Conflict):
        return
    assert edit.undo(after.encode(), "p") in (before.encode(), None)
