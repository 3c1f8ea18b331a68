# The store: what we know of files that we wrote, and their originals. Its form, and reading it; _commit writes it.
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fact is one true sentence about bytes: those with this hash, at this path, are these patches over that original.

It is found by its name, which is made of the path and the hash. It is never edited to mean other bytes, so a run that
was killed, or another host, may leave a fact about bytes that are nowhere: that does no harm.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import time
import zlib
from typing import Any, Mapping, NamedTuple, Tuple, Union

from . import _files
from ._files import Directory, Guard

DIRECTORY = "primus-patches"
FACTS, ORIGINALS = "facts", "originals"
SCHEMA = 1
TOOL = "0.1.0"  # the version of this collection
GONE = "absent"  # in place of a hash: there is no file
README = (
    "The originals of files that primus.patches edited, and what it knows about them. Other programs need none of it.\n"
    "To give the originals back: site_patch with state absent, or a patch's script with --revert.\n"
    "Once this directory is removed, edits here are told only by RECORD or git, and cannot be taken out otherwise.\n"
)
_FACT_BYTES = 4 * 1024 * 1024
_MOST_FACTS = 10_000
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"([0-9a-f]{32})-([0-9a-f]{64}|absent)\.json\Z")
_PROOFS = ("before", "after", "owed", "none")
_PROVEN = ("pristine", "index", "foreign", "unknown")

Dist = Tuple[str, Union[str, None], str, Union[str, None]]


class Listed(NamedTuple):
    """One patch in one file."""

    name: str
    revision: int
    digest: str
    """Of its edits of this file; empty where only marks tell of it."""
    after: tuple[str, ...]
    edits: list[dict[str, Any]]
    """As ``_patch.stored`` has them."""
    files: tuple[str, ...]
    """All files that the patch is in, below the root."""


class Fact(NamedTuple):
    """What some bytes at a path are."""

    path: str
    """Below the root, as RECORD has it."""
    original: str
    """SHA-256 in hex, or ``absent``."""
    written: str
    original_executable: bool
    written_executable: bool
    dist: Dist | None
    """Name, version, name of the info directory and SHA-256 of RECORD."""
    proven: str
    """How the original was known: pristine, index, foreign or unknown."""
    patches: tuple[Listed, ...]
    """In the order of the fold."""
    directories: tuple[str, ...]
    """Below the root: those that were made for the file."""
    proof: str
    """When its imports were tried: before, after, none; owed where they are still to be."""
    who: str
    when: str
    """ISO 8601, UTC."""
    tool: str


class Damaged(NamedTuple):
    """What lies under a fact's name and is none that can be used."""

    path: str
    """Of the fact's file."""
    written: str
    """The hash in its name."""
    reason: str


class Store:
    """The store of one directory on ``sys.path``, as it can be read. There may be none."""

    def __init__(self, root: str, guard: Guard | None = None) -> None:
        self.path = os.path.join(root, DIRECTORY)
        self._root = root
        self._guard = guard
        self._names: list[str] | None = None

    def facts(self, relative: str) -> list[Fact | Damaged]:
        """What is known of the file at a path below the root. Raises OSError where that cannot be told."""
        key = fact_name(relative, GONE).partition("-")[0]
        found = [self._fact(name, relative) for name in self._listing() if name.startswith(key)]
        return [each for each in found if each is not None]

    def naming(self, patch: str) -> list[str]:
        """The paths below the root of all files that a fact names a patch for."""
        found = [self._fact(name, None) for name in self._listing()]
        facts = [each for each in found if isinstance(each, Fact)]
        return sorted({fact.path for fact in facts if any(listed.name == patch for listed in fact.patches)})

    def needed(self) -> set[str]:
        """The hashes of all originals that a fact names."""
        found = [self._fact(name, None) for name in self._listing()]
        return {fact.original for fact in found if isinstance(fact, Fact)}

    def original(self, digest: str) -> bytes | None:
        """The bytes with this hash; None where they are not there, or not whole."""
        if not _HASH.match(digest):
            return None
        packed = self._read(ORIGINALS, digest + ".gz", _files.MAX_BYTES)
        if packed is None:
            return None
        try:
            unpacking = zlib.decompressobj(wbits=31)  # (gzip)
            data = unpacking.decompress(packed, _files.MAX_BYTES + 1)
        except zlib.error:
            return None
        return data if sha(data) == digest else None

    def _listing(self) -> list[str]:
        if self._names is None:
            with_facts = _within(self._root, self._guard, FACTS)
            self._names = []
            if with_facts is not None:
                with with_facts:
                    self._names = [name for name in with_facts.names() if _NAME.match(name)][:_MOST_FACTS]
        return self._names

    def _fact(self, name: str, relative: str | None) -> Fact | Damaged | None:
        match = _NAME.match(name)
        where = os.path.join(self.path, FACTS, name)
        try:
            text = self._read(FACTS, name, _FACT_BYTES)
        except OSError as error:
            return Damaged(where, match[2] if match else "", error.strerror or str(error))
        if match is None or text is None:
            return None
        try:
            fact = load(parse(text))
        except ValueError as error:
            return Damaged(where, match[2], str(error))
        if fact_name(fact.path, fact.written) != name or (relative is not None and fact.path != relative):
            return Damaged(where, match[2], "it is about %s, and its name is about another file" % fact.path)
        return fact

    def _read(self, below: str, name: str, most: int) -> bytes | None:
        directory = _within(self._root, self._guard, below)
        if directory is None:
            return None
        with directory:
            content = directory.read(name, most)
        return None if content is None or content.link is not None else content.data


