# What ./dev release runs: all that is uploaded for a version, made from one commit.
"""Makes a release of the commit that is checked out: artifact, zipapp, SBOM (CycloneDX), release notes, SHA256SUMS.

The same commit gives the same bytes, wherever and whenever it is made. Refused are a working tree that differs from the
commit, a version of galaxy.yml that the changelog does not have, and a changelog that lacks a fragment.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import yaml
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import checkout, controller, pyz  # noqa: E402 (needs the line above)


def main() -> None:
    """Make it, and print its SHA256SUMS."""
    parser = argparse.ArgumentParser(
        prog="./dev release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "dist", help="default: dist, in the checkout")
    directory = parser.parse_args().directory
    galaxy = read("galaxy.yml")
    reason = why_not(galaxy["version"])
    if reason:
        sys.exit(f"no release: {reason}")
    artifact, zipapp = controller.build_artifact(directory), pyz.builder().build(directory)
    sbom, notes = (directory / f"primus-patches-{galaxy['version']}.{end}" for end in ("cdx.json", "md"))
    sbom.write_text(bill_of_materials(galaxy, artifact, zipapp))
    notes.write_text(section(galaxy["version"]))
    sums = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted((artifact, zipapp, sbom, notes)))
    (directory / "SHA256SUMS").write_text(sums)
    print(sums, end="")


def why_not(version: str) -> str:
    """Return why the checkout is not ready for a release of that version; empty when it is."""
    status = ("git", "-c", "safe.directory=*", "-C", ROOT, "status", "--porcelain", "--untracked-files=all")
    differs = subprocess.run(status, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    if differs:
        return f"expected a working tree as it was committed, found: {', '.join(differs)}. Commit or remove these"
    releases = read("changelogs/changelog.yaml")["releases"]
    if version not in releases or not section(version):
        return f"expected {version}, the version of galaxy.yml, in CHANGELOG.md; run ./dev changelog, and commit it"
    told = {
        str(text) for release in releases.values() for texts in release["changes"].values() for text in listed(texts)
    }
    for path in sorted((ROOT / "changelogs" / "fragments").glob("*.y*ml")):
        lacking = [text for said in read(path).values() for text in listed(said) if text not in told]
        if lacking:
            return f"expected all of {path.name} in the changelog, found none of: {lacking[0]!r}. Run ./dev changelog"
    return ""


def section(version: str) -> str:
    """Return what CHANGELOG.md says of a version, from its heading on; empty where it says nothing."""
    mark = "v" + version.replace(".", "-")
    found = re.search(rf'<a id="{mark}"></a>\n(.*?)(?=<a id="v\d|\Z)', (ROOT / "CHANGELOG.md").read_text(), re.DOTALL)
    return found[1].rstrip() + "\n" if found else ""


def bill_of_materials(galaxy: dict[str, Any], artifact: Path, zipapp: Path) -> str:
    """Return the SBOM, in CycloneDX's JSON: the two programs by their hashes, and what they need."""
    collection = made(ComponentType.LIBRARY, f"{galaxy['namespace']}.{galaxy['name']}", galaxy, artifact)
    command = made(ComponentType.APPLICATION, zipapp.name, galaxy, zipapp)
    core = Component(
        name="ansible-core",
        bom_ref="ansible-core",
        description=f"{read('meta/runtime.yml')['requires_ansible']}; needed on the controller, not part of this",
        purl=PackageURL("pypi", None, "ansible-core"),
        scope=ComponentScope.REQUIRED,
    )
    bom = Bom(
        components=[command, core],
        # (From what it is of, not by chance: the same commit has the same SBOM.)
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{galaxy['repository']}#{sha256(artifact)}-{sha256(zipapp)}"),
        metadata=BomMetaData(
            component=collection, timestamp=dt.datetime.fromtimestamp(checkout.source_date(ROOT), dt.UTC)
        ),
    )
    bom.register_dependency(collection, [core])
    bom.register_dependency(command)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


def made(kind: ComponentType, name: str, galaxy: dict[str, Any], path: Path) -> Component:
    """Return what the release has, as a component."""
    links = {ExternalReferenceType.SCM: galaxy["repository"], ExternalReferenceType.ISSUE_TRACKER: galaxy["issues"]}
    return Component(
        type=kind,
        name=name,
        version=galaxy["version"],
        bom_ref=path.name,
        description=galaxy["description"],
        licenses=[LicenseExpression(galaxy["license"][0])],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(path))],
        external_references=[ExternalReference(type=kind, url=XsUri(url)) for kind, url in links.items()],
    )


def listed(said: str | list[str]) -> list[str]:
    """Return the texts of one section of the changelog; a summary is one text."""
    return [said] if isinstance(said, str) else said


def read(path: str | Path) -> Any:
    """Return what a YAML file of the checkout holds."""
    return yaml.safe_load((ROOT / path).read_text())


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
