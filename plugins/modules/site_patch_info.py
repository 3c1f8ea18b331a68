#!/usr/bin/python
# Looks at the patches of an environment without the will to change: parameters in, one call of the engine, result out.
# Copyright (c) the primus.patches contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: site_patch_info
short_description: Tell which source patches an environment carries
version_added: 1.0.0
description:
  - Tells the state of patches in an environment, as M(primus.patches.site_patch) would find them.
  - Changes nothing, never fails because of a state or an import, and works on read-only images and for unprivileged
    users.
  - One call can look at several environments, and on request tells all that an audit wants to know.
options:
  name:
    description:
      - Patches to be looked for, of the catalogue, O(definitions) or O(src).
      - V(src) among them stands for all patches of O(src).
      - Without it, all of O(definitions) and O(src) are meant and, without those either, the whole catalogue.
    type: list
    elements: str
  python:
    description:
      - May be a pattern, such as V(/opt/conda/envs/*/bin/python). Then each environment that matches is looked at.
  path:
    description:
      - May be a pattern, too.
  unsupported:
    description:
      - As for M(primus.patches.site_patch). With V(skip), such a patch has the action skip, and where every patch has
        it, O(imports) are not tried.
    type: str
    choices: [fail, skip]
    default: fail
    version_added: 1.0.0
  missing:
    description: As O(unsupported), of a package that is not installed.
    type: str
    choices: [fail, skip]
    default: fail
    version_added: 1.0.0
  roots:
    description:
      - Directories below which every copy of the patches' packages is looked for, and looked at.
      - Interpreters that are found there are not started, and nothing is imported. Symbolic links are not followed.
      - With it and neither O(python) nor O(path), nothing else is looked at.
      - Each copy is looked at in a process of its own, which may take 10 seconds of the processor, 30 seconds in all,
        1 GiB of memory and 1 MiB for its answer, and cannot write to files. A copy that needs more is told as failed.
      - What cannot be read, or is not looked at within O(timeout), is told in one more entry of RV(environments), as
        failed.
    type: list
    elements: path
    default: []
  imports:
    description:
      - Imports to be tried as the files are, each a module or an object reference C(package.module:name,name).
      - Needs O(python) when O(path) is given.
    type: list
    elements: str
    default: []
  details:
    description:
      - Whether to tell also who owns the files, their bytecode, other copies of the packages, and processes that
        started before a file was patched.
    type: bool
    default: false
  integrity:
    description:
      - Distributions of which every file is held against what was recorded when it was installed, to find undeclared
        edits, files that somebody changed, took away or added and that no patch of ours explains.
      - V(all) means every distribution there, V(patches) those of the files that the patches are for.
      - A distribution that was installed in place (editable) is held against git's index.
      - All is read at the lowest priority, within half of O(timeout). What is not looked at by then is told as such.
    type: list
    elements: str
    default: []
  integrity_libraries:
    description:
      - Whether O(integrity) reads compiled libraries, too. They may take gigabytes; otherwise only their sizes count.
    type: bool
    default: false
extends_documentation_fragment:
  - primus.patches._environment
  - primus.patches._environment.imports
  - primus.patches._environment.attributes
seealso:
  - module: primus.patches.site_patch
author:
  - The primus.patches contributors (@primus-patches)
"""

EXAMPLES = r"""
- name: Look at all patches of the catalogue
  primus.patches.site_patch_info:
    python: /opt/venv/bin/python
  register: patches

- name: Name the patches that are to be applied
  ansible.builtin.debug:
    msg: "{{ patches.patches | selectattr('state', 'equalto', 'pending') | map(attribute='name') }}"

- name: Look at every conda environment, with all that an audit wants to know
  primus.patches.site_patch_info:
    python: /opt/conda/envs/*/bin/python
    imports: [megatron.bridge]
    details: true

- name: Find what somebody edited in Transformers and Megatron-Core besides
  primus.patches.site_patch_info:
    python: /opt/venv/bin/python
    integrity: [transformers, megatron-core]
  register: look

- name: Name the files
  ansible.builtin.debug:
    msg: "{{ look.integrity | map(attribute='found') | flatten | map(attribute='path') }}"

- name: Find every copy of Transformers that users have
  primus.patches.site_patch_info:
    name: transformers_modeling_utils
    roots: [/home, /opt]
"""

RETURN = r"""
msg:
  description: What was found, in one line.
  returned: always
  type: str
environment:
  description: The environment that was looked at.
  returned: when its interpreter could be run
  type: dict
  sample: {python: /opt/venv/bin/python, python_version: 3.11.7, prefix: /opt/venv, path: null}
patches:
  description:
    - One entry for each patch, with the keys that M(primus.patches.site_patch) returns.
    - Its C(action) is what that module would do.
  returned: always
  type: list
  elements: dict
  contains:
    copy_id:
      description:
        - Identity of the physical copy that the file belongs to. Nodes on which it is the same share that directory.
        - On a network file system it is made of the source of the mount, the id of the file system and the inode of
          the directory, on any other one of the boot of the node, the device and that inode.
      type: str
      sample: "nfs4 storage:/export/envs 0 1835021"
    files:
      description: As M(primus.patches.site_patch) returns them, and more.
      type: list
      elements: dict
      contains:
        file:
          description: >-
            What the file is like, its C(owner), C(group), C(mode), number of hard C(links), kind of C(filesystem), what
            a symbolic C(link) leads to, and when its bytes may last have C(changed), in seconds since the epoch.
          returned: with O(details), where there is a file
          type: dict
        bytecode:
          description: >-
            One entry for each of its C(.pyc) files, with C(path), C(mode) (timestamp, checked-hash, unchecked-hash or
            unknown), whether it is C(fresh), and whether it is C(ours), this interpreter's. Python runs a file of the
            mode unchecked-hash without a look at the source.
          returned: with O(details)
          type: list
          elements: dict
    others:
      description: >-
        Other copies of the package on C(sys.path), with C(path), C(version) and C(where), user site or sys.path. The
        first one on the path shadows the others.
      returned: with O(details)
      type: list
      elements: dict
    distributions:
      description: Distributions beside the package that claim to be it. More than one tell of an interrupted upgrade.
      returned: with O(details)
      type: list
      elements: str
imports:
  description: One entry for each import that was tried, with the keys that M(primus.patches.site_patch) returns.
  returned: when one environment is looked at
  type: list
  elements: dict
processes:
  description:
    - Processes of the environment's interpreter that started before a patched file changed, and so may still run what
      was there before. They are not touched.
    - Null where packages were looked for in a O(path).
  returned: with O(details), when one environment is looked at
  type: dict
  contains:
    candidates:
      description: >-
        One entry for each, with C(pid), C(user), C(age) in seconds, C(command) (at most 200 characters), and the
        C(patches) that came after it.
      type: list
      elements: dict
    unreadable:
      description: Number of processes that this user may not look at.
      type: int
integrity:
  description: What each distribution of O(integrity) is found to be.
  returned: with O(integrity), when one environment is looked at
  type: list
  elements: dict
  contains:
    distribution:
      description: Its name; C(*) where there are too many distributions to look at all.
      type: str
    version:
      description: Its version; null where nothing tells.
      type: str
    path:
      description: The directory that the paths of its files count from.
      type: str
    source:
      description: What its files were held against, C(RECORD) or C(git); null where there is nothing to go by.
      type: str
    reason:
      description: Why nothing, or not all of it, can be told; null where all was.
      type: str
    complete:
      description: Whether all of its files were looked at.
      type: bool
    files:
      description: Number of files that were looked at.
      type: int
    sizes_only:
      description: Number of those of which only the size was held against RECORD, as of compiled libraries.
      type: int
    counts:
      description:
        - Number of files of each kind.
        - Undeclared edits are C(changed), C(missing) and C(added) files, the last in directories of the distribution,
          and in no distribution's RECORD. Bytecode, caches, the store, backups and what installers add are left out.
        - C(declared) are those that a patch explains. C(untold) are those of which it cannot be told, such as scripts,
          whose first line installers rewrite.
      type: dict
      sample: {changed: 1, missing: 0, added: 0, declared: 1, untold: 0}
    left_out:
      description: Number of files that are counted and not listed, as there are too many.
      type: int
    found:
      description:
        - One entry for each of these files, with its C(kind), C(path), C(size), C(owner), and the C(time) at which
          it may last have changed, in seconds since the epoch.
        - C(sha256) is the hash of what is there; null where there is nothing, or more than 64 MiB. C(recorded) is
          what was recorded, RECORD's hash in hexadecimal or git's object id.
        - C(lines_added) and C(lines_removed) count lines of a changed text of at most 1 MiB, where the store has
          the original.
        - C(patches) are ours in it, also where somebody edited it besides. C(note) says what is odd about it.
      type: list
      elements: dict
environments:
  description: The result in each environment, where several are looked at. One that cannot be looked at is C(failed).
  returned: when O(python) or O(path) is a pattern, or with O(roots)
  type: list
  elements: dict
"""

from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.primus.patches.plugins.module_utils import _discovery, _task

if TYPE_CHECKING:  # (sent along all the same: the engine imports it)
    from ansible_collections.primus.patches.plugins.module_utils import _integrity, _survey  # noqa: F401


class Module(_task.Discreet, AnsibleModule):
    """Hides what is secret in the options that it shares with the other modules."""


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec=dict(
            name=dict(type="list", elements="str"),
            definitions=dict(type="list", elements="dict"),
            src=dict(type="list", elements="raw"),  # (the action plugin's)
            python=dict(type="str"),
            path=dict(type="path"),
            unsupported=dict(type="str", choices=["fail", "skip"], default="fail"),
            missing=dict(type="str", choices=["fail", "skip"], default="fail"),
            roots=dict(type="list", elements="path", default=[]),
            imports=dict(type="list", elements="str", default=[]),
            details=dict(type="bool", default=False),
            integrity=dict(type="list", elements="str", default=[]),
            integrity_libraries=dict(type="bool", default=False),
            timeout=dict(type="float", default=300),
            trust_writers=dict(type="bool", default=False),
            import_environment=dict(type="dict", default={}, no_log=True),
        ),
        supports_check_mode=True,
    )
    _task.run(module, "info", _discovery.call)


if __name__ == "__main__":
    main()
