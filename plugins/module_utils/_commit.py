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
import tempfile
import time
from contextlib import ExitStack, suppress
from typing import NamedTuple, Sequence

from . import _edits, _locks
from ._errors import CommitError, Conflict
from ._plan import Change

_HOST = re.sub(r"[^\w-]", "_", os.uname().nodename)  # (a part of the names of new files, which dots divide)
_SUFFIX = ".primus-tmp"
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

    path: str
    data: bytes
    """Empty where it cannot be read."""
    level: int | None
    """Optimisation level when it is this interpreter's own, None when it is another one's."""


def preflight(changes: Sequence[Change], backup: bool) -> None:
    """Raise CommitError for what would make the commit fail and can be told by reading alone.

    Check mode and the run itself call it at the same point, so that both fail alike.
    """
    for change in changes:
        directory, name = os.path.split(change.path)
        bytecode = _bytecode(change.path)
        held = [(directory, "directory")]
        if bytecode:
            held.append((os.path.join(directory, "__pycache__"), "directory of its bytecode"))
        for where, what in held:
            if os.statvfs(where).f_flag & os.ST_RDONLY:
                raise CommitError("%s: expected a writable %s, found a read-only file system" % (where, what))
            if _flags(where) & (_IMMUTABLE | _APPEND_ONLY):
                raise CommitError("%s: expected a writable %s, found it immutable (lsattr, chattr)" % (where, what))
            if not os.access(where, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                raise CommitError(
                    "%s: expected a writable %s, found mode %s, owner %d, and this is user %d: "
                    "run as its owner (become_user)"
                    % (where, what, stat.filemode(os.stat(where).st_mode), os.stat(where).st_uid, os.geteuid())
                )
        for file in (change.path, *(old.path for old in bytecode)):
            if not os.path.islink(file) and _flags(file) & (_IMMUTABLE | _APPEND_ONLY):
                raise CommitError("%s: expected a replaceable file, found it immutable (lsattr, chattr)" % file)
        link = os.lstat(change.path)
        parent = os.stat(directory)
        if not _may_give_away():
            me = os.geteuid()
            groups = {os.getegid(), *os.getgroups()}
            if parent.st_mode & stat.S_ISGID:  # (new files get its group by themselves)
                groups.add(parent.st_gid)
            if link.st_uid != me or link.st_gid not in groups:
                raise CommitError(
                    "%s: expected a file of user %d (%s), found owner %d:%d, which cannot be kept: "
                    "run as its owner (become_user)" % (change.path, me, name, link.st_uid, link.st_gid)
                )
            if parent.st_mode & stat.S_ISVTX and me not in (link.st_uid, parent.st_uid):
                raise CommitError("%s: expected to be its owner, as %s is sticky" % (change.path, directory))
    _room(changes, backup)


def commit(changes: Sequence[Change], backup: bool) -> dict[str, str] | None:
    """Replace the files, all or none, and return the copies that were kept, by path.

    Returns None, with nothing written, when a file is no longer the one that was planned: plan again. Raises
    CommitError when a file could not be replaced; those replaced before it have been put back then.
    """
    deadline = time.monotonic() + _locks.SECONDS
    with ExitStack() as stack:
        for change in sorted(changes):
            _sweep(change.path, stack.enter_context(_locks.hold(change.path, deadline)))
        if any(not _unchanged(change) for change in changes):
            return None
        staged: list[tuple[str, str]] = []
        kept: dict[str, str] = {}
        done: list[tuple[Change, list[_Bytecode]]] = []
        try:
            for change in changes:
                staged.append((_stage(change.path, change.after), change.path))
                stack.enter_context(_locks.hold(staged[-1][0], deadline))  # (the next one to come finds this file)
            for change in changes if backup else ():
                kept[change.path] = _keep(change)
            if any(not _unchanged(change) for change in changes):  # (again: what was made so far took its time)
                _put_back(staged, kept, done)
                return None
            for (temporary, path), change in zip(staged, changes):
                bytecode = _bytecode(path)
                done.append((change, bytecode))
                for old in bytecode:  # before the source: an unchecked .pyc must not outlive what it was made of
                    with suppress(FileNotFoundError):  # (another run, where there are no locks)
                        os.unlink(old.path)
                os.rename(temporary, path)
                _sync_directory(os.path.dirname(path))
        except BaseException as error:
            lost = _put_back(staged, kept, done)
            if isinstance(error, OSError) or lost:
                where = getattr(error, "filename2", None) or getattr(error, "filename", None) or changes[0].path
                outcome = "could not be put back: %s" % "; ".join(lost) if lost else "nothing was changed"
                raise CommitError("%s: %s; %s" % (where, getattr(error, "strerror", None) or error, outcome)) from error
            raise
        for change, bytecode in done:
            _recompile(change, bytecode)
        return kept


def _put_back(
    staged: list[tuple[str, str]], kept: dict[str, str], done: list[tuple[Change, list[_Bytecode]]]
) -> list[str]:
    """Undo what a commit did so far; the files that still are not as they were, each with the reason."""
    lost: list[str] = []
    for change, bytecode in reversed(done):
        replaced = not _unchanged(change)
        try:
            if replaced:
                _rename(_stage(change.path, change.before), change.path)
        except (OSError, CommitError) as error:
            lost.append("%s (%s)" % (change.path, error))
            continue
        for old in bytecode:
            if old.data and not os.path.exists(old.path):
                _write_bytecode(old.path, old.data, change.path)
        if replaced:  # (the source has another mtime now)
            _recompile(change._replace(after=change.before), bytecode)
    for path in [*(temporary for temporary, _path in staged), *kept.values()]:
        try:
            os.unlink(path)
        except OSError:
            pass
    return lost


def _unchanged(change: Change) -> bool:
    try:
        with open(change.path, "rb") as stream:
            return stream.read() == change.before
    except OSError:
        return False


def _sweep(path: str, held: bool) -> None:
    """Remove the new files of ``path`` and of its bytecode that runs which were killed have left.

    Under the lock of the file itself (``held``), one that this host made is dead when nobody has locked it. Of other
    hosts, which a lock may not reach (NFS with nolock, Lustre with localflock), and without locks, only age tells.
    """
    directory, name = os.path.split(path)
    stem = name[: -len(".py")] if name.endswith(".py") else name
    names = (re.escape(name), re.escape(stem), re.escape(_SUFFIX))
    pattern = re.compile(r"\.(?:%s|%s\..*\.pyc)\.([\w-]+)\.\w+%s" % names)
    for where in (directory, os.path.join(directory, "__pycache__")):
        with suppress(OSError), os.scandir(where) as entries:
            for entry in entries:
                match = pattern.fullmatch(entry.name)
                if match is None or not entry.is_file(follow_symlinks=False):
                    continue
                with suppress(OSError), _locks.hold(entry.path, 0.0) as free:
                    dead = held and free and match.group(1) == _HOST
                    if dead or time.time() - entry.stat().st_mtime > _DEAD_SECONDS:
                        os.unlink(entry.path)


def _new(path: str) -> tuple[int, str]:
    """A hidden file beside ``path`` for what is to be put there: its descriptor and its name, which tells the host."""
    directory, name = os.path.split(path)
    return tempfile.mkstemp(prefix=".%s.%s." % (name, _HOST), suffix=_SUFFIX, dir=directory)


def _stage(path: str, data: bytes) -> str:
    """A complete new file beside ``path`` with everything that belongs to it, safe on the disk; its name."""
    like = os.stat(path)
    owner = os.lstat(path)  # (a link into a cache: the environment's owner, the cached file's mode)
    descriptor, temporary = _new(path)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            _copy_attributes(path, descriptor)
            os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            made = os.fstat(descriptor)
            expected = (owner.st_uid, owner.st_gid, stat.S_IMODE(like.st_mode))
            found = (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode))
            if found != expected:  # (root squash: chown may do nothing and say nothing)
                raise CommitError(
                    "%s: cannot keep owner and mode: expected %d:%d %o, found %d:%d %o" % (path, *expected, *found)
                )
            os.fsync(descriptor)
    except OSError as error:
        os.unlink(temporary)
        raise CommitError(
            "%s: the new file cannot be made beside it: %s; nothing was changed" % (path, error)
        ) from error
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _copy_attributes(path: str, descriptor: int) -> None:
    """Extended attributes (ACLs, SELinux contexts, user attributes) of ``path``, and no others."""
    wanted = {name: os.getxattr(path, name) for name in _attributes(path)}
    present = {name: os.getxattr(descriptor, name) for name in _attributes(descriptor)}
    for name in present:
        if name not in wanted and name != "security.selinux":
            os.removexattr(descriptor, name)  # (an ACL inherited from the directory)
    for name, value in wanted.items():
        if present.get(name) != value:
            os.setxattr(descriptor, name, value)


