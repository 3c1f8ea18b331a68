# Patch files that are written: read again and done to the originals, they give the very bytes, and back.
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _diff_text, _fold, _patch, _patch_file, _patch_text
from ansible_collections.primus.patches.plugins.module_utils._edits import ABSENT, Text
from ansible_collections.primus.patches.plugins.module_utils._patch_text import Edited
from hypothesis import given, settings
from hypothesis import strategies as st

TREE = _fold.Tree("", lambda _name: None, lambda _name, _file: ABSENT)
# Lines of few kinds, so that hunks have several places, with all that ends a line for somebody, and bytes of no codec.
ODD = [b"@@ -1 +1 @@\n", b"diff --git a/x b/x\n", b"\\ No newline\n", b"-- \n", b"--- a\n", "\u2028\n".encode()]
ENDS = [b"\n", b"\r\n", b"a\r\n", b"\r", b"\x0c\n", b" \n", b"\t\n"]
LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"\xe9\n", b"\xc3\xa9\n", *ENDS, *ODD]), max_size=20)
CONTENTS = st.builds(lambda lines, last: b"".join(lines) + last, LINES, st.sampled_from([b"", b"a", b"a\r", b"\xe9"]))
TEXTS = st.one_of(st.just(ABSENT), st.builds(Text, CONTENTS, st.booleans()))
NAMES = st.text(st.sampled_from('abc .-"\t\né\u2028'), min_size=1, max_size=6).filter(lambda name: name.strip(". "))


def written(*files: Edited, package: str | None = "acme") -> _patch_text.Written:
    return _patch_text.write(files, "acme", "2.3.0", package)


def made(data: bytes, files: list[Edited], package: str | None = "acme") -> dict[str, Text]:
    """Return what each file is once the patch file was read by itself and done."""
    patch = _patch.load(_patch_file.load(data, "fix.patch"))
    above = "acme/" if package else ""
    found = {}
    for each in files:
        layer = _fold.Layer("fix", 1, (), patch.on(each.path[len(above) :]))
        found[each.path] = _fold.fold(each.path, each.before, [layer], TREE)
        undone = _fold.unfold(each.after, layer, TREE)
        assert undone is not None
        assert undone.data == each.before.data
    return found


@given(st.dictionaries(NAMES, st.tuples(TEXTS, TEXTS), min_size=1, max_size=3), st.booleans())
def test_what_is_written_gives_the_edited_bytes(files: dict[str, tuple[Text, Text]], whole: bool) -> None:  # noqa: FBT001
    package = None if whole else "acme"
    edited = [Edited("acme/%s.txt" % name, *pair) for name, pair in files.items() if pair[0] != pair[1]]
    found = written(*edited, package=package)
    assert not found.left_out
    assert list(found.files) == edited
    if edited:
        assert made(found.data, edited, package) == {each.path: each.after for each in edited}


