# Commit: the one place that writes. Replaces files by rename, keeps what belongs to them, refreshes their bytecode.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import array
import errno
import fcntl
import importlib.util
import marshal
import os
import re
import stat
import struct
import sys
import time
from contextlib import ExitStack, suppress
from typing import Iterator, NamedTuple, Sequence

from . import _edits, _files, _locks
from ._errors import CommitError, Conflict
from ._files import Directory
from ._plan import Change
from ._trust import KERNEL, Trust

_HOST = re.sub(r"[^\w-]", "_", os.uname().nodename)  # (a part of the names of new files, which dots divide)
_DEAD_SECONDS = 3600.0  # no commit takes as long: a new file of that age was left by a run that was killed
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS (linux/fs.h, 64 bit)
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL
_UNCOPIED = (  # extended attributes that a file system or the kernel makes for each file (compare /etc/xattr.conf)
    "security.evm",
    "security.ima",
    "lustre.",
    "trusted.lov",
    "trusted.lma",
    "trusted.link",
    "trusted.som",
    "trusted.hsm",
    "trusted.SGI_",
    "trusted.glusterfs.",
    "trusted.gfid",
    "trusted.overlay.",
    "ceph.",
    "afs.",
    "xfsroot.",
)


class _Bytecode(NamedTuple):
    """One .pyc file as it was."""

    name: str
    """In the directory of bytecode."""
    data: bytes
    """Empty where it cannot be read."""
    level: int | None
    """Optimisation level when it is this interpreter's own, None when it is another one's."""


class _Place(NamedTuple):
    """Where one file is to be replaced: all is done by the descriptors of its directory and of its bytecode's."""

    change: Change
    directory: Directory
    name: str
    cache: Directory | None
    """Its ``__pycache__``; None where there is none, or one that is not ours to touch."""
    note: str
    """What is to be said of a ``__pycache__`` that is not touched."""

    @property
    def path(self) -> str:
        return self.change.path

    def entry(self) -> os.stat_result:
        """The file itself, or the link that is in its place. Raises CommitError where there is none any more."""
        found = self.directory.stat(self.name)
        if found is None:
            raise CommitError("%s: expected a file, found none any more" % self.path)
        return found

    def unchanged(self) -> bool:
        """Whether the file still is what was planned for."""
        try:
            found = self.directory.read(self.name)
        except OSError:
            return False
        return found is not None and found.data == self.change.before


def preflight(changes: Sequence[Change], backup: bool, trust: Trust = KERNEL) -> dict[str, str]:
    """Raise CommitError for what would make the commit fail and can be told by reading alone.

    Check mode and the run itself call it at the same point, so that both fail alike. Returns what is to be said of
    files, by path.
    """
    with ExitStack() as stack:
        places = [_open(change, trust, stack) for change in changes]
        try:
            for place in places:
                _replaceable(place)
            _room(places, backup)
        except OSError as error:
            raise CommitError("%s: cannot be told whether it can be replaced: %s" % (places[0].path, error)) from error
        return {place.path: place.note for place in places if place.note}


