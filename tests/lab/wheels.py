# Real wheels from the package index, the directories they unpack to, and their installation.
from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

from lab import cache
from lab.run import run

UV = str(Path(sys.executable).parent / "uv")
# pip, and uv in each of its link modes.
INSTALLERS = ("pip", "hardlink", "symlink", "copy")


def wheel(project: str, version: str) -> Path:
    """Return the path of the wheel of ``project`` at ``version``, downloaded once. Treat it as read-only."""

    def download(directory: Path) -> None:
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--dest", directory, f"{project}=={version}"),
        )

    (path,) = cache.once("wheels", f"{project}-{version}", download).glob("*.whl")
    return path


def unpacked(project: str, version: str) -> Path:
    """Return a site-packages with the whole wheel and nothing else, unpacked once. Treat it as read-only."""
    path = wheel(project, version)
    key = f"{project}-{version}-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"

    def unpack(directory: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(directory)

    return cache.once("unpacked", key, unpack)


def install(how: str, python: Path, project: str, version: str, *, again: bool = False) -> None:
    """Install a wheel for the interpreter ``python`` (``how``: one of :data:`INSTALLERS`); ``again``: over itself."""
    if how == "pip":
        command = [sys.executable, "-m", "pip", "--python", python, "install"]
        command += ["--force-reinstall"] if again else []
    else:
        command = [UV, "pip", "install", "--python", python, "--link-mode", how]
        command += ["--reinstall"] if again else []
    run(*command, "--no-index", "--no-deps", "--quiet", wheel(project, version))


def modeling_tree(version: str, destination: Path) -> Path:
    """Make ``destination`` a private site-packages with the top of Transformers, and return it.

    It holds the wheel's own ``transformers/*.py`` (``modeling_utils.py``, ``pytorch_utils.py`` and their siblings) and
    the dist-info, byte for byte; the sub-packages, which no patch here looks at, are left out, also of RECORD, because
    copying 3,000 files for each test is slow. Use :func:`whole_tree` to import it.
    """
    source = unpacked("transformers", version)
    package = destination / "transformers"
    package.mkdir(parents=True)
    for path in (source / "transformers").glob("*.py"):
        shutil.copy2(path, package)
    (dist_info,) = source.glob("transformers-*.dist-info")
    shutil.copytree(dist_info, destination / dist_info.name)
    record = destination / dist_info.name / "RECORD"
    rows = record.read_text(encoding="utf-8").splitlines(keepends=True)
    there = [row for row in rows if (destination / row.rsplit(",", 2)[0].strip('"')).exists()]
    record.write_text("".join(there), encoding="utf-8")
    return destination


def whole_tree(version: str, destination: Path) -> Path:
    """Make ``destination`` a private site-packages with everything of that Transformers wheel, and return it."""
    return shutil.copytree(unpacked("transformers", version), destination, symlinks=True, dirs_exist_ok=True)
