# Import checks: what they say of each way to fail, how they end in time, and what they leave behind.
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, imports, interpreters, wheels
from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Callable

    Venv = Callable[..., Path]


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
def test_each_cause_is_told_from_the_others(here: Path, text: str, cause: str, error: str) -> None:
    result = imports.one(here, text)
    assert (result["ok"], result["cause"], set(result)) == (False, cause, KEYS)
    assert error in result["error"]
    assert result["version"] is None


def test_name_that_is_not_there(here: Path) -> None:
    imports.module(here, "class A:\n  b = 1\n")
    results = imports.prove(here, "mod:A,B,A.c,A.b", "not_there", "not_there.inner", "mod.inner", "mod:A")
    assert [(result["cause"], result["error"]) for result in results] == [
        ("name", f"expected B, A.c in mod, found none ({here / 'mod.py'})"),
        ("name", "module not_there not found"),
        ("name", "module not_there not found"),
        ("name", "module mod.inner not found"),
        (None, None),
    ]


def test_error_is_one_line_and_the_traceback_ends_with_it(here: Path) -> None:
    result = imports.one(here, "def inner():\n  raise ValueError('first\\n\\n  second ' + 'x' * 9000)\ninner()\n")
    assert result["error"].startswith("ValueError: first second xxx")
    assert len(result["error"]) <= 4000
    assert len(result["traceback"]) <= 4000
    result = imports.one(here, "def inner():\n  raise ValueError('short')\ninner()\n")
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
    result = imports.one(here, text)
    assert result["cause"] == "exception"
    assert str(result).encode()
    assert "".join((result["error"], result["traceback"])).encode()


@pytest.mark.parametrize("value", ["1.5", None, (1, 5), "raise"])
def test_a_version_that_cannot_be_had_does_not_fail_the_import(here: Path, value: Any) -> None:
    text = "def __getattr__(name): raise RuntimeError(name)\n" if value == "raise" else f"__version__ = {value!r}\n"
    result = imports.one(here, text)
    assert (result["ok"], result["version"]) == (True, "1.5" if value == "1.5" else None)


def test_results_before_a_crash_are_kept_and_imports_after_it_are_tried(here: Path) -> None:
    imports.module(here, "__version__ = '1'", "good")
    imports.module(here, "import os; os._exit(3)", "bad")
    results = imports.prove(here, "good", "bad", "bad", "good", "not_there")
    assert [(done["name"], done["ok"], done["cause"]) for done in results] == [
        ("good", True, None),
        ("bad", False, "crash"),
        ("bad", False, "crash"),
        ("good", True, None),
        ("not_there", False, "name"),
    ]


# --- time


def test_time_limit_says_where_the_import_hung_and_leaves_the_rest_untried(here: Path) -> None:
    imports.module(here, "import time\ndef wait_for_lock():\n  time.sleep(100)\nwait_for_lock()\n", "level_0")
    for level in range(1, 40):  # (a real import hangs as deep; the innermost call must not be cut off)
        imports.module(here, f"import level_{level - 1}\n", f"level_{level}")
    imports.module(here, "", "good")
    start = time.monotonic()
    results = imports.prove(here, "good", "level_39", "good", timeout=1.5)
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
    imports.module(here, text)
    (result,) = imports.prove(here, "mod", timeout=1.0)
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
    imports.module(here, text)
    start = time.monotonic()
    (result,) = imports.prove(here, "mod", timeout=1.0)
    assert result["cause"] == "timeout"
    assert time.monotonic() - start < 6


def test_time_limit_ends_programs_that_the_import_started(here: Path, tmp_path: Path) -> None:
    imports.module(
        here,
        "import pathlib, subprocess\np = subprocess.Popen(['sleep', '100'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(p.pid))\np.wait()\n",
    )
    imports.prove(here, "mod", timeout=1.0)
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
    imports.module(here, f"import os, time\n{note}\nos.closerange(3, 99)\ntime.sleep(100)\n")
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
    result = imports.one(here, text)
    assert (result["ok"], result["error"]) == (True, None)
    assert time.monotonic() - start < 6


def test_a_crash_without_a_trace_shows_the_last_output(here: Path) -> None:
    result = imports.one(here, "import os\nprint('x' * 9000)\nprint('no device found', flush=True)\nos._exit(1)")
    assert result["traceback"].endswith("no device found")
    assert len(result["traceback"]) <= 4000


def test_trace_of_a_crash_is_its_own(here: Path) -> None:
    imports.module(here, "def first(): import ctypes; ctypes.string_at(0)\nfirst()", "one")
    imports.module(here, "import faulthandler, os, sys\nprint('second', flush=True)\nos._exit(1)", "two")
    first, second = imports.prove(here, "one", "two")
    assert "in first" in first["traceback"]
    assert "in first" not in second["traceback"]


@pytest.mark.parametrize(
    ("ending", "cause", "trace"),
    [
        ("", None, ""),
        ("1 / 0", "exception", ""),
        ("os._exit(1)", "crash", ""),
        ("import time; time.sleep(100)", "timeout", ""),
        ("import ctypes\ndef dies(): ctypes.string_at(0)\ndies()\n", "crash", "in dies"),
    ],
)
def test_nothing_of_ours_goes_into_a_file_that_an_import_opens(
    here: Path, tmp_path: Path, ending: str, cause: str | None, trace: str
) -> None:
    """It closes all descriptors, as daemons do, and opens a file: that gets the numbers of those that were ours."""
    file = tmp_path / "file"
    file.write_bytes(b"untouched")
    closes = f"import os\nos.closerange(3, 65536)\nfiles = [open({str(file)!r}, 'r+b', 0) for _ in range(9)]\n"
    imports.module(here, closes + ending)
    (result,) = imports.prove(here, "mod", timeout=2.0)
    assert (result["cause"], file.read_bytes()) == (cause, b"untouched"), result
    assert trace in (result["traceback"] or "")


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
    imports.module(here, text)
    (result,) = imports.prove(here, "mod")
    assert (result["name"], result["ok"], set(result)) == ("mod", False, KEYS)


def test_a_pipe_where_results_are_does_not_hang_us(here: Path) -> None:
    imports.module(here, "import os\nos.mkfifo(os.path.dirname(os.environ['HOME']) + '/results-1')\nos._exit(0)\n")
    start = time.monotonic()
    (result,) = imports.prove(here, "mod")
    assert result["cause"] == "crash"
    assert time.monotonic() - start < 6


def test_output_of_an_import_fills_no_disk_and_only_its_end_is_kept(here: Path) -> None:
    text = (
        "import os\nblock = b'x' * 2**20\nfor _ in range(1024): os.write(1, block)\n"
        "root = os.path.dirname(os.environ['HOME'])\n"
        "sizes = [os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(root) for f in files]\n"
        "os.write(2, b'the end: %d' % sum(sizes))\nos._exit(1)\n"
    )
    imports.module(here, text)
    (result,) = imports.prove(here, "mod")
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
    imports.module(here, text)
    for python in (None, interpreter):
        request = {"imports": ["mod"], "path": here, "import_environment": {"PYTHONPATH": str(here)}}
        result = engine.ask("check", python, **request)
        assert result["imports"][0]["ok"], result["imports"]
        until(lambda: (tmp_path / "pid").read_text().endswith(" "))
        assert not alive((tmp_path / "pid").read_text().strip())
        (tmp_path / "pid").unlink()


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
