# Starts a program, waits for it, and turns a failure into one error that shows its output.
from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class CommandError(RuntimeError):
    """A program of the lab ended with an error; the text holds the command and the end of its output."""


def run(*command: str | Path, env: Mapping[str, str] | None = None, timeout: float = 1800) -> str:
    """Run ``command`` without a terminal and return what it printed.

    :raises CommandError: when it exits non-zero or takes longer than ``timeout`` seconds.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{shlex.join(words)}: no end after {timeout:.0f} s") from error
    if done.returncode:
        raise CommandError(f"{shlex.join(words)}: exit {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout
