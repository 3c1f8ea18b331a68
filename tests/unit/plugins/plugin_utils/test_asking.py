# The question: whatever is wrong with a node's files, it says nothing or what the engine says; and what counts as said.
from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import (
    _commit,
    _patch,
    _plan,
    _question,
    _recording,
    _storage,
)
from ansible_collections.primus.patches.plugins.plugin_utils import _asking
from ansible_collections.primus.patches.tests.lab import packages
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFINITION = {
    **dict.fromkeys(("reason", "upstream", "retire"), "none"),
    **dict(name="a", package="pkg", versions=">=1,<2", file="api.py"),
    "edits": [{"replace": {"before": "LIMIT = 1", "after": "LIMIT = 2"}}],
}
PATCH = _patch.load(DEFINITION)
FILES = {"pkg/__init__.py": "", "pkg/api.py": "LIMIT = 1\nSIZE = 1\n"}
PARAMETERS = {"python": "", "timeout": 300.0, "state": "present", "validate": [], "verify": "always"}
LOOK = {"python": "", "timeout": 300.0, "details": False, "roots": [], "imports": [], "integrity": []}


def site_in(top: Path) -> tuple[Path, Path]:
    """Return a site-packages with the patch applied, and the fact."""
    site = top / "site"
    packages.install(site, "pkg", "1.0", FILES)
    plan = _plan.plan([PATCH], str(site))
    assert _commit.commit(plan.changes, backup=False) == {}
    (fact,) = (site / "primus-patches" / "facts").glob("*.json")
    return site, fact


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="primus-asking-") as top:
        yield site_in(Path(top))


def hold(site: Path) -> bool:
    """Tell whether the question is answered; then by what the engine says."""
    asked = _asking.question([PATCH], {**PARAMETERS, "path": str(site)}, sys.executable)
    try:
        found = _question.answer(json.loads(json.dumps(asked)))
    except Exception:  # noqa: BLE001 (whatever it is: then the module has a look)
        return False
    result = _asking.result(found, [PATCH], {"path": str(site)}, check_mode=False, diff=False)
    plan = _plan.plan([PATCH], str(site))
    assert result["patches"] == [step.result() for step in plan.steps]
    assert not plan.changes
    return True


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "a", "/", "..", "absent", "a" * 64, "\0"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "name"]), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the parts of a JSON value are."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


@given(st.data())
def test_a_fact_in_which_anything_is_changed(site: tuple[Path, Path], data: st.DataObject) -> None:
    where, fact = site
    whole = fact.read_bytes()
    assert hold(where)
    told = json.loads(whole)
    *above, last = data.draw(st.sampled_from(sorted(places(told), key=str)))
    part = told
    for key in above:
        part = part[key]
    if isinstance(part, dict) and data.draw(st.booleans()):
        del part[last]
    else:
        part[last] = data.draw(VALUES)
    fact.write_text(json.dumps(told))
    try:
        hold(where)
    finally:
        fact.write_bytes(whole)


@given(st.data())
def test_files_in_which_any_byte_is_changed(site: tuple[Path, Path], data: st.DataObject) -> None:
    where, fact = site
    names = ("pkg/api.py", "pkg/__init__.py", "pkg-1.0.dist-info/METADATA", "pkg-1.0.dist-info/RECORD")
    path = data.draw(st.sampled_from([fact, *(where / name for name in names)]))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, max(0, len(whole) - 1)))
    text = data.draw(st.sampled_from([b"", b"\n", b"\0", b"x", b"1", b"\xff", b" "]))
    path.write_bytes(whole[:at] + text + whole[at + data.draw(st.integers(0, 1)) :])
    try:
        hold(where)
    finally:
        path.write_bytes(whole)


# --- for which tasks, and which patches


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"validate": ["json"]}, False),
        ({"validate": ["json"], "verify": "changed"}, True),
        ({"validate": ["json"], "verify": "never"}, True),
        ({"validate": ["json"], "verify": "changed", "python": "", "path": "/srv/site"}, False),
        ({"state": "absent"}, False),
        ({"python": "python3"}, False),
        ({"python": "~/venv/bin/python"}, False),
        ({"python": "/opt/*/bin/python"}, False),
        ({"python": "/opt/../bin/python"}, False),
        ({"python": "/opt/a venv/bin/python"}, False),
        ({"python": "", "path": "/srv/site"}, True),
        ({"python": "", "path": "/srv/*"}, False),
        ({"path": "site"}, False),
    ],
)
def test_for_which_tasks(changes: dict[str, Any], expected: bool) -> None:  # noqa: FBT001
    parameters = {**PARAMETERS, "python": "/opt/venv/bin/python", "path": None, **changes}
    assert _asking.is_for(parameters) is expected


