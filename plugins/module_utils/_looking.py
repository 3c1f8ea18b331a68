# The operations that write nothing: a look, imports as they are, what nobody declared, what stores say.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, Mapping, Sequence

# (What one module alone needs is imported by name, as in _engine.)
from . import _import_names, _patch, _plan, _request, _step, _storage
from ._errors import SitePatchError

if TYPE_CHECKING:
    from ._step import Step


def info(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """What is there, without the will to change."""
    imports = request.get("imports") or []
    _import_names.check(imports)
    patches, known = _request.select(request, look=True)
    skip = _request.skipped(request)
    steps = _plan.plan(patches, request.get("path"), skip=skip, known=known, trust=_request.trust(request)).steps
    found = [{**step.result(), "copy_id": copy_id(step)} for step in steps]
    if request.get("details"):
        survey = importlib.import_module("._survey", __package__)
        for told, step in zip(found, steps):
            told.update(survey.details(step, request.get("path")))
            for entry in told["files"]:
                entry.update(survey.file_details(entry["path"]))
        result["processes"] = None if request.get("path") else survey.old_processes(steps)
    tried = imports and any(step.action != "skip" for step in steps)
    result["imports"] = _request.told(_request.prove(request, patches, {}, "none")) if tried else []
    if request.get("integrity"):
        result["integrity"] = _integrity(request, [look for step in steps for look in step.files])
    result["patches"] = found  # (last: with patches, a look has not failed)
    result["msg"] = _step.said(steps)


def copy_id(step: Step) -> str | None:
    """``_storage.copy_id`` of the directory of a patch's first file; None where it has none."""
    return _storage.copy_id(os.path.dirname(step.files[0].place.path)) if step.files else None


def verify(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """What nobody declared. Patches that the request names explain what they would make, whoever made it."""
    looks: list[Any] = []
    if request.get("name"):
        patches, known = _request.select(request)
        steps = _plan.plan(patches, request.get("path"), known=known, trust=_request.trust(request)).steps
        looks = [look for step in steps for look in step.files]
    result["integrity"] = _integrity(request, looks)


def _integrity(request: Mapping[str, Any], looks: Sequence[Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = importlib.import_module("._integrity", __package__).asked(
        request, looks, _request.trust(request)
    )
    return found


def kept(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """What the stores say, without any definition."""
    kept = importlib.import_module("._kept", __package__)
    result["stores"] = kept.told(request.get("path"), _request.trust(request))
    result["msg"] = "%d stores say something" % len(result["stores"])


def check(request: Mapping[str, Any], result: dict[str, Any]) -> None:
    """Imports as they are, or as they would be with patches previewed."""
    _import_names.check(request["imports"])
    changes: Sequence[_plan.Change] = ()
    patches: Sequence[_patch.Patch] = ()
    if request.get("name") or request.get("definitions"):
        patches, known = _request.select(request)
        plan = _plan.plan(patches, request.get("path"), known=known, trust=_request.trust(request))
        result["patches"] = [step.result() for step in plan.steps]
        _request.refuse(plan)
        changes = plan.changes
        from . import _imports

        unseen = [change.place.path for change in changes if not _imports.servable(change.place.path)]
        if unseen:
            message = (
                "%s: expected Python sources, found a file that no import can be shown from memory; use site_patch"
            )
            raise SitePatchError(message % ", ".join(unseen))
    results = _request.prove(request, patches, _request.previews(changes), "before" if changes else "none")
    result["imports"] = _request.told(results)
    _request.refuse_imports(results, request, bool(changes))
    result["msg"] = "%s can be imported" % ", ".join(request["imports"])
