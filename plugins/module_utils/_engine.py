# One call from request to result: look, plan, prove, commit. Runs under the interpreter of the environment.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from contextlib import suppress
from typing import Any, Mapping, Sequence

# What writes and what tries imports (_commit, _imports) is imported where it is needed: most calls find nothing to
# do, and of a payload everything that is imported is compiled every time. What one module alone needs is imported by
# name, as Ansible sends to a node what it finds imported in the source; that module names it (see test_payload.py).
from . import _catalogue, _environment, _files, _patch, _plan
from ._errors import CommitError, SitePatchError
from ._trust import Belongs, Trust

_TRIES, _SECONDS = 5, 30.0  # how often, and how long, files may change under a call before it gives up


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a request and return what the module returns; with ``failed`` and ``msg`` where it is refused.

    Keys of the request: ``operation`` (patch, info or check), the parameters of the module of that operation, and
    ``by_root``: whether root asked. Then the result may have ``belongs``, a path: the caller is to ask again, in a
    process of its owner's.
    """
    result: dict[str, Any] = {
        "changed": False,
        "environment": {
            "python": sys.executable,
            "python_version": sys.version.split()[0],
            "prefix": sys.prefix,
            "path": request.get("path"),
        },
        "patches": [],
    }
    collects = gc.isenabled()
    gc.disable()  # (what is many here are the nodes of syntax trees, without a cycle among them)
    try:
        {"patch": _site_patch, "info": _info, "check": _check}[request["operation"]](request, result)
    except Belongs as found:
        result["belongs"] = found.path
    except SitePatchError as error:
        result.update(failed=True, msg=str(error))
    except OSError as error:
        where = "%s: " % error.filename if error.filename else ""
        result.update(failed=True, msg="cannot be told: %s%s" % (where, error.strerror or error))
    finally:
        if collects:
            gc.enable()
    return result


def _info(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """What is there, without the will to change."""
    survey = importlib.import_module("._survey", __package__)

    imports = request.get("imports") or []
    if imports:
        from . import _imports

        _imports.check(imports)
    patches, known = _patch.select(request.get("name"), request.get("definitions"), _catalogue.CATALOGUE, look=True)
    steps = _plan.plan(patches, request.get("path"), known=known, trust=_trust(request)).steps
    found = [{**step.result(), "copy_id": survey.copy_id(step)} for step in steps]
    if request.get("details"):
        for told, step in zip(found, steps):
            told.update(survey.details(step, request.get("path")))
        result["processes"] = None if request.get("path") else survey.old_processes(steps)
    result["imports"] = _prove(request, patches, ()) if imports else []
    result["patches"] = found  # (last: with patches, a look has not failed)
    result["msg"] = _said(steps)


def _check(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Imports as they are, or as they would be with patches previewed."""
    from . import _imports

    _imports.check(request["imports"])
    changes: Sequence[_plan.Change] = ()
    patches: Sequence[_patch.Patch] = ()
    if request.get("name") or request.get("definitions"):
        patches, known = _patch.select(request.get("name"), request.get("definitions"), _catalogue.CATALOGUE)
        plan = _plan.plan(patches, request.get("path"), known=known, trust=_trust(request))
        result["patches"] = [step.result() for step in plan.steps]
        _refuse(plan)
        changes = plan.changes
    result["imports"] = _prove(request, patches, changes)
    _refuse_imports(result["imports"], changes)
    result["msg"] = "%s can be imported" % ", ".join(request["imports"])


