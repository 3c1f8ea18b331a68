# What an audit asks of a patched file besides its state: owner, bytecode, other copies, old processes. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import grp
import importlib.util
import os
import pwd
import re
import shutil
import site
import stat
import struct
import sys
import sysconfig
import time
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from . import _environment, _files, _interpreter, _records, _storage

if TYPE_CHECKING:
    from ._step import Step

_MODES = {0b00: "timestamp", 0b01: "unchecked-hash", 0b11: "checked-hash"}  # by the flags of a .pyc (PEP 552)
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD (linux/sched.h)
_COMMAND = 200  # characters


def details(step: Step, path: str | None) -> dict[str, Any]:
    """What site_patch_info tells besides of a patch that was looked for at ``path``, as for ``_environment.find``."""
    patch = step.patch
    package = _environment.find(patch.package, path) if patch.package else None
    # (of a package whose files cannot be told apart, as two distributions claim them, the step has none)
    places = [_environment.place(package, "__init__.py")] if package else [look.place for look in step.files]
    names = [patch.distribution or str(patch.package).split(".", 1)[0]]
    return {
        "others": others(package, patch.distribution) if package else [],
        "distributions": distributions(places[0].root, names) if places else [],
    }


def file_details(path: str) -> dict[str, Any]:
    """What site_patch_info tells besides of one file of a patch; see ``file`` and ``bytecode``."""
    return {"file": file(path), "bytecode": bytecode(path)}


def old_processes(steps: Sequence[Step]) -> dict[str, Any]:
    """Processes that started before the last file of one of these patches came; see ``processes``."""
    changed: dict[str, float] = {}
    for step in steps:
        if step.revision is not None:
            found = filter(None, (file(look.place.path) for look in step.files if look.there))
            times = [each["changed"] for each in found]
            if times:
                changed[step.patch.name] = max(times)
    return processes(changed)


