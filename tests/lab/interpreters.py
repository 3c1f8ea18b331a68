# Finds real Python interpreters of given versions on this machine, or gets them.
from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab import cache
from lab.run import CommandError, run

if TYPE_CHECKING:
    from collections.abc import Iterator

# The environments that the collection promises to serve and tests (see "Tested with" in the README).
PROMISED = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


class NoInterpreter(LookupError):
    """There is no Python of the version asked for; the text says where it was looked for."""


def system() -> Path:
    """Return the interpreter that Ansible uses on a node: the system's Python where it is new enough for Ansible."""
    candidate = Path("/usr/bin/python3")
    found = probe(candidate)
    # ansible-core 2.19 wants 3.8 on the target, 2.20 wants 3.9.
    return candidate if found and found[0] >= (3, 9) else Path(sys.executable)


def own() -> Path:
    """Return the interpreter behind the environment that runs this (whose prefix is not a virtual environment's)."""
    return Path(getattr(sys, "_base_executable", sys.executable))


def usual() -> Path:
    """Return the Python of what may be of any version: a 3.11, the one tested most, else the one that runs this."""
    try:
        return find("3.11")
    except NoInterpreter:
        return own()


def find(version: str) -> Path:
    """Return an interpreter of ``version`` ("3.8"): this one, PATH, pyenv, uv's; with CI=true uv downloads it.

    :raises NoInterpreter: when none is found.
    """
    return _found(version, download=os.environ.get("CI") == "true")


def get(version: str) -> Path:
    """Return an interpreter of ``version`` as :func:`find` does, and let uv download it wherever there is none.

    :raises NoInterpreter: when none can be had.
    """
    return _found(version, download=True)


def _found(version: str, *, download: bool) -> Path:
    found = _look(version, download=download)
    if isinstance(found, str):
        raise NoInterpreter(found)
    return found


@functools.cache
def _look(version: str, *, download: bool) -> Path | str:
    """Return an interpreter, or the text of the error (so that a failed download is not tried again)."""
    wanted = tuple(int(part) for part in version.split("."))
    for candidate in _candidates(version):
        found = probe(candidate)
        if found and found[0] == wanted:
            return found[1]
    where = f"no Python {version} in PATH, pyenv or uv's directory"
    if not download:
        return f"{where}: install it, or set CI=true to let uv get it"
    try:
        return _download(version)
    except CommandError as error:
        return f"{where}, and uv cannot get it: {str(error).splitlines()[-1].strip()}"


def _candidates(version: str) -> Iterator[Path]:
    """Yield what may be an interpreter of ``version``; what they really are is for :func:`probe` to say."""
    yield own()
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        yield Path(directory) / f"python{version}"
    yield Path("/usr/bin") / f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from sorted(pyenv.glob(f"{version}.*/bin/python{version}"), key=_numbers, reverse=True)
    uv = _uv()
    if uv:
        command = [uv, "python", "find", "--no-python-downloads", "--no-project", "--system", version]
        found = subprocess.run(command, capture_output=True, text=True, check=False, env=_uv_environment())
        if found.returncode == 0:
            yield Path(found.stdout.strip())


def _download(version: str) -> Path:
    """Let uv get Python ``version`` into the cache."""
    uv, environment = _uv(), _uv_environment()
    if not uv:
        raise CommandError("no uv beside the running interpreter, in .venv or in PATH")
    with cache.lock("uv-python"):
        run(uv, "python", "install", "--no-bin", version, env=environment, timeout=600)
    return Path(run(uv, "python", "find", "--managed-python", "--no-project", version, env=environment).strip())


def _uv_environment() -> dict[str, str]:
    """Return the environment in which uv keeps its interpreters in the project's cache."""
    return {
        **os.environ,
        "UV_PYTHON_INSTALL_DIR": str(cache.root() / "pythons"),
        "UV_HTTP_TIMEOUT": "30",
        "UV_HTTP_RETRIES": "1",
    }


def _uv() -> str | None:
    """Return the path of uv: the test environment's (./dev itself runs outside of that), else PATH's."""
    beside = (Path(sys.executable).parent, Path(__file__).resolve().parents[2] / ".venv" / "bin")
    return shutil.which("uv", path=os.pathsep.join((*map(str, beside), os.environ.get("PATH", os.defpath))))


def probe(python: Path) -> tuple[tuple[int, int], Path] | None:
    """Return the version and the path that ``python`` reports, or None when it does not run.

    A shim of pyenv's is a script: it starts another path, or nothing.
    """
    if not os.access(python, os.X_OK):
        return None
    code = "import sys; print(*sys.version_info[:2], sys.executable)"
    try:
        found = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=False)
        major, minor, path = found.stdout.rstrip("\n").split(" ", 2)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return (int(major), int(minor)), Path(path)


def _numbers(path: Path) -> list[int]:
    """Return the numbers of a path, so that 3.8.18 sorts after 3.8.9."""
    return [int(number) for number in re.findall(r"\d+", str(path))]
