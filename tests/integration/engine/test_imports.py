# Import checks: what they say of each way to fail, what they leave behind, and previews served from memory.
from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import py_compile
import subprocess
import sys
import tempfile
import time
from importlib import machinery
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import engine, environments, interpreters, packages, snapshot, wheels
from lab.run import run
from lab.sandbox import needs_root
from module_utils import _importer, _imports

if TYPE_CHECKING:
    from collections.abc import Callable

    Venv = Callable[..., Path]

TOKEN = "s3cret-t0ken"  # noqa: S105


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a directory that comes first on sys.path."""
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory in which private caches are made: what is left there was left behind."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


def prove(
    here: Path, *imports: str, timeout: float = 30.0, previews: dict[str, bytes] | None = None, **environment: str
) -> list[dict[str, Any]]:
    """Try imports with this interpreter."""
    results = _imports.prove(imports, previews or {}, [str(here)], timeout, environment)
    return [{key: done[key] for key in done if key != "same"} for done in results]


def module(here: Path, text: str, name: str = "mod") -> None:
    packages.write(here, {f"{name}.py": text})


def one(here: Path, text: str, **options: Any) -> dict[str, Any]:
    """Try the import of a module with this text, and of a sound one after it."""
    module(here, text)
    module(here, "", "after")
    first, after = prove(here, "mod", "after", **options)
    assert after["ok"], after
    return first


# --- how an import may end


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_a_good_import_under_each_python(venv: Venv, version: str) -> None:
    environment = venv(version)
    engine.thing(environments.site_packages(environment), __init__="__version__ = '1.5'\n")
    result = engine.ask("check", environments.python_of(environment), imports=["thing", "thing.core:Thing,Thing.mro"])
    assert [(done["name"], done["ok"], done["version"], done["proof"]) for done in result["imports"]] == [
        ("thing", True, "1.5", "none"),
        ("thing.core:Thing,Thing.mro", True, "1.5", "none"),
    ]
    assert all(set(done) == KEYS for done in result["imports"])
    assert result["msg"] == "thing, thing.core:Thing,Thing.mro can be imported"


KEYS = {"name", "ok", "proof", "blame", "seconds", "version", "cause", "error", "traceback"}


@pytest.mark.parametrize(
    ("text", "cause", "error"),
    [
        ("import not_there", "dependency", "needs the module not_there, which is not installed: ModuleNotFoundError: "),
        ("import os.not_there", "dependency", "needs the module os.not_there, which is not installed"),
        ("from os import not_there", "name", "ImportError: cannot import name 'not_there' from 'os'"),
        ("import mod.inner", "dependency", "needs the module mod.inner, which is not installed"),
        ("1 / 0", "exception", "ZeroDivisionError: division by zero"),
        ("def", "exception", "SyntaxError: "),
        ("raise ImportError('libx.so: cannot open shared object file')", "exception", "ImportError: libx.so"),
        ("raise ImportError", "exception", "ImportError:"),
        ("raise KeyboardInterrupt", "crash", "the import ended the interpreter: KeyboardInterrupt"),
        ("import sys; sys.exit('no GPU')", "crash", "the import ended the interpreter: SystemExit: no GPU"),
        ("import os; os._exit(7)", "crash", "the interpreter died: exit status 7"),
        ("import os; os._exit(0)", "crash", "the interpreter died: exit status 0"),
        ("import os; os.abort()", "crash", "the interpreter died: signal 6 (Aborted)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crash", "signal 11 (Segmentation fault)"),
        ("import ctypes; ctypes.string_at(0)", "crash", "signal 11 (Segmentation fault)"),
        ("import os, signal; os.killpg(0, signal.SIGKILL)", "crash", "signal 9 (Killed)"),
    ],
)
def test_each_cause_is_told_from_the_others(here: Path, text: str, cause: str, error: str) -> None:
    result = one(here, text)
    assert (result["ok"], result["cause"], set(result)) == (False, cause, KEYS)
    assert error in result["error"]
    assert result["version"] is None


def test_name_that_is_not_there(here: Path) -> None:
    module(here, "class A:\n  b = 1\n")
    results = prove(here, "mod:A,B,A.c,A.b", "not_there", "not_there.inner", "mod.inner", "mod:A")
    assert [(result["cause"], result["error"]) for result in results] == [
        ("name", f"expected B, A.c in mod, found none ({here / 'mod.py'})"),
        ("name", "module not_there not found"),
        ("name", "module not_there not found"),
        ("name", "module mod.inner not found"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("text", "cause", "error"),
    [
        # The wrapping of Transformers' lazy modules, and of packages that explain how to install what they need.
        (
            "try: import gone\nexcept ImportError as e: raise RuntimeError('Failed to\\nimport') from e",
            "dependency",
            "gone",
        ),
        ("try: import gone\nexcept ImportError: raise ImportError('pip install gone')", "dependency", "gone"),
        # Not these: what was optional is not why the import failed.
        ("try: import gone\nexcept ImportError: 1 / 0", "exception", "ZeroDivisionError: division by zero"),
        ("try: import gone\nexcept ImportError: raise SystemExit('no')", "crash", "SystemExit: no"),
        ("try: import gone\nexcept ImportError: raise ImportError('else') from None", "exception", "ImportError: else"),
    ],
)
def test_the_cause_behind_the_error(here: Path, text: str, cause: str, error: str) -> None:
    result = one(here, text)
    assert result["cause"] == cause
    assert error in result["error"]


def test_error_is_one_line_and_the_traceback_ends_with_it(here: Path) -> None:
    result = one(here, "def inner():\n  raise ValueError('first\\n\\n  second ' + 'x' * 9000)\ninner()\n")
    assert result["error"].startswith("ValueError: first second xxx")
    assert len(result["error"]) <= 4000
    assert len(result["traceback"]) <= 4000
    result = one(here, "def inner():\n  raise ValueError('short')\ninner()\n")
    assert result["traceback"].rstrip().endswith("ValueError: short")
    assert "line 2, in inner" in result["traceback"]


@pytest.mark.parametrize(
    "text",
    [
        "class Broken(Exception):\n  def __str__(self): raise RuntimeError\nraise Broken",
        "raise Exception('\\udcff \\x00 \\u2713')",
        "raise Exception(b'\\xff')",
        "e = ValueError('a'); e.__cause__ = e; raise e",
        "import sys; sys.stdout.close(); sys.stderr.close(); raise Exception",
        "class E(BaseException): pass\nraise E",
    ],
)
def test_odd_errors_are_still_exceptions(here: Path, text: str) -> None:
    result = one(here, text)
    assert result["cause"] == "exception"
    assert str(result).encode()
    assert "".join((result["error"], result["traceback"])).encode()


@pytest.mark.parametrize("value", ["1.5", None, (1, 5), "raise"])
def test_a_version_that_cannot_be_had_does_not_fail_the_import(here: Path, value: Any) -> None:
    text = "def __getattr__(name): raise RuntimeError(name)\n" if value == "raise" else f"__version__ = {value!r}\n"
    result = one(here, text)
    assert (result["ok"], result["version"]) == (True, "1.5" if value == "1.5" else None)


def test_results_before_a_crash_are_kept_and_imports_after_it_are_tried(here: Path) -> None:
    module(here, "__version__ = '1'", "good")
    module(here, "import os; os._exit(3)", "bad")
    results = prove(here, "good", "bad", "bad", "good", "not_there")
    assert [(done["name"], done["ok"], done["cause"]) for done in results] == [
        ("good", True, None),
        ("bad", False, "crash"),
        ("bad", False, "crash"),
        ("good", True, None),
        ("not_there", False, "name"),
    ]


# --- time


def test_time_limit_says_where_the_import_hung_and_leaves_the_rest_untried(here: Path) -> None:
    module(here, "import time\ndef wait_for_lock():\n  time.sleep(100)\nwait_for_lock()\n", "level_0")
    for level in range(1, 40):  # (a real import hangs as deep; the innermost call must not be cut off)
        module(here, f"import level_{level - 1}\n", f"level_{level}")
    module(here, "", "good")
    start = time.monotonic()
    results = prove(here, "good", "level_39", "good", timeout=1.5)
    assert time.monotonic() - start < 6
    assert [done["cause"] for done in results] == [None, "timeout", "not_tried"]
    assert results[1]["error"] == "did not end within the time limit of 1.5 s"
    assert 1.0 < results[1]["seconds"] < 3.5
    assert f'File "{here / "level_0.py"}", line 3 in wait_for_lock' in results[1]["traceback"]
    assert results[2]["error"] == "not tried: the time limit of 1.5 s was used up before"
    assert results[2]["seconds"] == 0


def test_place_of_a_hang_is_the_thread_that_imports(here: Path) -> None:
    text = (
        "import threading, time\ndef idle():\n  time.sleep(100)\ndef hang():\n  time.sleep(100)\n"
        "for _ in range(40): threading.Thread(target=idle).start()\nhang()\n"
    )
    module(here, text)
    (result,) = prove(here, "mod", timeout=1.0)
    assert "in hang" in result["traceback"]


@pytest.mark.parametrize(
    "text",
    [
        "import signal, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(100)",
        "import faulthandler, time\nfaulthandler.cancel_dump_traceback_later()\ntime.sleep(100)",
        "while True: pass",
        "import re; re.match('(a*)*b', 'a' * 60)",
    ],
)
def test_nothing_holds_out_against_the_time_limit(here: Path, text: str) -> None:
    module(here, text)
    start = time.monotonic()
    (result,) = prove(here, "mod", timeout=1.0)
    assert result["cause"] == "timeout"
    assert time.monotonic() - start < 6


def test_time_limit_ends_programs_that_the_import_started(here: Path, tmp_path: Path) -> None:
    module(
        here,
        "import pathlib, subprocess\np = subprocess.Popen(['sleep', '100'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(p.pid))\np.wait()\n",
    )
    prove(here, "mod", timeout=1.0)
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    time.sleep(0.2)
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_an_import_ends_soon_after_who_asked_for_it_was_killed(
    here: Path, interpreter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ansible may be killed on a node (its SSH session ends); engine and import are in sessions of their own."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    file = tmp_path / "processes"
    note = f"open({str(file)!r}, 'w').write('%d %d\\n' % (os.getpid(), os.getppid()))"
    module(here, f"import os, time\n{note}\nos.closerange(3, 99)\ntime.sleep(100)\n")
    request = {"operation": "check", "imports": ["mod", "mod"], "path": str(here), "timeout": 60.0}
    code = f"from module_utils import _child; _child.call({str(interpreter)!r}, {request!r})"
    with subprocess.Popen([sys.executable, "-B", "-c", code], cwd=engine.PLUGINS) as asking:
        until(lambda: file.exists() and file.read_text().endswith("\n"))
        assert os.listdir(tmp_path / "temporary"), "the private caches"
        asking.kill()
    until(lambda: not any(map(alive, file.read_text().split())))
    assert os.listdir(tmp_path / "temporary") == []


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: str) -> bool:
    """Return whether a process still does something (an unreaped one does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- what libraries do when they are imported


@pytest.mark.parametrize(
    "text",
    [
        "import os\nprint('{\"ok\": false}')\nos.write(1, b'}\\n{}\\n' * 9999)\nos.write(2, b'\\xff\\x00{}\\n')",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(100,)).start()",
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  os.fork() and os._exit(0)\n  time.sleep(8)\n  1 / 0",
        "import os\nif os.fork() == 0: raise SystemExit",
        "import os\nos.fork()",
        "import os, sys\nassert sys.stdin.read() == ''\nassert os.pread(0, 9, 0) == b''\nsys.stdin.close()",
        "import os\nos.close(0); os.close(1); os.close(2)",
        "import os, sys\nos.chdir('/tmp')\nsys.argv[:] = []\nsys.path.append('')\nos.environ.clear()",
        "import os, sys\nassert os.getcwd() == '/'\nassert '' not in sys.path\nassert sys.argv == ['-c']",
        "import atexit, os\natexit.register(os._exit, 9)",
        "import signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nsys.setrecursionlimit(200)",
        "import logging\nlogging.basicConfig(level=0)\nimport warnings\nwarnings.simplefilter('error')",
        "import multiprocessing as m\np = m.get_context('fork').Process(target=print)\np.start()\np.join()",
        "import sys\nsys.exit = None\nsys.stdout = sys.stderr = None",
        "import faulthandler\nfaulthandler.disable()",
    ],
)
def test_what_an_import_does_besides_does_not_spoil_the_result(here: Path, text: str) -> None:
    start = time.monotonic()
    result = one(here, text)
    assert (result["ok"], result["error"]) == (True, None)
    assert time.monotonic() - start < 6


