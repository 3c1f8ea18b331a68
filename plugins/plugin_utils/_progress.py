# The line on a terminal that tells how far the nodes of a task are, while it runs.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""It stands on the terminal's last line, and is taken away before anything else is printed there.

Everything that Ansible prints is written to ``sys.stdout`` or ``sys.stderr``, under the lock of its ``Display``: both
are watched while the line is there. It holds numbers and words of ours, and nothing that a node said.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible.utils.display import Display

FEWEST = 21  # nodes for which it is worth a line
_CLEAR = "\r\x1b[K"  # to the line's begin, and nothing from there on
_MINUTE = 60  # seconds


def is_wanted(nodes: int, environment: Mapping[str, str]) -> bool:
    """Tell whether somebody watches: a terminal that can take back what it shows, and no CI job."""
    is_dumb = environment.get("TERM", "dumb") == "dumb"
    return nodes >= FEWEST and sys.stdout.isatty() and not is_dumb and not environment.get("CI")


class Progress:
    """The line of one task on that many nodes."""

    def __init__(self, nodes: int, display: Display, now: Callable[[], float] = time.monotonic) -> None:
        """Show the line; nothing is done yet."""
        self._nodes, self._display, self._now = nodes, display, now
        self._done = self._changed = self._failed = 0
        self._begin = now()
        self._line = ""  # as it is drawn
        self._is_shown = False
        self._screen = sys.stdout.write  # (that of Ansible, which locks)
        self._watched = [(stream, stream.write) for stream in (sys.stdout, sys.stderr) if stream.isatty()]
        for stream, write in self._watched:
            stream.write = self._clearing(write)  # type: ignore[method-assign]
        self._draw()

    def add(self, *, changed: bool, failed: bool) -> None:
        """Count one more node, and show it; with the last one the line is gone."""
        self._done += 1
        self._changed += changed and not failed
        self._failed += failed
        if self._done >= self._nodes:
            self.end()
        else:
            self._draw()

    def end(self) -> None:
        """Take the line away for good. Once is enough, twice is no harm."""
        if self._is_shown:
            self._display.display("", newline=False, screen_only=True)
            sys.stdout.flush()
        for stream, write in self._watched:
            stream.write = write  # type: ignore[method-assign]
        self._watched = []

    def text(self) -> str:
        """Return what the line says."""
        left = self._nodes - self._done
        told = f"{self._done} of {self._nodes} nodes done: {self._changed} changed, {self._failed} failed; {left} left"
        return f"{told}, about {duration((self._now() - self._begin) / self._done * left)}" if self._done else told

    def _draw(self) -> None:
        if self._watched:
            self._line = self.text()[: _columns() - 1]
            self._display.display(self._line, newline=False, screen_only=True)
            sys.stdout.flush()

    def _clearing(self, write: Callable[[str], int]) -> Callable[[str], int]:
        """Return what writes to a stream, and first takes the line away."""

        def written(text: str) -> int:
            if self._is_shown:
                self._screen(_CLEAR)
                sys.stdout.flush()
            self._is_shown = text == self._line
            return write(text)

        return written


def duration(seconds: float) -> str:
    """Return a length of time in words that are true enough: "40 s", "3 min"."""
    return f"{seconds:.0f} s" if round(seconds) < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
