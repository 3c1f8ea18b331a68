# Trust: as whom the work on a tree is done, and whether somebody else could change what root would edit or run.
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule for a process of root.

All on the way belongs to root and to one user at most, and nobody else may write there: then the work is done as that
user. Everything else is refused.

It is that of OpenSSH's StrictModes (``safe_path``), git's ``safe.directory`` and systemd-tmpfiles ("unsafe path
transition"), and what rpm 4.18 closed (CVE-2021-35937 to 35939). A process that is not root's is asked nothing: there
the kernel decides. An ACL that lets others write shows in the group's bits of the mode (acl(5), the mask).
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from typing import Callable, Iterable, NamedTuple, Sequence

from . import _files, _interpreter
from ._errors import SitePatchError
from ._files import Step

_ACL = "system.posix_acl_access"


class Untrusted(SitePatchError):
    """Somebody else may change what root would edit or run; nothing was written, nothing of it was started."""


class User(NamedTuple):
    """As whom a child works: real, effective and saved ids."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    unseen: str | None = None
    """A path whose way root could not follow to its end (a network file system that maps root to nobody)."""

    def become(self) -> None:
        """Turn this process of root's into one of this user's, for good.

        Raises OSError where that cannot be done, and Untrusted where others may write on the way to ``unseen``.
        """
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        if os.getresuid() != (self.uid,) * 3 or os.getresgid() != (self.gid,) * 3:
            raise OSError(errno.EPERM, "cannot become user %d" % self.uid)
        if self.unseen is not None:
            _files.walk(self.unseen, _guard(self.uid)).parent.close()

    def variables(self) -> dict[str, str]:
        """The environment variables that name a user, as su(1) sets them."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}


class Belongs(Exception):  # (no error: an answer)
    """What is at ``path`` belongs to a user who is not root: the work is to be done as that user."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def asked_by_root() -> bool:
    """Whether this process is root's, and not of a user namespace in which a user is alone (user_namespaces(7))."""
    if os.geteuid() != 0:
        return False
    maps = _files.read("/proc/self/uid_map") or b"0 0 4294967295"
    return sum(int(line.split()[2]) for line in maps.splitlines()) > 1


def _user(uid: int, met: Sequence[os.stat_result]) -> User:
    """The user of a number that owns something on a way.

    One that no database knows (as in containers) has the home ``/`` and the group of the first directory on the way
    that is the user's, unless that came from the directory above: users choose where to make a directory.
    """
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        first = next(number for number, info in enumerate(met) if info.st_uid == uid)
        handed_on = first and met[first - 1].st_mode & stat.S_ISGID
        return User(uid, uid if handed_on else met[first].st_gid, (), str(uid), "/")
    groups = os.getgrouplist(known.pw_name, known.pw_gid)
    return User(uid, known.pw_gid, tuple(groups), known.pw_name, known.pw_dir)


class Trust(NamedTuple):
    """Who asked for the work, and what was said about others who may write."""

    by_root: bool = False
    """Whether root asked: its child may be another user by now."""
    writers: bool = False
    """The option trust_writers."""

    def guard(self) -> Callable[[Step], None] | None:
        """What looks at each directory on the way to a file; None where the kernel alone decides."""
        return _guard(os.geteuid()) if self.by_root and not self.writers else None

    def check(self, *paths: str) -> None:
        """Look at the owners of what an edit touches: the directory on ``sys.path``, the package's, the file's, it.

        Raises Belongs where all are one user's and this process is root's, Untrusted where they differ or belong to
        somebody else than the user that this process works as, and OSError where it cannot be told.
        """
        if not self.by_root:
            return
        looked = [(path, _files.look(path, follow=path != paths[-1])) for path in dict.fromkeys(paths)]
        parts = [(path, info) for path, info in looked if info is not None]  # (none in a zip file)
        found = {info.st_uid for _path, info in parts}
        me = os.geteuid()
        if len(found) == 1 and me == 0 and 0 not in found:
            raise Belongs(parts[0][0])
        if found - {me} and not self.writers:
            raise _differing(parts)

    def check_imports(self, named: Iterable[str], others: Iterable[str]) -> None:
        """Raise Untrusted where code would be imported that others may write.

        ``named``: directories (or zip files) that the task names for ``sys.path``. ``others``: what else is there,
        which is a user's own business but not root's.
        """
        guard = self.guard()
        if guard is None:
            return
        me = os.geteuid()
        for entry in [*named, *(others if me == 0 else ())]:
            kind = _files.kind(entry or ".")
            if kind is None:
                continue
            way = _files.walk(os.path.join(entry or ".", ".") if kind == "directory" else entry, guard)
            way.parent.close()
            if kind != "directory" and (way.info.st_uid not in (0, me) or _others_may_write(way.info, way.path)):
                raise _refused(way.path, way.info, me)


KERNEL = Trust()  # the kernel alone decides


def interpreter(path: str, trust: Trust) -> User | None:
    """As whom root may start an interpreter: None as itself, else the one user whom it and its libraries belong to.

    Every link on the way to it counts, every directory that holds one, and what it runs when it starts: whoever may
    replace or write one of them decides what is run. Raises Untrusted, and OSError where the way cannot be walked.
    """
    met, last = _met(path)
    places = [] if last is None else _interpreter.places(path)
    directories = [place for place in places if _files.kind(place) == "directory"]
    for place in directories:
        met += _met(place)[0]
    owners = {info.st_uid for info in met if info.st_uid}
    if trust.writers:
        return _user(owners.pop(), met) if len(owners) == 1 else None
    uid = next((info.st_uid for info in met if info.st_uid), 0)
    for each in (path, *(os.path.join(place, ".") for place in directories)):
        with suppress(PermissionError):
            _files.walk(each, _guard(uid)).parent.close()
    if last is None:
        return _user(uid, met)._replace(unseen=path)
    for each in (path, *(place for place in places if place not in directories)):
        with suppress(PermissionError):
            way = _files.walk(each, _guard(uid))
            way.parent.close()
            if way.info.st_uid not in (0, uid) or _others_may_write(way.info, way.path):
                raise _refused(way.path, way.info, uid)
    return _user(uid, met) if uid else None


def directory(path: str) -> User | None:
    """As whom root is to work on a directory: None as itself. Raises OSError where it cannot be told."""
    met, _last = _met(path)
    return _user(met[-1].st_uid, met) if met[-1].st_uid else None


def _met(path: str) -> tuple[list[os.stat_result], _files.Way | None]:
    """The directories on the way to a path and what it leads to; None for that where root may not go on.

    Then the last one is the directory of somebody else who alone may enter it. Raises OSError for everything else.
    """
    met: list[os.stat_result] = []
    entry: list[os.stat_result | None] = [None]

    def note(step: Step) -> None:
        met.append(step.info)
        entry[0] = step.entry

    try:
        way = _files.walk(path, note)
    except PermissionError:
        if entry[0] is None or not entry[0].st_uid:
            raise
        return [*met, entry[0]], None
    way.parent.close()
    return [*met, way.info], way


def _guard(owner: int) -> Callable[[Step], None]:
    """A guard for a walk: it raises Untrusted at a directory that anybody but root and ``owner`` may change."""

    def check(step: Step) -> None:
        info, entry = step.info, step.entry
        kept = (0, owner)
        if info.st_uid not in kept:
            raise _refused(step.path, info, owner)
        if entry is not None and info.st_mode & stat.S_ISVTX and entry.st_uid in kept:
            return  # (in /tmp and the like others can neither rename nor remove it)
        if _others_may_write(info, step.descriptor):
            raise _refused(step.path, info, owner)

    return check


def _others_may_write(info: os.stat_result, where: int | str) -> bool:
    """Whether others than the owner may write to a file (its path) or a directory (a descriptor), by mode or ACL."""
    if info.st_mode & stat.S_IWOTH:
        return True
    return bool(info.st_mode & stat.S_IWGRP) and not (_is_private(info) and not _has_acl(where))


def _is_private(info: os.stat_result) -> bool:
    """Whether a group is as good as the owner, without other members.

    That is the group of a user's own, of the same name (user private groups). For root it is ``root``, and Debian's
    ``staff``, whose members may write to /usr/local by policy and so are as good as root.
    """
    try:
        group, known = grp.getgrgid(info.st_gid), pwd.getpwuid(info.st_uid)
    except KeyError:
        return False
    own = group.gr_name == known.pw_name and known.pw_gid == info.st_gid
    staff = info.st_uid == 0 and group.gr_name == "staff"
    if not (own or staff) or set(group.gr_mem) - {known.pw_name}:
        return False
    # (gr_mem does not list whose first group it is; on some systems root's is that of halt and sync)
    first = {each.pw_uid for each in pwd.getpwall() if each.pw_gid == info.st_gid}
    return info.st_gid == 0 or not first - {info.st_uid}


def _has_acl(where: int | str) -> bool:
    """Whether there is an ACL, as far as that can be told; there is where it cannot."""
    try:
        if isinstance(where, str):
            return _ACL in os.listxattr(where)
        # (a descriptor of O_PATH has no attributes of its own: getxattr(2))
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=where)
        with _files.Directory(descriptor, "."):
            return _ACL in os.listxattr(descriptor)
    except OSError as error:
        return error.errno not in (errno.ENOTSUP, errno.ENOSYS)


