# Proofs by imports: whose failure it is, when a change is written all the same, and one that is tried once written.
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab import engine, environments, packages, snapshot
from module_utils import _imports

TOKEN = "s3cret-t0ken"  # noqa: S105
FAILS = "raise IndexError('list index out of range')\n"


def test_whose_failure_it_is_is_told(tmp_path: Path) -> None:
    packages.write(tmp_path, {"good.py": "", "bad.py": FAILS, "other.py": "import os\nraise OSError(os.getpid())\n"})
    previews: dict[str, bytes | None] = {
        str(tmp_path / "good.py"): FAILS.encode(),
        str(tmp_path / "new.py"): b"x = 1\n",
    }
    results = _imports.prove(["good", "bad", "other", "new"], previews, [str(tmp_path)], 30.0, {}, proof="before")
    told = [(done["ok"], done["blame"], done["same"]) for done in results]
    assert told == [
        (False, "patch", False),
        (False, "environment", True),
        (False, "environment", False),
        (True, None, False),
    ]
    message = _imports.refusal(results)
    assert message is not None
    assert "good (IndexError: list index out of range; without the patch it can be imported)" in message
    assert "bad (fails without the patch as well: IndexError: list index out of range in " in message
    assert _imports.refusal(results, True) == message
    assert _imports.refusal(results[1:2], True) is None
    assert "bad (fails without the patch as well" in _imports.accepted(results[1:2])


def failure(error: str, file: str | None = "/v/lib/python3.11/site-packages/m/x.py", **more: Any) -> dict[str, Any]:
    """Return a failed import as it is reported."""
    trace = (
        None
        if file is None
        else f'Traceback:\n  File "/m/top.py", line 1, in <module>\n  File "{file}", line 5, in f\n'
    )
    common = {"name": "mod", "ok": False, "cause": "exception", "seconds": 1.0, "version": None, "proof": "before"}
    return {**common, "blame": None, "same": False, "error": error, "traceback": trace, **more}


PASSED = {**failure("", None), "ok": True, "cause": None, "error": None}
CRASH = (
    'Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File "%s", line 3 in f\n'
)
CRASH += '  File "/m/top.py", line 1 in <module>'


DIED = failure("died", None, traceback=CRASH % "/a.py")
# The failure with a change, what comes of the import without it, whose failure it is then, and whether it is the same.
AGAIN: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, bool]] = {
    "it passes": (failure("ValueError: 1"), PASSED, "patch", False),
    "same text": (failure("ValueError: 1"), failure("ValueError: 1"), "environment", True),
    "other text": (failure("ValueError: 1"), failure("ValueError: 2"), "environment", False),
    "other address": (failure("E: <f at 0x7f00aBc>"), failure("E: <f at 0x7e11>"), "environment", True),
    "other time": (failure("E: after 1.5 s"), failure("E: after 12 s"), "environment", True),
    "other seconds": (failure("E: 10 seconds, 3 items"), failure("E: 11 seconds, 3 items"), "environment", True),
    "other number": (failure("E: 1 of 3"), failure("E: 1 of 4"), "environment", False),
    "other file": (failure("E: x"), failure("E: x", "/v/lib/python3.11/site-packages/m/y.py"), "environment", False),
    "other cause": (failure("E: x"), failure("E: x", cause="dependency"), "environment", False),
    "same crash": (DIED, DIED, "environment", True),
    "other crash": (DIED, failure("died", None, traceback=CRASH % "/b.py"), "environment", False),
    "it hangs": (failure("E: x"), failure("did not end", cause="timeout"), None, False),
    "no time": (failure("E: x"), failure("not tried", None, cause="not_tried", seconds=0.0), None, False),
}


@pytest.mark.parametrize(("result", "again", "blame", "same"), AGAIN.values(), ids=AGAIN)
def test_whose_failure_it_is_and_whether_it_is_the_same(
    result: dict[str, Any],
    again: dict[str, Any],
    blame: str | None,
    same: bool,  # noqa: FBT001
) -> None:
    (found,) = _imports.blame([result], [again])
    assert (found["blame"], found["same"]) == (blame, same)
    assert (_imports.refusal([found], accept_unchanged=True) is None) is same
    if blame == "environment":
        assert found["error"].startswith("fails without the patch as well: ") is same
        assert (found["error"] == result["error"]) is False
    else:
        assert found["error"] == result["error"]


