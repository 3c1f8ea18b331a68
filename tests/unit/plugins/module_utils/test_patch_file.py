# Patch files: what tools write, which files are the package's, and what is no patch.
from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits, _patch, _patch_file, _unified
from ansible_collections.primus.patches.plugins.module_utils._diff import Diff, Hunk
from ansible_collections.primus.patches.plugins.module_utils._edits import ABSENT, Text
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError
from ansible_collections.primus.patches.plugins.module_utils._whole import Delete
from hypothesis import example, given
from hypothesis import strategies as st

DATA = Path(__file__).with_name(
    "patch_files"
)  # one change, as each tool writes it; hg, quilt and svn are not everywhere
CHANGE = "@@ -1 +1 @@\n-a\n+b\n"
DIFF = f"--- a/src/acme/api.py\n+++ b/src/acme/api.py\n{CHANGE}"
HEADER = "Description: It was wrong.\nPackage: acme\nVersions: >=2.3\n\n"
GIVEN = {"package": "acme", "versions": ">=2.3", "reason": "It was wrong."}


def load(text: str | bytes, name: str = "fix.patch", **given: Any) -> dict[str, Any]:
    return _patch_file.load(text if isinstance(text, bytes) else text.encode(), name, given)


def patched(definition: dict[str, Any], before: dict[str, Text]) -> dict[str, Text]:
    """Return all files of a package after a patch."""
    found = dict(before)
    patch = _patch.load(definition)
    target = _edits.Target("acme", "p", 1, lambda _module: None, lambda file: before.get(file, ABSENT))
    for file in patch.files():
        text = before.get(file, ABSENT)
        for edit in patch.on(file):
            text = edit.do(text, target)
        found[file] = text
    return {file: text for file, text in found.items() if text != ABSENT}


def files(**texts: str) -> dict[str, Text]:
    return {name.replace("_py", ".py"): Text(text.encode()) for name, text in texts.items()}


# --- what tools write

