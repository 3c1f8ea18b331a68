# Which ansible-core the collection is tested on, and a Python for each.
from __future__ import annotations

from typing import TYPE_CHECKING

from lab import interpreters

if TYPE_CHECKING:
    from pathlib import Path

# Supported core -> the Pythons that it runs on, first the one to be tested with (ansible-core's support matrix).
SUPPORTED = {
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.13", "3.12", "3.14"),
}
# For a core that is not out yet.
NEXT = ("3.13", "3.14")


def newest(python: tuple[int, int]) -> str:
    """Return the newest supported core that a Python, such as ``(3, 11)``, runs."""
    oldest = {core: min(tuple(map(int, each.split("."))) for each in pythons) for core, pythons in SUPPORTED.items()}
    return [core for core, version in oldest.items() if version <= python][-1]


def requirement(core: str) -> str:
    """Return what pip is to install: the newest release of a supported core, of any other one also a pre-release."""
    return f"ansible-core=={core}.*" if core in SUPPORTED else f"ansible-core~={core}.0.dev0"


def python(core: str) -> Path:
    """Return an interpreter that ``core`` runs on; uv downloads one where there is none.

    :raises interpreters.NoInterpreter: when none can be had.
    """
    versions = SUPPORTED.get(core, NEXT)
    for version in versions:
        try:
            return interpreters.find(version)
        except interpreters.NoInterpreter:
            continue
    try:
        return interpreters.get(versions[0])
    except interpreters.NoInterpreter as error:
        raise interpreters.NoInterpreter(
            f"ansible-core {core} needs a Python of {', '.join(versions)}; {error}. Install one and let PATH or pyenv "
            f"have it, or test on another core alone: ./dev test --core 2.19"
        ) from error
