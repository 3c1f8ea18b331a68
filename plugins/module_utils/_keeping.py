# Keeping: writes originals and facts into the store, and collects what no file leads to any more.
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fact is in the store, safe on the disk, before the bytes that it is about are in their place.

What lies in a store for nothing does no harm, so it is collected late: during a write, only of the paths that are
written, and only when it is older than an hour, as another host may be between its fact and its file. When nothing is
left, the store goes as well. So after ``absent`` the directory stays for as long as its facts are young, until the next
write; whoever removes it by hand then loses nothing.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import ExitStack, suppress
from typing import Iterable, Mapping, NamedTuple, Sequence

from . import _files, _locks, _staging, _store, _temporary
from ._errors import CommitError, Conflict
from ._files import Directory
from ._locks import Locks
from ._store import Damaged, Fact, Store
from ._trust import Trust

_TRIES = 3  # how often a store may be removed by another run just when it is written to
_SECONDS = 1.0  # how long it is waited for a run that writes to the store, before something is collected
_ANSWERS = 16  # that a store keeps, the youngest
_FEW = 10_000  # originals up to which those are looked for that no fact names
_TEXTS = {
    "README": b"What primus.patches takes its patches out with: the originals of files that it changed, and notes of\n"
    b"what it wrote. Leave it beside the packages for as long as they are patched. When no patch is applied\n"
    b"any more (state: absent), it may be removed.\n",
    ".gitignore": b"*\n",
}


class Like(NamedTuple):
    """Who may read a target, and so what was kept of it."""

    group: int
    mode: int
    acl: bytes | None


class Kept(NamedTuple):
    """What is to be in a store for one file."""

    fact: Fact
    original: bytes | None
    like: Like


