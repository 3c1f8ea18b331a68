# A recorded answer: that an `apply` of the command line has nothing to do, told without the engine. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""As in ccache's direct mode, an answer is named by what it follows from, so that it can be looked up without a look.

Most of such a call's time goes into the code that makes sense of patch files, and what they mean follows from their
bytes alone. So an ``apply`` that wrote something leaves in the store what is to be asked about the files next time, and
what is to be printed then (see _recording), under a name made of the patches and the program.

It counts only where ``_question`` says of files and facts as they are that certainly nothing is to be done. Whatever is
not as it must be for that raises, and then the engine has a look.
"""

from __future__ import annotations

import os
import stat
import sys

from . import _question
from ._question import need

TYPE_CHECKING = False  # (typing is slow to be imported)
if TYPE_CHECKING:
    from typing import Iterator, Sequence

STORED = "primus-patches/answers"  # below a root
SUFFIXES = (".patch", ".diff", ".json")  # of the files that a directory of patches stands for
PROGRAM = ""  # what tells this program's code from any other's (see tools/zipapp.py); without it nothing is recorded
_LARGEST = 1 << 24  # bytes of a patch file, as in _patch_file
_FLAGS = ("--check", "--diff", "--json", "--quiet")
_SKIPS = ("--missing", "--unsupported")  # (what is applied is passed over by neither)
_VALUES = ("--patch", "--path", "--python", *_SKIPS)


def is_told(arguments: Sequence[str]) -> bool:
    """Answer a call of the command line, where a recorded answer is there and holds; False where it is not."""
    try:
        text = _text(arguments)
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # (as _outcome does)
        sys.stdout.write(text)
        sys.stdout.flush()
    except Exception:  # noqa: BLE001 (the engine tells of an error)
        return False
    return True


def name(patches: Sequence[str]) -> str:
    """The name of the answer for what ``--patch`` says. Raises ValueError and OSError where there can be none.

    Made of what the definitions follow from: names of files (of a patch that has none) and contents; of what may be in
    the catalogue, the word itself.
    """
    need(bool(PROGRAM and patches))
    words = [
        ("/" not in patch and patch, [(os.path.basename(file), _content(file)) for file in _files(patch)])
        for patch in patches
    ]
    return _question.sha(repr((PROGRAM, words)).encode("utf-8", "surrogateescape")) + ".json"


def _files(patch: str) -> list[str]:
    if not os.path.isdir(patch):
        return [patch]
    return sorted(os.path.join(patch, each) for each in os.listdir(patch) if each.lower().endswith(SUFFIXES))


def _content(file: str) -> str | None:
    """The hash of a file; None where there is none."""
    if not os.path.lexists(file):
        return None
    need(stat.S_ISREG(os.stat(file).st_mode))  # (what a pipe holds can be read once)
    with open(file, "rb") as stream:
        return _question.sha(stream.read(_LARGEST + 1))


def _text(arguments: Sequence[str]) -> str:
    """What is printed where nothing is to be done. Raises where that is not certain."""
    import json

    given: dict[str, list[str]] = {option: [] for option in (*_FLAGS, *_VALUES)}
    words = iter(arguments[1:])  # (behind ``apply``)
    for word in words:
        value = next(words) if word in _VALUES else "yes"
        need(value[:1] not in ("", "-") and (word not in _SKIPS or value in ("fail", "skip")))
        given[word].append(value)
    need(not (given["--json"] and given["--diff"]))
    path = os.path.abspath(given["--path"][-1]) if given["--path"] else None
    for python in given["--python"][-1:]:
        _check(python)
    record = json.loads(_read(name(given["--patch"]), _roots(path)))
    asked = {**record["asked"], "path": path}
    found = [list(_question.installed(asked, *package)) for package in asked["packages"]]
    need(bool(found) and record["found"] == found)
    version = sys.version.split()[0]
    if given["--json"]:
        here = {"python": sys.executable, "python_version": version, "prefix": sys.prefix, "path": path}
        return json.dumps({**record["result"], "environment": here}, indent=2) + "\n"
    lines = [path or "%s (Python %s)" % (sys.executable, version), *record["lines"]]
    need(all(map(str.isprintable, lines)))
    return "" if given["--quiet"] else "\n".join(lines) + "\n"


def _check(python: str) -> None:
    """Raise unless an interpreter is the one that runs this, and root may start it."""
    need(python == sys.executable)
    above = os.path.dirname(os.path.dirname(python))
    need(sys.prefix == sys.base_prefix or os.path.realpath(above) == os.path.realpath(sys.prefix))
    if not os.geteuid():
        for each in (python, *_question.places(python)):
            _question.walk(each)


def _roots(path: str | None) -> Iterator[str]:
    """Where the store may be."""
    if path:
        yield from (path, os.path.dirname(path))
        return
    need(all(entry[:1] == "/" for entry in sys.path))  # (the engine may look from another working directory)
    yield from sys.path


def _read(file: str, roots: Iterator[str]) -> bytes:
    """The record of a name, out of the first store that has it; the rules for a store are those of its facts."""
    root = next(root for root in roots if os.path.lexists("%s/%s/%s" % (root, STORED, file)))
    stored = os.path.join(os.path.realpath(root), STORED)
    store = os.lstat(os.path.dirname(stored))
    need(stat.S_ISDIR(store.st_mode) and stat.S_ISDIR(os.lstat(stored).st_mode))
    need(store.st_uid in (0, os.stat(root).st_uid))
    if not os.geteuid():
        _question.walk(stored)
    return _question.read(os.path.join(stored, file))
