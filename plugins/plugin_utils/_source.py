# What a task's `src` names: patch files and files of definitions, found and read on the controller, never templated.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.validation import check_type_dict, check_type_list
from ansible_collections.primus.patches.plugins.module_utils import _patch, _patch_file
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.primus.patches.plugins.module_utils._errors import DefinitionError

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.parsing.dataloader import DataLoader

    Definition = dict[str, t.Any]

PATCHES = (".patch", ".diff")
DEFINITIONS = (".yml", ".yaml", ".json")
ALL = "src"
"""Among the names of a task's patches: all that its ``src`` brings."""


def with_definitions(
    arguments: Mapping[str, t.Any], find: Callable[[str], str], loader: DataLoader
) -> dict[str, t.Any]:
    """Return the arguments of a task without ``src``; what that names is among their ``definitions``.

    :param arguments: the task's, as the operator wrote them.
    :param find: returns the path of what ``src`` calls so, as ``ansible.builtin.copy`` finds its own.
    :param loader: reads files; it knows the secrets of encrypted ones.
    :raises DefinitionError: what is named is not there, is no patch, or has the name of another one.
    """
    kept = {key: value for key, value in arguments.items() if key != "src"}
    source = arguments.get("src")
    if not source:
        return kept
    written = _listed("definitions", arguments.get("definitions"))
    places: dict[str, str] = {patch["name"]: "the catalogue" for patch in CATALOGUE}
    places.update((_named(definition), "definitions") for definition in written)
    found: list[Definition] = []
    for entry in [source] if isinstance(source, Mapping) else _listed("src", source):
        for path, definition in _read(entry, find, loader):
            name = definition["name"]
            if name in places:
                said = "a patch of that name exists already, in %s; give yours another one"
                raise DefinitionError("%s: patch %s: name: %s" % (path, name, said % places[name]))
            places[name] = path
            found.append(definition)
    if ALL in places:
        said = "%s: patch %s: name: expected another one: it stands for all patches of the option src"
        raise DefinitionError(said % (places[ALL], ALL))
    return {**kept, **_with_names(arguments, found), "definitions": [*written, *found]}


def _with_names(arguments: Mapping[str, t.Any], found: t.Sequence[Definition]) -> dict[str, t.Any]:
    """Return the task's ``name`` with the names of all patches that were found, where it asks for all of them."""
    names = _listed("name", arguments.get("name"))
    if ALL not in names:
        return {}
    meant = [each for name in names for each in ([one["name"] for one in found] if name == ALL else [name])]
    return {"name": list(dict.fromkeys(meant))}


def _listed(option: str, value: t.Any) -> list[t.Any]:
    try:
        found: list[t.Any] = check_type_list(value) if value else []
    except TypeError as error:
        raise DefinitionError("%s: expected a list: %s" % (option, error)) from None
    return found


def _named(definition: t.Any) -> str:
    """The name in a definition that the node will look at; whatever is wrong with that, it says."""
    try:
        return str(check_type_dict(definition).get("name"))
    except TypeError:
        return ""


def _read(entry: t.Any, find: Callable[[str], str], loader: DataLoader) -> t.Iterator[tuple[str, Definition]]:
    """Yield the definitions that one entry of ``src`` names, each with the path of its file."""
    beside = dict(entry) if isinstance(entry, Mapping) else {"file": entry}
    name = beside.pop("file", None)
    if not isinstance(name, str) or not name:
        raise DefinitionError("src: expected a path, or a mapping with one as file, found %r" % (entry,))
    try:
        path = find(name)
    except AnsibleFileNotFound as error:
        raise DefinitionError(_missing(name, error.paths or [os.path.expanduser(name)])) from None
    for file in _files(path):
        try:
            if file.lower().endswith(DEFINITIONS):
                yield from ((file, definition) for definition in _written_out(file, beside, loader))
            else:
                yield file, _patch_file.load(_bytes(file, loader), file, beside)
        except (AnsibleError, OSError) as error:
            raise DefinitionError("%s: expected a file that can be read: %s" % (file, error)) from None


def _missing(name: str, paths: t.Sequence[str]) -> str:
    said = "src %s: expected a file or a directory on the controller, found none at %s"
    found = said % (name, ", ".join(dict.fromkeys(paths)))
    if name.startswith(("/", "~")):
        return found
    return "%s. In an inventory, say where it lies: {{ inventory_dir }}/%s" % (found, name)


def _files(path: str) -> list[str]:
    """The file, or those of a directory by their names; not below it."""
    if os.path.isfile(path):
        return [path]
    suffixes = PATCHES + DEFINITIONS
    try:
        names = [each for each in os.listdir(path) if each.lower().endswith(suffixes) and not each.startswith(".")]
    except OSError as error:
        said = "%s: expected a file, or a directory that can be read: %s"
        raise DefinitionError(said % (path, error.strerror)) from None
    if not names:
        raise DefinitionError("%s: expected files that end in one of %s, found none" % (path, ", ".join(suffixes)))
    return [os.path.join(path, each) for each in sorted(names)]


def _written_out(path: str, beside: Mapping[str, t.Any], loader: DataLoader) -> list[Definition]:
    """The definitions in a file of YAML or JSON, with what is said beside it."""
    found = loader.load_from_file(path, cache="none")
    if not found or not isinstance(found, (Mapping, list)):
        raise DefinitionError("%s: expected a definition or a list of them, found %r" % (path, found))
    plain = json.loads(json.dumps(found, default=str))  # (Ansible's own types are for what may be a template)
    entries = plain if isinstance(plain, list) else [plain]
    definitions = [{**each, **beside} if isinstance(each, Mapping) else each for each in entries]
    try:
        for each in definitions:
            _patch.load(each)
    except DefinitionError as error:
        raise DefinitionError("%s: %s" % (path, error)) from None
    return definitions


def _bytes(path: str, loader: DataLoader) -> bytes:
    real = loader.get_real_file(path)  # (where it is encrypted, a file with what that is)
    try:
        with open(real, "rb") as stream:
            return stream.read()
    finally:
        loader.cleanup_tmp_file(real)