def _site_patch(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Bring the environment to the state asked for; with ``check_mode`` all but the writing."""
    result["imports"] = []
    imports = request.get("imports") or []
    verify = request.get("verify", "always")
    present = request.get("state", "present") == "present"
    if imports:
        from . import _imports

        _imports.check(imports)
    patches, known = _patch.select(request.get("name"), request.get("definitions"), _catalogue.CATALOGUE)
    trust = _trust(request)
    skip = [state for state in ("unsupported", "missing") if request.get(state) == "skip"]
    deadline = time.monotonic() + _SECONDS
    tries = 0
    while True:
        tries += 1
        plan = _plan.plan(patches, request.get("path"), present, skip, known, trust)
        result["patches"] = [step.result() for step in plan.steps]
        _refuse(plan)
        if plan.changes:
            notes = _committing().preflight(plan.changes, bool(request.get("backup")), trust)
            plan = _noted(plan, notes)
            result["patches"] = [step.result() for step in plan.steps]
        wanted = imports and verify != "never" and any(step.action != "skip" for step in plan.steps)
        proven = any(done["proven"] for done in result["imports"])
        if wanted and not (proven and not plan.changes) and (plan.changes or verify == "always"):
            result["imports"] = _prove(request, patches, plan.changes)
            _refuse_imports(result["imports"], plan.changes)
        kept: dict[str, str] | None = {}
        if not request.get("check_mode"):
            if plan.changes:
                kept = _committing().commit(plan.changes, bool(request.get("backup")), trust)
            else:
                _sweep(plan, trust)
        if kept is not None:
            break
        if tries >= _TRIES and time.monotonic() > deadline:
            files = ", ".join(change.path for change in plan.changes)
            raise CommitError("%s: changed by somebody else again and again; nothing was written" % files)
    result["changed"] = bool(plan.changes)
    result["msg"] = "; ".join(step.told(done=not request.get("check_mode")) for step in plan.steps)
    for entry in result["patches"]:
        if entry["path"] in kept:
            entry["backup_file"] = kept[entry["path"]]
    if len(kept) == 1:
        result["backup_file"] = next(iter(kept.values()))
    if request.get("diff"):
        result["diff"] = {"prepared": "".join(map(_diff, plan.changes))}


def _trust(request: Mapping[str, Any]) -> Trust:
    return Trust(bool(request.get("by_root")), bool(request.get("trust_writers")))


def _noted(plan: _plan.Plan, notes: Mapping[str, str]) -> _plan.Plan:
    """The plan, with what is to be said of files (by path) in the messages of its steps."""
    steps = [
        step._replace(message="%s; %s" % (step.message, notes[step.path])) if step.path and step.path in notes else step
        for step in plan.steps
    ]
    return plan._replace(steps=tuple(steps))


def _sweep(plan: _plan.Plan, trust: Trust) -> None:
    """Remove what runs that were killed have left beside files that are as they should be."""
    for path in {step.path for step in plan.steps if step.path}:
        if _files.unfinished(path):
            with suppress(CommitError):
                _committing().sweep(path, trust)


def _committing() -> Any:
    return importlib.import_module("._commit", __package__)


def _prove(
    request: Mapping[str, Any], patches: Sequence[_patch.Patch], changes: Sequence[_plan.Change]
) -> list[dict[str, Any]]:
    from . import _imports

    path = request.get("path")
    names = [patch.package for patch in patches] + [name.partition(":")[0] for name in request["imports"]]
    roots = _environment.roots(path, names) if path else []
    variables = request.get("import_environment") or {}
    named = [entry for entry in variables.get("PYTHONPATH", "").split(os.pathsep) if entry]
    trust = _trust(request)
    trust.check_imports([*roots, *named], sys.path)
    return _imports.prove(
        request["imports"],
        {change.path: change.after for change in changes},
        roots,
        request["timeout"],
        variables,
        only_roots=os.geteuid() == 0 and trust.guard() is not None,
    )


def _refuse(plan: _plan.Plan) -> None:
    if plan.refused:
        raise SitePatchError("%s. Nothing was written." % _said(plan.refused))


def _said(steps: Sequence[_plan.Step]) -> str:
    return "; ".join("%s: %s: %s" % (step.patch.name, step.state, step.message) for step in steps)


def _refuse_imports(imports: Sequence[Mapping[str, Any]], changes: Sequence[_plan.Change]) -> None:
    failed = ["%s (%s)" % (done["name"], done["error"]) for done in imports if not done["ok"]]
    if failed:
        how = "with the change served from memory; nothing was written" if changes else "as the files are"
        raise SitePatchError("import failed, %s: %s" % (how, "; ".join(failed)))


def _diff(change: _plan.Change) -> str:
    """A unified diff of one change; its bytes read as UTF-8."""
    import difflib
    import io

    # (StringIO ends a line at \n alone; splitlines() would at a form feed, too)
    before, after = (list(io.StringIO(text.decode("utf-8", "replace"))) for text in (change.before, change.after))
    lines = difflib.unified_diff(before, after, change.path, change.path, "(before)", "(after)")
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def load_all() -> None:
    """Import all that a call may come to need: a process that becomes another user cannot read our files then."""
    for name in ("_commit", "_imports", "_survey"):
        with suppress(ImportError):  # (Ansible sends along what the module itself may need)
            importlib.import_module("." + name, __package__)
    for name in ("difflib", "encodings.ascii", "encodings.latin_1", "importlib.metadata", "io"):
        importlib.import_module(name)


def answer(request: Mapping[str, Any]) -> bytes:
    """The result as JSON, from a process that is there for this alone."""
    if request.get("imports"):
        from . import _processes

        _processes.adopt_orphans()
    return json.dumps(run(request)).encode("utf-8")
