# Child processes: the answer comes by its own descriptor, and nothing that a child does can hold us up.
from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _processes

LIMITS = _processes.Limits(20.0)
START = (
    "import os, signal, subprocess, sys, time\n"
    "descriptor = int(sys.argv[1].partition(':')[0])\n"
    "def answer(text): os.write(descriptor, text)\n"
)


def python(code: str, *, limit: float = 20.0, request: bytes = b"", **limits: Any) -> _processes.Answer:
    """Run Python code that may call ``answer(bytes)``."""
    return _processes.run([sys.executable, "-c", START + code], request, _processes.Limits(limit, **limits))


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


def test_answer_is_what_the_descriptor_got_and_the_output_is_apart() -> None:
    answer = python("print('noise', flush=True); os.write(2, b'more'); answer(b'the answer')")
    assert answer == _processes.Answer(b"the answer", "exit status 0", None, b"noise\nmore")


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
    assert (answer.limit, answer.ending) == ("it did not answer within 1 s", "signal 9 (Killed)")
    assert gone(int(answer.text))


def test_what_a_finished_child_left_in_its_group_is_ended() -> None:
    answer = python("child = subprocess.Popen(['sleep', '100']); answer(b'%d' % child.pid)")
    assert answer.limit is None
    assert gone(int(answer.text))


def test_a_daemon_that_holds_the_descriptor_does_not_hold_us() -> None:
    code = "if os.fork():\n  answer(b'done'); os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\ntime.sleep(8)"
    start = time.monotonic()
    assert python(code).text == b"done"
    assert time.monotonic() - start < 5


def test_a_child_that_closes_the_descriptor_and_hangs_is_ended() -> None:
    start = time.monotonic()
    answer = python("answer(b'x'); os.close(descriptor); time.sleep(100)", limit=1.0)
    assert (answer.text, answer.limit) == (b"x", "it did not answer within 1 s")
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
    assert answer == _processes.Answer(b"before", ending)


def test_environment_is_the_one_given() -> None:
    command = [sys.executable, "-c", START + "answer(os.environ.get('X', '').encode())"]
    assert _processes.run(command, b"", LIMITS, environment={"X": "given"}).text == b"given"


@pytest.mark.parametrize("path", ["/", "/does/not/exist"])
def test_what_cannot_be_started_leaks_no_descriptor(path: str) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"."):
        _processes.run([path], b"", LIMITS)
    assert set(os.listdir("/proc/self/fd")) == before


# --- limits, of both kinds


def forked(code: str, *, limit: float = 20.0, **limits: Any) -> _processes.Answer:
    """Run the same code in a forked child."""

    def work(say: Any) -> None:
        exec(code, {"answer": say, "os": os, "signal": signal, "subprocess": subprocess, "sys": sys, "time": time})  # noqa: S102

    return _processes.in_child(work, _processes.Limits(limit, **limits))


KINDS = pytest.mark.parametrize("kind", [python, forked])
MIB = 1 << 20


