# Patch definitions: each error names the patch, the key and the reason; what a task's name and definitions select.
from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _patch
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.primus.patches.plugins.module_utils._diff import Diff, Hunk
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError
from ansible_collections.primus.patches.plugins.module_utils._reexport import Reexport
from ansible_collections.primus.patches.plugins.module_utils._replace import Replace
from ansible_collections.primus.patches.plugins.module_utils._whole import Delete, Write
from hypothesis import given
from hypothesis import strategies as st

EDIT = {"source": ".core", "names": ["Thing", "other"]}
GOOD: dict[str, Any] = {
    "name": "my_patch",
    "package": "my_package",
    "versions": ">=2.0,<3",
    "file": "sub/api.py",
    "revision": 3,
    "reason": "Thing has moved.",
    "upstream": "none",
    "retire": "Some day.",
    "edits": [{"reexport": EDIT}],
    "distribution": "my-package",
}
DIFF = "--- a/my_package/api.py\n+++ b/my_package/api.py\n@@ -3,2 +3,2 @@ def f():\n x\n-old\n+new\n"
HUNK = Hunk(3, 3, (" x\n", "-old\n", "+new\n"))
SHA = "0123456789abcdef" * 4
ABSENT = object()


def definition(**changes: object) -> dict[str, Any]:
    """Return a definition in which keys have other values, or are ABSENT."""
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not ABSENT}


def edits(**changes: object) -> list[dict[str, Any]]:
    return [{"reexport": {key: value for key, value in {**EDIT, **changes}.items() if value is not ABSENT}}]


def test_a_definition_becomes_a_patch() -> None:
    assert _patch.load(GOOD) == _patch.Patch(
        name="my_patch",
        package="my_package",
        distribution="my-package",
        versions=">=2.0,<3",
        when=(),
        requires=(),
        applied_upstream=None,
        revision=3,
        after=(),
        reason="Thing has moved.",
        upstream="none",
        retire="Some day.",
        edits=(Reexport("sub/api.py", ".core", ("Thing", "other")),),
    )


def test_a_patch_may_have_edits_of_all_kinds_each_of_its_own_file() -> None:
    patch = _patch.load(
        definition(
            edits=[
                {"reexport": EDIT},
                {"replace": {"before": "a\r\n", "after": "", "count": "all"}, "file": "a.py"},
                {
                    "file": "**/*.py",
                    "replace": {"pattern": r"f\((\w)\)", "after": r"g(\1)", "count": 2, "partial": True},
                },
                {"diff": DIFF},
                {"write": {"content": "x\r\n", "replaces": "absent"}, "file": "new.py"},
                {"delete": {"replaces": SHA}, "file": "old.py"},
                {"delete": None, "file": "older.py"},
            ],
            requires=["torch>=2.1", "jax", "flash-attn ~= 2.1"],
            when=["numpy>=2"],
            applied_upstream=">=3",
            after=["another"],
        )
    )
    assert patch.edits == (
        Reexport("sub/api.py", ".core", ("Thing", "other")),
        Replace("a.py", "a\n", "", 0),
        Replace("**/*.py", r"f\((\w)\)", r"g(\1)", 2, partial=True, is_expression=True, over=True),
        Diff("sub/api.py", (HUNK,)),
        Write("new.py", "x\n", "absent"),
        Delete("old.py", SHA),
        Delete("older.py"),
    )
    assert patch.requires == (("torch", ">=2.1"), ("jax", ""), ("flash-attn", "~= 2.1"))
    assert patch.when == (("numpy", ">=2"),)
    assert (patch.applied_upstream, patch.after) == (">=3", ("another",))
    assert patch.files() == ("sub/api.py", "a.py", "**/*.py", "new.py", "old.py", "older.py")
    assert patch.on("a.py") == (patch.edits[1], patch.edits[2]._replace(file="a.py"))
    assert patch.on("data.txt") == ()


def test_without_a_file_a_diff_is_of_those_that_it_names() -> None:
    above = "src/my_package"
    moved = f"diff --git a/{above}/x b/{above}/sub/y\nrename from {above}/x\nrename to {above}/sub/y\n"
    patch = _patch.load(definition(file=ABSENT, edits=[{"diff": DIFF + moved}, {"diff": DIFF, "file": "b.py"}]))
    assert patch.edits == (
        Delete("x", moved=True),
        Diff("api.py", (HUNK,)),
        Diff("sub/y", source="x"),
        Diff("b.py", (HUNK,)),
    )


