# What the operations on an environment share: what a request asks for, proving imports, and how a refusal is said.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys
from typing import Any, Mapping, Sequence

from . import _environment, _patch, _plan, _step
from ._errors import SitePatchError
from ._trust import Trust


def select(request: Mapping[str, Any], look: bool = False) -> tuple[list[_patch.Patch], list[_patch.Patch]]:
    """As ``_patch.select``, of what a request names."""
    return _patch.select(request.get("name"), request.get("definitions"), request.get("catalogue") or [], look)


def skipped(request: Mapping[str, Any]) -> list[str]:
    """The states that are passed over."""
    return [state for state in ("unsupported", "missing") if request.get(state) == "skip"]


def trust(request: Mapping[str, Any]) -> Trust:
    """Whom the request may trust."""
    return Trust(bool(request.get("by_root")), bool(request.get("trust_writers")))


def previews(changes: Sequence[_plan.Change]) -> dict[str, bytes | None]:
    """What imports are to see, by path; None where a file, or a directory with it, is to go."""
    going = [change for change in changes if change.after.data is None]
    gone = {os.path.join(change.place.root, each): None for change in going for each in change.directories}
    return {**gone, **{change.place.path: change.after.data for change in changes}}


def prove(
    request: Mapping[str, Any], patches: Sequence[_patch.Patch], previews: Mapping[str, bytes | None], proof: str
) -> list[dict[str, Any]]:
    """As ``_imports.prove``, of the imports and in the way that a request asks for."""
    from . import _imports

    return _imports.prove(request["imports"], previews, proof=proof, **how(request, patches))


def how(request: Mapping[str, Any], patches: Sequence[_patch.Patch]) -> dict[str, Any]:
    """How imports are to be tried. Raises Untrusted where root would run what others may write."""
    path = request.get("path")
    names = [patch.package for patch in patches if patch.package]
    names += [name.partition(":")[0] for name in request["imports"]]
    roots = _environment.roots(path, names) if path else []
    variables = request.get("import_environment") or {}
    named = [entry for entry in variables.get("PYTHONPATH", "").split(os.pathsep) if entry]
    who = trust(request)
    who.check_imports([*roots, *named], sys.path)
    only_roots = os.geteuid() == 0 and who.guard() is not None
    return {"roots": roots, "timeout": request["timeout"], "environment": variables, "only_roots": only_roots}


def told(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What came of imports, as a module returns it."""
    return [{key: done[key] for key in done if key != "same"} for done in results]


def refuse(plan: _plan.Plan) -> None:
    """Raise SitePatchError where a patch of the plan is refused."""
    if plan.refused:
        raise SitePatchError("%s. Nothing was written." % _step.said(plan.refused))


def refuse_imports(results: Sequence[Mapping[str, Any]], request: Mapping[str, Any], changed: bool) -> str:
    """Raise SitePatchError for failed imports; what is to be said where they are accepted, else nothing."""
    from . import _imports

    accepts = changed and request.get("validate_failure") == "accept_unchanged"
    message = _imports.refusal(results, accepts)
    if message is not None:
        raise SitePatchError(message)
    return _imports.accepted(results) if accepts else ""
