# Where downloads and built environments are kept between runs, and the locks that let parallel runs share them.
"""Everything below :func:`root` is keyed by what it was made from, so it never goes stale; deleting it is safe."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def root() -> Path:
    """Return the cache directory of the project (``$XDG_CACHE_HOME/primus-patches``, else under ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    parent = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    directory = parent / "primus-patches"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def digest(*parts: object) -> str:
    """Return a short key for values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the lock called ``name`` against every other process of this user."""
    directory = root() / "locks"
    directory.mkdir(exist_ok=True)
    with (directory / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def once(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the directory ``kind/key``, made by ``build(directory)`` if it is not there or was left half made.

    It is built where it stays, as a virtual environment cannot be moved; a mark beside it says that it is complete.
    """
    directory = root() / kind / key
    complete = directory.with_name(f"{key}.complete")
    with lock(f"{kind}-{key}"):
        if not complete.exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            build(directory)
            complete.touch()
    return directory
