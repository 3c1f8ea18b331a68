# pip, uv and git over a patched tree: what they did is seen, and nothing counts as applied that is not.
from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, packages, snapshot, wheels
from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLD, NEW = "3.10", "3.11"
EXTRA = "# One module more.\n"
PATCH = engine.definition(
    name="idna_error",
    package="idna",
    versions="*",
    file="core.py",
    edits=[
        {"replace": {"before": "class IDNAError(UnicodeError):", "after": "class IDNAError(UnicodeError):  # ours"}},
        {"write": {"content": EXTRA, "replaces": "absent"}, "file": "extra/more.py"},
    ],
)


def uninstall(how: str, python: Path) -> None:
    if how == "pip":
        run(sys.executable, "-m", "pip", "--python", str(python), "uninstall", "--quiet", "--yes", "idna")
    else:
        run(wheels.UV, "pip", "uninstall", "--python", str(python), "--quiet", "idna")


def ask(python: Path, state: str = "present", **more: Any) -> tuple[str, str]:
    """Return state and action of the patch."""
    result = engine.ask("patch", python, definitions=[PATCH], state=state, **more)
    (patch,) = result["patches"]
    assert result["changed"] == (patch["action"] not in ("none", "skip")), result
    return patch["state"], patch["action"]


def files(site: Path) -> dict[str, bytes]:
    return {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in (site / "idna").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.mark.parametrize("how", wheels.INSTALLERS)
def test_an_installer_over_a_patched_environment_is_seen_and_never_taken_for_the_patch(
    venv: Callable[..., Path], how: str
) -> None:
    environment = venv()
    python, site = environments.python_of(environment), environments.site_packages(environment)
    wheels.install(how, python, "idna", OLD)
    stock = files(site)
    cached = wheels.unpacked("idna", OLD)
    before = snapshot.take(cached)
    assert ask(python) == ("pending", "apply")
    assert ask(python) == ("applied", "none")
    # The same version once more: the edited file is the wheel's again, the added one stays, as pip knows nothing of it.
    wheels.install(how, python, "idna", OLD, again=True)
    assert files(site) == {**stock, "idna/extra/more.py": EXTRA.encode()}
    assert ask(python) == ("outdated", "migrate")
    assert ask(python) == ("applied", "none")
    # Another version: its files are its own.
    wheels.install(how, python, "idna", NEW, again=True)
    newer = {name: text for name, text in files(site).items() if name != "idna/extra/more.py"}
    assert b"# ours" not in newer["idna/core.py"]
    # What we added is still there, and no installer knows of it: so the patch is in one of its files.
    assert ask(python) == ("outdated", "migrate")
    assert ask(python) == ("applied", "none")
    assert ask(python, "absent") == ("applied", "revert")
    assert files(site) == newer
    wheels.install(how, python, "idna", OLD, again=True)
    assert ask(python) == ("pending", "apply")
    # Uninstalled: what we added is a leftover, and no package.
    uninstall(how, python)
    assert ask(python, missing="skip") == ("missing", "skip")
    assert ask(python, "absent") == ("missing", "revert")
    assert not (site / "idna" / "extra").exists()
    assert ask(python, "absent") == ("missing", "none")
    assert snapshot.take(cached) == before


def test_two_dist_infos_that_an_upgrade_of_a_target_left_are_no_evidence_for_the_wrong_one(tmp_path: Path) -> None:
    for version in (OLD, NEW):
        options = ["--no-index", "--no-deps", "--quiet", "--upgrade", "--target", str(tmp_path)]
        run(sys.executable, "-m", "pip", "install", *options, str(wheels.wheel("idna", version)))
    stock = files(tmp_path)
    result = engine.ask("patch", path=tmp_path, definitions=[PATCH])
    assert result["patches"][0]["version"] == NEW, result["msg"]
    engine.ask("patch", path=tmp_path, definitions=[PATCH], state="absent")
    assert files(tmp_path) == stock


# --- git


def git(where: Path, *arguments: str) -> str:
    settings = ("user.name=t", "user.email=t@t", "commit.gpgsign=no", "init.defaultBranch=main")
    return run("git", "-C", str(where), *(word for each in settings for word in ("-c", each)), *arguments)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a git checkout of the package's sources."""
    where = tmp_path / "checkout"
    shutil.copytree(wheels.unpacked("idna", OLD) / "idna", where / "idna")
    git(where, "init", "--quiet")
    git(where, "add", ".")
    git(where, "commit", "--quiet", "--message", "As released")
    return where


def at(path: Path, state: str = "present", patch: Any = None, **more: Any) -> tuple[str, str]:
    (found,) = engine.actions(engine.ask("patch", path=path, definitions=[patch or PATCH], state=state, **more))
    return found


def test_a_store_is_no_part_of_a_checkout(checkout: Path) -> None:
    assert at(checkout) == ("pending", "apply")
    assert git(checkout, "status", "--porcelain").splitlines() == [" M idna/core.py", "?? idna/extra/"]


@pytest.mark.parametrize("command", ["clean -xdfq", "stash --all --quiet", "checkout --quiet ."])
def test_what_git_takes_away_is_never_taken_for_applied(checkout: Path, command: str) -> None:
    stock = files(checkout)
    at(checkout)
    git(checkout, *command.split())
    state, action = at(checkout, check_mode=True)
    there = files(checkout)
    whole = b"# ours" in there["idna/core.py"] and "idna/extra/more.py" in there
    assert (state == "applied") == whole, (state, action)
    at(checkout)
    assert b"# ours" in files(checkout)["idna/core.py"]
    assert at(checkout) == ("applied", "none")
    at(checkout, "absent")
    assert files(checkout) == stock


def test_a_patch_that_was_committed_is_upstreams_and_no_line_of_it_is_ever_removed(checkout: Path) -> None:
    at(checkout)
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "Take the patch over")
    committed = files(checkout)
    for state in ("present", "absent"):
        assert at(checkout, state) == ("native", "none")
        assert files(checkout) == committed


