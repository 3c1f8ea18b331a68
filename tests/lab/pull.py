# ansible-pull as docs/CLUSTERS.md has it: the script of that page, and a repository of the working tree to pull from.
from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from lab import controller
from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def repository(directory: Path) -> Path:
    """Make a bare repository, ``directory/repository.git``, whose branch ``main`` is the working tree; return its path.

    It holds what git would see: tracked files as they are now, and new ones that are not ignored.
    """
    path = directory / "repository.git"
    environment = controller.clean_environment(directory / "home", GIT_CONFIG_NOSYSTEM="1")
    git = ("git", "--git-dir", path, "--work-tree", controller.ROOT)
    run("git", "init", "--quiet", "--bare", "--initial-branch", "main", path, env=environment)
    run(*git, "add", "--all", env=environment)
    author = ("-c", "user.name=tests", "-c", "user.email=tests@example.com")
    run(*git, *author, "commit", "--quiet", "--message", "The working tree", env=environment)
    return path


def script(directory: Path, repository: Path, variables: Mapping[str, Any]) -> Path:
    """Write the page's ``primus-pull`` to ``directory``, all its paths below that, and return its path.

    It runs the ansible-pull of the development environment; its arguments are those of ansible-pull.
    """
    page = (controller.ROOT / "docs" / "CLUSTERS.md").read_text()
    (text,) = re.findall(r"```sh\n(#!/bin/sh\n# /usr/local/sbin/primus-pull\b.*?)```", page, re.DOTALL)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "variables.yml").write_text(json.dumps(dict(variables)))
    for old, new in {
        "/opt/ansible/bin/ansible-pull": controller.tool("ansible-pull"),
        "https://github.com/primus-patches/primus.patches.git": repository.as_uri(),
        "/var/lib/primus-patches": str(directory / "pulled"),
        "/etc/primus-patches.yml": str(directory / "variables.yml"),
    }.items():
        if text.count(old) != 1:
            raise ValueError(f"{old} is not once in primus-pull of docs/CLUSTERS.md, where this function changes it")
        text = text.replace(old, new)
    path = directory / "primus-pull"
    path.write_text(text)
    path.chmod(0o755)
    return path
