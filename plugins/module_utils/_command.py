# The command line of primus-patches.pyz: options in, one call of the engine, lines for people or JSON out.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any, Sequence

from . import _options, _outcome
from ._errors import SitePatchError

_STATUS = "Exit status: 0 done or nothing to do, 1 would change or differs, 2 refused or error."
_TEXT = (
    """\
Keeps declared edits of installed Python packages applied, proven and reversible, without Ansible.

  primus-patches.pyz list
  primus-patches.pyz apply --python /opt/venv/bin/python --patch patches/ --import acme.api
  primus-patches.pyz status --python /opt/venv/bin/python
  primus-patches.pyz revert --python /opt/venv/bin/python --all

`primus-patches.pyz COMMAND --help` has the options of a command, and examples.
"""
    + _STATUS
)
_LIST = """
Prints the catalogue, or what --patch names: what each patch edits, in which versions, why, and until when.

  primus-patches.pyz list
  primus-patches.pyz list --patch patches/
  primus-patches.pyz list --patch transformers_modeling_utils --json

Exit status: 0, or 2 for what is no patch.
"""
_APPLY = (
    """
Applies what is pending and migrates what is outdated, all or nothing. Imports are tried with the change in memory
before anything is written; one that fails is why nothing is.

  primus-patches.pyz apply --python /opt/venv/bin/python --patch patches/ --import acme.api
  primus-patches.pyz apply --path /workspace/transformers --patch transformers_modeling_utils
  primus-patches.pyz apply --python /opt/venv/bin/python --patch fix.patch --check --diff

"""
    + _STATUS
)
_LOOK = """
With --patch: how each of these patches is. Without: what the store beside the packages says, so that no definition is
needed: which files are patched, by which patches, since when and by whom, and whether all are still as written.

  primus-patches.pyz status --python /opt/venv/bin/python
  primus-patches.pyz status --python /opt/venv/bin/python --patch patches/ --json
  primus-patches.pyz status --python /opt/venv/bin/python --patch patches/ --health

Exit status: 0 all is as it should be (applied, native or unneeded; as written), 1 something differs, 2 it cannot be
told, or nothing of it is installed.
"""
_REVERT = (
    """
Makes the files anew from their originals, without the patches. --all needs no definition: the store has all it takes.
A file that somebody else edited since is refused; see `restore`.

  primus-patches.pyz revert --python /opt/venv/bin/python --all
  primus-patches.pyz revert --python /opt/venv/bin/python --patch fix.patch --check --diff

"""
    + _STATUS
)
_RESTORE = (
    """
As `revert`, and also gives back the kept original of a file that was edited since it was patched. The edited file is
kept as a copy beside it.

  primus-patches.pyz restore --python /opt/venv/bin/python --patch fix.patch --check --diff
  primus-patches.pyz restore --python /opt/venv/bin/python --all

"""
    + _STATUS
)
# Commands with a file of their own, which has add(subparsers): file, and the commands that it adds.
OTHERS = (("_capture", ("capture", "edit")), ("_verify", ("verify",)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit status."""
    _outcome.prepare_output()
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = None
    try:
        options = _parser(given).parse_args(given)
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # (whoever read it, such as head, has seen enough)
        _outcome.discard_output()
        return _outcome.REFUSED
    except SitePatchError as error:
        return _outcome.end(_outcome.refused(error), "", _outcome.REFUSED, getattr(options, "json", False))
    except OSError as error:  # (which may be of standard output)
        _outcome.tell_error(str(error))
        return _outcome.REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return _outcome.REFUSED
    except Exception:  # noqa: BLE001 (Python's own exit status would be that of a change)
        import traceback

        traceback.print_exc()
        return _outcome.REFUSED
    return code


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_options.PROGRAM,
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and end")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    command = next((word for word in arguments if not word.startswith("-")), None)
    for name, add in _COMMANDS.items():
        if command in (None, name) or command not in _COMMANDS:
            add(subparsers)
    for file, names in OTHERS:
        if command in (None, *names) or command not in _COMMANDS:
            _plug_in(file, subparsers)
    return parser


def _plug_in(file: str, subparsers: Any) -> None:
    """Let a file add its commands, where there is that file."""
    name = "%s.%s" % (__package__, file)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return
    module.add(subparsers)


class _Version(argparse.Action):
    """Prints the version."""

    def __call__(self, parser: argparse.ArgumentParser, *_rest: Any, **_more: Any) -> None:
        from . import _store

        sys.stdout.write("primus-patches %s\n" % _store.TOOL)
        parser.exit()


# --- the commands


def _add_list(subparsers: Any) -> None:
    parser = _options.subcommand(subparsers, "list", "what patches there are", _LIST, _list)
    _options.patches(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print whole definitions, as one JSON list")


def _add_apply(subparsers: Any) -> None:
    parser = _options.subcommand(subparsers, "apply", "apply patches", _APPLY, _apply)
    _options.patches(parser, required=True)
    _skips(parser)
    _changes(parser)
    _imports(parser)
    parser.add_argument(
        "--validate-failure",
        choices=("refuse", "accept_unchanged"),
        default="refuse",
        help="accept_unchanged: write also where the imports fail in the same way without the change, as on a build "
        "host without a GPU (default: refuse)",
    )
    _options.where(parser)


def _add_status(subparsers: Any) -> None:
    parser = _options.subcommand(subparsers, "status", "say how patches are", _LOOK, _status)
    _options.patches(parser, required=False)
    _skips(parser)
    _imports(parser)
    parser.add_argument("--health", action="store_true", help="say it in one line")
    _options.answer(parser)
    _options.where(parser)


def _add_revert(subparsers: Any) -> None:
    _takes_out(_options.subcommand(subparsers, "revert", "take patches out", _REVERT, _revert))


def _add_restore(subparsers: Any) -> None:
    text = "take patches out, also of files edited since"
    _takes_out(_options.subcommand(subparsers, "restore", text, _RESTORE, _restore))


_COMMANDS = {
    "list": _add_list,
    "apply": _add_apply,
    "status": _add_status,
    "revert": _add_revert,
    "restore": _add_restore,
}


def _takes_out(parser: argparse.ArgumentParser) -> None:
    _options.patches(parser, required=False)
    parser.add_argument("--all", action="store_true", help="all patches that the store tells of")
    _changes(parser)
    _imports(parser)
    _options.where(parser)


def _skips(parser: argparse.ArgumentParser) -> None:
    for option, what in (("--unsupported", "of a version that it does not support"), ("--missing", "not installed")):
        parser.add_argument(
            option,
            choices=("fail", "skip"),
            default="fail",
            help="skip: pass a patch over whose package is %s (default: fail)" % what,
        )


def _changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="say what would be done; write nothing")
    parser.add_argument("--diff", action="store_true", help="print what is changed, as a unified diff")
    parser.add_argument("--backup", action="store_true", help="keep a copy of each file beside it")
    _options.answer(parser)


def _imports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE[:NAME,...]",
        help="an import that must work; may be given several times",
    )


def _list(options: argparse.Namespace) -> int:
    from . import _catalogue, _patch
    from ._catalogue import listing

    names, definitions = _options.chosen(options.patch)
    selected, _known = _patch.select(names, definitions, _catalogue.CATALOGUE, look=True)
    written = {each["name"]: each for each in (*_catalogue.CATALOGUE, *definitions)}
    if options.json:
        text = json.dumps([written[patch.name] for patch in selected], indent=2)
    else:
        text = listing.table([{**written[patch.name], "file": _files(patch.files())} for patch in selected])
    sys.stdout.write(text + "\n")
    return _outcome.DONE


def _files(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else "%s and %d more" % (files[0], len(files) - 1)


def _apply(options: argparse.Namespace) -> int:
    more = {each: getattr(options, each) for each in ("unsupported", "missing", "validate_failure")}
    return _change(options, state="present", answer=_answer_of(options.patch), **more)


def _answer_of(patches: Sequence[str]) -> str | None:
    """The name under which may be left what the next call is to answer, where it has nothing to do; None for none."""
    from . import _recorded

    try:
        return _recorded.name(patches)
    except (OSError, ValueError):
        return None


def _revert(options: argparse.Namespace) -> int:
    return _change(options, state="absent", all=options.all)


def _restore(options: argparse.Namespace) -> int:
    return _change(options, state="absent", all=options.all, restore=True)


def _change(options: argparse.Namespace, **more: Any) -> int:
    if "all" in more and options.all == bool(options.patch):
        raise SitePatchError("expected either --patch or --all, found %s" % ("both" if options.all else "neither"))
    request = _options.request(
        options,
        "patch",
        check_mode=options.check,
        diff=options.diff,
        backup=options.backup,
        imports=options.imports,
        **more,
    )
    if request.get("answer") and request["answer"] != _answer_of(options.patch):  # (edited while they were read)
        request["answer"] = None
    result = _outcome.carry_out(request)
    if result.get("failed"):
        return _outcome.end(result, "", _outcome.REFUSED, options.json)
    text = "" if options.quiet else _outcome.change(result, options.check)
    return _outcome.end(result, _outcome.diff(result) + text, _outcome.of_change(result, options.check), options.json)


def _status(options: argparse.Namespace) -> int:
    if options.health and (options.json or options.quiet or options.imports):
        raise SitePatchError("--health goes with none of --json, --quiet and --import")
    if options.imports and not options.patch:
        raise SitePatchError("--import: expected --patch along with it, found none")
    operation = "info" if options.patch else "kept"
    try:
        request = _options.request(options, operation, imports=options.imports, check_mode=True)
    except SitePatchError as error:
        if options.health:  # (who reads that line reads nothing else)
            return _outcome.unknown(str(error))
        raise
    if options.health:
        return _outcome.health(request, skip=_skipped(options))
    result = _outcome.carry_out(request)
    if result.get("failed"):
        return _outcome.end(result, "", _outcome.REFUSED, options.json)
    told = _outcome.status if options.patch else _outcome.stores
    code = (
        _outcome.of_status(result["patches"], _skipped(options))
        if options.patch
        else _outcome.of_stores(result["stores"])
    )
    if any(not tried["ok"] for tried in result.get("imports") or []):
        code = max(code, _outcome.DRIFTED)
    return _outcome.end(result, "" if options.quiet else told(result), code, options.json)


def _skipped(options: argparse.Namespace) -> list[str]:
    return [state for state in ("unsupported", "missing") if getattr(options, state) == "skip"]
