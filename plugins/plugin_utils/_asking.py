# The question before the module: a node that certainly has nothing to do is sent one command, and no module.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one answer that counts is that every wanted patch is applied; then the result is the one that the module has.

Anything else runs the module: a task that the question is not for, an error, no answer, an odd one. So nothing is ever
refused here, and no state but *applied* is told. Messages are made by the engine's own functions.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import re
import shlex
import typing as t
import zlib
from pathlib import Path

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible_collections.primus.patches.plugins.module_utils import (
    _import_names,
    _patch,
    _question,
    _recording,
    _step,
    _storage,
    _task,
)
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.primus.patches.plugins.module_utils._errors import SitePatchError
from ansible_collections.primus.patches.plugins.module_utils._step import Step

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.plugins.action import ActionBase
    from ansible_collections.primus.patches.plugins.module_utils._patch import Patch

    Data = dict[str, t.Any]

SECONDS = 30  # after which a node that does not answer is sent the module, which has limits of its own
LONGEST = 64 * 1024  # characters of a command, and of an answer (Linux takes no argument of more than 128 KiB)
# What both interpreters are started with. The working directory is nobody's place for modules.
_BOOT = (
    "import sys;sys.path[:]=[p for p in sys.path if p];"
    "import binascii,zlib;exec(bytes().join(zlib.decompress(binascii.a2b_base64(text))for text in sys.argv[1:3]))"
)


def validator_of(options: dict[str, t.Any]) -> ArgumentSpecValidator:
    """Return what makes parameters of arguments, as the module with these options would."""
    made = ArgumentSpecValidator(options)
    made.validate({})  # (what it makes of the options it makes once)
    return made


def ask(action: ActionBase, validator: ArgumentSpecValidator, task_vars: Mapping[str, t.Any]) -> Data | None:
    """Return what the module would answer, where it certainly has nothing to do; None where it has to say so itself.

    :param action: with a task whose arguments are all the module's, for which ``validator`` is. Raises what
        connections raise.
    """
    arguments = action._task.args
    parameters = _parameters(arguments, validator)
    interpreter = _interpreter(action, task_vars)
    patches = _patches(parameters) if parameters and interpreter and not action._task.async_val else []
    if not patches:
        return None
    text = command(question(patches, parameters, interpreter), interpreter)
    if len(text) > LONGEST:
        return None
    said = action._low_level_execute_command(f"{action._compute_environment_string()} {text}".strip())
    found = answer(said, patches, parameters)
    if found is None:
        return None
    told = result(found, patches, parameters, check_mode=action._task.check_mode, diff=action._task.diff)
    secrets = [*_task.leaves(arguments.get("import_environment")), *_task.leaves(parameters["import_environment"])]
    kept: Data = remove_values(told, _task.secrets(set(secrets)))
    return kept


# --- what is asked


def _parameters(arguments: Mapping[str, t.Any], validator: ArgumentSpecValidator) -> Data:
    """Return a task's arguments as the module would have them; nothing where the question is not for them."""
    try:  # (the validator copies what it gets: of Ansible's own texts, which know where they are from, that is slow)
        plain = json.loads(json.dumps(arguments))
    except (TypeError, ValueError):
        return {}
    checked = validator.validate(plain)
    parameters: Data = checked.validated_parameters
    if checked.error_messages or (arguments.get("path") or None) != (parameters["path"] or None):
        return {}  # (a path with variables: they are the node's)
    return parameters if is_for(parameters) else {}


def _patches(parameters: Mapping[str, t.Any]) -> list[Patch]:
    """Return the patches that a task means; none where the question is not for one of them."""
    look = _is_look(parameters)
    try:
        _import_names.check([] if look else parameters["validate"])
        patches: list[Patch] = _patch.select(parameters["name"], parameters["definitions"], _PATCHES, look)[0]
    except SitePatchError:
        return []
    return patches if all(map(_recording.is_simple, patches)) else []


def is_for(parameters: Mapping[str, t.Any]) -> bool:
    """Tell whether a task asks for nothing but what the question is about.

    That is for patches that stay, with imports on changes, or for a look at patches alone.
    """
    if _is_look(parameters):
        more = any(parameters[option] for option in ("roots", "imports", "details", "integrity"))
    else:
        proves = parameters["verify"] == "always" or (parameters["path"] and not parameters["python"])
        more = parameters["state"] != "present" or bool(parameters["validate"] and proves)
    places = [place for place in (parameters["python"], parameters["path"]) if place]
    return not more and all(map(_is_plain, places))


def _is_look(parameters: Mapping[str, t.Any]) -> bool:
    """Tell whether parameters are those of site_patch_info."""
    return "details" in parameters


def question(patches: Sequence[Patch], parameters: Mapping[str, t.Any], interpreter: str) -> Data:
    """Return what ``_question.answer`` is asked."""
    return {
        **_recording.question(patches),
        "python": parameters["python"] or interpreter,
        "interpreter": interpreter,
        "path": parameters["path"] or None,
        "seconds": max(1, min(SECONDS, int(parameters["timeout"]))),
        "copies": _is_look(parameters),
        "boot": _BOOT,
    }


