# The survey: what it says of real files, .pyc files, copies and running processes, and that it only reads.
from __future__ import annotations

import contextlib
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, interpreters, packages, sandbox, snapshot
from lab.sandbox import GROUP, USER, needs_root
from module_utils import _edits, _environment, _evidence, _patch, _step, _storage, _survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Venv = Callable[..., Path]

PLUGINS = Path(_survey.__file__).parents[1]
TAG = sys.implementation.cache_tag
LEVELS = {0: "", 1: ".opt-1", 2: ".opt-2"}
MODES = {
    "timestamp": py_compile.PycInvalidationMode.TIMESTAMP,
    "checked-hash": py_compile.PycInvalidationMode.CHECKED_HASH,
    "unchecked-hash": py_compile.PycInvalidationMode.UNCHECKED_HASH,
}
HOUR = 3600.0


def within(python: Path | str, expression: str, *arguments: Any, **options: Any) -> Any:
    """Return the value of an expression under another interpreter; it sees the module and ``arguments``."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from module_utils import _environment, _survey; "
        "arguments = json.loads(sys.argv[3]); print(json.dumps(eval(sys.argv[2])))"
    )
    command = [str(python), "-B", "-c", code, str(PLUGINS), expression, json.dumps(arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout)


@pytest.fixture
def public() -> Iterator[Path]:
    """Yield a directory that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="primus-survey-") as top:
        Path(top).chmod(0o755)
        yield Path(top)


# --- the file


def look(path: Path) -> dict[str, Any]:
    found = _survey.file(str(path))
    assert found is not None
    return found


@needs_root
def test_owner_group_and_mode_are_what_ls_shows_and_a_number_without_a_name_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.touch()
    path.chmod(0o2640)
    found = look(path)
    assert [found["owner"], found["group"]] == ["root", "root"]
    assert found["mode"] == "2640"
    assert found["links"] == 1
    assert found["link"] is None
    os.chown(path, USER, GROUP)
    path.chmod(0o44)
    found = look(path)
    assert [found["owner"], found["group"], found["mode"]] == [str(USER), str(GROUP), "0044"]


