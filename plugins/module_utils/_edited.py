# Which files of an installed distribution were edited: what differs from RECORD, or from git's index. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree may be somebody else's: what is read is bounded, directories are walked by descriptors (see ``_files``)."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import posixpath
import re
import stat
from typing import Container, Iterable, Iterator, Mapping, NamedTuple, Sequence

from . import _environment, _files, _git, _records, _store
from ._edits import ABSENT, Text
from ._errors import Conflict
from ._records import Distribution
from ._trust import Trust

MARKER = "primus-patches-edit.json"  # what ``edit`` leaves in the directory that it makes
_MOST_NEW = 1000  # files: a patch has no more
_MOST_SEEN = 200_000  # entries of directories in which new files are looked for
_CHUNK = 1 << 20
_CACHES = re.compile(r"__pycache__|\.git|\.hg|\.svn|\..*_cache|\.ipynb_checkpoints|\.idea|\.vscode|primus-patches")
_LEFTOVERS = re.compile(
    r".*(?:\.py[co]|~|\.orig|\.rej|\.bak|\.sw[op]|%s)|\.nfs.*|\.DS_Store" % re.escape(_files.SUFFIX)
)


class Entry(NamedTuple):
    """What is on record of one file."""

    digest: str
    """As RECORD has it (``sha256=...``), or ``git:`` and an object id."""
    size: int | None = None
    """In bytes; None where nothing tells."""
    executable: bool | None = None
    """None where nothing tells: RECORD does not."""

    @property
    def sha256(self) -> str | None:
        """In hexadecimal; None where another hash is on record."""
        kind, _equals, value = self.digest.partition("=")
        try:
            return base64.urlsafe_b64decode(value + "=").hex() if kind == "sha256" else None
        except ValueError:
            return None

    def matches(self, data: bytes) -> bool:
        """Whether these bytes are the ones on record."""
        if self.digest.startswith("git:"):
            return _git.matches(data, self.digest[4:])
        return _records.matches(data, self.digest)


class Difference(NamedTuple):
    """A file that is not as it is on record."""

    path: str
    """From the directory on ``sys.path``, as RECORD has it."""
    entry: Entry | None
    """None: it is new."""
    now: Text


class Differences(NamedTuple):
    """All that differs in one tree."""

    files: tuple[Difference, ...]
    left_out: dict[str, str]
    """Path and reason: of what differs, or may, and can be in no patch."""
    executable: frozenset[str]
    """The files on record that have the executable bit."""


def listing(distribution: Distribution, prefix: str | None) -> tuple[dict[str, Entry], list[str]] | None:
    """The files that RECORD has a hash of, and those that lie outside of the environment; None without RECORD.

    ``prefix``: that of the environment, where an interpreter told. Raises Conflict where RECORD is none.
    """
    rows = _records.rows(distribution)
    if rows is None:
        return None
    root = os.path.dirname(distribution.info)
    prefix = os.path.realpath(prefix) if prefix is not None else _environment.prefix(root, local=True)
    found: dict[str, Entry] = {}
    outside: list[str] = []
    for path, digest, size in rows:
        if not digest:  # (bytecode, and RECORD itself)
            continue
        if _is_inside(path, root, prefix):
            found[path] = Entry(digest, size)
        else:
            outside.append(path)
    return found, outside


def checked_out(root: str, directory: str) -> dict[str, Entry]:
    """The files that git's index has below a directory of a checkout, from ``root``; none where there is no index."""
    checkout = _git.checkout(directory)
    if checkout is None:
        return {}
    below = os.path.relpath(os.path.realpath(directory), checkout.top)
    real = os.path.realpath(root)
    return {
        os.path.relpath(os.path.join(checkout.top, path), real): Entry("git:" + entry.oid, None, entry.executable)
        for path, entry in checkout.files.items()
        if below == "." or path.startswith(below + "/")
    }


