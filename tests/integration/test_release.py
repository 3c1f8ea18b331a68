# A release: made of a commit that is ready for it and of nothing else, the same bytes each time; and what is installed
# to make it, pinned.
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from lab import checkout, controller, cores, index
from lab.run import run
from packaging.requirements import Requirement
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCKS = controller.ROOT / "tests" / "locks"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return checkout.repository(tmp_path / "repository")


def release(root: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of a checkout; it is a part of what is released."""
    command = (sys.executable, "-B", root / "tools" / "release.py", directory)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_two_clones_of_a_commit_give_the_same_release(clone: Path, tmp_path: Path) -> None:
    run("bash", "-c", 'umask 077; git clone --quiet "$0" "$1"', clone, tmp_path / "elsewhere" / "clone")
    for path in clone.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    found = []
    for root in (clone, tmp_path / "elsewhere" / "clone"):
        made = release(root, tmp_path / "made" / root.name)
        assert made.returncode == 0, made.stderr
        found.append({path.name: path.read_bytes() for path in (tmp_path / "made" / root.name).iterdir()})
    assert found[0] == found[1]
    version = yaml.safe_load((clone / "galaxy.yml").read_text())["version"]
    files = [f"primus-patches-{version}.{end}" for end in ("cdx.json", "md", "tar.gz")]
    assert sorted(found[0]) == ["SHA256SUMS", *files, "primus-patches.pyz"]
    directory = tmp_path / "made" / "repository"
    assert run("bash", "-c", 'cd "$0" && sha256sum --check --strict SHA256SUMS', directory).count(": OK\n") == 4

    sbom = (directory / files[0]).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom) is None
    told = json.loads(sbom)
    components = {each["bom-ref"]: each for each in (told["metadata"]["component"], *told["components"])}
    assert components.pop("ansible-core")["purl"] == "pkg:pypi/ansible-core"
    sums = dict(reversed(line.split()) for line in (directory / "SHA256SUMS").read_text().splitlines())
    of = {name: each["hashes"] for name, each in components.items()}
    assert of == {name: [{"alg": "SHA-256", "content": sums[name]}] for name in (files[2], "primus-patches.pyz")}

    notes = (directory / files[1]).read_text()
    assert notes.startswith(f"## v{version.replace('.', chr(92) + '.')}\n")
    assert notes.rstrip() in (clone / "CHANGELOG.md").read_text()
    assert len(re.findall(r"^## v", notes, re.MULTILINE)) == 1


def test_what_is_not_ready_is_no_release(clone: Path, tmp_path: Path) -> None:
    def told(*names: str) -> str:
        made = release(clone, tmp_path / "made")
        assert (made.returncode, made.stdout, (tmp_path / "made").exists()) == (1, "", False)
        assert all(name in made.stderr for name in names), made.stderr
        return made.stderr.removeprefix("no release: expected ")

    def write(name: str, text: str) -> None:
        (clone / name).write_text(text)
        checkout.commit(clone)

    (clone / "notes.txt").touch()
    assert told("notes.txt").startswith("a working tree as it was committed, found: ")
    write("changelogs/fragments/new.yml", "bugfixes:\n  - site_patch - something is mended.\n")
    assert told("site_patch - something").startswith("all of new.yml in the changelog, found none of: ")
    write(
        "galaxy.yml", re.sub("^version: .*", "version: 99.0.0", (clone / "galaxy.yml").read_text(), flags=re.MULTILINE)
    )
    assert told("./dev changelog").startswith("99.0.0, the version of galaxy.yml, in CHANGELOG.md")


def pinned(name: str) -> Iterator[tuple[Requirement, Version]]:
    """Yield what a file pins; each must have a hash, and no address of an index."""
    text = (LOCKS / name).read_text()
    assert "://" not in text
    for entry in text.replace("\\\n", "").splitlines():
        if not entry.startswith("#"):
            asked, *hashes = entry.split(" --hash=")
            requirement = Requirement(asked.strip())
            (specifier,) = requirement.specifier
            assert (specifier.operator, bool(hashes)) == ("==", True), entry
            assert all(re.fullmatch("sha256:[0-9a-f]{64}", each.strip()) for each in hashes), entry
            yield requirement, Version(specifier.version)


def test_the_locks_pin_what_is_asked_for(tmp_path: Path) -> None:
    """With --no-deps, pip takes their word for it; so uv is asked whether they hold together, and are all."""
    lines = [line.partition("#")[0].strip() for line in (LOCKS.parent / "requirements.txt").read_text().splitlines()]
    asked = [Requirement(line) for line in lines if line and not line.startswith("ansible-core")]
    tools = {requirement.name: version for requirement, version in pinned("tools.txt")}
    assert "ansible-core" not in tools
    assert [str(each) for each in asked if tools.get(each.name) not in each.specifier] == []
    settings = index.pip_settings().get("index-url")
    for core in cores.SUPPORTED:
        ((requirement, version),) = pinned(f"ansible-core-{core}.txt")
        assert requirement.name == "ansible-core"
        assert version in Requirement(cores.requirement(core)).specifier
        together = tmp_path / f"{core}.txt"
        shutil.copyfile(LOCKS / "tools.txt", together)
        with together.open("a") as file:
            file.write((LOCKS / f"ansible-core-{core}.txt").read_text())
        command = [controller.tool("uv"), "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
        command += ["--python-version", cores.SUPPORTED[core][0], "--no-annotate", "--no-header"]
        command += ["--default-index", settings] * bool(settings)
        resolved = run(*command, together)
        names = set(re.findall(r"^([a-z0-9._-]+)==", resolved, re.MULTILINE))
        assert names == {*tools, "ansible-core"}
