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
from . import _edits, _environment, _files, _patch, _plan
from ._errors import CommitError, SitePatchError
from ._step import Step
from ._trust import Belongs, Trust

_TRIES, _SECONDS = 5, 30.0  # how often, and how long, files may change under a call before it gives up


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a request and return what the module returns; with ``failed`` and ``msg`` where it is refused.

    Keys of the request: ``operation`` (patch, info or check), the parameters of the module of that operation,
    ``catalogue`` (the definitions that ``name`` selects from) and ``by_root``: whether root asked. Then the result may
    have ``belongs``, a path: the caller is to ask again, in a process of its owner's. Only the command line asks for
    ``kept``, which tells what the stores say (``stores``), and for a patch with ``all``: those of which they tell.
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
        {"patch": _site_patch, "info": _info, "check": _check, "kept": _kept, "verify": _verify}[request["operation"]](
            request, result
        )
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
    _patch.check_imports(imports)
    patches, known = _select(request, look=True)
    skip = _skipped(request)
    steps = _plan.plan(patches, request.get("path"), skip=skip, known=known, trust=_trust(request)).steps
    found = [{**step.result(), "copy_id": survey.copy_id(step)} for step in steps]
    if request.get("details"):
        for told, step in zip(found, steps):
            told.update(survey.details(step, request.get("path")))
            for entry in told["files"]:
                entry.update(survey.file_details(entry["path"]))
        result["processes"] = None if request.get("path") else survey.old_processes(steps)
    tried = imports and any(step.action != "skip" for step in steps)
    result["imports"] = _told(_prove(request, patches, {}, "none")) if tried else []
    if request.get("integrity"):
        result["integrity"] = _integrity(request, [look for step in steps for look in step.files])
    result["patches"] = found  # (last: with patches, a look has not failed)
    result["msg"] = _said(steps)


