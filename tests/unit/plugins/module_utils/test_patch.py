# Patch definitions: each error names the patch, the key and the reason; what a task's name and definitions select.
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _patch
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.primus.patches.plugins.module_utils._diff import Diff, Hunk
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError, SitePatchError
from ansible_collections.primus.patches.plugins.module_utils._reexport import Reexport
from ansible_collections.primus.patches.plugins.module_utils._replace import Replace

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
DIFF = "--- a/api.py\n+++ b/api.py\n@@ -3,2 +3,2 @@ def f():\n x\n-old\n+new\n"
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
        versions=">=2.0,<3",
        file="sub/api.py",
        reason="Thing has moved.",
        upstream="none",
        retire="Some day.",
        revisions=(_patch.Revision(3, (Reexport(".core", ("Thing", "other")),)),),
        distribution="my-package",
    )


def test_a_patch_may_have_edits_of_all_kinds_and_earlier_revisions_newest_first() -> None:
    replace = {"before": "a\n", "after": "b\n", "count": 2}
    patch = _patch.load(
        definition(
            edits=[{"reexport": EDIT}, {"replace": replace}, {"diff": DIFF}],
            previous=[
                {"revision": 1, "edits": [{"replace": {"before": "a", "after": "b"}}]},
                {"revision": 2, "edits": [{"diff": DIFF}]},
            ],
            requires=["torch>=2.1", "jax", "flash-attn ~= 2.1"],
            applied_upstream=">=3",
        )
    )
    diff = Diff((Hunk(3, ("x", "old"), 3, ("x", "new")),))
    assert patch.revisions == (
        _patch.Revision(3, (Reexport(".core", ("Thing", "other")), Replace("a\n", "b\n", 2), diff)),
        _patch.Revision(2, (diff,)),
        _patch.Revision(1, (Replace("a", "b", 1),)),
    )
    assert patch.revision == 3
    assert patch.requires == (("torch", ">=2.1"), ("jax", ""), ("flash-attn", "~= 2.1"))
    assert patch.applied_upstream == ">=3"


def test_revision_and_distribution_may_be_left_out() -> None:
    patch = _patch.load(definition(revision=ABSENT, distribution=ABSENT))
    assert (patch.revision, patch.distribution) == (1, None)


@pytest.mark.parametrize(
    ("package", "file", "expected"),
    [("a", "b.py", "a"), ("a", "b/c/d.py", "a.b.c"), ("a.b", "c.py", "a.b"), ("a.b", "c/d.py", "a.b.c")],
)
def test_the_package_of_the_module_is_that_of_its_file(package: str, file: str, expected: str) -> None:
    assert _patch.load(definition(package=package, file=file)).module_package == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a"),
        ("package", "name.space.package_1"),
        ("package", "módulo"),
        ("versions", "==4.57.*"),
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


