# Files for --limit, beside the report: the nodes to be gone over once more, one a line. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils._shown import printable

if t.TYPE_CHECKING:
    from collections.abc import Mapping

FILES = {"failed.limit": ("failed", "unreachable"), "drifted.limit": ("drifted",)}
"""Name of a file: the statuses of the nodes in it."""


def limits(report: Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Return the nodes of each file, of a report that ``_report.build`` made.

    A file without nodes must not be: Ansible takes an empty one for no limit at all.
    """
    nodes = [node for node in report["nodes"] if printable(node["name"]) == node["name"]]
    return {name: [node["name"] for node in nodes if node["status"] in statuses] for name, statuses in FILES.items()}