def test_revision_and_distribution_may_be_left_out() -> None:
    patch = _patch.load(definition(revision=ABSENT, distribution=ABSENT))
    assert (patch.revision, patch.distribution) == (1, None)


@pytest.mark.parametrize(
    "file", ["my_package-2.0.dist-info/METADATA", "top_level.py", "../../../bin/tool", "my_package/api.py"]
)
def test_a_distribution_alone_may_have_any_file_that_record_lists(file: str) -> None:
    patch = _patch.load(
        definition(package=ABSENT, file=file, edits=[{"replace": {"before": "a", "after": "b"}}], versions="*")
    )
    assert (patch.package, patch.distribution, patch.files()) == (None, "my-package", (file,))


@pytest.mark.parametrize(
    ("package", "file", "expected"),
    [
        ("a", "b.py", "a"),
        ("a", "b/c/d.py", "a.b.c"),
        ("a.b", "c.py", "a.b"),
        ("a.b", "c/d.py", "a.b.c"),
        (ABSENT, "b.py", ""),
        (ABSENT, "a/b.py", "a"),
        (ABSENT, "../../bin/a", ""),
    ],
)
def test_the_package_of_the_module_is_that_of_its_file(package: object, file: str, expected: str) -> None:
    patch = _patch.load(definition(package=package, file=file, edits=[{"diff": DIFF}]))
    assert patch.module_package(file) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a"),
        ("package", "name.space.package_1"),
        ("package", "módulo"),
        ("versions", "==4.57.*"),
        ("versions", "*"),
        ("when", []),
        ("after", []),
        ("file", "__init__.py"),
        ("revision", 1),
        ("edits", edits(source="a.b")),
        ("edits", edits(source="..core.deep")),
        ("edits", edits(names=["_private"])),
    ],
)
def test_what_is_right_is_taken(key: str, value: object) -> None:
    _patch.load(definition(**{key: value}))


@pytest.mark.parametrize("value", [None, [], "transformers_modeling_utils", 1])
def test_a_definition_that_is_no_mapping_is_refused(value: object) -> None:
    with pytest.raises(DefinitionError, match=r"^a patch definition must be a mapping, found "):
        _patch.load(value)


@pytest.mark.parametrize("name", [ABSENT, None, "", "My_patch", "my-patch", "1st", "a b", "a\n", "é", 7, ["a"]])
def test_a_name_is_lower_case_letters_digits_and_underscores(name: object) -> None:
    with pytest.raises(DefinitionError) as caught:
        _patch.load(definition(name=name))
    found = None if name is ABSENT else name
    assert str(caught.value) == f"patch definition: name: expected lower-case letters, digits and _, found {found!r}"


