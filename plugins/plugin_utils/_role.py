# The role's variables: which there are, and the options of site_patch that its one task takes from them.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task names no options: Ansible would compile each expression anew in the process of every node.

Nor does Ansible check the variables, which would be a further task for every node. They are held here against the same
``argument_specs``, by Ansible's own validator.
"""

from __future__ import annotations

import functools
import json
import typing as t
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Options = dict[str, t.Any]

NAME = "primus.patches.megatron_bridge"
PREFIX = "megatron_bridge_"
DIRECTORY = Path(__file__).parents[2] / "roles" / "megatron_bridge"
SETUP = "setup"
_PLACES = {"pythons": "python", "paths": "path"}  # each of one is an environment
_RENAMED = {"patches": "name", "patch_files": "src", "imports": "validate"}
_OTHERS = ("report_dir",)  # (the callback's)


def is_ours(variables: Mapping[str, t.Any]) -> bool:
    """Tell whether a task is one of the role.

    :param variables: all of the task on a node.
    """
    return bool(variables.get("ansible_role_name") == NAME)


@functools.lru_cache(maxsize=None)
def specs() -> dict[str, dict[str, t.Any]]:
    """Return the role's variables, by entry point and name, as ``argument_specs`` describes them."""
    text = (DIRECTORY / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    return {name: entry["options"] for name, entry in yaml_load(text)["argument_specs"].items()}


def options(variables: Mapping[str, t.Any], template: Callable[[t.Any], t.Any]) -> list[Options]:
    """Return the options of ``site_patch`` for each environment that the role's variables name.

    :param variables: all of the task on a node.
    :param template: returns a variable's value with its templates filled in.
    :raises DefinitionError: a value is none that the variable may have.
    """
    given = {name: template(variables[f"{PREFIX}{name}"]) for name in _names()}
    # (Ansible would cut a text at its commas. It may be one path.)
    for name in _PLACES:
        given[name] = list(_flat(given[name] or []))
        if not all(given[name]):  # (the module takes it for Ansible's own interpreter)
            raise DefinitionError("%s%s: expected paths, found an empty one" % (PREFIX, name))
    if isinstance(given["patches"], (list, tuple)):
        given["patches"] = list(_flat(given["patches"]))
    checked = _checked(given)
    kept = {_RENAMED.get(name, name): checked[name] for name in given if name not in _PLACES}
    if kept["name"] and kept["src"]:
        kept["name"].append("src")  # (all patches of src)
    if kept["state"] == "absent":
        kept["validate"] = []  # (an original file need not offer the names)
    kept.update(python="", path="")  # (also where module_defaults name one)
    # (Places as they are given: ~ and $HOME in them are the node's.)
    by_python: list[Options] = [{**kept, "python": python} for python in given["pythons"]]
    # (A directory has no interpreter to try imports with.)
    by_path: list[Options] = [{**kept, "path": path, "validate": []} for path in given["paths"]]
    return [*by_python, *by_path] or [kept]


def _names() -> list[str]:
    names = (name[len(PREFIX) :] for name in specs()[SETUP])
    return [name for name in names if name not in _OTHERS]


def _flat(value: t.Any) -> Iterator[t.Any]:
    """All that is in a list, also in lists in it; a value that is no list is the only one."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def _checked(given: Mapping[str, t.Any]) -> Options:
    """Return the values in the types of their variables; raise DefinitionError where one must not have its value."""
    named = {f"{PREFIX}{name}": value for name, value in given.items()}
    # (The validator copies what it gets: of Ansible's own texts, which know where they are from, that is slow.)
    found = _validator().validate(json.loads(json.dumps(named, default=str, skipkeys=True)))
    if found.error_messages:
        raise DefinitionError("; ".join(found.error_messages))
    return {name: found.validated_parameters[f"{PREFIX}{name}"] for name in given}


@functools.lru_cache(maxsize=None)
def _validator() -> ArgumentSpecValidator:
    return ArgumentSpecValidator({f"{PREFIX}{name}": specs()[SETUP][f"{PREFIX}{name}"] for name in _names()})


def prepare() -> None:
    """Make now what is needed of every node's variables: they are read in a process for each node."""
    _validator().validate({})
