# The result of a change in several environments, made of the results in each.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any, Mapping, Sequence


def told(python: str | None, path: str | None, message: str, **more: Any) -> dict[str, Any]:
    """The result of what did not get as far as the engine."""
    return {"changed": False, "msg": message, "environment": {"python": python, "path": path}, "patches": [], **more}


def joined(results: Sequence[dict[str, Any]], diff: bool) -> dict[str, Any]:
    """One result with all of them as its ``environments``, without their differences, which it has where wanted.

    One that has several ``environments`` itself stands for those.
    """
    diffs = [result.pop("diff", {}).get("prepared", "") for result in results]
    environments = [each for result in results for each in result.get("environments", [result])]
    failed = [_said(each) for each in environments if each.get("failed")]
    changed = sum(1 for each in environments if each["changed"])
    found = {
        "changed": bool(changed),
        "msg": "%d environments, %d changed" % (len(environments), changed),
        "environments": environments,
        "patches": [patch for each in environments for patch in each["patches"]],
        "imports": [],
    }
    if diff:
        found["diff"] = {"prepared": "".join(diffs)}
    if failed:
        said = "%d of %d environments: %s"
        found.update(failed=True, msg=said % (len(failed), len(environments), "; ".join(failed)))
    return found


def _said(result: Mapping[str, Any]) -> str:
    where = result["environment"]
    return "%s: %s" % (where.get("path") or where.get("python"), result["msg"])