def _within(root: str, guard: Guard | None, below: str) -> Directory | None:
    """One of the store's directories, links not followed; None without one."""
    try:
        with _files.open_directory(root, guard) as directory:
            store = directory.open(DIRECTORY)
            if store is None:
                return None
            with store:
                return store.open(below)
    except (FileNotFoundError, NotADirectoryError):
        return None


def sha(data: bytes | None) -> str:
    """SHA-256 in hex; ``absent`` where there is no file."""
    return GONE if data is None else hashlib.sha256(data).hexdigest()


def fact_name(relative: str, written: str) -> str:
    """The name of the fact about bytes at a path below the root."""
    return "%s-%s.json" % (hashlib.sha256(os.fsencode(relative)).hexdigest()[:32], written)


def dump(fact: Fact) -> bytes:
    """A fact as it is written."""
    told = {"schema": SCHEMA, **fact._asdict()}
    told["patches"] = [listed._asdict() for listed in fact.patches]
    return json.dumps(told, sort_keys=True, indent=1).encode("ascii") + b"\n"


def parse(text: bytes) -> Any:
    """The JSON in a fact's file. Raises ValueError."""
    try:
        return json.loads(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("too deep") from None


def load(told: Any) -> Fact:
    """A fact from its JSON. Raises ValueError that says what is wrong with it."""
    if not isinstance(told, Mapping):
        raise ValueError("expected a mapping")  # noqa: TRY004 (of a file, not of a caller)
    if told.get("schema") != SCHEMA:
        raise ValueError(
            "expected schema %d, found %r: a newer primus.patches wrote this" % (SCHEMA, told.get("schema"))
        )
    values = {key: told.get(key) for key in Fact._fields}
    texts = [values[key] for key in ("path", "original", "written", "proven", "proof", "who", "when", "tool")]
    flags = [values[key] for key in ("original_executable", "written_executable")]
    if not all(isinstance(each, str) for each in texts) or not all(isinstance(each, bool) for each in flags):
        raise ValueError("expected texts and flags")
    if values["proven"] not in _PROVEN or values["proof"] not in _PROOFS:
        raise ValueError("expected words that are known")
    if not all(each == GONE or _HASH.match(each) for each in (values["original"], values["written"])):
        raise ValueError("expected hashes")
    if os.path.isabs(str(values["path"])) or "\0" in str(values["path"]):
        raise ValueError("expected a path below the root")
    values["patches"] = tuple(_listed(each) for each in _list(values["patches"]))
    values["directories"] = _texts(values["directories"])
    values["dist"] = _dist(values["dist"])
    return Fact(**values)  # type: ignore[arg-type]


def _listed(told: Any) -> Listed:
    values = {key: told.get(key) for key in Listed._fields} if isinstance(told, Mapping) else {}
    revision = values.get("revision")
    if not isinstance(values.get("name"), str) or not isinstance(values.get("digest"), str):
        raise ValueError("expected patches with a name and a digest")  # noqa: TRY004
    if not isinstance(revision, int) or isinstance(revision, bool):
        raise ValueError("expected patches with a revision")  # noqa: TRY004
    edits = _list(values["edits"])
    return Listed(values["name"], revision, values["digest"], _texts(values["after"]), edits, _texts(values["files"]))


def _dist(told: Any) -> Dist | None:
    if told is None:
        return None
    found = _list(told)
    texts = [isinstance(each, str) or (each is None and number in (1, 3)) for number, each in enumerate(found)]
    if len(found) != 4 or not all(texts):
        raise ValueError("expected a distribution")
    return found[0], found[1], found[2], found[3]


def _list(told: Any) -> list[Any]:
    if not isinstance(told, list):
        raise ValueError("expected a list")  # noqa: TRY004
    return told


def _texts(told: Any) -> tuple[str, ...]:
    found = _list(told)
    if not all(isinstance(each, str) for each in found):
        raise ValueError("expected a list of texts")
    return tuple(found)


def who() -> str:
    """The user and host that a fact names."""
    return "uid %d on %s" % (os.geteuid(), socket.gethostname())


def now() -> str:
    """This moment, as a fact has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
