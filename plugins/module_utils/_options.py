# What the subcommands of primus-patches.pyz share: options, the form of their help, and which patches are meant.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import os
import re
from typing import Any, Callable, Sequence

from . import _catalogue, _outcome
from ._errors import DefinitionError

PROGRAM = "primus-patches.pyz"
_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")  # what is no path


def subcommand(
    subparsers: Any, name: str, summary: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """A parser for one subcommand. ``text``: its description, as it is to be printed, examples last.

    ``run`` gets the options and returns the exit status.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description="%s.\n\n%s" % (summary[0].upper() + summary[1:], text.strip()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def where(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which environment is meant."""
    group = parser.add_argument_group("environment")
    group.add_argument(
        "--python", type=_path, metavar="PYTHON", help="its interpreter (default: the one that runs this)"
    )
    group.add_argument(
        "--path", type=_path, metavar="DIR", help="a site-packages, a package's directory or a source checkout"
    )
    group.add_argument(
        "--trust-writers", action="store_true", help="as root, also where others than root and the owner may write"
    )
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=_outcome.SECONDS,
        metavar="SECONDS",
        help="for what another interpreter or user does, and as many for all imports (default: %(default)g)",
    )


def answer(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the answer is to be given."""
    parser.add_argument("--json", action="store_true", help="print the result as the Ansible module returns it")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def patches(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the option that names patches."""
    parser.add_argument(
        "--patch",
        action="append",
        type=_path,
        default=[],
        required=required,
        metavar="NAME|FILE|DIR",
        help="a patch of the catalogue, a patch file, or a directory of them; may be given several times",
    )


def request(options: argparse.Namespace, operation: str, **more: Any) -> dict[str, Any]:
    """What the engine is asked, with the patches that ``--patch`` names. Raises DefinitionError."""
    names, definitions = chosen(getattr(options, "patch", []))
    return {
        "operation": operation,
        "name": names,
        "definitions": definitions,
        "catalogue": list(_catalogue.CATALOGUE),
        "python": options.python,
        "path": options.path,
        "trust_writers": options.trust_writers,
        "timeout": options.timeout,
        **more,
    }


def chosen(wanted: Sequence[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of the patches that are meant, and the definitions of those that are not in the catalogue.

    ``wanted``: names of the catalogue, and paths of files and directories. Raises DefinitionError.
    """
    known = [patch["name"] for patch in _catalogue.CATALOGUE]
    names: list[str] = []
    definitions: list[dict[str, Any]] = []
    for each in wanted:
        if each in known:
            names.append(each)
        elif _NAME.match(each) and not os.path.lexists(each):
            raise DefinitionError(
                "--patch %s: expected a patch of the catalogue (%s), a patch file or a directory of them, found none "
                "of that name" % (each, ", ".join(known))
            )
        else:
            from . import _patch_file

            read = _patch_file.read(each)
            names += [str(definition["name"]) for definition in read]
            definitions += read
    return names, definitions


def _path(text: str) -> str:
    """A path; nothing at all, as of a variable that is not set, must not mean the environment of this Python."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found nothing")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 10**9:
        raise argparse.ArgumentTypeError("expected seconds, found %s" % text)
    return seconds