TEXT_KEYS = ["versions", "reason", "upstream", "retire"]
ALL_KEYS = (
    "name, versions, reason, upstream, retire, package, distribution, applied_upstream, file, when, requires, "
    "revision, after, edits"
)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        *((key, ABSENT, f"{key}: expected text, found nothing") for key in TEXT_KEYS),
        *((key, "  ", f"{key}: expected text, found str '  '") for key in TEXT_KEYS),
        *((key, 5, f"{key}: expected text, found int 5") for key in [*TEXT_KEYS, "package", "distribution", "file"]),
        ("patches", 1, f"patches: unknown key; known: {ALL_KEYS}"),
        ("previous", [], f"previous: unknown key; known: {ALL_KEYS}"),
        ("file", ABSENT, "file: expected the file of the edit reexport, found none"),
        ("file", "*.py", "file: expected one file, found '*.py'; only a replace may be over several"),
        ("distribution", "my package", "distribution: expected the name of a distribution, found 'my package'"),
        ("reason", "\ud800", "reason: expected text, found '\\ud800', which is no character"),
        ("reason", "a" * (16 * 1024 * 1024 + 1), "reason: expected at most 16777216 characters, found 16777217"),
        ("edits", [{"diff": DIFF}] * 10001, "edits: expected at most 10000 edits, found 10001"),
        *(
            ("after", value, f"after: expected {error}")
            for value, error in (
                ("x", "a list of names, found str 'x'"),
                (["my_patch"], "the name of another patch, found 'my_patch'"),
                (["A"], "the name of another patch, found 'A'"),
                ([1], "the name of another patch, found 1"),
            )
        ),
        *(
            ("package", value, f"package: expected a dotted import name, found {value!r}")
            for value in ("my-package", ".core", "a..b", "a.", "1a", "a/b", "a b", "a\n")
        ),
        *(
            ("file", value, f"file: expected a path below the package, found {value!r}")
            for value in ("a\0b", "/etc/passwd", "../x.py", "a/../../x.py", "./x.py", "a//x.py", "a/", "a\\x.py", "..")
        ),
        ("versions", ">=4.56 <5", "versions: version specifier '>=4.56 <5': expected "),
        ("versions", "4.56", "versions: version specifier '4.56': expected "),
        *(
            ("revision", value, f"revision: expected a whole number from 1, found {value!r}")
            for value in (0, -1, "1", 1.0, True, None)
        ),
        *(
            ("edits", value, "edits: expected a list of edits, found ")
            for value in (ABSENT, "reexport", {"reexport": EDIT}, 1)
        ),
        ("edits", [], "edits: expected at least one edit, found none"),
        *(
            (
                "edits",
                [value],
                "edits: expected one of reexport, replace, diff, write, delete as the only key of an edit besides file",
            )
            for value in (
                "x",
                {},
                {"file": "a.py"},
                {1: 2},
                {"sed": "s/a/b/"},
                {"reexport": EDIT, "diff": DIFF},
                None,
                [DIFF],
            )
        ),
        ("edits", [{"reexport": [1]}], "edits.reexport: expected a mapping of source, names, found list [1]"),
        *(
            ("edits", [{"replace": value}], f"edits.replace{error}")
            for value, error in (
                ({"before": "a"}, ".after: expected text, found nothing"),
                ({"before": "", "after": "a"}, ".before: expected text, found str ''"),
                ({"before": "a", "after": "a"}, ".after: expected another text than before, found the same"),
                ({"before": "a\r\n", "after": "a\n"}, ".after: expected another text than before, found the same"),
                ({"after": "b"}, ": expected either before or pattern, found neither"),
                (
                    {"before": "a", "pattern": "a", "after": "b"},
                    ": expected either before or pattern, found before and ",
                ),
                ({"pattern": "(", "after": "b"}, ".pattern: expected a Python regular expression: missing ), "),
                (
                    {"pattern": "(a)", "after": r"\2"},
                    ".after: expected a template for the pattern: invalid group refer",
                ),
                (
                    {"pattern": "(a)", "after": r"\g<x>"},
                    ".after: expected a template for the pattern: unknown group na",
                ),
                ({"before": "a", "after": "b", "count": 0}, ".count: expected a whole number from 1, or all, found 0"),
                (
                    {"before": "a", "after": "b", "count": True},
                    ".count: expected a whole number from 1, or all, found ",
                ),
                (
                    {"before": "a", "after": "b", "count": "2"},
                    ".count: expected a whole number from 1, or all, found '2",
                ),
                ({"before": "a", "after": "b", "partial": 1}, ".partial: expected true or false, found 1"),
                (
                    {"before": "a", "after": "b", "over": True},
                    ".over: unknown key; known: before, pattern, after, count,",
                ),
                ("a", ": expected a mapping of before, pattern, after, count, partial, found str 'a'"),
            )
        ),
        *(
            ("edits", [{"diff": value}], f"edits.diff: {error}")
            for value, error in (
                (1, "expected text, found int 1"),
                ("--- a\n+++ b\n", "line 3: expected '@@ -N,N +N,N @@', found the end: is it truncated?"),
                (DIFF + DIFF, "a diff of 2 files: leave file out, then their names in the diff count"),
            )
        ),
        *(
            ("edits", [value], f"edits.{error}")
            for value, error in (
                ({"write": {}}, "write.content: expected text, found nothing"),
                (
                    {"write": {"content": "", "replaces": "a" * 63}},
                    "write.replaces: expected a SHA-256 or absent, found ",
                ),
                ({"write": {"content": "", "mode": 1}}, "write.mode: unknown key; known: content, replaces"),
                ({"delete": {"replaces": "absent"}}, "delete.replaces: expected a SHA-256, found 'absent'"),
                ({"delete": {"moved": True}}, "delete.moved: unknown key; known: replaces"),
                ({"delete": "a.py"}, "delete: expected a mapping of replaces, found str 'a.py'"),
                ({"delete": None, "file": ""}, "file: expected text, found str ''"),
            )
        ),
        *(
            (key, value, f"{key}: {error}")
            for key in ("requires", "when")
            for value, error in (
                ("torch", "expected a list of texts, found str 'torch'"),
                ([1], "expected text, found int 1"),
                (["torch; python_version < '3.9'"], "expected a distribution and specifiers, no markers, found "),
                (["torch[extra]>=2"], "expected a distribution and specifiers, no markers, found "),
                (["torch >="], "version specifier"),
            )
        ),
        ("applied_upstream", "3", "applied_upstream: version specifier '3': expected "),
        ("edits", edits(sources=".x"), "edits.reexport.sources: unknown key; known: source, names"),
        ("edits", edits(source=ABSENT), "edits.reexport.source: expected text, found nothing"),
        ("edits", edits(source="."), "edits.reexport.source: expected a module name such as .sibling, found '.'"),
        ("edits", edits(source="a-b"), "edits.reexport.source: expected a module name such as .sibling, found 'a-b'"),
        ("edits", edits(source=".a import x #"), "edits.reexport.source: expected a module name such as .sibling, "),
        ("edits", edits(source=".é"), "edits.reexport.source: expected a module name such as .sibling, found '.é'"),
        ("edits", edits(source="...x"), "edits.reexport.source: ...x lies above the package my_package"),
        *(
            ("edits", edits(names=value), "edits.reexport.names: expected ")
            for value in (ABSENT, [], "Thing", ["a", "b", "a"], {"a": 1})
        ),
        *(
            ("edits", edits(names=["a", value]), f"edits.reexport.names: expected a name, found {value!r}")
            for value in ("a.b", "a as b", "", "*", "é", 1, None, "class", "None")
        ),
    ],
)
def test_an_error_names_the_patch_the_key_and_the_reason(key: str, value: object, error: str) -> None:
    file = {"file": "api.py"} if "above" in error else {}
    with pytest.raises(DefinitionError) as caught:
        _patch.load(definition(**{**file, key: value}))
    assert str(caught.value).startswith(f"patch my_patch: {error}")


