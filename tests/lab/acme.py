# The package acme, which nobody has: installed, and patched by the engine in this process.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.primus.patches.plugins.module_utils import _commit, _patch, _plan
from ansible_collections.primus.patches.tests.lab import packages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

API = """import math

from .core import Thing

LIMIT = 10


def area(radius):
    return math.pi * clip(radius, a_max=LIMIT) ** 2


def length(radius):
    return 2 * math.pi * clip(radius, a_max=LIMIT)
"""
CORE = "class Thing: pass\nclass Other: pass\nclass More: pass\n"


def definition(name: str, *edits: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """Return a patch of ``acme/api.py``; ``keys`` replace what it says, and a key of None is left out."""
    texts = dict.fromkeys(("reason", "upstream", "retire"), "none")
    written = {"name": name, "package": "acme", "versions": ">=2,<3", "file": "api.py", **texts}
    return {key: value for key, value in {**written, "edits": list(edits), **keys}.items() if value is not None}


def replace(before: str, after: str, **keys: Any) -> dict[str, Any]:
    return {"replace": {"before": before, "after": after, **keys}}


def install(site: Path, api: str = API, version: str = "2.3.0", *, record: bool = True) -> Path:
    """Install the package, with RECORD or without, and return its ``api.py``."""
    files = {"acme/__init__.py": "", "acme/core.py": CORE, "acme/api.py": api}
    info = packages.install(site, "acme", version, files)
    if not record:
        (info / "RECORD").unlink()
    return site / "acme" / "api.py"


def run(
    site: Path,
    *patches: Mapping[str, Any],
    known: Iterable[Any] = (),
    present: bool = True,
    restore: bool = False,
    check: bool = False,
    skip: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Plan, carry it out unless it is refused or only to be checked, and return the results."""
    wanted, others = ([_patch.load(each) for each in some] for some in (patches, known))
    plan = _plan.plan(wanted, str(site), present, skip, restore=restore, known=others)
    if plan.changes and not plan.refused and not check:
        backups = _commit.commit(plan.changes, backup=restore)
        assert restore or not backups
    return [step.result() for step in plan.steps]


def one(site: Path, patch: Mapping[str, Any], **keys: Any) -> tuple[str, str]:
    """Return state and action of one patch."""
    (result,) = run(site, patch, **keys)
    return result["state"], result["action"]
