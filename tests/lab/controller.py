# A real Ansible controller: builds and installs the collection, and runs ansible-playbook in a home of its own.
from __future__ import annotations

import configparser
import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lab import cache, checkout, interpreters
from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = checkout.ROOT


def tool(name: str) -> str:
    """Return the path of a program installed beside the running interpreter (``ansible-playbook``), else from PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise FileNotFoundError(f"no {name} beside {sys.executable} or in PATH: run the tests by ./dev test")
    return found


def build_artifact(destination: Path, root: Path = ROOT) -> Path:
    """Build the collection from a checkout and return the ``.tar.gz``; the same commit gives the same bytes.

    All times in it are that of the commit (see lab.checkout.source_date).
    """
    destination.mkdir(parents=True, exist_ok=True)
    time = checkout.source_date(root)
    with tempfile.TemporaryDirectory(prefix="primus-artifact-") as name:
        # Not from the checkout itself: what reads `manifest:` walks through all of it, virtual environments, too.
        source = checkout.copy(Path(name, "source"), root)
        environment = clean_environment(Path(name, "home"))
        run(tool("ansible-galaxy"), "collection", "build", "--output-path", name, source, env=environment)
        (built,) = Path(name).glob("*.tar.gz")
        artifact = destination / built.name
        _pack_again(built, artifact, time)
    return artifact


def _pack_again(built: Path, artifact: Path, time: int) -> None:
    """Write the archive with one time for everything; ansible-galaxy has seen to order, owner and mode."""
    with (
        tarfile.open(built) as source,
        artifact.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=time) as packed,
        tarfile.open(fileobj=packed, mode="w") as target,
    ):
        for member in source:
            member.mtime = time
            member.pax_headers = {}
            target.addfile(member, source.extractfile(member) if member.isfile() else None)


def install_artifact(artifact: Path, collections: Path) -> Path:
    """Install ``artifact`` with ansible-galaxy; return the directory for ANSIBLE_COLLECTIONS_PATH."""
    environment = clean_environment(artifact.parent / "home")
    command = (
        tool("ansible-galaxy"),
        "collection",
        "install",
        "--offline",
        "--force",
        "--collections-path",
        collections,
    )
    run(*command, artifact, env=environment)
    return collections


def checkout_as_collection() -> Path:
    """Return a directory from which ``ansible_collections.primus.patches`` imports straight from the checkout.

    It lies outside of the checkout: a link to itself inside it would be a trap for every tool that walks the tree.
    """
    top = cache.root() / "checkouts" / cache.digest(str(ROOT))
    link = top / "ansible_collections" / "primus" / "patches"
    with cache.lock("checkouts"):
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(ROOT)
    return top


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return this process's environment with ``home`` as HOME, without Ansible's variables and Python's search path.

    The caches that belong to HOME move there, so nothing of the developer's own configuration has a say.
    """
    home.mkdir(parents=True, exist_ok=True)
    dropped = ("ANSIBLE_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {
        **kept,
        # ansible-core insists on a UTF-8 locale.
        "LC_ALL": "C.UTF-8",
        "HOME": str(home),
        "ANSIBLE_HOME": str(home / ".ansible"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath))),
        **variables,
    }


@dataclass(frozen=True)
class Task:
    """One result of one task on one host; ``status``: ok, changed, failed, ignored, skipped or unreachable."""

    play: str
    task: str
    action: str
    host: str
    status: str
    result: dict[str, Any]

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The results of site_patch in each environment: where there is one, that of the task."""
        found: list[dict[str, Any]] = self.result.get("environments", [self.result])
        return found


@dataclass(frozen=True)
class Run:
    """What a run of ansible-playbook gave."""

    rc: int
    stdout: str
    stderr: str
    tasks: list[Task]

    def exits(self, rc: int) -> Run:
        """Return this run; an AssertionError shows all of it when the exit code was not ``rc``."""
        assert self.rc == rc, f"expected exit {rc}\n{self}"
        return self

    def of(self, action: str, host: str | None = None) -> list[Task]:
        """Return the results of the module ``action`` (the last part of its name is enough), in the order they came."""
        return [
            task
            for task in self.tasks
            if (task.action == action or task.action.rpartition(".")[2] == action) and host in (None, task.host)
        ]

    def one(self, action: str, host: str | None = None) -> Task:
        """Return the only result of the module ``action``; an AssertionError shows the run if there is not just one."""
        found = self.of(action, host)
        assert len(found) == 1, f"expected one result of {action}, found {len(found)}\n{self}"
        return found[0]

    @property
    def changed(self) -> bool:
        """Whether any task changed something."""
        return any(task.status == "changed" for task in self.tasks)

    def __str__(self) -> str:
        """Show the run as an operator would have seen it."""
        return f"ansible-playbook: exit {self.rc}\n{self.stdout}\n{self.stderr}"


@dataclass(frozen=True)
class Started:
    """An ansible-playbook that runs. As a context manager it is gone at the end, with its workers."""

    process: subprocess.Popen[str]
    record: Path

    def tasks(self) -> list[Task]:
        """Return the results that have come in so far."""
        lines = self.record.read_text().rpartition("\n")[0]
        return [Task(**json.loads(line)) for line in lines.splitlines()]

    def end(self, timeout: float = 600) -> Run:
        """Wait for the end; a TimeoutExpired is raised when it takes more than ``timeout`` seconds."""
        stdout, stderr = self.process.communicate(timeout=timeout)
        return Run(self.process.returncode, stdout, stderr, self.tasks())

    def kill(self) -> None:
        """End it and its workers at once, as a controller that loses power."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End what still runs."""
        self.kill()
        self.process.communicate()


