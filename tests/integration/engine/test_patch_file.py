# Patch files held against other readers of diffs: git apply, GNU patch without fuzz, and the library unidiff.
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from lab import wheels
from lab.controller import ROOT
from module_utils import _edits, _engine, _patch, _patch_file, _unified
from module_utils._diff import Hunk
from module_utils._edits import ABSENT, Text
from module_utils._errors import Conflict
from unidiff import PatchSet

SAMPLES = sorted((ROOT / "tests/unit/plugins/module_utils/patch_files").iterdir())
GIVEN = {"package": "acme", "versions": "*", "reason": "r"}
WORDS = st.sampled_from([*"abcdefgh", "", "-- x", "++ y"])
LINES = st.lists(WORDS, min_size=1, max_size=30)
PLACES = st.integers(0, 30)
SPLICES = st.lists(st.tuples(PLACES, st.integers(0, 2), st.lists(WORDS, max_size=2)), min_size=1, max_size=3)
END = st.sampled_from(["", "\n"])


def spliced(lines: list[str], splices: list[tuple[int, int, list[str]]]) -> list[str]:
    for at, count, put in splices:
        lines = [*lines[:at], *put, *lines[at + count :]]
    return lines


def data_of(lines: list[str], end: str) -> bytes:
    return ("\n".join(lines) + (end if lines else "")).encode()


@settings(max_examples=60, deadline=None)
@given(old=LINES, changes=SPLICES, others=SPLICES, ends=st.tuples(END, END), context=st.integers(1, 3))
def test_a_hunk_goes_where_patch_and_git_put_it_or_nowhere(
    tmp_path_factory: pytest.TempPathFactory,
    old: list[str],
    changes: list[tuple[int, int, list[str]]],
    others: list[tuple[int, int, list[str]]],
    ends: tuple[str, str],
    context: int,
) -> None:
    """Also in a file that others have changed, where lines stand several times.

    patch and git ask of a hunk with less context on one side that it is at that end of the file; we do not.
    """
    top = tmp_path_factory.mktemp("diff")
    before, after = data_of(old, ends[0]), data_of(spliced(old, changes), ends[1])
    if before == after or not after:
        return
    diff = diff_of(top, before, after, context)
    for where, found in (("same", before), ("moved", data_of(spliced(old, others), ends[0]))):
        (edit,) = _patch.load(_patch_file.load(diff, "x.patch", GIVEN)).edits
        ours = by_us(edit, found)
        patch, git = (by_program(top / where / name, diff, found, each) for name, each in PROGRAMS.items())
        event(
            "ours: %s, patch: %s, git: %s" % tuple("fits" if each is not None else "not" for each in (ours, patch, git))
        )
        if found == before:
            assert ours == patch == git == after
        elif ours is not None:
            assert patch == ours or (patch is None and at_an_end(edit))
            assert git in (None, ours) or not found.endswith(b"\n")  # (git has its own idea of such a line)


def at_an_end(edit: Any) -> bool:
    return any(len(set(hunk.context)) == 2 for hunk in edit.hunks)


PROGRAMS = {
    "patch": ("patch", "-p1", "--fuzz=0", "--force", "--no-backup-if-mismatch", "--reject-file=-", "--quiet"),
    "git": ("git", "apply", "-"),
}


def diff_of(top: Path, before: bytes, after: bytes, context: int) -> bytes:
    for side, data in (("old", before), ("new", after)):
        (top / side / "acme").mkdir(parents=True)
        (top / side / "acme" / "x.txt").write_bytes(data)
    command = ["git", "diff", "--no-index", "--no-color", "--text", f"-U{context}", "--no-prefix", "old", "new"]
    return subprocess.run(command, cwd=top, capture_output=True, check=False).stdout


def by_us(edit: Any, found: bytes) -> bytes | None:
    """Return what a file becomes; None where that is a conflict."""
    target = _edits.Target("acme", "p", 1, lambda _module: None, lambda _file: ABSENT)
    try:
        return edit.do(Text(found), target).data
    except Conflict:
        return None


def by_program(top: Path, diff: bytes, found: bytes, command: tuple[str, ...]) -> bytes | None:
    (top / "acme").mkdir(parents=True)
    (top / "acme" / "x.txt").write_bytes(found)
    done = subprocess.run(command, cwd=top, input=diff, capture_output=True, check=False)
    return None if done.returncode else (top / "acme" / "x.txt").read_bytes()


