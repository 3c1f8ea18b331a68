# Makes tests/data/VERSION, once, of a version that is released: a patched environment and a report.
"""Run it from the checkout: ``.venv/bin/python tests/data/make.py``. tests/integration/test_compatibility.py reads it.

In ``VERSION``: ``environment.json`` has each file below a site-packages as text, or in base64, with its mode (as files
they would be linted, and git passes over a store); ``definitions.json`` and ``limit.patch`` are the patches that were
applied; ``report.json`` and ``report.prom`` are the report of an audit.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent
sys.path[:0] = [str(DATA.parent), str(DATA.parents[1] / "plugins")]

from lab import controller, environments, interpreters, packages, pyz  # noqa: E402 (needs the line above)
from module_utils import _store  # noqa: E402

FILES = {**pyz.FILES, "acme/core.py": "class Circle:\n    pass\n", "acme/old.py": "OLD = 1\n"}
# One file by two patches, a new file in a new directory, a deleted one, and metadata of the distribution.
DEFINITIONS: list[dict[str, Any]] = [
    {
        "name": "circle_name",
        "package": "acme",
        "versions": ">=2.3,<3",
        "file": "api.py",
        "reason": "Version 2 moved Circle to acme.core.",
        "upstream": "none",
        "retire": "never",
        "edits": [
            {"replace": {"before": "radius**2", "after": "radius * radius"}},
            {"file": "other.py", "reexport": {"source": ".core", "names": ["Circle"]}},
        ],
    },
    {
        "name": "new_files",
        "package": "acme",
        "versions": ">=2.3,<3",
        "reason": "Ours is newer.",
        "upstream": "none",
        "retire": "never",
        "edits": [
            {"file": "new/deep/module.py", "write": {"content": "NEW = 1\n", "replaces": "absent"}},
            {"file": "old.py", "delete": {}},
        ],
    },
    {
        "name": "summary",
        "distribution": "acme",
        "versions": ">=2.3,<3",
        "file": "acme-2.3.0.dist-info/METADATA",
        "reason": "It has none.",
        "upstream": "none",
        "retire": "never",
        "edits": [{"replace": {"before": "Name: acme", "after": "Name: acme\nSummary: patched"}}],
    },
]


def main() -> None:
    """Make it."""
    version = _store.TOOL
    to = DATA / version
    if to.exists():
        sys.exit(f"{to} is there: what a version wrote stays as it is")
    # (A fixed place: the report names it.)
    place = Path(tempfile.gettempdir(), f"primus-patches-{version}")
    place.mkdir()
    try:
        (place / "patches").mkdir()
        patch = pyz.patch(place / "patches")
        write(place, patch, to)
    finally:
        shutil.rmtree(place)


def write(place: Path, patch: Path, to: Path) -> None:
    """Patch one environment of three nodes, audit them all, and keep what that left."""
    sites = [site(place / name) for name in ("gpu001", "gpu002")]
    controller.install_artifact(controller.build_artifact(place / "artifact"), place / "collections")
    play = controller.Controller(place / "controller", place / "collections").playbook
    local = {"ansible_connection": "local", "ansible_python_interpreter": str(interpreters.system())}
    nodes = {path.name: {**local, "megatron_bridge_pythons": [f"{path}/bin/python"]} for path in place.glob("gpu*")}
    nodes["gpu003"] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = {"all": {"hosts": nodes}}
    variables: dict[str, Any] = {
        "megatron_bridge_patches": [],
        "megatron_bridge_patch_files": [str(patch)],
        "megatron_bridge_imports": ["acme.api"],
    }
    setup, audit = "primus.patches.setup_primus", "primus.patches.audit_primus"
    # (First one patch alone: then a fact of what is no longer there is kept as well.)
    play(setup, "--limit", "gpu001", inventory=inventory, variables=variables).exits(0)
    variables["megatron_bridge_definitions"] = DEFINITIONS
    play(setup, "--limit", "gpu001", inventory=inventory, variables=variables).exits(0)
    with (sites[1] / "acme" / "core.py").open("a") as edited:
        edited.write("# Somebody was here.\n")
    report = {"megatron_bridge_report_dir": str(place / "report")}
    play(audit, inventory=inventory, variables={**variables, **report}).exits(4)
    to.mkdir()
    for path in (patch, place / "report" / "report.json", place / "report" / "report.prom"):
        (to / path.name).write_text(anonymous(path.read_text()))
    (to / "definitions.json").write_text(json.dumps(DEFINITIONS, indent=1) + "\n")
    (to / "environment.json").write_text(json.dumps(kept(sites[0]), indent=1) + "\n")


def site(directory: Path) -> Path:
    """Make an environment with ``acme``, and return its site-packages."""
    path = environments.site_packages(environments.bare(interpreters.system(), directory))
    metadata = packages.install(path, "acme", "2.3.0", FILES) / "METADATA"
    with (metadata.parent / "RECORD").open("a") as record:
        record.write(f"{metadata.relative_to(path)},{packages.recorded(metadata)}\n")
    return path


def kept(directory: Path) -> dict[str, dict[str, str]]:
    """Return the files below a directory, but for bytecode, which is only of this Python."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            mode = f"{path.stat().st_mode & 0o777:o}"
            try:
                content = {"text": anonymous(path.read_bytes().decode("ascii"))}
            except UnicodeDecodeError:
                content = {"base64": base64.b64encode(path.read_bytes()).decode()}
            found[str(path.relative_to(directory))] = {"mode": mode, **content}
    return found


def anonymous(text: str) -> str:
    """Return a text without what is only of this machine: its name, and which of its starts this is."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return text.replace(f"@{os.uname().nodename}", "@gpu001").replace(boot, "00000000-0000-0000-0000-000000000000")


if __name__ == "__main__":
    main()
