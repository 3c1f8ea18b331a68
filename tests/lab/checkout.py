# The checkout as git would see it: what a build, a lint or a test gets a copy of.
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def names(root: Path = ROOT) -> list[str]:
    """Return the paths of tracked files, and of new ones that are not ignored."""
    found = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate").split("\0")
    # A tracked file may be deleted in the working tree.
    return [name for name in found if name and ((root / name).is_symlink() or (root / name).exists())]


def source_date(root: Path = ROOT) -> int:
    """Return the time of all that is made from the commit that is checked out, in seconds since 1970: when it was made.

    Or SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/).
    """
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct"))


def copy(destination: Path, root: Path = ROOT) -> Path:
    """Copy them to ``destination``, and return that."""
    for name in names(root):
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, destination / name, follow_symlinks=False)
    return destination


def repository(destination: Path) -> Path:
    """Make a repository in ``destination`` with a copy of the working tree as its only commit, and return that."""
    copy(destination)
    _git(destination, "init", "--quiet")
    commit(destination)
    return destination


def commit(root: Path) -> None:
    """Commit all that is new in a repository."""
    settings = ("user.name=t", "user.email=t@t", "commit.gpgsign=no")
    _git(root, "add", "--all")
    _git(root, *(word for each in settings for word in ("-c", each)), "commit", "--quiet", "--message", "All")


def _git(root: Path, *arguments: str) -> str:
    # Whoever runs what is in a checkout trusts it, also where it belongs to somebody else, as in a container.
    command = ("git", "-c", "safe.directory=*", "-C", root, *arguments)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
