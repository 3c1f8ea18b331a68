# pip's settings on this machine: how its package index is reached, for what asks the index without pip.
from __future__ import annotations

import ast
import functools
import re
import sys
from typing import TYPE_CHECKING

from lab.run import run

if TYPE_CHECKING:
    from pathlib import Path


@functools.cache
def pip_settings(python: str | Path = sys.executable) -> dict[str, str]:
    """Return what pip of ``python`` is set to here, by its files and the PIP_* variables; the latter win."""
    listing = run(python, "-m", "pip", "config", "list")
    # Lines are like `global.index-url='...'`, `install.no-deps='...'` and, for a variable, `:env:.index-url='...'`.
    found = re.findall(r"^(global|:env:)\.([a-z-]+)=(.+)$", listing, re.MULTILINE)
    found.sort(key=lambda setting: setting[0] == ":env:")
    settings = {name: str(ast.literal_eval(value)) for _section, name, value in found}
    settings.pop("config-file", None)  # (only a variable: where the others may have come from)
    return settings
