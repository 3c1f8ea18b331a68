# Writes the files of a report into a directory of the controller, each in one step.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import tempfile
import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils import _limits, _metrics, _page, _report

if t.TYPE_CHECKING:
    Data = dict[str, t.Any]


def write(report: Data, directory: str) -> tuple[str, dict[str, int]]:
    """Write report.json, report.html, report.prom and the files for --limit. Raises OSError.

    Return the path of the page, and the paths of files for --limit, each with its number of nodes.
    """
    texts = (
        ("report.json", _report.text(report), 0o600),  # (it has command lines of processes)
        ("report.html", _page.html(report), 0o644),
        ("report.prom", _metrics.text(report), 0o644),
    )
    os.makedirs(directory, exist_ok=True)
    for name, text, mode in texts:
        _replace(os.path.join(directory, name), text, mode)
    found = {}
    for name, nodes in _limits.limits(report).items():
        path = os.path.join(directory, name)
        if nodes:
            _replace(path, "".join(f"{node}\n" for node in nodes), 0o644)
            found[path] = len(nodes)
        elif os.path.lexists(path):
            os.unlink(path)
    return os.path.join(directory, "report.html"), found


def _replace(path: str, text: str, mode: int) -> None:
    """Write a file so that whoever reads it finds the old or the new one whole."""
    descriptor, new = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(descriptor, mode)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