def test_a_crash_without_a_trace_shows_the_last_output(here: Path) -> None:
    result = one(here, "import os\nprint('x' * 9000)\nprint('no device found', flush=True)\nos._exit(1)")
    assert result["traceback"].endswith("no device found")
    assert len(result["traceback"]) <= 4000


def test_trace_of_a_crash_is_its_own(here: Path) -> None:
    module(here, "def first(): import ctypes; ctypes.string_at(0)\nfirst()", "one")
    module(here, "import faulthandler, os, sys\nprint('second', flush=True)\nos._exit(1)", "two")
    first, second = prove(here, "one", "two")
    assert "in first" in first["traceback"]
    assert "in first" not in second["traceback"]


CLOSES = "import os\nos.closerange(3, 65536)\nfiles = [open({file!r}, 'r+b', 0) for _ in range(9)]\n"


@pytest.mark.parametrize(
    ("ending", "cause"),
    [("", None), ("1 / 0", "exception"), ("os._exit(1)", "crash"), ("import time; time.sleep(100)", "timeout")],
)
def test_nothing_of_ours_goes_into_a_file_that_an_import_opens(
    here: Path, tmp_path: Path, ending: str, cause: str | None
) -> None:
    """It closes all descriptors, as daemons do, and opens a file: that gets the numbers of those that were ours."""
    file = tmp_path / "file"
    file.write_bytes(b"untouched")
    module(here, CLOSES.format(file=str(file)) + ending)
    (result,) = prove(here, "mod", timeout=2.0)
    assert result["cause"] == cause, result
    assert file.read_bytes() == b"untouched"


