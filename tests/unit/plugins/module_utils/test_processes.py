# Child processes: the answer comes by its own descriptor, and nothing that a child does can hold us up.
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _processes


def python(
    code: str, *, limit: float = 20.0, request: bytes = b"", output: IO[bytes] | None = None
) -> _processes.Answer:
    """Run Python code that may call ``answer(bytes)``."""
    start = "import os, signal, subprocess, sys, time\ndef answer(text): os.write(int(sys.argv[1]), text)\n"
    return _processes.run([sys.executable, "-c", start + code], request, limit, output)


def alive(pid: int) -> bool:
    """Return whether a process still does something (an unreaped one does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_answer_is_what_the_descriptor_got_and_nothing_else(tmp_path: Path) -> None:
    with (tmp_path / "output").open("w+b") as output:
        answer = python("print('noise', flush=True); os.write(2, b'more'); answer(b'the answer')", output=output)
    assert answer == _processes.Answer(b"the answer", timed_out=False, ending="exit status 0")
    assert (tmp_path / "output").read_bytes() == b"noise\nmore"


def test_a_large_request_and_a_large_answer() -> None:
    """Neither fits into a pipe, and the child answers before it reads."""
    code = "answer(b'y' * 3_000_000); answer(str(len(sys.stdin.buffer.read())).encode())"
    assert python(code, request=b"x" * 5_000_000).text == b"y" * 3_000_000 + b"5000000"


def test_a_child_that_never_reads_its_request() -> None:
    assert python("answer(b'done')", request=b"x" * 5_000_000).text == b"done"


def test_working_directory_is_the_root_and_the_session_is_new() -> None:
    answer = python(
        "answer(b'%s %d %d' % (os.getcwd().encode(), os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()))"
    )
    assert answer.text == b"/ 1 1"


def test_no_other_descriptor_is_handed_down(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        answer = python(
            "for n in os.listdir('/proc/self/fd'): answer(os.path.realpath('/proc/self/fd/' + n).encode() + b' ')"
        )
    assert str(tmp_path) not in answer.text.decode()


@pytest.mark.parametrize("setup", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_time_limit_ends_the_child_and_its_children(setup: str) -> None:
    code = f"{setup}\nchild = subprocess.Popen(['sleep', '100'])\nanswer(b'%d' % child.pid)\ntime.sleep(100)"
    start = time.monotonic()
    answer = python(code, limit=1.0)
    assert 0.9 < time.monotonic() - start < 5
    assert (answer.timed_out, answer.ending) == (True, "signal 9 (Killed)")
    assert gone(int(answer.text))


def test_what_a_finished_child_left_in_its_group_is_ended() -> None:
    answer = python("child = subprocess.Popen(['sleep', '100']); answer(b'%d' % child.pid)")
    assert not answer.timed_out
    assert gone(int(answer.text))


def test_a_daemon_that_holds_the_descriptor_does_not_hold_us() -> None:
    code = "if os.fork():\n  answer(b'done'); os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\ntime.sleep(8)"
    start = time.monotonic()
    assert python(code).text == b"done"
    assert time.monotonic() - start < 5


def test_a_child_that_closes_the_descriptor_and_hangs_is_ended() -> None:
    start = time.monotonic()
    answer = python("answer(b'x'); os.close(int(sys.argv[1])); time.sleep(100)", limit=1.0)
    assert (answer.text, answer.timed_out) == (b"x", True)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("sys.exit(3)", "exit status 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11 (Segmentation fault)"),
        ("os.killpg(0, signal.SIGKILL)", "signal 9 (Killed)"),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 3)", f"signal {37} (Real-time signal 3)"),
    ],
)
def test_how_a_child_ended(code: str, ending: str) -> None:
    answer = python(f"answer(b'before'); {code}")
    assert answer == _processes.Answer(b"before", timed_out=False, ending=ending)


def test_environment_is_the_one_given() -> None:
    command = [sys.executable, "-c", "import os, sys; os.write(int(sys.argv[1]), os.environ.get('X', '').encode())"]
    assert _processes.run(command, b"", 20, environment={"X": "given"}).text == b"given"


@pytest.mark.parametrize("path", ["/", "/does/not/exist"])
def test_what_cannot_be_started_leaks_no_descriptor(path: str) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"."):
        _processes.run([path], b"", 1)
    assert set(os.listdir("/proc/self/fd")) == before


def children() -> set[str]:
    """Return the pids of this process's children; zombies count."""
    command = ["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
    return {line for line in found if not line.endswith(" ps")}


def test_no_descriptor_and_no_process_is_left() -> None:
    before = set(os.listdir("/proc/self/fd")), children()
    python("answer(b'x'); time.sleep(100)", limit=0.5)
    assert (set(os.listdir("/proc/self/fd")), children()) == before
