# What a task asked its node for, held against the answer: who leaves something out has not done it. Pure.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible.module_utils.common.validation import check_type_dict, check_type_list
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    Data = dict[str, t.Any]


def left_out(module: str, arguments: Mapping[str, t.Any], answer: Mapping[str, t.Any]) -> list[str]:
    """Return what a task asked for, and an answer that did not fail does not have: "patch a_patch", "import json".

    :param module: name of the module, without that of the collection.
    :param arguments: the task's, as the operator wrote them.
    :param answer: of :func:`._answer.answered`.
    """
    if answer.get("failed"):
        return []
    several = answer.get("environments")
    found = [answer] if several is None else [each for each in several if not each.get("failed")]
    if several is not None and not several:
        return ["environments"]
    if arguments.get("roots"):  # (what lies below them has the patches that are for it, and is not imported)
        return [] if several else ["environments"]
    patches, imports = _patches(module, arguments), _imports(module, arguments)
    gone: dict[str, None] = {}
    for each in found:
        told = {patch["name"]: patch for patch in each.get("patches") or ()}
        gone.update(dict.fromkeys(f"patch {name}" for name in patches if name not in told))
        if _are_tried(module, arguments, each):
            tried = {entry["name"] for entry in each.get("imports") or ()}
            gone.update(dict.fromkeys(f"import {name}" for name in imports if name not in tried))
            if arguments.get("integrity") and each.get("integrity") is None:
                gone["integrity"] = None
    return list(gone)


def _patches(module: str, arguments: Mapping[str, t.Any]) -> list[str]:
    """Return the names of the patches, as the modules select them."""
    names = _list(arguments.get("preview" if module == "import_check" else "name"))
    defined = [check_type_dict(each).get("name") for each in _list(arguments.get("definitions"))]
    catalogue = [patch["name"] for patch in CATALOGUE] if module == "site_patch_info" else []
    return list(map(str, names or defined or catalogue))


def _imports(module: str, arguments: Mapping[str, t.Any]) -> list[str]:
    return list(map(str, _list(arguments.get("validate" if module == "site_patch" else "imports"))))


def _are_tried(module: str, arguments: Mapping[str, t.Any], answer: Mapping[str, t.Any]) -> bool:
    """Tell whether imports were to be tried, where the rest of the answer is as it says."""
    patches = answer.get("patches") or []
    if module == "site_patch_info":  # (a pattern that nothing matches has no interpreter)
        return not patches or any(patch["state"] != "missing" for patch in patches)
    if module == "site_patch":
        verify = arguments.get("verify") or "always"
        worked_on = any(patch["action"] != "skip" for patch in patches)
        return worked_on and (verify == "always" or (verify == "changed" and bool(answer.get("changed"))))
    return True


def _list(value: t.Any) -> list[t.Any]:
    found: list[t.Any] = check_type_list(value) if value else []
    return found