def file(path: str) -> dict[str, Any] | None:
    """What the file is like, links followed; None where there is none, or none that this user can reach.

    ``owner`` and ``group`` (names, else numbers as text), ``mode`` (octal text), ``links`` (how many hard links),
    ``filesystem`` (its kind), ``link`` (what a symbolic link finally leads to) and ``changed``: the seconds since the
    epoch at which its bytes may last have changed. That is the ctime, which nobody can set back (inode(7)), but for a
    file with several hard links the mtime, as a package cache renews the ctime with each further link.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    try:
        mount = _storage.mount_of(os.path.dirname(path))
    except OSError:
        mount = None
    return {
        "owner": _name(pwd.getpwuid, found.st_uid),
        "group": _name(grp.getgrgid, found.st_gid),
        "mode": "%04o" % stat.S_IMODE(found.st_mode),
        "links": found.st_nlink,
        "filesystem": mount.kind if mount else None,
        "changed": found.st_mtime if found.st_nlink > 1 else max(found.st_mtime, found.st_ctime),
        "link": os.path.realpath(path) if os.path.islink(path) else None,
    }


def bytecode(path: str) -> list[dict[str, Any]]:
    """The .pyc files beside a module, of all interpreters and optimisation levels (PEP 3147, PEP 488), by path.

    Each: ``path``, ``ours`` (whether it is this interpreter's), ``mode`` (timestamp, checked-hash, unchecked-hash as in
    PEP 552, or unknown) and ``fresh``: whether it was made of the source as it is; None where that cannot be told.
    """
    directory, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    cache = os.path.join(directory, "__pycache__")
    try:
        names = sorted(os.listdir(cache)) if extension == ".py" else []
    except OSError:
        names = []
    found: list[dict[str, Any]] = []
    for name in names:
        match = re.fullmatch(r"%s\.([^.]+)(?:\..+)?\.pyc" % re.escape(stem), name)
        if match is not None:
            mode, fresh = _made_of(os.path.join(cache, name), path)
            ours = match[1] == sys.implementation.cache_tag
            found.append({"path": os.path.join(cache, name), "mode": mode, "fresh": fresh, "ours": ours})
    return found


def others(package: _environment.Package, distribution: str | None) -> list[dict[str, Any]]:
    """Further copies of the package on this interpreter's ``sys.path``, in its order: they shadow, or are shadowed.

    Each: ``path`` (the package's directory there), ``version`` (None where nothing tells) and ``where`` (user site or
    sys.path). Of a package that was looked for in a directory, or whose parts may lie in several (a namespace package,
    PEP 420), there are none.
    """
    if package.local or not package.regular:
        return []
    seen = {os.path.realpath(package.directories[0])}
    names = list(filter(None, (distribution, package.name, package.name.split(".", 1)[0])))
    user_site = os.path.realpath(site.getusersitepackages())
    found: list[dict[str, Any]] = []
    for entry in map(os.path.abspath, sys.path):
        directory = os.path.join(entry, *package.name.split("."))
        real, init = os.path.realpath(directory), os.path.join(directory, "__init__.py")
        try:
            if real in seen or _files.kind(init) != "file":
                continue
        except OSError:  # (a directory on sys.path that this user may not enter: Python passes it over, too)
            continue
        seen.add(real)
        copy = _environment.Package(package.name, (directory,), regular=True, local=True)
        try:
            version = _records.version(_environment.place(copy, "__init__.py"), directory, names)
        except Exception:  # noqa: BLE001 (whatever is wrong with another copy, this one can be told of all the same)
            version = None
        below = (os.path.realpath(entry) + os.sep).startswith(user_site + os.sep)
        found.append({"path": directory, "version": version, "where": "user site" if below else "sys.path"})
    return found


def distributions(root: str, names: Sequence[str]) -> list[str]:
    """Names and versions of the distributions of these ``names`` in a directory: several tell of a broken upgrade."""
    return sorted(" ".join(filter(None, found[:2])) for found in _records.distributions(root, names))


def processes(changed: Mapping[str, float], proc: str = "/proc") -> dict[str, Any]:
    """Processes of this environment that started before a patched file changed: they may run what was there before.

    ``changed``: names of patches, and when the file of each changed (seconds since the epoch). Returns ``candidates``,
    by pid, each with ``pid``, ``user``, ``age`` (seconds), ``command`` and ``patches`` (those that came after it); and
    ``unreadable``: how many older processes this user may not look at (ptrace(2), PTRACE_MODE_READ). This process and
    its ancestors are left out; a process counts from its fork on, as an older one's child that came later does.
    Nothing is done to a process but to read of it in ``proc``.
    """
    candidates: list[dict[str, Any]] = []
    unreadable = 0
    now = time.time()
    boot = now - time.clock_gettime(time.CLOCK_BOOTTIME)
    binary = os.path.realpath(sys.executable or "/")
    try:
        own = os.stat(binary)
        pids = sorted(int(name) for name in os.listdir(proc) if name.isdigit()) if changed else []
    except OSError:
        pids = []
    lineage = _lineage(proc, boot) if pids else set()
    for pid in pids:
        where = "%s/%d" % (proc, pid)
        try:
            comm, runs, _parent, started = _process(where, boot)
            patches = [name for name, when in changed.items() if started < when]
            if not patches or not runs or pid in lineage:
                continue
            found = os.stat(where + "/exe")  # (the file itself, in whatever container: proc_pid_exe(5))
            replaced = found.st_dev == own.st_dev and os.readlink(where + "/exe") == binary + " (deleted)"
            if not os.path.samestat(found, own) and not replaced:
                continue
            command = _bytes(where + "/cmdline").rstrip(b"\0")
            user = _name(pwd.getpwuid, os.stat(where).st_uid)
        except (FileNotFoundError, ProcessLookupError):  # (it has ended meanwhile)
            continue
        except OSError:
            unreadable += 1
            continue
        if _is_ours(where, os.fsdecode(command.split(b"\0")[0]), own):
            text = (command.replace(b"\0", b" ") or b"[%s]" % comm).decode("utf-8", "backslashreplace")[:_COMMAND]
            age = round(now - started)
            candidates.append({"pid": pid, "user": user, "age": age, "command": text, "patches": patches})
    return {"candidates": candidates, "unreadable": unreadable}


def _made_of(compiled: str, source: str) -> tuple[str, bool | None]:
    """The invalidation mode of a .pyc file, and whether the source is as it was then."""
    mode = "unknown"
    try:
        header = _files.head(compiled, 16) or b""  # magic number, flags; mtime and size, or hash (PEP 552)
        if len(header) == 16:
            mode = _MODES.get(int.from_bytes(header[4:8], "little"), "unknown")
        if mode == "timestamp":
            made = os.stat(source)
            key = struct.pack("<II", int(made.st_mtime) & 0xFFFFFFFF, made.st_size & 0xFFFFFFFF)
        elif mode != "unknown" and header[:4] == importlib.util.MAGIC_NUMBER:  # (which is the key of the hash, too)
            key = importlib.util.source_hash(_bytes(source))
        else:
            return mode, None
    except OSError:
        return mode, None
    return mode, header[8:] == key


def _process(where: str, boot: float) -> tuple[bytes, bool, int, float]:
    """Name, whether it is a program (no kernel thread, no zombie), parent, start (epoch): proc_pid_stat(5)."""
    before, _paren, after = _bytes(where + "/stat").rpartition(b")")  # (the name may hold some)
    fields = after.split()  # from the third one on
    runs = fields[0] not in (b"Z", b"X") and not int(fields[6]) & _KERNEL_THREAD
    return before.partition(b"(")[2], runs, int(fields[1]), boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _bytes(path: str) -> bytes:
    """The beginning of a file. Raises OSError, also for one that is gone."""
    text = _files.head(path, _files.MAX_BYTES)
    if text is None:
        raise ProcessLookupError(path)
    return text


def _lineage(proc: str, boot: float) -> set[int]:
    """This process and its ancestors, as far as they can be seen."""
    found: set[int] = set()
    pid = os.getpid()
    while pid and pid not in found:
        found.add(pid)
        try:
            pid = _process("%s/%d" % (proc, pid), boot)[2]
        except OSError:
            break
    return found


def _is_ours(where: str, started_as: str, own: os.stat_result) -> bool:
    """Whether a process with this interpreter's binary runs in this environment; several may share the binary."""
    python = _python(where, started_as, own)
    if python is not None:
        return _interpreter.is_this(python)
    # Its title was changed (ray, vllm): modules that are no text are mapped files.
    try:
        maps = _bytes(where + "/maps")
    except OSError:
        return True
    libraries = {os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return any(os.fsencode(" %s/" % library) in maps for library in libraries)


def _python(where: str, started_as: str, own: os.stat_result) -> str | None:
    """The path of the interpreter that a process was started as, where its first argument still tells."""
    try:
        cwd = os.readlink(where + "/cwd")
        path: str | None = os.path.abspath(os.path.join(cwd, started_as))
        if os.sep not in started_as:
            environment = dict(item.partition(b"=")[::2] for item in _bytes(where + "/environ").split(b"\0"))
            entries = os.fsdecode(environment.get(b"PATH", b"")).split(os.pathsep)
            path = shutil.which(started_as, path=os.pathsep.join(os.path.join(cwd, entry) for entry in entries))
        return path if path and os.path.samestat(os.stat(path), own) else None
    except OSError:
        return None


def _name(look_up: Callable[[int], Sequence[Any]], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