class _Archive(NamedTuple):
    """A store that is open for writing."""

    root: Directory
    top: Directory
    facts: Directory
    originals: Directory
    owner: int
    """Whose the root directory is."""

    def put(self, directory: Directory, name: str, data: bytes, like: Like) -> None:
        """Write a file, safe on the disk before it has its name; readable by whoever may read the target."""
        descriptor, temporary = _temporary.create(directory, name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                self.belong(descriptor, like)
                os.fsync(descriptor)
        except BaseException:
            directory.unlink(temporary)
            raise
        _temporary.put(directory, temporary, name)

    def belong(self, descriptor: int, like: Like) -> None:
        """Give a file the root's owner, and the target's group and mode: never wider than the target's."""
        made = os.fstat(descriptor)
        owner = self.owner if _staging.may_give_away() else made.st_uid
        if (made.st_uid, made.st_gid) != (owner, like.group):
            with suppress(PermissionError):
                os.fchown(descriptor, owner, like.group)
            made = os.fstat(descriptor)
        mode = like.mode & 0o666
        if made.st_gid != like.group:  # (another group may do what all may, and no more)
            mode &= ~0o070 | (mode & 0o007) << 3
        with suppress(OSError):  # (none, or no such thing on this file system)
            if like.acl is None:
                os.removexattr(descriptor, _staging.ACL)
            elif made.st_gid == like.group:
                os.setxattr(descriptor, _staging.ACL, like.acl)
        os.fchmod(descriptor, mode)


def like(directory: Directory, name: str) -> Like:
    """Who may read a file; where there is none, who may read its directory. Raises OSError."""
    if directory.stat(name) is None:
        info = os.fstat(directory.descriptor)
        return Like(info.st_gid, stat.S_IMODE(info.st_mode), None)
    with directory.file(name) as descriptor:
        info = os.fstat(descriptor)
        try:
            acl: bytes | None = os.getxattr(descriptor, _staging.ACL)
        except OSError:
            acl = None
    return Like(info.st_gid, stat.S_IMODE(info.st_mode), acl)


def keep(root: str, kept: Sequence[Kept], trust: Trust, stack: ExitStack, locks: Locks) -> None:
    """Have facts and originals in the store of a root, which is locked from then on; what is there stays.

    Raises CommitError where the store is no good, and OSError.
    """
    for tries in range(_TRIES, 0, -1):
        try:
            _fill(_open(root, trust, stack), kept, locks)
            break
        except FileNotFoundError:
            if tries == 1:
                raise


def _fill(archive: _Archive, kept: Sequence[Kept], locks: Locks) -> None:
    held = locks.directory(archive.top)
    for directory in (archive.top, archive.facts, archive.originals):
        _temporary.sweep(directory, None, held)
    for each in kept:
        _keep_original(archive, each)
    archive.originals.sync()
    for each in kept:
        _keep_fact(archive, each)
    archive.facts.sync()


def answer(root: str, name: str, data: bytes, like: Like, trust: Trust) -> None:
    """Have an answer in the store of a root. Raises CommitError where the store is no good, and OSError."""
    with ExitStack() as stack:
        archive = _open(root, trust, stack)
        mode = stat.S_IMODE(os.fstat(archive.facts.descriptor).st_mode)
        answers = _store.open_part(archive.top, _store.ANSWERS, stack)
        answers = answers or _staging.make_directory(archive.top, _store.ANSWERS, mode, stack)[0]
        archive.put(answers, name, data, like)
        ages = [(info.st_mtime, each) for each in _store.names(answers) for info in [answers.stat(each)] if info]
        for _when, each in sorted(ages)[:-_ANSWERS]:
            answers.unlink(each)


def missing(root: str, kept: Sequence[Kept], trust: Trust) -> bool:
    """Whether something of what was kept is gone: removed by another run that took it for left over."""
    with ExitStack() as stack:
        _top, facts, originals = _parts(root, trust, stack)
        if facts is None or originals is None:
            return True
        names = [(facts, _store.fact_name(each.fact.path, each.fact.written)) for each in kept]
        names += [(originals, _store.original_name(each.fact.original)) for each in kept if each.original is not None]
        return any(directory.stat(name) is None for directory, name in names)


def sweep(root: str, trust: Trust) -> None:
    """Remove what killed runs have left in the store of a root. Raises Conflict and OSError."""
    with ExitStack() as stack:
        parts = _parts(root, trust, stack)
        held = parts[0] is not None and stack.enter_context(_locks.hold(parts[0], ".", time.monotonic()))
        for directory in filter(None, parts):
            _temporary.sweep(directory, None, held)


def collect(root: str, files: Mapping[str, str], trust: Trust) -> None:
    """Remove what no file leads to. ``files``: the hash of what is now at each path that was written, below the root.

    Nothing is removed that another run may be about to need, nor what cannot be understood. What cannot be removed
    stays: no failure.
    """
    with suppress(OSError, Conflict), ExitStack() as stack:
        top, facts, originals = _parts(root, trust, stack)
        if top is None or facts is None or originals is None:
            return
        stack.enter_context(_locks.hold(top, ".", time.monotonic() + _SECONDS))
        store = Store(root, trust.guard())
        for relative, written in files.items():
            for fact in _unneeded(store.facts(relative), written):
                _remove_old(facts, _store.fact_name(fact.path, fact.written))
        left = Store(root, trust.guard()).all()
        names = list(_store.names(originals))
        if len(names) > _FEW or any(isinstance(fact, Damaged) for fact in left):
            return
        needed = {_store.original_name(fact.original) for fact in left if isinstance(fact, Fact)}
        for name in names:
            if name not in needed and name.endswith(".gz"):
                _remove_old(originals, name)
        if not left and not list(_store.names(originals)):
            _remove_store(root, trust, top, stack)


def _parts(root: str, trust: Trust, stack: ExitStack) -> tuple[Directory | None, Directory | None, Directory | None]:
    """A store and its directories, held open until the stack ends, as far as they are there."""
    top = _store.open_store(root, trust.guard(), stack)
    if top is None:
        return None, None, None
    return top, _store.open_part(top, _store.FACTS, stack), _store.open_part(top, _store.ORIGINALS, stack)


def _unneeded(facts: Iterable[Fact | Damaged], written: str) -> list[Fact]:
    """The facts of one path that do not lead from what is there to its original."""
    known = {fact.written: fact for fact in facts if isinstance(fact, Fact)}
    here = known.get(written)
    if here is not None and here.proof == "owed":  # (it may be put back to what another fact tells of)
        return []
    while written in known:
        written = known.pop(written).original
    return list(known.values())


def _remove_old(directory: Directory, name: str) -> None:
    found = directory.stat(name)
    if found is not None and time.time() - found.st_mtime > _temporary.DEAD_SECONDS:
        directory.unlink(name)


def _remove_store(root: str, trust: Trust, top: Directory, stack: ExitStack) -> None:
    """Remove an empty store. What another run puts there meanwhile makes that fail, and is kept."""
    answers = _store.open_part(top, _store.ANSWERS, stack)
    if answers is not None:
        for name in list(_store.names(answers)):
            answers.unlink(name)
        top.remove(_store.ANSWERS)
    for name in (_store.FACTS, _store.ORIGINALS):
        top.remove(name)
    if set(top.names()) <= set(_TEXTS):
        for name in _TEXTS:
            top.unlink(name)
        above = stack.enter_context(_files.open_directory(root, trust.guard()))
        above.remove(_store.DIRECTORY)
        above.sync()


def _open(root: str, trust: Trust, stack: ExitStack) -> _Archive:
    """The store of a root, made where there is none. Raises CommitError where it is no good, and OSError."""
    guard = trust.guard()
    above = stack.enter_context(_files.open_directory(root, guard))
    info = os.fstat(above.descriptor)
    mode = stat.S_IMODE(info.st_mode) & 0o777
    try:
        top = _store.open_store(root, guard, stack)
        if top is None:
            top, _made = _staging.make_directory(above, _store.DIRECTORY, mode, stack)
        parts = []
        for name in (_store.FACTS, _store.ORIGINALS):
            part = _store.open_part(top, name, stack)
            parts.append(part or _staging.make_directory(top, name, mode, stack)[0])
    except Conflict as error:
        raise CommitError(str(error)) from error
    archive = _Archive(above, top, parts[0], parts[1], info.st_uid)
    for name, text in _TEXTS.items():
        if top.stat(name) is None:
            archive.put(top, name, text, Like(info.st_gid, mode, None))
    return archive


def _keep_original(archive: _Archive, kept: Kept) -> None:
    if kept.original is None:
        return
    digest = _store.sha(kept.original)
    name = _store.original_name(digest)
    try:
        found = _store.read_plain(archive.originals, name)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EFBIG, errno.ELOOP):
            raise
        found = None  # (something odd of that name: it is replaced)
    if found is None or _store.unpack(found, digest) is None:
        archive.put(archive.originals, name, _store.pack(kept.original), kept.like)
    else:
        _refresh(archive, name, kept.like)