def test_blame_goes_to_the_import_that_was_tried_again() -> None:
    """Of imports that failed alone, the same one may be named twice, and time may end within them."""
    hung = failure("did not end", cause="timeout")
    results = [PASSED, failure("E: 1", name="a"), hung, failure("E: 2", name="a"), failure("E: 3", name="c")]
    found = _imports.blame(results, [failure("E: 1"), PASSED])
    assert [done["blame"] for done in found] == [None, "environment", None, "patch", None]
    assert _imports.refusal(found, accept_unchanged=True) is not None
    assert _imports.blame(results, []) == results


def test_messages_say_whose_failure_it_is() -> None:
    (unchanged,) = _imports.blame(
        [failure("IndexError: list index out of range")], [failure("IndexError: list index out of range")]
    )
    said = "mod (fails without the patch as well: IndexError: list index out of range in m/x.py)"
    head = "import failed, with the change served from memory; nothing was written: "
    way = ". With validate_failure: accept_unchanged, site_patch writes all the same"
    assert _imports.refusal([PASSED, unchanged]) == head + said + way
    assert (
        _imports.accepted([PASSED, unchanged])
        == f"failed imports accepted (validate_failure: accept_unchanged): {said}"
    )
    assert _imports.accepted([PASSED]) == ""
    assert _imports.refusal([PASSED]) is None
    (own,) = _imports.blame([failure("E: x", proof="after")], [PASSED])
    assert _imports.refusal([own, {**unchanged, "proof": "after"}], accept_unchanged=True) == (
        f"import failed, with the change written: mod (E: x; without the patch it can be imported); {said}"
    )
    (other,) = _imports.blame([failure("E: x")], [failure("E: y", None)])
    assert _imports.refusal([other]) == head + "mod (E: x; without the patch it fails, too, otherwise: E: y)"
    assert _imports.refusal([failure("E: x", proof="none")]) == "import failed, as the files are: mod (E: x)"


def test_without_the_change_there_is_only_the_time_that_is_left(tmp_path: Path) -> None:
    packages.write(tmp_path, {"mod.py": "import time\ntime.sleep(1.5)\nraise OSError\n"})
    previews: dict[str, bytes | None] = {str(tmp_path / "other.py"): b""}
    (done,) = _imports.prove(["mod"], previews, [str(tmp_path)], 2.2, {}, proof="before")
    assert (done["cause"], done["error"], done["blame"]) == ("exception", "OSError:", None)


def test_a_change_that_was_put_back_is_judged_afterwards(tmp_path: Path) -> None:
    packages.write(tmp_path, {"good.py": "1 / 0\n", "bad.py": "1 / 0\n", "fine.py": ""})
    names, options = ["good", "fine", "bad"], ([str(tmp_path)], 30.0, {"TOKEN": TOKEN})
    results = _imports.prove(names, {}, *options, proof="after")
    assert [(done["ok"], done["proof"], done["blame"]) for done in results] == [
        (False, "after", None),
        (True, "after", None),
        (False, "after", None),
    ]
    packages.write(tmp_path, {"good.py": ""})
    judged = _imports.without(results, *options)
    assert [(done["name"], done["proof"], done["blame"], done["same"]) for done in judged] == [
        ("good", "after", "patch", False),
        ("fine", "after", None, False),
        ("bad", "after", "environment", True),
    ]


def test_a_host_with_a_toolkit_and_no_gpu_is_told_the_way_out(tmp_path: Path) -> None:
    """The same error from a function of the same name: the real one is torch's, on a build host."""
    text = "def _get_cuda_arch_flags():\n    return [][0]\n_get_cuda_arch_flags()\n"
    packages.write(tmp_path, {"bad.py": text, "good.py": ""})
    previews: dict[str, bytes | None] = {str(tmp_path / "good.py"): b"x = 1\n"}
    message = _imports.refusal(_imports.prove(["bad"], previews, [str(tmp_path)], 30.0, {}, proof="before"))
    assert message is not None
    assert "a CUDA toolkit and no GPU: set TORCH_CUDA_ARCH_LIST (import_environment), e.g. 9.0" in message


