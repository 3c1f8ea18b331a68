# Versions: the comparator agrees with packaging wherever packaging has an answer, and keeps the choices of its own.
# VERSIONS_EXAMPLES=200000 turns the comparison into a campaign, for whoever edits a rule.
from __future__ import annotations

import os
from importlib.metadata import version as installed
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _versions
from hypothesis import event, given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Callable

# Before 26.1, packaging took 1.0rc1 out of <1.0.post1, and 1.0.post1 out of >1.0.dev1; PEP 440 says neither.
# 26.1 and 26.2 took 0.0 out of ~=v0.0.
compares = pytest.mark.skipif(
    Version(installed("packaging")) < Version("26.3"), reason="needs packaging 26.3: older releases differ from PEP 440"
)
examples = settings(max_examples=int(os.environ.get("VERSIONS_EXAMPLES", 2 * settings.default.max_examples)))


def expected(specifiers: str, version: str) -> bool:
    """Return packaging's answer for a version without its local part, pre-releases admitted."""
    return SpecifierSet(specifiers).contains(version.strip().partition("+")[0], prereleases=True)


def accepts(function: Callable[[str], object], text: str) -> bool:
    """Tell whether the function takes the text for well-formed."""
    try:
        function(text)
    except ValueError:
        return False
    return True


# --- texts: every spelling that PEP 440 admits, of few numbers, so that versions and limits meet often


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return the texts of the parts, one after the other."""
    return st.tuples(*parts).map("".join)


def one(*texts: str) -> st.SearchStrategy[str]:
    """Return one of the texts."""
    return st.sampled_from(texts)


NOTHING = st.just("")
SPACE = one("", "", "", " ", "\t", "\n ", "\u00a0")
SEPARATOR = one("", ".", "-", "_")
NUMBER = one("0", "0", "1", "1", "2", "10", "01", "20240229")
ANY_RELEASE = st.lists(NUMBER, min_size=1, max_size=4).map(".".join)
SAME_RELEASE = st.shared(ANY_RELEASE, key="release")  # the same one everywhere in an example
RELEASE = ANY_RELEASE | SAME_RELEASE | joined(SAME_RELEASE, one("", ".0", ".0.0", ".1"))
PRE = joined(SEPARATOR, one("a", "b", "c", "rc", "alpha", "beta", "pre", "preview"), SEPARATOR, NUMBER | NOTHING)
POST = joined(st.just("-"), NUMBER) | joined(SEPARATOR, one("post", "rev", "r"), SEPARATOR, NUMBER | NOTHING)
DEV = joined(SEPARATOR, st.just("dev"), SEPARATOR, NUMBER | NOTHING)
PLAIN = joined(one("", "", "v"), one("", "", "", "0!", "1!"), RELEASE)
PUBLIC = st.builds(
    lambda text, upper: text.upper() if upper else text,
    joined(PLAIN, NOTHING | PRE, NOTHING | POST, NOTHING | DEV),
    st.booleans(),
)
VERSION = joined(SPACE, PUBLIC, one("", "", "+rocm", "+cu128.1", "+Local-1_x"), SPACE)
TWO_NUMBERS = PUBLIC.filter(lambda text: accepts(_versions.check, "~=" + text))
CLAUSE = joined(
    SPACE,
    st.one_of(
        joined(one("==", "!=", "<=", ">=", "<", ">", "==="), SPACE, PUBLIC),
        joined(one("==", "!="), SPACE, PLAIN, st.just(".*")),
        joined(st.just("~="), SPACE, TWO_NUMBERS),
    ),
    SPACE,
)
SPECIFIERS = st.lists(CLAUSE, max_size=3).map(",".join)
CHARACTERS = "0129.*!+-_ vabcdeloprstw<>=~,;)\u0661"


def damaged(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return texts in which up to three characters were put in or overwritten."""

    def damage(text: str, hits: list[tuple[int, str, bool]]) -> str:
        for place, character, overwrite in hits:
            at = place % (len(text) + 1)
            text = text[:at] + character + text[at + overwrite :]
        return text

    hit = st.tuples(st.integers(0, 40), st.sampled_from(["", *CHARACTERS]), st.booleans())
    return st.builds(damage, texts, st.lists(hit, min_size=1, max_size=3))