def test_the_kind_of_file_system_is_that_of_the_files_directory(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.touch()
    mount = _storage.find(str(tmp_path))
    assert mount is not None
    assert look(path)["filesystem"] == mount.kind
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        shutil.copy(path, directory)
        assert look(Path(directory) / "api.py")["filesystem"] == "tmpfs"


def test_a_file_of_an_unknown_mount_is_told_of_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is not mounted: staged, as a test cannot unmount it for itself."""

    def find(_directory: str) -> None:
        raise FileNotFoundError("/proc/self/mountinfo")

    monkeypatch.setattr(_storage, "find", find)
    (tmp_path / "api.py").touch()
    assert look(tmp_path / "api.py")["filesystem"] is None


def test_a_time_of_change_that_was_set_back_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.touch()
    os.utime(path, (0, 0))
    assert look(path)["changed"] == path.stat().st_ctime > path.stat().st_mtime


def test_a_further_hard_link_of_a_package_cache_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "api.py"
    path.touch()
    os.utime(path, (0, 86400))
    (tmp_path / "cache.py").hardlink_to(path)
    found = look(path)
    assert found["links"] == 2
    assert found["changed"] == 86400.0


def test_a_symbolic_link_is_followed_and_its_end_is_told(tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "api.py"
    cached.parent.mkdir()
    cached.touch(mode=0o600)
    (tmp_path / "between.py").symlink_to("cache/api.py")
    (tmp_path / "api.py").symlink_to("between.py")
    found = look(tmp_path / "api.py")
    assert found["link"] == str(cached)
    assert found == {**look(cached), "link": str(cached)}


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "dangling.py").symlink_to("gone")
    assert _survey.file(str(tmp_path / "dangling.py")) is None
    assert _survey.file(str(tmp_path / "absent" / "api.py")) is None


@needs_root
def test_what_a_user_cannot_reach_is_none(public: Path) -> None:
    (public / "closed").mkdir(mode=0o700)
    (public / "closed" / "api.py").touch()
    path = str(public / "closed" / "api.py")
    assert sandbox.child(lambda: _survey.file(path), user=USER) is None
    assert sandbox.child(lambda: _survey.bytecode(path), user=USER) == []


# --- bytecode


@pytest.fixture
def api(public: Path) -> Path:
    path = public / "site" / "api.py"
    path.parent.mkdir()
    path.write_text("ANSWER = 42\n")
    return path


def compiled(path: Path, mode: str = "timestamp", level: int = 0) -> Path:
    return Path(py_compile.compile(str(path), doraise=True, optimize=level, invalidation_mode=MODES[mode]))


def told(path: Path) -> list[tuple[str, str, bool | None, bool]]:
    entries = _survey.bytecode(str(path))
    return [(Path(entry["path"]).name, entry["mode"], entry["fresh"], entry["ours"]) for entry in entries]


@pytest.mark.parametrize("mode", MODES)
def test_each_level_of_a_mode_is_told_and_fresh_until_the_source_changes(api: Path, mode: str) -> None:
    files = [compiled(api, mode, level) for level in LEVELS]
    assert _survey.bytecode(str(api)) == [
        {"path": str(path), "mode": mode, "fresh": True, "ours": True} for path in sorted(files)
    ]
    made = api.stat()
    api.write_text("ANSWER = 43\n")
    os.utime(api, ns=(made.st_atime_ns, made.st_mtime_ns))
    # As long, and as old: only a hash can tell, and an unchecked one is told although Python would not look.
    assert {entry[2] for entry in told(api)} == {mode == "timestamp"}


def test_a_touched_source_makes_timestamps_stale_and_leaves_hashes_fresh(api: Path) -> None:
    compiled(api, "timestamp", 0)
    compiled(api, "checked-hash", 1)
    compiled(api, "unchecked-hash", 2)
    later = api.stat().st_mtime + 2
    os.utime(api, (later, later))
    assert told(api) == [
        (f"api.{TAG}.opt-1.pyc", "checked-hash", True, True),
        (f"api.{TAG}.opt-2.pyc", "unchecked-hash", True, True),
        (f"api.{TAG}.pyc", "timestamp", False, True),
    ]


def test_a_source_of_another_size_makes_timestamps_stale(api: Path) -> None:
    compiled(api)
    made = api.stat()
    api.write_text("ANSWER = 42  # longer\n")
    os.utime(api, ns=(made.st_atime_ns, made.st_mtime_ns))
    assert told(api) == [(f"api.{TAG}.pyc", "timestamp", False, True)]


def test_only_the_whole_second_and_four_bytes_of_a_time_count(api: Path) -> None:
    os.utime(api, (0, 2**32 + 7.25))
    compiled(api)
    os.utime(api, (0, 2**32 + 7.75))
    assert told(api) == [(f"api.{TAG}.pyc", "timestamp", True, True)]


def test_another_interpreters_hash_is_not_judged_as_its_key_is_its_magic_number(
    api: Path, python: Callable[[str], Path]
) -> None:
    other = python("3.9")
    code = (
        "import py_compile, sys; mode = py_compile.PycInvalidationMode[sys.argv[2]]; "
        "py_compile.compile(sys.argv[1], invalidation_mode=mode)"
    )
    for mode, expected in (("TIMESTAMP", True), ("CHECKED_HASH", None), ("UNCHECKED_HASH", None)):
        subprocess.run([other, "-I", "-c", code, api, mode], check=True)
        name = mode.lower().replace("_", "-")
        assert told(api) == [("api.cpython-39.pyc", name, expected, False)]
    (entry,) = within(other, "_survey.bytecode(*arguments)", str(api))
    assert [entry["mode"], entry["fresh"], entry["ours"]] == ["unchecked-hash", True, True]


def test_a_hash_without_its_source_is_not_judged(api: Path) -> None:
    compiled(api, "checked-hash")
    api.unlink()
    assert told(api) == [(f"api.{TAG}.pyc", "checked-hash", None, True)]


def test_only_files_of_this_very_module_are_told(api: Path) -> None:
    for name in ("api_more", "ap", "test.api"):
        (api.parent / f"{name}.py").touch()
        py_compile.compile(str(api.parent / f"{name}.py"))
    (api.parent / "__pycache__" / f"api.{TAG}.pyc.140001").touch()  # what an interrupted import leaves
    assert told(api) == []
    compiled(api)
    assert [entry[0] for entry in told(api)] == [f"api.{TAG}.pyc"]
    assert _survey.bytecode(str(api.with_suffix(".txt"))) == []
    assert _survey.bytecode(str(api.parent / "elsewhere" / "api.py")) == []


def test_what_is_too_short_or_of_an_unknown_kind_is_unknown(api: Path) -> None:
    path = compiled(api)
    header = path.read_bytes()[:16]
    for text in (b"", header[:15], header[:4] + b"\xff" * 12):
        path.write_bytes(text)
        assert told(api) == [(path.name, "unknown", None, True)]
    path.unlink()
    path.mkdir()
    assert told(api) == [(path.name, "unknown", None, True)]


def test_a_pipe_in_the_place_of_bytecode_does_not_block(api: Path) -> None:
    path = compiled(api)
    path.unlink()
    os.mkfifo(path)
    assert told(api) == [(path.name, "unknown", None, True)]
    writer = os.open(path, os.O_RDWR)
    try:
        assert told(api) == [(path.name, "unknown", None, True)]
    finally:
        os.close(writer)


@needs_root
def test_unreadable_bytecode_and_sources_are_no_error(api: Path) -> None:
    path = compiled(api, "checked-hash", 0)
    compiled(api, "checked-hash", 1).chmod(0o600)
    expected = [(f"api.{TAG}.opt-1.pyc", "unknown", None, True), (path.name, "checked-hash", True, True)]
    assert sandbox.child(lambda: told(api), user=USER) == expected
    api.chmod(0o600)
    expected[1] = (path.name, "checked-hash", None, True)
    assert sandbox.child(lambda: told(api), user=USER) == expected
    path.parent.chmod(0o700)
    assert sandbox.child(lambda: told(api), user=USER) == []


# --- other copies


def copies(python: Path, name: str = "thing", path: Sequence[Path] = (), user: Path | None = None) -> Any:
    """Return the other copies that an interpreter tells of, with ``path`` in PYTHONPATH and a user's directory."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONUSERBASE": str(user or "/nonexistent"),
    }
    return within(
        python,
        "_survey.others(_environment.find(arguments[0]), arguments[1])",
        *(name, "thing"),
        env={name: value for name, value in environment.items() if value},
        cwd="/",
    )


