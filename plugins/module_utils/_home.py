# Where a patch's package, or distribution, is in an environment, and which files it has. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from typing import NamedTuple

from . import _edits, _environment, _records
from ._environment import Package, Place
from ._errors import Conflict
from ._patch import Patch
from ._step import found_in

_MOST_FILES = 100_000  # that a pattern is held against


class Home(NamedTuple):
    """Where a patch's package, or distribution, is."""

    title: str
    package: Package | None
    root: str | None
    """The directory on ``sys.path``; None where there is none."""
    directory: str
    version: str | None
    missing: str | None
    """Why it does not count as installed; None where it does."""

    path: str | None = None
    """The directory that the caller named."""
    names: tuple[str, ...] = ()
    """Of the distributions that its files may belong to."""
    by_facts: bool = False
    """Whether facts of the store in ``root`` alone tell of it, and files are named as they have them."""

    def told(self) -> str:
        """How messages about it begin."""
        if self.missing:
            return ""
        return found_in(self.title, self.version, self.directory)

    def installed(self, name: str) -> str | None:
        """The version of a distribution beside it; None where there is none."""
        local = self.package is None or self.package.local
        return _records.installed(name, self.root, local) if self.root else None

    def place(self, file: str) -> Place | None:
        """Where a file is or would be, by its name in a definition; None where nothing tells."""
        if self.package is not None:
            return _environment.place(self.package, file)
        if self.by_facts and self.root is not None:
            return _environment.entry_place(self.root, self.title, file, self.path)
        return _environment.site_place(self.title, file, self.path)

    def kept(self, relative: str) -> Place | None:
        """Where a file is that a fact of the store names; None where the patch could not have put it there.

        Whoever may write to the store may name any file: it is no authority on what lies outside of the package, or of
        the distribution's environment, nor behind a link.
        """
        top = self.place("__init__.py") if self.package is not None else None
        above = "" if top is None else top.relative[: -len("__init__.py")]
        if not relative.startswith(above):
            return None
        try:
            place = self.place(relative[len(above) :])
        except Conflict:
            return None
        return place if place is not None and (place.root, place.relative) == (self.root, relative) else None

    def files(self) -> list[str]:
        """All files, as definitions name them: those that RECORD lists, else those that are there.

        Raises Conflict where there are too many to look at.
        """
        first = self.place("__init__.py" if self.package is not None else "METADATA")
        owner = _records.owner(first, self.names) if first is not None else None
        listed = _records.files(owner) if owner is not None else None
        if self.package is None:
            return listed or []
        if listed is not None and first is not None:
            prefix = first.relative[: -len("__init__.py")]
            return [file[len(prefix) :] for file in listed if file.startswith(prefix)]
        found: list[str] = []
        for directory in self.package.directories:
            for where, below, names in os.walk(directory):
                below[:] = sorted(name for name in below if name not in ("__pycache__", ".git"))
                found += [os.path.relpath(os.path.join(where, name), directory) for name in sorted(names)]
                if len(found) > _MOST_FILES:
                    raise Conflict("%s: expected at most %d files for a pattern, found more" % (directory, _MOST_FILES))
        return found


def find(patch: Patch, path: str | None) -> Home:
    """Where a patch is at home. Raises NoEnvironment where ``path`` is no directory."""
    return _package(patch, path) if patch.package else _distribution(patch, path)


def _package(patch: Patch, path: str | None) -> Home:
    where = path or "this environment"
    title = str(patch.package)
    package = _environment.find(title, path)
    if package is None:
        message = "package %s: expected it in %s, found none" % (title, where)
        return Home(title, None, None, "", None, message, path)
    first = next((file for file in patch.files() if not _edits.is_pattern(file)), "__init__.py")
    place = _environment.place(package, first)
    directory = place.path[: -len(first) - 1]
    names = tuple(dict.fromkeys(filter(None, (patch.distribution, title, title.split(".", maxsplit=1)[0]))))
    home = Home(title, package, place.root, directory, None, None, path, names)
    if not _records.installed_package(package):
        message = "package %s: expected it in %s, found only %s, which no distribution has" % (title, where, directory)
        return home._replace(missing=message)
    version = _records.version(place, directory, names)
    if version is None:  # (a directory inside of the package may be a link to where no distribution is)
        version = _records.version(_environment.place(package, "__init__.py"), directory, names)
    return home._replace(version=version)


def _distribution(patch: Patch, path: str | None) -> Home:
    title = str(patch.distribution)
    try:
        place = _environment.site_place(title, patch.files()[0], path)
    except Conflict:  # (which the look at the file will say)
        place = _environment.site_place(title, "METADATA", path)
    if place is None:
        message = "distribution %s: expected it in %s, found none" % (title, path or "this environment")
        return Home(title, None, None, "", None, message, path)
    version = _records.installed(title, place.root, path is not None)
    return Home(title, None, place.root, place.root, version, None, path, (title,))
