# The commands `capture` and `edit`: from an edited environment, or a copy to be edited, to a patch file.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from typing import Any, Callable, Mapping, Sequence, Tuple

from . import _captured, _installed, _interpreter, _options, _originals, _patch_text, _working_copy
from ._captured import Captured
from ._errors import Conflict, SitePatchError
from ._installed import Installed
from ._originals import Originals, Wheel
from ._patch_text import Written

DONE, PARTLY = 0, 1
_Work = Callable[[Originals], Tuple[Any, Sequence[str]]]
_SHOWN = 20  # files of one kind that are named
_TO_BE_WRITTEN = (
    "  Description: what goes wrong without it",
    "  Bug: the link to where upstream deals with it, if there is one",
    "  Retire: when it may go",
    "The patch's name is that of the file.",
)
_CAPTURE = """
Edited is each file whose hash is not the one in RECORD, each that is gone, and each new one in the distribution's own
directories; bytecode, caches and backups are passed over. The originals come from the store, from git's index, or from
the wheel, and each must have the hash on record. A file that was patched and then edited is captured against its
original: the patch then holds both. The patch file goes to standard output, all else to standard error.

  primus-patches.pyz capture --python /opt/venv/bin/python transformers --download > patches/our_fix.patch
  primus-patches.pyz capture --python /opt/venv/bin/python acme --wheel acme-2.3.0-py3-none-any.whl > our_fix.patch
  primus-patches.pyz capture --edited transformers-4.57.6 > patches/our_fix.patch

Exit status: 0 all edits are in the patch, 1 some had to be left out (they are named), 2 refused, error, or nothing is
edited: then nothing is printed.
"""
_EDIT = """
Copies the original text files of a distribution to a new directory. The environment is only read: what is patched or
edited there is copied as it was. `capture --edited DIR` makes the patch file of what is edited in the directory.

  primus-patches.pyz edit --python /opt/venv/bin/python transformers
  primus-patches.pyz edit --python /opt/venv/bin/python transformers --to /tmp/work

Exit status: 0 done, 2 refused or error: then there is no such directory.
"""


def add(subparsers: Any) -> None:
    """Add the commands; ``subparsers``: what argparse's ``add_subparsers`` returns."""
    text = "write a patch file of what was edited by hand"
    capture = _options.subcommand(subparsers, "capture", text, _CAPTURE, _capture)
    capture.add_argument("name", nargs="?", metavar="DISTRIBUTION", help="a distribution, or a package of it")
    capture.add_argument("--edited", metavar="DIR", help="what was edited in a directory that `edit` made")
    text = "copy the files of a distribution, to be edited"
    edit = _options.subcommand(subparsers, "edit", text, _EDIT, _edit)
    edit.add_argument("name", metavar="DISTRIBUTION", help="a distribution, or a package of it")
    edit.add_argument("--to", metavar="DIR", help="the new directory (default: ./NAME-VERSION)")
    for parser in (capture, edit):
        originals = parser.add_mutually_exclusive_group()
        originals.add_argument("--wheel", metavar="FILE", help="the wheel that was installed: it has the originals")
        originals.add_argument(
            "--download", action="store_true", help="have the environment's pip download it, where it is needed"
        )
        _options.where(parser)


