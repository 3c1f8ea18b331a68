# Faults, races, hostile imports and a corpus of edits, each judged by what is then on the disk: ./dev faults.
"""Runs the whole campaign and, with --write, puts its table into docs/SECURITY.md.

    ./dev faults                                # all of it: two hours on two processors
    ./dev faults --every 5                      # each fifth fault: half an hour
    ./dev faults --only calls --every 50
    ./dev faults --only races --seconds 300

It needs Linux with seccomp and libseccomp, and no root; as root it does its work on root's files. Exit 1 where anything
was wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "plugins")]

from lab import corpus, faults, hostile, races, syscalls  # noqa: E402 (needs the line above)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PAGE = ROOT / "docs" / "SECURITY.md"
Tallies = dict[str, faults.Tally]
HEADS = {
    "torn": "torn files",
    "stale": "stale bytecode",
    "false success": "false successes",
    "false failure": "false failures",
    "left": "left behind",
    "not converged": "next run does not converge",
    "hung": "hangs",
}


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments name and print the table."""
    parser = argparse.ArgumentParser(
        prog="./dev faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}; default: all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th fault of calls; default: each")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each race; default: %(default)s")
    parser.add_argument("--files", type=int, default=10_000, help="of the corpus; default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="default: one for each processor")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if set(chosen) - set(PARTS):
        parser.error(f"--only takes some of {', '.join(PARTS)}")
    if "calls" in chosen and (reason := syscalls.missing()):
        sys.exit(f"./dev faults: {reason}")
    tallies: Tallies = {}
    for part in chosen:
        start = time.monotonic()
        found = PARTS[part](options)
        tallies.update(found)
        print(
            f"{part}: {sum(tally.injected for tally in found.values())} in {time.monotonic() - start:.0f} s", flush=True
        )
        for tally in found.values():
            print("".join(f"  {reason}\n" for reason in tally.reasons[:50]), end="", flush=True)
    lines = list(table(tallies))
    print("\n".join(lines))
    if options.write:
        write(lines, f"./dev faults {' '.join(arguments)}")
    return int(any(tally.found.total() for tally in tallies.values()))


def calls(options: argparse.Namespace) -> Tallies:
    """Every call on the file system with every error, shared out among the processors."""
    return merged(options.jobs, _calls, options.every)


def _calls(shard: int, shards: int, every: int) -> Tallies:
    with memory() as top:
        return faults.campaign(Path(top), faults.sample(every, shard, shards))


def race(options: argparse.Namespace) -> Tallies:
    """Writers and readers, without pip and with it."""
    found = {}
    for pip, name in ((False, "16 writers, some killed, 2 readers"), (True, "the same, and pip")):
        with tempfile.TemporaryDirectory(prefix="primus-races-") as top:
            found[name] = races.race(Path(top), options.seconds, pip=pip)
    return found


def imports(_options: argparse.Namespace) -> Tallies:
    """Hostile modules, one at a time: their limits are those of time."""
    with tempfile.TemporaryDirectory(prefix="primus-hostile-") as top:
        return {"hostile imports": hostile.campaign(Path(top))}


def files(options: argparse.Namespace) -> Tallies:
    """Edits of real files, put in and taken out."""
    return merged(options.jobs, _files, options.files)


def _files(shard: int, shards: int, count: int) -> Tallies:
    with memory() as top:
        return {"files edited and reverted": corpus.campaign(Path(top), range(shard, count, shards))}


PARTS = {"calls": calls, "races": race, "hostile": imports, "corpus": files}


def merged(jobs: int, work: Callable[[int, int, int], Tallies], argument: int) -> Tallies:
    """What so many processes find together."""
    found: Tallies = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        for job in [pool.submit(work, shard, jobs, argument) for shard in range(jobs)]:
            for name, tally in job.result().items():
                found.setdefault(name, faults.Tally()).merge(tally)
    return found


def memory() -> tempfile.TemporaryDirectory[str]:
    """A directory where syncing costs nothing, if there is one."""
    where = "/dev/shm"  # noqa: S108 (TemporaryDirectory makes names of its own)
    return tempfile.TemporaryDirectory(prefix="primus-faults-", dir=where if os.access(where, os.W_OK) else None)


def table(tallies: Tallies) -> Iterator[str]:
    """The table in Markdown, with a line for all."""
    total = faults.Tally()
    for tally in tallies.values():
        total.merge(tally)
    yield f"| | number | {' | '.join(HEADS.values())} |"
    yield f"|---|{'---:|' * (len(HEADS) + 1)}"
    for name, tally in {**tallies, "**all**": total}.items():
        yield f"| {name} | {tally.injected:,} | {' | '.join(str(tally.found[verdict]) for verdict in HEADS)} |"


def write(lines: Sequence[str], command: str) -> None:
    """Put the table between its marks."""
    who = "root" if os.geteuid() == 0 else "a user"
    kernel = platform.release().partition("-")[0]
    where = f"`{command.strip()}`, run as {who}, Python {platform.python_version()}, Linux {kernel}:"
    text = "\n".join(["<!-- faults -->", where, "", *lines, "<!-- /faults -->"])
    page, count = re.subn(r"<!-- faults -->.*<!-- /faults -->", lambda _match: text, PAGE.read_text(), flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{PAGE}: expected one pair of marks <!-- faults -->, found {count}")
    PAGE.write_text(page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