ALONE = {"package": ABSENT, "edits": [{"diff": DIFF}]}
AWAY = "diff --git a/x b/y\nrename from my_package/api.py\nrename to y\n"
ABOVE, BELOW = " lies above the package my_package", "file: expected a path below the package, found "
TOGETHER: list[tuple[dict[str, Any], str]] = [
    ({"file": "api.py", "edits": edits(source="..x")}, f"edits.reexport.source: ..x{ABOVE}"),
    ({"file": "api.py", "edits": edits(source="..my_package.core")}, f"..my_package.core{ABOVE}"),
    ({"file": "sub/api.py", "edits": edits(source="...x")}, f"edits.reexport.source: ...x{ABOVE}"),
    ({"package": ABSENT, "file": "top.py"}, "edits.reexport.source: .core lies above top.py"),
    ({"package": ABSENT, "distribution": ABSENT}, "package: expected it, or distribution alone, found neither"),
]
TOGETHER += [
    ({**ALONE, "file": path}, "file: expected a path as RECORD lists it, found ")
    for path in ("/etc/passwd", "a/../../x", "..", "../..", "../a/../b", "./x", "a//b", "..\\x", "../")
]
TOGETHER += [
    ({"file": ABSENT, "edits": [{"diff": diff.replace("my_package/api.py", path)}]}, BELOW)
    for path in ("../x.py", "b/../../x.py", "/etc/passwd")
    for diff in (DIFF, AWAY)
]


@pytest.mark.parametrize(("changes", "error"), TOGETHER)
def test_keys_that_do_not_go_together_are_an_error(changes: dict[str, object], error: str) -> None:
    with pytest.raises(DefinitionError, match=f"^patch my_patch: .*{re.escape(error)}"):
        _patch.load(definition(**changes))


# --- what facts keep


def digest(**changes: object) -> str:
    patch = _patch.load(definition(**changes))
    return _patch.digest(patch.on(patch.files()[0]))


def test_the_digest_is_that_of_what_the_edits_do() -> None:
    replace = {"before": "a\nb", "after": "c\n", "count": 1}
    one = digest(edits=[{"replace": replace}])
    assert one == digest(edits=[{"replace": dict(reversed(replace.items()))}])
    assert one == digest(edits=[{"replace": {"after": "c\r\n", "before": "a\r\nb"}}], reason="Another.", revision=9)
    assert one == digest(edits=[{"replace": replace, "file": "another.py"}])
    assert one != digest(edits=[{"replace": {**replace, "count": 2}}])
    assert one != digest(edits=[{"replace": {**replace, "partial": True}}])
    assert one != digest(edits=[{"replace": {"pattern": "a\nb", "after": "c\n"}}])


