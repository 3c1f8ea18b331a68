# Reaches the engine from a module: in this process, or in one child, of the environment's interpreter or owner.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import site
import sys
from typing import TYPE_CHECKING, Any, Callable, Mapping

from . import _boot, _interpreter, _trust
from ._errors import NoEnvironment, SitePatchError
from ._trust import Trust, User

if TYPE_CHECKING:  # (imported late: most calls of this interpreter do without)
    from ._processes import Answer, Limits

# Any Python must be able to read this, so that an old one can say that it is old.
_START = """
import os, sys
answer = [int(number) for number in sys.argv[-1].split(":")]
try:
    found = os.fstat(answer[0])
    there = [found.st_dev, found.st_ino] == answer[1:]
except OSError:
    there = False
if not there:
    sys.exit("what it runs when it starts (sitecustomize, a .pth file) closes the descriptor that it is to answer on")
if sys.version_info < %r:
    os.write(answer[0], ("old " + sys.version.split()[0]).encode("ascii"))
    sys.exit(0)
import json
asked = json.loads(sys.stdin.buffer.read().decode("utf-8"))
boot = {"__name__": "boot"}
exec(compile(asked["sources"]["_boot"], "<primus.patches>/_boot.py", "exec"), boot)
boot["run"](asked["sources"], asked["request"], answer[0])
"""
MEMORY = 1 << 30  # bytes; a module of 5 MB of ordinary source takes as much to be parsed


def call(python: str | None, request: Mapping[str, Any], limits: Limits | None = None) -> dict[str, Any]:
    """The engine's result for ``request`` under the interpreter ``python`` (default: this one).

    Where this process is root's and the environment another user's, all is done by a child of that user. Raises
    Untrusted where others may change what root would edit or run, and NoEnvironment when ``python`` is no interpreter
    that can run the engine, or does not come back within the limits. By default these are a GiB of memory and the
    request's ``timeout`` (seconds; twice that when it may have to try imports, which have a limit of their own; more by
    the request's ``wait``, which is for locks).
    """
    if request.get("path"):
        request = {**request, "path": os.path.abspath(request["path"])}  # (the child has another working directory)
    python = _interpreter.resolve(python) if python is not None else None
    run = _here if python is None or _interpreter.is_this(python) else _there
    if not _trust.asked_by_root():
        return run(python, request, limits, None)
    request = {**request, "by_root": True}
    user = _user(python, request)
    result = run(python, request, limits, user)
    if user is None and "belongs" in result:  # (only an answer of root's own process says so)
        result = run(python, request, limits, _trust.directory(result["belongs"]))
    return result


def _user(python: str | None, request: Mapping[str, Any]) -> User | None:
    """As whom root is to do the work, as far as that can be told without looking for packages; None as itself."""
    trust = Trust(by_root=True, writers=bool(request.get("trust_writers")))
    found = None
    try:
        if python is not None:
            found = _trust.interpreter(python, trust)
        if request.get("path"):
            owner = _trust.directory(request["path"])
            if found is None or owner is None:
                return found or owner
            if owner.uid != found.uid and not trust.writers:
                reason = "%s and %s: expected one owner, found %s and %s: root would let one run the other's code"
                raise _trust.Untrusted(reason % (python, request["path"], found.name, owner.name))
    except OSError as error:
        if python is not None and error.filename == python:
            raise _interpreter.none(python, "that the way to it cannot be followed: %s" % error.strerror) from None
    return found


def _here(_python: str | None, request: Mapping[str, Any], limits: Limits | None, user: User | None) -> dict[str, Any]:
    """The engine's result under this interpreter.

    A fork costs a module 18 ms of 250. One look goes without where it has no imports, which may leave something
    behind, and where parsing cannot end the interpreter, as before 3.11 a deep expression does.
    """
    from . import _engine  # (only here: of a payload, what is imported is compiled every time)

    if user is None and limits is None and not request.get("imports") and sys.version_info >= (3, 11):
        return _engine.run(request)
    from . import _processes

    _engine.operation(request["operation"])  # (before the fork: there may be more of them)

    def work(say: Callable[[bytes], object]) -> None:
        if user is not None:
            _engine.load_all()
            try:
                user.become()
            except (OSError, SitePatchError) as error:
                told = "this process cannot become user %s: %s. Run the task as that user (become_user)"
                say(json.dumps({"changed": False, "failed": True, "msg": told % (user.name, error)}).encode("ascii"))
                return
            os.environ.update(user.variables())
            site.USER_BASE = site.USER_SITE = None  # (they are below the user's own home)
        say(_engine.answer(request))

    answer = _processes.in_child(work, limits or _limits(request))
    try:
        return json.loads(answer.text.decode("utf-8"))  # type: ignore[no-any-return]
    except ValueError:
        raise NoEnvironment(
            "%s: expected what can be looked at within limits, found that the process%s ended without an answer (%s). "
            "A file there may be damaged, or made to do that. Nothing else can be told"
            % (request.get("path") or "this environment", " of user %s" % user.name if user else "", _ending(answer))
        ) from None


def _there(python: str | None, request: Mapping[str, Any], limits: Limits | None, user: User | None) -> dict[str, Any]:
    """The engine's result under another interpreter."""
    from . import _processes

    python = str(python)
    asked = json.dumps({"sources": _boot.texts(_boot.__spec__), "request": request}).encode("utf-8")
    command = [python, "-B", "-c", _START % (_interpreter.OLDEST,)]
    try:
        answer = _processes.run(command, asked, limits or _limits(request), user=user)
    except OSError as error:
        who = " as user %s, whom the environment belongs to" % user.name if user else ""
        raise _interpreter.none(python, "it cannot be started%s: %s" % (who, error.strerror or error)) from None
    if answer.limit:
        raise _interpreter.none(python, answer.limit)
    if answer.text.startswith(b"old "):
        raise _interpreter.none(python, "it is Python %s" % answer.text[4:40].decode("ascii", "replace"))
    try:
        result: dict[str, Any] = json.loads(answer.text.decode("utf-8"))
    except (ValueError, RecursionError):
        reason = "no answer (%s): no Python, or one that is broken" % _ending(answer)
        raise _interpreter.none(python, reason) from None
    patches = result.get("patches", []) if isinstance(result, dict) else None
    if not isinstance(patches, list) or not all(isinstance(patch, dict) for patch in patches):
        raise _interpreter.none(python, "an answer that is not ours")
    result.setdefault("patches", [])
    return result


def _limits(request: Mapping[str, Any]) -> Limits:
    from . import _processes

    seconds = request["timeout"] * (2 if request.get("imports") else 1) + request.get("wait", 0.0) + 5.0
    return _processes.Limits(seconds, memory=MEMORY)


def _ending(answer: Answer) -> str:
    """How a child ended that gave no answer, and the last that it said."""
    said = answer.output.decode("utf-8", "replace").strip().rpartition("\n")[2][-300:]
    return ": ".join(filter(None, (answer.limit or answer.ending, said)))
