# Commits that are killed at each system call, and two that run at the same time: the bytes that are there always lead
# to the true original. On real files with real planning; and every interleaving of a model of the steps.
from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from lab import commits, packages, syscalls
from module_utils import _commit, _files, _locks, _patch, _plan, _store
from module_utils._store import Fact, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

needs_seccomp = pytest.mark.skipif(syscalls.missing() is not None, reason=str(syscalls.missing()))

FILES = {"__init__.py": "", "api.py": "LIMIT = 10\nSIZE = 1\nNAME = 'x'\n", "old.py": "OLD = 1\n"}
# What changes something that outlives the process; between two of these calls nothing does.
CHANGES = (
    *("openat", "write", "ftruncate", "fsync", "renameat", "renameat2", "rename", "linkat", "unlinkat", "mkdirat"),
    *("fchmod", "fchown", "utimensat", "fsetxattr", "fremovexattr"),
)


def definition(name: str, *edits: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("reason", "upstream", "retire"), "none")
    written = {"name": name, "package": "acme", "versions": ">=2.3,<2.4", "file": "api.py", **texts}
    return {**written, "edits": list(edits), **keys}


def replace(before: str, after: str, **keys: Any) -> dict[str, Any]:
    return {"replace": {"before": before, "after": after}, **keys}


P0 = definition("p0", replace("LIMIT = 10", "LIMIT = 20"))
P1 = definition("p1", replace("SIZE = 1", "SIZE = 2"))
P2 = definition("p2", replace("NAME = 'x'", "NAME = 'y'"))
P0_AGAIN = definition("p0", replace("LIMIT = 10", "LIMIT = 30"), revision=2)
THREE = definition(
    "three",
    replace("LIMIT = 10", "LIMIT = 20"),
    {"file": "sub/new.py", "write": {"content": "NEW = 1\n", "replaces": "absent"}},
    {"file": "old.py", "delete": {"replaces": _store.sha(FILES["old.py"].encode())}},
)


class Wish(NamedTuple):
    """What one run wants."""

    patches: tuple[dict[str, Any], ...]
    present: bool = True


def install(site: Path) -> Path:
    """Install the package without a RECORD: what was there is known by facts alone."""
    info = packages.install(site, "acme", "2.3.0", {f"acme/{name}": text for name, text in FILES.items()})
    (info / "RECORD").unlink()
    return site


def run(site: Path, wish: Wish) -> list[str]:
    """Plan and commit until the plan holds, then remove what killed runs left; the states that were found at last."""
    while True:
        plan = _plan.plan([_patch.load(each) for each in wish.patches], str(site), wish.present)
        assert not plan.refused, [step.message for step in plan.refused]
        if plan.changes:
            _commit.preflight(plan.changes, backup=False)
        if not plan.changes or _commit.commit(plan.changes, backup=False) is not None:
            break
    for place in {look.place for step in plan.steps for look in step.files}:
        if _files.unfinished(place.path):
            _commit.sweep(place)
    return [step.state for step in plan.steps]


def tree(site: Path) -> dict[str, bytes]:
    """All files of the package but bytecode."""
    paths = [path for path in (site / "acme").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(site)): path.read_bytes() for path in paths}


def check_leads_to_the_original(site: Path, pristine: Mapping[str, bytes]) -> None:
    """Each file is its original, or a fact says which that was, and it is kept (or was none)."""
    now = tree(site)
    for relative in {*now, *pristine, "acme/sub/new.py"}:
        here, original = _store.sha(now.get(relative)), _store.sha(pristine.get(relative))
        if here == original or relative.endswith(_files.SUFFIX):
            continue
        store = Store(str(site))
        found = [fact for fact in store.facts(relative) if fact.written == here]
        assert found, f"{relative}: no fact about what is there: {now.get(relative)!r}"
        (fact,) = found
        assert isinstance(fact, Fact)
        assert fact.original == original, f"{relative}: a fact with another original"
        if original != _store.NOTHING:
            assert store.original(original) == pristine[relative]


# --- killed


