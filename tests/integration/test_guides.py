# The guides in docs/: every command in them is run, in the page's order, and prints what the page says.
from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from lab import environments, packages, pages, pyz
from lab.controller import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GPU = 'raise OSError("libcuda.so.1: cannot open shared object file: No such file or directory")\n'
FIXED = pyz.API.replace("radius**2", "abs(radius) ** 2")


@pytest.mark.parametrize("name", ["FIRST-PATCH", "PULL-REQUEST", "AUDIT", "IMAGES"])
def test_a_guide_works_as_it_stands(tmp_path: Path, venv: Callable[..., Path], name: str) -> None:
    home = venv()
    site = environments.site_packages(home)
    pyz.install(site)
    if name == "IMAGES":
        packages.install(site, "acme", "2.3.0", {**pyz.FILES, "acme/gpu.py": GPU})
    guide = pages.Guide(tmp_path / "here", home)
    steps = list(pages.commands((ROOT / "docs" / f"{name}.md").read_text()))
    assert len(steps) >= 4
    for kind, what, text in steps:
        if what.startswith(
            "/opt/venv/bin/pip install --force-reinstall"
        ):  # (there is no such package: what pip would do)
            pyz.install(site)
        elif what.startswith("/opt/venv/bin/pip install"):
            shutil.rmtree(site / "acme-2.3.0.dist-info")
            packages.install(site, "acme", "2.4.0", {**pyz.FILES, "acme/api.py": FIXED})
        else:
            guide.follow(kind, what, text)