def _replaceable(place: _Place) -> None:
    """Raise CommitError unless this process may replace the file and its bytecode."""
    held = [(place.directory, "directory")]
    if place.cache is not None and any(True for _name in _bytecode_names(place.cache, place.name)):
        held.append((place.cache, "directory of its bytecode"))
    for directory, what in held:
        where = directory.path
        if os.fstatvfs(directory.descriptor).f_flag & os.ST_RDONLY:
            raise CommitError("%s: expected a writable %s, found a read-only file system" % (where, what))
        if _flags(directory.descriptor) & (_IMMUTABLE | _APPEND_ONLY):
            raise CommitError("%s: expected a writable %s, found it immutable (lsattr, chattr)" % (where, what))
        effective = os.access in os.supports_effective_ids
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory.descriptor, effective_ids=effective):
            info = os.fstat(directory.descriptor)
            raise CommitError(
                "%s: expected a writable %s, found mode %s, owner %d, and this is user %d: run as its owner "
                "(become_user)" % (where, what, stat.filemode(info.st_mode), info.st_uid, os.geteuid())
            )
    files = [(place.directory, place.name, place.path)]
    if place.cache is not None:
        names = _bytecode_names(place.cache, place.name)
        files += [(place.cache, name, place.cache.join(name)) for name, _level in names]
    for directory, name, path in files:
        if _file_flags(directory, name) & (_IMMUTABLE | _APPEND_ONLY):
            raise CommitError("%s: expected a replaceable file, found it immutable (lsattr, chattr)" % path)
    link, parent = place.entry(), os.fstat(place.directory.descriptor)
    if not _may_give_away():
        me = os.geteuid()
        groups = {os.getegid(), *os.getgroups()}
        if parent.st_mode & stat.S_ISGID:  # (new files get its group by themselves)
            groups.add(parent.st_gid)
        if link.st_uid != me:
            raise CommitError(
                "%s: expected a file of user %d (%s), found owner %d:%d, which cannot be kept: run as its owner "
                "(become_user)" % (place.path, me, place.name, link.st_uid, link.st_gid)
            )
        if link.st_gid not in groups:
            raise CommitError(
                "%s: expected a file of a group that user %d is in (%s), found group %d, which cannot be kept: change "
                "its group (chgrp)" % (place.path, me, place.name, link.st_gid)
            )
        if parent.st_mode & stat.S_ISVTX and me not in (link.st_uid, parent.st_uid):
            raise CommitError("%s: expected to be its owner, as %s is sticky" % (place.path, place.directory.path))


def commit(changes: Sequence[Change], backup: bool, trust: Trust = KERNEL) -> dict[str, str] | None:
    """Replace the files, all or none, and return the copies that were kept, by path.

    Returns None, with nothing written, when a file is no longer the one that was planned: plan again. Raises
    CommitError when a file could not be replaced; those replaced before it have been put back then.
    """
    deadline = time.monotonic() + _locks.SECONDS
    with ExitStack() as stack:
        places = [_open(change, trust, stack) for change in sorted(changes)]
        for place in places:
            _sweep(place, stack.enter_context(_locks.hold(place.directory, place.name, deadline)))
        if not all(place.unchanged() for place in places):
            return None
        staged: list[tuple[_Place, str]] = []
        kept: dict[_Place, str] = {}
        done: list[tuple[_Place, list[_Bytecode]]] = []
        try:
            for place in places:
                staged.append((place, _stage(place, place.change.after)))
                # (the next one to come finds this file)
                stack.enter_context(_locks.hold(place.directory, staged[-1][1], deadline))
            for place in places if backup else ():
                when = time.strftime("%Y-%m-%d@%H:%M:%S")
                kept[place] = "%s.%d.%s~" % (place.name, os.getpid(), when)  # (as Ansible names backups)
                _keep(place, kept[place])
            if not all(place.unchanged() for place in places):  # (again: what was made so far took its time)
                _put_back(staged, kept, done)
                return None
            for place, temporary in staged:
                bytecode = list(_bytecode(place))
                done.append((place, bytecode))
                for old in bytecode:  # before the source: an unchecked .pyc must not outlive what it was made of
                    place.cache.unlink(old.name)  # type: ignore[union-attr]  # (without one there is no bytecode)
                place.directory.rename(temporary, place.name)
                place.directory.sync()
        except BaseException as error:
            lost = _put_back(staged, kept, done)
            if isinstance(error, OSError) or lost:
                where = getattr(error, "filename2", None) or getattr(error, "filename", None) or changes[0].path
                outcome = "could not be put back: %s" % "; ".join(lost) if lost else "nothing was changed"
                raise CommitError("%s: %s; %s" % (where, getattr(error, "strerror", None) or error, outcome)) from error
            raise
        for place, bytecode in done:
            _recompile(place, place.change.after, bytecode)
        return {place.path: place.directory.join(name) for place, name in kept.items()}