def test_a_segfault_leaves_no_trace_in_a_file_that_an_import_opens(here: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"untouched")
    module(here, CLOSES.format(file=str(file)) + "import ctypes\ndef dies(): ctypes.string_at(0)\ndies()\n")
    (result,) = prove(here, "mod")
    assert (result["cause"], "in dies" in result["traceback"]) == ("crash", True)
    assert file.read_bytes() == b"untouched"


@pytest.mark.parametrize(
    "writes",
    ["b'x' * 10**7", "b'{}\\n'", "b'[]\\n[]\\n'", "b'null\\n'", "b'\\xff{'", "b'9' * 5000 + b'\\n'", "b'[' * 10**6"],
)
def test_an_import_that_writes_where_results_are_does_not_spoil_ours(here: Path, writes: str) -> None:
    text = (
        "import glob, os\n"
        "for file in glob.glob(os.path.dirname(os.environ['HOME']) + '/*'):\n"
        f"  if not os.path.isdir(file): open(file, 'wb').write({writes})\n"
        f"file = os.path.dirname(os.environ['HOME']) + '/results-1'\nopen(file, 'wb').write({writes})\n"
    )
    module(here, text)
    (result,) = prove(here, "mod")
    assert (result["name"], result["ok"], set(result)) == ("mod", False, KEYS)


def test_a_pipe_where_results_are_does_not_hang_us(here: Path) -> None:
    module(here, "import os\nos.mkfifo(os.path.dirname(os.environ['HOME']) + '/results-1')\nos._exit(0)\n")
    start = time.monotonic()
    (result,) = prove(here, "mod")
    assert result["cause"] == "crash"
    assert time.monotonic() - start < 6


def test_output_of_an_import_fills_no_disk_and_only_its_end_is_kept(here: Path) -> None:
    text = (
        "import os\nblock = b'x' * 2**20\nfor _ in range(1024): os.write(1, block)\n"
        "root = os.path.dirname(os.environ['HOME'])\n"
        "sizes = [os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(root) for f in files]\n"
        "os.write(2, b'the end: %d' % sum(sizes))\nos._exit(1)\n"
    )
    module(here, text)
    (result,) = prove(here, "mod")
    assert result["traceback"].endswith("xxthe end: 0")
    assert len(result["traceback"]) == 4000


def test_what_an_import_leaves_behind_in_other_sessions_is_ended(here: Path, interpreter: Path, tmp_path: Path) -> None:
    """As a module asks: from a process of its own, with and without another interpreter."""
    text = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork(): os._exit(0)\n"
        "  os.setsid()\n"
        f"  open({str(tmp_path / 'pid')!r}, 'w').write('%d ' % os.getpid())\n"
        "  time.sleep(100)\n"
        f"while not os.path.exists({str(tmp_path / 'pid')!r}): time.sleep(0.01)\n"
    )
    module(here, text)
    for python in (None, interpreter):
        request = {"imports": ["mod"], "path": here, "import_environment": {"PYTHONPATH": str(here)}}
        result = engine.ask("check", python, **request)
        assert result["imports"][0]["ok"], result["imports"]
        until(lambda: (tmp_path / "pid").read_text().endswith(" "))
        assert not alive((tmp_path / "pid").read_text().strip())
        (tmp_path / "pid").unlink()


def test_a_long_text_that_was_cut_within_a_value_does_not_show_the_rest(here: Path) -> None:
    value = TOKEN * 3000  # (33,000 characters: whichever end is cut off, some are left of it)
    module(here, "import os\nraise RuntimeError(os.environ['TOKEN'] * 40)")
    (result,) = prove(here, "mod", TOKEN=value)
    assert result["cause"] == "exception"
    assert "t0ken" not in repr(result)


# --- private caches


PRIVATE = ("HOME", "XDG_CACHE_HOME", "TMPDIR", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "HF_HOME")
WRITES = (
    "import os, pathlib, tempfile, time\n"
    f"for name in {PRIVATE}:\n"
    "  path = pathlib.Path(os.environ[name])\n"
    "  assert path.is_dir()\n"
    "  (path / 'lock').touch()\n"
    "assert pathlib.Path('~').expanduser() == pathlib.Path(os.environ['HOME'])\n"
    "assert tempfile.gettempdir() == os.environ['TMPDIR']\n"
)