@pytest.mark.parametrize(
    "changes", [{"roots": ["/opt"]}, {"imports": ["json"]}, {"details": True}, {"integrity": "all"}]
)
def test_for_looks_at_patches_alone(changes: dict[str, Any]) -> None:
    parameters = {**LOOK, "python": "/opt/venv/bin/python", "path": None}
    assert _asking.is_for(parameters)
    assert not _asking.is_for({**parameters, **changes})
    assert not _asking.is_for({**parameters, "python": "/opt/*/bin/python"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"when": ["numpy>=2"]}, False),
        ({"requires": ["numpy>=2"]}, False),
        ({"file": "**/*.py"}, False),
        ({"package": "ansible"}, False),
        ({"package": "ansible_collections.a.b"}, False),
        ({"package": "ansible_runner"}, True),
    ],
)
def test_for_which_patches(changes: dict[str, Any], expected: bool) -> None:  # noqa: FBT001
    assert _recording.is_simple(_patch.load({**DEFINITION, **changes})) is expected


def test_a_distribution_alone_is_not_asked_about() -> None:
    definition = {key: DEFINITION[key] for key in DEFINITION if key != "package"}
    assert not _recording.is_simple(_patch.load({**definition, "distribution": "pkg"}))


# --- what counts as an answer

GOOD = {"python": "/p", "python_version": "3.11.7", "prefix": "/", "found": [["/site/pkg", "1.0"]]}


def said(value: Any, before: str = "", after: str = "\n", rc: int = 0) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(value)
    return {"rc": rc, "stdout": f"{before}{_question.SENTINEL}{text}{after}"}


def test_an_answer_is_one_line_of_its_form() -> None:
    for good in (said(GOOD), said(GOOD, before="welcome\n"), said(GOOD, after="\r\n"), said(GOOD, before="> ")):
        assert _asking.answer(good, [PATCH], PARAMETERS) == GOOD
    for odd in (
        {},
        {"rc": 0, "stdout": ""},
        {"rc": 0, "stdout": json.dumps(GOOD)},
        said(GOOD, rc=1),
        said(GOOD, after="\nbye"),
        said(GOOD, before=_question.SENTINEL),
        said(json.dumps(GOOD)[:-1]),
        said("[" * 100_000),
        said("9" * 10_000),
        said([GOOD]),
        said({**GOOD, "more": 1}),
        said({**GOOD, "prefix": None}),
        said({**GOOD, "found": []}),
        said({**GOOD, "found": [["/site/pkg"]]}),
        said({**GOOD, "found": [["/site/pkg", 1]]}),
        said({**GOOD, "found": {"a": "b"}}),
        said({**GOOD, "found": [*GOOD["found"], *GOOD["found"]]}),
        said({**GOOD, "prefix": "x" * 70_000}),
    ):
        assert _asking.answer(odd, [PATCH], PARAMETERS) is None, odd


def test_an_answer_to_a_look_tells_copies_apart() -> None:
    other = _patch.load({**DEFINITION, "name": "b"})
    for copies in ([], ["1"], ["1", "2"], ["1", "2", "3"], ["1", None]):
        good = {**GOOD, "found": [["/site/pkg", "1.0", *copies]]}
        found = _asking.answer(said(good), [PATCH, other], LOOK)
        assert found == (good if copies == ["1", "2"] else None)
    result = _asking.result(good_look(), [PATCH, other], {**LOOK, "path": None}, check_mode=False, diff=True)
    assert [patch["copy_id"] for patch in result["patches"]] == ["1", "2"]
    assert "diff" not in result


def good_look() -> dict[str, Any]:
    return {**GOOD, "found": [["/site/pkg", "1.0", "1", "2"]]}


def test_what_is_sent_together_has_no_name_twice() -> None:
    names = [
        {name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
        for module in (_question, _storage)
    ]
    assert all(names)
    assert not names[0] & names[1]


def test_a_command_is_small_and_plain() -> None:
    """What a shell, or one in a shell, could take for something of its own is not in it."""
    text = _asking.command(
        _asking.question([PATCH], {**PARAMETERS, "path": None}, "/usr/bin/python3"), "/usr/bin/python3"
    )
    assert len(text) < 8000
    assert not set(text) & set('"`$!\\\n&|<>#~%')
