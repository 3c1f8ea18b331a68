# An environment of its own for tests of the engine: a virtual environment of the usual Python without Ansible.
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab import environments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def environment(venv: Callable[..., Path]) -> Path:
    return venv()


@pytest.fixture
def interpreter(environment: Path) -> Path:
    return environments.python_of(environment)


@pytest.fixture
def site(environment: Path) -> Path:
    return environments.site_packages(environment)
