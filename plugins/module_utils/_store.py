# The store beside the packages: the form of facts and kept originals, and reading them. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""``<root>/primus-patches/`` with ``facts/<path hash>-<written>.json`` and ``originals/<sha256>.gz``.

A fact is one true sentence about bytes: those with this hash, at this path, are these patches over the original with
that hash. What lies there may have been made by anybody who may write there: what is read is bounded, links are not
followed, and what is no fact of ours is told as such.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pwd
import re
import stat
import time
import zlib
from contextlib import ExitStack
from typing import Any, Callable, Iterator, NamedTuple, Sequence

from . import _files
from ._errors import Conflict
from ._files import Directory, Guard, Step

DIRECTORY = "primus-patches"
FACTS, ORIGINALS = "facts", "originals"
ANSWERS = "answers"  # what calls of the command line leave for the next ones (see _recorded)
SCHEMA = 1
TOOL = "1.0.0"  # version of this collection, as in galaxy.yml
NOTHING = "absent"  # in the place of a hash: there is no file

_HASH = re.compile("[0-9a-f]{64}|" + NOTHING)
_NAME = re.compile(r"[0-9a-f]{32}-(?:[0-9a-f]{64}|%s)\.json" % NOTHING)
_MOST_NAMES = 100_000  # entries that a directory of facts may have
_MOST_BYTES = 256 * 1024 * 1024  # of all facts that one call reads
_ODD = (errno.EINVAL, errno.EFBIG, errno.ELOOP)  # no regular file, too large, a link
_MOST_UP = 3  # directories that a path may lead up, to the prefix of an environment: "../../../bin/x"


class Listed(NamedTuple):
    """One patch in a file."""

    name: str
    revision: int
    digest: str
    """Of its normalised edits of this file; empty where only marks tell of it."""
    after: tuple[str, ...]
    edits: list[Any]
    """In the form that ``_patch.stored`` gives them."""
    files: tuple[str, ...]
    """All files that the patch is in, below the root."""


class Fact(NamedTuple):
    """What is true of certain bytes at a certain path."""

    path: str
    """Below the root, as RECORD would have it."""
    original: str
    """SHA-256 in hexadecimal, or ``absent``."""
    written: str
    """The same of what was written."""
    original_executable: bool
    written_executable: bool
    dist: tuple[str, str | None, str, str | None] | None
    """Name, version, basename of its dist-info and SHA-256 of its RECORD; None where no distribution has the file."""
    proven: str
    """How the original was known: pristine, index, foreign or unknown."""
    patches: tuple[Listed, ...]
    """In the order of the fold."""
    directories: tuple[str, ...]
    """Below the root: those that were made for the file."""
    proof: str
    """Of its imports: before, after, owed (a run was killed before it tried them) or none."""
    who: str
    """user@host."""
    when: str
    """ISO 8601, UTC."""
    tool: str
    """Version of this collection."""


class Damaged(NamedTuple):
    """What has the name of a fact, and is none that can be used."""

    path: str
    """Of the fact's own file."""
    written: str
    """By its name."""
    reason: str
    newer: bool = False
    """Whether a newer release wrote it, which is no damage."""


class Newer(ValueError):
    """A fact of a schema that this release does not know yet."""


