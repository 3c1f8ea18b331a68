# One call from request to result: imports before the write, the bytes that come back, diffs, several patches.
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lab import engine, snapshot
from lab.commits import fails_at
from module_utils import _temporary

STORE = "primus-patches"
TEXT = engine.FILES["api.py"]

# -- imports ---------------------------------------------------------------------------------------------------------


def test_a_failing_import_keeps_a_change_from_being_written(target: Path) -> None:
    before = snapshot.take(target)
    for check in (True, False):
        result = engine.here(target, check_mode=check, imports=["thing.api:Thing", "thing.api:Other"])
        assert (result["failed"], result["changed"], engine.actions(result)) == (True, False, [("pending", "apply")])
        assert [(done["ok"], done["proof"]) for done in result["imports"]] == [(True, "before"), (False, "before")]
        assert result["msg"].startswith(
            "import failed, with the change served from memory; nothing was written: thing.api:Other ("
        )
        assert snapshot.take(target) == before


def test_a_change_that_breaks_an_import_is_not_made(target: Path) -> None:
    """The new block runs what fails only then: a source module that raises."""
    engine.thing(target, core="Thing = 1\nraise RuntimeError('out of order')\n")
    before = snapshot.take(target)
    assert engine.here(target, definitions=[], name=None)["failed"]
    result = engine.here(target, imports=["thing.api"])
    assert "out of order" in result["msg"]
    assert result["imports"][0]["cause"] == "exception"
    assert snapshot.take(target) == before
    assert engine.here(target, imports=["thing.api"], verify="never")["changed"]


@pytest.mark.parametrize(("verify", "tried"), [("always", True), ("changed", False), ("never", False)])
def test_without_a_change_only_always_tries_what_is_there(target: Path, verify: str, tried: bool) -> None:  # noqa: FBT001
    assert engine.here(target)["changed"]
    result = engine.here(target, imports=["thing.api:Thing"], verify=verify)
    assert [(done["ok"], done["proof"]) for done in result["imports"]] == ([(True, "none")] if tried else [])
    broken = engine.here(target, imports=["thing.api:Other"], verify=verify)
    assert bool(broken.get("failed")) == tried
    if tried:
        assert broken["msg"].startswith("import failed, as the files are: thing.api:Other (expected Other in thing.api")


@pytest.mark.parametrize(("verify", "tried"), [("always", True), ("changed", True), ("never", False)])
def test_a_change_is_proven_once_unless_never(target: Path, verify: str, tried: bool) -> None:  # noqa: FBT001
    result = engine.here(target, imports=["thing.api:Thing"], verify=verify)
    assert result["changed"]
    assert [done["proof"] for done in result["imports"]] == (["before"] if tried else [])


def test_taking_a_patch_out_is_proven_as_well(target: Path) -> None:
    assert engine.here(target)["changed"]
    before = snapshot.take(target)
    result = engine.here(target, state="absent", imports=["thing.api:Thing"])
    assert (result["failed"], result["imports"][0]["proof"]) == (True, "before")
    assert snapshot.take(target) == before
    assert engine.here(target, state="absent", imports=["thing.api:answer"])["changed"]


# -- the bytes -------------------------------------------------------------------------------------------------------


ENCODED = {
    "usual": TEXT.encode(),
    "CR LF": TEXT.replace("\n", "\r\n").encode(),
    "CR": TEXT.replace("\n", "\r").encode(),
    "BOM": b"\xef\xbb\xbf" + TEXT.encode(),
    "latin-1": b"# -*- coding: latin-1 -*-\nimport os\nNAME = '\xe9'\n",
    "no newline at the end": TEXT.rstrip("\n").encode(),
    "one line": b"import os",
    "form feed": b"import os\n\x0c\nNAME = 1\n",
    "other ends of lines": "import os\nNAME = '\u2028\x85\x1c'\n".encode(),
}


@pytest.mark.parametrize("text", ENCODED.values(), ids=ENCODED)
def test_absent_gives_back_exactly_what_present_found(target: Path, text: bytes) -> None:
    engine.thing(target, api=text)
    assert engine.here(target, imports=["thing.api:Thing"])["changed"]
    api = target / "thing" / "api.py"
    assert api.read_bytes() != text
    result = engine.here(target, state="absent")
    assert (result["changed"], result["patches"][0]["integrity"]) == (True, "patched")
    assert api.read_bytes() == text
    assert engine.here(target)["patches"][0]["integrity"] == "pristine"


# -- diffs -----------------------------------------------------------------------------------------------------------