def _refused(path: str, info: os.stat_result, owner: int) -> Untrusted:
    who = "root and %s" % _name(owner) if owner else "root"
    as_owner = "run as its owner (become_user %s), " % _name(owner) if owner else ""
    return Untrusted(
        "%s: expected that only %s may write there, found %s of %s: whoever else may write decides what root edits or "
        "runs. Nothing was written. Ways out: %smend the mode (chmod go-w) or the owner, or set trust_writers: true"
        % (path, who, stat.filemode(info.st_mode), _names(info), as_owner)
    )


def _differing(parts: list[tuple[str, os.stat_result]]) -> Untrusted:
    """The refusal of a tree whose parts have different owners."""
    told = ", ".join("%s of %s" % (path, _names(info)) for path, info in parts)
    me = os.geteuid()
    why = (
        "the work is done as %s, whom the interpreter, or what it imports from, belongs to; " % _name(me) if me else ""
    )
    more = "" if me else ", or set trust_writers: true"
    return Untrusted(
        "expected one owner, found %s: %sroot would mix one user's files with another's. Nothing was written. "
        "Ways out: mend the owner (chown), run as the owner (become_user)%s" % (told, why, more)
    )


def _names(info: os.stat_result) -> str:
    try:
        group = grp.getgrgid(info.st_gid).gr_name
    except KeyError:
        group = str(info.st_gid)
    return "%s:%s" % (_name(info.st_uid), group)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
