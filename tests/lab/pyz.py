# primus-patches.pyz, built from the checkout, and patch files for a small package `acme`.
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab import controller, packages

if TYPE_CHECKING:
    from types import ModuleType

API = "import math\n\nLIMIT = 10\n\n\ndef area(radius):\n    return math.pi * radius**2\n"
PATCHED = API.replace("10", "20")
FILES = {"acme/__init__.py": '__version__ = "2.3.0"\n', "acme/api.py": API, "acme/other.py": API}


def builder() -> ModuleType:
    """Return tools/zipapp.py, which is no package's."""
    spec = importlib.util.spec_from_file_location("tools_zipapp", controller.ROOT / "tools" / "zipapp.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(site: Path, version: str = "2.3.0") -> Path:
    """Install ``acme`` in ``site``, and return its ``api.py``."""
    packages.install(site, "acme", version, FILES)
    return site / "acme" / "api.py"


def patch(directory: Path, name: str = "limit", **header: str) -> Path:
    """Write a patch file that raises the limit of ``acme/FILE.py`` to 20; a header's field may be empty to be left out.

    ``file``, ``before`` and ``after`` are no fields: the stem of the file, and the lines.
    """
    file, before = header.pop("file", "api"), header.pop("before", "LIMIT = 10")
    fields = {"Description": "Our circles are larger.", "Package": "acme", "Versions": ">=2.3,<3", **header}
    above = "".join(f"{key}: {value}\n" for key, value in fields.items() if value)
    hunk = f"@@ -1,3 +1,3 @@\n import math\n \n-{before}\n+LIMIT = 20\n"
    diff = f"--- a/src/acme/{file}.py\n+++ b/src/acme/{file}.py\n{hunk}"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.patch"
    path.write_text(f"{above}\n{diff}")
    return path


def run(
    pyz: Path, *arguments: str | Path, python: str | Path = sys.executable, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the file with a real interpreter and a small environment."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **variables}
    command = [str(python), str(pyz), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
