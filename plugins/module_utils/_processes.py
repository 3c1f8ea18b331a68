# Bounded work in a child process: limits for time, processor, memory and answer, and nothing of it is left running.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import faulthandler
import io
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING, Callable, Mapping, NamedTuple

if TYPE_CHECKING:
    from ._trust import User

OUTPUT = 65536  # of what a child prints, the last bytes are kept
_TICK = 50  # milliseconds after which a child is looked after that says nothing
_DYING = 5.0  # seconds for a child, and what it left behind, to be gone after SIGKILL
_MIB = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_adopts = False


class Limits(NamedTuple):
    """What a child may use; it is ended beyond that. None: whatever this user may use (the hard limit)."""

    seconds: float
    cpu: int | None = None
    """Seconds of the processor."""
    memory: int | None = None
    """Bytes that it may write to (RLIMIT_DATA). The address space would count what is only mapped or reserved, too, and
    interpreters that load large libraries when they start have gigabytes of that."""
    files: bool = True
    """Whether it may write to files at all (RLIMIT_FSIZE); it answers by a pipe."""
    answer: int = 64 * _MIB


class Answer(NamedTuple):
    """What a child said and how it ended."""

    text: bytes
    ending: str
    """Exit status or signal."""
    limit: str | None = None
    """The limit at which it was ended; None where it came to its own end."""
    output: bytes = b""
    """The end of what it printed."""


def run(
    command: list[str],
    request: bytes,
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    for_parent: bool = False,
    user: User | None = None,
) -> Answer:
    """Run ``command`` with ``request`` as its standard input; it and its process group are ended within the limits.

    To its arguments is added where it is to answer, as ``descriptor:device:inode``: what runs before it does may have
    closed the descriptor, and opened a file under its number. Its working directory is ``/``. With ``user``, root
    starts it as that one. Raises OSError when it cannot be started and, with ``for_parent``, SystemExit when this
    process has lost its parent, so that nobody waits for the answer any more.
    """

    def become() -> None:
        _limit(0, limits)  # (another user's process is out of reach without CAP_SYS_RESOURCE)
        if user:
            user.become()

    def start(stdin: int, answer: int, output: int) -> int:
        pipe = os.fstat(answer)
        try:
            # (run_command has no time limit and needs Ansible)
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [*command, "%d:%d:%d" % (answer, pipe.st_dev, pipe.st_ino)],
                stdin=stdin,
                stdout=output,
                stderr=output,
                cwd="/",
                env={**(environment or os.environ), **user.variables()} if user else environment,
                pass_fds=[answer],
                start_new_session=True,
                # (user= of Popen came with Python 3.9; this process has one thread)
                preexec_fn=become if user else None,  # noqa: PLW1509
            )
        except subprocess.SubprocessError:
            reason = "this process cannot become user %s, or others may write on the way to it"
            raise OSError(errno.EPERM, reason % (user.name if user else "")) from None
        try:
            if not user:  # (from here: a function that runs before the program makes the start dearer)
                _limit(process.pid, limits)
        except OSError:
            process.kill()
            process.wait()
            raise
        process.returncode = 0  # (waited for below)
        return process.pid

    return _bounded(start, request, limits, os.getppid() if for_parent else None)