SCENARIOS: dict[str, tuple[Sequence[Wish], Wish]] = {
    "first application": ((), Wish((P0,))),
    "second patch in a file": ((Wish((P0,)),), Wish((P1,))),
    "migration": ((Wish((P0,)),), Wish((P0_AGAIN,))),
    "taking out one of two": ((Wish((P0, P1)),), Wish((P0,), present=False)),
    "three files": ((), Wish((THREE,))),
    "three files back": ((Wish((THREE,)),), Wish((THREE,), present=False)),
}


@pytest.mark.slow
@needs_seccomp
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_any_call_the_next_run_converges_and_absent_gives_the_original_back(
    tmp_path: Path, name: str
) -> None:
    earlier, wish = SCENARIOS[name]
    start = install(tmp_path / "start" / "site")
    pristine = tree(start)
    for each in earlier:
        run(start, each)
    for path in start.joinpath(_store.DIRECTORY).rglob("*.*"):
        os.utime(path, (time.time() - 7200,) * 2)
    done = Path(shutil.copytree(start, tmp_path / "done" / "site"))
    run(done, wish)
    wanted = tree(done)

    def attempt(decide: Callable[[int, str], int]) -> syscalls.Ending:
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        site = shutil.copytree(start, tmp_path / "work" / "site")
        return syscalls.supervise(lambda: run(Path(site), wish), decide)

    whole = attempt(lambda _number, _name: 0)
    assert whole.value, whole.error
    first = max(0, whole.calls.index("fsync") - 10)  # (before it has written anything, it is all reading)
    numbers = [number for number, call in enumerate(whole.calls) if call in CHANGES and number >= first]
    assert len(numbers) > 20
    for kill in numbers:
        ending = attempt(lambda number, _name: syscalls.KILL if number == kill else 0)  # noqa: B023 (used at once)
        assert ending.killed or kill > numbers[-5], "runs make a call more or less"
        site = tmp_path / "work" / "site"
        check_leads_to_the_original(site, pristine)
        run(site, wish)
        where = f"killed at call {kill}, {whole.calls[kill]}"
        assert tree(site) == wanted, where
        assert list(site.rglob(f"*{_files.SUFFIX}")) == [], where
        for each in (wish, *earlier):
            run(site, Wish(each.patches, present=False))
        assert tree(site) == pristine, where


# --- two at a time


STEPS = ("stage", "keep", "switch", "keep_again", "finish", "collect")


class Paused:
    """A run in a process of its own, without locks, that stops before one step of its (first) commit."""

    def __init__(self, site: Path, wish: Wish, step: str | None) -> None:
        self.reached, stopped = os.pipe()
        go_on, self.go = os.pipe()
        self.child = os.fork()
        if self.child:
            os.close(stopped)
            os.close(go_on)
            return
        with contextlib.suppress(BaseException):
            os.close(self.reached)
            os.close(self.go)
            _locks.fcntl.flock = commits.no_locks  # type: ignore[attr-defined]
            if step is not None:
                self._pause(step, stopped, go_on)
            run(site, wish)
            os._exit(0)
        os._exit(1)

    @staticmethod
    def _pause(step: str, stopped: int, go_on: int) -> None:
        real = getattr(_commit._Work, step)

        def wait(*arguments: Any) -> Any:
            setattr(_commit._Work, step, real)
            os.close(stopped)
            os.read(go_on, 1)
            return real(*arguments)

        setattr(_commit._Work, step, wait)

    def wait(self) -> None:
        """Wait until it has come to its step, or to its end."""
        os.read(self.reached, 1)

    def end(self) -> bool:
        """Let it go on to its end; whether that was a good one."""
        with contextlib.suppress(BrokenPipeError):  # (it has never come to its step)
            os.write(self.go, b"x")
        _process, status = os.waitpid(self.child, 0)
        os.close(self.go)
        os.close(self.reached)
        return status == 0


