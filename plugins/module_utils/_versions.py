# Versions: whether one lies in a range, by PEP 440. Quoted headings are that document's sections.
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Bare nodes lack `packaging`, and its releases disagree on pre-releases. Two rules here are choices:
# - A pre-release is in range wherever the order puts it. ("Handling of pre-releases" leaves out those that nobody
#   asked for: advice to an installer, but here the version is installed already.)
# - The local part of an installed version is ignored, also by == and ===: 4.57.6+rocm is 4.57.6. A local part in a
#   specifier could therefore never match, so it is an error, not a range that silently stays empty.
from __future__ import annotations

import re
from typing import Any, NamedTuple

ANY = "*"  # as specifiers: every version, and none
_INF = float("inf")
_ONLY_DEV, _NO_PRE = ("", 0), ("~", 0)  # sort before ("a", n) and after ("rc", n)
_NO_POST, _NO_DEV = -1, _INF

# The pattern of PEP 440's appendix. ASCII, or IGNORECASE would take U+017F, the long s, for the s of "post".
_VERSION = re.compile(
    r"""v?
    (?:(?P<epoch>[0-9]+)!)?
    (?P<release>[0-9]+(?:\.[0-9]+)*)
    (?P<suffix>
        (?:[._-]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[._-]?(?P<pre_n>[0-9]*))?
        (?P<post>-(?P<post_n1>[0-9]+)|[._-]?(?:post|rev|r)[._-]?(?P<post_n2>[0-9]*))?
        (?P<dev>[._-]?dev[._-]?(?P<dev_n>[0-9]*))?
    )
    (?:\+[a-z0-9]+(?:[._-][a-z0-9]+)*)?""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_CLAUSE = re.compile(r"(===|[~=!<>]=|[<>])\s*([^\s+;)]+)")  # ; and ) end a specifier in PEP 508


class Version(NamedTuple):
    """A version without its local part; compares as PEP 440 orders versions.

    "Summary of permitted suffixes and relative ordering": within one release .devN < aN < bN < rcN < (none) < .postN,
    and the .devN of each come before it.
    """

    epoch: int
    release: tuple[int, ...]  # without trailing zeros ("Final releases": 1.1 and 1.1.0 are one)
    pre: tuple[str, int]
    post: float  # -1 when there is none; infinite only in a limit of a range
    dev: float  # infinite when there is none


class _Range(NamedTuple):
    """The versions from low up to, but not including, high; or all but these. The limits compare with a Version."""

    low: tuple[Any, ...]
    high: tuple[Any, ...]
    inside: bool


def parse(version: str) -> Version:
    """Return the sort key of a version in any spelling that "Normalization" allows; ValueError for other texts."""
    return _key(_match(version))


def contains(specifiers: str, version: str | None) -> bool:
    """Tell whether `version` satisfies `specifiers`, such as ">=4.56,<4.58"; of no version, only ANY does.

    "Version specifiers": a comma means and; an empty string admits every version. Raises ValueError when `specifiers`
    is malformed or `version` is not PEP 440; only where every clause is a === may it be any text.
    """
    if specifiers.strip() == ANY or version is None:
        return specifiers.strip() == ANY
    clauses = _clauses(specifiers)
    ranges = [clause for clause in clauses if isinstance(clause, _Range)]
    if ranges or not clauses:
        key = parse(version)
        if any((low <= key < high) is not inside for low, high, inside in ranges):
            return False
    public = version.strip().partition("+")[0].lower()
    return all(clause == public for clause in clauses if isinstance(clause, str))


def check(specifiers: str) -> None:
    """Raise ValueError, naming the clause and what is wrong with it, unless `specifiers` is well-formed."""
    _clauses(specifiers)


def _clauses(specifiers: str) -> list[_Range | str]:
    clauses = (clause.strip() for clause in ([] if specifiers.strip() == ANY else specifiers.split(",")))
    return [_clause(clause) for clause in clauses if clause]


def _clause(clause: str) -> _Range | str:
    """Return the range of one clause, or the text of a === ("Arbitrary equality": compared as text, in any case)."""
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        wanted = "~= == != <= >= < > or ===, then a version without a local part"
        raise ValueError(f"version specifier {clause!r}: expected {wanted}")
    operator, text = match.groups()
    try:
        return text.lower() if operator == "===" else _range(operator, text)
    except ValueError as error:
        raise ValueError(f"version specifier {clause!r}: {error}") from None


def _range(operator: str, text: str) -> _Range:
    series = operator in ("==", "!=") and text.endswith(".*")
    text = text[:-2] if series else text
    match = _match(text)
    version = _key(match)
    low: tuple[Any, ...] = version
    high: tuple[Any, ...] = (_INF,)  # above every version
    if series:  # "Version matching", "Version exclusion": prefix match
        if match["suffix"]:
            raise ValueError("expected .* after nothing but a release, as in ==4.57.*")
        low, high = parse(text + ".dev0"), _next_series(version.epoch, _numbers(match))
    elif operator == "~=":  # "Compatible release": >= V, and == V.* less the last number and the suffixes of V
        if not _numbers(match)[1:]:
            raise ValueError("expected two numbers or more, as in ~=4.57")
        high = _next_series(version.epoch, _numbers(match)[:-1])
    elif operator in ("==", "!=", "<="):  # also "Inclusive ordered comparison"
        low = () if operator == "<=" else version  # (): below every version
        high = _just_above(version)
    elif operator == ">":  # "Exclusive ordered comparison": no post-release of V, unless V is one
        alone = version.post == _NO_POST and version.dev == _NO_DEV
        low = version._replace(post=_INF) if alone else _just_above(version)
    elif operator == "<":  # "Exclusive ordered comparison": no pre-release of V, unless V is one
        final = version.pre == _NO_PRE and version.dev == _NO_DEV
        low, high = (), parse(text + ".dev0") if final else version
    return _Range(low, high, operator != "!=")


def _just_above(version: Version) -> tuple[Any, ...]:
    """Return a limit that only `version` and what is below it are below: a longer tuple sorts after its beginning."""
    return (*version, 0)


def _next_series(epoch: int, numbers: list[int]) -> Version:
    """Return the earliest version that is above each version whose release begins with `numbers`."""
    after = [*numbers[:-1], numbers[-1] + 1]
    return parse(f"{epoch}!{'.'.join(map(str, after))}.dev0")


def _match(version: str) -> re.Match[str]:
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        raise ValueError(f"expected a PEP 440 version such as 4.57.6, found {version!r}")
    return match


def _key(match: re.Match[str]) -> Version:
    pre = _ONLY_DEV if match["dev"] and not match["post"] else _NO_PRE
    if match["pre"]:  # "Pre-release spelling": c, pre and preview mean rc
        letter = match["pre"][0].lower()
        pre = (letter if letter in "ab" else "rc", int(match["pre_n"] or 0))
    post = int(match["post_n1"] or match["post_n2"] or 0) if match["post"] else _NO_POST
    dev = int(match["dev_n"] or 0) if match["dev"] else _NO_DEV
    release = _numbers(match)
    while release and not release[-1]:
        release.pop()
    return Version(int(match["epoch"] or 0), tuple(release), pre, post, dev)


def _numbers(match: re.Match[str]) -> list[int]:
    return [int(number) for number in match["release"].split(".")]
