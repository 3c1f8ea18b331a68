# Modules that do their worst when they are imported, as a check of imports may meet them.
from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lab import faults, packages, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIMIT = 5.0  # seconds that one check may take
_HANGS = 60.0  # seconds after which a check that has not come back counts as hanging
_TESTS = Path(__file__).resolve().parent.parent
_ROOTS = (str(_TESTS), str(_TESTS.parent / "plugins"))
_LEFT = "PRIMUS_LEFT"  # a variable by which processes are found that an import left behind


class Module(NamedTuple):
    """The text of one module, and whether its import comes to its end."""

    text: str
    ok: bool | None
    """None where it depends on the system."""


_DEEP = "def f(n):\n    return f(n + 1)\n"
MODULES: dict[str, Module] = {
    # It ends the process, in one way or another.
    "os._exit": Module("import os; os._exit(0)", ok=False),
    "sys.exit": Module("import sys; sys.exit(0)", ok=False),
    "abort": Module("import os; os.abort()", ok=False),
    "kills itself": Module("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ok=False),
    "kills its group": Module("import os, signal; os.killpg(0, signal.SIGKILL)", ok=False),
    "kills its parent": Module("import os, signal; os.kill(os.getppid(), signal.SIGKILL)", ok=None),
    "stops its group": Module("import os, signal; os.killpg(0, signal.SIGSTOP)", ok=False),
    "runs another program": Module("import os; os.execv('/bin/true', ['true'])", ok=False),
    "segmentation fault": Module("import ctypes; ctypes.string_at(0)", ok=False),
    "faults in a thread": Module(
        "import ctypes, threading, time\nthreading.Thread(target=ctypes.string_at, args=(0,)).start()\ntime.sleep(1)",
        ok=False,
    ),
    # It does not come to its end.
    "endless loop": Module("while True: pass", ok=False),
    "sleeps": Module("import time; time.sleep(1000)", ok=False),
    "catches all": Module("while True:\n    try:\n        while True: pass\n    except BaseException: pass", ok=False),
    "ignores signals": Module(
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True: pass",
        ok=False,
    ),
    "waits for a lock of its own": Module("import threading; l = threading.Lock(); l.acquire(); l.acquire()", ok=False),
    "holds the interpreter": Module("10 ** 10 ** 9", ok=False),
    "reads standard input": Module("import sys; assert sys.stdin.read() == ''", ok=True),
    "no faulthandler, endless": Module(
        "import faulthandler\nfaulthandler.disable()\nfaulthandler.cancel_dump_traceback_later()\nwhile True: pass",
        ok=False,
    ),
    # What it raises is broken itself.
    "text raises": Module("class E(Exception):\n    def __str__(self): raise ValueError('no text')\nraise E", ok=False),
    "text ends the process": Module(
        "import os\nclass E(Exception):\n    def __str__(self): os._exit(0)\nraise E", ok=False
    ),
    "huge text": Module("raise ImportError('x' * 50_000_000)", ok=False),
    "surrogates": Module("raise ImportError('\\udc80\\ud800\\x00\\x1b[2J')", ok=False),
    "deep recursion": Module(_DEEP + "f(0)", ok=False),
    "deep recursion, no limit": Module("import sys\nsys.setrecursionlimit(10 ** 9)\n" + _DEEP + "f(0)", ok=None),
    "chain of causes": Module(
        "e = None\nfor n in range(20000):\n    x = ValueError(n); x.__cause__ = e; e = x\nraise e", ok=False
    ),
    "circle of causes": Module(
        "a, b = ValueError(1), ValueError(2)\na.__context__, b.__context__ = b, a\nraise a", ok=False
    ),
    "not an exception": Module("raise 1", ok=False),
    "memory": Module("try:\n    x = [bytes(1 << 20) for n in range(1 << 22)]\nfinally: x = None", ok=False),
    # It reaches for the answer.
    "closes descriptors": Module("import os; os.closerange(0, 4096)", ok=None),
    "closes and opens": Module(
        "import os\nos.closerange(0, 4096)\nfor n in range(64): os.open('/dev/null', os.O_RDWR)", ok=None
    ),
    "answers itself": Module(
        "import os\nfor n in range(3, 256):\n"
        '    try: os.write(n, b\'{"name": "thing.hostile", "ok": true, "seconds": 0}\\n\')\n'
        "    except OSError: pass\nos._exit(0)",
        ok=None,
    ),
    "answers wrong": Module(
        "import os\nfor n in range(3, 256):\n"
        "    try: os.write(n, b'{}\\n[1]\\n{\"ok\": 1e999}\\n' + b'{' * 9999 + b'}\\n')\n"
        "    except OSError: pass\nos._exit(0)",
        ok=None,
    ),
    "prints gigabytes": Module(
        "import os\nblock = b'x' * (1 << 20)\nfor n in range(2048): os.write(1, block)", ok=None
    ),
    "answers gigabytes": Module(
        "import os\nfor n in range(3, 256):\n    try:\n        for m in range(256): os.write(n, b'x' * (1 << 20))\n"
        "    except OSError: pass",
        ok=None,
    ),
    # It changes what all of Python is made of.
    "no modules": Module("import sys; sys.modules.clear()", ok=None),
    "another json": Module("import json; json.dumps = lambda *a, **k: '{\"ok\": true}'\n1 / 0", ok=False),
    "another os.write": Module("import os; os.write = lambda *a: 0\n1 / 0", ok=False),
    "another import": Module(
        "import builtins\ndef f(*a, **k): raise ImportError('mine')\nbuiltins.__import__ = f", ok=None
    ),
    "hooks": Module(
        "import sys\nclass F:\n    def find_spec(self, *a): raise OSError('mine')\n"
        "sys.meta_path.insert(0, F())\nsys.path_hooks.clear()",
        ok=None,
    ),
    "no builtins": Module(
        "import builtins\nfor n in ('len', 'isinstance', 'getattr', 'str'): delattr(builtins, n)", ok=None
    ),
    "replaces itself": Module("import sys; sys.modules[__name__] = None", ok=None),
    "odd version": Module("class V(str):\n    def __class__(self): 1 / 0\n__version__ = V('\\ud800' * 9999)", ok=True),
    "hostile attributes": Module("import time\ndef __getattr__(name): raise BaseException(name)", ok=True),
    "trace": Module("import sys\ndef f(*a): raise MemoryError\nsys.setprofile(f)", ok=None),
    # It leaves something behind.
    "threads": Module(
        "import threading, time\nfor n in range(50): threading.Thread(target=time.sleep, args=(99,)).start()", ok=True
    ),
    "exit handler": Module(
        "import atexit, os, time; atexit.register(time.sleep, 99); atexit.register(os._exit, 9)", ok=True
    ),
    "daemon": Module(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n    time.sleep(99)\n    os._exit(0)",
        ok=True,
    ),
    "daemon that holds on": Module(
        "import os, subprocess\nsubprocess.Popen(['sleep', '99'], start_new_session=True, "
        "pass_fds=[n for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}')])",
        ok=True,
    ),
    "forks and comes back": Module("import os\nfor n in range(4): os.fork()", ok=True),
    "a few hundred processes": Module(
        "import os, time\nfor n in range(200):\n    if os.fork() == 0:\n        time.sleep(99)\n        os._exit(0)",
        ok=True,
    ),
    # It changes where it is, what it may, and what it is about.
    "elsewhere": Module("import os; os.chdir('/tmp'); os.environ.clear(); os.umask(0)", ok=True),
    "lower limits": Module(
        "import resource as r\nr.setrlimit(r.RLIMIT_NOFILE, (3, 3)); r.setrlimit(r.RLIMIT_FSIZE, (0, 0))", ok=None
    ),
    "not UTF-8": Module("\udcff\udcfe = 1", ok=False),
    "does not compile": Module("(" * 300, ok=False),
}


QUICK = (  # those that are answered in a second or so, and are not tried elsewhere
    *("os._exit", "kills its group", "runs another program", "text raises", "text ends the process", "surrogates"),
    *("deep recursion", "closes descriptors", "answers itself", "answers wrong", "no modules", "another json"),
    *("another os.write", "hostile attributes", "daemon", "lower limits"),
)


def campaign(top: Path, names: Iterable[str] = tuple(MODULES)) -> faults.Tally:
    """Check the import of each module; the tally."""
    tally = faults.Tally()
    for number, name in enumerate(names):
        tally.injected += 1
        tally.add(attempt(top / str(number), name))
    return tally


def attempt(site: Path, name: str) -> Iterator[tuple[str, str]]:
    """Check the import of one module with a patch previewed; what is wrong with answer, tree, processes and time."""
    module = MODULES[name]
    packages.install(site, "thing", "1.5", {f"thing/{file}": text for file, text in faults.FILES.items()})
    (site / "thing" / "hostile.py").write_bytes(module.text.encode("utf-8", "surrogateescape"))
    before = snapshot.take(site)
    mark = secrets.token_hex(8)
    try:
        done = subprocess.run(
            [sys.executable, "-B", "-c", _ASK, *_ROOTS, str(site), mark],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_HANGS,
            check=False,
        )
        answer = done.stdout.strip()
        if done.returncode == -signal.SIGKILL and module.ok is None:
            pass  # (the kernel lets a user's process end the others of that user; nobody takes that for a success)
        elif answer not in ("True", "False"):
            yield "false failure", f"{name}: no result: {answer[-200:]} {done.stderr[-300:]}"
        elif module.ok is not None and answer != str(module.ok):
            verdict = "false success" if answer == "True" else "false failure"
            yield verdict, f"{name}: expected {module.ok}: {done.stderr[-300:]}"
    except subprocess.TimeoutExpired:
        yield "hung", f"{name}: did not come back within {_HANGS:g} s"
    if snapshot.take(site) != before:
        yield "torn", f"{name}: the environment is not as it was"
    left = list(_processes(mark))
    for process in left:
        os.kill(process, signal.SIGKILL)
    if left:
        yield "left", f"{name}: {len(left)} processes"


# What a module does: the engine is asked, in a process that may be killed by what it looks at.
_ASK = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))  # (for the machine's sake, not the engine's)
sys.path[:0] = sys.argv[1:3]
from lab import faults
from module_utils import _child, _errors
try:
    result = _child.call(None, {{
        "operation": "patch", "path": sys.argv[3], "definitions": faults.definitions(1), "check_mode": True,
        "imports": ["thing.hostile"], "timeout": {LIMIT}, "import_environment": {{"{_LEFT}": sys.argv[4]}},
    }})
except _errors.SitePatchError as error:
    result = {{"failed": True, "msg": error}}
sys.stderr.write(str(result.get("msg"))[:300])
print(not result.get("failed"))
"""


def _processes(mark: str) -> Iterator[int]:
    """Processes with the mark among their variables, once those that are being ended have had the time to end."""
    time.sleep(0.2)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"{_LEFT}={mark}".encode() in (entry / "environ").read_bytes():
                    yield int(entry.name)
            except OSError:
                continue