def test_another_branch_and_a_worktree_have_their_own_state(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "branch", "other")
    git(checkout, "branch", "third")
    at(checkout)
    git(checkout, "worktree", "add", "--quiet", str(tmp_path / "tree"), "other")
    assert at(tmp_path / "tree", check_mode=True) == ("pending", "apply")
    git(checkout, "stash", "--quiet", "--include-untracked")
    git(checkout, "checkout", "--quiet", "third")
    assert at(checkout, check_mode=True)[0] != "applied"


def test_no_git_process_is_started_and_the_repository_is_left_alone(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "git"
    packages.write(tmp_path, {"bin/git": f"#!/bin/sh\ntouch {tmp_path}/started\n"})
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    subprocess.run(["git"], check=True)
    (tmp_path / "started").unlink()
    before = snapshot.take(checkout / ".git")
    assert at(checkout) == ("pending", "apply")
    assert at(checkout, "absent") == ("applied", "revert")
    assert not (tmp_path / "started").exists()
    assert snapshot.take(checkout / ".git") == before


# --- stores that were copied, lost or damaged


def acme(site: Path, version: str = "2.3.0", *, record: bool = True) -> Path:
    files = {"acme/__init__.py": "", "acme/api.py": "LIMIT = 10\nx = 1\n"}
    info = packages.install(site, "acme", version, files)
    if not record:
        (info / "RECORD").unlink()
    return site / "acme" / "api.py"


LIMIT = {
    **PATCH,
    "name": "acme_limit",
    "package": "acme",
    "file": "api.py",
    "edits": [{"replace": {"before": "LIMIT = 10", "after": "LIMIT = 20"}}],
}


def of(site: Path, state: str = "present") -> tuple[str, str]:
    return at(site, state, LIMIT)


@pytest.mark.parametrize("record", [True, False])
def test_a_copy_of_all_of_site_packages_has_its_store(tmp_path: Path, *, record: bool) -> None:
    acme(tmp_path / "one", record=record)
    of(tmp_path / "one")
    run("cp", "-r", *map(str, sorted((tmp_path / "one").glob("*"))), str(_made(tmp_path / "two")))
    assert of(tmp_path / "two") == ("applied", "none")
    assert of(tmp_path / "two", "absent") == ("applied", "revert")
    assert (tmp_path / "two" / "acme" / "api.py").read_text() == "LIMIT = 10\nx = 1\n"


@pytest.mark.parametrize("record", [True, False])
def test_a_copy_of_the_package_alone_is_adopted_by_record_or_is_the_original(tmp_path: Path, *, record: bool) -> None:
    acme(tmp_path / "one", record=record)
    of(tmp_path / "one")
    shutil.rmtree(tmp_path / "one" / "primus-patches")
    expected = ("applied", "revert") if record else ("conflict", "none")
    assert of(tmp_path / "one", "absent") == expected
    assert of(tmp_path / "one")[0] == ("pending" if record else "conflict")


def test_the_store_of_another_environment_says_nothing_about_this_one(tmp_path: Path) -> None:
    acme(tmp_path / "one")
    other = acme(tmp_path / "two", "2.4.0")
    of(tmp_path / "one")
    shutil.copytree(tmp_path / "one" / "primus-patches", tmp_path / "two" / "primus-patches")
    assert of(tmp_path / "two") == ("pending", "apply")
    assert of(tmp_path / "two", "absent") == ("applied", "revert")
    assert other.read_text() == "LIMIT = 10\nx = 1\n"


def test_a_file_that_is_deleted_reinstalled_and_deleted_again(tmp_path: Path) -> None:
    gone = {**LIMIT, "edits": [{"delete": {}}]}
    file = acme(tmp_path)
    assert at(tmp_path, "present", gone) == ("pending", "apply")
    assert not file.exists()
    acme(tmp_path)
    assert at(tmp_path, "present", gone) == ("pending", "apply")
    assert not file.exists()
    assert at(tmp_path, "present", gone) == ("applied", "none")
    assert at(tmp_path, "absent", gone) == ("applied", "revert")
    assert file.read_text() == "LIMIT = 10\nx = 1\n"


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
