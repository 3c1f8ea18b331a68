# Commit: the order in which files change, each step safe to die after. Nothing else writes, nor do other parts call
# what writes for it.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock, and read again; stage the new bytes; original and fact into the store; the target still as read? Then switch.

So there is never a file without its fact. What a run that dies leaves is a fact about bytes that are nowhere, a hidden
file, or an empty directory.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from typing import Sequence

from . import _files, _keeping, _locks, _preflight, _staging, _store, _temporary
from ._bytecode import Bytecode
from ._edits import ABSENT
from ._environment import Place
from ._errors import CommitError, Conflict, SitePatchError
from ._files import Directory
from ._keeping import Kept
from ._locks import Locks
from ._plan import Change
from ._staging import Spot
from ._store import Fact
from ._trust import KERNEL, Trust


def preflight(changes: Sequence[Change], backup: bool, trust: Trust = KERNEL) -> dict[str, str]:
    """Raise CommitError for what would make the commit fail and can be told by reading alone.

    Check mode and the run itself call it at the same point, so that both fail alike. Returns what is to be said of
    files, by path.
    """
    with ExitStack() as stack:
        spots = [_staging.open_spot(change, trust, stack) for change in changes]
        _preflight.check(spots, backup, trust)
        return {spot.path: spot.cache.note for spot in spots if spot.cache.note}


def commit(changes: Sequence[Change], backup: bool, trust: Trust = KERNEL) -> dict[str, str] | None:
    """Change the files, all or none, and return the copies that were kept, by path.

    Returns None, with no file changed, when one is no longer the one that was planned: plan again. Raises CommitError
    when one could not be changed; those changed before it have been put back then.
    """
    with ExitStack() as stack:
        locks = Locks(stack, time.monotonic() + _locks.SECONDS)
        spots = [_staging.open_spot(change, trust, stack) for change in sorted(changes, key=lambda each: each.place)]
        _lock(spots, locks)
        if not all(spot.unchanged() for spot in spots):
            return None
        work = _Work(spots, trust, stack, locks)
        try:
            work.stage()
            copies = work.copy() if backup else {}
            work.keep()
            # (read again: what was made so far took its time)
            if not all(step.spot.unchanged() for step in work.steps) or not all(map(work.switch, work.steps)):
                lost = work.put_back()
                if lost:
                    raise CommitError("%s: could not be put back: %s" % (spots[0].path, "; ".join(lost)))
                return None
            work.keep_again()
        except BaseException as error:
            lost = work.put_back()
            if isinstance(error, (OSError, CommitError)) and not lost and work.overtaken(error):
                return None
            if isinstance(error, (OSError, Conflict)) or lost:
                where = getattr(error, "filename2", None) or getattr(error, "filename", None) or spots[0].path
                outcome = "could not be put back: %s" % "; ".join(lost) if lost else "nothing was changed"
                raise CommitError("%s: %s; %s" % (where, getattr(error, "strerror", None) or error, outcome)) from error
            raise
        work.finish()
    work.collect()
    return copies


def record(facts: Sequence[tuple[Place, Fact]], trust: Trust = KERNEL) -> None:
    """Write facts anew, about files that stay as they are: a proof that is settled. Raises CommitError."""
    deadline = time.monotonic() + _locks.SECONDS
    for root in sorted({place.root for place, _fact in facts}):
        with ExitStack() as stack:
            locks = Locks(stack, deadline)
            kept = []
            try:
                for place, fact in facts:
                    if place.root == root:
                        directory = stack.enter_context(
                            _files.open_directory(os.path.dirname(place.path), trust.guard())
                        )
                        kept.append(Kept(fact, None, _keeping.like(directory, os.path.basename(place.path))))
                _keeping.keep(root, kept, trust, stack, locks)
            except OSError as error:
                message = "%s: the facts about its files could not be written: %s; the files are as they are to be"
                raise CommitError(message % (os.path.join(root, _store.DIRECTORY), error)) from error


def leave(root: str, files: Sequence[str], name: str, data: bytes, trust: Trust = KERNEL) -> None:
    """Put an answer about files into the store of a root. Raises OSError, CommitError and what a guard raises.

    Whoever may read the files may read it; where these are not the same for each, the owner alone.
    """
    likes = set()
    for file in files:
        with _files.open_directory(os.path.dirname(file), trust.guard()) as directory:
            likes.add(_keeping.like(directory, os.path.basename(file)))
    like = likes.pop()
    _keeping.answer(root, name, data, like._replace(mode=0o600, acl=None) if likes else like, trust)


