# Imports that are tried by this interpreter, of modules that a test writes, as the engine tries them.
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from module_utils import _imports

from lab import packages

if TYPE_CHECKING:
    from pathlib import Path


def prove(
    here: Path, *imports: str, timeout: float = 30.0, previews: dict[str, bytes] | None = None, **environment: str
) -> list[dict[str, Any]]:
    """Try imports with ``here`` first on sys.path; ``environment``: variables for them."""
    results = _imports.prove(imports, previews or {}, [str(here)], timeout, environment)
    return [{key: done[key] for key in done if key != "same"} for done in results]


def module(here: Path, text: str, name: str = "mod") -> None:
    packages.write(here, {f"{name}.py": text})


def one(here: Path, text: str, **options: Any) -> dict[str, Any]:
    """Try the import of a module with this text, and of a sound one after it."""
    module(here, text)
    module(here, "", "after")
    first, after = prove(here, "mod", "after", **options)
    assert after["ok"], after
    return first
