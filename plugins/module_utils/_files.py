# Files: reached by the descriptor of a directory that is held open, and read with limits.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees may belong to somebody else, who changes them while we look.

A path is walked from the root directory, one name at a time, each opened without following a link; a link is read, and
what it names is walked in the same way (compare ``safe_path`` of OpenSSH and ``chase`` of systemd). What is met on the
way is shown to a *guard*, which may refuse it. Then the directory is held open, and what is done in it is done by its
descriptor: no later change of the path leads anywhere else.

Nothing that is read blocks, wakes a device or fills the memory: regular files alone, up to a limit. Only ENOENT and
ENOTDIR mean that something is not there; whatever else the system says is an OSError for the caller.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import Callable, Iterator, NamedTuple, TypeVar

MAX_BYTES = 16 * 1024 * 1024  # no module, RECORD or .pyc is as large
SUFFIX = ".primus-tmp"  # of files that are not yet in their place
_LOOKS = 3  # at what may come between two of them
_MAX_LINKS = 40  # as in Linux' own path walk (path_resolution(7))
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Step(NamedTuple):
    """One directory on the way to a path, and the entry of it that comes next."""

    path: str
    descriptor: int
    """Of the directory; open for as long as the guard looks at it (with O_PATH)."""
    info: os.stat_result
    entry: os.stat_result | None
    """The next name in it, itself and not what it may lead to; None for the last directory."""


Guard = Callable[[Step], None]


class Content(NamedTuple):
    """A file as one descriptor gave it."""

    data: bytes
    info: os.stat_result
    link: os.stat_result | None
    """The symbolic link that led to it; None where the name itself is the file."""


