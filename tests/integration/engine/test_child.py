# The child: which interpreter the engine runs under, what cannot disturb it, and one clear error for what is none.
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import engine, environments, interpreters, packages, snapshot
from module_utils import _processes
from module_utils._errors import NoEnvironment

Venv = Callable[..., Path]
NONE = "expected a Python interpreter of version 3.8 or newer, found"


def script(path: Path, *lines: str, by: str = "/bin/sh") -> Path:
    path.write_text("\n".join([f"#!{by}", *lines, ""]))
    path.chmod(0o755)
    return path


def prefix(python: Path | str | None) -> str:
    result = engine.ask("info", python, definitions=[engine.PATCH])
    assert not result.get("failed"), result["msg"]
    return result["environment"]["prefix"]


def refused(python: Path | str, **parameters: Any) -> str:
    with pytest.raises(NoEnvironment) as caught:
        engine.ask("info", python, definitions=[engine.PATCH], **parameters)
    return str(caught.value)


# --- which interpreter


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_the_environments_own_interpreter_answers(venv: Venv, version: str) -> None:
    environment = venv(version)
    result = engine.ask("info", environments.python_of(environment), definitions=[engine.PATCH])
    assert result["environment"]["python_version"].rpartition(".")[0] == version
    assert result["environment"]["prefix"] == str(environment)
    assert result["environment"]["python"] == str(environments.python_of(environment))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands of the children that are started."""
    started: list[list[str]] = []
    run = _processes.run

    def counted(command: list[str], *arguments: Any, **keywords: Any) -> Any:
        started.append(command)
        return run(command, *arguments, **keywords)

    monkeypatch.setattr(_processes, "run", counted)
    return started


def test_in_process_only_where_it_is_this_very_environment(
    children: list[list[str]], tmp_path: Path, environment: Path
) -> None:
    assert prefix(None) == prefix(sys.executable) == sys.prefix
    assert children == []
    assert prefix(environments.python_of(environment)) == str(environment)
    assert len(children) == 1
    (tmp_path / "link").symlink_to(sys.prefix)
    assert prefix(tmp_path / "link" / "bin" / Path(sys.executable).name) == sys.prefix
    assert len(children) == 1


def test_a_venv_whose_python_links_to_this_one_is_another_environment(
    children: list[list[str]], tmp_path: Path, system_python: Path
) -> None:
    """Asked by the interpreter that the venv was made from: the real path of both is the same."""
    environment = tmp_path / "venv"
    subprocess.run([system_python, "-I", "-m", "venv", "--without-pip", environment], check=True)
    python = environments.python_of(environment)
    assert python.resolve() == system_python.resolve()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from module_utils import _interpreter; "
        "print(_interpreter.is_this(sys.argv[2]), _interpreter.is_this(sys.argv[3]))"
    )
    command = ["-B", "-c", code, str(engine.PLUGINS), str(python), str(system_python)]
    assert subprocess.check_output([system_python, *command], text=True).split() == ["False", "True"]
    assert subprocess.check_output([python, *command], text=True).split() == ["True", "False"]
    assert children == []


@pytest.mark.parametrize("spelling", ["python-of-this-test", "~/{name}/bin/python", "bin/python"])
def test_an_interpreter_may_be_named_as_a_shell_does(
    environment: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    """By a name that is looked up in PATH, from the home directory, or from the working directory."""
    (environment / "bin" / "python-of-this-test").symlink_to("python")
    monkeypatch.setenv("PATH", str(environment / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(environment.parent))
    monkeypatch.chdir(environment)
    assert prefix(spelling.format(name=environment.name)) == str(environment)


def test_a_wrapper_script_around_an_interpreter(environment: Path, interpreter: Path, tmp_path: Path) -> None:
    wrapper = script(tmp_path / "wrapper", "echo loading modules", "export SITE=cluster", f'exec {interpreter} "$@"')
    assert prefix(wrapper) == str(environment)


# --- what cannot disturb the answer


@pytest.mark.parametrize(
    "how",
    [
        "import os\nos.write(1, b'{}\\n' * 99)\nos.write(2, b'old 2.7')\nprint('{\"a\": 1}')\n",
        "import sys\nprint('noise', file=sys.stderr)\nprint('{}')\n",
        "import atexit\natexit.register(print, '{}')\n",
    ],
)
def test_noise_at_start_or_end_does_not_spoil_the_answer(
    interpreter: Path, site: Path, environment: Path, how: str
) -> None:
    packages.at_start(site, how)
    assert prefix(interpreter) == str(environment)


def test_nothing_of_ours_or_of_ansible_is_importable_in_the_environment(interpreter: Path) -> None:
    for package in ("ansible", "ansible_collections", "module_utils", "modules"):
        definition = engine.definition(package=package, file="__init__.py")
        assert engine.look(interpreter, definitions=[definition])["state"] == "missing"


def test_modules_of_the_environment_named_like_ours_do_not_shadow_them(interpreter: Path, site: Path) -> None:
    engine.thing(site)
    raises = "raise RuntimeError('imported')\n"
    packages.write(
        site,
        {
            **{f"{name}/__init__.py": raises for name in ("module_utils", "ansible_collections", "ansible", "_engine")},
            **{f"{name}.py": raises for name in ("json", "ast", "_plan", "_imports", "engine", "platform")},
        },
    )
    engine.preview(interpreter)


def test_modules_in_the_working_directory_are_not_imported(
    interpreter: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.thing(site)
    shadows = ("json", "ast", "csv", "importlib", "site", "thing")
    packages.write(tmp_path / "here", {f"{name}.py": "raise RuntimeError('imported')\n" for name in shadows})
    monkeypatch.chdir(tmp_path / "here")
    engine.preview(interpreter)


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONPATH": "::/does/not/exist:relative:"},
        {"PYTHONSTARTUP": "/does/not/exist"},
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONINSPECT": "1"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONUNBUFFERED": "1", "PYTHONVERBOSE": "1"},
        {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONWARNINGS": "error"},
        {"PYTHONDEVMODE": "1"},
        {"PYTHONPYCACHEPREFIX": "/does/not/exist"},
        {"PYTHONNOUSERSITE": "1", "HOME": "/does/not/exist"},
        {"TERM": "", "COLUMNS": "x"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_odd_environment_variables(
    interpreter: Path, site: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.thing(site)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    engine.preview(interpreter)


def test_names_that_are_not_ascii(venv: Venv, tmp_path: Path) -> None:
    for version in ("3.8", "3.11"):
        directory = engine.thing(tmp_path / "Ünï-ç✓")
        patch = engine.look(environments.python_of(venv(version)), path=tmp_path / "Ünï-ç✓")
        assert (patch["state"], patch["files"][0]["path"]) == ("pending", str(directory / "api.py"))


def test_the_childs_working_directory_is_no_place_for_packages(interpreter: Path) -> None:
    """The working directory is `/`: were it on sys.path, every directory there would be a namespace package."""
    patch = engine.look(interpreter, definitions=[engine.definition(package="usr")])
    assert patch["message"] == "package usr: expected it in this environment, found none"


def test_nothing_is_written_and_no_bytecode_left(
    interpreter: Path, site: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    engine.thing(site)
    before = snapshot.take(environment), sorted(engine.PLUGINS.rglob("*.pyc"))
    engine.ask("info", interpreter, definitions=[engine.PATCH])
    engine.ask("check", interpreter, definitions=[engine.PATCH], imports=["thing.api:Thing"])
    engine.ask("patch", interpreter, definitions=[engine.PATCH], imports=["thing.api:Thing"], check_mode=True)
    assert before == (snapshot.take(environment), sorted(engine.PLUGINS.rglob("*.pyc")))


def test_big_requests(interpreter: Path, site: Path) -> None:
    engine.thing(site)
    many = [engine.definition(name=f"thing_{number}", reason="x" * 100_000) for number in range(30)]
    result = engine.ask("info", interpreter, definitions=many)
    assert len(result["patches"]) == 30


def test_a_daemon_that_a_pth_file_starts_does_not_hold_the_answer(interpreter: Path, site: Path) -> None:
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(8)\n    os._exit(0)\n"
    packages.at_start(site, daemon)
    start = time.monotonic()
    assert prefix(interpreter)
    assert time.monotonic() - start < 6


def test_an_environment_that_closes_the_descriptor_gets_no_answer_into_its_file(
    interpreter: Path, site: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"untouched")
    text = f"import os\nos.closerange(3, 65536)\nfiles = [open({str(file)!r}, 'r+b', 0) for _ in range(99)]\n"
    packages.at_start(site, text)
    assert refused(interpreter).startswith(
        f"python {interpreter}: {NONE} no answer (exit status 1: what it runs when it starts (sitecustomize, a .pth "
        "file) closes the descriptor that it is to answer on)"
    )
    assert file.read_bytes() == b"untouched"


def test_a_call_that_finds_nothing_to_do_loads_only_what_planning_needs(
    interpreter: Path, site: Path, tmp_path: Path
) -> None:
    """Every node pays for it every time: of what Ansible sends, all that is imported is compiled anew."""
    engine.thing(site)
    assert engine.ask("patch", interpreter, definitions=[engine.PATCH])["changed"]
    note = f"open({str(tmp_path / 'loaded')!r}, 'w').write(' '.join(sys.modules))"
    # (it ends without atexit)
    packages.at_start(site, f"import os, sys\nend = os._exit\nos._exit = lambda status: ({note}, end(status))\n")
    assert not engine.ask("patch", interpreter, definitions=[engine.PATCH], diff=True)["changed"]
    loaded = (tmp_path / "loaded").read_text().split()
    own = {name.rpartition(".")[2] for name in loaded if name.startswith("_primus_patches_engine.")}
    assert {"_engine", "_patching", "_plan", "_evidence"} <= own
    assert not own & {"_catalogue", "_child", "_commit", "_importer", "_imports", "_locks", "_looking", "_processes"}
    assert not own & {"_diff", "_unified", "_whole"}
    assert not set(loaded) & {"difflib", "importlib.metadata", "inspect", "platform", "subprocess", "tempfile"}


# --- what is no interpreter


NO_INTERPRETERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda _path: None, "nothing"),
    "a directory": (Path.mkdir, "a directory"),
    "not executable": (lambda path: path.write_text("#!/bin/sh\n"), "no executable file"),
    "a link to nothing": (lambda path: path.symlink_to("gone"), "no executable file"),
    "no known format": (lambda path: path.write_bytes(b"\0\1\2"), "it cannot be started: Exec format error"),
    "silent": (lambda path: script(path, "true"), "no answer (exit status 0): no Python, or one that is broken"),
    "an echo": (lambda path: script(path, "cat"), "no answer (exit status 0: "),
    "a failure": (lambda path: script(path, "exit 9"), "no answer (exit status 9): no Python"),
    "an answer as output": (
        lambda path: script(path, """echo '{"changed": true, "patches": []}'"""),
        "no answer (exit status 0: {",
    ),
    "a crash": (
        lambda path: script(path, "kill -SEGV $$"),
        "no answer (signal 11 (Segmentation fault)): no Python",
    ),
    "a library that is gone": (
        lambda path: script(path, "echo libpython3.99.so: not found >&2", "exit 127"),
        "no answer (exit status 127: libpython3.99.so: not found)",
    ),
    "another's answer": (
        lambda path: script(
            path, "import os, sys", "os.write(int(sys.argv[-1].split(':')[0]), b'[7]')", by=sys.executable
        ),
        "an answer that is not ours",
    ),
}


@pytest.mark.parametrize("what", NO_INTERPRETERS)
def test_what_is_no_interpreter_is_one_error_that_says_what_was_found(tmp_path: Path, what: str) -> None:
    make, found = NO_INTERPRETERS[what]
    make(tmp_path / "python")
    if what == "no known format":
        (tmp_path / "python").chmod(0o755)
    assert refused(tmp_path / "python").startswith(f"python {tmp_path / 'python'}: {NONE} {found}")


def test_a_name_that_is_nowhere_on_path_is_told_as_it_was_given() -> None:
    assert refused("python-of-nobody") == f"python python-of-nobody: {NONE} nothing"


@pytest.mark.parametrize("program", ["true", "cat", "sh", "false"])
def test_real_programs_that_are_no_python(program: str) -> None:
    path = shutil.which(program)
    assert path
    assert f"python {path}: {NONE} no answer (exit status " in refused(path)


def test_interpreter_that_hangs(tmp_path: Path) -> None:
    program = script(tmp_path / "python", "sleep 100")
    start = time.monotonic()
    assert refused(program, timeout=0.2) == f"python {program}: {NONE} it did not answer within 5.2 s"
    assert time.monotonic() - start < 8


def test_interpreter_that_crashes_when_it_starts(interpreter: Path, site: Path) -> None:
    packages.at_start(site, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert "no answer (signal 11 (Segmentation fault)" in refused(interpreter)


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_a_python_that_is_too_old_says_so(version: str) -> None:
    """Where pyenv has one here: no such version is got only for this."""
    found = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} of pyenv's here")
    old = found[-1]
    assert refused(old).startswith(f"python {old}: {NONE} it is Python {version}.")


# --- a wrong path or import, as every operation says it


@pytest.mark.parametrize(
    "name", ["", "a b", "a..b", "a:", ":b", "a:b:c", "a.b,c", "a:b, c", "1a", "a-b", "os; x", "a:b\n"]
)
def test_an_import_string_that_is_no_import(interpreter: Path, site: Path, name: str) -> None:
    engine.thing(site)
    for operation in ("check", "patch"):
        result = engine.ask(operation, interpreter, definitions=[engine.PATCH], imports=["thing", name])
        assert result["failed"]
        assert result["msg"] == f"import {name!r}: expected package.module or package.module:name,name"
    assert engine.BLOCK not in (site / "thing" / "api.py").read_bytes()


def test_ten_patches_on_ten_files_are_one_start_of_the_interpreter(
    tmp_path: Path, interpreter: Path, site: Path
) -> None:
    python = script(tmp_path / "python", f"echo start >> {tmp_path}/starts", f'exec {interpreter} "$@"')
    packages.install(
        site, "thing", "1.5", {"thing/__init__.py": "", **{f"thing/m{n}.py": "N = 10\n" for n in range(10)}}
    )
    edits = [{"replace": {"before": "N = 10", "after": "N = 20"}}]
    definitions = [engine.definition(name=f"p{n}", file=f"m{n}.py", edits=edits) for n in range(10)]
    done = engine.ask("patch", python, definitions=definitions)
    assert [patch["action"] for patch in done["patches"]] == ["apply"] * 10
    assert (tmp_path / "starts").read_text() == "start\n"