# --- against packaging


@compares
@examples
@given(SPECIFIERS, VERSION)
def test_a_version_is_in_range_exactly_where_packaging_has_it(specifiers: str, version: str) -> None:
    inside = expected(specifiers, version)
    event(f"inside: {inside}")
    assert _versions.contains(specifiers, version) is inside


@compares
@examples
@given(CLAUSE, VERSION)
def test_one_clause_holds_exactly_where_packaging_has_it(clause: str, version: str) -> None:
    assert _versions.contains(clause, version) is expected(clause, version)


@examples
@given(VERSION, VERSION)
def test_versions_sort_as_in_packaging_without_local_parts(left: str, right: str) -> None:
    ours = _versions.parse(left), _versions.parse(right)
    theirs = Version(Version(left).public), Version(Version(right).public)
    assert (ours[0] < ours[1]) is (theirs[0] < theirs[1])
    assert (ours[0] == ours[1]) is (theirs[0] == theirs[1])


@examples
@given(damaged(VERSION) | st.text(CHARACTERS, max_size=12))
def test_exactly_the_texts_that_packaging_refuses_are_no_versions(text: str) -> None:
    well_formed = accepts(Version, text)
    event(f"well-formed: {well_formed}")
    assert accepts(_versions.parse, text) is well_formed


@pytest.mark.parametrize("version", ["1.0", "no version", "", None])
def test_a_star_admits_every_version_and_none(version: str | None) -> None:
    assert _versions.contains(_versions.ANY, version)
    assert not _versions.contains(">=9", None)


@examples
@given(damaged(SPECIFIERS) | st.text(CHARACTERS, max_size=12))
def test_malformed_are_what_packaging_refuses_and_what_could_never_match(text: str) -> None:
    never = "+" in text or any(clause.strip() == "===" for clause in text.split(","))
    well_formed = accepts(SpecifierSet, text)
    event(f"well-formed: {well_formed}, never: {never}")
    assert accepts(_versions.check, text) is (text.strip() == _versions.ANY or (well_formed and not never))


# --- written out: the corners that matter to a patch, and those where a comparator is easily wrong

