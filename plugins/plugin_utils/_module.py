# The controller's part that the three modules share: what the operator got wrong before, what a node answers after.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import typing as t

from ansible import constants
from ansible.errors import AnsibleFileNotFound
from ansible.module_utils.common import json as spoken
from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError
from ansible_collections.primus.patches.plugins.plugin_utils._answer import Odd, answered, refused, unanswered, visible
from ansible_collections.primus.patches.plugins.plugin_utils._asked import left_out
from ansible_collections.primus.patches.plugins.plugin_utils._operator import prepare, wrong_task
from ansible_collections.primus.patches.plugins.plugin_utils._source import with_definitions

if t.TYPE_CHECKING:
    Result = dict[str, t.Any]

# What Ansible's own wrapper says of a job that it started (async); its end is told by async_status.
_JOB = ("ansible_job_id", "started", "finished", "results_file", "changed", "failed", "msg")
_WARNINGS, _MOST_WARNINGS = ("warnings", "deprecations"), 20
_LONGEST = 4000  # characters of one of these
_HAS_SETTING = hasattr(constants, "INJECT_INVOCATION")  # from ansible-core 2.21 on, the user decides, for each node
_SHOWS_INVOCATION = 3  # before: the verbosity from which on Ansible's own callbacks show it

# (Ansible imports this once, and then forks for each node. What each would read and import is read and imported here.)
prepare()
if hasattr(spoken, "Direction"):  # (a core that has it not is too old, which `wrong_task` says)
    spoken.get_module_encoder("legacy", spoken.Direction.CONTROLLER_TO_MODULE)
    spoken.get_module_decoder("legacy", spoken.Direction.MODULE_TO_CONTROLLER)


class Module(Normal):
    """Runs the module on the node; what comes back is no other than what the module may answer."""

    answered = False
    """Whether the last answer was one: whoever gives none is not to be believed in what it says of itself either."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Return the module's result."""
        wrong = wrong_task(task_vars or {})
        if wrong:
            return {"failed": True, "msg": wrong}
        try:
            result = self._begin(tmp, task_vars)
        except DefinitionError as error:
            return {"failed": True, "msg": str(error)}
        if not self._shows_invocation(task_vars or {}):
            result.pop("invocation", None)  # (Ansible keeps all results of a task until it is through)
        return result

    def _shows_invocation(self, task_vars: dict[str, t.Any]) -> bool:
        if _HAS_SETTING:
            return bool(constants.config.get_config_value("INJECT_INVOCATION", variables=task_vars))
        return bool(self._display.verbosity >= _SHOWS_INVOCATION)

    def _begin(self, tmp: str | None, task_vars: dict[str, t.Any] | None) -> Result:
        """Return the module's result, of a task that is in its place. Raises DefinitionError."""
        self._task.args = self._arguments()
        return self._work(tmp, task_vars)

    def _arguments(self) -> dict[str, t.Any]:
        """Return what the module is to get: what lies on the controller is read here. Raises DefinitionError."""
        return with_definitions(self._task.args, self._find, self._loader)

    def _find(self, name: str) -> str:
        """Return the path of what `src` names: as `copy` finds it, else from where Ansible was started.

        (Beside a playbook of this collection lies nothing of the operator's.) Raises AnsibleFileNotFound.
        """
        try:
            path: str = self._find_needle("files", name)
        except AnsibleFileNotFound as error:
            path = os.path.abspath(os.path.expanduser(name))
            if os.path.exists(path):
                return path
            raise AnsibleFileNotFound(file_name=name, paths=[*(error.paths or ()), path]) from None
        return path

    def _work(self, tmp: str | None, task_vars: dict[str, t.Any] | None) -> Result:
        """Return the module's result, of a task in which the operator got nothing wrong."""
        result: Result = super().run(tmp, task_vars)
        return result

    def _execute_module(
        self, module_name: str | None = None, module_args: dict[str, t.Any] | None = None, **more: t.Any
    ) -> Result:
        """Return what the module answers, held against what it may answer and what it was asked."""
        told: Result = super()._execute_module(module_name, module_args, **more)
        arguments = self._task.args if module_args is None else module_args
        return self._held(told, module_name or self._task.action, arguments, **more)

    def _held(self, told: Result, module_name: str, arguments: t.Mapping[str, t.Any], **more: t.Any) -> Result:
        """Return what a node told as a module's answer, held against what that may be and what it was asked."""
        name = module_name.rpartition(".")[2]
        self.answered = False
        facts = told.pop("ansible_facts", None) or {}
        # (Which interpreter was found for Ansible is the one fact that is the controller's own.)
        own = {key: facts[key] for key in facts if key == self._discovered_interpreter_key}
        found = {"ansible_facts": own} if own else {}
        if more.get("wrap_async"):
            return {**{key: told[key] for key in _JOB if key in told}, **found}
        try:
            silent = unanswered(told)
            if silent:
                kept = ("exception",) if told.get("_ansible_parsed") is False else ()  # (then it is Ansible's own)
                return {**silent, **{key: told[key] for key in kept if key in told}, **found}
            answer = answered(told)
        except Odd as error:
            return {**refused(error, told), **found}
        gone = left_out(name, arguments, answer)
        if gone:
            return {**refused(Odd(f"what was asked ({', '.join(gone)})", answer), told), **found}
        self.answered = True
        return {**answer, **_from_ansible(told, answer), **found}


def _from_ansible(told: Result, answer: Result) -> Result:
    """Return what Ansible's part of a module says besides: warnings and an error, of which it takes texts, too."""
    events = [getattr(each, "event", None) or each for key in _WARNINGS for each in _list(told.get(key))]
    texts = [each if isinstance(each, str) else getattr(each, "msg", None) for each in events]
    warnings = {"warnings": list(map(_shown, filter(None, texts)))} if any(texts) else {}
    error = getattr(told.get("exception"), "event", None)
    more = [getattr(error, name, None) for name in ("formatted_traceback", "help_text", "chain", "events")]
    if error and not any(more) and getattr(error, "msg", None) == answer.get("msg"):
        return {**warnings, "exception": told["exception"]}  # (then it says that a module failed, and not a plugin)
    return {**warnings, **({"exception": _shown(str(more[0]))} if more[0] else {})}


def _list(value: t.Any) -> list[t.Any]:
    return value[:_MOST_WARNINGS] if isinstance(value, list) else []


def _shown(text: str) -> str:
    return visible(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")