def _refresh(archive: _Archive, name: str, wanted: Like) -> None:
    """Keep an original from being collected, and readable by whoever may read this target as well as another one."""
    with suppress(OSError), archive.originals.file(name) as descriptor:
        info = os.fstat(descriptor)
        mode = stat.S_IMODE(info.st_mode)
        more = wanted.mode & (0o666 if info.st_gid == wanted.group else 0o606)
        if more & ~mode:
            os.fchmod(descriptor, mode | more)
        if not _is_young(info):
            os.utime(descriptor)


def _keep_fact(archive: _Archive, kept: Kept) -> None:
    fact = kept.fact
    name = _store.fact_name(fact.path, fact.written)
    found = None
    with suppress(OSError):
        found = _store.read_plain(archive.facts, name)
    with suppress(ValueError, RecursionError, MemoryError):
        if found is not None:  # (directories that a killed run made are ours to remove as well)
            more = _store.parse(found).directories
            fact = fact._replace(
                directories=(*fact.directories, *(each for each in more if each not in fact.directories))
            )
    text = _store.dump(fact)
    info = archive.facts.stat(name)
    if found != text or info is None or not _is_young(info):
        archive.put(archive.facts, name, text, kept.like)


def _is_young(info: os.stat_result) -> bool:
    return time.time() - info.st_mtime < _temporary.DEAD_SECONDS / 2