TRANSFORMERS = ">=4.56,<4.58"
TABLE = [
    # the range of a patch
    (TRANSFORMERS, "4.55.4", False),
    (TRANSFORMERS, "4.56.0", True),
    (TRANSFORMERS, "4.56", True),
    (TRANSFORMERS, "4.56.0.dev0", False),
    (TRANSFORMERS, "4.56.0rc1", False),
    (TRANSFORMERS, "4.57.0.dev0", True),
    (TRANSFORMERS, "4.57.0rc2", True),
    (TRANSFORMERS, "4.57.6", True),
    (TRANSFORMERS, "4.57.6.post1", True),
    (TRANSFORMERS, "4.58.0.dev0", False),
    (TRANSFORMERS, "4.58.0rc1", False),
    (TRANSFORMERS, "4.58.0", False),
    # no specifier
    ("", "4.57.6", True),
    (" , ", "5.0.0rc1", True),
    # local parts of the version
    ("==4.57.6", "4.57.6+rocm", True),
    ("===4.57.6", "4.57.6+rocm", True),
    ("!=4.57.6", "4.57.6+rocm", False),
    ("<=4.57.6", "4.57.6+rocm", True),
    (">4.57.6", "4.57.6+rocm", False),
    ("==4.57.*", "4.57.6+cu128.1", True),
    # < and the pre-releases of its version
    ("<5", "4.57.6", True),
    ("<5", "5.0.0rc1", False),
    ("<5", "5.0.0.dev0", False),
    ("<5", "5.0a1.post2.dev3", False),
    ("<5rc1", "5.0.0a1", True),
    ("<5rc1", "5.0.0rc1.dev0", True),
    ("<5.dev1", "5.dev0", True),
    ("<5.dev0", "5.dev0", False),
    ("<1.0.post1", "1.0", True),
    ("<1.0.post1", "1.0rc1", True),
    ("<1.0.post1", "1.0.post0", True),
    ("<1.0.post1", "1.0.post1.dev0", False),
    ("<1.0.post1.dev1", "1.0.post1.dev0", True),
    ("<0", "0.dev0", False),
    # > and the post-releases of its version
    (">4.56", "4.56.post1", False),
    (">4.56", "4.56.0.post1.dev0", False),
    (">4.56", "4.56.0.1.dev0", True),
    (">4.56", "4.57.dev0", True),
    (">4.56.post1", "4.56.post1.dev9", False),
    (">4.56.post1", "4.56.post2.dev0", True),
    (">1.0a1", "1.0a1.post1", False),
    (">1.0a1", "1.0a2.dev0", True),
    (">1.0.dev1", "1.0.dev2", True),
    (">1.0.dev1", "1.0.post1", True),
    # <= and >= just compare
    ("<=5", "5.0.0rc1", True),
    ("<=5", "5.0.post1", False),
    (">=5", "5.0.0rc1", False),
    (">=5", "5.0.post1.dev0", True),
    # == and != mean one version
    ("==4.57.6", "4.57.5", False),
    ("==4.57.6", "4.57.6.post1", False),
    ("!=4.57.6", "4.57.5", True),
    ("!=4.57.6", "4.57.6rc1", True),
    # zero padding
    ("==4.56", "4.56.0.0", True),
    ("==4.56.0", "4.56", True),
    ("==0.0", "0", True),
    ("!=4.56", "4.56.0", False),
    ("==4.56.0.*", "4.56", True),
    ("==4.56.0.*", "4.56.1", False),
    # prefixes
    ("==4.5.*", "4.56.0", False),
    ("==4.56.*", "4.56.0.dev0", True),
    ("==4.56.*", "4.56.post9", True),
    ("==4.56.*", "4.57.dev0", False),
    ("!=4.56.*", "4.56rc1", False),
    ("!=4.56.*", "4.57.dev0", True),
    ("==0.*", "0.99", True),
    # compatible release
    ("~=4.56", "4.99", True),
    ("~=4.56", "5.0.dev0", False),
    ("~=4.56.2", "4.56.9", True),
    ("~=4.56.2", "4.56.1", False),
    ("~=4.56.2", "4.57.dev0", False),
    ("~=4.56.0", "4.57", False),
    ("~=2.2.post3", "2.2.post2", False),
    ("~=2.2.post3", "2.9", True),
    ("~=1.4.5a4", "1.4.5a3", False),
    ("~=1.4.5a4", "1.4.6rc1", True),
    ("~=1!2.0", "2.1", False),
    # epochs
    ("<2", "1!1.0", False),
    (">2", "1!0.1", True),
    ("==0!1", "1", True),
    ("==1!1.*", "1!1.5", True),
    ("==1.*", "1!1.5", False),
    # === compares texts
    ("===4.56", "4.56.0", False),
    ("===4.56RC1", " 4.56rc1", True),
    ("===4.56rc1", "4.56c1", False),
    ("===nightly", "Nightly", True),
    ("===nightly", "4.56", False),
    ("===4.56,<4", "4.56", False),
    # spelling
    ("== v1.0-Alpha.1 ", "1.0a1", True),
    ("==1.0-1", "1.0.post1", True),
    ("==1.0.Rev_2", "V1.0-R2", True),
    ("==1.0preview", "1.0.RC0", True),
    ("==1.0c", "1.0-rc-0", True),
    ("==1.0-dev", "01.00.dev00", True),
    ("\t>= 1.0 ,\n< 2 ,", " 1.5\n", True),
]