def sweep(place: Place, trust: Trust = KERNEL) -> None:
    """Remove what runs which were killed have left beside a file that needs no change, and in its store."""
    with ExitStack() as stack:
        spot = _staging.open_spot(Change(place, ABSENT, ABSENT, None, None), trust, stack)
        _lock([spot], Locks(stack, time.monotonic()))
    with suppress(OSError, SitePatchError):
        _keeping.sweep(place.root, trust)


def _lock(spots: Sequence[Spot], locks: Locks) -> None:
    """Lock the files, or the directory of one that comes; then nobody uses what killed runs left, and it is removed.

    Directories first, in the order of paths: so runs that wait for each other both come to their end.
    """
    coming = [spot for spot in spots if spot.missing or spot.directory.stat(spot.name) is None]
    for spot in coming:
        spot.sweep(locks.directory(spot.directory))
    for spot in spots:
        if spot not in coming:
            spot.sweep(locks.file(spot.directory, spot.name))


def _is_gone(error: BaseException | None) -> bool:
    """Whether something was not there that had been looked at before; by now it may be back."""
    return error is not None and (isinstance(error, FileNotFoundError) or _is_gone(error.__cause__))


class _Step:
    """What is done for one file, as far as it has come."""

    def __init__(self, spot: Spot) -> None:
        self.spot = spot
        self.mode: int | None = None
        """Of the file that was there."""
        self.temporary: str | None = None
        """The staged file."""
        self.begun = False
        self.bytecode: list[Bytecode] = []
        self.away: str | None = None
        """The hidden name of a file that goes, until all is done."""

    def overtaken(self) -> bool:
        """Whether somebody else has changed the file since it was planned for, or removed its directory."""
        removed = os.fstat(self.spot.directory.descriptor).st_nlink == 0
        return removed or self.spot.now() not in (None, self.spot.change.before)


