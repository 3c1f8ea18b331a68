# The drift check: its verdicts, its rule for retirement, and that docs/CATALOGUE.md tells of the catalogue as it is.
from __future__ import annotations

import datetime as dt
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lab import members, packages
from lab.controller import ROOT
from module_utils._catalogue import CATALOGUE

if TYPE_CHECKING:
    from pathlib import Path

spec = importlib.util.spec_from_file_location("drift", ROOT / "tools" / "drift.py")
drift = sys.modules["drift"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drift)

TODAY = dt.date(2026, 6, 1)


def verdicts(*words: str, first: str = "2024-01-01") -> list[Any]:
    """Return verdicts on releases 1.0, 2.0, ... of which one came out every 300 days."""
    start = dt.datetime.fromisoformat(first).replace(tzinfo=dt.UTC)
    days = [start + dt.timedelta(days=300 * number) for number in range(len(words))]
    releases = [members.Release("acme", f"{number}.0", "", "", day) for number, day in enumerate(days, 1)]
    return [drift.Verdict(release, word, "", claimed=True) for release, word in zip(releases, words, strict=True)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("native", "applies"), "needed: the newest release, 2.0, takes it"),
        (
            ("applies", "native"),
            "ready to retire since 2025-07-02: the last release that needs it is 1.0 of 2024-01-01",
        ),
        (("applies", "applies", "unsupported"), "ready to retire since 2026-04-28"),
        (("applies", "applies", "applies", "native"), "needed until 2027-02-22: the last release that needs it is 3.0"),
        (("native", "unsupported", "missing"), "ready to retire: no release looked at needs it"),
        ((), "no release in range on the package index: ready to retire"),
        (("conflict",), "needed: the newest release, 1.0, takes it"),
    ],
)
def test_patch_may_go_18_months_after_the_last_release_that_needs_it(words: tuple[str, ...], said: str) -> None:
    assert drift.retirement(verdicts(*words), TODAY).startswith(said)


@pytest.mark.parametrize(
    ("text", "word"), [("LIMIT = 10\n", "applies"), ("LIMIT = 30\n", "native"), ("LIMIT = 11\n", "conflict")]
)
def test_verdict_on_a_release(text: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = {
        "name": "acme_limit",
        "package": "acme",
        "versions": ">=1,<2",
        "file": "__init__.py",
        "reason": "r",
        "upstream": "none",
        "retire": "r",
        "edits": [{"replace": {"before": "LIMIT = 10", "after": "LIMIT = 30"}}],
    }

    def tree(_patch: Any, release: members.Release, destination: Path) -> Path:
        packages.install(destination, "acme", release.version, {"acme/__init__.py": text})
        return destination

    monkeypatch.setattr(drift.members, "tree", tree)
    verdict = drift.judge(definition, members.Release("acme", "1.5", "", "", None))
    assert (verdict.word, verdict.wrong) == (word, word == "conflict"), verdict.why
    outside = drift.judge(definition, members.Release("acme", "2.0", "", "", None))
    assert (outside.word, outside.wrong) == ("native" if word == "native" else "unsupported", False)


DIFF = """\
--- a/acme/api.py
+++ b/acme/api.py
@@ -1,2 +1,2 @@
-LIMIT = 10
+LIMIT = 30
 NAME = "acme"
diff --git a/acme/old.py b/acme/new.py
similarity index 100%
rename from acme/old.py
rename to acme/new.py
"""
RAISED = {"before": "LIMIT = 10", "after": "LIMIT = 30"}
KINDS: dict[str, dict[str, Any]] = {
    "replace with when": {"when": ["numlib>=2"], "file": "api.py", "edits": [{"replace": RAISED}]},
    "requires": {"requires": ["numlib>=2"], "file": "api.py", "edits": [{"replace": RAISED}]},
    "a pattern of files": {"file": "**/*.py", "edits": [{"replace": {**RAISED, "count": 2}}]},
    "diff of several files": {"edits": [{"diff": DIFF}]},
    "a new file and a deleted one": {
        "edits": [
            {"file": "more.py", "write": {"content": "x = 1\n", "replaces": "absent"}},
            {"file": "old.py", "delete": None},
        ]
    },
    "METADATA": {
        "package": None,
        "distribution": "acme",
        "file": "acme-*.dist-info/METADATA",
        "edits": [{"replace": {"before": "Requires-Dist: numlib==1.4", "after": "Requires-Dist: numlib>=1.4"}}],
    },
}


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> members.Release:
    """Return a made-up release of acme, in the place of a wheel of the package index."""

    def tree(_patch: Any, release: members.Release, destination: Path) -> Path:
        info = f"acme-{release.version}.dist-info"
        files = {
            "acme/api.py": 'LIMIT = 10\nNAME = "acme"\n',
            "acme/old.py": "LIMIT = 10\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: acme\nVersion: {release.version}\n"
            "Requires-Dist: numlib==1.4\n",
        }
        packages.install(destination, "numlib", "2.1", {})
        packages.install(destination, "acme", release.version, {})
        packages.write(destination, files)
        rows = [f"{name},{packages.recorded(destination / name)}\n" for name in files]
        packages.write(destination, {f"{info}/RECORD": "".join([*rows, f"{info}/RECORD,,\n"])})
        return destination

    monkeypatch.setattr(drift.members, "tree", tree)
    return members.Release("acme", "1.5", "", "", None)


def definition_of(kind: str) -> dict[str, Any]:
    texts = {"name": "acme_patch", "package": "acme", "versions": ">=1,<2", "revision": 1}
    texts.update(reason="r", upstream="none", retire="r")
    return {key: value for key, value in {**texts, **KINDS[kind]}.items() if value is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_patch_is_tried(kind: str, release: members.Release) -> None:
    definition = definition_of(kind)
    verdict = drift.judge(definition, release)
    assert (verdict.word, verdict.wrong) == ("applies", False), verdict.why
    text = drift.section(definition, [verdict], TODAY)
    home = "- Distribution: `acme`" if kind == "METADATA" else "- Package: `acme`"
    assert f"\n{home} `>=1,<2`\n" in text
    assert ("- When: `numlib>=2`" in text, "- Requires: `numlib>=2`" in text) == (
        kind == "replace with when",
        kind == "requires",
    )
    files = {
        "diff of several files": "s: `old.py`, `api.py`, `new.py`",
        "a new file and a deleted one": "s: `more.py`, `old.py`",
    }
    assert f"\n- File{files.get(kind, ': `')}" in text


def test_metadata_that_pip_would_refuse_is_drift(release: members.Release) -> None:
    definition = definition_of("METADATA")
    definition["edits"][0]["replace"]["after"] = "Requires-Dist: numlib=>1.4"
    verdict = drift.judge(definition, release)
    assert (verdict.word, verdict.wrong) == ("conflict", True)
    assert "numlib=>1.4" in verdict.why


def test_a_claimed_release_that_is_unsupported_is_drift() -> None:
    (verdict,) = verdicts("unsupported")
    assert verdict.wrong


def test_page_tells_of_the_catalogue_as_it_is() -> None:
    page = drift.PAGE.read_text()
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## ")[1:]}
    assert sorted(sections) == [patch["name"] for patch in CATALOGUE], "run ./dev drift"
    for patch in CATALOGUE:
        written = drift.section(patch, [], TODAY).split("\n- Retirement by the rule")[0].removeprefix("## ")
        assert sections[patch["name"]].startswith(written), "run ./dev drift"
        assert "| applies |" in sections[patch["name"]]
        assert "| conflict |" not in sections[patch["name"]]