class Store:
    """What was kept below one root. A store that is not there has no facts; one that is no good is refused."""

    def __init__(self, root: str, guard: Guard | None = None) -> None:
        self.root = root
        self.guard = guard
        self._names: list[str] | None = None
        self._read: dict[str, Fact | Damaged] = {}
        self._bytes = 0

    def facts(self, relative: str) -> list[Fact | Damaged]:
        """All facts of one path. Raises Conflict and OSError as ``open_store``."""
        prefix = path_hash(relative) + "-"
        return self._load([name for name in self._listed() if name.startswith(prefix)])

    def all(self) -> list[Fact | Damaged]:
        """All facts. Raises Conflict and OSError as ``open_store``."""
        return self._load(self._listed())

    def naming(self, patch: str) -> list[str]:
        """The paths of all facts that list a patch, below the root. Raises Conflict and OSError as ``open_store``."""
        found = [fact for fact in self.all() if isinstance(fact, Fact)]
        return sorted({fact.path for fact in found if any(listed.name == patch for listed in fact.patches)})

    def original(self, digest: str) -> bytes | None:
        """Kept bytes by their hash; None where they are gone or damaged. Raises Conflict and OSError."""
        with ExitStack() as stack:
            directory = self._open(ORIGINALS, stack)
            if directory is None:
                return None
            try:
                data = read_plain(directory, original_name(digest))
            except OSError as error:
                if error.errno not in _ODD:
                    raise
                return None
            return unpack(data, digest) if data is not None else None

    def _open(self, name: str, stack: ExitStack) -> Directory | None:
        held = open_store(self.root, self.guard, stack)
        return None if held is None else open_part(held, name, stack)

    def _listed(self) -> list[str]:
        if self._names is None:
            with ExitStack() as stack:
                directory = self._open(FACTS, stack)
                self._names = [] if directory is None else sorted(filter(_NAME.fullmatch, names(directory)))
        return self._names

    def _load(self, wanted: Sequence[str]) -> list[Fact | Damaged]:
        missing = [name for name in wanted if name not in self._read]
        if missing:
            with ExitStack() as stack:
                directory = self._open(FACTS, stack)
                for name in missing if directory is not None else ():
                    self._read_one(directory, name)  # type: ignore[arg-type]  # (not None: by the line above)
        return [self._read[name] for name in wanted if name in self._read]

    def _read_one(self, directory: Directory, name: str) -> None:
        path, written = directory.join(name), name[33 : -len(".json")]
        try:
            text = read_plain(directory, name)
        except OSError as error:
            if error.errno not in _ODD:
                raise
            self._read[name] = Damaged(path, written, "expected a regular file, found: %s" % error.strerror)
            return
        if text is None:  # (collected since it was listed)
            return
        self._bytes += len(text)
        if self._bytes > _MOST_BYTES:
            raise OSError(errno.EFBIG, "expected at most %d bytes of facts, found more" % _MOST_BYTES, directory.path)
        try:
            fact = parse(text)
        except (ValueError, RecursionError, MemoryError) as error:
            self._read[name] = Damaged(path, written, str(error) or "too complex", isinstance(error, Newer))
            return
        right = fact_name(fact.path, fact.written) == name
        self._read[name] = fact if right else Damaged(path, written, "it is about another file, %s" % fact.path)


# --- directories and files of a store


def open_store(root: str, guard: Guard | None, stack: ExitStack) -> Directory | None:
    """Hold a root's store open until the stack ends; None where there is none.

    Raises Conflict where it is a link, no directory, or somebody else's; OSError where it cannot be read; and what the
    guard raises.
    """
    try:
        above = stack.enter_context(_files.open_directory(root, guard))
    except (FileNotFoundError, NotADirectoryError):
        return None
    found = above.stat(DIRECTORY)
    if found is None:
        return None
    path = above.join(DIRECTORY)
    owner = os.fstat(above.descriptor).st_uid
    if not stat.S_ISDIR(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "something else"
        raise Conflict("%s: expected a directory, found %s: remove it, and see who made it" % (path, what))
    if found.st_uid not in (owner, 0):
        raise Conflict(
            "%s: expected a directory of user %d, as %s is, found one of user %d: remove it, and see who made it"
            % (path, owner, above.path, found.st_uid)
        )
    return open_part(above, DIRECTORY, stack)


def open_part(above: Directory, name: str, stack: ExitStack) -> Directory | None:
    """Hold a directory in another one open, not following a link; None where there is none. Raises as open_store."""
    try:
        directory = above.open(name)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise OSError(error.errno, error.strerror, above.join(name)) from None
        message = "%s: expected a directory, found a symbolic link: remove it, and see who made it"
        raise Conflict(message % above.join(name)) from None
    if directory is not None:
        stack.enter_context(directory)
        if above.guard is not None:
            above.guard(Step(directory.path, directory.descriptor, os.fstat(directory.descriptor), None))
    return directory


def names(directory: Directory) -> Iterator[str]:
    """The names in a directory of a store. Raises OSError where they are too many."""
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory.descriptor)
    with Directory(descriptor, directory.path), os.scandir(descriptor) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_NAMES:
                message = "expected at most %d files, found more" % _MOST_NAMES
                raise OSError(errno.EFBIG, message, directory.path)
            yield entry.name


def read_plain(directory: Directory, name: str) -> bytes | None:
    """A file of a store; None where there is none. Raises OSError, ELOOP for a link."""
    found = directory.stat(name)
    if found is not None and stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "a symbolic link", directory.join(name))
    content = directory.read(name)
    return None if content is None else content.data


# --- form