@pytest.mark.parametrize("ending", ["", "1 / 0", "os._exit(1)", "os.abort()", "time.sleep(100)"])
def test_private_caches_are_used_and_removed(
    here: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    user = tmp_path / "user"
    for name in PRIVATE:
        (user / name).mkdir(parents=True)
        monkeypatch.setenv(name, str(user / name))
    before = snapshot.take(user)
    module(here, WRITES + ending)
    (result,) = prove(here, "mod", timeout=1.5 if "sleep" in ending else 30)
    expected = {"": None, "1 / 0": "exception", "time.sleep(100)": "timeout"}.get(ending, "crash")
    assert result["cause"] == expected, result
    assert snapshot.take(user) == before
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", PRIVATE)
def test_values_of_the_caller_win(here: Path, tmp_path: Path, name: str) -> None:
    given = tmp_path / "given"
    given.mkdir()
    module(here, WRITES)
    (result,) = prove(here, "mod", **{name: str(given)})
    assert result["ok"], result["traceback"]
    assert (given / "lock").exists()


def test_user_site_stays_importable_though_home_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONUSERBASE", "PYTHONNOUSERSITE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    python = interpreters.usual()
    site = Path(run(python, "-c", "import site; print(site.getusersitepackages())").strip())
    assert site.is_relative_to(tmp_path)
    directory = engine.thing(site, __init__="import os\nassert not os.path.exists(os.path.expanduser('~/.local'))\n")
    result = engine.ask("check", python, definitions=[engine.PATCH], imports=["thing.api:Thing"])
    assert not result.get("failed"), result["imports"]
    assert [file["path"] for file in result["patches"][0]["files"]] == [str(directory / "api.py")]


def test_imports_write_no_bytecode_nor_do_interpreters_that_they_start(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    module(here, "", "other")
    module(
        here,
        "import os, subprocess, sys\nimport other\n"
        "subprocess.run([sys.executable, '-c', 'import other'], check=True, cwd=os.path.dirname(__file__))\n",
    )
    before = snapshot.take(here)
    (result,) = prove(here, "mod")
    assert result["ok"], result["traceback"]
    assert snapshot.take(here) == before


def test_nothing_of_ours_is_importable_while_imports_are_tried(here: Path) -> None:
    module(
        here,
        "import sys\nfrom importlib.util import find_spec\n"
        "names = ('ansible_collections', 'module_utils', '_imports', '_importer', 'lab')\n"
        "assert [name for name in names if find_spec(name) or name in sys.modules] == []\n",
    )
    (result,) = prove(here, "mod")
    assert result["ok"], result["traceback"]


# --- values of import_environment


@pytest.mark.parametrize(
    "text",
    [
        "import os; raise RuntimeError(os.environ['TOKEN'])",
        "import os; raise KeyError(os.environ['TOKEN'])",
        "import os; raise RuntimeError('x' * 3900 + os.environ['TOKEN'] + 'y' * 90)",
        "import os; raise RuntimeError(os.environ['TOKEN'] * 1000)",
        "import os; os.environ['not_there' + os.environ['TOKEN']]",
        "import os; os.environ.pop('TOKEN_2'); __import__(os.environ['TOKEN'].strip().replace('.', '-'))",
        "import os; os.write(1, os.environ['TOKEN'].encode() * 3000); os._exit(1)",
        "import os; print(dict(os.environ), flush=True); os._exit(1)",
        "import os; __version__ = os.environ['TOKEN']; raise SystemExit(os.environ['TOKEN'])",
    ],
)
@pytest.mark.parametrize("value", [TOKEN, f"{TOKEN}-1\n{TOKEN}-2\n", f"quote'\"\\{TOKEN}", f"{TOKEN} é✓"])
def test_values_are_nowhere_in_the_results(here: Path, text: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # (holds the value, too)
    module(here, text)
    (result,) = prove(here, "mod", TOKEN=value, TOKEN_2="another-value")  # noqa: S106
    assert not result["ok"]
    assert "s3cret" not in repr(result)
    assert "t0ken" not in repr(result)
    assert "another-value" not in repr(result)


def test_short_values_leave_numbers_readable(here: Path) -> None:
    result = one(here, "__version__ = '1.10.1'\nraise RuntimeError('10 of 11')", A="1", B="", C="10", D="true")
    assert result["error"] == "RuntimeError: 10 of 11"


@pytest.mark.parametrize("environment", [{"A=B": "x"}, {"": "x"}, {"A\0": "x"}, {"A": f"{TOKEN}\0"}])
def test_what_cannot_be_a_variable_is_refused_without_its_value(environment: dict[str, str]) -> None:
    result = engine.ask("check", imports=["json"], import_environment=environment)
    assert result["failed"]
    assert result["msg"].startswith("import_environment: expected names and values of variables, found the name ")
    assert TOKEN not in result["msg"]


# --- previews

SEES = (
    "import inspect, linecache, traceback\nimport thing.api, thing.core\n"
    "text = inspect.getsource(thing.api)\n"
    "assert '# >>> primus.patches: thing_names' in text, text\n"
    "assert text == ''.join(linecache.getlines(thing.api.__file__))\n"
    "assert thing.api.__loader__.get_source('thing.api') == text\n"
    "linecache.checkcache()\n"
    "assert text == ''.join(linecache.getlines(thing.api.__file__))\n"
    "assert inspect.getsource(thing.api.answer) == 'def answer():\\n    return 42\\n'\n"
    "assert thing.api.Thing is thing.core.Thing\n"
    "assert thing.api.answer() == 42\n"
)
CHECK = ("thing.api:Thing", "sees")


def preview(environment: Path, **parameters: Any) -> dict[str, Any]:
    """Preview ``thing``'s patch; the result, after a look that nothing at all was written."""
    before = snapshot.take(environment)
    packages.write(environment.parent / "sees", {"sees.py": SEES})
    result = engine.ask(
        "check",
        environments.python_of(environment),
        **{
            "definitions": [engine.PATCH],
            "imports": list(CHECK),
            "import_environment": {"PYTHONPATH": str(environment.parent / "sees")},
            **parameters,
        },
    )
    assert snapshot.take(environment) == before
    return result


def passed(result: dict[str, Any]) -> bool:
    assert not result.get("failed"), (result["msg"], result.get("imports"))
    return all(done["ok"] for done in result["imports"])


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_preview_is_what_import_inspect_and_linecache_see(venv: Venv, version: str) -> None:
    environment = venv(version)
    engine.thing(environments.site_packages(environment))
    result = preview(environment)
    assert passed(result)
    assert [done["proof"] for done in result["imports"]] == ["before", "before"]
    assert [(patch["state"], patch["action"]) for patch in result["patches"]] == [("pending", "apply")]
    unpatched = engine.ask("check", environments.python_of(environment), imports=["thing.api:Thing"])
    assert unpatched["imports"][0]["cause"] == "name"


def test_tracebacks_show_the_previewed_lines(environment: Path, site: Path) -> None:
    engine.thing(site, api="import os\n\n\n\ndef fail():\n    raise ValueError('here')  # the line\n\n\nfail()\n")
    result = preview(environment)
    text = result["imports"][0]["traceback"]
    assert "raise ValueError('here')  # the line" in text
    line = int(text.partition(", in fail")[0].rpartition(" ")[2])
    assert line > 6  # (the block comes before it)


def test_preview_of_a_pth_directory(environment: Path, site: Path, tmp_path: Path) -> None:
    engine.thing(tmp_path / "more")
    (site / "more.pth").write_text(f"{tmp_path / 'more'}\n")
    assert passed(preview(environment))


def test_preview_of_a_package_that_a_pth_file_imported_when_the_interpreter_started(
    environment: Path, site: Path
) -> None:
    engine.thing(site)
    (site / "early.pth").write_text("import thing.api, thing.core\n")
    assert passed(preview(environment))


def test_preview_in_a_namespace_package(environment: Path, site: Path, tmp_path: Path) -> None:
    packages.write(
        tmp_path / "more", {f"thing/{name}": text for name, text in engine.FILES.items() if name != "__init__.py"}
    )
    packages.install(site, "thing", "1.5", {"thing/other.py": ""})
    packages.install(tmp_path / "more", "thing", "1.5", {"thing/api.py": engine.FILES["api.py"]})
    (site / "more.pth").write_text(f"{tmp_path / 'more'}\n")
    assert passed(preview(environment))


def test_preview_of_symlinked_files_as_uv_makes_them(environment: Path, site: Path, tmp_path: Path) -> None:
    directory = engine.thing(site)
    for name in engine.FILES:
        cached = tmp_path / "cache" / name
        cached.parent.mkdir(exist_ok=True)
        (directory / name).rename(cached)
        (directory / name).symlink_to(cached)
    before = snapshot.take(tmp_path / "cache")
    assert passed(preview(environment))
    assert snapshot.take(tmp_path / "cache") == before


@pytest.mark.parametrize("mode", py_compile.PycInvalidationMode)
def test_preview_goes_before_bytecode_that_lies_beside(
    environment: Path, site: Path, mode: py_compile.PycInvalidationMode
) -> None:
    directory = engine.thing(site)
    code = (
        "import sys; from py_compile import *; compile(sys.argv[1], invalidation_mode=PycInvalidationMode[sys.argv[2]])"
    )
    run(environments.python_of(environment), "-c", code, directory / "api.py", mode.name)
    assert list(directory.glob("__pycache__/api.*.pyc"))
    assert passed(preview(environment))


def test_preview_under_another_optimisation_level_and_cache(
    environment: Path, site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine.thing(site)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "cache"))
    result = engine.ask("check", environments.python_of(environment), definitions=[engine.PATCH], imports=[CHECK[0]])
    assert passed(result)
    assert not (tmp_path / "cache").exists()


def test_preview_by_path_and_by_pythonpath(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.thing(tmp_path / "target")
    assert passed(preview(environment, path=tmp_path / "target"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "target"))
    assert passed(preview(environment, imports=[CHECK[0]], import_environment={}))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_preview_keeps_encodings(environment: Path, site: Path, encoding: str) -> None:
    cookie = "# -*- coding: latin-1 -*-\n" if encoding == "latin-1" else ""
    directory = engine.thing(site)
    (directory / "api.py").write_bytes(
        (cookie + "import os\r\nname = 'é'\r\nassert len(name) == 1\r\n").encode(encoding)
    )
    assert passed(preview(environment, imports=["thing.api:Thing,name"]))


def test_preview_of_what_is_applied_or_native_is_no_error(environment: Path, site: Path) -> None:
    engine.thing(site)
    python = environments.python_of(environment)
    assert engine.ask("patch", python, definitions=[engine.PATCH])["changed"]
    result = preview(environment)
    assert passed(result)
    assert result["patches"][0]["state"] == "applied"
    assert [done["proof"] for done in result["imports"]] == ["none", "none"]
    engine.thing(site, api="from .core import Thing\n")
    result = preview(environment, imports=["thing.api:Thing"])
    assert passed(result)
    assert result["patches"][0]["state"] == "native"


@pytest.mark.parametrize(
    ("version", "core", "state"), [("2.0", "class Thing: pass\n", "unsupported"), ("1.5", "", "unsupported")]
)
def test_preview_of_what_cannot_be_applied_is_refused(
    environment: Path, site: Path, version: str, core: str, state: str
) -> None:
    engine.thing(site, version, core=core)
    result = preview(environment)
    assert result["failed"]
    assert result["msg"].startswith(f"thing_names: {state}: thing {version} in ")
    assert result["patches"][0]["state"] == state
    assert "imports" not in result


def test_check_mode_of_a_pending_tree_proves_the_imports_and_says_so(environment: Path, site: Path) -> None:
    directory = engine.thing(site)
    before = snapshot.take(environment)
    python = environments.python_of(environment)
    check = engine.ask("patch", python, definitions=[engine.PATCH], imports=["thing.api:Thing"], check_mode=True)
    assert snapshot.take(environment) == before
    run = engine.ask("patch", python, definitions=[engine.PATCH], imports=["thing.api:Thing"])
    assert engine.BLOCK in (directory / "api.py").read_bytes()
    for result in (check, run):
        assert (result["changed"], result["patches"][0]["action"]) == (True, "apply")
        assert [(done["name"], done["ok"], done["proof"]) for done in result["imports"]] == [
            ("thing.api:Thing", True, "before")
        ]
    again = engine.ask("patch", python, definitions=[engine.PATCH], imports=["thing.api:Thing"])
    assert [(done["ok"], done["proof"]) for done in again["imports"]] == [(True, "none")]


def test_a_patch_whose_proof_fails_is_not_written(environment: Path, site: Path) -> None:
    engine.thing(
        site, core="class Thing: pass\nimport thing.api\nassert not hasattr(thing.api, 'Thing')\nraise OSError\n"
    )
    before = snapshot.take(environment)
    result = engine.ask(
        "patch", environments.python_of(environment), definitions=[engine.PATCH], imports=["thing.api:Thing", "thing"]
    )
    assert result["failed"]
    assert result["msg"].startswith(
        "import failed, with the change served from memory; nothing was written: thing.api:"
    )
    assert [done["ok"] for done in result["imports"]] == [False, True]
    assert snapshot.take(environment) == before


# --- real libraries


@pytest.mark.slow
def test_transformers_without_torch_reports_the_missing_dependency(environment: Path, site: Path) -> None:
    """Bare `import transformers` succeeds without torch, and gives dummies: only the module itself tells."""
    python = environments.python_of(environment)
    run(wheels.UV, "pip", "install", "--quiet", "--python", python, "transformers==4.57.6")
    file = site / "transformers" / "modeling_utils.py"
    stock = file.read_bytes()
    result = engine.ask(
        "patch",
        python,
        name=["transformers_modeling_utils"],
        imports=["transformers:PreTrainedModel", "transformers.modeling_utils:Conv1D", "transformers.modeling_utils"],
    )
    assert result["failed"]
    dummy, *modules = result["imports"]
    assert (dummy["ok"], dummy["version"]) == (True, "4.57.6")
    for module_result in modules:
        assert module_result["cause"] == "dependency"
        assert module_result["blame"] == "environment"
        told = "fails without the patch as well: needs the module torch, which is not installed: "
        assert module_result["error"].startswith(told)
    assert file.read_bytes() == stock


# --- previews of what comes and goes, and whose failure it is


TREE = {
    "pkg/__init__.py": "",
    "pkg/old.py": "name = 'old'\n",
    "pkg/sub/__init__.py": "",
    "pkg/sub/deep.py": "from ..old import name\n",
    "plain.py": "name = 'plain'\n",
    "space/one.py": "",
    "lib/both.py": "",
    "lib/space/two.py": "",
}
LISTED = b"import pkgutil, pkg\nassert [name for _, name, _ in pkgutil.iter_modules(pkg.__path__)] == %r\n"
SOURCE = b"""def own():
    return 1
import inspect, linecache
assert inspect.getsource(own) == 'def own():\\n    return 1\\n'
assert linecache.getline(__file__, 3) == 'import inspect, linecache\\n'
assert __loader__.get_data(__file__) == inspect.getsource(inspect.getmodule(own)).encode()
"""
# Changes of the tree (its directory and `lib` are on sys.path), an import, and why that fails then.
COMES_AND_GOES: list[tuple[dict[str, bytes | None], str, str | None]] = [
    ({"pkg/new.py": b"name = 'new'\n"}, "pkg.new:name", None),
    ({"pkg/new.py": b""}, "pkg.new", None),
    ({"pkg/new.py": b"("}, "pkg.new", "exception"),
    ({"pkg/new.py": SOURCE}, "pkg.new", None),
    ({"pkg/more/__init__.py": b"", "pkg/more/deep.py": b"from ..old import name\n"}, "pkg.more.deep:name", None),
    ({"pkg/more/deep.py": b"name = 1\n"}, "pkg.more.deep:name", None),
    ({"pkg/a/b/c.py": b"name = 1\n"}, "pkg.a.b.c:name", None),
    ({"pkg/a/b/c.py": b"name = 1\n"}, "pkg.a.c", "name"),
    ({"top.py": b"import pkg.old\n"}, "top", None),
    ({"plain/__init__.py": b"from .inside import name\n", "plain/inside.py": b"name = 1\n"}, "plain.inside", None),
    ({"plain/inside.py": b""}, "plain.inside", "name"),  # (a module goes before a directory of its name)
    ({"plain.py": None, "plain/inside.py": b""}, "plain.inside", None),
    ({"pkg/old.py": None}, "pkg.old", "name"),
    ({"pkg/old.py": None}, "pkg.sub.deep", "dependency"),
    ({"pkg/old.py": None, "pkg/old/__init__.py": b"name = 'moved'\n"}, "pkg.sub.deep:name", None),
    ({"pkg/__init__.py": None}, "pkg.old:name", None),
    ({"pkg/sub/__init__.py": None}, "pkg.sub.deep:name", None),
    ({"pkg/sub/__init__.py": None, "pkg/sub/deep.py": None}, "pkg.sub.deep", "name"),
    ({"plain.py": None}, "plain", "name"),
    ({"plain.py": None}, "pkg.old", None),
    ({"plain.py": None, "lib/plain.py": b"second = 2\n"}, "plain:second", None),
    ({"lib/plain.py": b"second = 2\n"}, "plain:second", "name"),  # (the first entry's is found)
    ({"both.py": b"first = 1\n"}, "both:first", None),
    ({"space/new.py": b"import space.one, space.two\n"}, "space.new", None),
    ({"space/__init__.py": b"import space.one\n"}, "space", None),
    ({"space/__init__.py": b""}, "space.two", "name"),
    ({"lib/space/__init__.py": b""}, "space.one", "name"),  # (a package goes before namespaces, wherever it lies)
    ({"space/one.py": None}, "space.one", "name"),
    ({"pkg/new.py": b"", "pkg/n/__init__.py": b"", "a.py": LISTED % ["n", "new", "old", "sub"]}, "a", None),
    ({"pkg/old.py": None, "a.py": LISTED % ["sub"]}, "a", None),
    ({"pkg/sub/__init__.py": None, "a.py": LISTED % ["old"]}, "a", None),
]
PROVES = """
import json, sys
sys.path.insert(0, sys.argv[1])
from module_utils import _imports
for case in json.load(sys.stdin):
    previews = {path: text if text is None else text.encode() for path, text in case["previews"].items()}
    (done,) = _imports.prove([case["import"]], previews, case["roots"], 60.0, {}, proof="before")
    print(json.dumps([done["ok"], done["cause"], done["error"], done["proof"]]))
"""


def proofs(python: Path, cases: list[dict[str, Any]]) -> list[list[Any]]:
    """Try imports under another interpreter; ok, cause, error and proof of each."""
    command = [python, "-B", "-c", PROVES, engine.PLUGINS]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_modules_that_come_and_go_are_previewed_as_they_will_be(
    tmp_path: Path, python: Callable[[str], Path], version: str
) -> None:
    """What the preview shows is what the same import does once the files are so."""
    interpreter = python(version)
    cases: list[dict[str, Any]] = []
    for number, (changes, reference, _cause) in enumerate(COMES_AND_GOES):
        site = tmp_path / str(number)
        packages.write(site, TREE)
        texts = {str(site / name): text if text is None else text.decode() for name, text in changes.items()}
        cases.append({"import": reference, "previews": texts, "roots": [str(site), str(site / "lib")]})
    run(interpreter, "-m", "compileall", "-q", tmp_path)  # (bytecode of a source that is away is for nobody)
    before = snapshot.take(tmp_path)
    shown = proofs(interpreter, cases)
    assert snapshot.take(tmp_path) == before
    for case in cases:
        for name, text in case.pop("previews").items():
            if text is None:
                Path(name).unlink()
            else:
                packages.write(Path(name).parent, {Path(name).name: text})
        case["previews"] = {}
    real = proofs(interpreter, cases)
    for (changes, reference, cause), preview_says, run_says in zip(COMES_AND_GOES, shown, real, strict=True):
        assert preview_says[:2] == run_says[:2] == [cause is None, cause], (changes, reference, preview_says, run_says)


PLACES = ["a.py", "a/__init__.py", "a/b.py", "a/b/__init__.py", "a/b/c.py", "b.py", "b/c/d.py"]
SUFFIXES = st.dictionaries(st.sampled_from(["a.pyc", "a/b.abi3.so", "b/note.txt"]), st.just(b"other"))


@given(
    before=st.sets(st.sampled_from(PLACES)), after=st.sets(st.sampled_from(PLACES)), others=SUFFIXES, tidy=st.booleans()
)
def test_a_preview_finds_what_python_finds_once_it_is_written(
    before: set[str],
    after: set[str],
    others: dict[str, bytes],
    tidy: bool,  # noqa: FBT001
) -> None:
    """In each directory, by each name; ``tidy``: directories that are left empty go with their last file."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for file, text in [*((each, b"before") for each in before), *others.items()]:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(text)
        made = [root / each for each in ("a/b", "a", "b/c", "b") if tidy and (root / each).is_dir()]
        previews: dict[str, str | None] = {str(root / each): None for each in before - after}
        previews.update({str(root / each): "after" for each in after}, **{str(each): None for each in made})
        tree = _importer.Tree(previews)
        seen = found(root, tree)
        for each in before - after:
            (root / each).unlink()
        for each in after:
            packages.write(root, {each: b"after"})
        for directory in made:
            with contextlib.suppress(OSError):
                directory.rmdir()
        assert seen == found(root, None)


def found(root: Path, tree: _importer.Tree | None) -> dict[str, Any]:
    """What is found in each directory below a root: modules, and what pkgutil lists."""
    told: dict[str, Any] = {}
    for directory in (str(root / each) for each in (".", "a", "a/b", "b", "b/c")):
        if tree is None or os.path.realpath(directory) not in tree.names:
            finder: Any = machinery.FileFinder(directory, *_importer.Finder.loaders)
            modules = list(pkgutil.iter_importer_modules(finder)) if Path(directory).is_dir() else []  # type: ignore[attr-defined]
        else:
            finder = _importer.Finder(directory, *_importer.Finder.loaders)
            finder.tree = tree
            modules = list(finder.modules())
        told[directory] = sorted(modules)
        for name in ("a", "b", "c", "d", "note"):
            spec = finder.find_spec(name)
            told[f"{directory}: {name}"] = spec and (type(spec.loader), spec.origin, spec.submodule_search_locations)
    return told


@pytest.mark.parametrize(
    "changes",
    [
        {"plain.py": None, "plain/__init__.py": b"new = 1\n"},
        {"plain/__init__.py": b"new = 1\n"},
        {"space/__init__.py": b"new = 1\n"},
        {"pkg/__init__.py": b"new = 1\n", "pkg/other.py": b""},
    ],
)
def test_what_was_imported_when_the_interpreter_started_is_previewed_all_the_same(
    environment: Path, site: Path, changes: dict[str, bytes | None]
) -> None:
    packages.write(site, {**TREE, "early.pth": "import pkg.old, plain, space.one\n"})
    previews = {str(site / name): text if text is None else text.decode() for name, text in changes.items()}
    asked = [
        {"import": each + ":new", "previews": previews, "roots": []}
        for each in ("pkg", "plain", "space")
        if f"{each}/__init__.py" in changes
    ]
    assert [done[:2] for done in proofs(environments.python_of(environment), asked)] == [[True, None]] * len(asked)


def test_a_link_into_a_cache_that_is_to_go_leaves_other_links_to_that_file_importable(tmp_path: Path) -> None:
    """A change replaces the link; what it leads to is another environment's as well."""
    packages.write(tmp_path, {"cache/empty.py": "", "pkg/__init__.py": ""})
    for name in ("one.py", "two.py"):
        (tmp_path / "pkg" / name).symlink_to(tmp_path / "cache" / "empty.py")
    previews: dict[str, bytes | None] = {str(tmp_path / "pkg" / "one.py"): None}
    results = _imports.prove(["pkg.one", "pkg.two"], previews, [str(tmp_path)], 30.0, {}, proof="before")
    assert [(done["ok"], done["blame"]) for done in results] == [(False, "patch"), (True, None)]


@needs_root
def test_new_modules_run_where_only_roots_may(tmp_path: Path) -> None:
    packages.write(tmp_path, {"pkg/__init__.py": ""})
    previews: dict[str, bytes | None] = {
        str(tmp_path / "pkg" / "sub" / "__init__.py"): b"from . import new",
        str(tmp_path / "pkg" / "sub" / "new.py"): b"",
    }
    (done,) = _imports.prove(["pkg.sub"], previews, [str(tmp_path)], 30.0, {}, only_roots=True, proof="before")
    assert done["ok"], done["error"]
    (tmp_path / "pkg").chmod(0o777)
    (done,) = _imports.prove(["pkg.sub"], previews, [str(tmp_path)], 30.0, {}, only_roots=True, proof="before")
    assert f"others may write {tmp_path}/pkg of user 0, mode 777" in done["error"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/site/pkg/api.py", True),
        ("/site/pkg/__init__.py", True),
        ("/site/pkg/table.json", False),
        ("/site/pkg/native.so", False),
        ("/site/pkg/api.pyi", False),
        ("/env/bin/tool", False),
        ("/site/early.pth", False),
        ("/site/sitecustomize.py", False),
        ("/site/usercustomize.py", False),
    ],
)
def test_what_can_be_shown_from_memory(path: str, shown: bool) -> None:  # noqa: FBT001
    assert _imports.servable(path) is shown


FAILS = "raise IndexError('list index out of range')\n"


def test_whose_failure_it_is_is_told(tmp_path: Path) -> None:
    packages.write(tmp_path, {"good.py": "", "bad.py": FAILS, "other.py": "import os\nraise OSError(os.getpid())\n"})
    previews: dict[str, bytes | None] = {
        str(tmp_path / "good.py"): FAILS.encode(),
        str(tmp_path / "new.py"): b"x = 1\n",
    }
    results = _imports.prove(["good", "bad", "other", "new"], previews, [str(tmp_path)], 30.0, {}, proof="before")
    told = [(done["ok"], done["blame"], done["same"]) for done in results]
    assert told == [
        (False, "patch", False),
        (False, "environment", True),
        (False, "environment", False),
        (True, None, False),
    ]
    message = _imports.refusal(results)
    assert message is not None
    assert "good (IndexError: list index out of range; without the patch it can be imported)" in message
    assert "bad (fails without the patch as well: IndexError: list index out of range in " in message
    assert _imports.refusal(results, True) == message
    assert _imports.refusal(results[1:2], True) is None
    assert "bad (fails without the patch as well" in _imports.accepted(results[1:2])


def failure(error: str, file: str | None = "/v/lib/python3.11/site-packages/m/x.py", **more: Any) -> dict[str, Any]:
    """Return a failed import as it is reported."""
    trace = (
        None
        if file is None
        else f'Traceback:\n  File "/m/top.py", line 1, in <module>\n  File "{file}", line 5, in f\n'
    )
    common = {"name": "mod", "ok": False, "cause": "exception", "seconds": 1.0, "version": None, "proof": "before"}
    return {**common, "blame": None, "same": False, "error": error, "traceback": trace, **more}


PASSED = {**failure("", None), "ok": True, "cause": None, "error": None}
CRASH = (
    'Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File "%s", line 3 in f\n'
)
CRASH += '  File "/m/top.py", line 1 in <module>'
LATE = failure("not tried", None, cause="not_tried", seconds=0.0)


@pytest.mark.parametrize(
    ("result", "again", "blame", "same"),
    [
        (failure("ValueError: 1"), PASSED, "patch", False),
        (failure("ValueError: 1"), failure("ValueError: 1"), "environment", True),
        (failure("ValueError: 1"), failure("ValueError: 2"), "environment", False),
        (failure("E: <f at 0x7f00aBc>"), failure("E: <f at 0x7e11>"), "environment", True),
        (failure("E: after 1.5 s"), failure("E: after 12 s"), "environment", True),
        (failure("E: 10 seconds, 3 items"), failure("E: 11 seconds, 3 items"), "environment", True),
        (failure("E: 1 of 3"), failure("E: 1 of 4"), "environment", False),
        (failure("E: x"), failure("E: x", "/v/lib/python3.11/site-packages/m/y.py"), "environment", False),
        (failure("E: x"), failure("E: x", cause="dependency"), "environment", False),
        (
            failure("died", None, traceback=CRASH % "/a.py"),
            failure("died", None, traceback=CRASH % "/a.py"),
            "environment",
            True,
        ),
        (
            failure("died", None, traceback=CRASH % "/a.py"),
            failure("died", None, traceback=CRASH % "/b.py"),
            "environment",
            False,
        ),
        (failure("E: x"), failure("did not end", cause="timeout"), None, False),
        (failure("E: x"), LATE, None, False),
    ],
)
def test_whose_failure_it_is_and_whether_it_is_the_same(
    result: dict[str, Any],
    again: dict[str, Any],
    blame: str | None,
    same: bool,  # noqa: FBT001
) -> None:
    (found,) = _imports.blame([result], [again])
    assert (found["blame"], found["same"]) == (blame, same)
    assert (_imports.refusal([found], accept_unchanged=True) is None) is same
    if blame == "environment":
        assert found["error"].startswith("fails without the patch as well: ") is same
        assert (found["error"] == result["error"]) is False
    else:
        assert found["error"] == result["error"]


def test_blame_goes_to_the_import_that_was_tried_again() -> None:
    """Of imports that failed alone, the same one may be named twice, and time may end within them."""
    hung = failure("did not end", cause="timeout")
    results = [PASSED, failure("E: 1", name="a"), hung, failure("E: 2", name="a"), failure("E: 3", name="c")]
    found = _imports.blame(results, [failure("E: 1"), PASSED])
    assert [done["blame"] for done in found] == [None, "environment", None, "patch", None]
    assert _imports.refusal(found, accept_unchanged=True) is not None
    assert _imports.blame(results, []) == results


def test_messages_say_whose_failure_it_is() -> None:
    (unchanged,) = _imports.blame(
        [failure("IndexError: list index out of range")], [failure("IndexError: list index out of range")]
    )
    said = "mod (fails without the patch as well: IndexError: list index out of range in m/x.py)"
    head = "import failed, with the change served from memory; nothing was written: "
    way = ". With validate_failure: accept_unchanged, site_patch writes all the same"
    assert _imports.refusal([PASSED, unchanged]) == head + said + way
    assert (
        _imports.accepted([PASSED, unchanged])
        == f"failed imports accepted (validate_failure: accept_unchanged): {said}"
    )
    assert _imports.accepted([PASSED]) == ""
    assert _imports.refusal([PASSED]) is None
    (own,) = _imports.blame([failure("E: x", proof="after")], [PASSED])
    assert _imports.refusal([own, {**unchanged, "proof": "after"}], accept_unchanged=True) == (
        f"import failed, with the change written: mod (E: x; without the patch it can be imported); {said}"
    )
    (other,) = _imports.blame([failure("E: x")], [failure("E: y", None)])
    assert _imports.refusal([other]) == head + "mod (E: x; without the patch it fails, too, otherwise: E: y)"
    assert _imports.refusal([failure("E: x", proof="none")]) == "import failed, as the files are: mod (E: x)"


def test_without_the_change_there_is_only_the_time_that_is_left(tmp_path: Path) -> None:
    packages.write(tmp_path, {"mod.py": "import time\ntime.sleep(1.5)\nraise OSError\n"})
    previews: dict[str, bytes | None] = {str(tmp_path / "other.py"): b""}
    (done,) = _imports.prove(["mod"], previews, [str(tmp_path)], 2.2, {}, proof="before")
    assert (done["cause"], done["error"], done["blame"]) == ("exception", "OSError:", None)


def test_a_change_that_was_put_back_is_judged_afterwards(tmp_path: Path) -> None:
    packages.write(tmp_path, {"good.py": "1 / 0\n", "bad.py": "1 / 0\n", "fine.py": ""})
    names, options = ["good", "fine", "bad"], ([str(tmp_path)], 30.0, {"TOKEN": TOKEN})
    results = _imports.prove(names, {}, *options, proof="after")
    assert [(done["ok"], done["proof"], done["blame"]) for done in results] == [
        (False, "after", None),
        (True, "after", None),
        (False, "after", None),
    ]
    packages.write(tmp_path, {"good.py": ""})
    judged = _imports.without(results, *options)
    assert [(done["name"], done["proof"], done["blame"], done["same"]) for done in judged] == [
        ("good", "after", "patch", False),
        ("fine", "after", None, False),
        ("bad", "after", "environment", True),
    ]


def test_a_host_with_a_toolkit_and_no_gpu_is_told_the_way_out(tmp_path: Path) -> None:
    """The same error from a function of the same name: the real one is torch's, on a build host."""
    text = "def _get_cuda_arch_flags():\n    return [][0]\n_get_cuda_arch_flags()\n"
    packages.write(tmp_path, {"bad.py": text, "good.py": ""})
    previews: dict[str, bytes | None] = {str(tmp_path / "good.py"): b"x = 1\n"}
    message = _imports.refusal(_imports.prove(["bad"], previews, [str(tmp_path)], 30.0, {}, proof="before"))
    assert message is not None
    assert "a CUDA toolkit and no GPU: set TORCH_CUDA_ARCH_LIST (import_environment), e.g. 9.0" in message


@pytest.mark.parametrize("accepts", [False, True])
def test_a_change_is_written_where_the_imports_fail_as_before_if_that_is_accepted(
    environment: Path,
    site: Path,
    accepts: bool,  # noqa: FBT001
) -> None:
    directory = engine.thing(site)
    packages.write(site, {"bad.py": FAILS})
    python = environments.python_of(environment)
    choice = "accept_unchanged" if accepts else "refuse"
    result = engine.ask("patch", python, definitions=[engine.PATCH], imports=["bad"], validate_failure=choice)
    assert [(done["ok"], done["proof"], done["blame"]) for done in result["imports"]] == [
        (False, "before", "environment")
    ]
    assert (engine.BLOCK in (directory / "api.py").read_bytes()) is accepts
    assert bool(result.get("failed")) is not accepts
    assert "fails without the patch as well: IndexError" in result["msg"]


JSON = {
    **engine.PATCH,
    "name": "thing_table",
    "file": "table.json",
    "edits": [{"replace": {"before": '"limit": 3', "after": '"limits": 3'}}],
}
READS = "import json, os\nLIMIT = json.load(open(os.path.join(os.path.dirname(__file__), 'table.json')))['limit']\n"


def table(site: Path) -> Path:
    files = {"thing/__init__.py": READS, "thing/table.json": '{"limit": 3}\n'}
    packages.install(site, "thing", "1.5", files)
    return site / "thing" / "table.json"


def test_what_cannot_be_shown_from_memory_is_written_tried_and_put_back(environment: Path, site: Path) -> None:
    file = table(site)
    python = environments.python_of(environment)
    before = snapshot.take(site)
    check = engine.ask("patch", python, definitions=[JSON], imports=["thing:LIMIT"], check_mode=True)
    assert snapshot.take(site) == before
    assert [(done["ok"], done["proof"]) for done in check["imports"]] == [(True, "none")]
    assert "imports are tried once the change is written, as table.json cannot be shown from memory" in check["msg"]
    result = engine.ask("patch", python, definitions=[JSON], imports=["thing:LIMIT"])
    assert (result["failed"], result["changed"]) == (True, False)
    assert [(done["ok"], done["proof"], done["blame"]) for done in result["imports"]] == [(False, "after", "patch")]
    assert "what was written has been put back" in result["msg"]
    assert file.read_text() == '{"limit": 3}\n'
    good = {**JSON, "edits": [{"replace": {"before": "3", "after": "4"}}]}
    result = engine.ask("patch", python, definitions=[good], imports=["thing:LIMIT"])
    assert [(done["ok"], done["proof"]) for done in result["imports"]] == [(True, "after")]
    assert result["changed"], result["msg"]
    assert json.loads(next((site / "primus-patches" / "facts").iterdir()).read_text())["proof"] == "after"


def test_a_proof_that_a_killed_run_owes_is_not_applied_and_is_settled_by_the_next(
    environment: Path, site: Path
) -> None:
    file = table(site)
    python = environments.python_of(environment)
    assert engine.ask("patch", python, definitions=[JSON])["changed"]
    (fact,) = (site / "primus-patches" / "facts").iterdir()
    fact.write_text(json.dumps({**json.loads(fact.read_text()), "proof": "owed"}))
    assert engine.look(python, definitions=[JSON])["state"] == "pending"
    result = engine.ask("patch", python, definitions=[JSON], imports=["thing:LIMIT"])
    assert result["failed"]
    assert file.read_text() == '{"limit": 3}\n'
    good = {**JSON, "edits": [{"replace": {"before": "3", "after": "4"}}]}
    assert engine.ask("patch", python, definitions=[good])["changed"]
    for fact in (site / "primus-patches" / "facts").iterdir():
        fact.write_text(json.dumps({**json.loads(fact.read_text()), "proof": "owed"}))
    result = engine.ask("patch", python, definitions=[good], imports=["thing:LIMIT"])
    assert (result["changed"], result["imports"][0]["proof"]) == (True, "after"), result["msg"]
    assert engine.look(python, definitions=[good])["state"] == "applied"


def test_a_package_that_goes_with_its_directory_is_gone_for_the_preview_as_well(environment: Path, site: Path) -> None:
    engine.thing(site)
    python = environments.python_of(environment)
    written = {"write": {"content": "x = 1\n", "replaces": "absent"}, "file": "new/__init__.py"}
    patch = {**engine.PATCH, "name": "thing_new", "edits": [written]}
    done = engine.ask("patch", python, definitions=[patch], imports=["thing.new"])
    assert [(each["ok"], each["proof"]) for each in done["imports"]] == [(True, "before")]
    refused = engine.ask("patch", python, definitions=[patch], imports=["thing.new"], state="absent")
    assert (refused["failed"], refused["imports"][0]["cause"]) == (True, "name")
    assert (site / "thing" / "new" / "__init__.py").exists()
