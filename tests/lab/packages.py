# Small installed packages, as an installer leaves them: files, a dist-info and its RECORD.
from __future__ import annotations

import base64
import csv
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(site: Path, files: Mapping[str, bytes | str]) -> None:
    """Write files (path below ``site``: content)."""
    for name, content in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def install(site: Path, distribution: str, version: str, files: Mapping[str, bytes | str]) -> Path:
    """Write the files of a distribution and its dist-info with RECORD below ``site``; return that dist-info."""
    write(site, files)
    dist_info = site / f"{distribution}-{version}.dist-info"
    rows = [f"{name},{recorded(site / name)}\n" for name in files]
    write(
        site,
        {
            f"{dist_info.name}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
            f"{dist_info.name}/RECORD": "".join([*rows, f"{dist_info.name}/RECORD,,\n"]),
        },
    )
    return dist_info


def at_start(site: Path, code: str) -> None:
    """Let Python run this code when it starts (Debian's own ``sitecustomize`` would shadow one of ours)."""
    write(site, {"lab_start.py": code, "lab_start.pth": "import lab_start\n"})


def recorded(path: Path) -> str:
    """Return hash and size of a file as RECORD has them."""
    content = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(content)}"


def listed(site: Path, name: str) -> str:
    """Return hash and size of a file as the RECORD below ``site`` has them that lists it."""
    rows = [row for path in site.glob("*.dist-info/RECORD") for row in csv.reader(path.read_text().splitlines())]
    (found,) = [f"{row[1]},{row[2]}" for row in rows if row[0] == name]
    return found
