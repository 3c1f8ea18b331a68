# Fixtures of all tests: real wheels, interpreters, environments, an installed collection, ansible-playbook and sshd.
from __future__ import annotations

import itertools
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab import cache, controller, environments, interpreters, sshd, wheels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# What runs on the controller is imported as Ansible does: `ansible_collections.primus.patches.plugins.plugin_utils`.
COLLECTIONS = str(controller.checkout_as_collection())
sys.path.insert(0, COLLECTIONS)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep pytest-ansible from filling the checkout with a ``collections`` directory of links to itself."""
    if config.pluginmanager.hasplugin("pytest-ansible"):
        os.environ["ANSIBLE_COLLECTIONS_PATH"] = COLLECTIONS
        config.option.ansible_unit_inject_only = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need the built collection: they let Ansible run it."""
    for item in items:
        if "artifact" in getattr(item, "fixturenames", ()):
            item.add_marker("ansible")


@pytest.fixture(scope="session")
def wheel() -> Callable[[str, str], Path]:
    """Return ``wheel(project, version)``: the path of a real wheel (shared, read-only)."""
    return wheels.wheel


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Path]:
    """Return ``tree(version)``: a private site-packages with the top of that Transformers wheel and its RECORD.

    Not for importing: the sub-packages are left out (see lab.wheels.modeling_tree).
    """
    numbers = itertools.count()

    def make(version: str) -> Path:
        return wheels.modeling_tree(version, tmp_path / f"tree-{next(numbers)}-{version}")

    return make


@pytest.fixture(scope="session")
def python() -> Callable[[str], Path]:
    """Return ``python(version)``: a real interpreter of that version; skips where there is none and none can be got."""

    def find(version: str) -> Path:
        try:
            return interpreters.find(version)
        except interpreters.NoInterpreter as error:
            pytest.skip(str(error))

    return find


@pytest.fixture(scope="session")
def system_python() -> Path:
    """Return the interpreter for Ansible itself on a node."""
    return interpreters.system()


@pytest.fixture
def venv(tmp_path: Path, python: Callable[[str], Path]) -> Callable[..., Path]:
    """Return ``venv(version)``: a fresh private virtual environment without pip; no version: of the usual Python."""
    numbers = itertools.count()

    def make(version: str = "") -> Path:
        interpreter = python(version) if version else interpreters.usual()
        return environments.bare(interpreter, tmp_path / f"venv-{next(numbers)}-{version}")

    return make


@pytest.fixture(scope="session")
def megatron_env() -> Path:
    """Return the real Megatron environment: shared, so read-only (see megatron_copy)."""
    return environments.megatron()


@pytest.fixture
def megatron_copy(tmp_path: Path) -> Path:
    """Return a private copy of the real Megatron environment, with a Transformers of its own to patch."""
    return environments.megatron_copy(tmp_path / "megatron")


@pytest.fixture
def megatron_5(tmp_path: Path) -> Path:
    """Return a private environment with the real Megatron-Bridge and Transformers 5."""
    return environments.megatron_5(tmp_path / "megatron-5")


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the collection's ``.tar.gz``, built once by ansible-galaxy for all workers of this run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    directory = shared / "collection"
    with cache.lock(f"artifact-{cache.digest(str(shared))}"):
        if not (directory / "complete").exists():
            controller.install_artifact(controller.build_artifact(directory), directory / "installed")
            (directory / "complete").touch()
    (path,) = directory.glob("*.tar.gz")
    return path


@pytest.fixture(scope="session")
def collection(artifact: Path) -> Path:
    """Return a directory for ANSIBLE_COLLECTIONS_PATH in which the built artifact is installed (shared, read-only)."""
    return artifact.parent / "installed"


@pytest.fixture
def playbook(tmp_path: Path, collection: Path) -> Callable[..., controller.Run]:
    """Return ``playbook(...)``: the real ansible-playbook with a home of its own (see lab.controller.Controller)."""
    return controller.Controller(tmp_path / "controller", collection).playbook


@pytest.fixture(scope="session")
def ssh_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Yield an Ansible inventory with one host, ``node``: a real sshd on the loopback address."""
    directory = tmp_path_factory.mktemp("sshd")
    try:
        with sshd.node(directory) as inventory:
            yield inventory
    except sshd.NoSshd as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
