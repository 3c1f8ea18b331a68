# The survey of processes: which ones of an environment started before a file changed, and that nothing is touched.
from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, interpreters, sandbox, snapshot
from lab.sandbox import GROUP, USER, needs_root
from module_utils import _survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Venv = Callable[..., Path]

HOUR = 3600.0
WAITING = "import sys; print('ready', flush=True); sys.stdin.read()"
# Overwrites its own arguments in place, as setproctitle does (fields 48 and 49 of proc_pid_stat(5)).
TITLED = (
    "import ctypes; fields = open('/proc/self/stat').read().rpartition(')')[2].split(); "
    "start, end = int(fields[45]), int(fields[46]); ctypes.memset(start, 0, end - start); "
    "ctypes.memmove(start, TITLE, len(TITLE)); "
)
# Stands for an extension module of a package, which lies mapped in every process that has imported it.
MAPPED = "import mmap; file = open(FILE, 'rb'); mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); "


class Processes:
    """Processes of a test, and a /proc in which only they can be seen."""

    def __init__(self, proc: Path, stack: contextlib.ExitStack) -> None:
        self.proc = proc
        self.stack = stack
        proc.mkdir()

    def begin(self, *command: Path | str | bytes, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command, and return it once it says that it is ready."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self.stack.callback(self.end, process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        self.show(process.pid)
        return process

    def start(self, python: Path | str, code: str = WAITING, *arguments: str | bytes, **options: Any) -> int:
        """Let an interpreter run ``code``, and return its pid once it says that it is ready."""
        return self.begin(python, "-c", code, *arguments, **options).pid

    def show(self, pid: int) -> None:
        (self.proc / str(pid)).symlink_to(f"/proc/{pid}")

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.communicate()

    def seen(self, python: Path, changed: dict[str, float] | None = None, **options: Any) -> dict[str, Any]:
        """Return what the interpreter says of them; unless told otherwise, a file changed a moment ago."""
        changed = {"patch": time.time() + 1} if changed is None else changed
        found: dict[str, Any] = engine.within(
            python, "_survey.processes(*arguments)", changed, str(self.proc), **options
        )
        return found

    def pids(self, python: Path, **options: Any) -> list[int]:
        found = self.seen(python, **options)
        assert found["unreadable"] == 0
        return [candidate["pid"] for candidate in found["candidates"]]


@pytest.fixture
def running(public: Path) -> Iterator[Processes]:
    with contextlib.ExitStack() as stack:
        yield Processes(public / "proc", stack)


def own_binary(directory: Path, binary: Path) -> Path:
    """Make an environment as conda does: with a hard link of the interpreter itself, and no pyvenv.cfg."""
    (directory / "bin").mkdir(parents=True)
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (directory / "lib").mkdir()
    (directory / "lib" / library).symlink_to(Path(sys.base_prefix) / "lib" / library)
    (directory / "bin" / "python3").hardlink_to(binary)
    (directory / "bin" / "python").symlink_to("python3")
    return directory / "bin" / "python"


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_a_process_is_told_when_a_file_changed_after_it_started(running: Processes, venv: Venv, version: str) -> None:
    interpreter = environments.python_of(venv(version))
    pid = running.start(interpreter)
    replaced = interpreter.parent / "replaced.py"
    replaced.touch()
    now = _survey.file(str(replaced))
    assert now is not None
    changed = {"later": now["changed"], "long ago": time.time() - HOUR}
    found = running.seen(interpreter, changed)
    command = f"{interpreter} -c {WAITING}"
    user = subprocess.check_output(["id", "-un"], text=True).strip()
    (candidate,) = found["candidates"]
    assert 0 <= candidate.pop("age") < HOUR
    assert isinstance(running.seen(interpreter, changed)["candidates"][0]["age"], int)
    assert candidate == {"pid": pid, "user": user, "command": command, "patches": ["later"]}
    assert found["unreadable"] == 0
    assert running.seen(interpreter, {"long ago": time.time() - HOUR}) == {"candidates": [], "unreadable": 0}


def test_without_a_change_nothing_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    os.mkfifo(tmp_path / "1" / "stat")  # (whoever reads it fails)
    expected: dict[str, Any] = {"candidates": [], "unreadable": 0}
    assert _survey.processes({}, str(tmp_path)) == expected
    assert _survey.processes({"patch": time.time()}, str(tmp_path)) == {**expected, "unreadable": 1}
    assert _survey.processes({"patch": time.time()}, str(tmp_path / "absent")) == expected


def test_environments_of_one_interpreter_are_told_apart(running: Processes, venv: Venv) -> None:
    """The real path of the binary is the same in all three."""
    first, second = (environments.python_of(venv()) for _each in range(2))
    base = interpreters.usual()
    assert first.resolve() == second.resolve() == base.resolve()
    started = {interpreter: running.start(interpreter) for interpreter in (second, first, base)}
    for interpreter, pid in started.items():
        assert running.pids(interpreter) == [pid]


def test_environments_that_hard_link_one_binary_are_told_apart(running: Processes, tmp_path: Path) -> None:
    binary = shutil.copy(Path(sys.executable).resolve(), tmp_path)
    first, second = (own_binary(tmp_path / name, Path(binary)) for name in ("first", "second"))
    pid = running.start(first)
    assert running.pids(first) == [pid]
    assert running.pids(second) == []


def test_a_process_of_a_binary_that_was_replaced_since_is_told(running: Processes, tmp_path: Path) -> None:
    """The distribution's own update of Python comes by rename, and runs no process anew."""
    interpreter = own_binary(tmp_path / "environment", Path(shutil.copy(Path(sys.executable).resolve(), tmp_path)))
    pid = running.start(interpreter)
    shutil.copy(Path(sys.executable).resolve(), interpreter.with_name("new"))
    interpreter.with_name("new").rename(interpreter.resolve())
    assert str(Path(f"/proc/{pid}/exe").readlink()).endswith(" (deleted)")
    assert running.pids(interpreter) == [pid]


def test_another_binary_at_the_same_path_is_another_interpreter(running: Processes, venv: Venv) -> None:
    """As in a container: only its own /proc/PID/exe leads to it, its first argument leads to this one here."""
    interpreter = environments.python_of(venv())
    running.start(interpreter, executable=shutil.copy(interpreter.resolve(), interpreter.parent / "copy"))
    assert running.pids(interpreter) == []


def test_an_interpreter_started_by_its_bare_name_is_looked_up_in_its_own_path(
    running: Processes, venv: Venv, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (environments.python_of(venv()) for _each in range(2))
    path = f"/nonexistent:{first.parent}:{second.parent}"
    pid = running.start("python", env={"PATH": path})
    monkeypatch.setenv("PATH", str(second.parent))
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"python\0")
    assert running.pids(first) == [pid]
    assert running.pids(second) == []


def test_relative_paths_are_those_of_its_working_directory(running: Processes, venv: Venv) -> None:
    environment = venv()
    interpreter = environments.python_of(environment)
    pids = [
        running.start("bin/python", cwd=environment),
        running.start("./python", cwd=environment / "bin"),
        running.start("python", cwd=environment, env={"PATH": "bin"}, executable=interpreter),
    ]
    assert running.pids(interpreter) == sorted(pids)
    assert running.pids(environments.python_of(venv())) == []


@pytest.mark.parametrize("title", [b"ray::IDLE", b"/opt/vllm: engine (core) 1", b"/bin/sh", b"python", b""])
def test_a_process_with_another_title_is_told_by_what_it_has_mapped_of_the_environment(
    running: Processes, venv: Venv, title: bytes
) -> None:
    environment, other = venv(), venv()
    interpreter = environments.python_of(environment)
    extension = environments.site_packages(environment) / "extension.so"
    extension.write_bytes(b"\x7fELF")
    setup = f"TITLE = {title!r}; FILE = {str(extension)!r}; "
    titled = running.start(interpreter, setup + TITLED + MAPPED + WAITING, env={"PATH": "/nonexistent"})
    running.start(interpreter, setup + TITLED + WAITING, env={"PATH": "/nonexistent"})
    (candidate,) = running.seen(interpreter)["candidates"]
    assert [candidate["pid"], candidate["command"]] == [titled, title.decode() or "[python]"]
    assert running.pids(environments.python_of(other)) == []


def test_a_name_given_by_exec_that_leads_nowhere_is_no_matter(running: Processes, venv: Venv) -> None:
    environment = venv()
    interpreter = environments.python_of(environment)
    extension = environments.site_packages(environment) / "extension.so"
    extension.write_bytes(b"\x7fELF")
    code = f"FILE = {str(extension)!r}; {MAPPED}{WAITING}"
    process = running.begin("bash", "-c", 'exec -a trainer "$0" -c "$1"', interpreter, code)
    (candidate,) = running.seen(interpreter)["candidates"]
    assert candidate["pid"] == process.pid
    assert candidate["command"].startswith("trainer -c FILE = ")


def test_a_command_is_cut_and_its_undecodable_bytes_are_escaped(running: Processes, venv: Venv) -> None:
    interpreter = environments.python_of(venv())
    running.start(interpreter, WAITING, b"caf\xc3\xa9 \xff" + b"x" * 300)
    (candidate,) = running.seen(interpreter)["candidates"]
    start = f"{interpreter} -c {WAITING} café \\xff"
    assert candidate["command"] == start + "x" * (200 - len(start))


def test_a_name_with_parentheses_and_spaces_hides_no_time_of_start(running: Processes, venv: Venv) -> None:
    interpreter = environments.python_of(venv())
    odd = interpreter.with_name("a) S 1 (b")
    odd.symlink_to("python")
    earlier = time.time() - 1
    pid = running.start(odd)
    assert Path(f"/proc/{pid}/comm").read_text() == "a) S 1 (b\n"
    assert running.pids(interpreter) == [pid]
    assert running.seen(interpreter, {"patch": earlier})["candidates"] == []


def test_the_look_itself_and_what_started_it_are_left_out(running: Processes, venv: Venv) -> None:
    """Ansible may run in the environment that it looks at."""
    interpreter = environments.python_of(venv())
    pid = running.start(interpreter)
    code = (
        "import json, subprocess, sys; from module_utils import _survey\n"
        "sys.argv.pop(0)\n"
        "if len(sys.argv) > 2: subprocess.run([sys.executable, '-B', '-c', *sys.argv], check=True)\n"
        "else: print(json.dumps(_survey.processes({'patch': float(sys.argv[1])})))\n"
    )
    # (the first argument is the code for the child, as long as there are two: it is the child that looks)
    command = [interpreter, "-B", "-c", code, code, code, str(time.time() + HOUR)]
    text = subprocess.check_output(command, text=True, env={"PYTHONPATH": str(engine.PLUGINS)})
    assert [candidate["pid"] for candidate in json.loads(text)["candidates"]] == [pid]


def zombie(running: Processes, interpreter: Path) -> int:
    """Return the pid of a process that has ended and that nobody has waited for."""
    pid = running.start(interpreter, "print('ready', flush=True)")
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return pid


def test_what_has_ended_is_no_process(running: Processes, venv: Venv) -> None:
    interpreter = environments.python_of(venv())
    zombie(running, interpreter)
    running.show(2**22 + 1)  # above any pid_max
    assert running.seen(interpreter) == {"candidates": [], "unreadable": 0}


@needs_root
def test_what_has_ended_is_no_process_that_a_user_may_not_read(public: Path, running: Processes) -> None:
    interpreter = shared_environment(public)
    pid = zombie(running, interpreter)
    with pytest.raises(PermissionError):
        sandbox.child(lambda: os.stat(f"/proc/{pid}/exe"), user=USER)
    assert running.seen(interpreter, user=USER, group=GROUP) == {"candidates": [], "unreadable": 0}


@needs_root
def test_kernel_threads_are_no_processes_that_a_user_may_not_read(public: Path, running: Processes) -> None:
    threads = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # (one that has ended meanwhile)
            threads += [path.parent] if "kthreadd" in path.read_text() else []
    if not threads:
        pytest.skip("no kernel threads can be seen here (a container)")
    running.show(int(threads[0].name))
    interpreter = shared_environment(public)
    assert running.seen(interpreter, user=USER, group=GROUP) == {"candidates": [], "unreadable": 0}


def shared_environment(public: Path) -> Path:
    """Make an environment that every user may run; skips where only root's own interpreters can be had."""
    system = interpreters.system()
    if subprocess.run([system, "-c", ""], user=USER, group=GROUP, check=False, capture_output=True).returncode:
        pytest.skip(f"other users cannot run {system}")
    environment = environments.bare(system, public / "environment")
    # (The checkout may lie below root's home.)
    shutil.copytree(engine.PLUGINS / "module_utils", environments.site_packages(environment) / "module_utils")
    return environments.python_of(environment)


@needs_root
def test_another_users_look_counts_what_it_may_not_read_and_tells_its_own(public: Path, running: Processes) -> None:
    interpreter = shared_environment(public)
    running.start(interpreter)
    pid = running.start(interpreter, user=USER, group=GROUP, extra_groups=[])
    found = running.seen(interpreter, user=USER, group=GROUP, extra_groups=[])
    assert found["unreadable"] == 1
    (candidate,) = found["candidates"]
    assert [candidate["pid"], candidate["user"]] == [pid, str(USER)]
    found = running.seen(interpreter)
    assert {candidate["user"] for candidate in found["candidates"]} == {"root", str(USER)}, "root may read both"
    assert found["unreadable"] == 0
    later = running.seen(interpreter, {"patch": time.time() - HOUR}, user=USER, group=GROUP, extra_groups=[])
    assert later == {"candidates": [], "unreadable": 0}, "what started after the change is no matter, readable or not"


def test_no_process_is_disturbed(running: Processes, venv: Venv) -> None:
    interpreter = environments.python_of(venv())
    code = "import sys; print('ready', flush=True); print(sys.stdin.readline(), end='', flush=True); sys.stdin.read()"
    process = running.begin(interpreter, "-c", code)
    assert running.pids(interpreter) == [process.pid]
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"still here\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"still here\n"


# --- all of it


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_nothing_is_created_or_touched(running: Processes, venv: Venv, version: str) -> None:
    environment = venv(version)
    interpreter, site = environments.python_of(environment), environments.site_packages(environment)
    api = engine.thing(site) / "api.py"
    subprocess.run([interpreter, "-I", "-m", "compileall", "-q", site / "thing"], check=True)
    engine.thing(environment / "more", "2.0")
    (site / "more.pth").write_text(f"{environment / 'more'}\n")
    running.start(interpreter)
    expression = (
        "[_survey.file(arguments[0]), _survey.bytecode(arguments[0]), "
        "_survey.others(_environment.find('thing'), None), "
        "_survey.distributions(arguments[1], ['thing']), "
        "_survey.processes(*arguments[2:])]"
    )
    before = snapshot.take(environment, engine.PLUGINS)
    found = engine.within(interpreter, expression, str(api), str(site), {"patch": time.time() + 1}, str(running.proc))
    assert snapshot.take(environment, engine.PLUGINS) == before
    assert found[0]["links"] == 1
    assert [entry["fresh"] for entry in found[1]] == [True]
    assert [copy["version"] for copy in found[2]] == ["2.0"]
    assert found[3] == ["thing 1.5"]
    assert len(found[4]["candidates"]) == 1
