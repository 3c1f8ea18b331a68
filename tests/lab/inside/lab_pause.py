# Stops the engine on a node at a moment of its work, so that tests can interrupt it just there.
"""Loaded by a .pth file of the environment. What a file /run/pause-MOMENT names waits there until that is gone."""

from __future__ import annotations

import os
import time
from typing import Any


def at(moment: str) -> None:
    """Wait while this moment is to be waited at, having said so."""
    if moment and os.path.exists(f"/run/pause-{moment}"):
        with open(f"/run/reached-{moment}", "w"):
            pass
    while os.path.exists(f"/run/pause-{moment}"):
        time.sleep(0.02)


def install() -> None:
    """Pause around what a commit does: created, written, kept (the fact), rename, renamed, bytecode, compiled."""
    make, sync, move = os.open, os.fsync, os.rename

    def create(path: Any, flags: int, *arguments: Any, **where: Any) -> int:
        made = make(path, flags, *arguments, **where)
        if flags & os.O_CREAT and str(path).endswith("primus-tmp"):
            at("created")
        return made

    def fsync(descriptor: Any) -> None:
        at("written")
        sync(descriptor)

    def rename(source: Any, target: Any, **where: Any) -> None:
        moments = {".pyc": ("bytecode", "compiled"), ".json": ("", "kept"), ".py": ("rename", "renamed")}
        before, after = moments.get(os.path.splitext(str(target))[1], ("", ""))
        at(before)
        move(source, target, **where)
        at(after)

    os.open, os.fsync, os.rename = create, fsync, rename


if any(name.startswith("pause-") for name in os.listdir("/run")):
    install()
