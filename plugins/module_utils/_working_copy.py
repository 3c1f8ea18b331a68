# A directory with the original text files of a distribution, to be edited there: made, marked, and known again.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
from typing import NamedTuple

from . import _environment, _files, _interpreter
from ._edited import MARKER
from ._errors import CommitError, SitePatchError
from ._installed import Installed
from ._originals import Originals

_SCHEMA = 1


class Marker(NamedTuple):
    """What the file in such a directory tells."""

    distribution: str
    version: str | None
    python: str | None
    """Absolute paths, as they were given."""
    path: str | None
    executable: tuple[str, ...]
    """The files that have the executable bit."""
    left_out: dict[str, str]
    """The files of the distribution that are not there, each with the reason."""


class Copied(NamedTuple):
    """What was copied."""

    files: int
    left_out: dict[str, str]
    missing: tuple[str, ...]
    """The files whose original is nowhere; where there are any, nothing was written."""


def make(installed: Installed, originals: Originals, directory: str) -> Copied:
    """Copy the originals to a new directory.

    Raises SitePatchError where there is something already, OSError where it cannot be written; then there is none.
    """
    if _files.look(directory, follow=False) is not None:
        raise SitePatchError("%s: expected nothing there, found something: give another directory (--to)" % directory)
    temporary = directory + _files.SUFFIX
    try:
        os.mkdir(temporary)
    except FileExistsError:
        raise CommitError("%s: left by a run that was ended: remove it" % temporary) from None
    try:
        copied = _copy(installed, originals, temporary)
        if not copied.missing:
            os.rename(temporary, directory)
        return copied
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read(directory: str) -> Marker:
    """What the directory is a copy of. Raises SitePatchError where it is none."""
    path = os.path.join(directory, MARKER)
    text = _files.read(path)
    if text is None:
        raise SitePatchError("%s: expected a directory that 'edit' made, found no %s in it" % (directory, MARKER))
    try:
        told = json.loads(text)
        if told.pop("schema") != _SCHEMA:
            raise ValueError("another schema")
        marker = Marker(**told)._replace(executable=tuple(told["executable"]), left_out=dict(told["left_out"]))
        texts = (marker.distribution, marker.version or "", marker.python or "", marker.path or "", *marker.executable)
        if not all(isinstance(each, str) for each in (*texts, *marker.left_out, *marker.left_out.values())):
            raise ValueError("other values than texts")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SitePatchError("%s: expected what 'edit' wrote, found: %s: run edit again" % (path, error)) from None
    return marker


def check(marker: Marker, directory: str, installed: Installed) -> None:
    """Raise SitePatchError where another distribution, or version, is installed than the directory is a copy of."""
    same = _environment.normal(marker.distribution) == _environment.normal(installed.name)
    if not same or marker.version != installed.version:
        raise SitePatchError(
            "%s is a copy of %s %s: expected that in %s, found %s %s: make a new copy, and the edits in it"
            % (directory, marker.distribution, marker.version, installed.root, installed.name, installed.version)
        )


def _copy(installed: Installed, originals: Originals, directory: str) -> Copied:
    executable: list[str] = []
    left_out = dict.fromkeys(installed.outside, "outside of the environment")
    missing: list[str] = []
    count = 0
    for path, entry in installed.listed.items():
        if path.startswith("../"):
            left_out[path] = "outside of the packages"
            continue
        try:
            data = originals.find(path, entry)
        except OSError as error:
            left_out[path] = error.strerror or str(error)
            continue
        if data is None:
            missing.append(path)
        elif b"\0" in data:
            left_out[path] = "a binary file"
        elif not missing:
            bit = originals.executable(path, entry)
            mode = _files.look(os.path.join(installed.root, path)) if bit is None else None
            count += 1
            file = os.path.join(directory, path)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "xb") as stream:
                stream.write(data)
            if bit or (mode is not None and mode.st_mode & 0o100):
                executable.append(path)
                os.chmod(file, os.stat(file).st_mode | 0o111 & ~_umask())
    marker = Marker(
        distribution=installed.name,
        version=installed.version,
        python=_interpreter.resolve(installed.python) if installed.python else None,
        path=os.path.abspath(installed.path) if installed.path else None,
        executable=tuple(executable),
        left_out=left_out,
    )
    text = json.dumps({"schema": _SCHEMA, **marker._asdict()}, indent=1, sort_keys=True)
    with open(os.path.join(directory, MARKER), "x", encoding="ascii") as stream:
        stream.write(text + "\n")
    return Copied(count, left_out, tuple(missing))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