def sweep(path: str, trust: Trust = KERNEL) -> None:
    """Remove what runs which were killed have left beside a file that needs no change."""
    with ExitStack() as stack:
        place = _open(Change(path, b"", b""), trust, stack)
        _sweep(place, stack.enter_context(_locks.hold(place.directory, place.name, time.monotonic())))


def _open(change: Change, trust: Trust, stack: ExitStack) -> _Place:
    """Hold the directories of a file open until the stack ends. Raises CommitError where they cannot be reached."""
    where, name = os.path.split(change.path)
    try:
        directory = stack.enter_context(_files.open_directory(where, trust.guard()))
        place = _Place(change, directory, name, None, "")
        if not name.endswith(".py"):
            return place
        found = directory.stat("__pycache__")
        if found is None or not (stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return place
        if stat.S_ISLNK(found.st_mode) or found.st_uid != place.entry().st_uid:
            return place._replace(note=_untouched(place, found))
        try:
            cache = directory.open("__pycache__")
        except OSError as error:
            message = "%s: expected a readable directory of bytecode, found: %s"
            raise CommitError(message % (directory.join("__pycache__"), error.strerror)) from None
    except OSError as error:
        raise CommitError("%s: cannot be reached: %s; nothing was written" % (change.path, error)) from error
    return place if cache is None else place._replace(cache=stack.enter_context(cache))


def _untouched(place: _Place, found: os.stat_result) -> str:
    """What is to be said of a directory of bytecode that is a link or somebody else's, and is left alone.

    Raises CommitError where Python would go on using old bytecode in it without a look at the source.
    """
    path = place.directory.join("__pycache__")
    what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "of user %d" % found.st_uid
    try:
        with _files.open_directory(path) as cache:
            names = [name for name, _level in _bytecode_names(cache, place.name)]
            unchecked = [name for name in names if _is_unchecked(cache, name)]
    except (FileNotFoundError, NotADirectoryError):
        return ""  # (a link that leads to nothing)
    except OSError as error:
        raise CommitError(
            "%s: expected a directory of bytecode of the owner of %s, found one that is %s and cannot be read (%s). "
            "Remove it; nothing was written" % (path, place.name, what, error.strerror)
        ) from error
    if unchecked:
        raise CommitError(
            "%s: expected a directory of bytecode of the owner of %s, found one that is %s; Python would go on "
            "using %s in it without a look at the source. Remove it; nothing was written"
            % (path, place.name, what, unchecked[0])
        )
    return "%s is %s: not touched" % (path, what) if names else ""


def _is_unchecked(cache: Directory, name: str) -> bool:
    """Whether a .pyc is used without a look at its source (PEP 552)."""
    header = cache.head(name, 8)
    return header is not None and len(header) == 8 and struct.unpack("<I", header[4:])[0] & 3 == 1


def _put_back(
    staged: list[tuple[_Place, str]], kept: dict[_Place, str], done: list[tuple[_Place, list[_Bytecode]]]
) -> list[str]:
    """Undo what a commit did so far; the files that still are not as they were, each with the reason."""
    lost: list[str] = []
    for place, bytecode in reversed(done):
        replaced = not place.unchanged()
        try:
            if replaced:
                _rename(place.directory, _stage(place, place.change.before), place.name)
        except (OSError, CommitError) as error:
            lost.append("%s (%s)" % (place.path, error))
            continue
        for old in bytecode:
            if old.data and place.cache is not None and place.cache.stat(old.name) is None:
                _write_bytecode(place, old.name, old.data)
        if replaced:  # (the source has another mtime now)
            _recompile(place, place.change.before, bytecode)
    for place, name in [*staged, *kept.items()]:
        with suppress(OSError):
            place.directory.unlink(name)
    return lost


def _sweep(place: _Place, held: bool) -> None:
    """Remove the new files of a place and of its bytecode that runs which were killed have left.

    Under the lock of the file itself (``held``), one that this host made is dead when nobody has locked it. Of other
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
                dead = held and free and match.group(1) == _HOST
                if dead or time.time() - info.st_mtime > _DEAD_SECONDS:
                    directory.unlink(entry)


def _new(directory: Directory, name: str) -> tuple[int, str]:
    """A hidden file for what is to be put there: its descriptor and its name, which tells the host."""
    return directory.create("%s.%s" % (name, _HOST))


def _stage(place: _Place, data: bytes) -> str:
    """A complete new file beside a place with everything that belongs to it, safe on the disk; its name.

    The bits setuid and setgid are not among that: what is written anew has not earned them.
    """
    owner = place.entry()  # (a link into a cache: the environment's owner, the cached file's mode)
    with place.directory.file(place.name) as original:
        like = os.fstat(original)
        try:
            descriptor, temporary = _new(place.directory, place.name)
        except OSError as error:
            raise CommitError(
                "%s: the new file cannot be made beside it: %s; nothing was changed" % (place.path, error)
            ) from error
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                made = os.fstat(descriptor)
                if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                _copy_attributes(original, descriptor)
                mode = stat.S_IMODE(like.st_mode) & ~(stat.S_ISUID | stat.S_ISGID)
                os.fchmod(descriptor, mode)
                made = os.fstat(descriptor)
                expected = (owner.st_uid, owner.st_gid, mode)
                found = (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode))
                if found != expected:  # (root squash: chown may do nothing and say nothing)
                    raise CommitError(
                        "%s: cannot keep owner and mode: expected %d:%d %o, found %d:%d %o"
                        % (place.path, *expected, *found)
                    )
                second = 1_000_000_000
                if made.st_mtime_ns // second <= like.st_mtime_ns // second:
                    # (an import that read the old file may write its bytecode yet: dated by the second)
                    os.utime(descriptor, ns=(made.st_atime_ns, like.st_mtime_ns + second))
                os.fsync(descriptor)
        except OSError as error:
            place.directory.unlink(temporary)
            raise CommitError(
                "%s: the new file cannot be made beside it: %s; nothing was changed" % (place.path, error)
            ) from error
        except BaseException:
            place.directory.unlink(temporary)
            raise
    return temporary


def _copy_attributes(original: int, descriptor: int) -> None:
    """Extended attributes (ACLs, SELinux contexts, user attributes) of the original, and no others."""
    wanted = {name: os.getxattr(original, name) for name in _attributes(original)}
    present = {name: os.getxattr(descriptor, name) for name in _attributes(descriptor)}
    for name in present:
        if name not in wanted and name != "security.selinux":
            os.removexattr(descriptor, name)  # (an ACL inherited from the directory)
    for name, value in wanted.items():
        if present.get(name) != value:
            os.setxattr(descriptor, name, value)


def _attributes(descriptor: int) -> list[str]:
    try:
        return [name for name in os.listxattr(descriptor) if not name.startswith(_UNCOPIED)]
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return []
        raise


def _keep(place: _Place, name: str) -> None:
    """A copy of the file beside it, of that name."""
    with place.directory.file(place.name) as original:
        made = os.fstat(original)
    temporary = _stage(place, place.change.before)
    os.utime(temporary, ns=(made.st_atime_ns, made.st_mtime_ns), dir_fd=place.directory.descriptor)
    _rename(place.directory, temporary, name)


def _bytecode_names(cache: Directory, name: str) -> Iterator[tuple[str, int | None]]:
    """The .pyc files of a module, of all interpreters and optimisation levels, with the level of this interpreter's."""
    stem = name[: -len(".py")]
    own = {"": 0, "opt-1": 1, "opt-2": 2}
    try:
        names = cache.names()
    except OSError as error:
        raise CommitError(
            "%s: expected a readable directory of bytecode, found: %s" % (cache.path, error.strerror)
        ) from None
    for each in names:
        base, _dot, tag = each[: -len(".pyc")].partition(".")
        if each.endswith(".pyc") and base == stem:
            tag, _dot, level = tag.partition(".")
            yield each, own.get(level) if tag == sys.implementation.cache_tag else None


def _bytecode(place: _Place) -> Iterator[_Bytecode]:
    """The .pyc files beside a module, as they are; links and other oddities among them have no data."""
    if place.cache is None:
        return
    for name, level in _bytecode_names(place.cache, place.name):
        info = place.cache.stat(name)
        if info is None or stat.S_ISDIR(info.st_mode):
            continue
        data = b""
        with suppress(OSError):
            content = place.cache.read(name) if stat.S_ISREG(info.st_mode) else None
            data = content.data if content is not None else b""
        yield _Bytecode(name, data, level)


def _recompile(place: _Place, text: bytes, bytecode: Sequence[_Bytecode]) -> None:
    """Make this interpreter's own .pyc files anew, each in the invalidation mode that it had (PEP 552).

    Where one cannot be made, it stays away: the next import compiles the module, as it would have without us.
    """
    for old in bytecode:
        if old.level is None:
            continue
        try:
            mode = struct.unpack("<I", old.data[4:8])[0]
            if mode & 1:
                key = importlib.util.source_hash(text)
            else:
                key = struct.pack("<II", int(place.entry().st_mtime) & 0xFFFFFFFF, len(text) & 0xFFFFFFFF)
            code = _edits.code(text, place.path, old.level)
            data = importlib.util.MAGIC_NUMBER + struct.pack("<I", mode) + key + marshal.dumps(code)
        except (OSError, struct.error, Conflict, CommitError):
            continue  # (an original need not compile)
        _write_bytecode(place, old.name, data)


def _write_bytecode(place: _Place, name: str, data: bytes) -> None:
    with suppress(OSError, CommitError):
        if place.cache is not None:
            _rename(place.cache, _stage_bytecode(place.cache, name, data, place.entry()), name)


def _stage_bytecode(cache: Directory, name: str, data: bytes, like: os.stat_result) -> str:
    """A new file in the directory of bytecode with the owner of the source and its mode less the execute bits."""
    descriptor, temporary = _new(cache, name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(like.st_mode) & 0o666)
    except BaseException:
        cache.unlink(temporary)
        raise
    return temporary


def _rename(directory: Directory, temporary: str, name: str) -> None:
    """Put a finished file in its place; it is gone where that fails."""
    try:
        directory.rename(temporary, name)
    except OSError:
        directory.unlink(temporary)
        raise


def _file_flags(directory: Directory, name: str) -> int:
    """Inode flags of a regular file itself; 0 for anything else, a link included, and where there are none."""
    info = directory.stat(name)
    if info is None or not stat.S_ISREG(info.st_mode):
        return 0
    try:
        with directory.file(name) as descriptor:
            return _flags(descriptor)
    except OSError:
        return 0


def _flags(descriptor: int) -> int:
    """Inode flags of what is open; 0 where the file system has none."""
    flags = array.array("l", [0])
    try:
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
    except OSError:
        return 0
    return flags[0]


def _may_give_away() -> bool:
    """Whether this process may give a file to any owner (CAP_CHOWN, which root mostly has)."""
    try:
        with open("/proc/self/status", "rb") as stream:
            for line in stream:
                if line.startswith(b"CapEff:"):
                    return bool(int(line.split()[1], 16) & 1)
    except OSError:
        pass
    return os.geteuid() == 0


def _room(places: Sequence[_Place], backup: bool) -> None:
    """Raise CommitError where a file system has no room for the new files (and their copies)."""
    sizes: dict[int, list[int]] = {}
    directories: dict[int, Directory] = {}
    for place in places:
        device = os.fstat(place.directory.descriptor).st_dev
        directories.setdefault(device, place.directory)
        texts = (place.change.after, place.change.before) if backup else (place.change.after,)
        sizes.setdefault(device, []).extend(map(len, texts))
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
