# Undeclared edits: which distributions are held against RECORD or git's index, within which limits. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import resource
import site
import threading
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Sequence

from . import _environment, _files, _git, _records, _store
from ._differ import Budget, Spent, Wanted
from ._errors import SitePatchError
from ._evidence import Look
from ._held import Held
from ._records import Distribution
from ._trust import Trust

ALL, PATCHES = "all", "patches"

_MOST = 1000  # distributions: a controller takes as many (plugin_utils/_answer.py)
_ROOM = 400_000  # bytes that the entries of all results may take, about; one copy of many has 1 MiB for its answer
_CPU = 60.0  # seconds of the processor
_LOWEST = 19  # as nice(1) has it; the kernel derives the priority of reading from it (ionice(1))
_FOREIGN = {  # INSTALLER -> why its RECORD is no measure
    "debian": "Debian changed files after RECORD was written; debsums and dpkg --verify tell of them",
    "rpm": "rpm's build changed files after RECORD was written; rpm --verify tells of them",
}


class Named(NamedTuple):
    """One distribution that is to be looked at."""

    distribution: Distribution
    root: str
    """Real path of the directory on ``sys.path``."""
    others: tuple[str, ...] = ()
    """What else there claims to be it."""


def asked(request: Mapping[str, Any], looks: Sequence[Look], trust: Trust) -> list[dict[str, Any]]:
    """What a request of the engine asks for; raises as ``verify``. Half of its ``timeout`` is for the rest of it."""
    libraries = bool(request.get("integrity_libraries"))
    copies = request.get("copies") or []
    return verify(request["integrity"], request.get("path"), looks, trust, request["timeout"] / 2, libraries, copies)


