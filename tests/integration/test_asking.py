# The question before the module, in real ansible-playbook runs: the result is the module's own, and no module is sent.
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, interpreters

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Run

    Playbook = Callable[..., Run]

HIDDEN = "hidden-value"


@pytest.fixture
def ansibles(tmp_path: Path) -> Callable[[], list[str]]:
    """Return what Ansible's interpreter on the node (``tmp_path / "ansible"``) was started with."""
    log = tmp_path / "started"
    log.touch()
    path = tmp_path / "ansible"
    path.write_text(f'#!/bin/sh\necho "$LAB_TASK $1" >> {log}\nexec {interpreters.system()} "$@"\n')
    path.chmod(0o755)

    def started() -> list[str]:
        lines = log.read_text().split("\n")[:-1]
        log.write_text("")
        return lines

    return started


@pytest.fixture
def interpreter(venv: Callable[..., Path]) -> Path:
    environment = venv()
    engine.thing(environments.site_packages(environment))
    python = environments.python_of(environment)
    engine.ask("patch", python, definitions=[engine.PATCH])
    return python


def hosts(tmp_path: Path, **variables: Any) -> dict[str, Any]:
    """Return two hosts that are one: one is asked, of the other it cannot be told how its interpreter is started."""
    both = {"ansible_connection": "local", **variables}
    return {
        "all": {
            "hosts": {
                "asked": {**both, "ansible_python_interpreter": str(tmp_path / "ansible")},
                "unasked": {**both, "ansible_python_interpreter": f"{interpreters.system().parent}/./python3"},
            }
        }
    }


def play(*tasks: dict[str, Any], **keys: Any) -> list[dict[str, Any]]:
    return [{"hosts": "all", "gather_facts": False, "tasks": list(tasks), **keys}]


def patch(**parameters: Any) -> dict[str, Any]:
    return {"name": "Patch", "primus.patches.site_patch": {"definitions": [engine.PATCH], **parameters}}


def test_the_result_is_the_modules_own(
    playbook: Playbook, interpreter: Path, ansibles: Callable[[], list[str]], tmp_path: Path
) -> None:
    same = dict(python=str(interpreter), import_environment={"A": HIDDEN, "B": str(interpreter.parent.parent)})
    tasks = [
        patch(**same, validate=["thing.api:Thing"], verify="changed", backup=True),
        patch(**same, timeout="60", unsupported="skip"),
        patch(**same, shared=True),
        {**patch(**same), "environment": {"PYTHONPATH": "/nowhere"}},
    ]
    for arguments in ({"check": True, "diff": True}, {"environment": {"ANSIBLE_VERBOSITY": "3"}}):
        run = playbook(play(*tasks), inventory=hosts(tmp_path), **arguments).exits(0)
        results = [[task.result for task in run.of("site_patch", host)] for host in ("asked", "unasked")]
        assert len(results[0]) == len(tasks)
        for asked, unasked in zip(*results, strict=True):
            assert asked == unasked
            assert asked["patches"][0]["state"] == "applied"
        assert HIDDEN not in run.stdout + str(results)
        assert set(ansibles()) == {" -ISBc"}


def test_a_look_at_patches_alone(
    playbook: Playbook, interpreter: Path, ansibles: Callable[[], list[str]], tmp_path: Path
) -> None:
    def look(**parameters: Any) -> dict[str, Any]:
        parameters = {"definitions": [engine.PATCH], "python": str(interpreter), **parameters}
        return {"primus.patches.site_patch_info": parameters}

    for arguments in ({}, {"check": True, "diff": True}, {"environment": {"ANSIBLE_VERBOSITY": "3"}}):
        run = playbook(play(look(), look(missing="skip")), inventory=hosts(tmp_path), **arguments).exits(0)
        asked, unasked = ([task.result for task in run.of("site_patch_info", host)] for host in ("asked", "unasked"))
        assert len(asked) == 2
        assert asked == unasked
        assert set(ansibles()) == {" -ISBc"}
    playbook(play(look(details=True)), "--limit", "asked", inventory=hosts(tmp_path)).exits(0)
    assert " -ISBc" not in ansibles()


def test_where_anything_else_is_asked_the_module_is_run(
    playbook: Playbook, interpreter: Path, ansibles: Callable[[], list[str]], tmp_path: Path
) -> None:
    same = dict(python=str(interpreter))
    tasks = [
        patch(**same, validate=["thing.api:Thing"]),
        patch(**same, validate=["thing api"], verify="changed"),
        patch(**same, state="absent"),
        patch(**same),  # (it is taken out by now: the question is asked, and not answered)
        {**patch(**same), "async": 60, "poll": 1},
        {**patch(**same), "delegate_to": "asked"},
        patch(python=str(interpreter), name="unknown"),
        patch(python="python3"),
        patch(path="$HOME", python=""),
    ]
    for number, task in enumerate(tasks):
        task.update(environment={"LAB_TASK": str(number)}, ignore_errors=True)
    run = playbook(play(*tasks), "--limit", "asked", inventory=hosts(tmp_path)).exits(0)
    modules = {line.split()[0] for line in ansibles() if not line.endswith("-ISBc")}
    assert modules >= set(map(str, range(len(tasks)))), run


@pytest.mark.parametrize("says", ['echo welcome; /bin/sh "$@"', '/bin/sh "$@"; status=$?; echo bye; exit $status'])
def test_what_a_shell_says_around_the_answer_is_no_part_of_it(
    says: str, playbook: Playbook, interpreter: Path, tmp_path: Path, ansibles: Callable[[], list[str]]
) -> None:
    """Ansible warns of what comes behind a module's answer: there the module is run, and says so."""
    shell = tmp_path / "shell"
    shell.write_text(f"#!/bin/sh\n{says}\n")
    shell.chmod(0o755)
    inventory = hosts(tmp_path, ansible_shell_executable=str(shell))
    run = playbook(play(patch(python=str(interpreter))), inventory=inventory).exits(0)
    asked, unasked = (run.one("site_patch", host).result for host in ("asked", "unasked"))
    assert asked == unasked
    assert (set(ansibles()) == {" -ISBc"}) is ("bye" not in says)
