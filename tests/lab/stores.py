# A package without RECORD, and commits of changes of it with their facts: what was there is known by the store alone.
from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from module_utils import _commit, _files, _store
from module_utils._edits import ABSENT, Text
from module_utils._environment import Place
from module_utils._plan import Change
from module_utils._store import Fact, Listed

from lab import packages

if TYPE_CHECKING:
    from pathlib import Path

    from module_utils._trust import Trust

BEFORE = b"LIMIT = 10\nSIZE = 1\nNAME = 'x'\n"
AFTER = BEFORE.replace(b"10", b"20")
NEW = b"NEW = 1\n"
LISTED = Listed("limit", 1, "0" * 64, (), [{"replace": {"before": "10", "after": "20"}}], ("acme/api.py",))
FACT = Fact(
    path="acme/api.py",
    original=_store.sha(BEFORE),
    written=_store.sha(AFTER),
    original_executable=False,
    written_executable=False,
    dist=("acme", "1.0", "acme-1.0.dist-info", "1" * 64),
    proven="pristine",
    patches=(LISTED,),
    directories=(),
    proof="none",
    who="root@node",
    when="2026-01-01T00:00:00Z",
    tool=_store.TOOL,
)


def install(site: Path) -> Path:
    """Install the package, and return where."""
    files = {"acme/__init__.py": "", "acme/api.py": BEFORE, "acme/old.py": b"OLD = 1\n", "acme/run.sh": b"#!/bin/sh\n"}
    info = packages.install(site, "acme", "1.0", files)
    (info / "RECORD").unlink()
    return site


def change(path: Path, before: Text, after: Text, directories: tuple[str, ...] = ()) -> Change:
    """Return a change with a fact and an original, as a plan would have it."""
    site = next(each for each in path.parents if each.name == "site")
    relative = str(path.relative_to(site))
    fact = FACT._replace(
        path=relative,
        original=_store.sha(before.data),
        written=_store.sha(after.data),
        original_executable=before.executable,
        written_executable=after.executable,
        directories=directories,
    )
    return Change(Place(str(path), str(site), relative), before, after, before.data, fact)


def api(site: Path) -> Change:
    return change(site / "acme" / "api.py", Text(BEFORE), Text(AFTER))


def back(change: Change) -> Change:
    made = change.fact.directories if change.fact else ()
    return change._replace(before=change.after, after=change.before, original=None, fact=None, directories=made)


def commit(*changes: Change, backup: bool = False, trust: Trust = _commit.KERNEL) -> dict[str, str] | None:
    _commit.preflight(changes, backup, trust)
    return _commit.commit(changes, backup, trust)


def store(site: Path) -> Path:
    return site / _store.DIRECTORY


def facts(site: Path) -> list[Path]:
    return sorted((store(site) / "facts").glob("*.json"))


def originals(site: Path) -> list[Path]:
    return sorted((store(site) / "originals").glob("*.gz"))


def age(site: Path, seconds: float = 7200) -> None:
    """Let everything in the store be older than that."""
    for path in (*facts(site), *originals(site)):
        os.utime(path, (time.time() - seconds,) * 2)


def leftovers(site: Path) -> list[str]:
    return [str(path) for path in site.rglob(f"*{_files.SUFFIX}")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def new(site: Path, *names: str) -> Change:
    path = site.joinpath("acme", *names)
    made = ["/".join(("acme", *names[:count])) for count in range(len(names) - 1, 0, -1)]
    return change(path, ABSENT, Text(NEW), tuple(made))


def plant(site: Path, text: bytes, name: str | None = None) -> Path:
    """Write what has the name of the fact about ``AFTER``."""
    path = store(site) / "facts" / (name or _store.fact_name(FACT.path, FACT.written))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path
