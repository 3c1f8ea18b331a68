# Single files of real wheels: what the package index offers of a project, and trees that hold just what a patch reads.
"""A wheel of Transformer Engine has 100 to 700 MB, of which a patch concerns three files: they are read by HTTP ranges.

The index is pip's own (``PIP_INDEX_URL``, pip's configuration, else the public one). An index that cannot serve ranges
costs a download of the whole wheel.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import shutil
import threading
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pypi_simple
import remotezip
import requests
from module_utils import _edits, _patch
from module_utils._diff import Diff
from module_utils._reexport import Reexport
from packaging.specifiers import SpecifierSet
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename
from packaging.version import InvalidVersion, Version

from lab import cache, wheels
from lab.index import pip_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

# Projects of the index that bring an import package, where the names differ. (What Transformer Engine's own project has
# are empty wheels that depend on this one.)
PROJECTS = {"transformer_engine": "transformer-engine-cu12"}

_local = threading.local()


@dataclass(frozen=True)
class Release:
    """One release of a project that has a wheel for this platform."""

    project: str
    version: str
    url: str
    sha256: str
    uploaded: dt.datetime | None


def project_of(patch: Mapping[str, Any]) -> str:
    """Return the project of the index that brings what ``patch``, as the catalogue has it, is of."""
    name = patch.get("distribution") or patch["package"]
    return PROJECTS.get(name) or re.sub("[_.]", "-", name)


@functools.cache
def releases(project: str) -> tuple[Release, ...]:
    """Return all releases of ``project`` with a wheel for this platform, oldest first. Nodes have yanked ones, too.

    A wheel for another Python than this one counts, too: it is read, not installed.
    """
    platforms = {tag.platform for tag in sys_tags()} | {"any"}
    found: dict[Version, Release] = {}
    settings = pip_settings()
    endpoint = settings.get("index-url", pypi_simple.PYPI_SIMPLE_ENDPOINT)
    with pypi_simple.PyPISimple(endpoint, session=_session()) as index:
        packages = index.get_project_page(project, timeout=60).packages
    for package in packages:
        if package.package_type != "wheel" or not package.version:
            continue
        try:
            version = Version(package.version)
        except InvalidVersion:
            continue
        if {tag.platform for tag in parse_wheel_filename(package.filename)[3]} & platforms:
            digest = package.digests.get("sha256", "")
            found[version] = Release(project, package.version, package.url, digest, package.upload_time)
    return tuple(found[version] for version in sorted(found))


def release(project: str, version: str) -> Release:
    """Return that release of ``project``; LookupError when the index has none."""
    for each in releases(project):
        if each.version == version:
            return each
    raise LookupError(f"the package index has no wheel of {project} {version} for this platform")


def needed(definition: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files, as paths in a wheel or patterns of them, that a patch of the catalogue may read."""
    patch = _patch.load(definition)
    directory = f"{patch.package.replace('.', '/')}/" if patch.package else ""
    if patch.package:
        yield from (f"{directory}{name}" for name in ("__init__.py", "version.py"))
    for edit in patch.edits:
        yield directory + edit.file
        if isinstance(edit, Diff) and edit.source:
            yield directory + edit.source
        if isinstance(edit, Reexport):
            level = len(edit.source) - len(edit.source.lstrip("."))
            parts = f"{directory}{edit.file}".split("/")[:-level] + edit.source.lstrip(".").split(".")
            yield f"{'/'.join(parts)}.py"
            yield f"{'/'.join(parts)}/__init__.py"


def files(release: Release, names: Iterable[str]) -> Path:
    """Return a directory with those files of the wheel that it has, and with its dist-info's METADATA and RECORD.

    A name may be a pattern, as in a patch. Fetched once, kept under the wheel's own hash. Treat it as read-only.
    """
    names = sorted(set(names))

    def fetch(directory: Path) -> None:
        try:
            with remotezip.RemoteZip(release.url, session=_session()) as archive:
                _extract(archive, names, directory)
        except (remotezip.RemoteZipError, requests.RequestException):
            shutil.rmtree(directory)
            directory.mkdir()
            with zipfile.ZipFile(wheels.wheel(release.project, release.version)) as archive:
                _extract(archive, names, directory)

    identity = release.sha256 or cache.digest(release.url)
    return cache.once("members", f"{release.project}-{release.version}-{cache.digest(identity, names)}", fetch)


def tree(patch: Mapping[str, Any], release: Release, destination: Path) -> Path:
    """Make ``destination`` a site-packages with what ``patch`` reads of the release, byte for byte, and return it.

    What the patch ``requires``, and what it is needed with (``when``), lies beside it: METADATA and RECORD of that
    project's newest release in range.
    """
    shutil.copytree(files(release, needed(patch)), destination, dirs_exist_ok=True)
    for requirement in (*patch.get("requires", ()), *patch.get("when", ())):
        name, specifiers = re.match(r"([\w.-]+)\s*(.*)", requirement).groups()
        fitting = [each for each in releases(name) if Version(each.version) in SpecifierSet(specifiers)]
        shutil.copytree(files(fitting[-1], ()), destination, dirs_exist_ok=True)
    return destination


def _extract(archive: zipfile.ZipFile, names: Iterable[str], directory: Path) -> None:
    present = set(archive.namelist())
    patterns = ["*.dist-info/METADATA", "*.dist-info/RECORD", *filter(_edits.is_pattern, names)]
    matching = {name for name in present for pattern in patterns if _edits.matches(pattern, name)}
    for name in sorted(present.intersection(names) | matching):
        archive.extract(name, directory)


def _session() -> requests.Session:
    """Return this thread's HTTP session, which trusts whom pip trusts."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        if certificates := pip_settings().get("cert"):
            _local.session.verify = certificates
    return _local.session
