# The artifact that ansible-galaxy builds: what is in it, what is not, and that it installs.
from __future__ import annotations

import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from lab import controller

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def names(artifact: Path) -> set[str]:
    with tarfile.open(artifact) as archive:
        return set(archive.getnames())


@pytest.mark.parametrize(
    "name",
    [
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "changelogs/changelog.yaml",
        "meta/runtime.yml",
        "playbooks/audit_primus.yml",
        "playbooks/revert_primus.yml",
        "playbooks/setup_primus.yml",
        "plugins/callback/fleet_summary.py",
        "plugins/module_utils/_catalogue/transformers_modeling_utils.py",
        "plugins/modules/import_check.py",
        "plugins/modules/site_patch.py",
        "plugins/modules/site_patch_info.py",
        "roles/megatron_bridge/meta/argument_specs.yml",
        "roles/megatron_bridge/README.md",
    ],
)
def test_artifact_holds_what_a_user_needs(names: set[str], name: str) -> None:
    assert name in names


def test_artifact_holds_nothing_of_development(names: set[str]) -> None:
    top = {"CHANGELOG.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md"}
    directories = {"changelogs", "docs", "meta", "playbooks", "plugins", "roles"}
    assert {name.split("/")[0] for name in names} <= top | directories
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name or "/." in name]


def test_every_file_of_the_artifact_that_git_would_not_track_is_generated(names: set[str]) -> None:
    """An untracked, ignored file (a cache, a venv) must not slip in through a gap of build_ignore."""
    listing = ["git", "-C", controller.ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    known = set(subprocess.run(listing, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0"))
    directories = {parent for name in known for parent in _parents(name)}
    assert names - known - directories == {"FILES.json", "MANIFEST.json"}


def test_installed_collection_is_the_artifact(artifact: Path, collection: Path, names: set[str]) -> None:
    installed = collection / "ansible_collections" / "primus" / "patches"
    assert json.loads((installed / "MANIFEST.json").read_text())["collection_info"]["dependencies"] == {}
    assert not [name for name in names if not (installed / name).exists()], artifact


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
