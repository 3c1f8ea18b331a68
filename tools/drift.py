# The drift check behind ./dev drift: tries each patch of the catalogue on the releases of the package index.
"""Says per release whether a patch applies, and writes docs/CATALOGUE.md.

Each release from the last two before a patch's range to the newest is looked at: its wheel's own files, METADATA and
RECORD are fetched, and where the patch is pending it is applied, parsed and reverted again.

Exit status: 0, or 1 when a release in range neither takes the patch nor has it, or is a conflict.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import datetime as dt
import email
import itertools
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "plugins")]

from lab import members  # noqa: E402 (needs the line above)
from module_utils import _engine, _patch, _versions  # noqa: E402
from module_utils._catalogue import CATALOGUE  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402
from packaging.version import Version  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PAGE = ROOT / "docs" / "CATALOGUE.md"
BEFORE = 2  # releases looked at before the range begins
SUPPORTED = dt.timedelta(days=548)  # a release older than 18 months is nobody's reason to keep a patch


@dataclass(frozen=True)
class Verdict:
    """What became of one patch on one release."""

    release: members.Release
    word: str
    """native, applies, unsupported, conflict, missing."""
    why: str
    claimed: bool
    """Whether the patch claims this release: it is in ``versions`` or in ``applied_upstream``."""

    @property
    def wrong(self) -> bool:
        """Whether the patch and the release have drifted apart."""
        return self.word == "conflict" or (self.claimed and self.word not in ("native", "applies"))


def main() -> int:
    """Check the patches that the arguments name, print what was found, and write the page."""
    parser = argparse.ArgumentParser(prog="./dev drift", description=__doc__)
    parser.add_argument("name", nargs="*", help="patches to be checked (default: all, and the page is written)")
    parser.add_argument("--newest", type=int, metavar="N", help="after the range, look at the newest N releases only")
    options = parser.parse_args()
    chosen = [patch for patch in CATALOGUE if not options.name or patch["name"] in options.name]
    if unknown := set(options.name) - {patch["name"] for patch in chosen}:
        parser.error(f"unknown patch {', '.join(sorted(unknown))}")
    today = dt.datetime.now(dt.UTC).date()
    sections, wrong = [], False
    for patch in chosen:
        verdicts = check(patch, options.newest)
        sections.append(section(patch, verdicts, today))
        print(f"{patch['name']}: {retirement(verdicts, today)}")
        for group in groups(verdicts):
            print(f"    {span(group)}: {group[-1].word}{': ' if group[-1].why else ''}{group[-1].why}")
        for verdict in filter(lambda each: each.wrong, verdicts):
            wrong = True
            print(f"    DRIFT: {verdict.release.version} is claimed, and is {verdict.word}: {verdict.why}")
    if not options.name and options.newest is None:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(sections, today))
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return int(wrong)


def check(patch: Mapping[str, Any], newest: int | None = None) -> list[Verdict]:
    """Return the verdict on each release that is looked at, oldest first."""
    final = [each for each in members.releases(members.project_of(patch)) if is_final(each)]
    inside = [number for number, each in enumerate(final) if _versions.contains(patch["versions"], each.version)]
    if not inside:
        return []
    looked_at = final[max(0, inside[0] - BEFORE) :]
    if newest is not None:
        looked_at = [each for each in looked_at if each in final[: inside[-1] + 2] or each in final[-newest:]]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda each: judge(patch, each), looked_at))


def is_final(release: members.Release) -> bool:
    """Tell whether a release is no pre-release and no development release."""
    return not Version(release.version).is_prerelease


def judge(patch: Mapping[str, Any], release: members.Release) -> Verdict:
    """Try the patch on the release's own files: look, apply, parse, revert."""
    ranges = (patch["versions"], patch.get("applied_upstream"))
    claimed = any(_versions.contains(each, release.version) for each in ranges if each)
    with tempfile.TemporaryDirectory(prefix="primus-drift-") as name:
        site = members.tree(patch, release, Path(name, "site"))
        request = {"operation": "patch", "catalogue": [patch], "name": [patch["name"]], "path": str(site)}
        (found,) = _engine.run({**request, "operation": "info"})["patches"]
        why = re.sub(r"^\S+ (\S+|\(unknown version\)) in \S+: ", "", found["message"]).replace(str(site), "the wheel")
        if found["state"] != "pending":
            return Verdict(release, found["state"], why, claimed)
        files = [Path(each["path"]) for each in found["files"]]
        pristine = [content(file) for file in files]
        applied = _engine.run(request)
        if applied.get("failed"):
            return Verdict(release, "conflict", applied["msg"], claimed)
        try:
            for file in files:
                parse(file)
        except (SyntaxError, ValueError) as error:
            return Verdict(release, "conflict", f"the result does not parse: {error}", claimed)
        reverted = _engine.run({**request, "state": "absent"})
        if reverted.get("failed") or [content(file) for file in files] != pristine:
            return Verdict(release, "conflict", "revert does not give the original bytes back", claimed)
        return Verdict(release, "applies", "", claimed)