LINES = "".join(f"line_{number} = {number}\n" for number in range(1, 21))
KEPT = "".join(f"kept_{number} = {number}\n" for number in range(1, 9))
OLD = {**files(api_py=LINES, gone_py="gone = 1", moved_py=KEPT), "with é.py": Text(b"x = 1\n")}
NEW = {
    **files(
        api_py=LINES.replace("= 2\n", "= 22\n").replace("line_18 = 18\n", ""),
        there_py=KEPT.replace("= 8\n", "= 88\n"),
        new_py="new = 1",
    ),
    "with é.py": Text(b"x = 2\n"),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("path", sorted(DATA.iterdir()), ids=lambda path: path.name)
def test_one_change_is_the_same_whatever_tool_wrote_it(path: Path, newline: str) -> None:
    data = path.read_bytes().replace(b"\n", newline.encode())
    definition = load(data, path.name, **GIVEN, leave_out=["tests", "acme-2/tests", "q/tests"])
    without = {"gone.py": OLD["gone.py"], "moved.py": OLD["moved.py"]} if path.name == "diff_only.diff" else {}
    expected = {name: text for name, text in NEW.items() if not without or name in OLD}
    assert patched(definition, OLD) == {**expected, **without}
    assert definition["name"] == path.stem


def test_the_header_of_a_mail_is_enough_where_package_and_versions_are_given() -> None:
    data = (DATA / "git_format.patch").read_bytes()
    definition = load(data, "0001-Count-line-2-anew.patch", package="acme", versions=">=2.3", leave_out="tests/")
    assert {key: value for key, value in definition.items() if key != "edits"} == {
        "name": "patch_0001_count_line_2_anew",
        "package": "acme",
        "versions": ">=2.3",
        "reason": "Count line 2 anew, über alles, with a subject that is so long that git folds it",
        "upstream": "none",
        "retire": "When a release of acme does not need it.",
    }


def test_several_mails_in_one_file_are_done_one_after_the_other() -> None:
    first = f"From 1 Mon Sep 17\nSubject: [PATCH 1/2] a\n\n---\n x | 2 +-\n\ndiff --git a/acme/x b/acme/x\n{_head('x')}"
    series = f"{first}{CHANGE}-- \n2.39.5\n\n{first}@@ -1 +1,2 @@\n b\n+c\n--\n2.39.5\n\n"
    definition = load(series, package="acme", versions="*")
    assert patched(definition, files(x="a\n")) == files(x="b\nc\n")
    log = f"commit 2b180ef1\nAuthor: a\n\n    one\n\n{_head('x')}{CHANGE}\ncommit 579ddaa2\nAuthor: a\n\n    two\n\n"
    definition = load(f"{log}{_head('x')}@@ -1 +1,2 @@\n b\n+c\n", **GIVEN)
    assert patched(definition, files(x="a\n")) == files(x="b\nc\n")
    moved = "diff --git a/acme/x b/acme/y\nrename from acme/x\nrename to acme/y\n"
    with pytest.raises(DefinitionError, match="y: renamed in one part, changed in another: make one diff of the serie"):
        load(f"Subject: x\n\n{moved}-- \n{_diff('acme/y')}", package="acme", versions="*")
    with pytest.raises(DefinitionError, match="x: renamed in one part, changed in another"):
        load(f"{first}{CHANGE}-- \n{moved}", package="acme", versions="*")


def _head(name: str) -> str:
    return f"--- a/acme/{name}\n+++ b/acme/{name}\n"


def _diff(path: str) -> str:
    return f"--- a/{path}\n+++ b/{path}\n{CHANGE}"


def test_a_mail_with_an_attachment_is_read() -> None:
    mail = f"From: a\nSubject: b\n\nParts:\n--------------2.39.5\nContent-Type: text/x-patch\n\n\n{_diff('acme/x')}\n\n"
    assert patched(load(f"{mail}--------------2.39.5--\n\n\n", **GIVEN), files(x="a\n")) == files(x="b\n")


@pytest.mark.parametrize(
    "head",
    [
        "--- a/acme/x.py 2026-01-02 03:04:05.000000000 +0000\n+++ b/acme/x.py 2026-01-02 03:04:05\n",
        "--- a/acme/x.py     Fri Jan  2 03:04:05 2026\n+++ b/acme/x.py     Fri Jan  2 03:04:05 2026\n",
        "--- acme/x.py.orig\n+++ acme/x.py\n",
        "--- acme/x.py\n+++ acme/x.py.new\n",
        "--- ./acme/x.py\n+++ ./acme/x.py\n",
        '--- "a/acme/\\170.py"\t\n+++ "b/acme/x\\056py"\t\n',
        "diff --git old/acme/x.py new/acme/x.py\n--- old/acme/x.py\n+++ new/acme/x.py\n",
        "Index: acme/x.py\n====\n--- acme/x.py\t(.../trunk)\t(revision 1)\n+++ acme/x.py\t(working copy)\n",
    ],
)
def test_names_are_read_without_what_stands_around_them(head: str) -> None:
    assert patched(load(head + CHANGE, **GIVEN), files(x_py="a\n")) == files(x_py="b\n")


@pytest.mark.parametrize(
    "stamp", ["\t(nonexistent)", "\t(revision 0)", "\tThu Jan  1 00:00:00 1970", " 1970-01-01 01:00:00"]
)
def test_a_file_with_the_stamp_of_none_is_new_or_goes(stamp: str) -> None:
    new = f"--- acme/x.py{stamp}\n+++ acme/x.py\t(working copy)\n@@ -0,0 +1 @@\n+a\n"
    assert patched(load(new, **GIVEN), {}) == files(x_py="a\n")
    gone = f"--- acme/x.py\t(revision 7)\n+++ acme/x.py{stamp}\n@@ -1 +0,0 @@\n-a\n"
    assert patched(load(gone, **GIVEN), files(x_py="a\n")) == {}


# --- which files are the package's


@pytest.mark.parametrize(
    ("paths", "given", "expected"),
    [
        (["src/acme/x.py", "src/acme/sub/y.py"], {}, ["x.py", "sub/y.py"]),
        (["acme/x.py", "tests/t.py", "docs/a b.md"], {"leave_out": ["tests/", "docs"]}, ["x.py"]),
        (["acme/x.py", "tests/t.py", "docs/a b.md"], {"leave_out": "tests/*, docs/a?b.md"}, ["x.py"]),
        (["acme/x.py", "acme/y.py"], {"leave_out": ["acme/y.py"]}, ["x.py"]),
        (["lib/x.py", "lib/sub/y.py"], {"strip": 2}, ["x.py", "sub/y.py"]),
        (["x.py"], {"strip": "1"}, ["x.py"]),
        (["acme/acme/x.py"], {"strip": 2}, ["acme/x.py"]),
        (["acme/acme/x.py"], {"strip": 3}, ["x.py"]),
        (["acme/acme/x.py", "acme/y.py"], {}, ["acme/x.py", "y.py"]),
        (["acme/src/acme/x.py", "acme/src/acme/y.py", "acme/t.py"], {"leave_out": "acme/t.py"}, None),
        (["src/na/me/x.py"], {"package": "na.me"}, ["x.py"]),
        (["six.py", "bin/tool"], {"package": None, "distribution": "six"}, ["six.py", "bin/tool"]),
        (["../../../bin/tool"], {"package": None, "distribution": "six"}, ["../../../bin/tool"]),
        (["lib/six.py"], {"package": None, "distribution": "six", "strip": 2}, ["six.py"]),
    ],
)
def test_the_files_are_those_below_the_package(
    paths: list[str], given: dict[str, Any], expected: list[str] | None
) -> None:
    given = {key: value for key, value in {**GIVEN, **given}.items() if value is not None}
    text = "".join(map(_diff, paths))
    if expected is None:
        with pytest.raises(DefinitionError, match="found it below the top and acme/src: say which is another thing"):
            load(text, **given)
        return
    assert list(_patch.load(load(text, **given)).files()) == expected


@pytest.mark.parametrize(
    ("paths", "given", "error"),
    [
        (
            ["acme/x.py", "tests/t.py", "docs/a, b.md"],
            {},
            "the directory of the package acme, found others. To leave those out:\nLeave-Out: tests/t.py, docs/a??b.md",
        ),
        (
            ["src/acme/x.py", "tests/acme/t.py"],
            {},
            "found it below src and tests: say which is another thing in Leave-Out",
        ),
        (["lib/x.py", "tests/t.py"], {"strip": 2}, "found it below lib and tests: say which is another thing"),
        (["lib/x.py", "t.py"], {"strip": 2}, "expected paths with more than 2 parts, found others. To leave"),
        (["x.py", "t.py"], {"strip": 2}, "expected paths with more than 2 parts, found x.py, t.py: give Strip"),
        (["tests/t.py"], {"leave_out": ["tests/"]}, "expected a file of the package, found none that is not left out"),
        (["/etc/acme/x.py"], {}, "line 1: expected a path below a directory, found /etc/acme/x.py"),
        (["acme/../../x.py"], {}, "line 1: expected a path below a directory, found acme/../../x.py"),
        (["x/../y.py"], {"package": None, "distribution": "d"}, "expected a path below a directory, found x/../y.py"),
        (["/six.py"], {"package": None, "distribution": "d"}, "expected a path below a directory, found /six.py"),
        (["acme\\x.py"], {"strip": 1}, "expected a path below the package, found 'acme\\\\x.py'"),
        (["acme/x.py"], {"leave_out": 1}, "leave_out: expected a list of paths, found 1"),
        (["acme/x.py"], {"package": 1}, "package: expected text, found int 1"),
    ],
)
def test_files_outside_of_the_package_are_an_error_that_lists_them(
    paths: list[str], given: dict[str, Any], error: str
) -> None:
    given = {key: value for key, value in {**GIVEN, **given}.items() if value is not None}
    heads = [f"--- {path}\n+++ {path}\n{CHANGE}" if path.startswith("/") else _diff(path) for path in paths]
    with pytest.raises(DefinitionError) as caught:
        load("".join(heads), **given)
    assert error in str(caught.value)


def test_paths_that_an_error_lists_can_be_copied_into_the_header() -> None:
    text = "".join(map(_diff, ["acme/x.py", "tests/t.py", "docs/a, b.md"]))
    with pytest.raises(DefinitionError) as caught:
        load(HEADER + text)
    assert load(f"{HEADER.strip()}\n{str(caught.value).splitlines()[-1]}\n\n{text}")


@pytest.mark.parametrize("names", [("acme/x.py", "old/x.py"), ("tests/x.py", "acme/x.py")])
@pytest.mark.parametrize("leave_out", [[], ["old", "tests"]])
def test_a_rename_from_or_to_another_place_is_an_error(names: tuple[str, str], leave_out: list[str]) -> None:
    old, new = names
    moved = f"diff --git a/{old} b/{new}\nsimilarity index 100%\nrename from {old}\nrename to {new}\n"
    with pytest.raises(
        DefinitionError, match=r"expected a rename inside of the package, found .*: make the diff with -"
    ):
        load(moved, **GIVEN, leave_out=leave_out)


# --- what cannot be patched

GIT = "diff --git a/acme/x.so b/acme/x.so\n"
HUNK_OF_GIT = "--- a/acme/x.so\n+++ b/acme/x.so\n@@ -1 +1 @@\n-y\n+z\n"
BINARY = "GIT binary patch\nliteral 3\nKcmZQzWD5TR009610RS`r\n\nliteral 0\nHcmV?d00001\n\n"


@pytest.mark.parametrize(
    ("section", "error"),
    [
        (f"{GIT}index 1..2 100644\n{BINARY}", "line 6: x.so: a binary file"),
        (f"{GIT}index 1..2\nBinary files a/acme/x.so and b/acme/x.so differ\n", "line 6: x.so: a binary file"),
        ("Binary files a/acme/x.so and b/acme/x.so differ\n", "line 6: x.so: a binary file"),
        ("diff -r 12 acme/x.so\nBinary file acme/x.so has changed\n", "line 7: x.so: a binary file"),
        (
            f"Index: acme/x.so\n{'=' * 67}\nCannot display: file marked as a binary type.\nsvn:mime-type = a/b\n",
            "line 8: x.so: a binary file",
        ),
        (f"{GIT}new file mode 120000\nindex 0..1\n{HUNK_OF_GIT}", "line 6: x.so: a symbolic link"),
        (f"{GIT}index 1..2 160000\n{HUNK_OF_GIT}", "line 6: x.so: a submodule"),
    ],
)
def test_what_no_patch_can_hold_is_refused_by_name_or_left_out(section: str, error: str) -> None:
    text = f"{_diff('acme/y.py')}{section}{_diff('acme/z.py')}".replace("--- a/acme/z", "Index: z\n--- a/acme/z")
    with pytest.raises(DefinitionError, match=f"^fix.patch: {error} cannot be patched$"):
        load(text, **GIVEN)
    assert _patch.load(load(text, **GIVEN, leave_out=["*.so"])).files() == ("y.py", "z.py")


def test_bytecode_that_a_comparison_finds_is_left_out() -> None:
    text = "Binary files a/acme/__pycache__/x.cpython-311.pyc and b/acme/__pycache__/x.cpython-311.pyc differ\n"
    assert _patch.load(load(text + _diff("acme/y.py"), **GIVEN)).files() == ("y.py",)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "expected a patch, found an empty file"),
        (b" \n\n", "expected a patch, found an empty file"),
        (gzip.compress(DIFF.encode(), mtime=0), "expected a patch: it is compressed (gzip): unpack it first"),
        (b"BZh91AY", "expected a patch: it is compressed (bzip2): unpack it first"),
        (b"PK\x03\x04x", "expected a patch: it is a zip archive: unpack it first"),
        (DIFF.encode("utf-16"), "expected a patch: it is UTF-16, as > of PowerShell writes it: write it as UTF-8"),
        (
            b"\n<!DOCTYPE html>\n<html>",
            "expected a patch: this is a web page: download the raw file (of a pull request",
        ),
        (b"<html lang='en'>", "expected a patch: this is a web page: download the raw file"),
        (b"404: Not Found", "expected a unified diff, found none; it begins with '404: Not Found'"),
        (HEADER.encode(), "expected a unified diff, found none; it begins with 'Description: It was wrong.'"),
        (DIFF.encode() + b"\0", f"expected text, found a zero byte at {len(DIFF)}"),
        (
            b"*** a/x\n--- b/x\n***************\n*** 1 ****\n",
            "expected a unified diff, found a context diff: make it w",
        ),
        (b"3,4c3\n< a\n---\n> b\n", "expected a unified diff, found a diff without context: make it with diff -u"),
        (b"7d\n3c\nb\n.\n", "expected a unified diff, found a diff without context: make it with diff -u"),
        (DIFF.replace("", "\x1b[1m").encode(), "expected a unified diff, found the colours of a terminal: make"),
        (f"> {DIFF}".replace("\n", "\n> ").encode(), "expected a unified diff, found one that is quoted or indented"),
        (DIFF.encode()[:-3], "line 5: expected more lines of a hunk, found the end: is it truncated?"),
        (DIFF.encode()[:-1], "line 5: expected the end of the line, found the end: is it truncated?"),
        (b"--- a/acme/x\n+++ b/acme/x\n", "line 3: expected '@@ -N,N +N,N @@', found the end: is it truncated?"),
        (GIT.encode() + b"index 1..2 100644\n", "line 1: x.so: expected hunks, found none: is it truncated?"),
        (GIT.encode() + b"new file mode 100644\nindex 0..12\n", "line 1: x.so: expected hunks, found none"),
        (DIFF.encode() + b"@@ -5 +5 @@ x\n-a\n+b\nand more", "line 9: expected '@@ -N,N +N,N @@', found 'and more'"),
        (f"{CHANGE}".encode(), "line 1: expected the name of the file that the hunks are of, found none"),
        (
            f"{HEADER}Subject: x\ncontent-transfer-encoding: Quoted-Printable\n\n{DIFF}=20\n".encode(),
            "expected a plain mail, found one in quoted-printable: save its text",
        ),
        (
            b"Subject: x\nContent-Transfer-Encoding: base64\n\nLS0tIGEvYWNtZQ==\n",
            "expected a plain mail, found one in base64: save its text",
        ),
        (
            b"Content-Type: multipart/mixed\n\n--x\nContent-Transfer-Encoding: base64\n\nLS0tIGEvYWNtZQ==\n",
            "expected a unified diff, found a mail with an attachment that is encoded: save the attachment",
        ),
        (b"diff --cc acme/x\n", "line 1: the diff of a merge cannot be used: make one against one parent"),
    ],
)
def test_what_is_no_patch_is_one_clear_error(data: bytes, error: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load(data, **GIVEN)
    assert str(caught.value).startswith(f"fix.patch: {error}")


def test_lines_in_the_encoding_of_the_file_come_through() -> None:
    text = f"{_head('x.py')}@@ -1,2 +1,2 @@\n # coding: latin-1\n-é\n+ü\n"
    definition = json.loads(json.dumps(load(text.encode("latin-1"), **GIVEN)))
    before, after = (Text(f"# coding: latin-1\n{each}\n".encode("latin-1")) for each in "éü")
    assert patched(definition, {"x.py": before}) == {"x.py": after}


# --- files and directories


def test_a_directory_gives_the_definitions_of_its_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "B-two.diff").write_text(HEADER + DIFF)
    (tmp_path / "a.PATCH").write_text(HEADER + DIFF)
    definition = {**load(HEADER + DIFF), "name": "z"}
    (tmp_path / "c.json").write_text(json.dumps([definition, {**definition, "name": "y"}]))
    for other in ("README.md", ".hidden.patch", "a.PATCH~", "series"):
        (tmp_path / other).write_text("x")
    (tmp_path / "sub").mkdir()
    assert [each["name"] for each in _patch_file.read(str(tmp_path))] == ["b_two", "a", "z", "y"]
    assert _patch_file.read(str(tmp_path / "a.PATCH")) == [load(HEADER + DIFF, "a.patch")]


