# Merges reports of a fleet: python3 merge_reports.py --help. The playbook merge_reports.yml runs it.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs from wherever the collection is installed, with an interpreter that has jinja2, as Ansible's own has."""

from __future__ import annotations

import sys
import types
from pathlib import Path

_COLLECTION = Path(__file__).absolute().parents[1]


def main() -> int:
    """Let the collection be found as Ansible would, which is not here, and run the command."""
    packages: dict[str, list[str]] = {"ansible_collections": [], "ansible_collections.primus": []}
    for name, paths in {**packages, "ansible_collections.primus.patches": [str(_COLLECTION)]}.items():
        module = types.ModuleType(name)
        module.__path__ = paths
        sys.modules[name] = module
    try:
        from ansible_collections.primus.patches.plugins.plugin_utils import _merge_command  # noqa: PLC0415
    except ImportError as error:
        sys.stderr.write(
            f"{sys.executable}: {error}. Expected an interpreter with jinja2, as Ansible's own has: the first line of "
            "ansible-playbook names it. Or run the playbook: ansible-playbook primus.patches.merge_reports\n"
        )
        return 2
    return _merge_command.main()


if __name__ == "__main__":
    sys.exit(main())