def content(file: Path) -> bytes | None:
    """Return what a file holds, None where there is none: a patch may add and delete files."""
    return file.read_bytes() if file.exists() else None


def parse(file: Path) -> None:
    """Read a patched file as Python or pip would. Raises SyntaxError and ValueError."""
    data = content(file)
    if data is not None and file.suffix == ".py":
        ast.parse(data)
    if data is not None and file.name == "METADATA":
        for requirement in email.message_from_bytes(data).get_all("Requires-Dist", ()):
            Requirement(requirement)


def groups(verdicts: Iterable[Verdict]) -> list[list[Verdict]]:
    """Return runs of releases that came out alike."""
    return [list(run) for _key, run in itertools.groupby(verdicts, key=lambda each: (each.word, each.wrong))]


def span(group: Sequence[Verdict]) -> str:
    """Return the releases of a group in words."""
    first, last = group[0].release.version, group[-1].release.version
    return first if len(group) == 1 else f"{first} to {last} ({len(group)} releases)"


def retirement(verdicts: Sequence[Verdict], today: dt.date) -> str:
    """Return what the rule on the page says of a patch."""
    if not verdicts:
        return "no release in range on the package index: ready to retire"
    needing = [each for each in verdicts if each.word not in ("native", "unsupported", "missing")]
    if not needing:
        return "ready to retire: no release looked at needs it"
    if verdicts[-1] in needing:
        return f"needed: the newest release, {verdicts[-1].release.version}, takes it"
    last = max(needing, key=lambda each: Version(each.release.version)).release
    uploads = [each.release.uploaded for each in needing if each.release.uploaded]
    if not uploads:
        return f"needed up to {last.version}; the package index tells no dates"
    due = max(uploads).date() + SUPPORTED
    words = f"the last release that needs it is {last.version} of {max(uploads).date()}"
    return f"ready to retire since {due}: {words}" if due <= today else f"needed until {due}: {words}"


def section(patch: Mapping[str, Any], verdicts: Sequence[Verdict], today: dt.date) -> str:
    """Return the part of the page on one patch."""
    rows = [
        f"| {span(group)} | {day(group[0])}{' to ' + day(group[-1]) if len(group) > 1 else ''} "
        f"| {group[-1].word} | {cell(group[-1].why)} |"
        for group in groups(verdicts)
    ]
    of = "package" if "package" in patch else "distribution"
    files = _patch.load(patch).files()
    facts = {
        of.capitalize(): f"`{patch[of]}` `{patch['versions']}`",
        "When": quoted(patch.get("when", ())),
        "Requires": quoted(patch.get("requires", ())),
        "File" if len(files) == 1 else "Files": quoted(files),
        "Revision": str(patch["revision"]),
        "Reason": patch["reason"],
        "Upstream": patch["upstream"],
        "Made by upstream in": f"`{patch['applied_upstream']}`" if "applied_upstream" in patch else "",
        "Retire": patch["retire"],
        "Retirement by the rule": retirement(verdicts, today),
    }
    lines = [f"## {patch['name']}", "", *(f"- {key}: {value}" for key, value in facts.items() if value), ""]
    project = members.project_of(patch)
    lines += [
        f"| releases of {project} | uploaded | verdict | found in the newest of them |",
        "|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines)


def quoted(texts: Iterable[str]) -> str:
    """Return texts in a line, as code."""
    return ", ".join(f"`{each}`" for each in texts)


def day(verdict: Verdict) -> str:
    """Return the day that a release was uploaded."""
    return str(verdict.release.uploaded.date()) if verdict.release.uploaded else "unknown"


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def page(sections: Sequence[str], today: dt.date) -> str:
    """Return the whole page."""
    return (
        f"""# The catalogue

Written by `./dev drift` on {today}; change the patches, not this page. How a patch is written is in
[PATCHES.md](PATCHES.md).

Each final release from the last two before a patch's range to the newest was looked at in its own wheel from the
package index: the files, METADATA and RECORD, byte for byte.

- **applies**: the patch was applied, the result parses, and reverting it gave the original bytes. What it `requires`,
  and what it is for (`when`), was there in the newest release that fits.
- **native**: upstream needs no patch there.
- **unsupported**: the patch does not support the release, and is refused.
- **conflict**: the release is in range and its text is not what the patch expects. This must not stay.

A patch is **ready to retire** when the newest release does not need it and 18 months have passed since the last
release that does was uploaded. Removing it is still a decision: nodes that carry it must be reverted first.

{chr(10).join(part + chr(10) for part in sections)}""".rstrip()
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
