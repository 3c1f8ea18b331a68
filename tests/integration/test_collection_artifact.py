# The artifact: what is in it, what is not, that it installs, and that the same commit gives the same bytes.
from __future__ import annotations

import json
import os
import pathlib
import tarfile
from typing import TYPE_CHECKING

import pytest
from lab import checkout, controller
from lab.run import run

if TYPE_CHECKING:
    from pathlib import Path

COMMITTED = 1700000000


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with the working tree as its only commit."""
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"{COMMITTED} +0000")
    return checkout.repository(tmp_path / "repository")


@pytest.fixture
def private(clone: Path) -> Path:
    """Return a repository in which the README's commands have been run: an inventory, a report, an artifact."""
    reports = ("primus-report/report.json", "playbooks/primus-report/report.json")
    for name in (*reports, "inventory.yml", "playbooks/audit_primus.retry", "dist/primus-patches-1.0.0.tar.gz"):
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_text("gpu001")
    return clone


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
        "docs/monitoring/alerts.yml",
        "docs/monitoring/dashboard.json",
        "playbooks/merge_reports.py",
        "playbooks/merge_reports.yml",
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


def test_artifact_holds_every_file_of_the_directories_that_are_the_collection(names: set[str]) -> None:
    """A new kind of file there, or a link (which ansible-galaxy passes over), would be missed by the allow-list."""
    whole, site = ("docs/", "meta/", "playbooks/", "plugins/", "roles/"), "docs/docsite/"  # (made here, not shipped)
    assert {name for name in checkout.names() if name.startswith(whole) and not name.startswith(site)} == {
        name for name in names if name.startswith(whole) and pathlib.PurePath(name).suffix
    }


def test_artifact_holds_only_what_is_on_the_list(tmp_path: Path, names: set[str], private: Path) -> None:
    """Whatever lies in a checkout, in git or not; here ansible-galaxy builds from it as a user would have it do."""
    (private / "notes.txt").write_text("gpu001")
    run("git", "-C", private, "add", "notes.txt")
    command = (controller.tool("ansible-galaxy"), "collection", "build", "--output-path", tmp_path, private)
    run(*command, env=controller.clean_environment(tmp_path / "home"))
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        assert set(archive.getnames()) == names


def test_git_takes_nothing_that_names_nodes(private: Path) -> None:
    assert run("git", "-C", private, "status", "--porcelain", "--untracked-files=all") == ""


def test_two_clones_give_the_same_bytes(tmp_path: Path, clone: Path) -> None:
    run("bash", "-c", 'umask 077; git clone --quiet "$0" "$1"', clone, tmp_path / "elsewhere" / "clone")
    for path in clone.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    other = controller.build_artifact(tmp_path / "other", tmp_path / "elsewhere" / "clone")
    assert controller.build_artifact(tmp_path / "one", clone).read_bytes() == other.read_bytes()


def test_times_in_the_artifact_are_those_of_the_commit_or_as_asked_for(
    tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times() -> set[float]:
        built = controller.build_artifact(tmp_path / "built", clone)
        header = int.from_bytes(built.read_bytes()[4:8], "little")  # RFC 1952, 2.3
        with tarfile.open(built) as archive:
            return {header, *(member.mtime for member in archive)}

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert times() == {COMMITTED}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "315532800")
    assert times() == {315532800}


def test_installed_collection_is_the_artifact(tmp_path: Path, artifact: Path, names: set[str]) -> None:
    # (One of its own: what was run out of the shared one has left bytecode, which 2.20 takes for a change.)
    collection = tmp_path / "collections"
    controller.install_artifact(artifact, collection)
    installed = collection / "ansible_collections" / "primus" / "patches"
    assert json.loads((installed / "MANIFEST.json").read_text())["collection_info"]["dependencies"] == {}
    assert not [name for name in names if not (installed / name).exists()], artifact
    environment = controller.clean_environment(tmp_path, ANSIBLE_COLLECTIONS_PATH=str(collection))
    command = (controller.tool("ansible-galaxy"), "collection", "verify", "--offline", "primus.patches")
    assert "Successfully verified" in run(*command, env=environment)
