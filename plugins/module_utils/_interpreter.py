# Interpreters: found by path or name, and told apart. Starts none of them.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys

from . import _files
from ._errors import NoEnvironment

OLDEST = (3, 8)
_CUSTOM = ("sitecustomize", "usercustomize")  # modules that site imports, whatever kind of file they are
_PTH = 1 << 16  # bytes of a .pth file; none is as long


def resolve(python: str) -> str:
    """The absolute path of an interpreter; links are left as they are (a venv's python is one)."""
    import shutil  # (only here: the engine does without, and it is slow to be imported)

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


def places(python: str) -> list[str]:
    """The directories that an interpreter runs code from when it starts, and the files that it reads then.

    Those that are there; nothing is started. The directories are those of its prefix, of the interpreter that a
    virtual environment was made from (``home`` in pyvenv.cfg) and of what its links lead to: the standard library,
    site-packages (dist-packages in Debian), and what .pth files name there. The files are pyvenv.cfg, the .pth files,
    and sitecustomize and usercustomize, in whichever of the directories.
    """
    prefixes = [os.path.dirname(os.path.dirname(path)) for path in (os.path.abspath(python), os.path.realpath(python))]
    beside = os.path.dirname(os.path.abspath(python))  # (where Python looks for pyvenv.cfg first)
    files = [os.path.join(directory, "pyvenv.cfg") for directory in (beside, prefixes[0])]
    settings = b"\n".join(_files.read(file) or b"" for file in files)
    for line in settings.decode("utf-8", "replace").splitlines():
        key, _equals, value = line.partition("=")
        if key.strip() == "home":
            prefixes.append(os.path.dirname(value.strip()))
    found: list[str] = []
    for prefix in dict.fromkeys((*prefixes, "/usr/local")):
        for library in ("lib", "lib64"):
            versions = [name for name in _names(os.path.join(prefix, library)) if name.startswith("python3")]
            found += [os.path.join(prefix, library, version) for version in versions]
    sites = [os.path.join(library, name) for library in found for name in ("site-packages", "dist-packages")]
    found += [site for site in sites if _files.kind(site) == "directory"]
    for site in sites:
        for name in _names(site):
            if name.endswith(".pth"):
                files.append(os.path.join(site, name))
                text = _files.head(os.path.join(site, name), _PTH) or b""
                lines = (os.path.join(site, line.strip()) for line in os.fsdecode(text).splitlines() if line.strip())
                found += [line for line in lines if "\0" not in line and _files.kind(line) == "directory"]
    for directory in dict.fromkeys(found):
        custom = [os.path.join(directory, name) for name in _names(directory) if name.partition(".")[0] in _CUSTOM]
        files += [*custom, *(os.path.join(path, "__init__.py") for path in custom)]
    return list(dict.fromkeys((*found, *(file for file in files if _files.kind(file) is not None))))


def _names(directory: str) -> list[str]:
    """The names in a directory; none where there is no such one, or where it cannot be listed by this user."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


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