def verify(
    wanted: Sequence[str],
    path: str | None = None,
    looks: Sequence[Look] = (),
    trust: Trust | None = None,
    seconds: float = 60.0,
    libraries: bool = False,
    copies: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Hold every file of these distributions against what was recorded of it; one result for each.

    ``wanted``: names, or ``all``, or ``patches``: those of the files in ``looks``, which the same call looked at for
    its patches: what they explain is known, also where no fact was written yet. ``path`` as for
    ``_environment.find``. ``seconds``: what is not looked at by then is told as such. ``libraries``: hash compiled
    libraries, too. ``copies``: other directories with packages, which may have the original of a file that was edited.
    Raises NoEnvironment where ``path`` is no directory, OSError where it cannot be told what is
    installed, and Belongs where this is another user's to look at.
    """
    trust = trust or Trust()
    found: list[dict[str, Any]] = []
    named = list(_named(wanted, path, looks, found))
    budget = Budget(seconds, _processor(), _ROOM)
    known = {os.path.normpath(os.path.join(look.place.root, look.place.relative)): look for look in looks}

    def held(each: Named) -> Held:
        return Held(each.distribution, each.root, budget, trust, libraries, known, copies)

    _at_low_priority(lambda: found.extend(_each(named[:_MOST], path, held)))
    if len(named) > _MOST:
        reason = "not all was looked at: %d of %d distributions" % (_MOST, len(named))
        found[_MOST - 1 :] = [_nothing("*", path, reason)]
    return found[:_MOST]


def _named(
    wanted: Sequence[str], path: str | None, looks: Iterable[Look], found: list[dict[str, Any]]
) -> Iterator[Named]:
    """The distributions that are meant, each once; in ``found`` a result for each name that nothing has."""
    entries = list(dict.fromkeys(map(os.path.realpath, _environment.entries(path))))
    seen: set[str] = set()
    for name in wanted:
        if name == PATCHES:
            owners = {look.distribution.info: look for look in looks if look.distribution is not None}
            places = [(info, look.place.root) for info, look in sorted(owners.items())]
        elif name == ALL:
            places = [(info, root) for root in entries for info in _environment.infos(root)]
        else:
            root = next((root for root in entries if _environment.infos(root, [name])), None)
            places = [(info, root) for info in _environment.infos(root, [name])] if root is not None else []
            if not places:
                found.append(_nothing(name, path, "cannot be told: no distribution of that name is installed there"))
        for info, root in places:
            real = os.path.realpath(info)
            if real not in seen:
                seen.add(real)
                distribution = Distribution(*_environment.identity(info), info)
                others = [each for each in _environment.infos(root, [distribution.name]) if each != info]
                yield Named(distribution, root, tuple(map(os.path.basename, others)))


def _nothing(name: str, path: str | None, reason: str) -> dict[str, Any]:
    held = Held(Distribution(name, None, ""), path or "", Budget(0, 0, 0), Trust())
    held.complete = False
    held.reasons.append(reason)
    return held.result()


def _each(named: Iterable[Named], path: str | None, new: Callable[[Named], Held]) -> Iterator[dict[str, Any]]:
    for each in named:
        held = new(each)
        try:
            held.budget.check()
            held.trust.check(each.root)
            _hold(held, each, path)
        except Spent as spent:
            held.stop(str(spent))
        except SitePatchError as error:
            held.complete = False
            held.reasons.append("cannot be told: %s" % error)
        except OSError as error:
            held.complete = False
            where = "%s: " % error.filename if error.filename else ""
            held.reasons.append("cannot be told: %s%s" % (where, error.strerror or error))
        yield held.result()


def _hold(held: Held, named: Named, path: str | None) -> None:
    """Hold a distribution against what was recorded of it, or say why that cannot be."""
    info = named.distribution.info
    reason = None
    source = _records.source_of(info)
    rows = _records.rows(named.distribution) if source is None else None
    installer = (_files.head(os.path.join(info, "INSTALLER"), 100) or b"").decode("ascii", "replace").strip().lower()
    if not installer and os.path.basename(named.root) == "dist-packages":  # (pip's own are in there, too)
        installer = "debian"
    if named.others:
        claims = ", ".join(sorted([os.path.basename(info), *named.others]))
        reason = "several claim to be it (%s), as after an upgrade that was interrupted: reinstall it" % claims
    elif source is not None:
        _hold_checkout(held, source)
    elif rows is None:
        reason = "no RECORD says what was installed"
    elif installer in _FOREIGN:
        reason = _FOREIGN[installer]
    else:
        held.source = "RECORD"
        _hold_rows(held, rows, _prefix(named.root, path is not None))
    if reason is not None:
        held.complete = False
        held.reasons.append("cannot be told: %s" % reason)


def _prefix(root: str, local: bool) -> str:
    """The directory below which RECORD may list files; of the user site it is the user base."""
    found = _environment.prefix(root, local)
    if found == root and not local and root == os.path.realpath(site.getusersitepackages()):
        return os.path.realpath(site.getuserbase())
    return found


def _hold_rows(held: Held, rows: Sequence[tuple[str, str, int | None]], prefix: str) -> None:
    inside: dict[str, dict[str, Wanted]] = {}
    outside: dict[str, dict[str, Wanted]] = {}
    strange = 0
    for relative, digest, size in rows:
        table, base = inside, relative
        if relative.endswith((".pyc", ".pyo")):
            continue
        if relative.startswith("../") and _store.is_below(relative):
            table, base = outside, os.path.relpath(os.path.normpath(os.path.join(held.root, relative)), prefix)
        if not _store.is_below(base) or base.startswith("../"):
            strange += 1
            continue
        directory, _slash, name = base.rpartition("/")
        # (RECORD cannot hold its own hash; INSTALLER see ``_records.rows``.)
        if digest or name not in ("RECORD", "INSTALLER") or not directory.endswith(".dist-info"):
            table.setdefault(directory, {})[name] = Wanted(digest, size)
    if strange:
        held.stop("%d files that RECORD lists lie outside of the environment" % strange)
    held.hold(held.root, inside, own=True)
    if outside:
        held.hold(prefix, outside, own=False)


def _hold_checkout(held: Held, source: str) -> None:
    """Hold the files of an editable distribution against git's index; what git does not know is not told."""
    checkout = _git.checkout(source)
    if checkout is None:
        held.complete = False
        held.reasons.append("cannot be told: it is installed in place from %s, and git does not vouch for it" % source)
        return
    held.source, held.root, held.checkout = "git", checkout.top, checkout
    below = os.path.relpath(source, checkout.top)
    start = "" if below == "." else below + "/"
    table: dict[str, dict[str, Wanted]] = {}
    for relative, entry in checkout.files.items():
        if relative.startswith(start) and _store.is_below(relative):
            directory, _slash, name = relative.rpartition("/")
            table.setdefault(directory, {})[name] = Wanted("git=" + entry.oid, entry.size, entry.seconds)
    held.hold(checkout.top, table, own=False)


def _processor() -> float:
    """Seconds of the processor that may be used: where this process has a limit, some are left for the answer."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_CPU)
    if soft == resource.RLIM_INFINITY:
        return _CPU
    used = resource.getrusage(resource.RUSAGE_SELF)
    return max(0.0, min(_CPU, (soft - used.ru_utime - used.ru_stime) * 0.7))


def _at_low_priority(work: Callable[[], None]) -> None:
    """Do the work in a thread that gives way to everything else on the node: Linux has a priority for each thread.

    The process itself keeps its own. Raises what the work raises.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        except OSError:
            pass
        try:
            work()
        except Exception as error:  # noqa: BLE001 (it goes up in the thread that waits)
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