def find(
    base: str, listed: Mapping[str, Entry], own: Iterable[str], known: Container[str], trust: Trust
) -> Differences:
    """What differs in the tree at ``base`` from what is listed.

    ``own``: the directories, from ``base``, in which everything is new that is not ``known``. Raises OSError where a
    directory cannot be read, Conflict where too much is new, and Untrusted.
    """
    differing: list[Difference] = []
    left_out: dict[str, str] = {}
    executable: set[str] = set()
    for directory, names in _by_directory(listed):
        try:
            held = _files.open_directory(os.path.join(base, directory), trust.guard())
        except (FileNotFoundError, NotADirectoryError):
            differing += [Difference(_join(directory, name), listed[_join(directory, name)], ABSENT) for name in names]
            continue
        with held:
            for name in names:
                path = _join(directory, name)
                try:
                    told = _compared(held, name, listed[path])
                except OSError as error:
                    left_out[path] = error.strerror or str(error)
                    continue
                if told is not None and told.executable:
                    executable.add(path)
                if told is not None and not (told.data is not None and listed[path].matches(told.data)):
                    differing.append(Difference(path, listed[path], told))
    for path in _new(base, own, known):
        try:
            with _files.open_directory(os.path.dirname(os.path.join(base, path)), trust.guard()) as held:
                content = _made(held, os.path.basename(path))
        except OSError as error:
            left_out[path] = error.strerror or str(error)
            continue
        if content.data is not None:
            differing.append(Difference(path, None, content))
    return Differences(tuple(sorted(differing)), left_out, frozenset(executable))


def own_directories(listed: Iterable[str]) -> list[str]:
    """The outermost directories that files of a distribution lie in directly; not the root, nor metadata."""
    found = {posixpath.dirname(path) for path in listed if not path.startswith("../")}
    found = {each for each in found if each and not each.endswith((".dist-info", ".egg-info"))}
    return sorted(each for each in found if not any(above in found for above in _above(each)))


def others(distribution: Distribution) -> set[str]:
    """The files that other distributions beside it list. Raises OSError and Conflict where that cannot be read."""
    found: set[str] = set()
    for other in _records.distributions(os.path.dirname(distribution.info)):
        if other.info != distribution.info:
            found.update(_records.files(other) or ())
    return found


def _compared(held: _files.Directory, name: str, entry: Entry) -> Text | None:
    """The file; without reading all of it into memory, None where it is too large to be edited and is as recorded.

    Raises OSError for what can be in no patch.
    """
    try:
        return _read(held, name)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
    with held.file(name) as descriptor:
        size = os.fstat(descriptor).st_size
        if entry.size is None or entry.sha256 is None:
            raise OSError(None, "too large to be looked into, and size or SHA-256 not on record")
        if size == entry.size:
            digest = hashlib.sha256()
            for _chunk in range(size // _CHUNK + 1):
                digest.update(os.read(descriptor, _CHUNK))
            if digest.hexdigest() == entry.sha256:
                return None
    raise OSError(None, "edited, and larger than %d MiB" % (_files.MAX_BYTES >> 20))


def _read(held: _files.Directory, name: str) -> Text:
    content = held.content(name)
    return ABSENT if content is None else Text(content.data, bool(content.info.st_mode & 0o100))


def _made(held: _files.Directory, name: str) -> Text:
    """A new file; what a link leads to was not made here. Raises OSError for what can be in no patch."""
    info = held.stat(name)
    if info is not None and stat.S_ISLNK(info.st_mode):
        raise OSError(None, "a symbolic link", held.join(name))
    return _read(held, name)


def _by_directory(paths: Iterable[str]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        directory, name = posixpath.split(path)
        found.setdefault(directory, []).append(name)
    return list(found.items())


def _new(base: str, own: Iterable[str], known: Container[str]) -> Iterator[str]:
    """The paths of what is in the own directories and is not listed; caches and leftovers are passed over."""
    new = seen = 0
    for top in own:
        for where, below, names in os.walk(os.path.join(base, top) if top else base):
            relative = os.path.relpath(where, base)
            below[:] = sorted(name for name in below if not _CACHES.fullmatch(name))
            links = [name for name in below if stat.S_ISLNK(os.lstat(os.path.join(where, name)).st_mode)]
            seen += len(below) + len(names)
            if seen > _MOST_SEEN:
                raise Conflict("%s: expected at most %d files, found more" % (base, _MOST_SEEN))
            for name in sorted([*names, *links]):
                path = posixpath.normpath(posixpath.join(relative, name))
                if path in known or path == MARKER or _LEFTOVERS.fullmatch(name):
                    continue
                new += 1
                if new > _MOST_NEW:
                    raise Conflict(
                        "%s: expected at most %d new files, found more: is all of it part of the edit?"
                        % (os.path.join(base, top), _MOST_NEW)
                    )
                yield path


def _is_inside(path: str, root: str, prefix: str) -> bool:
    """Whether what RECORD lists lies below the root, or below the prefix of the environment."""
    if not _store.is_below(path):
        return False
    if not path.startswith("../"):
        return True
    real = os.path.realpath(os.path.dirname(os.path.join(root, path)))
    return (real + os.sep).startswith(os.path.join(prefix, ""))


def _above(directory: str) -> Sequence[str]:
    parts = directory.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _join(directory: str, name: str) -> str:
    return posixpath.join(directory, name) if directory else name
