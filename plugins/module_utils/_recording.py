# What is asked about patches that are wanted (see _question), and leaving that in the store for the next call.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
import json
import os
import posixpath
from typing import Any, Mapping, Sequence

from . import _edits, _environment, _files, _patch, _question, _store
from ._patch import Patch
from ._store import Fact, Listed
from ._trust import Trust


def is_simple(patch: Patch) -> bool:
    """Whether the state of a patch follows from its own files alone, and those are known beforehand."""
    package = patch.package or ""
    ansibles = package.partition(".")[0] in ("ansible", "ansible_collections")  # (the module brings them along)
    several = any(map(_edits.is_pattern, patch.files()))
    return bool(package) and not (ansibles or several or patch.when or patch.requires)


def question(patches: Sequence[Patch]) -> dict[str, Any]:
    """What ``_question.installed`` is asked about patches that are simple; all but ``path``."""
    packages: dict[tuple[str, tuple[str, ...]], list[Any]] = {}
    for patch in patches:
        packages.setdefault(home(patch), []).append([patch.name, _asked_files(patch)])
    return {
        "store": _store.DIRECTORY,
        "facts": _store.FACTS,
        "suffix": _files.SUFFIX,
        **form(),
        "packages": [[package, list(names), asked] for (package, names), asked in packages.items()],
    }


def home(patch: Patch) -> tuple[str, tuple[str, ...]]:
    """What tells where a patch is at home: its package, and the distributions that this may be of."""
    package = str(patch.package)
    names = filter(None, (patch.distribution, package, package.partition(".")[0]))
    return package, tuple(sorted({_environment.normal(name) for name in names}))


def _asked_files(patch: Patch) -> list[tuple[str, str, str, str]]:
    """Each file of a patch: its path in the package, that from the root, the hash of that, the digest of its entry."""
    relatives = {file: posixpath.join(str(patch.package).replace(".", "/"), file) for file in patch.files()}
    return [
        (file, relative, _store.path_hash(relative), _digest(patch, file, tuple(sorted(relatives.values()))))
        for file, relative in relatives.items()
    ]


def _digest(patch: Patch, file: str, files: tuple[str, ...]) -> str:
    """The SHA-256 of how a fact of this file lists the patch, as JSON."""
    edits = patch.on(file)
    listed = Listed(patch.name, patch.revision, _patch.digest(edits), patch.after, _patch.stored(edits), files)
    return _store.sha(json.dumps(listed._asdict(), sort_keys=True).encode("ascii"))


@functools.lru_cache(maxsize=None)
def form() -> dict[str, Any]:
    """What a fact looks like, as the store writes one."""
    listed = Listed("", 1, "", (), [], ())
    fact = Fact("", "", "", False, False, ("", None, "", None), "", (listed,), (), "", "", "", "")
    written = json.loads(_store.dump(fact))
    shapes = {"fact": _question.shape(written), "listed": _question.shape(written["patches"][0])}
    return {"schema": _store.SCHEMA, **shapes}


def leave(request: Mapping[str, Any], patches: Sequence[Patch], trust: Trust) -> None:
    """Leave in the store that nothing is to be done now, and how that is known (see _recorded).

    Another look says so first, and the question is answered. Where it is not, that raises, and nothing is left.
    """
    from . import _commit, _engine, _outcome

    _question.need(all(map(is_simple, patches)))
    asked = {**question(patches), "path": request.get("path")}
    found = [_question.installed(asked, *package) for package in asked["packages"]]
    result = _engine.run({**request, "answer": None, "check_mode": True, "diff": False, "imports": []})
    _question.need(not result["changed"] and all(patch["state"] == "applied" for patch in result["patches"]))
    lines = _outcome.change(result, False).split("\n")[1:]  # (the first says where that is)
    record = {"asked": asked, "found": found, "lines": lines, "result": result}
    root = os.path.realpath(found[0][0])[: -len(str(patches[0].package)) - 1]
    files = [each["path"] for patch in result["patches"] for each in patch["files"]]
    _commit.leave(root, files, request["answer"], json.dumps(record).encode("ascii"), trust)
