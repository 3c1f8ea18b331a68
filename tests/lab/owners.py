# Trees of a user's and of root's, changes that root makes in them, and notes of as whom their code has run.
from __future__ import annotations

from pathlib import Path
from typing import Any

from module_utils._errors import SitePatchError

from lab import engine, environments, interpreters
from lab.sandbox import USER, give


def site_of(home: Path, user: int = USER) -> Path:
    """Make a site-packages with ``thing`` in a home and give all of it to a user."""
    site = home / "site-packages"
    engine.thing(site)
    give(home, user)
    return site


def venv_below(top: Path) -> tuple[Path, Path]:
    """Make a virtual environment with ``thing``, of a Python that every user may start; interpreter, site-packages."""
    environment = environments.bare(interpreters.system(), top / "venv")
    site = environments.site_packages(environment)
    engine.thing(site)
    return environments.python_of(environment), site


def noting(home: Path) -> str:
    """Return code that notes in ``home/users`` as whom it runs."""
    return f"import os; open({str(home / 'users')!r}, 'a').write('%d ' % os.geteuid())\n"


def noted(home: Path) -> set[str]:
    """Return as whom such code has run."""
    return set((home / "users").read_text().split()) if (home / "users").exists() else set()


def venv_of(home: Path) -> tuple[Path, Path]:
    """Make a user's own virtual environment, whose code notes as whom it runs."""
    python, site = venv_below(home)
    (site / "early.pth").write_text(noting(home))
    give(home)
    return python, site


def patch(python: Path | None = None, operation: str = "patch", **parameters: Any) -> dict[str, Any]:
    return engine.ask(operation, python, **{"definitions": [engine.PATCH], **parameters})


def refusal(python: Path | None = None, **parameters: Any) -> str:
    """Return the message with which check mode and the run refuse alike, having changed nothing."""
    told = []
    for check in (True, False):
        try:
            result = patch(python, check_mode=check, **parameters)
        except SitePatchError as error:
            result = {"failed": True, "changed": False, "msg": str(error)}
        assert result.get("failed"), result
        assert not result["changed"]
        told.append(result["msg"])
    assert told[0] == told[1]
    return str(told[0])
