# What an operator may have got wrong before anything runs: an ansible-core that is too old, a misspelt variable.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on an ansible-core of any age: it is what says that this one is too old.

The collection's own files say what is known: ``meta/runtime.yml`` the version, the role's ``argument_specs.yml`` its
variables. The other names that the role uses, and the playbooks' own variables, are found in their text.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
import typing as t
from pathlib import Path

from ansible import release
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.primus.patches.plugins.plugin_utils import _role

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_COLLECTION = Path(__file__).parents[2]
_NEAR = 0.8  # how like one of ours (0 to 1) a primus_* must be to be taken for it: others use that prefix, too


def wrong_play(variables: Mapping[str, t.Any]) -> str:
    """Return why a play of our own playbooks must not begin; ``""`` where it may.

    :param variables: the play's: those of the command line and its own.
    """
    wrong = (
        *_misspelt_role(variables),
        *_misspelt_playbook(variables),
        *_odd_batches(variables.get("primus_serial", [])),
    )
    return old_core(release.__version__) or "; ".join(wrong)


def wrong_task(variables: Mapping[str, t.Any]) -> str:
    """Return why a task must not run on a node; ``""`` where it may. Only tasks of our role have a say in its names.

    :param variables: all of the task on that node.
    """
    if not _role.is_ours(variables):
        return ""
    return old_core(release.__version__) or "; ".join(_misspelt_role(variables))


def prepare() -> None:
    """Read now what ``wrong_task`` needs: it is called in a process for each node."""
    old_core(release.__version__)
    _role_names()


@functools.lru_cache(maxsize=None)
def old_core(version: str) -> str:
    """Return what to say of an ansible-core that is too old for this collection; ``""`` where it is not."""
    needed = yaml_load((_COLLECTION / "meta" / "runtime.yml").read_text(encoding="utf-8"))["requires_ansible"]
    # (It is written ">=2.19.0". Of a release candidate the release counts, as for Ansible itself.)
    if _numbers(version) >= _numbers(needed):
        return ""
    return (
        f"primus.patches: expected ansible-core {needed}, found {version} "
        f"(Python {sys.version.split()[0]}, {sys.prefix}). Nothing was done. "
        "Install a newer one beside it, with Python 3.11 or newer: "
        f"python3 -m venv ~/ansible && ~/ansible/bin/pip install 'ansible-core{needed}'; "
        "then use ~/ansible/bin/ansible-playbook."
    )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _misspelt_role(names: Iterable[str]) -> list[str]:
    options, others = _role_names()
    known = options | others
    unknown = sorted(name for name in names if name.startswith(_role.PREFIX) and name not in known)
    near = {name: difflib.get_close_matches(name, sorted(options), 1, 0)[0] for name in unknown}
    return [f"unknown variable {name}: the nearest one of the role is {found}" for name, found in near.items()]


def _misspelt_playbook(names: Iterable[str]) -> list[str]:
    """Tell of names that are nearly ours, held together without the prefix that they share."""
    known = {name.partition("_")[2]: name for name in _playbook_names()}
    unknown = sorted(name for name in names if name.startswith("primus_") and name not in known.values())
    near = {name: difflib.get_close_matches(name.partition("_")[2], sorted(known), 1, _NEAR) for name in unknown}
    return [f"unknown variable {name}: expected {known[found[0]]}" for name, found in near.items() if found]


def _odd_batches(sizes: t.Any) -> list[str]:
    """Tell of a size of batches that Ansible would end with a traceback for. A template is left to it."""
    texts = [str(size) for size in (sizes if isinstance(sizes, list) else [sizes])]
    odd = [text for text in texts if "{{" not in text and not re.fullmatch(r"-?[0-9]+%?", text.strip())]
    return [f'primus_serial: expected sizes of batches, such as [1, "10%", "100%"], found {text!r}' for text in odd]


@functools.lru_cache(maxsize=None)
def _role_names() -> tuple[frozenset[str], frozenset[str]]:
    """Return the role's variables, and the further names that it registers or sets."""
    options = frozenset(name for entry in _role.specs().values() for name in entry)
    files = (_role.DIRECTORY / "meta" / "argument_specs.yml", *(_role.DIRECTORY / "tasks").glob("*.yml"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    return options, frozenset(re.findall(rf"\b{_role.PREFIX}\w+", "\n".join(texts))) - options


@functools.lru_cache(maxsize=None)
def _playbook_names() -> frozenset[str]:
    """Return the variables of the playbooks: each has its default where it is used."""
    files = (*(_COLLECTION / "playbooks").glob("*.yml"), _role.DIRECTORY / "defaults" / "main.yml")
    texts = [path.read_text(encoding="utf-8") for path in files]
    return frozenset(re.findall(r"\bprimus_\w+(?= \| default\()", "\n".join(texts)))
