# Everything about a directory tree that a run may not touch: to be compared before and after.
from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def take(*roots: Path) -> dict[str, tuple[Any, ...]]:
    """Return, for each entry below the roots and for the roots, all that is known about it but its time of access."""
    return {path: _entry(path) for root in roots for path in _walk(str(root))}


def _walk(root: str) -> Iterator[str]:
    yield root
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            yield os.path.join(directory, name)


def _entry(path: str) -> tuple[Any, ...]:
    found = os.lstat(path)
    content: Any = None
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as stream:
            content = hashlib.sha256(stream.read()).hexdigest()
    elif stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in _names(path)}
    return (
        *(found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_size),
        *(found.st_mtime_ns, found.st_ctime_ns, content, tuple(sorted(attributes.items()))),
    )


def _names(path: str) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:  # (a file system without extended attributes)
        return []
