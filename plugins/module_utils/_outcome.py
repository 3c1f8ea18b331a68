# What the command lines print of an engine's result, and the exit status that they end with.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import os
import re
import sys
from typing import Any, Iterable, Mapping, Sequence

from . import _child, _files, _step
from ._errors import NoEnvironment, SitePatchError

DONE, WOULD_CHANGE, REFUSED = 0, 1, 2
HEALTHY, DRIFTED, UNKNOWN = 0, 1, 2
SECONDS = 300.0  # for the whole look, and the change

_NOT_DONE = {"none": "nothing to do", "skip": "passed over"}
_WELL = ("applied", "native")
_SHOWN_PROOF = {"before": "before anything was written", "after": "once it was written", "none": "as the files are"}
# What the engine says in the words of a task, and how it is said here.
_HERE = (
    (re.compile(r"use state absent with restore: true"), "use primus-patches.pyz restore"),
    (re.compile(r"set trust_writers: true"), "give --trust-writers"),
    (re.compile(r" \(become_user[^)]*\)"), ""),
    (re.compile(r"Run the task as that user"), "Run it as that user"),
    (re.compile(r" \(import_environment\)"), ""),
    (re.compile(r", or give \w+ beside the file"), ""),
)


def prepare_output() -> None:
    """Let what a terminal cannot show be no failure: its exit status would say that something would change.

    Nor is a stream that the caller closed; and no file that is opened later may take its number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # (which gets the lowest number that is free)
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def carry_out(request: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's result for a request, which may name ``python``; an error is a result with ``failed``."""
    try:
        if request.get("imports") and request.get("path") and not request.get("python"):
            message = "imports need an interpreter: give --python along with --path %s"
            raise NoEnvironment(message % request["path"])
        return _child.call(request.get("python"), request)
    except SitePatchError as error:
        return refused(error)


def refused(error: Exception) -> dict[str, Any]:
    """What a module returns for an error."""
    return {"changed": False, "failed": True, "msg": str(error), "patches": []}


def end(result: Mapping[str, Any], text: str, status: int, as_json: bool = False) -> int:
    """Print the answer on standard output, or the error on the other one; the exit status."""
    failed = bool(result.get("failed"))
    if failed:
        tell_error(str(result["msg"]))
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    elif not failed and text:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    return REFUSED if failed else status


def tell_error(message: str) -> None:
    """Print an error. Where nobody can be told, the exit status still tells."""
    try:
        sys.stderr.write("\n".join(map(plain, here(message).split("\n"))) + "\n")
    except OSError:
        pass