def command(asked: Mapping[str, t.Any], interpreter: str) -> str:
    """Return what a shell is to run for that."""
    start = {key: asked[key] for key in ("python", "seconds", "boot")}
    more = _plain({key: asked[key] for key in asked if key not in ("seconds", "boot", "copies")})
    say = f"{_LOOK}say(look({more}, copy_id))" if asked["copies"] else f"say(answer({more}))"
    texts = [_STEPS[0], _packed(f"start({_plain(start)})"), _STEPS[1], _packed(say)]
    return " ".join([shlex.quote(interpreter), "-ISBc", shlex.quote(_BOOT), *texts])


def _plain(asked: Mapping[str, t.Any]) -> str:
    return ascii(json.loads(json.dumps(asked)))


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")


def _steps() -> tuple[str, str, str]:
    """Return the texts of the question's two steps, packed, and of what a look adds to the second one."""
    both, first, second, look = re.split("# --- .*step(?:;.*)?\n", _text(_question))
    storage = _text(_storage).replace("from __future__ import annotations\n", "")  # (that stands before all else)
    return _packed(both + first), _packed(both + second), storage + look


def _text(module: t.Any) -> str:
    """Return the text of a module without its docstrings."""
    return re.sub(r'(?ms)^ *""".*?"""\n', "", Path(module.__file__).read_text(encoding="utf-8"))


def _interpreter(action: ActionBase, task_vars: Mapping[str, t.Any]) -> str | None:
    """Return the path of the interpreter that Ansible uses on the node; None where that cannot be told beforehand."""
    connection = action._connection
    shell = getattr(connection, "_shell", None)
    if action._task.delegate_to or getattr(connection, "_remote_is_local", False):
        return None
    if getattr(shell, "SHELL_FAMILY", "") != "sh" or getattr(shell, "_IS_WINDOWS", False):
        return None
    found = constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
    found = action._templar.template(found)
    if isinstance(found, str) and (not found or found.startswith("auto")):
        found = (task_vars.get("ansible_facts") or {}).get("discovered_interpreter_python")
    return str(found) if isinstance(found, str) and _is_plain(found) else None


def _is_plain(path: str) -> bool:
    """Tell whether a path is whole as it is written: no pattern, no ``~``, no arguments, the same for every process."""
    return os.path.isabs(path) and os.path.normpath(path) == path and not set(path) & set("*?[ \t\r\n\0")


# --- what is answered


def answer(said: Mapping[str, t.Any], patches: Sequence[Patch], parameters: Mapping[str, t.Any]) -> Data | None:
    """Return a node's answer; None where what a command gave is none."""
    parts = str(said.get("stdout") or "").split(_question.SENTINEL)
    if said.get("rc") or len(parts) != 2 or len(parts[1]) > LONGEST:  # noqa: PLR2004 (it is said once)
        return None
    line, _end, more = parts[1].partition("\n")
    if more.strip():  # (of what comes behind a module's answer, Ansible warns)
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    texts = ("python", "python_version", "prefix")
    if not isinstance(found, dict) or set(found) != {*texts, "found"}:
        return None
    homes = list(map(_recording.home, patches))
    lengths = [2 + (homes.count(home) if _is_look(parameters) else 0) for home in dict.fromkeys(homes)]
    places = found["found"]
    if not isinstance(places, list) or [isinstance(place, list) and len(place) for place in places] != lengths:
        return None
    told = [found[key] for key in texts] + [text for place in places for text in place]
    return found if all(isinstance(text, str) for text in told) else None


def result(
    found: Mapping[str, t.Any],
    patches: Sequence[Patch],
    parameters: Mapping[str, t.Any],
    *,
    check_mode: bool,
    diff: bool,
) -> Data:
    """Return the module's result on a node that answered so."""
    homes = dict(zip(dict.fromkeys(map(_recording.home, patches)), found["found"]))
    places = [homes[_recording.home(patch)] for patch in patches]
    steps = [_applied(patch, *place[:2]) for patch, place in zip(patches, places)]
    told = [_told(step, place[0]) for step, place in zip(steps, places)]
    look = _is_look(parameters)
    if look:
        copies = {home: iter(place[2:]) for home, place in homes.items()}
        told = [{**each, "copy_id": next(copies[_recording.home(patch)])} for each, patch in zip(told, patches)]
    environment = {key: found[key] for key in ("python", "python_version", "prefix")}
    return {
        "changed": False,
        "environment": {**environment, "path": parameters["path"] or None},
        "patches": told,
        "imports": [],
        "msg": _step.said(steps) if look else "; ".join(step.told(done=not check_mode) for step in steps),
        **({"diff": {"prepared": ""}} if diff and not look else {}),
        "invocation": {"module_args": parameters},
    }


def _applied(patch: Patch, directory: str, version: str) -> Step:
    message = _step.found_in(str(patch.package), version, directory) + _step.APPLIED % patch.revision
    return Step(patch, "applied", _step.PRESENT["applied"], message, version, (), patch.revision)


def _told(step: Step, directory: str) -> Data:
    files = [{"path": posixpath.join(directory, file), "integrity": "patched"} for file in step.patch.files()]
    return {**step.result(), "integrity": "patched", "files": files}


# (Ansible imports this once, and then forks for each node: what is made here is made once.)
*_STEPS, _LOOK = _steps()
_PATCHES = tuple(map(_patch.load, CATALOGUE))
_recording.form()
