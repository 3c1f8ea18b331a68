# Faults at every call on the file system that a change makes, each judged by what is then on the disk.
from __future__ import annotations

import errno
import importlib.util
import marshal
import os
import shutil
import stat
import struct
import sys
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from module_utils import _engine, _files, _store, _temporary
from module_utils._store import Fact, Store

from lab import packages, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

KILL = "SIGKILL"
ERRORS = (
    *("ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EPERM", "ESTALE", "EINTR", "EXDEV", "EMFILE", "ENOLCK"),
    KILL,
)
FROM_THEN_ON, ANSWER_LOST = "from then on", "answer lost"
LASTING = ("ENOSPC", "EIO", "EROFS", "EMFILE")  # what goes on once it has begun
LOST = ("EIO", "ENOENT", "ESTALE")  # what a client of NFS says of a rename that the server did

FILES = {
    "__init__.py": "",
    "gone.py": "GONE = 1\n",
    "api.py": '"""The package\'s interface."""\n\nimport os\n\n\ndef answer():\n    return 42\n',
    "core.py": "class Thing:\n    pass\n\n\nclass Other:\n    size = 1\n",
}
CHANGED = ("api.py", "core.py")
COMES, GOES = "sub/new.py", "gone.py"
_FOREIGN = "cpython-30"  # bytecode of another interpreter, used without a look at the source


def definitions(revision: int, more: bool = False) -> list[dict[str, Any]]:  # noqa: FBT001, FBT002
    """Two patches of two files; the second one gives a file of the same size, as old bytecode would like it.

    ``more``: and one of two files, of which one comes and one goes.
    """
    names = ["Thing", "Other"][:revision]
    edits: dict[str, list[dict[str, Any]]] = {
        "thing_api": [{"file": "api.py", "reexport": {"source": ".core", "names": names}}],
        "thing_core": [{"file": "core.py", "replace": {"before": "size = 1", "after": f"size = {revision + 1}"}}],
    }
    if more:
        edits["thing_more"] = [
            {"file": COMES, "write": {"content": "NEW = 1\n", "replaces": "absent"}},
            {"file": GOES, "delete": {"replaces": _store.sha(FILES[GOES].encode())}},
        ]
    return [
        {
            "name": name,
            "package": "thing",
            "versions": ">=1,<2",
            "reason": "A fault is to hit it.",
            "upstream": "none",
            "retire": "never",
            "revision": revision,
            "edits": edit,
        }
        for name, edit in edits.items()
    ]


class Case(NamedTuple):
    """One kind of run on a tree that is copied for each fault."""

    name: str
    tree: Path
    request: Mapping[str, Any]
    old: Mapping[str, bytes | None]
    """By name; None where there is no file."""
    new: Mapping[str, bytes | None]


@dataclass
class Tally:
    """What one kind of fault did."""

    injected: int = 0
    found: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)

    def add(self, found: Iterable[tuple[str, str]]) -> None:
        """Count what was wrong, verdict and reason."""
        for verdict, reason in found:
            self.found[verdict] += 1
            self.reasons.append(f"{verdict}: {reason}")

    def merge(self, other: Tally) -> None:
        """Add what another one has."""
        self.injected += other.injected
        self.found += other.found
        self.reasons += other.reasons


def cases(top: Path) -> Iterator[Case]:
    """Every kind of run: what changes a tree, what only looks, and what cleans up after a run that was killed."""
    two, all_files = CHANGED, (*CHANGED, COMES, GOES)
    kinds: dict[str, tuple[list[Any] | None, list[Any], tuple[str, ...], dict[str, Any]]] = {
        # what was applied before, what the run is about, the files that it may change, its options
        "apply": (None, definitions(1), two, {}),
        "migrate": (definitions(1), definitions(2), two, {}),
        "revert": (definitions(1), definitions(1), two, {"state": "absent"}),
        "second patch": (definitions(1)[:1], definitions(1), two, {}),
        "come and go": (None, definitions(1, more=True), all_files, {}),
        "come back": (definitions(1, more=True), definitions(1, more=True), all_files, {"state": "absent"}),
        "backup": (None, definitions(1), two, {"backup": True}),
        "check": (None, definitions(1), two, {"check_mode": True, "diff": True}),
        "clean up": (definitions(1), definitions(1), two, {}),
    }
    for name, (before, wanted, files, options) in kinds.items():
        request = {"definitions": wanted, **options}
        done = _tree(top / f"scratch {name}", before)
        _run(done, request)
        tree = _tree(top / name, before)
        if name == "backup":  # (in uv's symlink mode: the file is a link into a cache)
            (tree / "cache").mkdir()
            (tree / "thing" / "core.py").rename(tree / "cache" / "core.py")
            (tree / "thing" / "core.py").symlink_to("../cache/core.py")
        if name == "clean up":
            for directory in (tree / "thing", tree / "thing" / "__pycache__"):
                for file in CHANGED:
                    (directory / f".{file}.{_temporary.HOST}.0123abcd{_files.SUFFIX}").write_text("left")
        yield Case(name, tree, request, texts(tree, files), texts(done, files))


