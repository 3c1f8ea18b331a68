# Interpreters run as child processes: an answer on a descriptor of its own, a process group of its own, a time limit.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from typing import IO, Any, Mapping, NamedTuple


class Answer(NamedTuple):
    """What a child said and how it ended."""

    text: bytes
    timed_out: bool
    ending: str


def run(
    command: list[str],
    request: bytes,
    limit: float,
    output: IO[Any] | None = None,
    environment: Mapping[str, str] | None = None,
    for_parent: bool = False,
) -> Answer:
    """Run ``command`` with ``request`` as its standard input, and end its whole process group after ``limit`` seconds.

    The number of the descriptor that it is to answer on is added to its arguments. What it prints goes to ``output``,
    or nowhere. Its working directory is ``/``. Raises OSError when it cannot be started and, with
    ``for_parent``, SystemExit when this process has lost its parent, so that nobody waits for the answer any more.
    """
    parent = os.getppid() if for_parent else None
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as stdin:  # (a file: a child that does not read cannot block us)
        stdin.write(request)
        stdin.seek(0)
        try:
            # (run_command has no time limit and needs Ansible)
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [*command, str(writer)],
                stdin=stdin,
                stdout=output or subprocess.DEVNULL,
                stderr=output or subprocess.DEVNULL,
                cwd="/",
                env=environment,
                pass_fds=[writer],
                start_new_session=True,
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
    timed_out = False
    try:
        text, timed_out = _read(reader, process, limit, parent)
    finally:
        os.close(reader)
        try:
            os.killpg(process.pid, signal.SIGKILL)  # also what a finished child left behind
        except ProcessLookupError:
            pass
        status = process.wait()
    died = "signal %d (%s)" % (-status, signal.strsignal(-status)) if status < 0 else None
    return Answer(text, timed_out, died or "exit status %d" % status)


def _read(reader: int, process: subprocess.Popen[bytes], limit: float, parent: int | None) -> tuple[bytes, bool]:
    """All that comes until the child ends or time is up.

    The end of the child counts, not the end of the stream: a program that it left behind may hold that open.
    """
    chunks: list[bytes] = []
    deadline = time.monotonic() + limit
    while True:
        if parent not in (None, os.getppid()):
            raise SystemExit("the process that asked for this has ended")
        ended = process.poll() is not None
        left = deadline - time.monotonic()
        if left <= 0 and not ended:
            return b"".join(chunks), True
        ready, _w, _x = select.select([reader], [], [], 0 if ended else min(left, 0.05))
        chunk = os.read(reader, 65536) if ready else b""
        chunks.append(chunk)
        if ended and not chunk:
            return b"".join(chunks), False
        if ready and not chunk:  # nobody holds the stream any more: only the end is to be waited for
            try:
                process.wait(max(0.0, min(left, 0.05)))
            except subprocess.TimeoutExpired:
                pass
