# Who else is at it: files that others change between plan and commit, and many runs on one tree at once.
from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine
from module_utils import _commit, _imports, _patching, _staging

if TYPE_CHECKING:
    from collections.abc import Callable


TEXT = engine.FILES["api.py"]


def meanwhile(monkeypatch: pytest.MonkeyPatch, *others: Callable[[], Any]) -> list[list[str]]:
    """Let others act between plan and commit, one before each try; return the imports that were tried, call by call."""
    commit, prove = _commit.commit, _imports.prove
    queue, tried = list(others), []

    def late(*arguments: Any) -> Any:
        if queue:
            other = queue.pop(0)
            with monkeypatch.context() as undone:
                undone.setattr(_commit, "commit", commit)
                other()
        return commit(*arguments)

    def note(imports: list[str], *rest: Any, **more: Any) -> Any:
        tried.append(imports)
        return prove(imports, *rest, **more)

    monkeypatch.setattr(_commit, "commit", late)
    monkeypatch.setattr(_imports, "prove", note)
    return tried


def test_what_another_node_did_meanwhile_is_not_done_again(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = meanwhile(monkeypatch, lambda: engine.here(target))
    result = engine.here(target, imports=["thing.api:Thing"], diff=True, backup=True)
    assert (result["changed"], engine.actions(result)) == (False, [("applied", "none")])
    assert [(done["ok"], done["proof"]) for done in result["imports"]] == [(True, "before")]
    assert tried == [["thing.api:Thing"]], "proven for these very bytes: not tried again"
    assert (result["diff"], "backup_file" in result) == ({"prepared": ""}, False)
    assert sorted(os.listdir(target / "thing")) == ["__init__.py", "api.py", "core.py"]


def test_a_file_that_another_one_edited_meanwhile_is_planned_and_proven_again(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = target / "thing" / "api.py"
    tried = meanwhile(monkeypatch, lambda: api.write_text(TEXT + "MORE = 1\n"))
    result = engine.here(target, imports=["thing.api:Thing"])
    assert (result["changed"], engine.actions(result)) == (True, [("pending", "apply")])
    assert "MORE = 1\n" in api.read_text()
    assert len(tried) == 2
    assert engine.here(target, state="absent")["changed"]
    assert api.read_text() == TEXT + "MORE = 1\n"


def test_a_file_that_cannot_be_patched_any_more_is_left_alone(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = target / "thing" / "api.py"
    meanwhile(monkeypatch, lambda: api.write_text("import os\nno Python\n"))
    result = engine.here(target)
    assert (result["failed"], result["changed"], engine.actions(result)) == (True, False, [("conflict", "none")])
    assert api.read_text() == "import os\nno Python\n"


def test_a_file_that_others_change_many_times_is_not_given_up_yet(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = target / "thing" / "api.py"
    meanwhile(monkeypatch, *[lambda n=number: api.write_text(TEXT + f"N = {n}\n") for number in range(50)])
    assert engine.here(target)["changed"]
    assert b"N = 49" in api.read_bytes()


@pytest.mark.parametrize("step", ["mode_of", "stage"])
def test_a_file_that_goes_and_comes_back_during_a_commit_is_no_failure(
    step: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another run does that takes it out, and one that puts it in again: only what was opened in between fails."""
    api, real, gone = target / "thing" / "api.py", getattr(_staging, step), []

    def late(*arguments: Any) -> Any:
        if gone:
            return real(*arguments)
        gone.append(api.rename(target / "away"))
        try:
            return real(*arguments)
        finally:
            gone[0].rename(api)

    monkeypatch.setattr(_staging, step, late)
    result = engine.here(target)
    assert gone
    assert (result["changed"], engine.actions(result)) == (True, [("pending", "apply")]), result
    assert sorted(os.listdir(target / "thing")) == ["__init__.py", "api.py", "core.py"]


def test_a_file_that_changes_for_ever_is_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = target / "thing" / "api.py"
    monkeypatch.setattr(_patching, "_SECONDS", 0.0)
    meanwhile(monkeypatch, *[lambda n=number: api.write_text(TEXT + f"N = {n}\n") for number in range(50)])
    result = engine.here(target)
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"] == f"{api}: changed by somebody else again and again; nothing was written"
    assert engine.BLOCK not in api.read_bytes()
    assert sorted(os.listdir(target / "thing")) == ["__init__.py", "api.py", "core.py"]


def together(target: Path, count: int, states: tuple[str, ...], prepare: str = "") -> list[tuple[bool, str, str]]:
    """Run as many processes at once on one tree; (changed, state as found, action) of each."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from module_utils import _engine, _locks\n"
        f"{prepare}\n"
        "request = json.loads(sys.stdin.readline()); print('ready', flush=True); sys.stdin.readline()\n"
        "print(json.dumps(_engine.run(request)))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-B", "-c", code, engine.PLUGINS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _process in range(count)
    ]
    for number, process in enumerate(processes):
        request = dict(
            operation="patch", definitions=[engine.PATCH], path=str(target), state=states[number % len(states)]
        )
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert not [result["msg"] for result in results if result.get("failed")]
    return [(result["changed"], *engine.actions(result)[0]) for result in results]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_of_many_nodes_at_once_exactly_one_reports_the_change(target: Path, state: str) -> None:
    py_compile.compile(str(target / "thing" / "api.py"))
    if state == "absent":
        assert engine.here(target)["changed"]
    results = together(target, 12, (state,))
    ours, others = (
        (("pending", "apply"), ("applied", "none"))
        if state == "present"
        else (("applied", "revert"), ("pending", "none"))
    )
    assert sorted(results) == sorted([(True, *ours)] + [(False, *others)] * 11)
    assert sorted(os.listdir(target / "thing")) == ["__init__.py", "__pycache__", "api.py", "core.py"]
    assert len(os.listdir(target / "thing" / "__pycache__")) == 1


@pytest.mark.parametrize("locks", [True, False])
def test_nodes_that_want_different_things_leave_one_of_both_and_no_stale_bytecode(target: Path, locks: bool) -> None:  # noqa: FBT001
    """Without locks flock answers as a file system does that has none: the bytes never depend on them."""
    py_compile.compile(str(target / "thing" / "api.py"))
    without = "def none(*_): raise OSError(37, 'No locks available')\n_locks.fcntl.flock = none"
    for _round in range(3):
        together(target, 10, ("present", "absent"), "" if locks else without)
        text = (target / "thing" / "api.py").read_text()
        assert engine.here(target, check_mode=True)["patches"][0]["state"] in ("applied", "pending")
        assert sorted(os.listdir(target / "thing")) == ["__init__.py", "__pycache__", "api.py", "core.py"]
        code = f"import sys; sys.path.insert(0, {str(target)!r}); import thing.api as m; print(hasattr(m, 'Thing'))"
        done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str("Thing" in text)
