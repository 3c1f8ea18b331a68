# The short form of ./dev faults: some of its faults, races, hostile imports and edits; and that its judge finds faults.
from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from lab import corpus, faults, hostile, races, syscalls
from module_utils import _files, _patching, _step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

needs_seccomp = pytest.mark.skipif(syscalls.missing() is not None, reason=str(syscalls.missing()))
NEVER = faults.Fault(10**6, "EIO")  # no run makes as many calls


@pytest.mark.slow
@needs_seccomp
def test_wherever_a_call_fails_files_are_whole_answers_are_right_and_the_next_run_converges(tmp_path: Path) -> None:
    tallies = faults.campaign(tmp_path, faults.sample(every=900))
    assert sum(tally.injected for tally in tallies.values()) > 40
    assert [reason for tally in tallies.values() for reason in tally.reasons] == []


@needs_seccomp
@pytest.mark.parametrize("name", ["apply", "migrate", "revert", "backup", "second patch", "come and go", "come back"])
def test_wherever_the_last_calls_fail_the_answer_is_right(tmp_path: Path, name: str) -> None:
    """Behind the last rename everything is done: what fails there is no failure of the run."""
    case = next(case for case in faults.cases(tmp_path / "cases") if case.name == name)
    calls = faults.calls(case, tmp_path / "work")
    last = max(number for number, call in enumerate(calls) if call == "fsync")
    for number in range(last, len(calls), 6):
        assert faults.inject(case, faults.Fault(number, "EIO"), tmp_path / "work") == {}


@needs_seccomp
def test_where_the_answer_to_a_rename_is_lost_nothing_of_the_run_is_left(tmp_path: Path) -> None:
    case = next(case for case in faults.cases(tmp_path / "cases") if case.name == "backup")
    for number, call in enumerate(faults.calls(case, tmp_path / "work")):
        if call == "renameat":
            assert faults.inject(case, faults.Fault(number, "EIO", faults.ANSWER_LOST), tmp_path / "work") == {}


@needs_seccomp
def test_a_directory_that_cannot_be_wound_back_is_listed_whole_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with _files.open_directory(str(tmp_path)) as directory:
        ending = syscalls.supervise(
            lambda: [directory.names(), directory.names()],
            lambda _number, name: errno.EIO if name == "lseek" else 0,
        )
    assert "lseek" in ending.calls
    assert ending.value == [["file"], ["file"]]


@pytest.mark.slow
def test_runs_readers_and_pip_at_the_same_time_leave_what_one_would(tmp_path: Path) -> None:
    tally = races.race(tmp_path, 3.0, writers=4, readers=1, pip=True)
    assert tally.injected > 5
    assert tally.reasons == []


@pytest.mark.slow
def test_runs_and_readers_at_the_same_time_have_no_reason_to_fail(tmp_path: Path) -> None:
    tally = races.race(tmp_path, 2.0, writers=6, readers=2, pip=False)
    assert tally.injected > 5
    assert tally.reasons == []


@pytest.mark.parametrize("name", hostile.QUICK)
def test_whatever_an_import_does_there_is_an_answer_and_it_is_not_a_false_one(tmp_path: Path, name: str) -> None:
    assert list(hostile.attempt(tmp_path / "site", name)) == []


@pytest.mark.slow
def test_what_is_taken_out_again_leaves_the_bytes_of_before(tmp_path: Path) -> None:
    tally = corpus.campaign(tmp_path, range(25))
    assert tally.injected > 10
    assert tally.reasons == []


# --- the judge: a run that is broken on purpose is found out


def in_place(self: _files.Directory, name: str, to: str) -> None:
    """Replace a file as a careless program does."""
    content = self.read(name)
    assert content is not None
    target = os.open(to, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, dir_fd=self.descriptor)
    for part in (content.data[:9], content.data[9:]):
        os.write(target, part)
    os.close(target)
    os.unlink(name, dir_fd=self.descriptor)


def nothing(*_arguments: Any) -> None:
    """Say that it is done."""


def too_late(_step: Any, *, done: bool) -> str:
    raise OSError(5, f"after the commit (done: {done})")


@needs_seccomp
@pytest.mark.parametrize(
    ("where", "name", "instead", "error", "call", "expected"),
    [
        (_files.Directory, "rename", in_place, faults.KILL, "write", "torn"),
        (_files.Directory, "unlink", nothing, "EIO", None, "stale"),
        (_files.Directory, "rename", nothing, "EIO", None, "false success"),
        (_files.Directory, "rename", nothing, "EIO", None, "not converged"),
        (_step.Step, "told", too_late, "EIO", None, "false failure"),
        (_patching, "_sweep", nothing, faults.KILL, "fsync", "left"),
    ],
)
def test_the_judge_finds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    instead: Callable[..., Any],
    error: str,
    call: str | None,
    expected: str,
) -> None:
    wanted = "clean up" if expected == "left" else "apply"
    case = next(case for case in faults.cases(tmp_path / "cases") if case.name == wanted)
    monkeypatch.setattr(where, name, instead)
    found: set[str] = set()
    if call is None or wanted == "clean up":
        found.update(faults.inject(case, NEVER, tmp_path / "work"))
    else:
        calls = faults.calls(case, tmp_path / "work")
        for number in [number for number, each in enumerate(calls) if each == call]:
            found.update(faults.inject(case, faults.Fault(number, error), tmp_path / "work"))
    assert expected in found
