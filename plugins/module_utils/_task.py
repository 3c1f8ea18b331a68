# What the three modules share: a task's parameters become one request, its result or its error one answer.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping

from . import _catalogue, _child
from ._errors import NoEnvironment, SitePatchError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class Discreet:
    """Mixed into AnsibleModule: hides the values of ``import_environment``, in whatever form that was given.

    Ansible notes an option with ``no_log`` as it was given, hides a text as a whole, and shows the dictionary that it
    made of it; so it does of what it refuses before a module gets to say anything.
    """

    params: Mapping[str, Any]
    no_log_values: set[str]

    def exit_json(self, **result: Any) -> None:
        """End the module with a result."""
        self._note()
        super().exit_json(**result)  # type: ignore[misc]

    def fail_json(self, *message: str, **result: Any) -> None:
        """End the module with an error."""
        self._note()
        super().fail_json(*message, **result)  # type: ignore[misc]

    def _note(self) -> None:
        # (Ansible quotes the options, and a diff may hold bytes that are no UTF-8.)
        self.params = {**self.params, "definitions": _utf8(self.params.get("definitions"))}
        self.no_log_values = secrets({*self.no_log_values, *leaves(self.params.get("import_environment"))})


def run(module: AnsibleModule, operation: str, call: Callable[..., dict[str, Any]] = _child.call, **more: Any) -> None:
    """Carry out the operation with the module's parameters (and ``more``), by ``call``, and end the module."""
    request = {**module.params, **more, "operation": operation, "check_mode": module.check_mode, "diff": module._diff}
    for option in ("python", "path"):  # (a template cannot leave an option out as cheaply as it can leave it empty)
        request[option] = request[option] or None
    environment = request.get("import_environment") or {}
    request["catalogue"] = list(_catalogue.CATALOGUE)
    request["import_environment"] = {str(name): _text(value) for name, value in environment.items()}
    try:
        if request.get("imports") and request["path"] and not request["python"]:
            raise NoEnvironment("imports need an interpreter: give python along with path %s" % request["path"])
        result = _utf8(call(request["python"], request))
    except SitePatchError as error:
        asked = {option: request[option] for option in ("python", "path")}
        module.fail_json(msg=str(error), environment=asked, patches=[])
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def secrets(values: set[str]) -> set[str]:
    """Those values that are hidden. Every occurrence is: of a "1" it would leave no version number readable."""
    if not values:
        return values
    from ._imports import SHORTEST_SECRET

    return {value for value in values if len(value) >= SHORTEST_SECRET}


def leaves(value: Any) -> Iterator[str]:
    """All texts and numbers in an option's value, which JSON may have nested."""
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _utf8(value: Any) -> Any:
    """The value with texts as UTF-8 has them: Ansible refuses a whole result for the name of one directory."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _utf8(each) for key, each in value.items()}
    return [_utf8(each) for each in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    return str(value) if not isinstance(value, bool) else str(value).lower()
