# Reports read from files again and held against what a report may say: whoever wrote one may have been a node. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of a file, only what it says of nodes is used; its sums and what is to be done are made anew."""

from __future__ import annotations

import datetime as dt
import json
import typing as t
from collections.abc import Mapping

from ansible_collections.primus.patches.plugins.plugin_utils import _report
from ansible_collections.primus.patches.plugins.plugin_utils._answer import LARGEST, STATES, Odd, answered, visible
from ansible_collections.primus.patches.plugins.plugin_utils._merge import moment
from ansible_collections.primus.patches.plugins.plugin_utils._textfile import NoMetrics
from ansible_collections.primus.patches.plugins.plugin_utils._textfile import report as of_metrics
from ansible_collections.primus.patches.plugins.plugin_utils._undeclared import WORD, spread

if t.TYPE_CHECKING:
    Data = dict[str, t.Any]

_SKEW = dt.timedelta(minutes=5)  # between the clocks of machines
_LONGEST = 4096  # characters of a name or a reason
_WHERE = ("python", "python_version", "prefix", "path")
_TOLD = ("patches", "imports", "processes", "integrity")  # of an environment, as the modules told it


class NoReport(Exception):
    """A file that is no report, or none that can be believed; the text says what was expected and found."""


def report(data: bytes, now: dt.datetime) -> Data:
    """Return the report that a file holds: report.json, report.prom or the textfile of a node. Raises NoReport.

    :param now: the present time. What is of a later one is refused, since it would be the newest word for ever.
    """
    try:
        text = data.decode("utf-8")
        return _checked(json.loads(text) if text.lstrip().startswith("{") else of_metrics(text), now)
    except (Odd, NoMetrics) as error:
        raise NoReport(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise NoReport(f"expected report.json or a textfile, found {type(error).__name__}: {error}") from None


def _checked(given: t.Any, now: dt.datetime) -> Data:
    version = given.get("version")
    if version != _report.VERSION:
        raise NoReport(
            f"expected a report of version {_report.VERSION}, found {json.dumps(version)[:20]}: "
            "audit again with this primus.patches, or merge with the newer one that wrote it."
        )
    generated = _time(given.get("generated"), "generated", now + _SKEW)
    nodes = _each(_spread(given), "nodes", _node)
    if len({node["name"] for node in nodes}) < len(nodes):
        raise NoReport("nodes: expected each node once")
    for place, node in enumerate(nodes):
        if "generated" in node:
            _time(node["generated"], f"nodes[{place}].generated", moment(generated))
    states = _each(given.get("fail_states"), "fail_states", lambda state, where: _one_of((*STATES, WORD), state, where))
    found = _report.of_nodes(nodes, states, generated, _text(given.get("title"), "title"))
    return {**found, "merged": _each(given["merged"], "merged", _source)} if "merged" in given else found


def _spread(given: Data) -> t.Any:
    """Return a file's nodes, each with its undeclared edits: these, too, are held against what a node may say."""
    try:
        return spread(given)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        return _each(given.get("nodes"), "nodes", _node) and _refuse(error)


def _refuse(error: Exception) -> t.NoReturn:
    raise NoReport(f"undeclared: expected the section as the schema has it, found {type(error).__name__}: {error}")


def _each(value: t.Any, where: str, kind: t.Callable[[t.Any, str], t.Any]) -> list[t.Any]:
    if not isinstance(value, list):
        raise Odd("a list", value, where)
    return [kind(each, f"{where}[{place}]") for place, each in enumerate(value)]


def _text(value: t.Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise Odd(f"a text of at most {_LONGEST:,} characters", value, where)
    return visible(value)


def _one_of(words: t.Sequence[str], value: t.Any, where: str) -> str:
    if not isinstance(value, str) or value not in words:
        raise Odd(f"one of {', '.join(words)}", value, where)
    return value


def _flag(value: t.Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Odd("true or false", value, where)
    return value


def _time(value: t.Any, where: str, latest: dt.datetime) -> str:
    text = _text(value, where)
    try:
        found = moment(text)
    except ValueError:
        raise Odd("a time with its zone", value, where) from None
    if found > latest:
        raise NoReport(
            f"{where}: expected a time before {latest.isoformat()}, found {text}: set the clock of who wrote it"
        )
    return text


def _mapping(value: t.Any, where: str) -> Data:
    if not isinstance(value, Mapping):
        raise Odd("a mapping", value, where)
    return dict(value)


def _source(value: t.Any, where: str) -> Data:
    given = _mapping(value, where)
    count = given.get("nodes")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= LARGEST:
        raise Odd("a whole number from 0 to 2^53", count, f"{where}.nodes")
    times = given.get("generated")
    problem = given.get("problem")
    return {
        "report": _text(given.get("report"), f"{where}.report"),
        "generated": None if times is None else moment(_text(times, f"{where}.generated")).isoformat(),
        "nodes": count,
        "problem": None if problem is None else _text(problem, f"{where}.problem"),
    }


def _node(value: t.Any, where: str) -> Data:
    given = _mapping(value, where)
    environments = _each(given.get("environments"), f"{where}.environments", _environment)
    if len({each["environment"] for each in environments}) < len(environments):
        raise NoReport(f"{where}.environments: expected each environment once")
    message = given.get("message")
    found = {
        "name": _text(given.get("name"), f"{where}.name"),
        "status": _one_of(_report.STATUSES, given.get("status"), f"{where}.status"),
        "message": None if message is None else _text(message, f"{where}.message"),
        "environments": environments,
    }
    return {**found, "generated": given["generated"]} if given.get("generated") is not None else found


def _environment(value: t.Any, where: str) -> Data:
    given = _mapping(value, where)
    told = {key: given.get(key) for key in _TOLD}
    try:
        result = answered({**told, "environment": {key: given.get(key) for key in _WHERE}})
    except Odd as error:
        raise NoReport(f"{where}: {error}") from None
    audited = _flag(given.get("audited"), f"{where}.audited")
    answer = _report.answer("", result, "ok", predicted=False, audited=audited, fail_states=())
    (found,) = json.loads(answer.environments)
    for place, patch in enumerate(found["patches"]):
        patch["predicted"] = _flag(given["patches"][place].get("predicted"), f"{where}.patches[{place}].predicted")
    return {
        **found,
        "environment": _text(given.get("environment"), f"{where}.environment"),
        "status": _one_of(("ok", "drifted", "failed"), given.get("status"), f"{where}.status"),
        "problems": _each(given.get("problems"), f"{where}.problems", _problem),
    }


def _problem(value: t.Any, where: str) -> str:
    if not isinstance(value, str):
        raise Odd("a text", value, where)
    return visible(value[: 10 * _LONGEST])
