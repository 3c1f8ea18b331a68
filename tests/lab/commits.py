# Commits of changes that leave nothing of ours in a file, and what imports then find of it and of its bytecode.
from __future__ import annotations

import errno
import os
import py_compile
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from module_utils import _commit
from module_utils._edits import Text
from module_utils._environment import Place
from module_utils._plan import Change

if TYPE_CHECKING:
    import pytest

BEFORE = b"WHICH = 'before'\n\n\ndef which():\n    '''Says it.'''\n    assert WHICH == 'before'\n    return WHICH\n"
AFTER = BEFORE.replace(b"before", b"after, and longer")
TAG = sys.implementation.cache_tag
LEVELS = {0: "", 1: ".opt-1", 2: ".opt-2"}
MODES = ("timestamp", "checked-hash", "unchecked-hash")


def change(path: Path, after: bytes = AFTER) -> Change:
    """Return a change of a file that leaves nothing of ours in it: no store is needed for it."""
    executable = bool(path.stat().st_mode & 0o100)
    return Change(place(path), Text(path.read_bytes(), executable), Text(after, executable), None, None)


def place(path: Path) -> Place:
    """Return where a file of the package is: its root is the directory above the package's."""
    root = next(each for each in path.parents if each.name == "site")
    return Place(str(path), str(root), str(path.relative_to(root)))


def commit(*paths: Path, after: bytes = AFTER, backup: bool = False) -> dict[str, str]:
    """Commit as a run does, preflight included."""
    changes = [change(path, after) for path in paths]
    _commit.preflight(changes, backup)
    kept = _commit.commit(changes, backup)
    assert kept is not None
    return kept


def cached(path: Path, level: int = 0) -> Path:
    return path.parent / "__pycache__" / f"{path.stem}.{TAG}{LEVELS[level]}.pyc"


def compiled(path: Path, mode: str = "timestamp", level: int = 0) -> Path:
    """Compile a module as compileall does and return its bytecode."""
    how = py_compile.PycInvalidationMode[mode.replace("-", "_").upper()]
    return Path(py_compile.compile(str(path), doraise=True, optimize=level, invalidation_mode=how))


def compile_as(path: Path, mode: str = "timestamp", levels: tuple[int, ...] = (0, 1, 2)) -> None:
    """Compile a module at several levels."""
    assert [compiled(path, mode, level) for level in levels] == [cached(path, level) for level in levels]


def imported(site: Path, level: int = 0) -> tuple[str, str]:
    """Import ``thing.api`` in a fresh interpreter that writes nothing: what it says, and where its code came from."""
    command = [sys.executable, "-B", "-v", *(["-" + "O" * level] if level else [])]
    command += ["-c", f"import sys; sys.path.insert(0, {str(site)!r}); import thing.api; print(thing.api.which())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    (code,) = re.findall(
        r"^# code object from '?([^'\n]*/thing/(?:__pycache__/)?api\.[^'\n]*?)'?$", done.stderr, re.MULTILINE
    )
    return done.stdout.strip(), code


def several(package: Path, count: int = 3) -> list[Path]:
    paths = [package / f"module{number}.py" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(BEFORE.replace(b"before", b"before%d" % number))
        path.chmod(0o640)
    return paths


def fails_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: int = errno.EIO) -> list[str]:
    """Let the n-th call of a function of os fail, as the kernel would; return the last arguments of all its calls."""
    real = getattr(os, name)
    seen: list[str] = []

    def call(*arguments: Any, **keywords: Any) -> Any:
        seen.append(str(arguments[-1]))
        if len(seen) == number:
            raise OSError(code, os.strerror(code), arguments[0], None, *arguments[1:2])
        return real(*arguments, **keywords)

    monkeypatch.setattr(_commit.os, name, call)
    return seen


def leftovers(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob(".*") if path.suffix == ".primus-tmp")


def no_locks(*_arguments: Any) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