TEXTS = {
    "usual": TEXT,
    "no newline at the end": TEXT.rstrip("\n"),
    "one line": "import os",
    "CR LF": TEXT.replace("\n", "\r\n"),
    "other ends of lines": "import os\n\x0c\nNAME = '\u2028\x85'\n",
    "long": "import os\n" + "".join(f"# line {number}\n" for number in range(6000)),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("tool", ["git apply -p1 --unsafe-paths -", "patch -p0 --posix --binary"])
def test_a_diff_is_one_that_git_and_patch_read(target: Path, text: str, tool: str) -> None:
    program = tool.split(maxsplit=1)[0]
    if not shutil.which(program):
        pytest.skip(f"no {program} here")
    engine.thing(target, api=text)
    api = target / "thing" / "api.py"
    predicted = engine.here(target, check_mode=True, diff=True)["diff"]["prepared"]
    assert predicted.splitlines()[:2] == [f"--- {api}\t(before)", f"+++ {api}\t(after)"]
    assert len(predicted) < 1500, "no second copy of the file"
    copy = target / "copy"
    copy.mkdir()
    shutil.copy(api, copy / "api.py")
    subprocess.run(
        tool.split(),
        input=predicted.replace(f"{api}\t", "api.py\t" if program == "patch" else "/api.py\t").encode(),
        cwd=copy,
        check=True,
    )
    assert engine.here(target, diff=True)["diff"]["prepared"] == predicted
    assert (copy / "api.py").read_bytes() == api.read_bytes()


OTHER = engine.definition(name="other_names", file="other.py")


def test_a_diff_names_every_file(target: Path) -> None:
    engine.thing(target, other=TEXT)
    result = engine.here(target, diff=True, definitions=[engine.PATCH, OTHER])
    assert re.findall(r"^\+\+\+ .*/(\w+)\.py\t", result["diff"]["prepared"], re.MULTILINE) == ["api", "other"]


# -- several patches -------------------------------------------------------------------------------------------------


def test_one_refused_patch_keeps_all_others_from_being_written(target: Path) -> None:
    engine.thing(target, other="import os\nthis is no Python\n")
    before = snapshot.take(target)
    for check in (True, False):
        result = engine.here(target, check_mode=check, definitions=[engine.PATCH, OTHER])
        assert (result["failed"], result["changed"]) == (True, False)
        assert engine.actions(result) == [("pending", "apply"), ("conflict", "none")]
        assert result["msg"].startswith("other_names: conflict: thing 1.5 in ")
        assert result["msg"].endswith("Nothing was written.")
        assert snapshot.take(target) == before


def test_patches_of_one_file_are_one_change_and_come_out_again_in_any_way(target: Path) -> None:
    engine.thing(target, extra="three = 3\n")
    other = engine.definition(name="b_names", edits=[{"reexport": {"source": ".extra", "names": ["three"]}}])
    text = (target / "thing" / "api.py").read_bytes()
    result = engine.here(target, definitions=[engine.PATCH, other], backup=True, imports=["thing.api:Thing,three"])
    assert engine.actions(result) == [("pending", "apply")] * 2
    assert [patch["files"][0]["backup_file"] for patch in result["patches"]] == [result["backup_file"]] * 2
    assert Path(result["backup_file"]).read_bytes() == text
    for first, second in ((engine.PATCH, other), (other, engine.PATCH)):
        assert engine.here(target, state="absent", definitions=[first])["changed"]
        assert engine.here(target, state="absent", definitions=[second])["changed"]
        assert (target / "thing" / "api.py").read_bytes() == text
        engine.here(target, definitions=[engine.PATCH, other])


def without_store(target: Path) -> dict[Path, bytes]:
    """Return the files, but for facts: one about bytes that are nowhere does no harm."""
    return {path: path.read_bytes() for path in target.rglob("*") if path.is_file() and STORE not in path.parts}


@pytest.mark.parametrize("number", range(1, 10))
def test_a_failed_write_is_told_with_the_states_and_changes_nothing(
    target: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The n-th rename fails: as a disk that breaks between two files."""
    engine.thing(target, second=TEXT, third=TEXT)
    wanted = [
        engine.PATCH,
        *(engine.definition(name=f"{each}_names", file=f"{each}.py") for each in ("second", "third")),
    ]
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    calls = fails_at(monkeypatch, "rename", number)
    result = engine.here(target, definitions=wanted, imports=["thing.api:Thing"])
    assert (result["failed"], result["changed"]) == (True, False)
    assert engine.actions(result) == [("pending", "apply")] * 3
    assert re.fullmatch(
        rf"{target}/\S+/{re.escape(calls[number - 1])}: Input/output error; nothing was changed", result["msg"]
    )
    assert without_store(target) == before
    monkeypatch.undo()
    assert engine.here(target, definitions=wanted)["changed"], "the next run converges"


def test_what_a_killed_run_left_goes_with_the_next_one_even_if_that_has_nothing_to_do(target: Path) -> None:
    for changed in (True, False):
        left = target / "thing" / _temporary.hidden("api.py")
        left.touch()
        assert engine.here(target)["changed"] is changed
        assert not left.exists()
