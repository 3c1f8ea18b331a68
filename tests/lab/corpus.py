# Edits made up for real Python files, put in and taken out again: each file must then be what it was, hash for hash.
from __future__ import annotations

import difflib
import hashlib
import os
import random
import shutil
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from module_utils import _engine

from lab import faults, packages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MOST = 400_000  # bytes; larger ones take seconds each and say no more


def campaign(top: Path, numbers: Iterable[int]) -> faults.Tally:
    """Edit files, which their numbers choose and the edits as well; the tally, which counts those that were edited."""
    found = sources()
    tally = faults.Tally()
    for number in numbers:
        choose = random.Random(number)  # noqa: S311 (a test that can be repeated)
        tally.add(_tried(top / "site", found[number % len(found)], choose, tally))
    return tally


def sources() -> list[Path]:
    """All Python files of the standard library and of what is installed here, in an order without a meaning."""
    paths = sysconfig.get_paths()
    roots = dict.fromkeys(Path(paths[key]).resolve() for key in ("stdlib", "purelib", "platlib"))
    found = {path for root in roots for path in root.rglob("*.py") if path.is_file()}
    kept = sorted(path for path in found if 0 < path.stat().st_size <= _MOST)
    random.Random(0).shuffle(kept)  # noqa: S311
    return kept


def _tried(site: Path, source: Path, choose: random.Random, tally: faults.Tally) -> Iterator[tuple[str, str]]:
    shutil.rmtree(site, ignore_errors=True)
    text = source.read_bytes()
    content = {"__init__.py": b"", "names.py": b"Thing = 1\n", "real.py": text}
    packages.install(site, "corpus", "1.0", {f"corpus/{name}": each for name, each in content.items()})
    path = site / "corpus" / "real.py"
    patches = _patches(text, choose)
    edited: list[dict[str, Any]] = []
    for patch in patches:
        result = _ask(site, [patch], edited, "present")
        if result.get("failed"):  # (what is there several times, what would not compile, ...)
            continue
        if result["changed"] == (path.read_bytes() == text) and not edited:
            yield "false success", f"{source}: {result['msg']}"
        edited += [patch] if result["changed"] else []
    if edited:
        tally.injected += 1
        again = _ask(site, edited, [], "present")
        if again.get("failed") or again["changed"]:
            yield "not converged", f"{source}: {again['msg']}"
        result = _ask(site, edited, [], "absent")
        if result.get("failed"):
            yield "false failure", f"{source}: {result['msg']}"
    if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(text).digest():
        yield "torn", f"{source}: not the bytes of before, with {len(edited)} edits"


def _ask(site: Path, patches: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], state: str) -> dict[str, Any]:
    request = {
        "operation": "patch",
        "path": str(site),
        "definitions": [*patches, *others],
        "name": [patch["name"] for patch in patches],
        "state": state,
        "timeout": 60.0,
        "by_root": os.geteuid() == 0,
    }
    return _engine.run(request)


def _patches(text: bytes, choose: random.Random) -> list[dict[str, Any]]:
    """One to three patches of a file, each with one edit of a random kind."""
    found = []
    for number in range(choose.randint(1, 3)):
        kind = choose.choice((_replace, _diff, _reexport))
        edit = kind(text, choose)
        if edit:
            found.append(
                {
                    "name": f"corpus_{number}",
                    "package": "corpus",
                    "versions": ">=1",
                    "file": "real.py",
                    "reason": "It can be undone.",
                    "upstream": "none",
                    "retire": "never",
                    "edits": [edit],
                }
            )
    return found


def _replace(text: bytes, choose: random.Random) -> dict[str, Any] | None:
    """A few whole lines, and a comment or a part of a line more."""
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    at = choose.randrange(len(lines))
    before = b"\n".join(lines[at : at + choose.randint(1, 4)])
    if not before.strip() or not before.isascii() or b"\0" in before:
        return None
    added = choose.choice(("  # edited", "\n# edited", " ", "\n"))
    return {"replace": {"before": before.decode(), "after": before.decode() + added}}


def _diff(text: bytes, choose: random.Random) -> dict[str, Any] | None:
    """Lines put in, taken out and changed at up to three places, as diff -u has it."""
    if b"\r" in text or b"\0" in text or b"\f" in text:
        return None
    try:
        before = text.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    after = list(before)
    for _place in range(choose.randint(1, 3)):
        at = choose.randrange(len(after))
        after[at : at + choose.randint(0, 1)] = choose.choice(([], ["# edited"], [after[at] + "  # edited"]))
        if not after:
            return None
    lines = [f"{line}\n" for line in before], [f"{line}\n" for line in after]
    if before[-1]:  # (no newline at the end; else there is an empty part behind the last one)
        return None
    lines[0].pop()
    if after[-1]:
        return None
    lines[1].pop()
    said = "".join(difflib.unified_diff(*lines, "a/real.py", "b/real.py"))
    return {"diff": said} if said else None


def _reexport(_text: bytes, _choose: random.Random) -> dict[str, Any] | None:
    return {"reexport": {"source": ".names", "names": ["Thing"]}}