def user_site(python: Path, base: Path) -> Path:
    code = "import site; print(site.getusersitepackages())"
    text = subprocess.check_output(
        [python, "-c", code], text=True, env={**os.environ, "PYTHONUSERBASE": str(base)}
    ).strip()
    Path(text).mkdir(parents=True)
    return Path(text)


def test_copies_later_on_the_path_are_told_in_order_with_their_own_versions(tmp_path: Path) -> None:
    """The first one is what is imported; that of the user's site-packages is called so."""
    interpreter = interpreters.usual()
    home = user_site(interpreter, tmp_path / "home")
    first, second = tmp_path / "first", tmp_path / "second"
    for site, version in ((first, "1.0"), (home, "2.0"), (second, "3.0")):
        engine.thing(site, version)
    assert copies(interpreter, path=[first, second, tmp_path / "absent"], user=tmp_path / "home") == [
        {"path": str(second / "thing"), "version": "3.0", "where": "sys.path"},
        {"path": str(home / "thing"), "version": "2.0", "where": "user site"},
    ]
    assert copies(interpreter, path=[second, first]) == [
        {"path": str(first / "thing"), "version": "1.0", "where": "sys.path"}
    ]
    assert copies(interpreter, path=[first]) == []


def test_a_user_site_that_a_pth_file_leads_on_from_is_still_the_users(tmp_path: Path) -> None:
    interpreter = interpreters.usual()
    home = user_site(interpreter, tmp_path / "home")
    (home / "more.pth").write_text("more\n")
    engine.thing(home / "more")
    engine.thing(tmp_path / "first")
    (copy,) = copies(interpreter, path=[tmp_path / "first"], user=tmp_path / "home")
    assert [copy["path"], copy["where"]] == [str(home / "more" / "thing"), "user site"]


