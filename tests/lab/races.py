# Races: runs that apply and revert at the same time, some killed midway, readers that import, pip that installs anew.
from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from module_utils import _engine, _files

from lab import faults, packages
from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_KILLED = 0.1  # of the runs
_CHANGED = (*faults.CHANGED, faults.COMES, faults.GOES)
# A version in the source, so that no run waits for pip's RECORD; and more lines than pip writes at once.
_FILES = {
    **faults.FILES,
    "__init__.py": '__version__ = "1.5"\n',
    "api.py": faults.FILES["api.py"] + "# A line more.\n" * 20_000,
}


def race(top: Path, seconds: float, writers: int = 16, readers: int = 2, *, pip: bool) -> faults.Tally:
    """Let all run for so long, then judge the tree; ``pip``: it is installed anew all the while."""
    site, install = _installed(top)
    old = faults.texts(site, _CHANGED)
    _apply(site, present=True)
    new = faults.texts(site, _CHANGED)
    until = time.monotonic() + seconds
    tally = faults.Tally()
    with ProcessPoolExecutor(writers + readers + 1, mp_context=get_context("fork")) as pool:
        jobs = [pool.submit(_write, site, number, until, strict=not pip) for number in range(writers)]
        jobs += [pool.submit(_read, site, until, strict=not pip) for _number in range(readers)]
        jobs += [pool.submit(_install, install, until)] if pip else []
        for job in jobs:
            count, found = job.result()
            tally.injected += count
            tally.add(found)
    tally.add(_at_rest(site, old, new))
    return tally


def _installed(top: Path) -> tuple[Path, tuple[str, ...]]:
    """An environment with the package, by pip; its site-packages and the command that installs it anew."""
    source = top / "source"
    info = packages.install(source, "thing", "1.5", {f"thing/{name}": text for name, text in _FILES.items()})
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel = top / "thing-1.5-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source))
    run(sys.executable, "-m", "venv", "--without-pip", top / "venv")
    python = str(top / "venv" / "bin" / "python")
    install = (
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"),
        *("--root-user-action=ignore", "--disable-pip-version-check", "--force-reinstall", str(wheel)),
        # (py_compile reads a source and then asks for its date: where that is another file by now, what it makes is
        # stale, whoever put it there.)
        "--no-compile",
    )
    run(*install)
    (site,) = (top / "venv" / "lib").glob("python3*/site-packages")
    return site, install


def _apply(site: Path, *, present: bool) -> dict[str, Any]:
    request = {
        "operation": "patch",
        "path": str(site),
        "definitions": faults.definitions(1, more=True),
        "state": "present" if present else "absent",
        "timeout": 60.0,
        "by_root": os.geteuid() == 0,
    }
    return _engine.run(request)


def _forked(work: Callable[[], Any], kill_after: float | None = None) -> Any:
    """What the work returns in a process of its own; None where that was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException), os.fdopen(writer, "w") as stream:
            os.close(reader)
            json.dump(work(), stream)
        os._exit(0)
    os.close(writer)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    try:
        return json.loads(text)
    except ValueError:
        return None


def _write(site: Path, seed: int, until: float, *, strict: bool) -> tuple[int, list[tuple[str, str]]]:
    """Apply and revert at random. Where nobody else installs (``strict``), no run has a reason to fail."""
    choose = random.Random(seed)  # noqa: S311 (a test that can be repeated)
    count, found = 0, []
    while time.monotonic() < until:
        present = choose.random() < 0.5
        killed = choose.random() * 0.1 if choose.random() < _KILLED else None
        result = _forked(lambda: _apply(site, present=present), killed)  # noqa: B023 (it is run at once)
        count += 1
        if result is None and killed is None:
            found.append(("false failure", "a run died"))
        elif result is not None and result.get("failed") and strict:
            found.append(("false failure", str(result["msg"])))
    return count, found


def _read(site: Path, until: float, *, strict: bool) -> tuple[int, list[tuple[str, str]]]:
    """Import in fresh processes, which write bytecode as all do."""
    count, found = 0, []
    sys.dont_write_bytecode = False
    while time.monotonic() < until:
        wrong = _forked(lambda: _import(site))
        count += 1
        if wrong and (strict or wrong[0] == "stale"):
            found.append(tuple(wrong))
    return count, found


def _import(site: Path) -> tuple[str, str] | None:
    """What is wrong with an import of the package as it is now; None where nothing is."""
    sys.path.insert(0, str(site))
    paths = [site / "thing" / name for name in faults.CHANGED]
    try:
        before = [_identity(path) for path in paths]
        from thing import api, core  # type: ignore[import-not-found]  # noqa: PLC0415

        texts = [path.read_bytes() for path in paths]
        after = [_identity(path) for path in paths]
    except Exception as error:  # noqa: BLE001 (whatever it is, an import failed)
        return "torn", f"{type(error).__name__}: {error}"
    loaded = [hasattr(api, "Thing"), core.Other.size == 2]
    said = [b">>> primus.patches" in texts[0], b"size = 2" in texts[1]]
    for index, name in enumerate(faults.CHANGED):
        if before[index] == after[index] and loaded[index] != said[index]:
            return "stale", f"{name}: the source says {said[index]}, the import {loaded[index]}"
    return None


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _install(command: tuple[str, ...], until: float) -> tuple[int, list[tuple[str, str]]]:
    count, found = 0, []
    again = False
    while again or time.monotonic() < until:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        count += 1
        # (If a run deletes a file between pip's look and its rename, pip ends with half of the distribution taken out:
        # whoever sees that installs again.)
        again = bool(done.returncode) and f"thing/{faults.GOES}" in done.stderr
        if done.returncode and not again:
            found.append(("false failure", f"pip: {done.stderr.strip()[-500:]}"))
    return count, found


def _at_rest(site: Path, old: Mapping[str, bytes | None], new: Mapping[str, bytes | None]) -> Iterator[tuple[str, str]]:
    """Judge what all of them left: first as it is, then after one more run."""
    for name, text in faults.texts(site, _CHANGED).items():
        if text not in (old[name], new[name]):
            yield "torn", f"{name} is neither the old nor the new one ({len(text or b'')} bytes)"
    yield from faults.lost(site, _FILES)
    yield from [wrong for wrong in [_forked(lambda: _import(site))] if wrong]
    result = _apply(site, present=True)
    if result.get("failed") or faults.texts(site, _CHANGED) != new:
        yield "not converged", str(result["msg"])
    yield from [wrong for wrong in [_forked(lambda: _import(site))] if wrong]
    for path in site.rglob(f"*{_files.SUFFIX}"):
        yield "left", str(path.relative_to(site))