def plain(text: str) -> str:
    """A text for one line: what could move the cursor, or set a terminal's title, is written out.

    Names of files, and all that a store says, may be somebody else's.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def of_change(result: Mapping[str, Any], check: bool) -> int:
    """The exit status of what was done, or would be."""
    return WOULD_CHANGE if check and result["changed"] else DONE


def diff(result: Mapping[str, Any]) -> str:
    """The unified diff of a result; empty without one."""
    return str(result.get("diff", {}).get("prepared", ""))


def here(message: str) -> str:
    """A message of the engine, in the words of the command line."""
    for words, ours in _HERE:
        message = words.sub(ours, message)
    return message


def change(result: Mapping[str, Any], check: bool) -> str:
    """What was done, or would be, as lines for people."""
    rows = []
    for patch in result["patches"]:
        action = patch["action"]
        word = _NOT_DONE.get(action) or ("would " + action if check else _step.DONE[action])
        state = "was %s" % patch["state"] if action in _step.DONE and not check else patch["state"]
        rows.append([word, patch["name"], _version(patch), "%s: %s" % (state, _reason(patch))])
    lines = [_environment(result), *_table(rows)]
    if not rows:
        lines.append("  nothing to do: no store beside its packages tells of a patch")
    copies = [entry["backup_file"] for patch in result["patches"] for entry in patch["files"] if "backup_file" in entry]
    lines += ["  copy kept: %s" % each for each in dict.fromkeys(copies)]
    return _lines([*lines, *_imports(result)])


def status(result: Mapping[str, Any]) -> str:
    """The states of patches, as lines for people."""
    rows = [
        [patch["state"], patch["name"], _version(patch), patch["integrity"] or "-", _reason(patch)]
        for patch in result["patches"]
    ]
    return _lines([_environment(result), *_table(rows), *_imports(result)])


def of_status(patches: Iterable[Mapping[str, Any]], skip: Sequence[str] = ()) -> int:
    """Whether all patches are as they should be, something differs, or that cannot be told as it is not there."""
    states = {patch["state"] for patch in patches if not _is_well(patch, skip)}
    if not states:
        return HEALTHY
    return UNKNOWN if states <= {"missing", "unknown"} else DRIFTED


def stores(result: Mapping[str, Any]) -> str:
    """What the stores say, as lines for people."""
    lines = [_environment(result)]
    if not result["stores"]:
        lines.append("  no store beside its packages tells of a patched file")
    for store in result["stores"]:
        lines.append("%s:" % store["root"])
        rows = []
        for file in store["files"]:
            names = ", ".join(patch["name"] for patch in file["patches"])
            known = "as written" if file["as_written"] else "DIFFERS"
            rows.append([known, file["file"], names, file["when"] or "no date", file["who"] or "by nobody known"])
        lines += _table(rows)
        wrong = ["%s: %s" % (file["file"], here(file["message"])) for file in store["files"] if file["message"]]
        lines += ["  cannot be told: %s" % each for each in store["unclear"]] + ["  %s" % each for each in wrong]
    return _lines(lines)


def of_stores(found: Iterable[Mapping[str, Any]]) -> int:
    """Whether all files are as they were written."""
    well = all(not store["unclear"] and all(file["as_written"] for file in store["files"]) for store in found)
    return HEALTHY if well else DRIFTED


def health(request: Mapping[str, Any], name: str = "primus.patches", skip: Sequence[str] = ()) -> int:
    """Print one line that says how all patches of a request are; the exit status is 0, 1 (drifted) or 2 (unknown).

    These are the statuses of node-problem-detector's plugins (OK, NonOK, Unknown), which keep 80 characters of it. What
    is missing or cannot be read may be on a file system that is away: then nothing can be told. ``name``: what the line
    begins with where there is no patch to be named. ``skip``: states that do not count.
    """
    try:
        result = carry_out(request)
        failed: dict[str, Any] = {"name": name, "state": "unknown", "message": result.get("msg"), "files": []}
        patches = result["patches"] or ([failed] if result.get("failed") or "stores" not in result else [])
        for file in (file for patch in patches if patch["state"] == "conflict" for file in patch["files"]):
            _files.head(file["path"], 1)
        code = of_status(patches, skip) if patches else of_stores(result["stores"])
        text = _health(patches, skip) if patches else _health_of_stores(result["stores"])
    except Exception as error:  # noqa: BLE001 (a traceback's exit status would say that the node has drifted)
        return unknown("%s: %s" % (type(error).__name__, error), name)
    return _in_one_line(code, text)


def unknown(reason: str, name: str = "primus.patches") -> int:
    """Print in the line of ``health`` why nothing can be told; the exit status."""
    return _in_one_line(UNKNOWN, "%s unknown: %s" % (name, reason))


def _in_one_line(code: int, text: str) -> int:
    sys.stdout.write("%s\n" % plain(" ".join(here(text).split())))
    return code


def _health(patches: Sequence[Mapping[str, Any]], skip: Sequence[str]) -> str:
    """The worst of the patches, and of how many."""
    wrong = [patch for patch in patches if not _is_well(patch, skip)]
    worst = next((patch for patch in wrong if of_status([patch]) == DRIFTED), (wrong or patches)[0])
    told = "%s %s: %s" % (worst["name"], worst["state"], worst["message"])
    if len(patches) == 1:
        return told
    if not wrong:
        return "all of %d patches are well" % len(patches)
    return "%d of %d patches: %s" % (len(wrong), len(patches), told)


def _health_of_stores(found: Sequence[Mapping[str, Any]]) -> str:
    files = [file for store in found for file in store["files"]]
    unclear = [each for store in found for each in store["unclear"]]
    wrong = unclear + ["%s: %s" % (file["path"], file["message"]) for file in files if not file["as_written"]]
    if wrong:
        return "%d of %d patched files: %s" % (len(wrong), len(files) + len(unclear), wrong[0])
    return "all of %d patched files are as written" % len(files)


def _is_well(patch: Mapping[str, Any], skip: Sequence[str]) -> bool:
    unneeded = patch["state"] == "unneeded" and patch["revision_found"] is None
    return patch["state"] in (*_WELL, *skip) or unneeded


def _environment(result: Mapping[str, Any]) -> str:
    """Where that is, in one line."""
    found = result["environment"]
    if found["path"]:
        return str(found["path"])
    return "%s (Python %s)" % (found["python"], found["python_version"])


def _version(patch: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (patch["package"], patch["version"])))


def _reason(patch: Mapping[str, Any]) -> str:
    """The message of a patch without package and version, which stand beside it."""
    message = here(str(patch["message"]))
    start = "%s %s in " % (patch["package"], patch["version"] or "(unknown version)")
    return message[len(start) :].partition(": ")[2] if message.startswith(start) else message


def _imports(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for tried in result.get("imports") or []:
        how = _SHOWN_PROOF[tried["proof"]]
        word = "imported" if tried["ok"] else "import fails"
        rows.append([word, tried["name"], how if tried["ok"] else "%s: %s" % (how, tried["error"])])
    return _table(rows)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(map(plain, lines))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns; the last one is as long as it is."""
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def discard_output() -> None:
    """Let nothing more be written to a reader that has gone: Python would do so at its end, and fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
