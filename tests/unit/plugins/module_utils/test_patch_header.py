# The header of a patch file: what it says of a patch, and what is wrong in it.
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _patch, _patch_file
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError

DIFF = "--- a/src/acme/api.py\n+++ b/src/acme/api.py\n@@ -1 +1 @@\n-a\n+b\n"
HEADER = "Description: It was wrong.\nPackage: acme\nVersions: >=2.3\n\n"
LINK = "https://example.org/pull/7"


def load(text: str | bytes, **given: Any) -> dict[str, Any]:
    return _patch_file.load(text if isinstance(text, bytes) else text.encode(), "fix.patch", given)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("DESCRIPTION: One line.\npackage: acme\nVERSIONS: *\n", {"reason": "One line.", "versions": "*"}),
        (
            "Description: Short.\n Longer, in two\n lines.\n .\n And more.\nPackage: acme\nVersions: *\n",
            {"reason": "Short.\nLonger, in two\nlines.\n\nAnd more."},
        ),
        ("Description:\n Below.\nPackage: acme\nVersions: *\n", {"reason": "Below."}),
        ("Subject: [PATCH v2 1/3] [core] It\n was\nPackage: acme\nVersions: *\n", {"reason": "[core] It was"}),
        ("Subject: s\nDescription: d\nPackage: acme\nVersions: *\n", {"reason": "d"}),
        (f"From: a\nSubject: s\n\nText: is this.\n\nbut no field\n\n{HEADER}", {"reason": "It was wrong."}),
        (f"# a comment\n\n{HEADER}---\n x | 2 +-\n", {"reason": "It was wrong."}),
        (f"{HEADER.strip()}\nWhen: numpy>=2,<3, foo\nRequires: bar ,baz>1\n", {"when": ["numpy>=2,<3", "foo"]}),
        (f"{HEADER.strip()}\nRequires: bar>=1,<2\n foo\n", {"requires": ["bar>=1,<2", "foo"]}),
        (f"{HEADER.strip()}\nAfter: one, two\nRevision: 3\nRetire: Soon.\n", {"after": ["one", "two"], "revision": 3}),
        (f"{HEADER.strip()}\nRetire: Soon.\n", {"retire": "Soon."}),
        (f"{HEADER.strip()}\nOrigin: upstream, {LINK}\nForwarded: https://x.org\n", {"upstream": LINK}),
        (f"{HEADER.strip()}\nForwarded: not-needed\nBug-Debian: {LINK}\n", {"upstream": LINK}),
        (f"{HEADER.strip()}\nForwarded: not-needed\n", {"upstream": "none"}),
        (f"{HEADER.strip()}\nBug: {LINK}\nApplied-Upstream: >=2.5\n", {"upstream": LINK, "applied_upstream": ">=2.5"}),
        (f"{HEADER.strip()}\nApplied-Upstream: 2.5, {LINK}\n", {"upstream": LINK, "applied_upstream": ">=2.5"}),
        (f"{HEADER.strip()}\nApplied-Upstream: commit:abc123\n", {"upstream": "commit:abc123"}),
        (
            f"{HEADER.strip()}\nLast-Update: 2026-01-02\nReviewed-by: a\nX-Note: b\nSigned-off-by: c\n",
            {"upstream": "none"},
        ),
        (
            f"{HEADER.strip()}\nOrigin: {LINK}\n",
            {"retire": "When every environment has a release of acme with upstream's change."},
        ),
        (f"{HEADER.strip()}\nApplied-Upstream: >=3\n", {"retire": "When every environment has acme >=3."}),
        ("\ufeff" + HEADER, {"package": "acme"}),
    ],
)
def test_the_header_says_what_a_definition_says(header: str, expected: dict[str, Any]) -> None:
    for text in (
        f"{header}{DIFF}",
        f"{header}\n{DIFF}",
        f"{header}\ndiff -ru a b\n{DIFF}",
        f"{header}\nIndex: x\n{DIFF}",
    ):
        definition = load(text)
        assert {key: definition[key] for key in expected} == expected
        assert _patch.load(definition).files() == ("api.py",)


def test_what_is_given_beside_the_file_wins() -> None:
    given = {"name": "other", "versions": "<3", "reason": "r", "when": ["a>1"], "upstream": LINK, "revision": 2}
    definition = load(HEADER + DIFF, **given, retire=None)
    assert {key: definition[key] for key in given} == given
    assert definition["package"] == "acme"
    for key in ("edits", "file", "source"):
        with pytest.raises(DefinitionError, match=f"fix.patch: {key}: unknown key; known: name, versions, reason"):
            load(HEADER + DIFF, **{key: "x"})


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (
            "Description: d\nVersions: *\n",
            "expected Package: (what is imported), found none: add it in front of the diff",
        ),
        ("Description: d\nPackage: acme\n", "expected Versions: (such as >=2.3,<3), found none"),
        ("Package: acme\nVersions: *\n", "expected Description: (why), found none"),
        ("Description: d\nPakage: acme\nVersions: *\n", "line 2: Pakage: unknown field, expected Package"),
        ("Description: d\nPackage: acme\nVersion: 2.3\n", "line 3: Version: unknown field, expected Versions"),
        (f"{HEADER}Leave_Out: x\nOrigin: y\n", "line 5: Leave_Out: unknown field, expected Leave-Out"),
        (f"{HEADER}Origin: x\npackage: other\n", "line 6: package: given in line 2 already"),
        (f"{HEADER}Revision: two\nOrigin: x\n", "revision: expected a whole number, found 'two'"),
        (f"{HEADER}Strip: -1\n", "strip: expected a whole number, found '-1'"),
        (
            "Description: d\nPackage: flash-attn\nVersions: *\n",
            "package: expected a dotted import name, found 'flash-attn'",
        ),
        ("Description: d\nPackage: acme\nVersions: 2.3\n", "version specifier '2.3': expected ~= == "),
        ("Subject: =?UTF-8?b?4?=\nPackage: acme\nVersions: *\n", "Subject: cannot be decoded: "),
        (
            b"Description: \xe9\nPackage: acme\nVersions: *\n",
            "line 1: expected UTF-8 in the header, found 'Description: ",
        ),
    ],
)
def test_a_wrong_header_is_an_error_that_names_the_file_and_the_field(header: str | bytes, error: str) -> None:
    data = header if isinstance(header, bytes) else header.encode()
    with pytest.raises(DefinitionError) as caught:
        load(data + b"\n" + DIFF.encode())
    assert str(caught.value).startswith("fix.patch: ")
    assert error in str(caught.value)
