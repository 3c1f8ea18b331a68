# Keeping: originals and facts go into the store before the files that they are about change. Only _commit calls this.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import os
import stat
import time
from contextlib import suppress
from typing import Sequence

from . import _files, _held, _store
from ._errors import CommitError
from ._files import Directory
from ._held import Held
from ._store import DIRECTORY, FACTS, ORIGINALS, Damaged, Store
from ._trust import Trust

_OLD_SECONDS = 3600.0  # what leads nowhere is kept that long: another host may be about to need it
_MOST = 1000  # facts that are read to find out what leads nowhere


def check(places: Sequence[Held], trust: Trust) -> None:
    """Raise CommitError where the store could not be written."""
    for root in dict.fromkeys(held.change.place.root for held in places if held.change.fact is not None):
        with _files.open_directory(root, trust.guard()) as directory:
            found = directory.stat(DIRECTORY)
            if found is None:
                _held.writable(directory, "directory for the store of originals")
                continue
            _ours(directory, found)
            for below in ("", FACTS, ORIGINALS):
                path = os.path.join(root, DIRECTORY, below)
                if _files.look(path, follow=False):
                    with _files.open_directory(path, trust.guard()) as store:
                        _held.writable(store, "directory of the store of originals")


def keep(places: Sequence[Held], trust: Trust) -> None:
    """Write the originals and the facts of all changes. Raises CommitError and OSError."""
    for held in places:
        fact = held.change.fact
        if fact is None:
            continue
        with _files.open_directory(held.change.place.root, trust.guard()) as root, _store_of(root) as store:
            mode = held.mode() & 0o666
            if held.change.original is not None:
                with _within(store, ORIGINALS) as originals:
                    if Store(root.path, trust.guard()).original(fact.original) is None:
                        packed = gzip.compress(held.change.original, mtime=0)
                        _write(originals, fact.original + ".gz", packed, mode)
            with _within(store, FACTS) as facts:
                name, text = _store.fact_name(fact.path, fact.written), _store.dump(fact)
                there = facts.read(name) if facts.stat(name) is not None else None
                if there is None or not _same(there.data, text):
                    _write(facts, name, text, mode)


def collect(places: Sequence[Held], trust: Trust) -> None:
    """Remove what no file leads to any more and is older than an hour; the store as well, where nothing is left in it.

    Nothing of it is an error: what stays does no harm.
    """
    for root in dict.fromkeys(held.change.place.root for held in places):
        with suppress(OSError, CommitError):
            _collect(root, [held for held in places if held.change.place.root == root], trust)


def _collect(root: str, places: Sequence[Held], trust: Trust) -> None:
    if not _files.look(os.path.join(root, DIRECTORY), follow=False):
        return
    store = Store(root, trust.guard())
    with _files.open_directory(os.path.join(root, DIRECTORY, FACTS), trust.guard()) as facts:
        for held in places:
            now = _store.sha(held.change.after.data)
            for fact in store.facts(held.change.place.relative):
                name = _store.fact_name(held.change.place.relative, fact.written)
                if not isinstance(fact, Damaged) and fact.written != now and _is_old(facts, name):
                    facts.unlink(name)
        left = facts.names()
    if len(left) > _MOST:
        return
    needed = Store(root, trust.guard()).needed()
    with _files.open_directory(os.path.join(root, DIRECTORY, ORIGINALS), trust.guard()) as originals:
        for name in originals.names():
            if name.partition(".")[0] not in needed and _is_old(originals, name):
                originals.unlink(name)
        left += originals.names()
    if not left:
        for name in ("README", ".gitignore"):
            os.unlink(os.path.join(root, DIRECTORY, name))
        for name in (FACTS, ORIGINALS, ""):
            os.rmdir(os.path.join(root, DIRECTORY, name))


def _is_old(directory: Directory, name: str) -> bool:
    found = directory.stat(name)
    return found is not None and time.time() - found.st_mtime > _OLD_SECONDS


def _same(there: bytes, text: bytes) -> bool:
    """Whether two facts say the same but for who wrote them, and when."""
    try:
        one, other = (_store.load(_store.parse(each)) for each in (there, text))
    except ValueError:
        return False
    return one._replace(who="", when="", tool="") == other._replace(who="", when="", tool="")


def _store_of(root: Directory) -> Directory:
    """The store, made where there is none. Raises CommitError where something else is in its place."""
    found = root.stat(DIRECTORY)
    if found is not None:
        _ours(root, found)
    store = _within(root, DIRECTORY)
    for name, text in (("README", _store.README), (".gitignore", "*\n")):
        if store.stat(name) is None:
            _write(store, name, text.encode("ascii"), stat.S_IMODE(os.fstat(root.descriptor).st_mode) & 0o666)
    return store


def _ours(root: Directory, found: os.stat_result) -> None:
    owner = os.fstat(root.descriptor).st_uid
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, 0):
        raise CommitError(
            "%s: expected a directory of user %d, the store of originals, found %s of user %d: remove it"
            % (root.join(DIRECTORY), owner, stat.filemode(found.st_mode), found.st_uid)
        )


def _within(directory: Directory, name: str) -> Directory:
    """A directory in this one, made where there is none: with its owner and mode, whatever the umask is."""
    found = directory.open(name)
    if found is not None:
        return found
    like = os.fstat(directory.descriptor)
    made = directory.make(name, stat.S_IMODE(like.st_mode) & 0o777)
    if os.fstat(made.descriptor).st_uid != like.st_uid:
        with suppress(PermissionError):
            os.fchown(made.descriptor, like.st_uid, like.st_gid)
    return made


def _write(directory: Directory, name: str, data: bytes, mode: int) -> None:
    like = os.fstat(directory.descriptor)
    descriptor, temporary = directory.create("%s.%s" % (name[:40], _held.HOST))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if os.fstat(descriptor).st_uid != like.st_uid:
                with suppress(PermissionError):
                    os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        directory.rename(temporary, name)
    except BaseException:
        directory.unlink(temporary)
        raise
    directory.sync()
