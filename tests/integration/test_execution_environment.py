# execution-environment.yml: the real ansible-builder makes a build context of it, with these lists and nothing else.
from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from lab import controller
from lab.run import run

if TYPE_CHECKING:
    from pathlib import Path

DEFINITION = "execution-environment.yml"


@pytest.fixture
def context(tmp_path: Path, artifact: Path) -> Path:
    """Return the build context that ``ansible-builder create`` makes where ``./dev artifact`` has been run."""
    shutil.copy2(controller.ROOT / DEFINITION, tmp_path)
    (tmp_path / "dist").mkdir()
    shutil.copy2(artifact, tmp_path / "dist")
    command = (controller.tool("ansible-builder"), "create", "--file", tmp_path / DEFINITION)
    run(
        *(*command, "--context", tmp_path / "context", "--output-filename", "Containerfile"),
        env=controller.clean_environment(tmp_path / "home"),
    )
    return tmp_path / "context"


def test_context_holds_the_lists_and_the_artifact_and_nothing_else(context: Path, artifact: Path) -> None:
    scripts = context / "_build" / "scripts"  # ansible-builder's own
    found = {path for path in context.rglob("*") if path.is_file() and scripts not in path.parents}
    build = context / "_build"
    assert found == {
        context / "Containerfile",
        build / "bindep.txt",
        build / "requirements.yml",
        build / "artifact" / artifact.name,
    }
    assert (build / "artifact" / artifact.name).read_bytes() == artifact.read_bytes()
    requirements = yaml.safe_load((build / "requirements.yml").read_text())
    assert requirements == {"collections": [{"name": f"artifact/{artifact.name}", "type": "file"}]}
    assert (build / "bindep.txt").read_text().splitlines() == ["openssh-clients [platform:rpm]"]


def test_image_gets_the_ansible_core_that_the_collection_requires(context: Path) -> None:
    bound = yaml.safe_load((controller.ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"]
    lines = (context / "Containerfile").read_text().splitlines()
    assert f'ARG ANSIBLE_INSTALL_REFS="ansible-core{bound} ansible-runner>=2.4"' in lines
    assert 'ARG PYPKG="python3.12"' in lines
    assert 'ARG PYCMD="/usr/bin/python3.12"' in lines
    (base,) = [line for line in lines if line.startswith("ARG EE_BASE_IMAGE=")]
    assert not base.endswith(':latest"')


def test_collection_installs_from_the_context_and_asks_for_nothing_more(context: Path, tmp_path: Path) -> None:
    """What the Containerfile does in its galaxy and builder stages, run here."""
    build, collections = context / "_build", tmp_path / "collections"
    environment = controller.clean_environment(tmp_path / "home")
    run(
        *("env", "--chdir", build, controller.tool("ansible-galaxy"), "collection", "install", "--offline"),
        *("-r", "requirements.yml", "--collections-path", collections),
        env=environment,
    )
    assert (collections / "ansible_collections" / "primus" / "patches" / "MANIFEST.json").exists()
    run(
        *(sys.executable, build / "scripts" / "introspect.py", "introspect", collections),
        *("--user-bindep", build / "bindep.txt"),
        *("--write-bindep", tmp_path / "system.txt", "--write-pip", tmp_path / "python.txt"),
        env=environment,
    )
    system = (tmp_path / "system.txt").read_text().split("\n")
    assert [line.partition("#")[0].strip() for line in system if line] == ["openssh-clients [platform:rpm]"]
    assert not (tmp_path / "python.txt").exists()