def _attributes(file: str | int) -> list[str]:
    try:
        return [name for name in os.listxattr(file) if not name.startswith(_UNCOPIED)]
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return []
        raise


def _keep(change: Change) -> str:
    """A copy of the file beside it, named as Ansible names backups; the name."""
    kept = "%s.%d.%s~" % (change.path, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S", time.localtime()))
    made = os.stat(change.path)
    _rename(_stage(change.path, change.before), kept)
    os.utime(kept, ns=(made.st_atime_ns, made.st_mtime_ns))
    return kept


def _bytecode(path: str) -> list[_Bytecode]:
    """The .pyc files beside a module, of all interpreters and optimisation levels."""
    if not path.endswith(".py"):
        return []
    cache = os.path.join(os.path.dirname(path), "__pycache__")
    stem = os.path.basename(path)[: -len(".py")]
    own = {"": 0, "opt-1": 1, "opt-2": 2}
    found: list[_Bytecode] = []
    try:
        names = sorted(os.listdir(cache))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CommitError(
            "%s: expected a readable directory of bytecode, found: %s" % (cache, error.strerror)
        ) from None
    for name in names:
        base, _dot, tag = name[: -len(".pyc")].partition(".")
        if name.endswith(".pyc") and base == stem:
            tag, _dot, level = tag.partition(".")
            file = os.path.join(cache, name)
            try:
                with open(file, "rb") as stream:
                    data = stream.read()
            except OSError:
                data = b""
            found.append(_Bytecode(file, data, own.get(level) if tag == sys.implementation.cache_tag else None))
    return found


def _recompile(change: Change, bytecode: Sequence[_Bytecode]) -> None:
    """Make this interpreter's own .pyc files anew, each in the invalidation mode that it had (PEP 552).

    Where one cannot be made, it stays away: the next import compiles the module, as it would have without us.
    """
    for old in bytecode:
        if old.level is None:
            continue
        try:
            mode = struct.unpack("<I", old.data[4:8])[0]
            if mode & 1:
                key = importlib.util.source_hash(change.after)
            else:
                made = int(os.stat(change.path).st_mtime)
                key = struct.pack("<II", made & 0xFFFFFFFF, len(change.after) & 0xFFFFFFFF)
            code = _edits.code(change.after, change.path, old.level)
            data = importlib.util.MAGIC_NUMBER + struct.pack("<I", mode) + key + marshal.dumps(code)
        except (OSError, struct.error, Conflict):
            continue  # (an original need not compile)
        _write_bytecode(old.path, data, change.path)


def _write_bytecode(path: str, data: bytes, source: str) -> None:
    try:
        _rename(_stage_new(path, data, source), path)
    except OSError:
        pass


def _stage_new(path: str, data: bytes, source: str) -> str:
    """A new file beside ``path`` with the owner of ``source`` and its mode less the execute bits."""
    like = os.stat(source)
    descriptor, temporary = _new(path)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(like.st_mode) & 0o666)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _rename(temporary: str, path: str) -> None:
    """Put a finished file in its place; it is gone where that fails."""
    try:
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:  # (some network file systems do not sync directories)
        pass
    finally:
        os.close(descriptor)


