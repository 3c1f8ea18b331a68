# What the documentation of all three modules shares: where they look, and what they promise.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  python:
    description:
      - Interpreter of the environment, as a path or a name to be found on E(PATH).
      - It needs Python 3.8 or newer, and nothing of Ansible. All work is done by one child process of it.
      - Without it, or when it is empty, the interpreter that Ansible runs with on that node is meant.
    type: str
  path:
    description:
      - Directory that holds the package (as C(site-packages) does), the package's own directory, or a source checkout.
      - It says where packages are looked for, and comes first on C(sys.path) where something is imported.
      - Without it, or when it is empty, packages are where the interpreter finds them.
    type: path
  definitions:
    description:
      - Patches written out by the caller, in the schema of the catalogue.
      - They extend the catalogue for this task. A definition must not have the name of a patch in the catalogue.
      - What stands in a playbook or an inventory is a template. Mark text that has curly brackets with C(!unsafe), or
        give the definition by O(src), which is none.
    type: list
    elements: dict
  src:
    description:
      - Patches in files on the controller. Each entry is a file, or a directory with such files (not below it).
      - What ends in C(.yml), C(.yaml) or C(.json) holds a definition or a list of them, in the schema of
        O(definitions). Any other file is a patch with a header, and of a directory C(.patch) and C(.diff) are.
      - An entry may be a dictionary with the path as C(file). Its other keys are those of a definition, and also
        C(leave_out) and C(strip) for a patch. They win over what the file says, which so can stay as it was downloaded.
      - Relative paths are looked for as M(ansible.builtin.copy) does, in C(files) of the role and beside the playbook,
        and then in the directory in which Ansible was started.
      - Files are never templated. They may be encrypted with Ansible Vault.
      - What is found counts as O(definitions). It is read and checked before a node is asked.
    type: list
    elements: raw
    version_added: 1.0.0
  timeout:
    description:
      - Seconds that the interpreter may take to answer and, apart from that, that all imports may take together.
      - Then the process and all that it started are ended.
      - Where one task only looks at several environments, this is for all of them together.
    type: float
    default: 300
  trust_writers:
    description:
      - What to do where the task runs as root and somebody else may write to a directory on the way to the interpreter,
        to the package or to its file.
      - Root does the work as the owner, where the directory on C(sys.path), the package and the file belong to one
        user who is not root, and refuses where owners differ or others may write.
      - V(true) gives that refusal up. Whoever may write there can then decide what root, or the owner, edits and runs,
        and where the interpreter is root's and owners differ, root works as root. Other users are asked nothing.
    type: bool
    default: false
    version_added: 1.0.0
notes:
  - The environment needs no package for this, only the standard library of its Python.
  - Run as root on an environment of another user, all work is done as that user, imports included.
  - Before ansible-core 2.21, the result has no C(invocation) below C(-vvv); Ansible would keep it for every node until
    the task is through. From 2.21 on, the setting C(inject_invocation) decides.
"""

    IMPORTS = r"""
options:
  import_environment:
    description:
      - Environment variables for the imports. They win over the private caches described below.
      - A value is hidden in results and logs wherever it stands as it is, in whatever form the option is given, a
        dictionary, JSON or C(NAME=value). In what an import tells, it is also hidden as Python quotes it, and each of
        its lines.
      - A value that an import transforms is not hidden, such as its Base64 or a part of it. Nor is what stands in the
        playbook itself, which Ansible may quote, nor a value shorter than four characters, which may be part of another
        text by chance.
      - Imports run with E(HOME), E(XDG_CACHE_HOME), E(TMPDIR), E(TORCH_EXTENSIONS_DIR), E(TRITON_CACHE_DIR) and
        E(HF_HOME) in a private directory that is removed afterwards, and write no bytecode.
      - Processes that an import starts are ended when it is done, also those that left its session.
    type: dict
    default: {}
"""

    ATTRIBUTES = r"""
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the same as the run would, without changing anything.
    support: full
  diff_mode:
    description: Returns what has changed, or would change, as a unified diff.
    support: none
  platform:
    description: Target systems.
    support: full
    platforms: linux
"""