TEXT_KEYS = ["package", "versions", "file", "reason", "upstream", "retire"]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        *((key, ABSENT, f"{key}: expected text, found nothing") for key in TEXT_KEYS),
        *((key, "  ", f"{key}: expected text, found str '  '") for key in TEXT_KEYS),
        *((key, 5, f"{key}: expected text, found int 5") for key in [*TEXT_KEYS, "distribution"]),
        ("patches", 1, "patches: unknown key; known: name, package, versions, file, reason, upstream, retire, "),
        *(
            ("package", value, f"package: expected a dotted import name, found {value!r}")
            for value in ("my-package", ".core", "a..b", "a.", "1a", "a/b", "a b", "a\n")
        ),
        *(
            ("file", value, f"file: expected a path below the package, found {value!r}")
            for value in ("/etc/passwd", "../x.py", "a/../../x.py", "./x.py", "a//x.py", "a/", "a\\x.py", "..")
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
            ("edits", [value], "edits: expected one of reexport, replace, diff as the only key of an edit, found ")
            for value in ("x", {}, {"sed": "s/a/b/"}, {"reexport": EDIT, "diff": DIFF}, None, [DIFF])
        ),
        ("edits", [{"reexport": [1]}], "edits.reexport: expected a mapping of source, names, found list [1]"),
        *(
            ("edits", [{"replace": value}], f"edits.replace{error}")
            for value, error in (
                ({"before": "a"}, ".after: expected text, found nothing"),
                ({"before": "", "after": "a"}, ".before: expected text, found str ''"),
                ({"before": "a", "after": "a"}, ".after: expected another text than before, found the same"),
                ({"before": "ab", "after": "b"}, ".after: a text that is part of before cannot be told from it"),
                ({"before": "ab", "after": ""}, ".after: expected text, found str ''"),
                ({"before": "a", "after": "b", "count": 0}, ".count: expected a whole number from 1, found 0"),
                ({"before": "a", "after": "b", "count": True}, ".count: expected a whole number from 1, found True"),
                ({"before": "a", "after": "b", "regex": 1}, ".regex: unknown key; known: before, after, count"),
                ("a", ": expected a mapping of before, after, count, found str 'a'"),
            )
        ),
        *(
            ("edits", [{"diff": value}], f"edits.diff: {error}")
            for value, error in (
                (1, "expected text, found int 1"),
                ("--- a\n+++ b\n", "expected a unified diff that changes something, found no hunk"),
                ("@@ -1 +1 @@\n x\n", "expected a unified diff that changes something, found no hunk"),
                ("@@ -1,2 +1,2 @@\n x\n-a\n", "line 4: expected more lines of a hunk, found the end"),
                ("@@ -1,2 +1,2 @@\n x\n?a\n", "line 3: expected a line of a hunk, found '?a'"),
                ("@@ -1 +1 @@\n-a\n+b\nrubbish\n", "line 4: expected '@@ -N,N +N,N @@', found 'rubbish'"),
                ("@@ -1,0 +1 @@\n+b\n", "line 2: a hunk without context cannot be undone"),
                ("@@ -1 +1,0 @@\n-b\n", "line 2: a hunk without context cannot be undone"),
                ("@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n", "line 4: a diff that changes the newline"),
            )
        ),
        *(
            ("previous", value, f"previous{error}")
            for value, error in (
                ("x", ": expected a list of revisions, found str 'x'"),
                ([1], ": expected a mapping of revision and edits, found int 1"),
                ([{"edits": [{"diff": DIFF}]}], ".revision: expected a whole number from 1, found None"),
                ([{"revision": 1, "edits": []}], ".edits: expected at least one edit, found none"),
                ([{"revision": 1, "edits": [{"diff": DIFF}], "x": 1}], ".x: unknown key; known: revision, edits"),
                ([{"revision": 3, "edits": [{"diff": DIFF}]}], ": expected revisions below 3, each once, found [3]"),
                (
                    [{"revision": 1, "edits": [{"diff": DIFF}]}] * 2,
                    ": expected revisions below 3, each once, found [1, 1]",
                ),
            )
        ),
        *(
            ("requires", value, f"requires: {error}")
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


@pytest.mark.parametrize(
    ("file", "source"), [("api.py", "..x"), ("api.py", "..my_package.core"), ("sub/api.py", "...x")]
)
def test_a_source_above_the_package_is_refused(file: str, source: str) -> None:
    with pytest.raises(DefinitionError, match="lies above the package my_package"):
        _patch.load(definition(file=file, edits=edits(source=source)))


def test_every_error_belongs_to_the_one_family() -> None:
    assert issubclass(DefinitionError, SitePatchError)


# --- what a task means

KNOWN = [definition(name="a"), definition(name="b")]


def selected(names: list[str] | None, definitions: list[Any] | None) -> list[str]:
    return [patch.name for patch in _patch.select(names, definitions, KNOWN)[0]]


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
    assert selected(names, written) == expected


@pytest.mark.parametrize("nothing", [None, []])
def test_neither_name_nor_definitions_is_an_error_that_lists_the_catalogue(nothing: list[Any] | None) -> None:
    with pytest.raises(DefinitionError, match=r"^nothing to do: give name \(a, b\) or definitions$"):
        selected(nothing, nothing)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(DefinitionError, match=r"^unknown patch nope, zzz; known: a, b, x$"):
        selected(["zzz", "a", "nope"], [definition(name="x")])


@pytest.mark.parametrize("definitions", [["a"], ["x", "x"]])
def test_a_name_that_is_taken_is_an_error(definitions: list[str]) -> None:
    error = f"^patch {definitions[0]}: name: a patch of that name exists already; give yours another one$"
    with pytest.raises(DefinitionError, match=error):
        selected(["a"], [definition(name=name) for name in definitions])


def test_a_definition_that_is_wrong_is_an_error_even_where_it_is_not_selected() -> None:
    with pytest.raises(DefinitionError, match=r"^patch x: revision: "):
        selected(["a"], [definition(name="x", revision=0)])


def test_every_patch_of_the_catalogue_is_valid_and_named_once() -> None:
    names = [_patch.load(patch).name for patch in CATALOGUE]
    assert "transformers_modeling_utils" in names
    assert len(set(names)) == len(names)
    assert [patch.name for patch in _patch.select(names, None, CATALOGUE)[0]] == names
