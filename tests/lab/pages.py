# Pages of docs/ whose commands are run, in their order, and what a command printed here, as the page has it.
from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from lab import controller, interpreters, pyz

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

STAMP = "2026-01-31T12:00:00Z  root@gpu001"
_STATUS = re.compile(r"\s+# exit status (\d)$")


def shown(text: str, venv: Path) -> str:
    """Return what was printed here as a page has it."""
    text = text.replace(str(venv), "/opt/venv")
    text = re.sub(r"\(Python [\d.]+\)", "(Python 3.11.7)", re.sub(r"/lib/python[\d.]+/", "/lib/python3.11/", text))
    text = re.sub(r"of \S+, since [\d-]+ [\d:]+ UTC", "of root, since 2026-01-31 12:00 UTC", text)
    text = re.sub(r"Last-Update: [\d-]+", "Last-Update: 2026-01-31", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\S+  \S+@\S+", STAMP, text)


def bash(script: str, directory: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run what a page has for a shell; all that it prints is in ``stdout``."""
    return subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1800,
    )


def commands(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield what a guide does, in order: ("file", name, text) and ("run", command, what it prints)."""
    for language, block in re.findall(r"^```(yaml|console)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if language == "yaml":
            yield "file", block.split()[1].rstrip(":"), block
        for command, printed in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            yield "run", command, printed


class Guide:
    """The directory that a guide is followed in, with the environment that it calls /opt/venv."""

    def __init__(self, directory: Path, venv: Path) -> None:
        self.directory, self.venv = directory, venv
        directory.mkdir(exist_ok=True)
        self.home = directory.with_name("home")
        pyz.builder().build(directory)

    def write(self, name: str, text: str) -> None:
        """Write a file of the page. What it calls the system's Python is the one for Ansible here."""
        text = text.replace("/opt/venv", str(self.venv)).replace("/usr/bin/python3", str(interpreters.system()))
        (self.directory / name).write_text(text)

    def run(self, command: str) -> tuple[int, str]:
        """Run a command of the page; its exit status, and what it prints, as the page has it."""
        environment = controller.clean_environment(
            self.home,
            ANSIBLE_COLLECTIONS_PATH=str(controller.checkout_as_collection()),
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_NOCOWS="1",
        )
        done = bash(command.replace("/opt/venv", str(self.venv)), self.directory, environment)
        return done.returncode, shown(done.stdout.replace(str(self.directory), "/home/op"), self.venv)

    def follow(self, kind: str, what: str, text: str) -> None:
        """Do one step of a page, and hold what it prints against the page.

        ``cat`` of a file that is not there gives that file. Of a playbook, the page shows some lines only.
        """
        status = _STATUS.search(what)
        command = what.removesuffix(status[0]) if status else what
        if kind == "file":
            self.write(what, text)
        elif command.startswith("cat ") and not (self.directory / shlex.split(command)[1]).exists():
            self.write(shlex.split(command)[1], text)
        else:
            code, printed = self.run(command)
            assert code == (int(status[1]) if status else 0), f"{what}\n{printed}"
            if command.startswith("ansible-playbook"):
                lines = iter(re.sub(r" +", " ", printed).splitlines())
                missing = [line for line in text.splitlines() if re.sub(r" +", " ", line) not in lines]
                assert not missing, f"{what}: {missing}\n{printed}"
            else:
                assert printed == text, what
