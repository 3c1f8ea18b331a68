# The operation that changes an environment: plan, prove, commit, and again where files changed meanwhile.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib
import os
import time
from contextlib import suppress
from typing import Any, Mapping, Sequence

# What writes and what tries imports (_commit, _imports) is imported where it is needed: most calls find nothing to do.
from . import _edits, _files, _import_names, _plan, _request
from ._errors import CommitError, SitePatchError
from ._trust import Trust

_TRIES, _SECONDS = 5, 30.0  # how often, and how long, files may change under a call before it gives up


def patch(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Bring the environment to the state asked for; with ``check_mode`` all but the writing."""
    imports = request.get("imports") or []
    _import_names.check(imports)
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
    if result["changed"] and not work.check_mode and request.get("answer"):
        with suppress(Exception):  # (all is done by now; without it, the next call takes its time as this one)
            importlib.import_module("._recording", __package__).leave(request, work.patches, work.trust)


class _Work:
    """One task's way through plan, proof and commit."""

    def __init__(self, request: Mapping[str, Any], result: dict[str, Any]) -> None:
        self.request = request
        self.result = result
        self.check_mode = bool(request.get("check_mode"))
        self.trust = _request.trust(request)
        self.patches, self.known = ([], []) if request.get("all") else _request.select(request)
        self.proven = False
        self.notes: list[str] = []

    def plan(self) -> _plan.Plan:
        """What is to be done. Raises SitePatchError where that is refused, or could not be written."""
        request = self.request
        skip = _request.skipped(request)
        present = request.get("state", "present") == "present"
        restore = bool(request.get("restore"))
        if request.get("all"):
            kept = importlib.import_module("._kept", __package__)
            plan: _plan.Plan = kept.plan(request.get("path"), self.trust, restore)
        else:
            plan = _plan.plan(self.patches, request.get("path"), present, skip, self.known, self.trust, restore)
        self.result["patches"] = [step.result() for step in plan.steps]
        _request.refuse(plan)
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
            self._refuse_imports(self._prove(_request.previews(plan.changes), "before"), changed=True)
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
        results = _imports.without(results, **_request.how(self.request, self.patches))
        self.result["imports"] = _request.told(results)
        message = _imports.refusal(results, self._accepts())
        if message is not None:
            raise SitePatchError("%s; what was written has been put back" % message)
        self.notes.append(_imports.accepted(results))
        return self._write(plan, "after")

    def _prove(self, previews: Mapping[str, bytes | None], proof: str) -> list[dict[str, Any]]:
        results = _request.prove(self.request, self.patches, previews, proof)
        self.result["imports"] = _request.told(results)
        return results

    def _refuse_imports(self, results: Sequence[Mapping[str, Any]], changed: bool) -> None:
        accepted = _request.refuse_imports(results, self.request, changed)
        if accepted:
            self.notes.append(accepted)

    def _accepts(self) -> bool:
        return self.request.get("validate_failure") == "accept_unchanged"

    def _keeps(self, plan: _plan.Plan) -> bool:
        """Whether copies of the files are to be kept: what is given back replaces somebody's own edits."""
        return bool(self.request.get("backup")) or any(step.action == "restore" for step in plan.steps)


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
