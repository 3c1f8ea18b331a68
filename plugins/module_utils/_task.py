# What the three modules share: a task's parameters become one request, its result or its error one answer.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from . import _child
from ._errors import NoEnvironment, SitePatchError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run(module: AnsibleModule, operation: str, call: Callable[..., dict[str, Any]] = _child.call, **more: Any) -> None:
    """Carry out the operation with the module's parameters (and ``more``), by ``call``, and end the module."""
    request = {**module.params, **more, "operation": operation, "check_mode": module.check_mode, "diff": module._diff}
    for option in ("python", "path"):  # (a template cannot leave an option out as cheaply as it can leave it empty)
        request[option] = request[option] or None
    environment = request.get("import_environment") or {}
    request["import_environment"] = {str(name): _text(value) for name, value in environment.items()}
    # Ansible masks every occurrence of a value in the result: of a "1" it would leave no version number readable.
    if module.no_log_values:
        from ._imports import SHORTEST_SECRET

        module.no_log_values.difference_update(
            {value for value in module.no_log_values if len(value) < SHORTEST_SECRET}
        )
    try:
        if request.get("imports") and request["path"] and not request["python"]:
            raise NoEnvironment("imports need an interpreter: give python along with path %s" % request["path"])
        result = call(request["python"], request)
    except SitePatchError as error:
        module.fail_json(msg=str(error), patches=[])
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def _text(value: Any) -> str:
    return str(value) if not isinstance(value, bool) else str(value).lower()
