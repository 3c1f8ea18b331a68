# System calls of a forked child, each decided on by this process before the kernel carries it out.
"""Faults are put where they come from: what fails is the system call itself, whichever code made it.

A filter of the kernel (seccomp user notification, Linux 5.5; compare seccomp_unotify(2)) stops the child at each call
that is named, and this process answers: go on, fail with an errno, or die. ``strace -e inject=`` does the same by
ptrace, a hundred times slower; functions of ``os`` that are replaced would miss what Python calls by itself (closing a
file, listing for an import). Needs libseccomp 2.5, which Debian's ``apt`` and systemd need too; no root.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import fcntl
import functools
import importlib
import os
import pickle
import select
import signal
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# What reaches the file system, or a file that is open. (Names that a machine does not have are left out.)
FILES = (
    *("open", "openat", "openat2", "creat", "close", "read", "pread64", "readv", "preadv", "preadv2"),
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "lseek", "ftruncate", "truncate", "fallocate"),
    *("stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2"),
    *("readlink", "readlinkat", "getdents", "getdents64", "getcwd", "chdir", "fchdir"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "utimensat", "utimes", "futimesat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat"),
    *("fsync", "fdatasync", "sync_file_range", "syncfs", "flock", "fcntl", "ioctl", "copy_file_range", "sendfile"),
    *("getxattr", "lgetxattr", "fgetxattr", "setxattr", "lsetxattr", "fsetxattr"),
    *("listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr"),
)
KILL = -1
_ALLOW, _NOTIFY, _GO_ON = 0x7FFF0000, 0x7FC00000, 1  # SCMP_ACT_ALLOW, SCMP_ACT_NOTIFY (seccomp.h)
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND (linux/seccomp.h)
_PR_SET_PDEATHSIG = 1
_SECONDS = 120  # no work here takes as long: then the child hangs


class _Call(ctypes.Structure):
    """The kernel's struct seccomp_notif."""

    _fields_ = (
        *(("id", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("flags", ctypes.c_uint32)),
        *(("number", ctypes.c_int), ("arch", ctypes.c_uint32), ("ip", ctypes.c_uint64)),
        ("arguments", ctypes.c_uint64 * 6),
    )


class _Answer(ctypes.Structure):
    """The kernel's struct seccomp_notif_resp."""

    _fields_ = (
        *(("id", ctypes.c_uint64), ("value", ctypes.c_int64)),
        *(("error", ctypes.c_int32), ("flags", ctypes.c_uint32)),
    )


class Ending(NamedTuple):
    """What became of the work."""

    value: Any
    """What it returned; None where it did not come to that."""
    error: str | None
    """What it raised."""
    calls: list[str]
    """The names of its calls, in order."""
    killed: bool


def supervise(work: Callable[[], Any], decide: Callable[[int, str], int], done_first: bool = False) -> Ending:  # noqa: FBT001, FBT002
    """Do the work in a forked child and let ``decide`` say, by number (from 0) and name, what becomes of each call.

    0 lets the kernel carry it out, an errno is what the child gets instead, KILL ends the child before it.
    ``done_first``: a rename, link or unlink that is to fail is carried out all the same, as when a file server's
    answer is lost. Raises TimeoutError where the child does not end.
    """
    library = _library()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            ours.close()
            _serve(library, work, theirs)
        os._exit(1)
    theirs.close()
    calls: list[str] = []
    try:
        with ours:
            _text, (listener,), _flags, _address = socket.recv_fds(ours, 1, 1)
            try:
                killed = _answer(library, listener, child, calls, decide, done_first)
            finally:
                os.close(listener)
            with ours.makefile("rb") as stream:
                answer = stream.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.waitpid(child, 0)
    value, error = pickle.loads(answer) if answer else (None, None)  # noqa: S301 (from our own child)
    return Ending(value, error, calls, killed)


def _serve(library: ctypes.CDLL, work: Callable[[], Any], answer: socket.socket) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # (who waits for an answer of nobody's waits for ever)
    importlib.import_module("array")  # (send_fds() would do so under the filter, before anybody answers)
    socket.send_fds(answer, [b"."], [_filter(library)])
    try:
        said = pickle.dumps((work(), None))
    except BaseException as error:  # noqa: BLE001 (told to the parent)
        said = pickle.dumps((None, f"{type(error).__name__}: {error}"))
    answer.sendall(said)  # (sendto(2) is no call on a file)
    os._exit(0)


def _answer(
    library: ctypes.CDLL,
    listener: int,
    child: int,
    calls: list[str],
    decide: Callable[[int, str], int],
    done_first: bool,  # noqa: FBT001
) -> bool:
    """Answer until nobody under the filter is left; whether the child was killed."""
    names = {number: name for name, number in _numbers(library).items()}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ready = poll.poll(_SECONDS * 1000)
        if not ready:
            raise TimeoutError(f"the child did not end within {_SECONDS} s; its last calls: {calls[-5:]}")
        if not ready[0][1] & select.POLLIN:
            return False
        call = _Call()
        try:
            fcntl.ioctl(listener, _RECEIVE, call)
        except FileNotFoundError:  # (who made the call has ended)
            continue
        name = names[call.number]
        verdict = decide(len(calls), name)
        calls.append(name)
        if verdict == KILL:
            os.kill(call.pid, signal.SIGKILL)
            if call.pid == child:
                return True
            continue
        if verdict and done_first:
            _carry_out(name, call)
        answer = _Answer(id=call.id, error=-verdict, flags=0 if verdict else _GO_ON)
        with contextlib.suppress(FileNotFoundError):
            fcntl.ioctl(listener, _SEND, answer)


def _carry_out(name: str, call: _Call) -> None:
    """Do in the child's stead what it asks for: those of our calls that change a directory."""
    there = f"/proc/{call.pid}/fd/"
    with contextlib.suppress(OSError), open(f"/proc/{call.pid}/mem", "rb", buffering=0) as memory:

        def entry(descriptor: int, address: int) -> str:
            memory.seek(address)
            return f"{there}{descriptor}/{os.fsdecode(memory.read(512).partition(bytes(1))[0])}"

        first = entry(*call.arguments[:2])
        if name == "renameat":
            os.rename(first, entry(*call.arguments[2:4]))
        elif name == "linkat":
            os.link(first, entry(*call.arguments[2:4]), follow_symlinks=False)
        elif name == "unlinkat":
            os.unlink(first)


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(ctypes.util.find_library("seccomp") or "libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    ]
    library.seccomp_load.argtypes = library.seccomp_notify_fd.argtypes = [ctypes.c_void_p]
    return library


def _numbers(library: ctypes.CDLL) -> dict[str, int]:
    found = {name: library.seccomp_syscall_resolve_name(name.encode()) for name in FILES}
    return {name: number for name, number in found.items() if number >= 0}


def _filter(library: ctypes.CDLL) -> int:
    """Put this process under the filter, for good; the descriptor on which its calls are answered."""
    context = library.seccomp_init(_ALLOW)
    for number in _numbers(library).values():
        _check(library.seccomp_rule_add_array(context, _NOTIFY, number, 0, None))
    _check(library.seccomp_load(context))
    return int(library.seccomp_notify_fd(context))


def _check(code: int) -> None:
    if code:
        raise OSError(-code, f"seccomp: {os.strerror(-code)}")


def missing() -> str | None:
    """Why system calls cannot be decided on here; None where they can."""
    try:
        ending = supervise(lambda: os.stat("/"), lambda _number, _name: errno.EIO)
    except (OSError, AttributeError, ValueError) as error:
        return f"expected libseccomp 2.5 and a kernel that lets a filter be put in place, found: {error}"
    return None if ending.error and "Errno 5" in ending.error else f"a call was not stopped: {ending}"