def sha(data: bytes | None) -> str:
    """SHA-256 in hexadecimal; ``absent`` for None."""
    return NOTHING if data is None else hashlib.sha256(data).hexdigest()


def path_hash(relative: str) -> str:
    """What stands for a path in the names of its facts: no path is too long for it."""
    return hashlib.sha256(relative.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def fact_name(relative: str, written: str) -> str:
    """The name of the fact about what was written at a path."""
    return "%s-%s.json" % (path_hash(relative), written)


def original_name(digest: str) -> str:
    """The name of kept bytes."""
    return digest + ".gz"


def pack(data: bytes) -> bytes:
    """Bytes as they are kept: in gzip's format without a date, so that the same bytes give the same file."""
    packer = zlib.compressobj(4, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def unpack(data: bytes, digest: str) -> bytes | None:
    """Kept bytes; None where they are not those of the hash, or more than a file may have."""
    unpacker = zlib.decompressobj(31)
    try:
        found = unpacker.decompress(data, _files.MAX_BYTES + 1)
    except zlib.error:
        return None
    return found if unpacker.eof and sha(found) == digest else None


def dump(fact: Fact) -> bytes:
    """A fact as JSON: ASCII, keys sorted, so that the same fact gives the same bytes."""
    value = {**fact._asdict(), "schema": SCHEMA, "patches": [listed._asdict() for listed in fact.patches]}
    return json.dumps(value, sort_keys=True, indent=1).encode("ascii") + b"\n"


def parse(text: bytes) -> Fact:
    """A fact from its JSON. Raises ValueError where it is none, and Newer."""
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError("expected JSON, found something else") from None
    schema = value.pop("schema", None) if isinstance(value, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise ValueError("expected a JSON object with a schema, found %.40r" % (value,))
    if schema > SCHEMA:
        raise Newer("a newer primus.patches wrote this: schema %d, this one knows %d" % (schema, SCHEMA))
    found = _fields(value, _FACT)
    found["patches"] = tuple(Listed(**_fields(listed, _LISTED)) for listed in found["patches"])
    fact = Fact(**found)
    below = [fact.path, *fact.directories, *(file for listed in fact.patches for file in listed.files)]
    for path in below:
        if not is_below(path):
            raise ValueError("expected a path below the root, found %.200r" % path)
    if any(not fact.path.startswith(directory + "/") for directory in fact.directories):
        raise ValueError("expected directories above the file, found others")
    return fact


def is_below(path: str) -> bool:
    """Whether a path counts from the root as RECORD's do, and leads no further up than to an environment's prefix."""
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeError:  # (half of a surrogate pair: no file has such a name)
        return False
    parts = path.split("/")
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    rest = parts[up:]
    return up <= _MOST_UP and bool(rest) and not any(part in ("", ".", "..") or "\0" in part for part in rest)


# What each kind of value is in JSON; lists become tuples where a fact has tuples.
_KINDS: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "truth": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "texts": lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    "hash": lambda value: isinstance(value, str) and _HASH.fullmatch(value) is not None,
    "dist": lambda value: value is None or _is_dist(value),
    "proven": lambda value: value in ("pristine", "index", "foreign", "unknown"),
    "proof": lambda value: value in ("before", "after", "owed", "none"),
}
_FACT = {
    "path": "text",
    "original": "hash",
    "written": "hash",
    "original_executable": "truth",
    "written_executable": "truth",
    "dist": "dist",
    "proven": "proven",
    "patches": "list",
    "directories": "texts",
    "proof": "proof",
    "who": "text",
    "when": "text",
    "tool": "text",
}
_LISTED = {"name": "text", "revision": "number", "digest": "text", "after": "texts", "edits": "list", "files": "texts"}


def _is_dist(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 4 or value[0] is None or value[2] is None:
        return False
    return all(each is None or isinstance(each, str) for each in value)


def _fields(value: Any, kinds: dict[str, str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(kinds):
        raise ValueError("expected the keys %s, found others" % ", ".join(kinds))
    for key, kind in kinds.items():
        if not _KINDS[kind](value[key]):
            raise ValueError("expected a valid value of %s, found %.80r" % (key, value[key]))
    return {
        key: tuple(value[key]) if kinds[key] in ("texts", "dist") and value[key] is not None else value[key]
        for key in kinds
    }


# --- who writes


def who() -> str:
    """User and host of this process."""
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    return "%s@%s" % (name, os.uname().nodename)


def now() -> str:
    """The time, in UTC, by ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
