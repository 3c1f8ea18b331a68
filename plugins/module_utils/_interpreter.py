# Interpreters: found by path or name, and told apart. Starts none of them.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import sys

from . import _files
from ._errors import NoEnvironment

OLDEST = (3, 8)


def resolve(python: str) -> str:
    """The absolute path of an interpreter; links are left as they are (a venv's python is one)."""
    found = shutil.which(os.path.expanduser(python))
    if found is None:
        path = os.path.expanduser(python)
        try:
            there = _files.look(path, follow=False) is not None
        except PermissionError:  # (whoever it belongs to may know more)
            return os.path.abspath(path)
        state = "nothing" if not there else "a directory" if os.path.isdir(path) else "no executable file"
        raise none(python, state)
    return os.path.abspath(found)


def is_this(python: str) -> bool:
    """Whether ``python`` is the environment that this process runs in.

    By sys.prefix, which pyvenv.cfg decides, and the real interpreter; the real path alone would take every venv for
    the system's Python.
    """
    if os.path.realpath(python) != os.path.realpath(sys.executable or "/"):
        return False
    directory = os.path.dirname(python)
    for prefix in (directory, os.path.dirname(directory)):
        if os.path.exists(os.path.join(prefix, "pyvenv.cfg")):
            return os.path.realpath(prefix) == os.path.realpath(sys.prefix)
    return sys.prefix == sys.base_prefix


def none(python: str, found: str) -> NoEnvironment:
    return NoEnvironment(
        "python %s: expected a Python interpreter of version %d.%d or newer, found %s" % (python, *OLDEST, found)
    )