class Directory:
    """A directory that is held open. Names are single names in it; links are not followed but by ``read``."""

    def __init__(self, descriptor: int, path: str, guard: Guard | None = None) -> None:
        self.descriptor = descriptor
        self.path = path
        """Its real path when it was opened: for messages."""
        self.guard = guard
        """Is shown the way of each link that is followed."""

    def __enter__(self) -> Directory:  # noqa: PYI034 (typing.Self came with Python 3.11)
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; a second time does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # (nothing was written by it)
                os.close(descriptor)

    def join(self, name: str) -> str:
        """The path of an entry, for messages and for what takes no descriptor."""
        return os.path.join(self.path, name)

    def stat(self, name: str = "") -> os.stat_result | None:
        """The entry itself (a link is not followed), or the directory; None where there is no such entry."""
        if not name:
            return os.fstat(self.descriptor)
        return _or_none(lambda: os.stat(name, dir_fd=self.descriptor, follow_symlinks=False))

    def open(self, name: str) -> Directory | None:
        """A directory in this one; None where there is none of that name. Raises OSError (ELOOP) for a link."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        found = self.stat(name)
        if found is not None and stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, "a symbolic link, not a directory", self.join(name))
        descriptor = _or_none(lambda: os.open(name, flags, dir_fd=self.descriptor))
        return None if descriptor is None else Directory(descriptor, self.join(name), self.guard)

    def names(self) -> list[str]:
        """The names of all entries, sorted.

        By a descriptor of its own: one that was listed already, and could not be wound back, would tell of no entries.
        """
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        with Directory(descriptor, self.path):
            return sorted(os.listdir(descriptor))

    def read(self, name: str, most: int = MAX_BYTES) -> Content | None:
        """A regular file, also behind a symbolic link; None where there is none of that name.

        Raises OSError: EINVAL for what is no regular file, EFBIG beyond ``most`` bytes, EPERM where a link leads root
        to a file of another owner than its own (what a user may not read, root does not read for that user).
        """
        descriptor = _or_none(lambda: self.open_file(name))
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb") as stream:
            info = os.fstat(descriptor)
            data = stream.read(most + 1)
        if len(data) > most:
            raise OSError(errno.EFBIG, "larger than %d bytes" % most, self.join(name))
        link = self.stat(name)
        return Content(data, info, link if link is not None and stat.S_ISLNK(link.st_mode) else None)

    def content(self, name: str) -> Content | None:
        """As ``read``, where something must be there to be read: raises OSError for a link that leads to nothing."""
        for _look in range(_LOOKS):  # (it may come between the two)
            found = self.read(name)
            if found is not None or self.stat(name) is None:
                return found
        raise OSError(None, "a link that leads to nothing", self.join(name))

    @contextmanager
    def file(self, name: str) -> Iterator[int]:
        """Hold a regular file open for reading; the descriptor. Raises OSError as ``read`` does, also for none."""
        descriptor = self.open_file(name)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def head(self, name: str, count: int) -> bytes | None:
        """The first bytes of a regular file; otherwise as ``read``."""
        descriptor = _or_none(lambda: self.open_file(name))
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(count)

    def open_file(self, name: str, access: int = os.O_RDONLY) -> int:
        """A descriptor of a regular file, for reading by default. Raises OSError as ``read`` does, also for none.

        What is no regular file is not opened at all: that alone may block, or wake a device.
        """
        named = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        if not stat.S_ISLNK(named.st_mode):
            return self._open_here(name, access, named)
        way = walk(os.readlink(name, dir_fd=self.descriptor), self.guard, self)
        with way.parent:
            descriptor = way.parent._open_here(way.name, access, way.info)
        owner = os.fstat(descriptor).st_uid
        if os.geteuid() == 0 and owner != named.st_uid:
            os.close(descriptor)
            reason = "a link of user %d to a file of user %d, which root does not follow" % (named.st_uid, owner)
            raise OSError(errno.EPERM, reason, self.join(name))
        return descriptor

    def _open_here(self, name: str, access: int, expected: os.stat_result) -> int:
        _regular(expected, self.join(name))
        descriptor = os.open(name, access | _OPEN, dir_fd=self.descriptor)
        try:
            _regular(os.fstat(descriptor), self.join(name))  # (it may be another one by now)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def leads_to(self, name: str, descriptor: int) -> bool:
        """Whether a name in the directory, links followed, is what is open. Raises OSError where there is none."""
        return os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=self.descriptor))

    def rename(self, name: str, to: str) -> None:
        """Put a file in the place of another one. Raises OSError naming both."""
        try:
            os.rename(name, to, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.join(name), None, self.join(to)) from None

    def unlink(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        _or_none(lambda: os.unlink(name, dir_fd=self.descriptor))

    def link(self, name: str, to: str) -> None:
        """Give a file, or a link itself, one more name; raises OSError where that is taken, or links cannot be."""
        try:
            os.link(name, to, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.join(name), None, self.join(to)) from None

    def make(self, name: str, mode: int) -> None:
        """A new directory of this very mode, whatever the umask. Raises OSError where there is something already."""
        umask = os.umask(0)  # (a run that is killed behind a mkdir leaves none that others cannot read)
        try:
            os.mkdir(name, mode, dir_fd=self.descriptor)
        finally:
            os.umask(umask)

    def remove(self, name: str) -> None:
        """Remove an empty directory; nothing happens where there is none. Raises OSError where it is not empty."""
        _or_none(lambda: os.rmdir(name, dir_fd=self.descriptor))

    def sync(self) -> None:
        """Bring renames to the disk, where the file system can (some network file systems do not sync directories)."""
        with suppress(OSError):
            os.fsync(self.descriptor)


def open_directory(path: str, guard: Guard | None = None) -> Directory:
    """Walk to a directory, showing the guard each one on the way and this one, and hold it open.

    Raises OSError where it is not there, is no directory or cannot be read, and what the guard raises.
    """
    way = walk(path, guard)
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(way.name, flags, dir_fd=way.parent.descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
    finally:
        way.parent.close()
    directory = Directory(descriptor, way.path, guard)
    try:
        if guard is not None:
            guard(Step(directory.path, descriptor, os.fstat(descriptor), None))
    except BaseException:
        directory.close()
        raise
    return directory


def walk(path: str, guard: Guard | None = None, start: Directory | None = None) -> Way:
    """Walk to what a path finally leads to, showing the guard each directory on the way; the caller closes the parent.

    A relative path counts from ``start``, by default the working directory. Raises OSError, and what the guard raises.
    """
    if start is not None and not path.startswith("/"):
        here = Directory(os.open(".", _LOOK | os.O_DIRECTORY, dir_fd=start.descriptor), start.path)
    else:
        if not path.startswith("/"):  # (the working directory may have gone)
            path = os.path.join(os.getcwd(), path)
        here = Directory(os.open("/", _LOOK | os.O_DIRECTORY), "/")
    todo = _names(path) or ["."]
    links = 0
    try:
        while True:
            name = todo.pop()
            entry = os.stat(name, dir_fd=here.descriptor, follow_symlinks=False)
            if guard is not None:
                guard(Step(here.path, here.descriptor, os.fstat(here.descriptor), entry))
            if stat.S_ISLNK(entry.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink(name, dir_fd=here.descriptor)
                todo += _names(target) or ["."]
                if target.startswith("/"):
                    here = _next(here, "/", "/")
            elif todo:
                up = os.path.dirname(here.path) if name == ".." else here.join(name)
                here = _next(here, name, here.path if name == "." else up)
            else:
                return Way(here, name, entry)
    except BaseException as error:
        here.close()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from None
        raise


class Way(NamedTuple):
    """Where a walk ended."""

    parent: Directory
    """The directory that holds it (opened with O_PATH: nothing can be listed by it)."""
    name: str
    info: os.stat_result

    @property
    def path(self) -> str:
        """The real path."""
        return os.path.normpath(self.parent.join(self.name))


def _next(here: Directory, name: str, path: str) -> Directory:
    descriptor = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=here.descriptor)
    here.close()
    return Directory(descriptor, path)


def _names(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name]


def look(path: str, follow: bool = True) -> os.stat_result | None:
    """What is at a path; None where nothing is (ENOENT, ENOTDIR). Raises OSError where that cannot be told."""
    return _or_none(lambda: os.stat(path, follow_symlinks=follow))


def kind(path: str) -> str | None:
    """What a path leads to: ``directory``, ``file``, ``other``; None where nothing is. Raises OSError as ``look``."""
    found = look(path)
    if found is None:
        return None
    return "directory" if stat.S_ISDIR(found.st_mode) else "file" if stat.S_ISREG(found.st_mode) else "other"


def links(path: str) -> int:
    """How many hard links what a path leads to has; 1 where that cannot be told."""
    try:
        return os.stat(path).st_nlink
    except OSError:
        return 1


def unfinished(path: str) -> bool:
    """Whether beside a file, or in the directory of its bytecode, lies what a run that was killed may have left."""
    directory = os.path.dirname(path)
    for where in (directory, os.path.join(directory, "__pycache__")):
        with suppress(OSError):
            if any(name.endswith(SUFFIX) for name in os.listdir(where)):
                return True
    return False


def read(path: str, most: int = MAX_BYTES) -> bytes | None:
    """The bytes of a regular file; None where there is none. Raises OSError as ``Directory.read`` does."""
    found = _in_directory(path, lambda directory, name: directory.read(name, most))
    return None if found is None else found.data


def head(path: str, count: int) -> bytes | None:
    """The first bytes of a regular file; None where there is none. Raises OSError as ``Directory.read`` does."""
    return _in_directory(path, lambda directory, name: directory.head(name, count))


_T = TypeVar("_T")


def _in_directory(path: str, call: Callable[[Directory, str], _T | None]) -> _T | None:
    where, name = os.path.split(path)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = _or_none(lambda: os.open(where or ".", flags))
    if descriptor is None:
        return None
    with Directory(descriptor, where) as directory:
        try:
            return call(directory, name)
        except OSError as error:
            if error.filename != name:
                raise
            raise OSError(error.errno, error.strerror, path) from None


def _regular(info: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise OSError(errno.EINVAL, "no regular file", path)


def _or_none(call: Callable[[], _T]) -> _T | None:
    """What a call returns; None where it finds nothing there."""
    try:
        return call()
    except (FileNotFoundError, NotADirectoryError):
        return None