def _flags(path: str) -> int:
    """Inode flags of a file or directory; 0 where the file system has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        flags = array.array("l", [0])
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        return flags[0]
    except OSError:
        return 0
    finally:
        os.close(descriptor)


def _may_give_away() -> bool:
    """Whether this process may give a file to any owner (CAP_CHOWN, which root mostly has)."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith("CapEff:"):
                    return bool(int(line.split()[1], 16) & 1)
    except OSError:
        pass
    return os.geteuid() == 0


def _room(changes: Sequence[Change], backup: bool) -> None:
    """Raise CommitError where a file system has no room for the new files (and their copies)."""
    sizes: dict[int, list[int]] = {}
    directories: dict[int, str] = {}
    for change in changes:
        directory = os.path.dirname(change.path)
        device = os.stat(directory).st_dev
        directories.setdefault(device, directory)
        sizes.setdefault(device, []).extend(map(len, (change.after, change.before) if backup else (change.after,)))
    for device, directory in directories.items():
        system = os.statvfs(directory)
        block = system.f_frsize or 1
        needed = sum(-(-size // block) for size in sizes[device]) * block
        free = (system.f_bfree if os.geteuid() == 0 else system.f_bavail) * block
        if system.f_blocks and free < needed:  # (one that tells no size at all has no limit that it tells)
            raise CommitError("%s: expected room for %d bytes, found %d" % (directory, needed, free))
        if system.f_files and system.f_ffree < len(sizes[device]):
            raise CommitError("%s: expected %d free inodes, found %d" % (directory, len(sizes[device]), system.f_ffree))
