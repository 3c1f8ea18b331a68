# Patch definitions: each error names the patch, the key and the reason; what a task's name and definitions select.
from __future__ import annotations

from typing import Any

import pytest
from module_utils import _patch
from module_utils._catalogue import CATALOGUE
from module_utils._edits import Reexport
from module_utils._errors import DefinitionError, SitePatchError

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
        revision=3,
        reason="Thing has moved.",
        upstream="none",
        retire="Some day.",
        edits=(Reexport(".core", ("Thing", "other")),),
        distribution="my-package",
    )


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
            ("edits", value, "edits: expected a list of one edit, found ")
            for value in (ABSENT, [], "reexport", {"reexport": EDIT}, [{"reexport": EDIT}] * 2)
        ),
        *(
            ("edits", [value], "edits: expected 'reexport: {source: ..., names: [...]}', found ")
            for value in ("x", {}, {"replace": EDIT}, {"reexport": EDIT, "x": 1}, {"reexport": [1]}, None)
        ),
        ("edits", edits(sources=".x"), "edits.reexport.sources: unknown key; known: source, names"),
        ("edits", edits(source=ABSENT), "edits.reexport.source: expected text, found nothing"),
        ("edits", edits(source="."), "edits.reexport.source: expected a module name such as .sibling, found '.'"),
        ("edits", edits(source="a-b"), "edits.reexport.source: expected a module name such as .sibling, found 'a-b'"),
        ("edits", edits(source=".a import x #"), "edits.reexport.source: expected a module name such as .sibling, "),
        ("edits", edits(source=".é"), "edits.reexport.source: expected a module name such as .sibling, found '.é'"),
        ("edits", edits(source="...x"), "edits.reexport.source: ...x lies above the package my_package"),
        *(
            ("edits", edits(names=value), "edits.reexport.names: expected a list of different names, found ")
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
    return [patch.name for patch in _patch.select(names, definitions, KNOWN)]


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
    assert names == ["transformers_modeling_utils"]
    assert [patch.name for patch in _patch.select(names, None, CATALOGUE)] == names