def test_what_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    def error(path: Path) -> str:
        with pytest.raises(DefinitionError) as caught:
            _patch_file.read(str(path))
        return str(caught.value).replace(str(tmp_path), "DIR")

    assert error(tmp_path) == "DIR: expected files that end in one of .patch, .diff, .json, found none"
    assert error(tmp_path / "x.patch") == "DIR/x.patch: cannot be read: No such file or directory"
    (tmp_path / "one.patch").write_text(HEADER + DIFF)
    (tmp_path / "ONE.diff").write_text(HEADER + DIFF)
    assert error(tmp_path) == "DIR/one.patch: a patch one is in DIR/ONE.diff already: rename one of them"
    (tmp_path / "x.json").write_text("{")
    assert error(tmp_path / "x.json").startswith("DIR/x.json: Expecting property name")
    (tmp_path / "x.json").write_text('{"name": "x"}')
    assert error(tmp_path / "x.json") == "DIR/x.json: patch x: versions: expected text, found nothing"
    (tmp_path / "x.yml").write_text("name: x\n")
    assert error(tmp_path / "x.yml") == "DIR/x.yml: definitions in YAML are for Ansible alone: write them as JSON"
    (tmp_path / "x.patch").write_bytes(b"x" * (16 * 1024 * 1024 + 1))
    assert error(tmp_path / "x.patch") == "DIR/x.patch: expected at most 16777216 bytes, found more"