def in_child(work: Callable[[Callable[[bytes], object]], object], limits: Limits) -> Answer:
    """Let ``work`` run in a child of this interpreter, with the memory of this process as it is now.

    It gets a function that it answers by, once or several times. What raises there is printed as a traceback.
    """

    def start(stdin: int, answer: int, output: int) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setsid()
                _limit(0, limits)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(int(min(limits.seconds, 1e8)) + 3)  # (should the process that watches over it be killed)
                for descriptor, standard in ((stdin, 0), (output, 1), (output, 2)):
                    os.dup2(descriptor, standard)
                faulthandler.disable()  # (it would print to where it was told to)
                work(lambda text: _write(answer, text))
                status = 0
            except MemoryError:
                os.write(2, b"it needs more memory than the limit of %d MiB" % ((limits.memory or 0) // _MIB))
            except BaseException:  # noqa: BLE001 (nothing of this process may go on in the child)
                os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace")[-OUTPUT:])
            finally:
                os._exit(status)
        return pid

    return _bounded(start, b"", limits, None)


def adopt_orphans() -> None:
    """From now on end, with each child, also what it started and left behind in whatever session.

    For a process that is there for one job alone: whatever it gets as a child later on is ended. Orphans below it come
    to it instead of to init (PR_SET_CHILD_SUBREAPER in prctl(2)); without ctypes or on an old kernel they do not.
    """
    global _adopts  # noqa: PLW0603 (as the kernel has it: of the process)
    try:
        import ctypes

        _adopts = ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    except (ImportError, OSError, AttributeError):
        _adopts = False


def _limit(pid: int, limits: Limits) -> None:
    """Set the limits of a process (0: this one). Only soft ones: for imports there is again what there was."""
    for kind, most in (
        (resource.RLIMIT_CPU, limits.cpu),
        (resource.RLIMIT_DATA, limits.memory),
        (resource.RLIMIT_FSIZE, None if limits.files else 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        soft = hard if most is None else most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(pid, kind, (soft, hard))


def _bounded(start: Callable[[int, int, int], int], request: bytes, limits: Limits, parent: int | None) -> Answer:
    """What is common to both kinds: the pipes, what comes by them within the limits, and the end of it all.

    ``start`` gets the child's ends (standard input, answer, output) and returns its pid.
    """
    (stdin, feeding), (answering, its_answer), (printing, its_output) = (os.pipe() for _use in range(3))
    feed, answer, output = io.FileIO(feeding, "w"), io.FileIO(answering), io.FileIO(printing)
    try:
        try:
            pid = start(stdin, its_answer, its_output)
        finally:
            for descriptor in (stdin, its_answer, its_output):
                os.close(descriptor)
        heard = {answer: bytearray(), output: bytearray()}
        try:
            limit = _listen(pid, feed, memoryview(request), heard, limits, parent)
        finally:
            status = _end(pid)
        for stream, said in heard.items():
            _hear(stream, said)
    finally:
        for stream in (feed, answer, output):
            stream.close()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        ending = "signal %d (%s)" % (number, signal.strsignal(number))
        if number == signal.SIGXCPU and limits.cpu is not None:
            limit = "it used up %d s of the processor" % limits.cpu
    else:
        ending = "exit status %d" % os.WEXITSTATUS(status)
    return Answer(bytes(heard[answer]), ending, limit, bytes(heard[output][-OUTPUT:]))


def _listen(
    pid: int,
    feed: io.FileIO,
    request: memoryview,
    heard: Mapping[io.FileIO, bytearray],
    limits: Limits,
    parent: int | None,
) -> str | None:
    """Hand over the request and take what comes until the child has ended (None) or a limit is reached (which one).

    The end of the child counts, not the end of the streams: a program that it left behind may hold those open.
    """
    deadline = time.monotonic() + limits.seconds
    answer, output = heard
    streams = select.poll()
    for stream, event in ((feed, select.POLLOUT), (answer, select.POLLIN), (output, select.POLLIN)):
        os.set_blocking(stream.fileno(), False)
        streams.register(stream, event)
    still = {stream.fileno(): stream for stream in heard}
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if parent not in (None, os.getppid()):
            raise SystemExit("the process that asked for this has ended")
        left = deadline - time.monotonic()
        if left <= 0:
            return "it did not answer within %g s" % limits.seconds
        # (of what has closed everything, only the end is to be waited for)
        for descriptor, _event in streams.poll(min(left * 1000, _TICK if still else 1)):
            if descriptor in still:
                if not _hear(still[descriptor], heard[still[descriptor]]):
                    streams.unregister(still.pop(descriptor))
                continue
            try:
                request = request[feed.write(request[:OUTPUT]) or 0 :]
            except BrokenPipeError:  # (it does not read)
                request = request[:0]
            if not request:
                streams.unregister(feed)
                feed.close()
        del heard[output][:-OUTPUT]
        if len(heard[answer]) > limits.answer:
            return "it answered more than %d bytes" % limits.answer
    return None


def _hear(stream: io.FileIO, heard: bytearray) -> bool:
    """Take what has come by now; False at the end of the stream."""
    said = stream.read(OUTPUT)
    heard += said or b""
    return said != b""


def _end(pid: int) -> int:
    """End a child, its group and, where orphans come to this process, all that it left behind; its status."""
    for end in (os.killpg, os.kill):  # (a child that was only just started has no group yet)
        try:
            end(pid, signal.SIGKILL)
        except OSError:
            pass
    deadline = time.monotonic() + _DYING
    ended, status = os.waitpid(pid, os.WNOHANG)
    while not ended and time.monotonic() < deadline:  # (one that waits for a dead disk cannot be ended)
        time.sleep(0.001)
        ended, status = os.waitpid(pid, os.WNOHANG)
    while _adopts and _has_children() and time.monotonic() < deadline:
        for orphan in _children():
            try:
                os.kill(orphan, signal.SIGKILL)
            except PermissionError:
                pass  # (it became another user)
            os.waitpid(orphan, os.WNOHANG)
        time.sleep(0.001)
    return status if ended else signal.SIGKILL


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children() -> list[int]:
    """The children of this process by /proc. None of their numbers can be another's by then: only we wait for them."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % name, "rb") as stream:
                if int(stream.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    found.append(int(name))
        except OSError:
            pass  # (it has ended meanwhile)
    return found


def _write(descriptor: int, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[os.write(descriptor, left) :]
