# What a node may answer, and what holds an answer against that: all that comes in from nodes goes through here. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes are not trusted: a node speaks for itself alone, and in the words of this collection's modules or not at all.

What leaves this file is plain: of JSON's own types, with no key, state or size that the description does not have, and
no control character in a text. What does not fit becomes the failure of that node, or of that one of its environments.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Mapping

if t.TYPE_CHECKING:
    from collections.abc import Callable

    Data = dict[str, t.Any]
    Kind = Callable[[t.Any], t.Any]
    """Return a value as plain data, or raise Odd."""

STATES = ("applied", "native", "unneeded", "pending", "outdated", "unsupported", "conflict", "missing")

EDITS = ("changed", "missing", "added", "declared", "untold")
"""Kinds of files that differ from what was recorded of them; the first three are undeclared edits."""

LONGEST_NAME = 4096  # characters, as a path has them (PATH_MAX)
LONGEST_TEXT = 4000
LONGEST_BLOCK = 1_000_000  # of a text in lines, as a diff is
MOST = 1000  # entries of a list
MOST_PLACES = 10_000  # environments, and processes
LARGEST = 2**53  # what every reader of JSON takes for a whole number
SIZE = 32_000_000  # characters of an answer as JSON
DEEPEST = 20  # of what may be anything

# Control characters, those that turn the reading direction or end a line, and lone surrogates, which no encoding has.
_CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_HEXADECIMAL = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


class Odd(Exception):
    """Something in an answer that the description does not have."""

    def __init__(self, expected: str, value: t.Any, where: str = "") -> None:
        super().__init__()
        self._where = where
        self._expected = expected
        self._found = _told(value)

    def within(self, place: str) -> Odd:
        """Return the same of what has it at that place: a key, or a number in brackets."""
        dot = "." if self._where and not self._where.startswith("[") else ""
        self._where = place + dot + self._where
        return self

    def __str__(self) -> str:
        return (
            "not an answer of this collection's modules, so nothing of it is used: "
            f"{self._where or 'result'}: expected {self._expected}, found {self._found}. See what runs on that node."
        )


def visible(text: str) -> str:
    """Return a text with escapes for what a terminal acts on or a reader cannot see through; lines and tabs stay."""
    if text.isprintable():  # (as nearly all are; this costs a fraction)
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _told(value: t.Any) -> str:
    """Return in a few words what a value is; none of them costs more for a value that was made to be large."""
    if isinstance(value, str):
        return visible(repr(value[:40]).replace("\n", " ")) + "..." * (len(value) > 40)  # noqa: PLR2004
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return str(value) if -LARGEST <= value <= LARGEST else "a number out of all bounds"
    if isinstance(value, (list, tuple, Mapping)):
        return f"{len(value):,} entries"
    return "something that is not of JSON"


