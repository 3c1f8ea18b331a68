# The child: which interpreter the engine runs under, what cannot disturb it, and one clear error for what is none.
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, interpreters, packages, snapshot
from module_utils import _child, _engine, _processes
from module_utils._errors import NoEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable

    Venv = Callable[..., Path]

NONE = "expected a Python interpreter of version 3.8 or newer, found"


def script(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
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
    plugins = Path(_child.__file__).parents[1]
    command = ["-B", "-c", code, str(plugins), str(python), str(system_python)]
    assert subprocess.check_output([system_python, *command], text=True).split() == ["False", "True"]
    assert subprocess.check_output([python, *command], text=True).split() == ["True", "False"]
    assert children == []


def test_name_is_looked_up_on_path(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment / "bin" / "python-of-this-test").symlink_to("python")
    monkeypatch.setenv("PATH", str(environment / "bin"), prepend=os.pathsep)
    assert prefix("python-of-this-test") == str(environment)


def test_tilde_is_the_home_directory(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(environment.parent))
    assert prefix(f"~/{environment.name}/bin/python") == str(environment)


def test_relative_path_of_an_interpreter(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(environment)
    assert prefix("bin/python") == str(environment)


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
    result = engine.ask("check", interpreter, definitions=[engine.PATCH], imports=["thing.api:Thing"])
    assert not result.get("failed"), result["msg"]


def test_modules_in_the_working_directory_are_not_imported(
    interpreter: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.thing(site)
    shadows = ("json", "ast", "csv", "importlib", "site", "thing")
    packages.write(tmp_path / "here", {f"{name}.py": "raise RuntimeError('imported')\n" for name in shadows})
    monkeypatch.chdir(tmp_path / "here")
    result = engine.ask("check", interpreter, definitions=[engine.PATCH], imports=["thing.api:Thing"])
    assert not result.get("failed"), result["msg"]


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
    result = engine.ask("check", interpreter, definitions=[engine.PATCH], imports=["thing.api:Thing"])
    assert not result.get("failed"), result["msg"]


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
    plugins = Path(_engine.__file__).parents[1]
    before = snapshot.take(environment), sorted(plugins.rglob("*.pyc"))
    engine.ask("info", interpreter, definitions=[engine.PATCH])
    engine.ask("check", interpreter, definitions=[engine.PATCH], imports=["thing.api:Thing"])
    engine.ask("patch", interpreter, definitions=[engine.PATCH], imports=["thing.api:Thing"], check_mode=True)
    assert before == (snapshot.take(environment), sorted(plugins.rglob("*.pyc")))


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


def test_interpreter_that_does_not_exist(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == f"python {tmp_path / 'none'}: {NONE} nothing"
    assert refused("python-of-nobody") == f"python python-of-nobody: {NONE} nothing"


def test_interpreter_that_is_a_directory(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"python {tmp_path}: {NONE} a directory"


def test_interpreter_that_is_not_executable(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\n")
    assert refused(tmp_path / "python") == f"python {tmp_path / 'python'}: {NONE} no executable file"
    (tmp_path / "dangling").symlink_to("gone")
    assert refused(tmp_path / "dangling") == f"python {tmp_path / 'dangling'}: {NONE} no executable file"


def test_executable_of_no_known_format(tmp_path: Path) -> None:
    (tmp_path / "python").write_bytes(b"\x00\x01\x02")
    (tmp_path / "python").chmod(0o755)
    assert refused(tmp_path / "python") == (
        f"python {tmp_path / 'python'}: {NONE} it cannot be started: Exec format error"
    )


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["true"], "no answer (exit status 0): no Python, or one that is broken"),
        (["cat"], "no answer (exit status 0: "),
        (["exit 9"], "no answer (exit status 9): no Python"),
        (["""echo '{"changed": true, "patches": []}'"""], "no answer (exit status 0: {"),
        (["kill -SEGV $$"], "no answer (signal 11 (Segmentation fault)): no Python"),
        (
            ["echo libpython3.99.so: not found >&2", "exit 127"],
            "no answer (exit status 127: libpython3.99.so: not found)",
        ),
    ],
)
def test_programs_that_are_no_python(tmp_path: Path, lines: list[str], found: str) -> None:
    program = script(tmp_path / "python", *lines)
    assert refused(program).startswith(f"python {program}: {NONE} {found}")


def test_an_answer_that_is_not_ours(tmp_path: Path) -> None:
    program = script(tmp_path / "python")
    program.write_text(f"#!{sys.executable}\nimport os, sys\nos.write(int(sys.argv[-1].split(':')[0]), b'[7]')\n")
    assert refused(program) == f"python {program}: {NONE} an answer that is not ours"


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


def test_path_without_the_package(interpreter: Path, tmp_path: Path) -> None:
    result = engine.ask("patch", interpreter, name=["transformers_modeling_utils"], path=tmp_path)
    assert result["failed"]
    assert f"missing: package transformers: expected it in {tmp_path}, found none" in result["msg"]


def test_ten_patches_on_ten_files_are_one_start_of_the_interpreter(tmp_path: Path, venv: Callable[[str], Path]) -> None:
    environment = venv()
    starts = tmp_path / "starts"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho start >> {starts}\nexec {environment}/bin/python "$@"\n')
    python.chmod(0o755)
    (site,) = environment.glob("lib/python3*/site-packages")
    files = {f"pkg/m{number}.py": "LIMIT = 10\n" for number in range(10)}
    packages.install(site, "pkg", "1.0", {"pkg/__init__.py": "", **files})
    definitions = [
        {
            **dict(name=f"p{number}", package="pkg", versions=">=1", file=f"m{number}.py"),
            **dict(reason="A test.", upstream="none", retire="Never."),
            "edits": [{"replace": {"before": "LIMIT = 10", "after": "LIMIT = 20"}}],
        }
        for number in range(10)
    ]
    request = {"operation": "patch", "definitions": definitions, "path": None, "timeout": 60}
    done = _child.call(str(python), request)
    assert [patch["action"] for patch in done["patches"]] == ["apply"] * 10
    assert starts.read_text() == "start\n"