def texts(tree: Path, files: Iterable[str]) -> dict[str, bytes | None]:
    """Return what is in files of the package, by name; None where there is none."""
    return {name: _bytes(tree / "thing" / name) for name in files}


def _tree(top: Path, applied: list[Any] | None) -> Path:
    """Installed a while ago, patched then or not, with bytecode of all kinds that are trusted in one way or another."""
    packages.install(top, "thing", "1.5", {f"thing/{name}": text for name, text in FILES.items()})
    if applied:
        _run(top, {"definitions": applied})
    modes = {"api.py": 0, "core.py": 1, GOES: 1, COMES: 0}  # by date and size; without a look at the source (PEP 552)
    for name, mode in modes.items():
        path = top / "thing" / name
        text = _bytes(path)
        if text is None:
            continue
        os.utime(path, (1_700_000_000, 1_700_000_000))
        path.parent.joinpath("__pycache__").mkdir(exist_ok=True)
        for level in ("", "1"):
            cached = Path(importlib.util.cache_from_source(str(path), optimization=level))
            cached.write_bytes(_pyc(text, mode, int(level or 0)))
        cached.with_name(f"{path.stem}.{_FOREIGN}.pyc").write_bytes(_pyc(text, 1, 0))
    for path in top.joinpath(_store.DIRECTORY).rglob("*-*.json"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return top


def _pyc(text: bytes, mode: int, level: int) -> bytes:
    key = importlib.util.source_hash(text) if mode else struct.pack("<II", 1_700_000_000, len(text))
    code = marshal.dumps(compile(text, "made", "exec", dont_inherit=True, optimize=level))
    return importlib.util.MAGIC_NUMBER + struct.pack("<I", mode) + key + code


def _run(tree: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    request = {"operation": "patch", "path": str(tree), "timeout": 60.0, "by_root": os.geteuid() == 0, **options}
    return _engine.run(request)


def _anew(tree: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same, where what a run imports late is not yet there: that is read from the disk, too."""
    for name in ("_commit", "_preflight", "_keeping", "_staging", "_bytecode", "_temporary", "_locks"):
        sys.modules.pop(f"{_engine.__package__}.{name}", None)
    sys.dont_write_bytecode = True
    return _run(tree, options)


class Fault(NamedTuple):
    """What happens to one call of a run."""

    number: int
    error: str
    how: str = ""
    """FROM_THEN_ON: each later call of that name fails as well. ANSWER_LOST: it is done, and fails all the same."""

    @property
    def kind(self) -> str:
        return self.how or self.error

    def decide(self) -> Callable[[int, str], int]:
        code = syscalls.KILL if self.error == KILL else getattr(errno, self.error)
        failing: list[str] = []

        def verdict(number: int, name: str) -> int:
            if number == self.number:
                failing.append(name)
            hit = number == self.number or (self.how == FROM_THEN_ON and name in failing)
            return code if hit else 0

        return verdict


def calls(case: Case, work: Path) -> list[str]:
    """The calls of a run without faults, by name."""
    ending = _supervised(case, work, lambda _number, _name: 0)
    assert ending.value, ending
    assert not ending.value.get("failed"), ending
    return ending.calls


def faults(names: list[str]) -> Iterator[Fault]:
    """All that can happen to a run that makes these calls."""
    for number, name in enumerate(names):
        yield from (Fault(number, error) for error in ERRORS)
        yield from (Fault(number, error, FROM_THEN_ON) for error in LASTING)
        if name in ("renameat", "unlinkat", "linkat"):
            yield from (Fault(number, error, ANSWER_LOST) for error in LOST)


def _supervised(
    case: Case,
    work: Path,
    decide: Callable[[int, str], int],
    done_first: bool = False,  # noqa: FBT001, FBT002
) -> syscalls.Ending:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(case.tree, work, symlinks=True)
    return syscalls.supervise(lambda: _anew(work, case.request), decide, done_first)


def inject(case: Case, fault: Fault, work: Path) -> dict[str, str]:
    """Run once with the fault and once more without; what was wrong, each with the reason (empty: nothing was)."""
    try:
        ending = _supervised(case, work, fault.decide(), fault.how == ANSWER_LOST)
    except TimeoutError as error:
        return {"hung": f"{case.name}: {fault}: {error}"}
    wrong = dict(_after_fault(case, fault, ending, work))
    wrong.update({verdict: reason for verdict, reason in _after_next(case, work) if verdict not in wrong})
    where = f"{case.name}: {fault.error} {fault.how} at call {fault.number}"
    if fault.number < len(ending.calls):
        where += f" ({ending.calls[fault.number]})"
    return {verdict: f"{where}: {reason}" for verdict, reason in wrong.items()}


def _after_fault(case: Case, fault: Fault, ending: syscalls.Ending, work: Path) -> Iterator[tuple[str, str]]:
    found = texts(work, case.old)
    yield from _torn(case, work, found)
    yield from _stale(case, work)
    yield from lost(work, FILES)
    if ending.killed:
        return
    result = ending.value or {"failed": True, "msg": ending.error}
    said, copies = str(result.get("msg")), len(list(work.rglob("*~")))
    if not result.get("failed"):
        if found != case.new:
            yield "false success", said
        if case.request.get("backup") and copies != len(case.old):
            yield "false success", f"not every copy is there: {said}"
        return
    if case.old != case.new and found == case.new and "could not be put back" not in said:
        yield "false failure", said
    elif found != case.old and "could not be put back" not in said:
        yield "false failure", f"says nothing of what is changed: {said}"
    if copies and fault.how != FROM_THEN_ON:
        yield "left", f"a copy of a file that was not changed: {said}"


def _torn(case: Case, work: Path, found: Mapping[str, bytes | None]) -> Iterator[tuple[str, str]]:
    for name, text in found.items():
        if text not in (case.old[name], case.new[name]):
            yield "torn", f"{name} is neither the old nor the new one"
        elif text is not None and stat.S_IMODE((work / "thing" / name).stat().st_mode) != 0o644:
            yield "torn", f"{name} has another mode"
    for kept in work.rglob("*~"):
        if kept.read_bytes() not in case.old.values():
            yield "torn", f"the copy {kept.name} is not the old file"
    cached = work / "cache" / "core.py"
    if cached.exists() and cached.read_bytes() != case.old["core.py"]:
        yield "torn", "the file in the cache, behind the link, was changed"


def lost(work: Path, installed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Files that are not as they were installed, and of which no fact says what that was, or no original is kept."""
    for name in (*CHANGED, COMES, GOES):
        here = _store.sha(_bytes(work / "thing" / name))
        original = installed[name].encode() if name in installed else None
        if here == _store.sha(original):
            continue
        store = Store(str(work))
        told = [fact for fact in store.facts(f"thing/{name}") if fact.written == here]
        if not any(isinstance(fact, Fact) and fact.original == _store.sha(original) for fact in told):
            yield "lost", f"no fact about {name} as it is"
        elif original is not None and store.original(_store.sha(original)) != original:
            yield "lost", f"the original of {name}"


def _after_next(case: Case, work: Path) -> Iterator[tuple[str, str]]:
    result = _run(work, case.request)
    if result.get("failed") or texts(work, case.new) != case.new:
        yield "not converged", str(result["msg"])
    yield from lost(work, FILES)
    yield from _stale(case, work)
    for path in work.rglob(f"*{_files.SUFFIX}"):
        yield "left", str(path.relative_to(work))
    if not case.request.get("check_mode") and _run(work, case.request)["changed"]:
        yield "not converged", "a third run changed something"


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _stale(case: Case, work: Path) -> Iterator[tuple[str, str]]:
    """Bytecode that an import would use and that is not what the source says (PEP 552)."""
    for name in case.old:
        path = work / "thing" / name
        text = _bytes(path)
        for cached in path.parent.joinpath("__pycache__").glob(f"{path.stem}.*.pyc") if text is not None else ():
            data, info = cached.read_bytes(), path.stat()
            if len(data) < 16:
                continue  # (no header: an import makes it anew)
            (mode,) = struct.unpack("<I", data[4:8])
            key = importlib.util.source_hash(text) if mode else struct.pack("<II", int(info.st_mtime), len(text))
            if mode != 1 and data[8:16] != key:
                continue  # (an import makes it anew)
            if cached.name.split(".")[1] == _FOREIGN:
                if text != case.old[name]:
                    yield "stale", f"{cached.name} of another interpreter"
                continue
            level = 1 if ".opt-1." in cached.name else 0
            try:
                same = marshal.loads(data[16:]) == compile(text, "made", "exec", dont_inherit=True, optimize=level)  # noqa: S302
            except (EOFError, ValueError, TypeError):
                same = False
            if not same:
                yield "stale", cached.name


def campaign(top: Path, chosen: Callable[[int], bool]) -> dict[str, Tally]:
    """Inject the faults that are chosen by their number; a tally for each kind of fault."""
    tallies: dict[str, Tally] = {kind: Tally() for kind in (*ERRORS, FROM_THEN_ON, ANSWER_LOST)}
    number = 0
    for case in cases(top / "cases"):
        for fault in faults(calls(case, top / "work")):
            number += 1
            if chosen(number):
                tallies[fault.kind].injected += 1
                tallies[fault.kind].add(inject(case, fault, top / "work").items())
    return tallies


def sample(every: int, shard: int = 0, shards: int = 1) -> Callable[[int], bool]:
    """Choose one fault of so many, evenly over all kinds, and of these one process' share."""
    return lambda number: (zlib.crc32(b"%d" % number) // shards) % every == 0 and number % shards == shard