def test_the_same_directory_by_another_name_is_no_copy(tmp_path: Path, interpreter: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    engine.thing(first)
    (tmp_path / "link").symlink_to(first)
    second.mkdir()
    (second / "thing").symlink_to(first / "thing")
    assert copies(interpreter, path=[first, tmp_path / "link", second]) == []
    engine.thing(tmp_path / "third")
    (tmp_path / "fourth").symlink_to("third")
    (copy,) = copies(interpreter, path=[first, tmp_path / "third", tmp_path / "fourth"])
    assert copy["path"] == str(tmp_path / "third" / "thing")


def test_a_copy_without_metadata_does_not_take_the_version_of_another_one(tmp_path: Path, interpreter: Path) -> None:
    engine.thing(tmp_path / "first", "1.0")
    engine.source(tmp_path / "second" / "thing")
    engine.source(tmp_path / "third" / "thing", __init__="__version__ = '3.5'\n")
    found = copies(interpreter, path=[tmp_path / name for name in ("first", "second", "third")])
    assert [copy["version"] for copy in found] == [None, "3.5"]


def test_a_copy_that_an_upgrade_left_broken_is_told_without_a_version(tmp_path: Path, interpreter: Path) -> None:
    engine.thing(tmp_path / "first", "1.0")
    engine.thing(tmp_path / "second", "1.0")
    engine.thing(tmp_path / "second", "2.0")
    (copy,) = copies(interpreter, path=[tmp_path / "first", tmp_path / "second"])
    assert copy == {"path": str(tmp_path / "second" / "thing"), "version": None, "where": "sys.path"}


def test_a_directory_without_init_shadows_nothing(tmp_path: Path, interpreter: Path) -> None:
    engine.thing(tmp_path / "first")
    (tmp_path / "second" / "thing").mkdir(parents=True)
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "thing.py").touch()
    assert copies(interpreter, path=[tmp_path / name for name in ("first", "second", "third")]) == []


def test_the_parts_of_a_namespace_package_are_no_copies_but_those_of_a_package_inside_are(
    tmp_path: Path, interpreter: Path
) -> None:
    path = [tmp_path / "first", tmp_path / "second"]
    for site in path:
        packages.write(site, {"space/thing/__init__.py": "__version__ = '1'\n"})
    assert copies(interpreter, "space", path) == []
    assert _survey.others(_environment.Package("space", (), regular=False), None) == [], "a broken one has no directory"
    (copy,) = copies(interpreter, "space.thing", path)
    assert copy["path"] == str(path[1] / "space" / "thing")


def test_a_package_in_a_directory_that_was_named_has_no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        engine.thing(tmp_path / name)
        monkeypatch.syspath_prepend(tmp_path / name)
    local, installed = (_environment.find("thing", path) for path in (str(tmp_path / "first"), None))
    assert local is not None
    assert installed is not None
    assert _survey.others(local, None) == []
    assert len(_survey.others(installed, None)) == 1


# --- distributions


def claims(site: Path, package: str = "thing", distribution: str | None = None) -> list[str]:
    """Return what details tell of a patch without any file, as where two distributions claim them."""
    patch = _patch.load(engine.definition(package=package, **{"distribution": distribution} if distribution else {}))
    told = _survey.details(_step.Step(patch, "conflict", "refuse", ""), str(site))
    assert told["others"] == []
    return told["distributions"]


def test_one_distribution_is_what_is_expected_and_two_tell_of_an_interrupted_upgrade(tmp_path: Path) -> None:
    engine.thing(tmp_path, "4.56.0")
    packages.install(tmp_path, "thing_more", "1.0", {})
    assert claims(tmp_path) == ["thing 4.56.0"]
    engine.thing(tmp_path, "4.57.6")
    assert claims(tmp_path) == ["thing 4.56.0", "thing 4.57.6"]


