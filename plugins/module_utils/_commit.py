# Commit: the one place that writes. Files by rename, what belongs to them, their bytecode; facts and originals before.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each step is safe to die after, in this order.

Lock (a courtesy) and read again; stage the new files beside the old ones; the originals and the facts into the store;
read again; bytecode away, rename (a new file: link; one that goes: away); bytecode; collect what leads nowhere.
"""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import ExitStack, suppress
from typing import NamedTuple, Sequence

from . import _bytecode, _files, _held, _keeping, _locks
from ._bytecode import Bytecode
from ._edits import Text
from ._environment import Place
from ._errors import CommitError
from ._files import Directory
from ._held import HOST, Held
from ._plan import Change
from ._store import Fact
from ._trust import KERNEL, Trust

_DEAD_SECONDS = 3600.0  # no commit takes as long: a new file of that age was left by a run that was killed


class _Done(NamedTuple):
    """What was done to one file, and what it takes to undo that."""

    held: Held
    bytecode: list[Bytecode]
    aside: str | None
    """The name that a file which went has until all is done."""


def preflight(changes: Sequence[Change], backup: bool, trust: Trust = KERNEL) -> dict[str, str]:
    """Raise CommitError for what would make the commit fail and can be told by reading alone.

    Check mode and the run itself call it at the same point, so that both fail alike. Returns what is to be said of
    files, by path.
    """
    with ExitStack() as stack:
        places = [_held.open_held(change, trust, stack) for change in changes]
        try:
            for held in places:
                _held.replaceable(held)
            _keeping.check(places, trust)
            _room(places, backup)
        except OSError as error:
            raise CommitError("%s: cannot be told whether it can be replaced: %s" % (places[0].path, error)) from error
        return {held.path: held.note for held in places if held.note}


def commit(changes: Sequence[Change], backup: bool, trust: Trust = KERNEL) -> dict[str, str] | None:
    """Write the files, all or none, and return the copies that were kept, by path.

    Returns None, with nothing written, when a file is no longer the one that was planned: plan again. Raises
    CommitError when a file could not be written; those written before it have been put back then.
    """
    deadline = time.monotonic() + _locks.SECONDS
    with ExitStack() as stack:
        made: list[str] = []
        staged: list[tuple[Held, str]] = []
        kept: list[tuple[Held, str]] = []
        done: list[_Done] = []
        try:
            places = [
                _held.open_held(change, trust, stack, made) for change in sorted(changes, key=lambda each: each.place)
            ]
            for held in places:
                _sweep(held, stack.enter_context(_locks.hold(held.directory, held.name, deadline)))
            if not all(held.holds(held.change.before) for held in places):
                _put_back(staged, kept, done, made)
                return None
            for held in places:
                if held.change.after.data is not None:
                    staged.append((held, _held.stage(held, held.change.after)))
                    # (the next one to come finds this file)
                    stack.enter_context(_locks.hold(held.directory, staged[-1][1], deadline))
            for held in places if backup else ():
                if held.change.before.data is not None:
                    when = time.strftime("%Y-%m-%d@%H:%M:%S")
                    name = "%s.%d.%s~" % (held.name, os.getpid(), when)  # (as Ansible names backups)
                    kept.append((held, name))
                    _copy(held, name)
            _keeping.keep(places, trust)
            if not all(held.holds(held.change.before) for held in places):  # (again: what was made took its time)
                _put_back(staged, kept, done, made)
                return None
            names = {held.path: name for held, name in staged}
            for held in places:
                done.append(_Done(held, _bytecode.read(held.cache, held.name), None))
                if not _switch(held, names.get(held.path), done):
                    _put_back(staged, kept, done[:-1], made)
                    return None
        except BaseException as error:
            lost = _put_back(staged, kept, done, made)
            if isinstance(error, OSError) or lost:
                where = getattr(error, "filename2", None) or getattr(error, "filename", None)
                outcome = "could not be put back: %s" % "; ".join(lost) if lost else "nothing was changed"
                told = getattr(error, "strerror", None) or error
                raise CommitError("%s: %s; %s" % (where or changes[0].place.path, told, outcome)) from error
            raise
        for each in done:
            _finish(each)
        _keeping.collect(places, trust)
        return {held.path: held.directory.join(name) for held, name in kept}


def record(facts: Sequence[tuple[Place, Fact]], trust: Trust = KERNEL) -> None:
    """Write facts about files as they are, in place of those of the same name: a proof that is settled."""
    for place, fact in facts:
        text = Text(b"")
        with ExitStack() as stack:
            held = _held.open_held(Change(place, text, text, None, fact), trust, stack)
            _keeping.keep([held], trust)


def sweep(path: str, trust: Trust = KERNEL) -> None:
    """Remove what runs which were killed have left beside a file that needs no change."""
    with ExitStack() as stack:
        root, name = os.path.split(path)
        text = Text(b"")
        held = _held.open_held(Change(Place(path, root, name), text, text, None, None), trust, stack)
        _sweep(held, stack.enter_context(_locks.hold(held.directory, held.name, time.monotonic())))


def _switch(held: Held, staged: str | None, done: list[_Done]) -> bool:
    """Put the new file in its place, or the old one away; False where somebody else's is there by now."""
    for old in done[-1].bytecode:  # before the source: an unchecked .pyc must not outlive what it was made of
        held.cache.unlink(old.name)  # type: ignore[union-attr]  # (without one there is no bytecode)
    if staged is None:
        aside = ".%s.%s.%s%s" % (held.name, HOST, os.urandom(4).hex(), _files.SUFFIX)
        done[-1] = done[-1]._replace(aside=aside)
        held.directory.rename(held.name, aside)
    elif held.change.before.data is None:
        if not held.directory.link(staged, held.name):
            return False
        held.directory.unlink(staged)
    else:
        held.directory.rename(staged, held.name)
    held.directory.sync()
    return True