@pytest.mark.parametrize("accepts", [False, True])
def test_a_change_is_written_where_the_imports_fail_as_before_if_that_is_accepted(
    environment: Path,
    site: Path,
    accepts: bool,  # noqa: FBT001
) -> None:
    directory = engine.thing(site)
    packages.write(site, {"bad.py": FAILS})
    python = environments.python_of(environment)
    choice = "accept_unchanged" if accepts else "refuse"
    result = engine.ask("patch", python, definitions=[engine.PATCH], imports=["bad"], validate_failure=choice)
    assert [(done["ok"], done["proof"], done["blame"]) for done in result["imports"]] == [
        (False, "before", "environment")
    ]
    assert (engine.BLOCK in (directory / "api.py").read_bytes()) is accepts
    assert bool(result.get("failed")) is not accepts
    assert "fails without the patch as well: IndexError" in result["msg"]


JSON = {
    **engine.PATCH,
    "name": "thing_table",
    "file": "table.json",
    "edits": [{"replace": {"before": '"limit": 3', "after": '"limits": 3'}}],
}
READS = "import json, os\nLIMIT = json.load(open(os.path.join(os.path.dirname(__file__), 'table.json')))['limit']\n"


def table(site: Path) -> Path:
    files = {"thing/__init__.py": READS, "thing/table.json": '{"limit": 3}\n'}
    packages.install(site, "thing", "1.5", files)
    return site / "thing" / "table.json"


def test_what_cannot_be_shown_from_memory_is_written_tried_and_put_back(environment: Path, site: Path) -> None:
    file = table(site)
    python = environments.python_of(environment)
    before = snapshot.take(site)
    check = engine.ask("patch", python, definitions=[JSON], imports=["thing:LIMIT"], check_mode=True)
    assert snapshot.take(site) == before
    assert [(done["ok"], done["proof"]) for done in check["imports"]] == [(True, "none")]
    assert "imports are tried once the change is written, as table.json cannot be shown from memory" in check["msg"]
    result = engine.ask("patch", python, definitions=[JSON], imports=["thing:LIMIT"])
    assert (result["failed"], result["changed"]) == (True, False)
    assert [(done["ok"], done["proof"], done["blame"]) for done in result["imports"]] == [(False, "after", "patch")]
    assert "what was written has been put back" in result["msg"]
    assert file.read_text() == '{"limit": 3}\n'
    good = {**JSON, "edits": [{"replace": {"before": "3", "after": "4"}}]}
    result = engine.ask("patch", python, definitions=[good], imports=["thing:LIMIT"])
    assert [(done["ok"], done["proof"]) for done in result["imports"]] == [(True, "after")]
    assert result["changed"], result["msg"]
    assert json.loads(next((site / "primus-patches" / "facts").iterdir()).read_text())["proof"] == "after"


def test_a_proof_that_a_killed_run_owes_is_not_applied_and_is_settled_by_the_next(
    environment: Path, site: Path
) -> None:
    file = table(site)
    python = environments.python_of(environment)
    assert engine.ask("patch", python, definitions=[JSON])["changed"]
    (fact,) = (site / "primus-patches" / "facts").iterdir()
    fact.write_text(json.dumps({**json.loads(fact.read_text()), "proof": "owed"}))
    assert engine.look(python, definitions=[JSON])["state"] == "pending"
    result = engine.ask("patch", python, definitions=[JSON], imports=["thing:LIMIT"])
    assert result["failed"]
    assert file.read_text() == '{"limit": 3}\n'
    good = {**JSON, "edits": [{"replace": {"before": "3", "after": "4"}}]}
    assert engine.ask("patch", python, definitions=[good])["changed"]
    for fact in (site / "primus-patches" / "facts").iterdir():
        fact.write_text(json.dumps({**json.loads(fact.read_text()), "proof": "owed"}))
    result = engine.ask("patch", python, definitions=[good], imports=["thing:LIMIT"])
    assert (result["changed"], result["imports"][0]["proof"]) == (True, "after"), result["msg"]
    assert engine.look(python, definitions=[good])["state"] == "applied"


def test_a_package_that_goes_with_its_directory_is_gone_for_the_preview_as_well(environment: Path, site: Path) -> None:
    engine.thing(site)
    python = environments.python_of(environment)
    written = {"write": {"content": "x = 1\n", "replaces": "absent"}, "file": "new/__init__.py"}
    patch = {**engine.PATCH, "name": "thing_new", "edits": [written]}
    done = engine.ask("patch", python, definitions=[patch], imports=["thing.new"])
    assert [(each["ok"], each["proof"]) for each in done["imports"]] == [(True, "before")]
    refused = engine.ask("patch", python, definitions=[patch], imports=["thing.new"], state="absent")
    assert (refused["failed"], refused["imports"][0]["cause"]) == (True, "name")
    assert (site / "thing" / "new" / "__init__.py").exists()
