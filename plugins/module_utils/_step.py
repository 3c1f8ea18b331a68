# One patch as it was found in an environment: its state, what is to be done with it, and the words for that.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports nothing of the engine: the controller tells with it what became of patches, without what finds that out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Sequence

if TYPE_CHECKING:
    from ._evidence import Look
    from ._patch import Patch

# What each wish does with a state.
PRESENT = {
    "native": "none",
    "unneeded": "none",
    "applied": "none",
    "pending": "apply",
    "outdated": "migrate",
    "unsupported": "refuse",
    "missing": "refuse",
    "conflict": "refuse",
}
ABSENT_ACTIONS = {"conflict": "refuse"}  # (everything else: revert where the patch is listed, none where it is not)
APPLIED = "revision %d"  # what is said of a patch that is there
DONE = {"apply": "applied", "migrate": "migrated", "revert": "reverted", "restore": "restored"}  # before: after
_WORST = ("pristine", "patched", "unknown", "foreign")


def found_in(title: str, version: str | None, directory: str) -> str:
    """How messages about a package, or a distribution, begin."""
    return "%s %s in %s: " % (title, version or "(unknown version)", directory)


class Step(NamedTuple):
    """One patch, as it was found in an environment and what is to be done with it."""

    patch: Patch
    state: str
    action: str
    """none, apply, migrate, revert, restore or skip; 'refuse' where the task must fail."""
    message: str
    version: str | None = None
    files: tuple[Look, ...] = ()
    """Those that the patch is for, and those in which it is listed."""
    revision: int | None = None
    """The one that is there."""

    @property
    def integrity(self) -> str | None:
        """The worst of the files'; None where there are none."""
        return max((look.integrity for look in self.files), key=_WORST.index, default=None)

    def result(self) -> dict[str, Any]:
        """The step as a module returns it."""
        return {
            "name": self.patch.name,
            "revision": self.patch.revision,
            "revision_found": self.revision,
            "state": self.state,
            "action": "none" if self.action == "refuse" else self.action,
            "integrity": self.integrity,
            "package": self.patch.package or self.patch.distribution,
            "version": self.version,
            "files": [{"path": look.place.path, "integrity": look.integrity} for look in self.files],
            "message": self.message,
        }

    def told(self, done: bool) -> str:
        """The step in one line that is true once the plan is carried out (``done``), or before."""
        if done and self.action in DONE:
            return "%s: %s (was %s: %s)" % (self.patch.name, DONE[self.action], self.state, self.message)
        what = {"none": "nothing to do", "skip": "passed over"}.get(self.action, "would " + self.action)
        return "%s: %s, %s: %s" % (self.patch.name, self.state, what, self.message)


def said(steps: Sequence[Step]) -> str:
    """How patches are, in one line."""
    return "; ".join("%s: %s: %s" % (step.patch.name, step.state, step.message) for step in steps)
