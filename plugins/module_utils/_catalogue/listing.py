# Lists the catalogue on any machine that has Python: `python3 .../_catalogue/listing.py [--json] [NAME ...]`.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from typing import Any, Mapping, Sequence

_COLUMNS = ("name", "package", "versions", "file")
_WIDTH = 100


def main(catalogue: Sequence[Mapping[str, Any]]) -> int:
    """Print the patches that the arguments name; returns the exit status, 2 for a name that is not there."""
    parser = argparse.ArgumentParser(description="List the patches of primus.patches.")
    parser.add_argument("name", nargs="*", help="patches to be listed (default: all)")
    parser.add_argument("--json", action="store_true", help="print whole definitions, as one JSON list")
    options = parser.parse_args()
    known = [patch["name"] for patch in catalogue]
    unknown = [name for name in options.name if name not in known]
    if unknown:
        sys.stderr.write("unknown patch %s; known: %s\n" % (", ".join(unknown), ", ".join(known)))
        return 2
    chosen = [patch for patch in catalogue if not options.name or patch["name"] in options.name]
    sys.stdout.write((json.dumps(chosen, indent=2) if options.json else table(chosen)) + "\n")
    return 0


def table(patches: Sequence[Mapping[str, Any]]) -> str:
    """The patches in columns, each with what it is for below; without ``file``, the first one that an edit names."""
    rows = [[heading.upper() for heading in _COLUMNS], *map(_row, patches)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    printed = lines[:1]
    for patch, line in zip(patches, lines[1:]):
        printed.append(line)
        for key in ("reason", "upstream", "retire"):
            indent = "    %-9s " % key
            text = textwrap.wrap(patch[key], _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
            printed.extend((indent if number == 0 else " " * len(indent)) + part for number, part in enumerate(text))
    return "\n".join(printed)


def _row(patch: Mapping[str, Any]) -> list[str]:
    files = [edit["file"] for edit in patch["edits"] if "file" in edit]
    package = patch.get("package") or patch["distribution"]
    return [patch["name"], package, patch["versions"], patch.get("file") or next(iter(files), "-")]


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.path[0] = os.path.join(os.path.dirname(os.path.realpath(__file__)), os.pardir, os.pardir)
    from module_utils._catalogue import CATALOGUE  # type: ignore[import-not-found]  # (found through the line above)

    raise SystemExit(main(CATALOGUE))
