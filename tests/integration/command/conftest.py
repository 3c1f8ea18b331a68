# What several tests of the command line start from: the program, and a package with two patches for it.
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab import pyz

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return primus-patches.pyz, in a directory of its own."""
    path: Path = pyz.builder().build(tmp_path_factory.mktemp("pyz"))
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a site-packages with ``acme``."""
    pyz.install(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """Return a directory with two patch files for ``acme``."""
    pyz.patch(tmp_path / "patches")
    pyz.patch(tmp_path / "patches", "other_limit", file="other")
    return tmp_path / "patches"
