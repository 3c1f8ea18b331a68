# Environments of their own for tests of the engine, none with Ansible, and a directory for tests with several users.
from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import commits, engine, environments, interpreters, packages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def environment(venv: Callable[..., Path]) -> Path:
    return venv()


@pytest.fixture
def interpreter(environment: Path) -> Path:
    return environments.python_of(environment)


@pytest.fixture
def site(environment: Path) -> Path:
    return environments.site_packages(environment)


@pytest.fixture
def public() -> Iterator[Path]:
    """Yield a directory that every user may enter (``tmp_path`` is closed to others)."""
    with tempfile.TemporaryDirectory(prefix="primus-engine-") as top:
        Path(top).chmod(0o755)
        yield Path(top)


@pytest.fixture
def target(public: Path) -> Path:
    """Return a directory as pip's ``--target`` makes it, with ``thing`` 1.5: no environment, open to every user."""
    return engine.thing(public / "target").parent


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a directory that comes first on sys.path."""
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


@pytest.fixture
def package(public: Path) -> Path:
    """Return a package with one module, ``api.py``, below a ``site`` that every user may enter."""
    packages.write(public / "site" / "thing", {"__init__.py": "", "api.py": commits.BEFORE})
    return public / "site" / "thing"


@pytest.fixture
def api(package: Path) -> Path:
    return package / "api.py"


@pytest.fixture
def home(public: Path) -> Path:
    """Return the home of a user, below a directory that everybody may enter."""
    (public / "home").mkdir()
    return public / "home"


@pytest.fixture
def roots(public: Path) -> Path:
    """Return a directory of root's that everybody may enter."""
    (public / "root").mkdir(mode=0o755)
    return public / "root"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Return an installation of its own, as conda and system Pythons are: no virtual environment.

    Its interpreter is a copy of a real one and its standard library links to that one's; the site-packages is private.
    """
    for version in ("3.11", "3.13", "3.9"):
        try:
            real = interpreters.find(version).resolve()
        except interpreters.NoInterpreter:
            continue
        library = real.parents[1] / "lib" / f"python{version}"
        if (library / "os.py").exists() and (library / "site-packages").is_dir():
            break
    else:
        pytest.skip("every Python here is Debian's, which looks for packages elsewhere when it is copied")
    prefix = tmp_path / "prefix"
    copied = prefix / "lib" / library.name
    (copied / "site-packages").mkdir(parents=True)
    (prefix / "bin").mkdir()
    shutil.copy2(real, prefix / "bin" / "python")
    for shared in library.parent.glob("libpython*"):
        (copied.parent / shared.name).symlink_to(shared)
    for entry in library.iterdir():
        if entry.name != "site-packages":
            (copied / entry.name).symlink_to(entry)
    return prefix