def _capture(options: argparse.Namespace) -> int:
    directory = options.edited
    marker = None if directory is None else _working_copy.read(directory)
    if marker is not None and not (options.python or options.path):
        options.python, options.path = marker.python, marker.path
    name = options.name or (marker.distribution if marker is not None else None)
    if name is None:
        raise SitePatchError("expected the name of a distribution, found none: give it, or --edited DIR")
    installed = _find(name, options)
    if marker is not None:
        _working_copy.check(marker, directory, installed)

    def look(originals: Originals) -> tuple[Captured, Sequence[str]]:
        if marker is None:
            found = _captured.look(installed, originals)
        else:
            found = _captured.compare(directory, marker, installed, originals)
        return found, found.missing

    found: Captured = _with_originals(look, installed, options)
    package = _captured.package([each.path for each in found.files], installed)
    written = _patch_text.write(found.files, installed.name, installed.version, package)
    left_out = {**found.left_out, **written.left_out}
    where = directory or installed.root
    if not written.files:
        told = [*_lines("left out", left_out), *_lines("declared, and as it was written", found.declared)]
        raise SitePatchError(
            "\n".join(["%s: expected edited files of %s, found none" % (where, _told(installed)), *told])
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(written.data)
    sys.stdout.buffer.flush()
    _report(where, installed, written, found, left_out)
    return PARTLY if left_out else DONE


def _edit(options: argparse.Namespace) -> int:
    installed = _find(options.name, options)
    if installed.distribution is None:
        raise Conflict(
            "%s: expected what an installer put there, found a git checkout: edit in a work tree of it (git worktree "
            "add), and add the header to what git diff writes" % installed.root
        )
    directory = os.path.abspath(options.to or "%s-%s" % (installed.name, installed.version))

    def copy(originals: Originals) -> tuple[_working_copy.Copied, Sequence[str]]:
        copied = _working_copy.make(installed, originals, directory)
        return copied, copied.missing

    copied: _working_copy.Copied = _with_originals(copy, installed, options)
    lines = ["%s: %d files of %s, as they were installed" % (directory, copied.files, _told(installed))]
    lines += _lines("left out", copied.left_out)
    _say([*lines, "Edit them there, add and remove files, then run:"])
    sys.stdout.write("%s capture --edited %s > NAME.patch\n" % (_options.PROGRAM, shlex.quote(directory)))
    return DONE


def _find(name: str, options: argparse.Namespace) -> Installed:
    return _installed.find(name, options.python, options.path, options.trust_writers, options.timeout)


def _with_originals(work: _Work, installed: Installed, options: argparse.Namespace) -> Any:
    """What ``work`` finds with the originals that are there, else with those of the wheel that pip downloads.

    ``work`` returns its result, and the files whose originals are missing. Raises Conflict where there are some.
    """
    distribution, root = installed.distribution, installed.root
    if distribution is None and (options.wheel or options.download):
        raise SitePatchError("%s is a git checkout: no wheel has its originals" % root)
    wheel = Wheel(options.wheel, distribution, installed.listed) if options.wheel and distribution else None
    found, missing = work(Originals(root, installed.trust, wheel))
    if missing and distribution is None:
        raise _originals.unreadable(root, missing)
    if missing and distribution is not None and options.download:
        python = _interpreter.resolve(options.python or sys.executable)
        with tempfile.TemporaryDirectory(prefix="primus-patches-") as directory:
            file = _originals.download(python, distribution, directory)
            wheel = Wheel(file, distribution, installed.listed)
            found, missing = work(Originals(root, installed.trust, wheel))
    if missing and distribution is not None:
        raise _originals.missing(distribution, missing)
    return found


def _report(where: str, installed: Installed, written: Written, found: Captured, left_out: Mapping[str, str]) -> None:
    """Say what is in the patch, what is not, and what is still to be written."""
    lines = ["%s in %s:" % (_told(installed), where)]
    lines += _lines("", {each.path: each.kind for each in written.files})
    lines += _lines("left out", left_out)
    lines += _lines("left out: declared, and as it was written", found.declared)
    lines += _lines("patched before, what is left of that is in the patch, too", found.within)
    lines += ["Still to be written, in the first lines of the patch file:", *_TO_BE_WRITTEN]
    if not installed.version:
        lines.append("Nothing tells which version this is: say in Versions in which ones the patch applies.")
    _say(lines)


def _told(installed: Installed) -> str:
    return " ".join(filter(None, (installed.name, installed.version)))


def _lines(what: str, files: Mapping[str, str]) -> list[str]:
    shown = ["  %s%s: %s" % (what + ": " if what else "", path, files[path]) for path in sorted(files)[:_SHOWN]]
    more = len(files) - len(shown)
    return [*shown, *(["  and %d more" % more] if more else [])]


def _say(lines: Sequence[str]) -> None:
    sys.stderr.write("\n".join(lines) + "\n")