@dataclass(frozen=True)
class Controller:
    """A controller: its configuration, home and logs are in ``directory``, its collections in ``collections``."""

    directory: Path
    collections: Path
    enter: Callable[[Path, Sequence[str]], Sequence[str]] = lambda _directory, command: command
    """Turns a command to be run in a directory into one that runs it there from the place where the controller is."""
    base: Path | None = None
    """An ansible.cfg whose settings come before those of a run; default: no pipelining, no ControlPersist."""

    def playbook(
        self,
        playbook: str | Path | list[dict[str, Any]],
        *arguments: str,
        timeout: float = 600,
        **options: Any,
    ) -> Run:
        """Run the real ansible-playbook to its end (see :meth:`start`; ``timeout``: seconds for the run)."""
        with self.start(playbook, *arguments, **options) as started:
            return started.end(timeout)

    def start(
        self,
        playbook: str | Path | list[dict[str, Any]],
        *arguments: str,
        inventory: str | Path | dict[str, Any] = "localhost,",
        check: bool = False,
        diff: bool = False,
        variables: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Started:
        """Start the real ansible-playbook.

        :param playbook: a file, a name (``primus.patches.setup_primus``), or the plays themselves as data.
        :param arguments: more arguments of the command line.
        :param inventory: a file, a host list (``localhost,``), or the inventory itself as data. A host that sets
            no ``ansible_connection`` and is reached as ``localhost,`` is local.
        :param variables: extra variables.
        :param environment: variables of the environment on top of the controller's clean one.
        :param settings: settings of the ``[defaults]`` section of ansible.cfg on top of the controller's.
        """
        number = len(list(self.directory.glob("run-*")))
        directory = self.directory / f"run-{number}"
        directory.mkdir(parents=True)
        record = directory / "results.jsonl"
        record.touch()
        command = [tool("ansible-playbook"), *arguments]
        command += ["--check"] * check + ["--diff"] * diff
        command += [
            "--inventory",
            str(inventory if isinstance(inventory, str) else _file(directory, "inventory", inventory)),
        ]
        if variables:
            command += ["--extra-vars", f"@{_file(directory, 'variables', dict(variables))}"]
        if inventory == "localhost,":
            command += ["--connection", "local"]
        command.append(str(playbook if isinstance(playbook, str) else _file(directory, "playbook", playbook)))
        self._configure(directory / "ansible.cfg", dict(settings or {}))
        process = subprocess.Popen(
            self.enter(directory, command),
            cwd=directory,
            env=clean_environment(
                self.directory / "home",
                ANSIBLE_CONFIG=str(directory / "ansible.cfg"),
                LAB_RECORD=str(record),
                # Then the summary has a line for each node, environment and patch (see lab.report).
                **{"ANSIBLE_VERBOSITY": "1", **(environment or {})},
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        return Started(process, record)

    def _configure(self, path: Path, settings: dict[str, str]) -> None:
        """Write the controller's own ansible.cfg."""
        merged = {
            "collections_path": str(self.collections),
            "callback_plugins": str(Path(__file__).parent / "callback_plugins"),
            # Left alone, Ansible may take a shim of pyenv's that does not run.
            "interpreter_python": str(interpreters.system()),
            "nocows": "true",
            "nocolor": "true",
            "retry_files_enabled": "false",
            **settings,
        }
        config = configparser.RawConfigParser()
        # -F: the developer's own configuration has no say. No ControlPersist: its master would outlive the test, and
        # below pytest's directories its socket's path would exceed the 108 bytes that are allowed.
        config.read_dict({"ssh_connection": {"ssh_args": "-F /dev/null"}})
        config.read(self.base or ())
        config.read_dict({"defaults": merged})
        with path.open("w") as file:
            config.write(file)


def _file(directory: Path, name: str, content: Any) -> Path:
    """Return ``content`` if it is a path already, else write it to a file and return that (JSON is YAML, too)."""
    if isinstance(content, Path):
        return content
    path = directory / f"{name}.yml"
    path.write_text(json.dumps(content, indent=2))
    return path