def test_a_distribution_counts_under_any_spelling_of_its_name(tmp_path: Path) -> None:
    """PEP 503; a directory without METADATA, as an interrupted removal leaves it, counts by its own name."""
    packages.install(tmp_path, "Big_Thing", "2.0", {"thing/api.py": ""})
    (tmp_path / "big.thing-1.0.dist-info").mkdir()
    assert claims(tmp_path, distribution="big-thing") == ["Big_Thing 2.0", "big.thing 1.0"]
    assert claims(tmp_path) == []


def test_a_package_inside_of_another_belongs_to_the_distribution_of_the_outer_one(tmp_path: Path) -> None:
    packages.install(tmp_path, "thing", "1.0", {"thing/__init__.py": "", "thing/inner/api.py": ""})
    packages.install(tmp_path, "inner", "9.0", {})
    assert claims(tmp_path, "thing.inner") == ["thing 1.0"]
    assert claims(engine.source(tmp_path / "checkout" / "thing").parent) == []


# --- processes

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
        found: dict[str, Any] = within(python, "_survey.processes(*arguments)", changed, str(self.proc), **options)
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
    changed = {"later": look(replaced)["changed"], "long ago": time.time() - HOUR}
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
    text = subprocess.check_output(command, text=True, env={"PYTHONPATH": str(PLUGINS)})
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
    threads = [path.parent for path in Path("/proc").glob("[0-9]*/stat") if "kthreadd" in path.read_text()]
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
    shutil.copytree(PLUGINS / "module_utils", environments.site_packages(environment) / "module_utils")
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


# --- of the files of a patch


def found(*paths: Path, revision: int | None = 1) -> _step.Step:
    """Return the step of a patch that was found in files; those that are not there were deleted by it."""
    looks = []
    for path in paths:
        text = _edits.Text(path.read_bytes()) if path.exists() else _edits.ABSENT
        looks.append(_evidence.Look(_environment.Place(str(path), str(path.parent), path.name), text, None))
    return _step.Step(_patch.load(engine.PATCH), "applied", "none", "", "1.5", tuple(looks), revision)


def test_a_patch_came_when_the_last_of_its_files_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_survey, "processes", lambda changed: changed)
    paths = [tmp_path / name for name in ("a.py", "b.py", "c.py")]
    for path, when in zip(paths, (1000, 3000, 2000), strict=True):
        path.touch()
        path.with_suffix(".link").hardlink_to(path)  # (with a second link it is the mtime that counts)
        os.utime(path, (when, when))
    assert _survey.old_processes([found(*paths, tmp_path / "deleted.py")]) == {"thing_names": 3000}
    assert _survey.old_processes([found(*paths, revision=None)]) == {}
    assert _survey.old_processes([found(tmp_path / "deleted.py"), found()]) == {}


def test_the_copy_is_that_of_the_first_file_and_each_file_has_its_details(api: Path, tmp_path: Path) -> None:
    (tmp_path / "api.py").touch()
    assert _survey.copy_id(found()) is None
    assert _survey.copy_id(found(api, tmp_path / "api.py")) == _storage.copy_id(str(api.parent))
    compiled(api)
    details = _survey.file_details(str(api))
    assert details == {"file": look(api), "bytecode": _survey.bytecode(str(api))}
    assert len(details["bytecode"]) == 1
    assert _survey.file_details(str(tmp_path / "gone.py")) == {"file": None, "bytecode": []}


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
    before = snapshot.take(environment, PLUGINS)
    found = within(interpreter, expression, str(api), str(site), {"patch": time.time() + 1}, str(running.proc))
    assert snapshot.take(environment, PLUGINS) == before
    assert found[0]["links"] == 1
    assert [entry["fresh"] for entry in found[1]] == [True]
    assert [copy["version"] for copy in found[2]] == ["2.0"]
    assert found[3] == ["thing 1.5"]
    assert len(found[4]["candidates"]) == 1
