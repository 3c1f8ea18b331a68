# The controller's part of site_patch: of nodes that share storage, one works on a copy, the others take its verdict.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes are worked on in processes of their own, at the same time, in any order.

The first one that asks for a *copy* (a directory as it lies on the storage, whichever nodes see it) holds a lock until
its node came to a verdict; the others wait for that. A node that is lost, or whose answer is none, leaves no verdict,
and the next one goes on.
Verdicts are files in Ansible's temporary directory, and are gone with the playbook: later batches find them, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import typing as t
from contextlib import contextmanager

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.primus.patches.plugins.module_utils import _environments
from ansible_collections.primus.patches.plugins.modules.site_patch import ARGUMENTS
from ansible_collections.primus.patches.plugins.plugin_utils import _asking, _role
from ansible_collections.primus.patches.plugins.plugin_utils._module import Module

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Result = dict[str, t.Any]

_BESIDES = ("ansible_facts", "warnings", "deprecations", "exception", "invocation")
_LOOK = ("name", "definitions", "python", "path", "timeout", "trust_writers")

_VALIDATOR = _asking.validator_of(ARGUMENTS)
_role.prepare()


class Verdict(t.TypedDict):
    """What became of a copy."""

    node: str
    changed: bool
    failure: str  # empty where there was none


class ActionModule(Module):
    """Runs the module on the node, or takes over what became of the same copy elsewhere."""

    def _begin(self, tmp: str | None, task_vars: dict[str, t.Any] | None) -> Result:
        if not _role.is_ours(task_vars or {}):
            return super()._begin(tmp, task_vars)
        several = _role.options(task_vars or {}, self._templar.template)
        given, results = self._task.args, []  # (of module_defaults)
        for options in several:
            self._task.args = {**given, **options}
            try:
                results.append(super()._begin(tmp, task_vars))
            except AnsibleConnectionFailure as error:
                if not results:
                    raise
                results.append({"failed": True, "msg": f"the node was lost: {error}"})
                break  # (what was done in the others is told)
        return results[0] if len(several) == 1 else _joined(several, results, diff=self._task.diff)

    def _work(self, tmp: str | None, task_vars: dict[str, t.Any] | None) -> Result:
        told = _asking.ask(self, _VALIDATOR, task_vars or {})
        return self._shared(tmp, task_vars) if told is None else self._held(told, "site_patch", self._task.args)

    def _shared(self, tmp: str | None, task_vars: dict[str, t.Any] | None) -> Result:
        arguments = self._task.args
        if not boolean(arguments.get("shared", False)) or self._task.async_val:
            return super()._work(tmp, task_vars)
        asked = {key: arguments[key] for key in _LOOK if key in arguments}
        look = self._execute_module("primus.patches.site_patch_info", asked, task_vars=task_vars)
        copies = [patch.get("copy_id") for patch in look.get("patches") or ()]
        if look.get("failed") or not copies or not all(copies):
            return super()._work(tmp, task_vars)  # (which tells what is wrong as without `shared`)
        node = str((task_vars or {}).get("inventory_hostname", ""))
        with _verdict(copies, arguments, check_mode=self._task.check_mode) as file:
            verdict: Verdict | None = json.loads(file.read() or "null")
            if verdict is None:
                result = super()._work(tmp, task_vars)
                if self.answered:  # (nobody else is to suffer for a node that answers nonsense)
                    failure = str(result.get("msg") or "failed") if result.get("failed") else ""
                    json.dump(Verdict(node=node, changed=bool(result.get("changed")), failure=failure), file)
                return result
        if verdict["failure"]:
            return _failed(look, f"{verdict['node']}, which stands for this copy: {verdict['failure']}")
        # The module looks at the file here as well: if it is another one after all, it is patched, too.
        self._task.args = {**arguments, "verify": "never"}
        result = super()._work(tmp, task_vars)
        if self._task.check_mode and verdict["changed"] and result.get("changed"):
            return _left(result, verdict["node"])
        return result


def _joined(several: list[Result], results: list[Result], *, diff: bool) -> Result:
    """Return the results in several environments as one.

    :param several: the options for each. Ansible's own keys, such as warnings, are those of the task.
    """
    besides: Result = {}
    whole = []
    for options, result in zip(several, results):
        for key in _BESIDES:
            value = result.pop(key, None)
            if value is not None:
                besides[key] = [*besides.get(key, ()), *value] if isinstance(value, list) else value
        asked = {"python": options["python"], "path": options["path"]}
        # (What is no answer of the module's has not all of its keys.)
        whole.append({"changed": False, "patches": [], **result, "environment": result.get("environment") or asked})
    return {**_environments.joined(whole, diff), **besides}


def _failed(look: Result, msg: str) -> Result:
    """Return what is said of a node that takes a failure over, with the patches that a look found there."""
    taken = {key: look[key] for key in ("environment", "patches") if key in look}
    taken["patches"] = [{key: patch[key] for key in patch if key != "copy_id"} for patch in look["patches"]]
    if "environments" in look:
        taken["environments"] = [_failed(each, msg) for each in look["environments"]]
    return {**taken, "changed": False, "imports": [], "failed": True, "msg": msg}


def _left(result: Result, node: str) -> Result:
    """Return what check mode says of a node where nothing is to be done once the other one is through."""
    if "environments" in result:
        several = [_left(each, node) for each in result["environments"]]
        patches = [patch for each in several for patch in each["patches"]]
        result = {**result, "environments": several, "patches": patches}
        return {**{key: result[key] for key in result if key != "diff"}, "changed": False, "msg": f"left to {node}"}
    patches = [
        patch if patch["action"] == "none" else {**patch, "action": "none", "message": f"left to {node}"}
        for patch in result["patches"]
    ]
    msg = "; ".join(
        f"{patch['name']}: {patch['state']}, nothing to do: {patch.get('message') or ''}" for patch in patches
    )
    kept = {key: value for key, value in result.items() if key != "diff"}
    return {**kept, "changed": False, "msg": msg, "patches": patches}


@contextmanager
def _verdict(copies: list[str], arguments: Mapping[str, t.Any], *, check_mode: bool) -> Iterator[t.IO[str]]:
    """Yield the file for the verdict on these copies under these arguments, locked against other nodes' processes."""
    named = json.dumps([sorted(copies), arguments, check_mode], sort_keys=True, default=str)
    name = hashlib.sha256(named.encode()).hexdigest()
    with open(os.path.join(constants.DEFAULT_LOCAL_TMP, f"primus-{name}"), "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file