# --- real releases

TOOLS = {
    "git": ("git", "diff", "--no-index", "--no-renames"),
    "diff": ("diff", "-ruN"),
}
RELEASES = [("tomli", "2.0.1", "2.0.2", "native"), ("einops", "0.8.0", "0.8.1", "conflict")]


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(("project", "old", "new", "state"), RELEASES)
def test_the_difference_of_two_releases_makes_the_newer_one_of_the_older(
    tmp_path: Path, tool: str, project: str, old: str, new: str, state: str
) -> None:
    for side, version in (("old", old), ("new", new)):
        shutil.copytree(wheels.unpacked(project, version), tmp_path / side)
    command = (*TOOLS[tool], f"old/{project}", f"new/{project}")
    diff = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).stdout
    definition = _patch_file.load(diff, "newer.patch", {"package": project, "versions": "*", "reason": "r"})

    def run(side: str, **more: Any) -> dict[str, Any]:
        return _engine.run({"operation": "patch", "definitions": [definition], "path": str(tmp_path / side), **more})

    before, wanted = (files(tmp_path / side / project) for side in ("old", "new"))
    assert run("old")["patches"][0]["action"] == "apply"
    assert files(tmp_path / "old" / project) == wanted != before
    assert run("old", state="absent")["patches"][0]["action"] == "revert"
    assert files(tmp_path / "old" / project) == before
    found = run("new")
    assert found["patches"][0]["state"] == state
    assert files(tmp_path / "new" / project) == wanted
    if state == "conflict":  # (a line that goes stands elsewhere as well, so it cannot be said for certain)
        assert (
            "/einops/__init__.py: hunk 1 of __init__.py (line 2): nearest at line 5: expected '__version__"
            in found["msg"]
        )
        assert "; upstream seems to have this already" in found["msg"]


def files(top: Path) -> dict[str, bytes]:
    found = [path for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in found}


# --- the library unidiff

NAMES = st.sampled_from(["x.py", "sub/y.py", "a b.py", "é.txt", "z"])
FILES = st.dictionaries(NAMES, st.lists(WORDS, max_size=6), max_size=4)


UNREADABLE = ("git_mnemonic.diff", "git_no_prefix.diff", "svn_git.diff")  # for unidiff: quoted names, names after modes


@pytest.mark.parametrize("path", [each for each in SAMPLES if each.name not in UNREADABLE], ids=lambda path: path.name)
def test_unidiff_reads_the_same_hunks_of_the_same_files(path: Path) -> None:
    assert_alike(path.read_text())


@settings(max_examples=40, deadline=None)
@given(old=FILES, new=FILES, end=END)
def test_unidiff_reads_the_same_of_what_git_writes(
    tmp_path_factory: pytest.TempPathFactory, old: dict[str, list[str]], new: dict[str, list[str]], end: str
) -> None:
    top = tmp_path_factory.mktemp("tree")
    for side, texts in (("old", old), ("new", new)):
        (top / side).mkdir()
        for name, lines in texts.items():
            (top / side / name).parent.mkdir(exist_ok=True)
            (top / side / name).write_bytes(data_of(lines, end))
    command = ["git", "-c", "core.quotePath=false", "diff", "--no-index", "--no-color", "--text", "old", "new"]
    assert_alike(subprocess.run(command, cwd=top, capture_output=True, check=False).stdout.decode())


def assert_alike(text: str) -> None:
    """Hold our reading against the library's, but for what only one of them tells: files without hunks, modes."""
    theirs = [(named(each), [hunk_of(hunk) for hunk in each]) for each in PatchSet(text) if each]
    ours = [(_unified.paths(section)[1], list(section.hunks)) for section in _unified.sections(text) if section.hunks]
    assert ours == theirs


def named(file: Any) -> str:
    """Return the name that a file of the library has, which it leaves quoted."""
    return re.sub(
        r"(?:\\\d{3})+",
        lambda found: bytes(int(each, 8) for each in found[0].split("\\")[1:]).decode(),
        file.path.strip('"'),
    )


def hunk_of(hunk: Any) -> Hunk:
    lines: list[str] = []
    for line in hunk:
        if line.line_type == "\\":
            lines[-1] = lines[-1].removesuffix("\n")
        else:
            lines.append(line.line_type + line.value)
    return Hunk(hunk.source_start, hunk.target_start, tuple(lines))