def test_the_digest_of_a_diff_is_that_of_its_hunks() -> None:
    one = digest(edits=[{"diff": DIFF}])
    assert one == digest(edits=[{"diff": DIFF.replace("\n", "\r\n")}])
    assert one == digest(edits=[{"diff": DIFF}], file=ABSENT)
    assert one == digest(edits=[{"diff": "Subject: why\n\n" + DIFF.replace("api.py", "x.py").replace(" def f():", "")}])
    assert one != digest(edits=[{"diff": DIFF.replace("+new", "+newer")}])


@pytest.mark.parametrize(
    "edit",
    [
        Reexport("f", "..a.b", ("x", "y")),
        Replace("f", "a", "b", 3, partial=True),
        Replace("f", "(a)", r"\1", 0, is_expression=True, over=True),
        Diff("f", (Hunk(1, 1, ("-a", "+b\n")),), "source", executable=False),
        Diff("f", (Hunk(0, 1, ("+\udce9\r\n",)),), creates=True, executable=True),
        Diff("f", (Hunk(1, 0, ("-a\n",)), Hunk(9, 8, (" x\n", "+y\n"))), removes=True),
        Diff("f", executable=True),
        Write("f", "", "absent"),
        Write("f", "x"),
        Delete("f", SHA),
        Delete("f", moved=True),
    ],
)
def test_edits_come_back_from_a_fact(edit: Any) -> None:
    kept = json.loads(json.dumps(_patch.stored([edit])))
    again = _patch.restored("f", kept)
    assert _patch.digest(again) == _patch.digest([edit])
    if not (isinstance(edit, Replace) and edit.over):
        assert again == (edit,)
    else:
        assert again == (edit._replace(occurrences=0),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
KEYS = st.sampled_from(
    ["source", "names", "before", "pattern", "after", "count", "partial", "over", "hunks", "creates"]
)
MORE = st.sampled_from(["removes", "executable", "content", "replaces", "moved"])


@given(
    JSON | st.lists(st.dictionaries(st.sampled_from(sorted(_patch.KINDS)), st.dictionaries(KEYS | MORE, JSON) | JSON))
)
def test_what_is_damaged_in_a_fact_is_an_error_of_the_family(kept: Any) -> None:
    try:
        edits = _patch.restored("f", kept)
    except DefinitionError:
        return
    assert _patch.restored("f", _patch.stored(edits)) == edits


# --- what a task means

KNOWN = [definition(name="a"), definition(name="b")]


@pytest.mark.parametrize(
    ("names", "definitions", "expected"),
    [
        (["b", "a"], None, ["b", "a"]),
        (["a"], [], ["a"]),
        (["a", "b", "a"], None, ["a", "b"]),
        (None, ["y", "x"], ["y", "x"]),
        ([], ["x"], ["x"]),
        (["x", "a", "y"], ["y", "x"], ["x", "a", "y"]),
        (["a"], ["x"], ["a"]),
    ],
)
def test_names_select_from_catalogue_and_definitions_in_the_order_given(
    names: list[str] | None, definitions: list[str] | None, expected: list[str]
) -> None:
    written = None if definitions is None else [definition(name=name) for name in definitions]
    assert [patch.name for patch in _patch.select(names, written, KNOWN)[0]] == expected


NOTHING = "nothing to do: give name (a, b) or definitions"
TAKEN = "name: a patch of that name exists already; give yours another one"
X, WRONG = definition(name="x"), definition(name="x", revision=0)


@pytest.mark.parametrize(
    ("names", "definitions", "error"),
    [
        (None, None, NOTHING),
        ([], [], NOTHING),
        (["zzz", "a", "nope"], [X], "unknown patch nope, zzz; known: a, b, x"),
        (["a"], [KNOWN[0]], f"patch a: {TAKEN}"),
        (["a"], [X, X], f"patch x: {TAKEN}"),
        (["a"], [WRONG], "patch x: revision: expected a whole number from 1, found 0"),  # (though it is not selected)
    ],
)
def test_what_cannot_be_selected_is_an_error(names: list[str] | None, definitions: Any, error: str) -> None:
    with pytest.raises(DefinitionError, match=f"^{re.escape(error)}$"):
        _patch.select(names, definitions, KNOWN)


def test_every_patch_of_the_catalogue_is_valid_and_named_once() -> None:
    names = [_patch.load(patch).name for patch in CATALOGUE]
    assert "transformers_modeling_utils" in names
    assert len(set(names)) == len(names)
    assert [patch.name for patch in _patch.select(names, None, CATALOGUE)[0]] == names