@KINDS
@pytest.mark.parametrize(
    ("code", "limits", "limit", "ending"),
    [
        ("while True: pass", {"cpu": 1}, "it used up 1 s of the processor", "signal 24 (CPU time limit exceeded)"),
        ("time.sleep(100)", {"limit": 0.5}, "it did not answer within 0.5 s", "signal 9 (Killed)"),
        ("while True: answer(b'x' * 9999)", {"answer": 5000}, "it answered more than 5000 bytes", "signal 9 (Killed)"),
        ("x = [b'x' * 2**20 for _ in range(999)]", {"memory": 400 * MIB}, None, "exit status 1"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", {}, None, "signal 11 (Segmentation fault)"),
        ("while True: os.write(1, b'x' * 9999)", {"limit": 1.0}, "it did not answer within 1 s", "signal 9 (Killed)"),
    ],
)
def test_a_child_is_ended_at_each_limit(
    kind: Any, code: str, limits: dict[str, Any], limit: str | None, ending: str
) -> None:
    answer = kind(f"answer(b'before')\n{code}", **limits)
    assert (answer.text[:6], answer.limit, answer.ending) == (b"before", limit, ending)
    assert len(answer.text) < 1 * MIB
    assert len(answer.output) <= _processes.OUTPUT


@KINDS
def test_a_child_writes_no_files_where_it_needs_none(kind: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    code = f"try: os.write(os.open({str(file)!r}, os.O_CREAT | os.O_WRONLY), b'x')\nexcept OSError as e: "
    code += "answer(e.strerror.encode())"
    assert kind(code, files=False).text == b"File too large"
    assert file.read_bytes() == b""


@KINDS
def test_output_is_dropped_but_for_its_end(kind: Any) -> None:
    """A gigabyte neither blocks the child nor is it kept."""
    code = "block = b'x' * 2**20\nfor _ in range(1024): os.write(1, block)\nos.write(2, b'the end')\nanswer(b'done')"
    answer = kind(code)
    assert answer.text == b"done"
    assert answer.output.endswith(b"xxthe end")
    assert len(answer.output) == _processes.OUTPUT


def test_what_needs_too_much_memory_says_so() -> None:
    answer = forked("x = [b'x' * 2**20 for _ in range(999)]", memory=400 * MIB)
    assert answer.output == b"it needs more memory than the limit of 400 MiB"


def test_what_raises_in_a_forked_child_is_its_output_and_ends_only_that() -> None:
    answer = forked("answer(b'before'); raise SystemExit('no')")
    assert (answer.text, answer.ending) == (b"before", "exit status 1")
    assert answer.output.endswith(b"SystemExit: no\n")


def children() -> set[str]:
    """Return the pids of this process's children; zombies count."""
    command = ["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
    return {line for line in found if not line.endswith(" ps")}


@KINDS
def test_a_child_leaves_no_descriptor_no_process_and_prints_nothing(
    kind: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    before = set(os.listdir("/proc/self/fd")), children()
    kind("os.write(1, b'x'); answer(b'x'); time.sleep(100)", limit=0.5)
    assert (set(os.listdir("/proc/self/fd")), children()) == before
    assert capfd.readouterr() == ("", "")


def test_a_child_within_a_child_gets_back_what_there_was() -> None:
    """The limits of a look are not those of the imports that it tries."""
    code = START + "import resource; answer(repr([resource.getrlimit(n)[0] for n in (0, 1, 2)]).encode())"

    def work(say: Any) -> None:
        say(_processes.run([sys.executable, "-c", code], b"", LIMITS).text)

    limited = _processes.in_child(work, _processes.Limits(20.0, cpu=10, memory=512 * MIB, files=False))
    hard = [resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA)]
    assert limited.text.decode() == repr(hard)


# --- what a child leaves behind

LEAVES = (
    "for _ in range(3):\n"
    "  if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork(): os._exit(0)\n"
    "    os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN); answer(b'%d ' % os.getpid()); time.sleep(100)\n"
    "time.sleep(0.3)\n"
)


def test_daemons_of_a_child_are_ended_where_orphans_come_to_us() -> None:
    def work(say: Any) -> None:
        _processes.adopt_orphans()
        answer = python(LEAVES)
        left = [pid for pid in map(int, answer.text.split()) if Path(f"/proc/{pid}").exists()]
        say(json.dumps([len(answer.text.split()), left, answer.ending]).encode())

    assert json.loads(_processes.in_child(work, LIMITS).text) == [3, [], "exit status 0"]


def test_nobody_elses_process_is_touched_and_this_one_stays_as_it_was() -> None:
    """A process that did not ask for orphans keeps its other children, and gets none."""
    other = subprocess.Popen(["sleep", "100"], start_new_session=True)
    before = children()
    try:
        answer = python(LEAVES)
        pids = [int(pid) for pid in answer.text.split()]
        assert len(pids) == 3
        assert other.poll() is None
        assert children() == before
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    finally:
        other.kill()
        other.wait()