class _Work:
    """The steps of one commit."""

    def __init__(self, spots: Sequence[Spot], trust: Trust, stack: ExitStack, locks: Locks) -> None:
        self.steps = [_Step(spot) for spot in spots]
        self.trust = trust
        self.stack = stack
        self.locks = locks
        self.made: list[tuple[Directory, str]] = []
        self.copies: list[tuple[Spot, str]] = []
        self.kept: dict[str, list[Kept]] = {}

    def stage(self) -> None:
        """Make all new files, and the directories that they need. Raises CommitError and OSError."""
        for step in self.steps:
            step.mode = _staging.mode_of(step.spot)
            if step.spot.goes():
                continue
            step.spot = _staging.make_missing(step.spot, self.stack, self.made)
            step.temporary = _staging.stage(step.spot, step.spot.change.after)
            # (the next one to come finds this file)
            self.locks.file(step.spot.directory, step.temporary)

    def copy(self) -> dict[str, str]:
        """Keep copies of the files as they were, named as Ansible names backups; their paths."""
        found = {}
        for step in self.steps:
            spot = step.spot
            if not spot.comes():
                name = "%s.%d.%s~" % (spot.name, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S"))
                self.copies.append((spot, name))
                _staging.keep_copy(spot, name)
                found[spot.path] = spot.directory.join(name)
        return found

    def keep(self) -> None:
        """Have all originals and facts in their stores. Raises CommitError and OSError."""
        for step in self.steps:
            change = step.spot.change
            # (a fact about other bytes than those that are written is none of this commit's)
            if change.fact is not None and change.fact.written == _store.sha(change.after.data):
                like = _keeping.like(step.spot.directory, step.temporary or step.spot.name)
                self.kept.setdefault(change.place.root, []).append(Kept(change.fact, change.original, like))
        for root, kept in sorted(self.kept.items()):
            _keeping.keep(root, kept, self.trust, self.stack, self.locks)

    def keep_again(self) -> None:
        """See that nobody has collected meanwhile what is now needed. Raises CommitError and OSError where it is gone.

        Where it cannot be looked at, it is taken to be there: it was written just now.
        """
        for root, kept in sorted(self.kept.items()):
            gone = False
            with suppress(OSError):
                gone = _keeping.missing(root, kept, self.trust)
            if gone:
                _keeping.keep(root, kept, self.trust, self.stack, self.locks)

    def switch(self, step: _Step) -> bool:
        """Put one file in its place, or take it away; False where there is somebody else's now. Raises OSError."""
        spot = step.spot
        step.bytecode = list(spot.cache.read())
        step.begun = True
        spot.cache.remove(step.bytecode)  # (before the source: an unchecked .pyc must not outlive what it was made of)
        if step.temporary is None:
            switched = self._take_away(step)
        elif spot.comes():
            switched = _temporary.add(spot.directory, step.temporary, spot.name)
        else:
            spot.directory.rename(step.temporary, spot.name)
            switched = True
        spot.directory.sync()
        return switched

    def _take_away(self, step: _Step) -> bool:
        spot = step.spot
        if spot.comes():
            return True
        step.away = _temporary.hidden(spot.name)
        spot.directory.rename(spot.name, step.away)
        found = spot.directory.read(step.away)
        return found is not None and found.data == spot.change.before.data

    def overtaken(self, error: OSError | CommitError) -> bool:
        """Whether an error came of what somebody else did meanwhile: what was there went, if only for a moment."""
        return _is_gone(error) or any(step.overtaken() for step in self.steps)

    def put_back(self) -> list[str]:
        """Undo what was done so far; the files that still are not as they were, each with the reason."""
        lost: list[str] = []
        for step in reversed(self.steps):
            if step.begun:
                try:
                    reason = self._put_back(step)
                except (OSError, CommitError) as error:
                    reason = str(error)
                if reason:
                    lost.append("%s (%s)" % (step.spot.path, reason))
        for step in self.steps:
            if step.temporary is not None:
                with suppress(OSError):
                    step.spot.directory.unlink(step.temporary)
        for spot, name in self.copies:
            with suppress(OSError):
                spot.directory.unlink(name)
        for directory, name in reversed(self.made):
            with suppress(OSError):  # (somebody has put something there)
                directory.remove(name)
        return lost

    def _put_back(self, step: _Step) -> str | None:
        """Put one file back; why it is not as it was, None where it is."""
        spot = step.spot
        replaced = False
        if step.away is not None and spot.directory.stat(step.away) is not None:
            if not _temporary.add(spot.directory, step.away, spot.name):
                return "another file is there now; what was there is %s" % spot.directory.join(step.away)
        elif step.temporary is not None and self._is_switched(step) and not spot.unchanged():
            if spot.now() != spot.change.after:
                return "changed by somebody else meanwhile"
            if spot.comes():
                spot.directory.unlink(spot.name)
            else:
                back = _staging.stage(spot, spot.change.before, step.mode)
                _temporary.put(spot.directory, back, spot.name)
                replaced = True
        if spot.unchanged():
            spot.cache.restore(step.bytecode)
            if replaced:  # (the source has another mtime now)
                spot.cache.remake(spot.change.before.data or b"", step.bytecode)
        return None

    def _is_switched(self, step: _Step) -> bool:
        """Whether the staged file has come to its place, whatever the system said of that."""
        directory, temporary = step.spot.directory, str(step.temporary)
        return directory.stat(temporary) is None or _temporary.same(directory, temporary, step.spot.name)

    def finish(self) -> None:
        """Make bytecode anew and remove what is no longer needed. All is done by now: nothing of it is a failure."""
        for step in self.steps:
            spot = step.spot
            if step.away is not None:
                with suppress(OSError):
                    spot.directory.unlink(step.away)
            if spot.goes():
                self._remove_directories(spot)
            elif not spot.comes():
                spot.cache.remake(spot.change.after.data or b"", step.bytecode)

    def _remove_directories(self, spot: Spot) -> None:
        """Remove the directories that were made for a file, from the lowest up, as long as they are empty."""
        path, relative = os.path.dirname(spot.path), os.path.dirname(spot.change.place.relative)
        with suppress(OSError):
            while relative in spot.change.directories:
                where, name = os.path.split(path)
                with _files.open_directory(where, self.trust.guard()) as above, ExitStack() as stack:
                    below = above.open(name)
                    if below is not None:
                        with suppress(OSError):
                            stack.enter_context(below).remove("__pycache__")
                    above.remove(name)
                path, relative = where, os.path.dirname(relative)

    def collect(self) -> None:
        """Remove from the stores what no file leads to any more."""
        files: dict[str, dict[str, str]] = {}
        for step in self.steps:
            place = step.spot.change.place
            files.setdefault(place.root, {})[place.relative] = _store.sha(step.spot.change.after.data)
        for root, written in files.items():
            _keeping.collect(root, written, self.trust)