# --- properties

NAMES = st.lists(st.text('ab é\t"\\x', min_size=1, max_size=5), min_size=1, max_size=3).map("/".join)
TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "-- c\n", "é\r\n", "\n"]), max_size=6).map("".join)
CHANGES = st.dictionaries(NAMES, st.tuples(st.none() | TEXTS, st.none() | TEXTS), min_size=1, max_size=3)


@given(changes=CHANGES, package=st.sampled_from(["acme", "na.me"]), executable=st.booleans())
def test_edits_that_are_written_as_a_diff_are_read_as_the_same(
    changes: dict[str, tuple[str | None, str | None]], package: str, *, executable: bool
) -> None:
    edits: list[Any] = []
    for number, (name, (old, new)) in enumerate(changes.items()):
        hunks = _hunks(old or "", new or "")
        if old == new:
            edits.append(Diff(name, executable=executable))
        elif old is None or new is None:
            edits.append(Diff(name, hunks, creates=old is None, removes=new is None))
        elif number:
            edits.append(Diff(name, hunks, source="other/é"))
        else:
            edits.append(Diff(name, hunks))
    if any(getattr(edit, "source", None) for edit in edits):
        edits.insert(0, Delete("other/é", moved=True))
    assert _unified.load(_patch_file.written(edits, package), package) == edits


def _hunks(old: str, new: str) -> tuple[Hunk, ...]:
    if old == new:
        return ()
    lines = [f"-{line}" for line in old.splitlines(True)] + [f"+{line}" for line in new.splitlines(True)]
    return (Hunk(1 if old else 0, 1 if new else 0, tuple(lines)),)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"\x1c")
def test_no_bytes_end_in_anything_but_a_definition_or_an_error_that_names_the_file(data: bytes) -> None:
    for each in (data, HEADER.encode() + data, HEADER.encode() + DIFF.encode() + data):
        try:
            definition = load(each, **GIVEN)
        except DefinitionError as error:
            assert str(error).startswith("fix.patch: ")  # noqa: PT017 (either is right)
        else:
            assert _patch.load(definition).files()
