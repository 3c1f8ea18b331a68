# What git says of two releases of a real package makes the older one's files the newer one's, byte for byte, and back.
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import wheels
from module_utils import _engine
from module_utils._edits import Text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Of each pair, what git must find in it, for the test to be about it.
PAIRS = [
    ("attr", "attrs", "22.1.0", "23.1.0", "new file mode"),
    ("packaging", "packaging", "21.3", "22.0", "new file mode"),
    ("click", "click", "7.1.2", "8.0.0", "deleted file mode"),
    ("idna", "idna", "2.10", "3.0", "@@"),
    ("tqdm", "tqdm", "4.40.0", "4.60.0", "new file mode"),
    ("urllib3", "urllib3", "1.26.18", "2.0.0", "rename from"),
]


@pytest.mark.parametrize("forward", [True, False], ids=["newer", "older"])
@pytest.mark.parametrize(("package", "project", "older", "newer", "said"), PAIRS)
def test_a_patch_of_all_files_makes_the_other_release_and_gives_the_first_one_back(
    tmp_path: Path, package: str, project: str, older: str, newer: str, said: str, *, forward: bool
) -> None:
    there, wanted = (older, newer) if forward else (newer, older)
    shutil.copytree(wheels.unpacked(project, there), tmp_path / "site")
    after = tree(wheels.unpacked(project, wanted) / package)
    diff = come_and_go(tmp_path, package, after)
    assert not forward or f"\n{said} " in diff


def test_a_diff_has_the_executable_bit_and_empty_files(tmp_path: Path) -> None:
    """Of real files; a wheel unpacked here has no modes that differ, so they are set."""
    shutil.copytree(wheels.unpacked("tqdm", "4.40.0"), tmp_path / "site")
    for file in (tmp_path / "site" / "tqdm").rglob("*cli.py"):
        file.chmod(0o755)
    after = tree(wheels.unpacked("tqdm", "4.60.0") / "tqdm")
    after = {file: text._replace(executable=file.endswith(("std.py", "asyncio.py"))) for file, text in after.items()}
    after["empty"] = Text(b"")
    diff = come_and_go(tmp_path, "tqdm", after)
    assert "\nnew mode 100755" in diff
    assert "\nnew file mode 100755" in diff


def come_and_go(top: Path, package: str, after: Mapping[str, Text]) -> str:
    """Apply git's diff to the package in ``top/site``, so that it is ``after``, and take it out; return the diff."""
    site = top / "site"
    everything, before = contents(site), tree(site / package)
    diff = git_diff(package, before, after, top / "diff")
    assert call(site, package, diff)["changed"]
    assert tree(site / package) == after
    assert [found["state"] for found in call(site, package, diff)["patches"]] == ["applied"]
    assert call(site, package, diff, state="absent")["changed"]
    assert (contents(site), tree(site / package)) == (everything, before)
    return diff


def tree(directory: Path) -> dict[str, Text]:
    """Return the text files of a package."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            data = path.read_bytes()
            if b"\0" not in data:
                found[path.relative_to(directory).as_posix()] = Text(data, bool(path.stat().st_mode & 0o100))
    return found


def git_diff(package: str, before: Mapping[str, Text], after: Mapping[str, Text], top: Path) -> str:
    """Return git's diff of two trees that are unpacked beside each other."""
    for name, files in (("old", before), ("new-one", after)):
        for file, text in files.items():
            path = top / name / package / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.data or b"")
            path.chmod(0o755 if text.executable else 0o644)
    command = ["git", "diff", "--no-index", "--no-color", "--find-renames", "--text", "old", "new-one"]
    done = subprocess.run(command, cwd=top, check=False, capture_output=True)
    assert not done.stderr
    return done.stdout.decode("utf-8", "surrogateescape")


def definition(package: str, diff: str) -> dict[str, Any]:
    return {
        "name": "two_versions",
        "package": package,
        "versions": "*",
        "reason": "The other release is wanted.",
        "upstream": "none",
        "retire": "never",
        "edits": [{"diff": diff}],
    }


def call(site: Path, package: str, diff: str, **more: Any) -> dict[str, Any]:
    result = _engine.run({"operation": "patch", "definitions": [definition(package, diff)], "path": str(site), **more})
    assert not result.get("failed"), result["msg"]
    return result


def contents(site: Path) -> dict[str, bytes]:
    """Return the contents of all files but the store's."""
    found = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    return {file: path.read_bytes() for file, path in found.items() if not file.startswith("primus-patches/")}
