# The command line that merges reports and holds them against an earlier one. Needs no more than jinja2 of Ansible.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Started by ``playbooks/merge_reports.py``, and so by the playbook of that name."""

from __future__ import annotations

import argparse
import datetime as dt
import glob
import io
import os
import sys
import typing as t

from ansible_collections.primus.patches.plugins.plugin_utils import _compare, _merge, _reread, _writing
from ansible_collections.primus.patches.plugins.plugin_utils._shown import LONGEST_REASON, printable, shorten

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    Data = dict[str, t.Any]

FINE, WORSE, REFUSED = 0, 1, 2
_LARGEST = 256 * 1024 * 1024  # bytes of one file

_EPILOG = """\
REPORT is report.json, report.prom, the textfile of a node, a directory with report.json, or a pattern of these in
quotes. Of each node, the newest word stands.

exit status: 0 done; 1 since OLD something is wrong that was not, or something is gone; 2 refused, or a REPORT was none:
then the others are merged, and the page says which is missing.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge, compare and write; return the exit status that the help names."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # (names may hold what a C locale cannot say)
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    reports, unused = _read(options.report, now)
    try:
        report = _merge.merged(reports, unused, now.isoformat())
        if options.since:
            report["since"] = _since(report, options.since, now)
        page, _limits = _writing.write(report, os.path.abspath(os.path.expanduser(options.output)))
    except (_merge.CannotMerge, _reread.NoReport, OSError) as error:
        for path, problem in unused.items():
            _tell(f"not used: {path}: {problem}", sys.stderr)
        _tell(f"{error}. Nothing was written.".replace("..", "."), sys.stderr)
        return REFUSED
    for line in (*_merge.lines(report), *(_compare.lines(report["since"]) if options.since else ()), f"Report: {page}"):
        _tell(line, sys.stdout)
    worse = bool(options.since) and _compare.is_worse(report["since"])
    return REFUSED if unused else WORSE if worse else FINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="merge_reports.py",
        description="Merge the reports of a fleet into one: report.html, report.json and report.prom.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("report", nargs="+", metavar="REPORT", help="what is merged; see below")
    parser.add_argument("--since", metavar="OLD", help="an earlier report: the page tells first what is new since")
    parser.add_argument(
        "--output", metavar="DIR", default="primus-merged", help="where the three files are written (%(default)s)"
    )
    return parser


def _read(given: Sequence[str], now: dt.datetime) -> tuple[dict[str, Data], dict[str, str]]:
    """Return the reports by path, and why others cannot be used."""
    reports: dict[str, Data] = {}
    unused: dict[str, str] = {}
    for name in given:
        expanded = os.path.expanduser(name)
        paths = [expanded] if os.path.lexists(expanded) else sorted(glob.glob(expanded))
        for path in paths or [expanded]:
            try:
                reports[path] = _one(path, now)
            except (_reread.NoReport, OSError) as error:
                unused[path] = shorten(printable(_why(error)), LONGEST_REASON)
    return reports, unused


def _one(path: str, now: dt.datetime) -> Data:
    if os.path.isdir(path):
        path = os.path.join(path, "report.json")
    with open(path, "rb") as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise _reread.NoReport(f"expected at most {_LARGEST:,} bytes")
    return _reread.report(data, now)


def _since(report: Data, path: str, now: dt.datetime) -> Data:
    try:
        older = _one(os.path.expanduser(path), now)
    except _reread.NoReport as error:
        raise _reread.NoReport(f"{path}: {error}") from None
    newest = max(_merge.moment(_merge.word_of(report, node)) for node in report["nodes"]) if report["nodes"] else now
    if _merge.moment(older["generated"]) > newest:
        raise _reread.NoReport(
            f"--since {path}: expected an earlier report, found one made {older['generated']}, "
            f"after all that is merged ({newest.isoformat()})"
        )
    return _compare.compared(report, older)


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _tell(line: str, stream: t.TextIO) -> None:
    stream.write(f"{line}\n")
