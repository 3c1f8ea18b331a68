# Where the original bytes of an edited file come from: the tree itself, the store, git, a wheel. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import csv
import os
import posixpath
import subprocess
import zipfile
import zlib
from typing import Mapping, Sequence

from . import _environment, _evidence, _files, _git, _git_objects, _trust
from ._edited import Entry
from ._errors import Conflict, SitePatchError
from ._records import Distribution
from ._store import Fact, Store
from ._trust import Trust

_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, KeyError)
_SECONDS = 600  # for pip to download one wheel


class Wheel:
    """A wheel of the very distribution that is installed."""

    def __init__(self, path: str, distribution: Distribution, listed: Mapping[str, Entry]) -> None:
        """Raises SitePatchError where the file is no wheel, or of another distribution, version or build."""
        self.path = path
        self._places: dict[str, str] = {}  # of each installed file: its name in the archive
        try:
            self._archive = zipfile.ZipFile(path)
            self._info = self._named(distribution)
            self._check(distribution, listed)
        except _BROKEN as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise SitePatchError("%s: expected a wheel, found: %s" % (path, reason)) from None

    def executable(self, path: str) -> bool | None:
        """Whether a file is installed with the executable bit; None for one that is not in the wheel."""
        name = self._places.get(path)
        return None if name is None else bool(self._archive.getinfo(name).external_attr >> 16 & 0o111)

    def read(self, path: str) -> bytes | None:
        """The bytes of a file as it is installed; None for one that is not in the wheel, or is too large."""
        name = self._places.get(path)
        if name is None:
            return None
        try:
            return self._bytes(name)
        except _BROKEN as error:
            raise SitePatchError("%s: %s: expected a file, found: %s" % (self.path, name, error)) from None

    def _bytes(self, name: str) -> bytes | None:
        with self._archive.open(name) as stream:
            data = stream.read(_files.MAX_BYTES + 1)
        return data if len(data) <= _files.MAX_BYTES else None

    def _named(self, distribution: Distribution) -> str:
        """The dist-info in the archive, which must be of this distribution and version."""
        names = self._archive.namelist()
        infos = [name for name in names if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
        text = (self._bytes(infos[0]) or b"").decode("utf-8", "replace") if len(infos) == 1 else ""
        said = dict(line.partition(":")[::2] for line in reversed(text.partition("\n\n")[0].splitlines()))
        name, version = said.get("Name", "").strip(), said.get("Version", "").strip()
        if _environment.normal(name) != _environment.normal(distribution.name) or version != distribution.version:
            raise SitePatchError(
                "%s: expected the wheel of %s %s, which is installed, found %s"
                % (
                    self.path,
                    distribution.name,
                    distribution.version,
                    ("%s %s" % (name, version)).strip() or "no METADATA",
                )
            )
        info = posixpath.dirname(infos[0])
        data = info[: -len("dist-info")] + "data/"
        for name in names:
            self._places[_installed(name, data)] = name
        return info

    def _check(self, distribution: Distribution, listed: Mapping[str, Entry]) -> None:
        text = (self._bytes(self._info + "/RECORD") or b"").decode("utf-8", "replace")
        differing = [
            row[0]
            for row in csv.reader(text.splitlines())
            if len(row) > 1 and row[1] and row[0] in listed and listed[row[0]].digest != row[1]
        ]
        if differing:
            raise SitePatchError(
                "%s: expected the wheel that was installed, found another build of %s %s: RECORD has other hashes of %s"
                % (self.path, distribution.name, distribution.version, ", ".join(differing[:3]))
            )


class Originals:
    """The originals of one distribution's files, from wherever they can be had; each is held against its hash."""

    def __init__(self, root: str, trust: Trust, wheel: Wheel | None = None) -> None:
        self._root = root
        self._trust = trust
        self._store = Store(root, trust.guard())
        self._wheel = wheel
        self._checkout = _git.checkout(root)

    def facts(self, path: str) -> list[Fact]:
        """What was written at a path by us. Raises Conflict and OSError where the store cannot be read."""
        return [fact for fact in self._store.facts(path) if isinstance(fact, Fact)]

    def executable(self, path: str, entry: Entry) -> bool | None:
        """Whether the original of a file has the executable bit; None where nothing tells."""
        bit = entry.executable if self._wheel is None else self._wheel.executable(path)
        facts = self.facts(path) if bit is None else []
        return facts[0].original_executable if facts else bit

    def find(self, path: str, entry: Entry) -> bytes | None:
        """The bytes that are on record of a file; None where they are nowhere.

        Raises Conflict, SitePatchError and OSError where a place that has them cannot be read.
        """
        there = _evidence.read(os.path.join(self._root, path), self._trust).data
        if there is not None and entry.matches(there):
            return there
        kept = [entry.sha256, *(fact.original for fact in self.facts(path))]
        for digest in dict.fromkeys(filter(None, kept)):
            data = self._store.original(digest)
            if data is not None and entry.matches(data):
                return data
        for data in (self._of_git(path), self._wheel.read(path) if self._wheel else None):
            if data is not None and entry.matches(data):
                return data
        return None

    def _of_git(self, path: str) -> bytes | None:
        if self._checkout is None:
            return None
        real = os.path.realpath(os.path.join(self._root, path))
        entry = self._checkout.files.get(os.path.relpath(real, self._checkout.top))
        return _git_objects.read(self._checkout, entry.oid) if entry is not None else None


def download(python: str, distribution: Distribution, directory: str) -> str:
    """Have the pip of an interpreter download the wheel of a distribution; its path.

    Raises SitePatchError where root would run what belongs to somebody else, and where pip is not there, or has no such
    wheel. Code of the wheel is not run: pip would do so for a source distribution, which is refused.
    """
    wanted = "%s==%s" % (distribution.name, distribution.version)
    other = _trust.interpreter(python, Trust(by_root=True)) if _trust.asked_by_root() else None
    if other is not None:
        message = "%s: expected an interpreter of root's own, found that it belongs to %s: run this as that user"
        raise SitePatchError(message % (python, other.name))
    command = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", directory, wanted]
    try:
        # (run_command is the module's, and this is the command line)
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
        said = done.stderr.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    found = sorted(name for name in os.listdir(directory) if name.endswith(".whl"))
    if len(found) != 1:
        raise SitePatchError(
            "%s -m pip download %s: expected one wheel, found %d: %s. Download it elsewhere "
            "(pip download --no-deps --only-binary :all: %s), and give it as --wheel FILE"
            % (python, wanted, len(found), said.splitlines()[-1] if said else "pip says nothing", wanted)
        )
    return os.path.join(directory, found[0])


def _installed(name: str, data: str) -> str:
    """Where a file of the archive is installed, from the root; ``data``: the beginning of what does not go there."""
    if not name.startswith(data):
        return name
    kind, _slash, rest = name[len(data) :].partition("/")
    return rest if kind in ("purelib", "platlib") else "../../../%s/%s" % ("bin" if kind == "scripts" else kind, rest)


def missing(distribution: Distribution, paths: Sequence[str]) -> Conflict:
    """The error that the originals of these files are nowhere, and what to do."""
    shown = ", ".join(paths[:3]) + (" and %d more" % (len(paths) - 3) if len(paths) > 3 else "")
    wanted = "%s==%s" % (distribution.name, distribution.version)
    return Conflict(
        "expected the original of %s in the store, in git or in a wheel, found it in none of them. Add --download (the "
        "environment's own pip downloads the wheel of %s), or --wheel FILE of a wheel that you have (pip download "
        "--no-deps --only-binary :all: %s)" % (shown, wanted, wanted)
    )


def unreadable(root: str, paths: Sequence[str]) -> Conflict:
    """The error that git has the originals of these files, but not where they can be read from without it."""
    return Conflict(
        "%s: expected the originals of %s among the objects of its own repository, found none that can be read. Run "
        "git -C %s diff --relative HEAD, and put Package, Versions and Description in front of what it writes"
        % (root, ", ".join(paths[:3]), root)
    )