def _name(value: t.Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise Odd(f"a text of at most {LONGEST_NAME:,} characters", value)
    return str.__str__(visible(value))


def _full_name(value: t.Any) -> str:
    if value == "":
        raise Odd("a name", value)
    return _name(value)


def _digest(value: t.Any) -> str:
    if not isinstance(value, str) or not _HEXADECIMAL.fullmatch(value):
        raise Odd("40 or 64 hexadecimal digits", value)
    return str.__str__(value)


def _text(longest: int) -> Kind:
    """Free text: it is cut, and no answer fails for it."""

    def kind(value: t.Any) -> str:
        if not isinstance(value, str):
            raise Odd("a text", value)
        shown = visible(value[: longest + 1])
        return str.__str__(shown) if len(shown) <= longest else shown[: longest - 3] + "..."

    return kind


def _flag(value: t.Any) -> bool:
    if not isinstance(value, bool):
        raise Odd("true or false", value)
    return value


def _whole(least: int) -> Kind:
    def kind(value: t.Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
            raise Odd(f"a whole number from {least} to 2^53", value)
        return int(value)

    return kind


def _number(value: t.Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -LARGEST <= value <= LARGEST:
        raise Odd("a number within 2^53", value)  # (NaN is within nothing)
    return float(value) if isinstance(value, float) else int(value)


def _one_of(*words: str) -> Kind:
    def kind(value: t.Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise Odd(f"one of {', '.join(words)}", value)
        return str.__str__(value)

    return kind


def _maybe(kind: Kind) -> Kind:
    return lambda value: None if value is None else kind(value)


def _each(kind: Kind, most: int = MOST) -> Kind:
    def listed(value: t.Any) -> list[t.Any]:
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise Odd(f"a list of at most {most:,} entries", value)
        found = []
        for entry in value:
            try:
                found.append(kind(entry))
            except Odd as odd:
                raise odd.within(f"[{len(found)}]") from None
        return found

    return listed


def _keys(needed: Mapping[str, Kind], more: Mapping[str, Kind]) -> Kind:
    """A mapping with keys that are needed, and more that may be there; any others are left out."""
    described = {**needed, **more}

    def kind(value: t.Any) -> Data:
        if not isinstance(value, (dict, Mapping)):  # (of a dictionary it is told at once)
            raise Odd("a mapping", value)
        found: Data = {}
        for key, each in described.items():
            if key in value:
                try:
                    found[key] = each(value[key])
                except Odd as odd:
                    raise odd.within(key) from None
            elif key in needed:
                raise Odd(f"the key {key}", value)
        return found

    return kind


def _anything(value: t.Any, depth: int = DEEPEST) -> t.Any:
    """What Ansible shows and nothing here reads: of any form, but plain."""
    if isinstance(value, str):
        return _text(LONGEST_TEXT)(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    if depth and isinstance(value, Mapping):
        return {_name(key): _anything(value[key], depth - 1) for key in value}
    if depth and isinstance(value, (list, tuple)):
        return [_anything(each, depth - 1) for each in value]
    raise Odd(f"values of JSON, at most {DEEPEST} deep", value)


def _patches(value: t.Any) -> list[Data]:
    found: list[Data] = _each(_PATCH)(value)
    names: set[str] = set()
    for patch in found:
        if patch["name"] in names:
            raise Odd("each patch once", patch["name"])
        names.add(patch["name"])
    return found


_TEXT, _LINES, _BLOCK = _text(LONGEST_TEXT), _text(5 * LONGEST_TEXT), _text(LONGEST_BLOCK)
_COUNT = _whole(0)

_FILE = _keys(
    dict(
        owner=_name,
        group=_name,
        mode=_name,
        links=_whole(1),
        filesystem=_maybe(_name),
        changed=_number,
        link=_maybe(_name),
    ),
    {},
)
_BYTECODE = _keys(
    dict(
        path=_name,
        mode=_one_of("timestamp", "checked-hash", "unchecked-hash", "unknown"),
        fresh=_maybe(_flag),
        ours=_flag,
    ),
    {},
)
_OTHER = _keys(dict(path=_name, version=_maybe(_name), where=_one_of("user site", "sys.path")), {})
_INTEGRITY = _maybe(_one_of("pristine", "patched", "foreign", "unknown"))
_PATCHED = _keys(
    dict(path=_name),
    dict(
        integrity=_INTEGRITY,
        backup_file=_maybe(_name),
        file=_maybe(_FILE),
        bytecode=_maybe(_each(_BYTECODE)),
    ),
)
_PATCH = _keys(
    dict(
        name=_full_name,
        state=_one_of(*STATES),
        action=_one_of("none", "apply", "migrate", "revert", "restore", "skip"),
    ),
    {
        "package": _maybe(_name),
        "version": _maybe(_name),
        "revision": _maybe(_COUNT),
        "revision_found": _maybe(_COUNT),
        "integrity": _INTEGRITY,
        "files": _each(_PATCHED),
        "message": _maybe(_TEXT),
        "copy_id": _maybe(_name),
        "others": _maybe(_each(_OTHER)),
        "distributions": _maybe(_each(_name)),
    },
)
_IMPORT = _keys(
    dict(name=_full_name, ok=_flag),
    dict(
        proof=_one_of("before", "after", "none"),
        blame=_maybe(_one_of("patch", "environment")),
        seconds=_maybe(_number),
        version=_maybe(_name),
        cause=_maybe(_one_of("name", "dependency", "exception", "crash", "timeout", "not_tried")),
        error=_maybe(_TEXT),
        traceback=_maybe(_LINES),
    ),
)
_PROCESS = _keys(dict(pid=_COUNT, user=_name, age=_COUNT, command=_TEXT, patches=_each(_name)), {})
_PROCESSES = _keys(dict(candidates=_each(_PROCESS, MOST_PLACES), unreadable=_COUNT), {})
_EDIT = _keys(
    dict(
        kind=_one_of(*EDITS),
        path=_full_name,
        size=_maybe(_COUNT),
        owner=_maybe(_name),
        time=_maybe(_number),
        sha256=_maybe(_digest),
        lines_added=_maybe(_COUNT),
        lines_removed=_maybe(_COUNT),
        note=_maybe(_TEXT),
    ),
    dict(recorded=_maybe(_digest), patches=_each(_name)),  # (which a report does not keep)
)
_HELD = _keys(
    dict(
        distribution=_full_name,
        version=_maybe(_name),
        source=_maybe(_one_of("RECORD", "git")),
        reason=_maybe(_TEXT),
        complete=_flag,
        files=_COUNT,
        sizes_only=_COUNT,
        left_out=_COUNT,
        counts=_keys(dict.fromkeys(EDITS, _COUNT), {}),
        found=_each(_EDIT),
    ),
    dict(path=_name),  # (which metrics do not have)
)
_ENVIRONMENT = _keys({}, {key: _maybe(_name) for key in ("python", "python_version", "prefix", "path")})

# What the modules return in one environment.
_RESULT = _keys(
    {},
    dict(
        msg=_maybe(_TEXT),
        environment=_maybe(_ENVIRONMENT),
        patches=_maybe(_patches),
        imports=_maybe(_each(_IMPORT)),
        processes=_maybe(_PROCESSES),
        integrity=_maybe(_each(_HELD)),
        backup_file=_maybe(_name),
    ),
)
# What Ansible shows of a module's answer.
_SHOWN = _keys({}, dict(diff=_maybe(_keys({}, dict(prepared=_BLOCK))), invocation=_maybe(_anything)))
# What Ansible says of output that is no answer.
_OUTPUT = _keys({}, dict(msg=_TEXT, rc=_maybe(_number), module_stdout=_maybe(_LINES), module_stderr=_maybe(_LINES)))
_CENSORED = _keys({}, dict(censored=_maybe(_TEXT)))
# What Ansible says of a result.
_VERDICTS = ("changed", "failed", "skipped", "unreachable", "failed_when_result")


def answered(result: t.Any) -> Data:
    """Return a module's answer, as it came from a node, as plain data: what Ansible is to go on with. Raises Odd.

    Keys by which a module may have its way on the controller (`ansible_facts`, `ansible_stats`, `add_host` and the
    like) are not described, and so left out.
    """
    return _held(result, ("changed", "failed"), _SHOWN)


def unanswered(result: t.Any) -> Data | None:
    """Return the failure that Ansible makes of output that is no answer; None where it is one. Raises Odd.

    (Not all versions of Ansible say which it is. A node that says so itself is believed.)
    """
    if not isinstance(result, Mapping) or not result.get("failed") or "module_stdout" not in result:
        return None
    found: Data = _OUTPUT(result)
    return {**found, "failed": True, "changed": False}


def received(result: t.Any) -> Data:
    """Return a task's result, as a callback or a registered variable has it, as plain data; an odd one as failed.

    It has `item`, the loop's item where that is a text, and `censored`, which says that there is nothing else.
    """
    try:
        found = _held(result, _VERDICTS, _CENSORED)
    except Odd as error:
        found = refused(error, result)
    variable = result.get("ansible_loop_var") if isinstance(result, Mapping) else None
    item = result.get(variable if isinstance(variable, str) else "item") if isinstance(result, Mapping) else None
    if isinstance(item, str):
        found["item"] = _name(item[:LONGEST_NAME])
    return found


def refused(error: Odd, result: t.Any = None) -> Data:
    """Return what stands for a result of which nothing is used, but whether it changed something."""
    changed = isinstance(result, Mapping) and bool(result.get("changed"))
    return {"changed": changed, "failed": True, "msg": str(error), "patches": []}


def _held(result: t.Any, verdicts: tuple[str, ...], more: Kind) -> Data:
    several = result.get("environments") if isinstance(result, Mapping) else None
    if several is None:
        found = _RESULT(result)
    else:  # (all their patches are among the result's own once more)
        found = _RESULT({key: result[key] for key in result if key != "patches"})
        found["environments"] = _environments(several)
    size = len(json.dumps(found))
    found.update(more(result))
    if size > SIZE:
        raise Odd(f"at most {SIZE:,} characters", size)
    if several is not None:
        found["patches"] = [patch for each in found["environments"] for patch in each.get("patches") or ()]
    return {**found, **{key: bool(result[key]) for key in verdicts if key in result}}


def _environments(several: t.Any) -> list[Data]:
    if not isinstance(several, (list, tuple)) or len(several) > MOST_PLACES:
        raise Odd(f"a list of at most {MOST_PLACES:,} entries", several, "environments")
    return [_environment(each, f"environments[{number}]") for number, each in enumerate(several)]


def _environment(result: t.Any, where: str) -> Data:
    """What is told of one environment of several. An odd one hides none of the others: it may have been made odd."""
    try:
        found: Data = _RESULT(result)
    except Odd as error:
        return {**refused(error.within(where)), "environment": _where(result)}
    return {**found, **{key: bool(result[key]) for key in ("changed", "failed") if key in result}}


def _where(result: t.Any) -> Data:
    """What an odd result says of its environment, where at least that is sound."""
    try:
        found: Data = _keys({}, dict(environment=_maybe(_ENVIRONMENT)))(result)
    except Odd:
        return {}
    return found.get("environment") or {}
