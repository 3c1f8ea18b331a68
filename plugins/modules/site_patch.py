#!/usr/bin/python
# Brings an environment to the state that patches ask for: parameters in, one call of the engine, result out.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: site_patch
short_description: Keep source patches of installed Python packages applied
version_added: 1.0.0
description:
  - Applies documented, reversible edits (patches) to the source of Python packages in C(site-packages), or takes
    them out again.
  - Keeps the original of each file that it edits, and makes every content from that, in a directory C(primus-patches)
    beside the packages. A patch counts as applied only where a hash says so.
  - Imports can be tried with the patch in place before anything is written.
  - All patches of one task in one environment are one transaction. Either each file is replaced, by a rename, or none.
  - Before ansible-core 2.21, the result has no C(invocation) below C(-vvv); Ansible would keep it for every node until
    the task is through. From 2.21 on, the setting C(inject_invocation) decides.
options:
  name:
    description:
      - Patches to be used, of the catalogue, O(definitions) or O(src).
      - V(src) among them stands for all patches of O(src).
      - Without it, all of O(definitions) and O(src) are meant. One of the three is needed.
    type: list
    elements: str
  python:
    description:
      - May be a pattern, such as V(/opt/conda/envs/*/bin/python). Then the same is done in each environment that
        matches, one after the other. One that is refused keeps no other from it, and fails the task in the end.
      - Where nothing matches, every patch is missing. O(timeout) is for each environment.
      - Whoever may create what matches decides what is started; of another user's, root does so as that user.
  path:
    description:
      - May be a pattern, too.
  state:
    description:
      - V(present) applies patches that are pending and migrates outdated ones.
      - V(absent) makes the files anew from their originals, without the patches.
    type: str
    choices: [present, absent]
    default: present
  unsupported:
    description: Whether a package of a version that a patch does not support fails the task, or is passed over.
    type: str
    choices: [fail, skip]
    default: fail
  missing:
    description: Whether a package that is not installed fails the task, or is passed over.
    type: str
    choices: [fail, skip]
    default: fail
  backup:
    description: Keep a copy of a file beside it before it is replaced.
    type: bool
    default: false
  restore:
    description:
      - With O(state=absent), also gives back the kept original of a file that was edited since it was patched.
      - The edited file is kept as a backup beside it.
    type: bool
    default: false
  validate:
    description:
      - Imports to be proven, each a module or an object reference C(package.module:name,name) as in entry points.
      - Where a file is to be changed, they are tried with the change served from memory, and only then is it written.
      - Where something else than Python source is to be changed, such as data or a script, it is written first, and put
        back where they fail. Check mode then tells what the imports do as the files are.
      - An import that fails is tried once more without the change, in the time that is left, and
        RV(imports[].blame) tells whose failure it is.
      - Needs O(python) when O(path) is given. They are not tried where every patch was passed over.
    type: list
    elements: str
    default: []
  verify:
    description:
      - When O(validate) is tried. V(changed) before a change only, V(always) also when nothing is to be changed,
        V(never) not at all.
    type: str
    choices: [always, changed, never]
    default: always
  validate_failure:
    description:
      - What becomes of a change when an import of O(validate) fails. V(refuse) writes nothing.
      - V(accept_unchanged) writes where the same imports fail in the same way without the change, and says so. It is
        for hosts on which they cannot succeed, such as a build host without a GPU.
    type: str
    choices: [refuse, accept_unchanged]
    default: refuse
  options:
    description:
      - Options of this module in one dictionary. They win over those that are given on their own.
      - Where they come from variables, one expression for all of them costs the controller less than one for each.
    type: dict
    default: {}
  shared:
    description:
      - Whether the environment may be on storage that nodes share, such as NFS or Lustre.
      - Then of all nodes that see the same physical copy one does the work and proves O(validate), once in a run of a
        playbook. The others reuse its result, and look at the file for themselves.
      - A node that is lost meanwhile, or whose answer is none, leaves no verdict, and another one takes its place.
      - Only nodes whose task has the same arguments count, and tasks that are not asynchronous.
      - Each node costs one more call of a module.
    type: bool
    default: false
attributes:
  diff_mode:
    support: full
extends_documentation_fragment:
  - primus.patches._environment
  - primus.patches._environment.imports
  - primus.patches._environment.attributes
seealso:
  - module: primus.patches.site_patch_info
  - module: primus.patches.import_check
author:
  - The primus.patches contributors (@primus-patches)
"""

EXAMPLES = r"""
- name: Patch Transformers in a virtual environment, proving the import first
  primus.patches.site_patch:
    name: transformers_modeling_utils
    python: /opt/venv/bin/python
    validate:
      - transformers.modeling_utils:Conv1D,prune_linear_layer
      - megatron.bridge

- name: Patch a source checkout
  primus.patches.site_patch:
    name: transformers_modeling_utils
    path: /workspace/transformers

- name: Patch on a build host with a CUDA toolkit and no GPU
  primus.patches.site_patch:
    name: transformers_modeling_utils
    python: /opt/venv/bin/python
    validate:
      - megatron.bridge
    import_environment:
      TORCH_CUDA_ARCH_LIST: "9.0"
    validate_failure: accept_unchanged

- name: Give the wheel's own bytes back
  primus.patches.site_patch:
    name: transformers_modeling_utils
    python: /opt/venv/bin/python
    state: absent

- name: Apply an upstream pull request as it was downloaded, in all conda environments
  primus.patches.site_patch:
    python: /opt/conda/envs/*/bin/python
    src:
      - file: files/12345.diff
        name: my_package_crash
        package: my_package
        versions: ">=2.0,<3"
        reason: Version 2.0 crashes on an empty batch.
    missing: skip

- name: Apply all patch files of a directory
  primus.patches.site_patch:
    python: /opt/venv/bin/python
    src: [patches/]

- name: Apply a patch written out in the playbook
  primus.patches.site_patch:
    python: /opt/venv/bin/python
    definitions:
      - name: my_package_names
        package: my_package
        versions: ">=2.0,<3"
        file: api.py
        revision: 1
        reason: Version 2.0 moved Thing to my_package.core.
        upstream: none
        retire: When all jobs import Thing from my_package.core.
        edits:
          - reexport:
              source: .core
              names: [Thing]
"""

RETURN = r"""
msg:
  description: What was done, would be, or was found, or why the task was refused; in one line.
  returned: always
  type: str
  sample: >-
    transformers_modeling_utils: applied (was pending: transformers 4.57.6 in
    /opt/venv/lib/python3.11/site-packages/transformers: not applied; revision 1 is current)
environment:
  description: The environment that was looked at, less O(path) where none was given.
  returned: when its interpreter could be run
  type: dict
  sample: {python: /opt/venv/bin/python, python_version: 3.11.7, prefix: /opt/venv, path: null}
patches:
  description: One entry for each patch, in the order given; also when the task fails.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the patch.
      type: str
    revision:
      description: Its current revision.
      type: int
    revision_found:
      description: The revision that is there, if any.
      type: int
    state:
      description: >-
        State as found. V(native) where upstream needs no patch, V(unneeded) where what it is needed for is not
        installed, V(applied), V(pending), V(outdated) where other edits of it are there, or not all, V(unsupported)
        where the patch does not support the version, V(conflict) where a file is not what it expects, V(missing) where
        the package is not installed.
      type: str
    action:
      description: >-
        What was done, or would be in check mode. One of V(none), V(apply), V(migrate), V(revert), V(restore), V(skip).
      type: str
    integrity:
      description: >-
        The files as found, the worst of them. V(pristine) as RECORD or git has it, V(patched) where it is but for our
        edits, V(foreign) where it is not, V(unknown) without either.
      type: str
    package:
      description: Import package that the patch edits, or the distribution.
      type: str
    version:
      description: Version that was found.
      type: str
    files:
      description: The files that the patch is for, and those that it is in.
      type: list
      elements: dict
      contains:
        path:
          description: The file.
          type: str
        integrity:
          description: That of the file.
          type: str
        backup_file:
          description: The copy that was kept.
          returned: changed, and with O(backup) or O(restore)
          type: str
    message:
      description: The reason of the state, with what was expected, what was found, and where.
      type: str
imports:
  description: One entry for each import that was tried.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The import as given.
      type: str
    ok:
      description: Whether it succeeded.
      type: bool
    proof:
      description: >-
        When it was tried. V(before) the write, with the change served from memory, V(after) it, or V(none) where
        nothing was to be changed, or check mode cannot tell.
      type: str
    blame:
      description: >-
        Whose failure it is. V(patch), or V(environment) where it fails without the change as well. Null where it
        succeeded, where nothing was to be changed, or where no time was left to try it without the change.
      type: str
    seconds:
      description: How long it took.
      type: float
    version:
      description: Version of what was imported, where it states one.
      type: str
    cause:
      description: >-
        Why it failed. V(name) where a module or name is not there, V(dependency) where a module that it needs is
        not installed, V(exception), V(crash) where the interpreter died, V(timeout), V(not_tried) where the time
        was used up before.
      type: str
    error:
      description: The same in one line.
      type: str
    traceback:
      description: End of the traceback.
      type: str
backup_file:
  description: The copy that was kept, where it is one.
  returned: changed, and with O(backup) or O(restore)
  type: str
environments:
  description: The result in each environment, where several are meant. One that was refused is C(failed).
  returned: when O(python) or O(path) is a pattern
  type: list
  elements: dict
"""

from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.primus.patches.plugins.module_utils import _locks, _several, _task

if TYPE_CHECKING:  # (sent along all the same: the engine imports it where there is something to write)
    from ansible_collections.primus.patches.plugins.module_utils import _commit  # noqa: F401


ARGUMENTS = dict(
    name=dict(type="list", elements="str"),
    definitions=dict(type="list", elements="dict"),
    src=dict(type="list", elements="raw"),  # (the action plugin's)
    python=dict(type="str"),
    path=dict(type="path"),
    state=dict(type="str", choices=["present", "absent"], default="present"),
    unsupported=dict(type="str", choices=["fail", "skip"], default="fail"),
    missing=dict(type="str", choices=["fail", "skip"], default="fail"),
    backup=dict(type="bool", default=False),
    validate=dict(type="list", elements="str", default=[]),
    verify=dict(type="str", choices=["always", "changed", "never"], default="always"),
    options=dict(type="dict", default={}),  # (the action plugin's)
    shared=dict(type="bool", default=False),  # (the action plugin's)
    timeout=dict(type="float", default=300),
    trust_writers=dict(type="bool", default=False),
    validate_failure=dict(type="str", choices=["refuse", "accept_unchanged"], default="refuse"),
    restore=dict(type="bool", default=False),
    import_environment=dict(type="dict", default={}, no_log=True),
)


class Module(_task.Discreet, AnsibleModule):
    """Hides what is secret in the options that it shares with the other modules."""


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    wait = 0.0 if module.check_mode else _locks.SECONDS
    _task.run(module, "patch", _several.call, imports=module.params["validate"], wait=wait)


if __name__ == "__main__":
    main()
