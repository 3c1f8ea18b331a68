# Requests to the engine as the modules make them, and a small package `thing` with a patch for it.
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from module_utils import _child, _engine
from module_utils._catalogue import CATALOGUE

from lab import packages

if TYPE_CHECKING:
    from collections.abc import Mapping

# The directory of module_utils, for code that runs under another interpreter.
PLUGINS = Path(_child.__file__).parents[1]
# The same kind of patch as the catalogue's, for the package that `thing` installs.
PATCH = {
    "name": "thing_names",
    "package": "thing",
    "versions": ">=1,<2",
    "file": "api.py",
    "reason": "Version 1 moved Thing to thing.core.",
    "upstream": "none",
    "retire": "never",
    "edits": [{"reexport": {"source": ".core", "names": ["Thing"]}}],
}
FILES = {
    "__init__.py": "",
    "api.py": '"""The package\'s interface."""\n\nimport os\n\n\ndef answer():\n    return 42\n',
    "core.py": "class Thing:\n    pass\n",
}
BLOCK = b"# >>> primus.patches: thing_names"


def ask(operation: str, python: Path | str | None = None, **parameters: Any) -> dict[str, Any]:
    """Return the engine's result for the parameters of a module (``operation``: patch, info or check)."""
    request = {
        "operation": operation,
        "check_mode": False,
        "timeout": 60.0,
        "catalogue": list(CATALOGUE),
        **parameters,
        "path": str(parameters["path"]) if parameters.get("path") else None,
    }
    return _child.call(str(python) if python else None, request)


def preview(python: Path | str, **parameters: Any) -> dict[str, Any]:
    """Return the result of imports, of what ``thing``'s patch adds unless others are named, with it; none fails."""
    result = ask("check", python, **{"definitions": [PATCH], "imports": ["thing.api:Thing"], **parameters})
    assert not result.get("failed"), (result["msg"], result.get("imports"))
    return result


def here(path: Path, *, check_mode: bool = False, **parameters: Any) -> dict[str, Any]:
    """Return the engine's result for a change (of ``thing``'s patch, unless others are named), in this very process.

    So what a test replaces of the engine is what runs, and what that notes is seen.
    """
    request = {"operation": "patch", "definitions": [PATCH], "catalogue": list(CATALOGUE), **parameters}
    return _engine.run({**request, "path": str(path), "check_mode": check_mode, "timeout": 60.0})


def actions(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return state and action of each patch."""
    return [(patch["state"], patch["action"]) for patch in result["patches"]]


def within(python: Path | str, expression: str, *arguments: Any, **options: Any) -> Any:
    """Return the value of an expression under another interpreter; it sees ``_survey`` and ``arguments``."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from module_utils import _environment, _survey; "
        "arguments = json.loads(sys.argv[3]); print(json.dumps(eval(sys.argv[2])))"
    )
    command = [str(python), "-B", "-c", code, str(PLUGINS), expression, json.dumps(arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout)


def look(python: Path | str | None = None, **parameters: Any) -> dict[str, Any]:
    """Return what the engine says of the one patch of a request (``thing``'s, unless another one is named)."""
    if "name" not in parameters:
        parameters.setdefault("definitions", [PATCH])
    result = ask("info", python, **parameters)
    assert not result.get("failed"), result["msg"]
    (patch,) = result["patches"]
    return patch


def thing(site: Path, version: str = "1.5", **files: bytes | str) -> Path:
    """Install ``thing`` in ``site`` with a dist-info; ``files`` replaces files by their stem. Return its directory."""
    content = {**FILES, **{f"{stem}.py": text for stem, text in files.items()}}
    packages.install(site, "thing", version, {f"thing/{name}": text for name, text in content.items()})
    return site / "thing"


def source(directory: Path, **files: str) -> Path:
    """Write the sources of ``thing``, as they lie in a project, to ``directory`` and return that."""
    content = {**FILES, **{f"{stem}.py": text for stem, text in files.items()}}
    packages.write(directory, content)
    return directory


def definition(**changes: Any) -> Mapping[str, Any]:
    """Return ``thing``'s patch with other values."""
    return {**PATCH, **changes}