WISHES = {"add p1": Wish((P1,)), "add p2": Wish((P2,)), "remove p0": Wish((P0,), present=False), "add p0": Wish((P0,))}


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), list(itertools.product(WISHES, WISHES)))
def test_two_runs_without_locks_paused_at_each_step_never_lose_the_original(
    tmp_path: Path, one: str, other: str
) -> None:
    """The first one stops at a step, the second one starts and stops at one, the first one ends, then the second."""
    start = install(tmp_path / "start" / "site")
    pristine = tree(start)
    run(start, Wish((P0,)))
    if "add p0" in (one, other):  # (its fact is an old one, from a time when it was applied)
        run(start, Wish((P0,), present=False))
    for path in start.joinpath(_store.DIRECTORY).rglob("*.*"):
        os.utime(path, (time.time() - 7200,) * 2)
    for first, second in itertools.product(STEPS, STEPS):
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        site = Path(shutil.copytree(start, tmp_path / "work" / "site"))
        left = Paused(site, WISHES[one], first)
        left.wait()
        right = Paused(site, WISHES[other], second)
        right.wait()
        assert left.end(), (first, second)
        check_leads_to_the_original(site, pristine)
        assert right.end(), (first, second)
        check_leads_to_the_original(site, pristine)
        run(site, Wish((P0, P1, P2), present=False))
        assert tree(site) == pristine


# --- a model of it: every interleaving of the steps


class World(NamedTuple):
    """A file, whose content is the set of patches over the one original, and the store: each fact's age is told."""

    file: frozenset[str]
    facts: frozenset[frozenset[str]]
    young: frozenset[frozenset[str]]
    """Those that nobody may collect yet."""
    original: bool = True


class Process(NamedTuple):
    """Where one of the runs stands."""

    adds: str = ""
    removes: str = ""
    step: str = "plan"
    seen: frozenset[str] = frozenset()

    @property
    def wanted(self) -> frozenset[str]:
        return (self.seen | {self.adds} if self.adds else self.seen) - {self.removes}


def advance(world: World, process: Process, *, fact_first: bool, recheck: bool) -> tuple[World, Process]:
    """Carry out one step of a run, as the commit has them; each is one that nothing else comes into."""
    wanted = process.wanted

    def to(step: str) -> Process:
        return process._replace(step=step)

    if process.step == "plan":
        done = world.file == process._replace(seen=world.file).wanted
        return world, process._replace(seen=world.file, step="end" if done else "fact" if fact_first else "switch")
    if process.step == "fact":
        if wanted:
            world = world._replace(facts=world.facts | {wanted}, young=world.young | {wanted})
        return world, to("switch" if fact_first else "again")
    if process.step == "switch":  # (the look and the rename: what comes between them is lost, but never its fact)
        if world.file != process.seen:
            return world, to("plan")
        return world._replace(file=wanted), to("again" if fact_first else "fact")
    if process.step == "again":
        if recheck and wanted and wanted not in world.facts:
            world = world._replace(facts=world.facts | {wanted})
        return world, to("collect")
    kept = {fact for fact in world.facts if fact in world.young or fact == wanted}
    return world._replace(facts=frozenset(kept)), to("end")


def interleavings(world: World, processes: tuple[Process, ...], **how: bool) -> Iterator[World]:
    """Yield every world that can come about, in any order of steps."""
    seen: set[tuple[World, tuple[Process, ...]]] = set()
    waiting = [(world, processes)]
    while waiting:
        state = waiting.pop()
        if state in seen:
            continue
        seen.add(state)
        yield state[0]
        for number, process in enumerate(state[1]):
            if process.step != "end":
                after, moved = advance(state[0], process, **how)
                waiting.append((after, (*state[1][:number], moved, *state[1][number + 1 :])))


def is_good(world: World) -> bool:
    return not world.file or world.file in world.facts


RUNS = (Process(adds="p1"), Process(adds="p2"), Process(removes="p0"))
AT_FIRST = World(frozenset({"p0"}), frozenset({frozenset({"p0"})}), frozenset())


@pytest.mark.parametrize("pair", list(itertools.combinations(RUNS, 2)), ids=["p1 p2", "p1 p0", "p2 p0"])
def test_in_every_interleaving_of_two_runs_the_file_has_its_fact(pair: tuple[Process, ...]) -> None:
    worlds = list(interleavings(AT_FIRST, pair, fact_first=True, recheck=True))
    assert len(worlds) > 20
    assert all(map(is_good, worlds))


def test_in_every_interleaving_of_all_three_runs_the_file_has_its_fact() -> None:
    assert all(map(is_good, interleavings(AT_FIRST, RUNS, fact_first=True, recheck=True)))


def test_the_model_finds_what_another_order_loses() -> None:
    assert not all(map(is_good, interleavings(AT_FIRST, RUNS, fact_first=False, recheck=True)))