@pytest.mark.parametrize(("specifiers", "version", "inside"), TABLE)
def test_a_written_out_corner(specifiers: str, version: str, *, inside: bool) -> None:
    assert _versions.contains(specifiers, version) is inside


@compares
def test_packaging_has_the_written_out_corners_so_too() -> None:
    assert [row for row in TABLE if expected(*row[:2]) is not row[2]] == []


def test_the_order_is_that_of_the_list_in_pep_440() -> None:
    # "Summary of permitted suffixes and relative ordering", without its local parts, between two neighbours
    groups = [
        ["0.9", "1.dev0", "1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2"],
        ["1.0b2.post345.dev456", "1.0b2.post345", "1.0rc1.dev456", "1.0rc1", "1.0", "1.0.post456.dev34"],
        ["1.0.post456", "1.0.15", "1.1.dev1", "1!0.dev0"],
    ]
    order = [_versions.parse(text) for text in chain(*groups)]
    assert all(lower < higher for lower, higher in zip(order, order[1:]))


@pytest.mark.parametrize(
    ("specifiers", "clause", "reason"),
    [
        (">=4.56,=>4.58", "=>4.58", "expected ~= == != <= >= < > or ==="),
        ("4.57.6", "4.57.6", "expected ~= == != <= >= < > or ==="),
        (">=4.56 <4.58", ">=4.56 <4.58", "expected ~= == != <= >= < > or ==="),
        ("===", "===", "found '='"),
        (">=4.56,<", "<", "expected ~= == != <= >= < > or ==="),
        ("==4.57.6+rocm", "==4.57.6+rocm", "without a local part"),
        ("!=4.57.6+rocm", "!=4.57.6+rocm", "without a local part"),
        ("===4.57.6+rocm", "===4.57.6+rocm", "without a local part"),
        ("==4.x", "==4.x", "expected a PEP 440 version such as 4.57.6, found '4.x'"),
        (">=4.56.*", ">=4.56.*", "found '4.56.*'"),
        ("~=4.56.*", "~=4.56.*", "found '4.56.*'"),
        ("==.*", "==.*", "found ''"),
        ("==*", "==*", "found '*'"),
        ("==4.*.1", "==4.*.1", "found '4.*.1'"),
        ("==4.56rc1.*", "==4.56rc1.*", "expected .* after nothing but a release"),
        ("!=4.56.dev0.*", "!=4.56.dev0.*", "expected .* after nothing but a release"),
        ("~=4", "~=4", "expected two numbers or more"),
        ("~=1!4rc1", "~=1!4rc1", "expected two numbers or more"),
        ("~=1.0.po\u017ft1", "~=1.0.po\u017ft1", "expected a PEP 440 version"),
        ("===4.56;x", "===4.56;x", "expected ~= == != <= >= < > or ==="),
    ],
)
def test_an_error_names_the_clause_and_what_was_expected(specifiers: str, clause: str, reason: str) -> None:
    for call in (lambda: _versions.check(specifiers), lambda: _versions.contains(specifiers, "4.57.6")):
        with pytest.raises(ValueError, match="version specifier") as caught:
            call()
        assert str(caught.value).startswith(f"version specifier {clause!r}: ")
        assert reason in str(caught.value)


@pytest.mark.parametrize("version", ["", "unknown", "4.57.x", "4.57+", "4.57-custom.git", "1.0+\u0661", "\u0661"])
@pytest.mark.parametrize("specifiers", ["", ">=4.56", "!=4.57", "===unknown,>=4", "<4,===unknown"])
def test_a_version_that_is_none_is_an_error_and_not_merely_out_of_range(specifiers: str, version: str) -> None:
    with pytest.raises(ValueError, match=r"expected a PEP 440 version such as 4\.57\.6, found '"):
        _versions.contains(specifiers, version)
