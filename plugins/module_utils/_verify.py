# The command `verify` of primus-patches.pyz: files of installed packages that differ from what was installed.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import time
from typing import Any, Mapping, Sequence

from . import _options, _outcome

_TEXT = """
Holds every file of these distributions against the hashes in RECORD (of one that is installed in place: in git's
index), and names those that were changed, taken away or added. What a patch of ours explains is named as declared and
does not count: one that the store tells of, or that --patch names and whose very bytes somebody put there by hand.
Changes nothing. Without names, all distributions of the environment are looked at.

  primus-patches.pyz verify --python /opt/venv/bin/python
  primus-patches.pyz verify --python /opt/venv/bin/python transformers megatron-core
  primus-patches.pyz verify --python /opt/venv/bin/python --patch patches/
  primus-patches.pyz verify --path /opt/venv/lib/python3.11/site-packages torch --libraries

To keep an edit, make a patch file of it (`capture`); to be rid of it, reinstall the distribution.

Exit status: 0 nothing undeclared was found, 1 something was, 2 it cannot be told, not all was looked at, or an error.
"""
_SHOWN = 200  # files that are named
_UNDECLARED = ("changed", "missing", "added")


def add(subparsers: Any) -> None:
    """Add the command; ``subparsers``: what argparse's ``add_subparsers`` returns."""
    text = "name files that nobody declared a change of"
    parser = _options.subcommand(subparsers, "verify", text, _TEXT, _run)
    parser.add_argument("names", nargs="*", metavar="DISTRIBUTION", help="a distribution (default: all)")
    parser.add_argument(
        "--libraries", action="store_true", help="read compiled libraries, too, and not only their size"
    )
    _options.patches(parser, required=False)
    _options.answer(parser)
    _options.where(parser)


def _run(options: argparse.Namespace) -> int:
    request = _options.request(
        options, "verify", integrity=options.names or ["all"], integrity_libraries=options.libraries, check_mode=True
    )
    result = _outcome.carry_out(request)
    found = result.get("integrity") or []
    text = "" if options.quiet or result.get("failed") else _lines(found, named=bool(options.names))
    return _outcome.end(result, text, _status(found, named=bool(options.names)), options.json)


def _status(found: Sequence[Mapping[str, Any]], *, named: bool) -> int:
    """The exit status. Where all were meant, one that cannot be told as it has no RECORD is as good as not there."""
    if any(_undeclared(each) for each in found):
        return _outcome.DRIFTED
    doubtful = [each for each in found if not each["complete"] and (named or each["source"] is not None)]
    looked = any(each["source"] is not None for each in found)
    return _outcome.HEALTHY if looked and not doubtful else _outcome.UNKNOWN


def _undeclared(each: Mapping[str, Any]) -> int:
    return sum(each["counts"][kind] for kind in _UNDECLARED)


def _lines(found: Sequence[Mapping[str, Any]], *, named: bool) -> str:
    lines: list[str] = []
    for each in found:
        if named or _undeclared(each) or each["reason"] or each["found"]:
            lines += _distribution(each)
    files = sum(each["files"] for each in found)
    edits = sum(map(_undeclared, found))
    totals = (_many(files, "file"), _many(len(found), "distribution"), _many(edits, "undeclared edit"))
    return "\n".join([*lines, "%s of %s, %s" % totals])


def _many(count: int, what: str) -> str:
    return "%d %s%s" % (count, what, "" if count == 1 else "s")


def _distribution(each: Mapping[str, Any]) -> list[str]:
    counts = ", ".join("%d %s" % (number, kind) for kind, number in each["counts"].items() if number)
    name = " ".join(filter(None, (each["distribution"], each["version"])))
    lines = ["%s: not looked at" % name]
    if each["source"]:
        lines = ["%s: %s by %s: %s" % (name, _many(each["files"], "file"), each["source"], counts or "no difference")]
    if each["sizes_only"]:
        lines.append("  of %d of them only the size was held against it" % each["sizes_only"])
    if each["reason"]:
        lines.append("  %s" % _outcome.here(each["reason"]))
    lines += ["  %-8s  %s%s" % (entry["kind"], entry["path"], _about(entry)) for entry in each["found"][:_SHOWN]]
    hidden = max(0, len(each["found"]) - _SHOWN) + each["left_out"]
    return [*lines, "  and %d more" % hidden] if hidden else lines


def _about(entry: Mapping[str, Any]) -> str:
    words = []
    if entry["size"] is not None:
        words.append("%d bytes" % entry["size"])
    if entry["owner"] is not None:
        words.append("of %s" % entry["owner"])
    if entry["time"] is not None:
        words.append("since %s" % time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(entry["time"])))
    if entry["lines_added"] is not None:
        words.append("%d lines more, %d less" % (entry["lines_added"], entry["lines_removed"]))
    if entry["patches"]:
        words.append("patched by %s" % ", ".join(entry["patches"]))
    if entry["note"]:
        words.append(entry["note"])
    return "  (%s)" % ", ".join(words) if words else ""