@settings(max_examples=settings.default.max_examples // 4)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 3))
def test_hunks_have_three_lines_around_and_name_the_right_ones(first: int, second: int, count: int) -> None:
    before = [b"%d\n" % number for number in range(60)]
    after = [line for at, line in enumerate(before) if not first <= at < first + count]
    after[second:second] = [b"new\n"]
    edited = Edited("acme/x.txt", Text(b"".join(before)), Text(b"".join(after)))
    found = written(edited)
    assert made(found.data, [edited]) == {"acme/x.txt": edited.after}
    assert found.data.count(b"\n ") <= 12  # (two hunks at most, of six lines around each)


def test_many_lines_are_one_change_and_soon_told() -> None:
    texts = [b"".join(b"%d %d\n" % (number, kind) for number in range(30_000)) for kind in (0, 1)]
    edited = Edited("acme/x.txt", Text(b"same\n" * 5 + texts[0]), Text(b"same\n" * 5 + texts[1]))
    found = written(edited)
    assert found.data.count(b"\n@@ ") == 1
    assert made(found.data, [edited]) == {"acme/x.txt": edited.after}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a b.py", b"diff --git a/acme/a b.py b/acme/a b.py\n--- a/acme/a b.py\t\n+++ b/acme/a b.py\t\n"),
        ("é.py", b'diff --git "a/acme/\\303\\251.py" "b/acme/\\303\\251.py"\n--- "a/acme/\\303\\251.py"\n'),
        ('"\t.py', b'diff --git "a/acme/\\"\\t.py" "b/acme/\\"\\t.py"\n'),
    ],
)
def test_names_are_written_as_git_does(name: str, told: bytes) -> None:
    assert _diff_text.section("acme/" + name, Text(b"a\n"), Text(b"b\n")).startswith(told)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (ABSENT, Text(b""), "new file mode 100644\n"),
        (ABSENT, Text(b"", executable=True), "new file mode 100755\n"),
        (Text(b""), ABSENT, "deleted file mode 100644\n"),
        (Text(b"a"), Text(b"a", executable=True), "old mode 100644\nnew mode 100755\n"),
        (Text(b"a"), Text(b"a"), ""),
        (Text(b""), Text(b"a"), "--- a/x\n+++ b/x\n@@ -0,0 +1,1 @@\n+a\n\\ No newline at end of file\n"),
        (ABSENT, Text(b"a\n"), "new file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1,1 @@\n+a\n"),
    ],
)
def test_what_is_no_change_of_lines_is_told_as_git_does(before: Text, after: Text, told: str) -> None:
    head = "diff --git a/x b/x\n" if told else ""
    assert _diff_text.section("x", before, after).decode() == head + told


# --- what is left out, and why

LATIN = b"# coding: latin-1\n"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b"A = 1\n", b"A = (\n", "does not parse"),
        (LATIN + b"A = '\xe9'\n", LATIN + b"A = '\xc3\xa9'\n", "in the encoding that the file declares"),
    ],
)
def test_what_the_engine_would_not_make_is_left_out(before: bytes, after: bytes, reason: str) -> None:
    good = Edited("acme/good.py", Text(LATIN + b"A = 'a'\n"), Text(LATIN + b"A = '\xe9'\n"))
    found = written(good, Edited("acme/x.py", Text(before), Text(after)))
    assert found.files == (good,)
    assert reason in found.left_out["acme/x.py"]
    assert made(found.data, [good]) == {"acme/good.py": good.after}


@pytest.mark.parametrize("name", ["back\\slash.txt", "star*.txt", "which?.txt"])
def test_a_name_that_no_patch_can_have_is_left_out(name: str) -> None:
    found = written(Edited("acme/" + name, ABSENT, Text(b"a\n")))
    assert not found.files
    assert found.left_out["acme/" + name].startswith("file: expected ")


@pytest.mark.parametrize(
    ("version", "versions"),
    [("2.3.0", "==2.3.0"), ("2.9.0+cpu", "==2.9.0"), ("2.0rc1", "==2.0rc1"), (None, "*"), ("none", "*")],
)
def test_the_header_names_package_and_version(version: str | None, versions: str) -> None:
    edited = Edited("acme/x.py", Text(b"A = 1\n"), Text(b"A = 2\n"))
    whole: dict[str, Any] = {}
    for package in ("acme", None):
        data = _patch_text.write([edited], "Acme-Dist", version, package).data
        whole[str(package)] = _patch_file.load(data, "Our-Fix.patch")
    assert {each["versions"] for each in whole.values()} == {versions}
    assert {each["name"] for each in whole.values()} == {"our_fix"}
    assert [whole["acme"].get("package"), whole["acme"].get("distribution")] == ["acme", None]
    assert [whole["None"].get("package"), whole["None"].get("distribution")] == [None, "Acme-Dist"]
    assert "to be filled in" in whole["acme"]["reason"]