def _verify(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """What nobody declared, and nothing else."""
    result["integrity"] = _integrity(request, [])


def _integrity(request: Mapping[str, Any], looks: Sequence[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = importlib.import_module("._integrity", __package__).asked(
        request, looks, _trust(request)
    )
    return found


def _kept(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """What the stores say, without any definition."""
    kept = importlib.import_module("._kept", __package__)
    result["stores"] = kept.told(request.get("path"), _trust(request))
    result["msg"] = "%d stores say something" % len(result["stores"])


def _check(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Imports as they are, or as they would be with patches previewed."""
    from . import _imports

    _patch.check_imports(request["imports"])
    changes: Sequence[_plan.Change] = ()
    patches: Sequence[_patch.Patch] = ()
    if request.get("name") or request.get("definitions"):
        patches, known = _select(request)
        plan = _plan.plan(patches, request.get("path"), known=known, trust=_trust(request))
        result["patches"] = [step.result() for step in plan.steps]
        _refuse(plan)
        changes = plan.changes
        unseen = [change.place.path for change in changes if not _imports.servable(change.place.path)]
        if unseen:
            message = (
                "%s: expected Python sources, found a file that no import can be shown from memory; use site_patch"
            )
            raise SitePatchError(message % ", ".join(unseen))
    results = _prove(request, patches, _previews(changes), "before" if changes else "none")
    result["imports"] = _told(results)
    _refuse_imports(results, request, bool(changes))
    result["msg"] = "%s can be imported" % ", ".join(request["imports"])


def _site_patch(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Bring the environment to the state asked for; with ``check_mode`` all but the writing."""
    imports = request.get("imports") or []
    _patch.check_imports(imports)
    result["imports"] = []
    work = _Work(request, result)
    deadline = time.monotonic() + _SECONDS
    tries = 0
    while True:
        tries += 1
        plan = work.plan()
        kept = work.prove_and_write(plan)
        if kept is not None:
            break
        if tries >= _TRIES and time.monotonic() > deadline:
            files = ", ".join(change.place.path for change in plan.changes)
            raise CommitError("%s: changed by somebody else again and again; nothing was written" % files)
    result["changed"] = bool(plan.changes or plan.owed)
    steps = [step.told(done=not request.get("check_mode")) for step in plan.steps]
    result["msg"] = "; ".join([*steps, *work.notes])
    for entry in [entry for patch in result["patches"] for entry in patch["files"]]:
        if entry["path"] in kept:
            entry["backup_file"] = kept[entry["path"]]
    if len(kept) == 1:
        result["backup_file"] = next(iter(kept.values()))
    if request.get("diff"):
        result["diff"] = {
            "prepared": "".join(_edits.shown(each.place.path, each.before, each.after) for each in plan.changes)
        }


class _Work:
    """One task's way through plan, proof and commit."""

    def __init__(self, request: Mapping[str, Any], result: dict[str, Any]) -> None:
        self.request = request
        self.result = result
        self.check_mode = bool(request.get("check_mode"))
        self.trust = _trust(request)
        self.patches, self.known = ([], []) if request.get("all") else _select(request)
        self.proven = False
        self.notes: list[str] = []

    def plan(self) -> _plan.Plan:
        """What is to be done. Raises SitePatchError where that is refused, or could not be written."""
        request = self.request
        skip = _skipped(request)
        present = request.get("state", "present") == "present"
        restore = bool(request.get("restore"))
        if request.get("all"):
            kept = importlib.import_module("._kept", __package__)
            plan: _plan.Plan = kept.plan(request.get("path"), self.trust, restore)
        else:
            plan = _plan.plan(self.patches, request.get("path"), present, skip, self.known, self.trust, restore)
        self.result["patches"] = [step.result() for step in plan.steps]
        _refuse(plan)
        if plan.changes:
            plan = _noted(plan, _committing().preflight(plan.changes, self._keeps(plan), self.trust))
            self.result["patches"] = [step.result() for step in plan.steps]
        return plan

    def prove_and_write(self, plan: _plan.Plan) -> dict[str, str] | None:
        """The copies that were kept, by path; None where files changed meanwhile, and all is to be planned again."""
        self.notes = []
        verify = self.request.get("verify", "always") if self.request.get("imports") else "never"
        acting = any(step.action != "skip" for step in plan.steps)
        if verify == "never" or not acting:
            return self._write(plan, "none")
        from . import _imports

        unseen = [change.place.path for change in plan.changes if not _imports.servable(change.place.path)]
        if unseen or plan.owed:
            if not self.check_mode:
                return self._write_and_prove(plan)
            self._prove({}, "none")
            what = ", ".join(map(os.path.basename, unseen)) or "what a killed run wrote"
            self.notes.append("imports are tried once the change is written, as %s cannot be shown from memory" % what)
        elif plan.changes:
            self._refuse_imports(self._prove(_previews(plan.changes), "before"), changed=True)
            self.proven = True
        elif verify == "always" and not self.proven:
            self._refuse_imports(self._prove({}, "none"), changed=False)
        return self._write(plan, "before" if plan.changes else "none")

    def _write(self, plan: _plan.Plan, proof: str) -> dict[str, str] | None:
        if self.check_mode:
            return {}
        if not plan.changes:
            _settle(plan.owed, proof, self.trust)
            _sweep(plan, self.trust)
            return {}
        kept: dict[str, str] | None = _committing().commit(
            _with_proof(plan.changes, proof), self._keeps(plan), self.trust
        )
        if kept is not None:
            _sweep(plan, self.trust)
        return kept

    def _write_and_prove(self, plan: _plan.Plan) -> dict[str, str] | None:
        """Write first, as not all can be shown to imports from memory; take it back where they fail."""
        from . import _imports

        kept = self._write(plan, "owed") if plan.changes else {}
        if kept is None:
            return None
        results = self._prove({}, "after")
        if all(done["ok"] for done in results):
            _settle([*plan.changes, *plan.owed], "after", self.trust)
            return kept
        back = [_reversed(change) for change in plan.changes] or plan.owed
        if _committing().commit(back, False, self.trust) is None:
            raise CommitError("files were changed meanwhile and are left as they are; the imports failed")
        results = _imports.without(results, **_how(self.request, self.patches))
        self.result["imports"] = _told(results)
        message = _imports.refusal(results, self._accepts())
        if message is not None:
            raise SitePatchError("%s; what was written has been put back" % message)
        self.notes.append(_imports.accepted(results))
        return self._write(plan, "after")

    def _prove(self, previews: Mapping[str, bytes | None], proof: str) -> list[dict[str, Any]]:
        results = _prove(self.request, self.patches, previews, proof)
        self.result["imports"] = _told(results)
        return results

    def _refuse_imports(self, results: Sequence[Mapping[str, Any]], changed: bool) -> None:
        accepted = _refuse_imports(results, self.request, changed)
        if accepted:
            self.notes.append(accepted)

    def _accepts(self) -> bool:
        return self.request.get("validate_failure") == "accept_unchanged"

    def _keeps(self, plan: _plan.Plan) -> bool:
        """Whether copies of the files are to be kept: what is given back replaces somebody's own edits."""
        return bool(self.request.get("backup")) or any(step.action == "restore" for step in plan.steps)


def _select(request: Mapping[str, Any], look: bool = False) -> tuple[list[_patch.Patch], list[_patch.Patch]]:
    return _patch.select(request.get("name"), request.get("definitions"), request.get("catalogue") or [], look)


def _skipped(request: Mapping[str, Any]) -> list[str]:
    """The states that are passed over."""
    return [state for state in ("unsupported", "missing") if request.get(state) == "skip"]


def _trust(request: Mapping[str, Any]) -> Trust:
    return Trust(bool(request.get("by_root")), bool(request.get("trust_writers")))


def _noted(plan: _plan.Plan, notes: Mapping[str, str]) -> _plan.Plan:
    """The plan, with what is to be said of files (by path) in the messages of its steps."""
    steps = []
    for step in plan.steps:
        more = [notes[look.place.path] for look in step.files if look.place.path in notes]
        steps.append(step._replace(message="; ".join([step.message, *more])))
    return plan._replace(steps=tuple(steps))


def _with_proof(changes: Sequence[_plan.Change], proof: str) -> list[_plan.Change]:
    return [change._replace(fact=change.fact and change.fact._replace(proof=proof)) for change in changes]


def _reversed(change: _plan.Change) -> _plan.Change:
    made = change.fact.directories if change.fact is not None else ()
    return change._replace(before=change.after, after=change.before, original=None, fact=None, directories=made)


def _settle(changes: Sequence[_plan.Change], proof: str, trust: Trust) -> None:
    """Note that the imports of what was written were tried."""
    facts = [(change.place, change.fact._replace(proof=proof)) for change in changes if change.fact is not None]
    if facts:
        _committing().record(facts, trust)


def _sweep(plan: _plan.Plan, trust: Trust) -> None:
    """Remove what runs that were killed have left beside files that are as they should be."""
    for place in {look.place for step in plan.steps for look in step.files}:
        if _files.unfinished(place.path):
            with suppress(CommitError):
                _committing().sweep(place, trust)


def _committing() -> Any:
    return importlib.import_module("._commit", __package__)


def _previews(changes: Sequence[_plan.Change]) -> dict[str, bytes | None]:
    """What imports are to see, by path; None where a file, or a directory with it, is to go."""
    going = [change for change in changes if change.after.data is None]
    gone = {os.path.join(change.place.root, each): None for change in going for each in change.directories}
    return {**gone, **{change.place.path: change.after.data for change in changes}}


def _prove(
    request: Mapping[str, Any], patches: Sequence[_patch.Patch], previews: Mapping[str, bytes | None], proof: str
) -> list[dict[str, Any]]:
    from . import _imports

    return _imports.prove(request["imports"], previews, proof=proof, **_how(request, patches))


def _how(request: Mapping[str, Any], patches: Sequence[_patch.Patch]) -> dict[str, Any]:
    """How imports are to be tried. Raises Untrusted where root would run what others may write."""
    path = request.get("path")
    names = [patch.package for patch in patches if patch.package]
    names += [name.partition(":")[0] for name in request["imports"]]
    roots = _environment.roots(path, names) if path else []
    variables = request.get("import_environment") or {}
    named = [entry for entry in variables.get("PYTHONPATH", "").split(os.pathsep) if entry]
    trust = _trust(request)
    trust.check_imports([*roots, *named], sys.path)
    only_roots = os.geteuid() == 0 and trust.guard() is not None
    return {"roots": roots, "timeout": request["timeout"], "environment": variables, "only_roots": only_roots}


def _told(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: done[key] for key in done if key != "same"} for done in results]


def _refuse(plan: _plan.Plan) -> None:
    if plan.refused:
        raise SitePatchError("%s. Nothing was written." % _said(plan.refused))


def _said(steps: Sequence[Step]) -> str:
    return "; ".join("%s: %s: %s" % (step.patch.name, step.state, step.message) for step in steps)


def _refuse_imports(results: Sequence[Mapping[str, Any]], request: Mapping[str, Any], changed: bool) -> str:
    """Raise SitePatchError for failed imports; what is to be said where they are accepted, else nothing."""
    from . import _imports

    accepts = changed and request.get("validate_failure") == "accept_unchanged"
    message = _imports.refusal(results, accepts)
    if message is not None:
        raise SitePatchError(message)
    return _imports.accepted(results) if accepts else ""


def load_all() -> None:
    """Import all that a call may come to need: a process that becomes another user cannot read our files then."""
    for name in ("_commit", "_imports", "_integrity", "_kept", "_survey"):
        with suppress(ImportError):  # (Ansible sends along what the module itself may need)
            importlib.import_module("." + name, __package__)
    for name in ("difflib", "gzip", "encodings.ascii", "encodings.latin_1", "importlib.metadata", "io"):
        importlib.import_module(name)


def answer(request: Mapping[str, Any]) -> bytes:
    """The result as JSON, from a process that is there for this alone."""
    if request.get("imports"):
        from . import _processes

        _processes.adopt_orphans()
    return json.dumps(run(request)).encode("utf-8")
