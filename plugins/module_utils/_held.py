# One distribution's files, held against what was recorded of them: what differs, and can we say why? Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever may write to an environment may have made its RECORD and its files: what is read of them is bounded.

Nothing outside of the environment is looked at, whatever RECORD lists. No directory is entered through a link. Files
are read in pieces, so that their size costs time and no memory.
"""

from __future__ import annotations

import os
import posixpath
import pwd
import re
import stat
from contextlib import suppress
from typing import Any, Iterable, Mapping, Sequence

from . import _differ, _environment, _evidence, _files, _git_objects, _records, _store, _walk
from ._differ import Budget, Wanted
from ._edits import ABSENT
from ._environment import Place
from ._errors import SitePatchError
from ._evidence import Look
from ._files import Directory
from ._fold import Tree
from ._git import Checkout
from ._records import Distribution
from ._store import Store
from ._trust import Trust
from ._walk import Blocked, Walk

KINDS = ("changed", "missing", "added", "declared", "untold")
UNDECLARED = KINDS[:3]

_TEXT = 1024 * 1024  # bytes of a text whose lines are counted
_HASHED = 64 * 1024 * 1024  # bytes of a file that is known to differ, and is hashed so that like ones can be told
_MOST_NAMES = 100_000  # of one directory
_MOST_ADDED = 10_000  # files of a distribution that RECORD does not list, and others may
_LONGEST_NOTE = 300  # characters
_BYTECODE = re.compile(r"\.py[co]\Z")
_OURS = re.compile(r"\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~\Z|%s\Z" % re.escape(_files.SUFFIX))  # backups; half-made
_SKIPPED = ("__pycache__", ".git")
# What installers add to a .dist-info behind RECORD's back, and what signs RECORD (PEP 376, 427, 610, 710).
_ADDED = ("INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "RECORD.p7s", "direct_url.json", "provenance_url.json")
_UV = ("uv_cache.json", "uv_build.json")
_TREE = Tree(
    "", lambda _name: None, lambda _name, _path: ABSENT
)  # (no edit is made, and none is undone but marked ones)


Table = Mapping[str, Mapping[str, Wanted]]
"""By directory and name, what was recorded."""


class Held:
    """What one distribution is found to be."""

    def __init__(
        self,
        distribution: Distribution,
        root: str,
        budget: Budget,
        trust: Trust,
        libraries: bool = False,
        looks: Mapping[str, Look] | None = None,
        copies: Sequence[str] = (),
    ) -> None:
        """``looks``: what the same call found out of files already, by path. ``copies``: as for ``_integrity``."""
        self.distribution = distribution
        self.root = root
        self.source: str | None = None
        self.checkout: Checkout | None = None
        self.budget = budget
        self.trust = trust
        self.libraries = libraries
        self._looks = looks or {}
        self._copies = copies
        self._stores: dict[str, Store] = {}
        self.looked = self.sizes_only = self.left_out = 0
        self.complete = True
        self.counts = dict.fromkeys(KINDS, 0)
        self.found: list[dict[str, Any]] = []
        self.reasons: list[str] = []

    def result(self) -> dict[str, Any]:
        """As site_patch_info returns it."""
        return {
            "distribution": self.distribution.name,
            "version": self.distribution.version,
            "path": self.root,
            "source": self.source,
            "reason": "; ".join(dict.fromkeys(self.reasons)) or None,
            "complete": self.complete,
            "files": self.looked,
            "sizes_only": self.sizes_only,
            "left_out": self.left_out,
            "counts": dict(self.counts),
            "found": self.found,
        }

    def stop(self, reason: str) -> None:
        """Say that not all was looked at, and why."""
        self.complete = False
        self.reasons.append("not all was looked at: " + reason)

    # --- directories

    def hold(self, top: str, table: Table, own: bool) -> None:
        """Hold all files of a table against it; ``own``: also tell of others in these directories, but for the top.

        Raises Spent, and OSError and SitePatchError where ``top`` cannot be opened.
        """
        owned = _owned(table)
        added: list[str] = []
        with Walk(_files.open_directory(top, self.trust.guard())) as walk:
            for directory in _walk.in_order(owned):
                files = table.get(directory, {})
                held = self._enter(walk, top, directory, files)
                if held is None:
                    continue
                for name, wanted in sorted(files.items()):
                    self.budget.check()
                    self._file(held, self._told(top, directory, name), name, wanted)
                if own and owned[directory]:
                    added += self._others(walk, directory, files, owned, _MOST_ADDED - len(added))
            for path in self._unclaimed(added):
                self.budget.check()
                self._added(walk, path)

    def _enter(self, walk: Walk, top: str, directory: str, table: Mapping[str, Wanted]) -> Directory | None:
        """A directory of the table; what becomes of its files where it cannot be entered is told."""
        try:
            held = walk.to(directory)
        except Blocked as blocked:
            self.stop("%s is %s, and nothing behind it was looked at" % (blocked.path, blocked.reason))
            path = self._told(top, blocked.path, "")
            if all(entry["path"] != _utf8(path) for entry in self.found):
                self._tell("changed", path, None, note=blocked.reason)
            return None
        except OSError as error:
            for name in sorted(table):
                self._tell("untold", self._told(top, directory, name), None, note=_said(error))
            return None
        if held is None:
            for name in sorted(table):
                self.looked += 1
                self._missing(self._told(top, directory, name), table[name])
        return held

    def _others(
        self, walk: Walk, directory: str, table: Mapping[str, Wanted], known: Iterable[str], most: int
    ) -> list[str]:
        """Files below a directory that the table does not have, at most so many; not in directories that it has."""
        found: list[str] = []
        waiting = [directory]
        while waiting:
            self.budget.check()
            where = waiting.pop()
            try:
                held = walk.to(where)
                names = _walk.listing(held, _MOST_NAMES) if held is not None else _walk.Listing((), whole=True)
            except (Blocked, OSError) as error:
                self.stop("%s: %s" % (where, _said(error)))
                continue
            if held is None:
                continue
            if not names.whole:
                self.stop("%s has more than %d entries" % (where, _MOST_NAMES))
            for name in names.names:
                path = where + "/" + name
                if (where == directory and name in table) or path in known or _is_left_out(where, name):
                    continue
                info = held.stat(name)
                if info is not None and stat.S_ISDIR(info.st_mode):
                    waiting.append(path)
                elif len(found) >= most:
                    self.stop("more than %d files that RECORD does not list" % _MOST_ADDED)
                    return found
                elif info is not None:
                    found.append(path)
        return found

    def _unclaimed(self, added: list[str]) -> list[str]:
        """Those of these files that no other distribution lists either."""
        left = set(added)
        infos = _environment.infos(self.root) if left else []
        for info in infos:
            self.budget.check()
            if left and info != self.distribution.info:
                with suppress(SitePatchError, OSError):
                    left.difference_update(_records.files(self.distribution._replace(info=info)) or ())
        return sorted(left, key=lambda path: path.split("/"))

    # --- files

    def _file(self, held: Directory, path: str, name: str, wanted: Wanted) -> None:
        """Hold one file against what was recorded."""
        self.looked += 1
        try:
            descriptor = held.open_file(name)
        except (FileNotFoundError, NotADirectoryError):
            dangling = held.stat(name)
            if dangling is None:
                self._missing(path, wanted)
            else:
                self._tell("changed", path, dangling, note="a link that leads to nothing", recorded=wanted.hexadecimal)
            return
        except (OSError, SitePatchError) as error:
            there = held.stat(name)
            if there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
                self._tell("changed", path, there, note=_differ.kind(there), recorded=wanted.hexadecimal)
            else:
                self._tell("untold", path, there, note=_said(error))
            return
        info = os.fstat(descriptor)
        try:
            same = _differ.is_same(descriptor, info, name, wanted, self.libraries, self.budget)
            if same is None:
                self.sizes_only += 1
            elif not same:
                self._changed(held, path, name, descriptor, wanted)
        except OSError as error:
            self._tell("untold", path, info, note=_said(error))
        finally:
            os.close(descriptor)

    def _changed(self, held: Directory, path: str, name: str, descriptor: int, wanted: Wanted) -> None:
        """Tell of a file that differs from what was recorded."""
        info = os.fstat(descriptor)
        digest = _differ.sha256(descriptor, info, self.budget) if info.st_size <= _HASHED else None
        text = os.pread(descriptor, _TEXT + 1, 0)
        text = text if len(text) <= _TEXT else b""
        recorded = wanted.hexadecimal
        more: dict[str, Any] = {"sha256": digest, "recorded": recorded}
        with suppress(OSError):
            more["note"] = "a link to %s" % os.readlink(name, dir_fd=held.descriptor)
        patches, kind = self._explained(path, digest, text)
        if kind == "changed" and path.startswith("../") and os.pread(descriptor, 2, 0) == b"#!":
            kind, more["note"] = "untold", "a script: installers rewrite its first line"
        if kind == "changed" and wanted.seconds == int(info.st_mtime) & 0xFFFFFFFF and wanted.size == info.st_size:
            kind, more["note"] = "untold", "git takes it for unchanged: a filter, as of git-lfs, may have made it"
        if kind == "changed" and text and b"\0" not in text and recorded:
            more.update(_differ.lines(self._original(path, recorded), text))
        self._tell(kind, path, info, patches=patches, **more)

    def _missing(self, path: str, wanted: Wanted) -> None:
        patches, kind = self._explained(path, _store.NOTHING, b"", "missing")
        self._tell(kind, path, None, recorded=wanted.hexadecimal, patches=patches)

    def _added(self, walk: Walk, path: str) -> None:
        """Tell of a file that no RECORD lists."""
        directory, _slash, name = path.rpartition("/")
        try:
            held = walk.to(directory)
            info = held.stat(name) if held is not None else None
            if held is None or info is None:
                return  # (it has gone since)
            if not stat.S_ISREG(info.st_mode):
                note = "a link to %s" % os.readlink(name, dir_fd=held.descriptor) if stat.S_ISLNK(info.st_mode) else ""
                self._tell("added", path, info, note=note or _differ.kind(info))
                return
            with held.file(name) as descriptor:
                digest = _differ.sha256(descriptor, info, self.budget) if info.st_size <= _HASHED else None
        except (Blocked, OSError) as error:
            self._tell("added", path, None, note=_said(error))
            return
        patches, kind = self._explained(path, digest, b"", "added")
        self._tell(kind, path, info, sha256=digest, patches=patches)

    # --- what we can say of it

    def _explained(self, path: str, digest: str | None, text: bytes, kind: str = "changed") -> tuple[list[str], str]:
        """The patches in a file; and its kind: declared where they, and nothing else, explain it."""
        whole = os.path.normpath(os.path.join(self.root, path))
        look = self._looks[whole] if whole in self._looks else self._look(path, text)
        if look is None or look.problem is not None or _store.sha(look.text.data) != digest:
            return [], kind
        return [listed.name for listed in look.listed], "declared" if look.integrity == "patched" else kind

    def _look(self, path: str, text: bytes) -> Look | None:
        """What the store, or a mark in its text, says of a file; None where neither says anything."""
        place = self._place(path)
        if place is None:
            return None
        try:
            facts = self._store(place.root).facts(place.relative)
        except (OSError, SitePatchError) as error:
            self.reasons.append("the store cannot be used: %s" % _said(error))
            return None
        if not facts and b"primus.patches" not in text:
            return None
        with suppress(OSError, SitePatchError):
            return _evidence.look(place, [self.distribution.name], (), _TREE, self._store(place.root), self.trust)
        return None

    def _original(self, path: str, recorded: str) -> bytes | None:
        if self.checkout is not None:
            return _git_objects.read(self.checkout, recorded)
        with suppress(OSError, SitePatchError):
            kept = self._store(self.root).original(recorded)
            if kept is not None:
                return kept
        return _differ.copied((os.path.join(copy, path) for copy in self._copies), recorded, _TEXT)

    def _place(self, path: str) -> Place | None:
        """Where a file is for the store: in a checkout, below the directory that has one."""
        whole = os.path.join(self.root, path)
        if self.source != "git":
            return Place(whole, self.root, path)
        root = os.path.dirname(whole)
        while (root + "/").startswith(self.root + "/"):
            if os.path.isdir(os.path.join(root, _store.DIRECTORY)):
                return Place(whole, root, os.path.relpath(whole, root))
            root = os.path.dirname(root)
        return None

    def _store(self, root: str) -> Store:
        if root not in self._stores:
            self._stores[root] = Store(root, self.trust.guard())
        return self._stores[root]

    def _told(self, top: str, directory: str, name: str) -> str:
        """A path as RECORD has it."""
        path = posixpath.join(directory, name) if name else directory
        return path if top == self.root else os.path.relpath(os.path.join(top, path), self.root)

    def _tell(self, kind: str, path: str, info: os.stat_result | None, note: str = "", **more: Any) -> None:
        """Count what was found, and list it while there is room for it."""
        self.counts[kind] += 1
        size = len(path) + len(note) + 400
        if self.budget.room < size:
            self.left_out += 1
            return
        self.budget.room -= size
        entry: dict[str, Any] = {
            "kind": kind,
            "path": _utf8(path),
            "size": info.st_size if info is not None else None,
            "owner": _owner(info.st_uid) if info is not None else None,
            "time": None,
            "sha256": None,
            "recorded": None,
            "lines_added": None,
            "lines_removed": None,
            "patches": [],
            "note": _utf8(note[:_LONGEST_NOTE]) or None,
        }
        if info is not None:  # (as in _survey.file: a package cache renews the ctime with each further link)
            entry["time"] = info.st_mtime if info.st_nlink > 1 else max(info.st_mtime, info.st_ctime)
        self.found.append({**entry, **more})


def _parts(directory: str) -> list[str]:
    return directory.split("/") if directory else []


def _owned(table: Table) -> dict[str, bool]:
    """The directories of a table and those above them; whether each is the distribution's own.

    One is where the distribution has files in it, or in a directory above; ``google`` of a namespace package is not.
    """
    found: dict[str, bool] = {}
    every = {"/".join(parts[:count]) for parts in map(_parts, table) for count in range(len(parts) + 1)}
    for directory in _walk.in_order(every):
        above = directory.rpartition("/")[0]
        found[directory] = bool(directory) and (directory in table or found.get(above, False))
    return found


def _is_left_out(directory: str, name: str) -> bool:
    """Whether a file that nobody lists is nobody's edit: bytecode, caches, backups, what installers add."""
    if name in _SKIPPED or _BYTECODE.search(name) or _OURS.search(name):
        return True
    return directory.endswith(".dist-info") and name in (*_ADDED, *_UV)


def _utf8(text: str) -> str:
    """A text as UTF-8 has it: a name of other bytes would end what says it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _said(error: Exception) -> str:
    """What an error says, without the path that is told beside it."""
    return str(getattr(error, "strerror", None) or error)


_NAMES: dict[int, str] = {}


def _owner(uid: int) -> str:
    if uid not in _NAMES:
        try:
            _NAMES[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            _NAMES[uid] = str(uid)
    return _NAMES[uid]