def _finish(done: _Done) -> None:
    """What may be done once every file is in its place: nothing of it can fail the commit."""
    held = done.held
    if done.aside is not None:
        with suppress(OSError):
            held.directory.unlink(done.aside)
        for relative in held.change.directories:
            with suppress(OSError):  # (somebody else's files are in it)
                _remove_bytecode(os.path.join(held.change.place.root, relative))
                os.rmdir(os.path.join(held.change.place.root, relative))
    elif held.change.after.data is not None and held.change.before.data is not None:
        _bytecode.remake(held.cache, held.path, held.change.after.data, held.entry(), done.bytecode, HOST)


def _remove_bytecode(directory: str) -> None:
    """Remove a directory's ``__pycache__`` where nothing but that is left in it."""
    if os.listdir(directory) == ["__pycache__"]:
        with _files.open_directory(os.path.join(directory, "__pycache__")) as cache:
            for name in cache.names():
                if name.endswith(".pyc"):
                    cache.unlink(name)
        os.rmdir(os.path.join(directory, "__pycache__"))


def _put_back(
    staged: Sequence[tuple[Held, str]], kept: Sequence[tuple[Held, str]], done: Sequence[_Done], made: Sequence[str]
) -> list[str]:
    """Undo what a commit did so far; the files that still are not as they were, each with the reason."""
    lost: list[str] = []
    for each in reversed(done):
        held, before = each.held, each.held.change.before
        replaced = not held.holds(before)
        try:
            if replaced:
                _replace_back(each)
        except (OSError, CommitError) as error:
            lost.append("%s (%s)" % (held.path, error))
            continue
        for old in each.bytecode:
            if old.data and held.cache is not None and held.cache.stat(old.name) is None:
                _bytecode.put(held.cache, old.name, old.data, held.entry(), HOST)
        if replaced and before.data is not None and each.aside is None:  # (the source has another mtime now)
            _bytecode.remake(held.cache, held.path, before.data, held.entry(), each.bytecode, HOST)
    for held, name in [*staged, *kept]:
        with suppress(OSError):
            held.directory.unlink(name)
    for path in reversed(made):
        with suppress(OSError):
            os.rmdir(path)
    return lost


def _replace_back(done: _Done) -> None:
    held = done.held
    if held.change.before.data is None:
        held.directory.unlink(held.name)
    elif done.aside is not None:
        held.directory.rename(done.aside, held.name)
    else:
        _rename(held.directory, _held.stage(held, held.change.before), held.name)


def _sweep(place: Held, locked: bool) -> None:
    """Remove the new files of a place and of its bytecode that runs which were killed have left.

    Under the lock of the file itself (``locked``), one that this host made is dead when nobody has locked it. Of other
    hosts, which a lock may not reach (NFS with nolock, Lustre with localflock), and without locks, only age tells.
    """
    name = place.name
    stem = name[: -len(".py")] if name.endswith(".py") else name
    names = (re.escape(name), re.escape(stem), re.escape(_files.SUFFIX))
    pattern = re.compile(r"\.(?:%s|%s\..*\.pyc)\.([\w-]+)\.\w+%s" % names)
    for directory in filter(None, (place.directory, place.cache)):
        for entry in directory.names():
            match = pattern.fullmatch(entry)
            info = directory.stat(entry) if match is not None else None
            if match is None or info is None or not stat.S_ISREG(info.st_mode):
                continue
            with suppress(OSError), _locks.hold(directory, entry, 0.0) as free:
                dead = locked and free and match.group(1) == HOST
                if dead or time.time() - info.st_mtime > _DEAD_SECONDS:
                    directory.unlink(entry)


def _copy(held: Held, name: str) -> None:
    """A copy of the file beside it, of that name."""
    with held.directory.file(held.name) as original:
        made = os.fstat(original)
    temporary = _held.stage(held, held.change.before)
    os.utime(temporary, ns=(made.st_atime_ns, made.st_mtime_ns), dir_fd=held.directory.descriptor)
    _rename(held.directory, temporary, name)


def _rename(directory: Directory, temporary: str, name: str) -> None:
    """Put a finished file in its place; it is gone where that fails."""
    try:
        directory.rename(temporary, name)
    except OSError:
        directory.unlink(temporary)
        raise


def _room(places: Sequence[Held], backup: bool) -> None:
    """Raise CommitError where a file system has no room for the new files (their originals, and copies of them)."""
    sizes: dict[int, list[int]] = {}
    directories: dict[int, Directory] = {}
    for held in places:
        device = os.fstat(held.directory.descriptor).st_dev
        directories.setdefault(device, held.directory)
        change = held.change
        texts = [change.after.data, change.original, *([change.before.data] if backup else [])]
        sizes.setdefault(device, []).extend(len(text) for text in texts if text is not None)
    for device, directory in directories.items():
        system = os.fstatvfs(directory.descriptor)
        block = system.f_frsize or 1
        needed = sum(-(-size // block) for size in sizes[device]) * block
        free = (system.f_bfree if os.geteuid() == 0 else system.f_bavail) * block
        if system.f_blocks and free < needed:  # (one that tells no size at all has no limit that it tells)
            raise CommitError("%s: expected room for %d bytes, found %d" % (directory.path, needed, free))
        if system.f_files and system.f_ffree < len(sizes[device]):
            raise CommitError(
                "%s: expected %d free inodes, found %d" % (directory.path, len(sizes[device]), system.f_ffree)
            )
