# What Ansible sends to a node for one task of each module, beside what it sends for a ping.
from __future__ import annotations

import base64
import io
import os
import re
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.controller import Run

MORE = 157_000  # compressed bytes above a ping's; site_patch is the largest, as it holds what writes
MODULES = ("site_patch", "site_patch_info", "import_check")


@pytest.fixture
def sent(playbook: Callable[..., Run], tmp_path: Path) -> dict[str, bytes]:
    """Return the files that a real run of each module sent to the node, by the module's name."""
    remote = tmp_path / "remote"
    (tmp_path / "site").mkdir()
    patch = {"name": "transformers_modeling_utils", "path": str(tmp_path / "site")}
    tasks = [
        {"ansible.builtin.ping": {}},
        {"primus.patches.site_patch": {**patch, "missing": "skip"}},
        {"primus.patches.site_patch_info": patch},
        {"primus.patches.import_check": {"imports": ["json"]}},
    ]
    playbook(
        [{"hosts": "all", "gather_facts": False, "tasks": tasks}],
        environment={"ANSIBLE_KEEP_REMOTE_FILES": "true", "ANSIBLE_REMOTE_TEMP": str(remote)},
    ).exits(0)
    return {file.stem.partition("_")[2]: file.read_bytes() for file in remote.glob("*/AnsiballZ_*.py")}


def archive(sent: bytes) -> bytes:
    """Return the zip archive inside of what was sent, where it stands in Base64."""
    return base64.b64decode(max(re.findall(rb"[A-Za-z0-9+/=]{1000,}", sent), key=len))


def members(sent: bytes) -> dict[str, int]:
    """Return the compressed sizes of the files in the archive, the largest first."""
    with zipfile.ZipFile(io.BytesIO(archive(sent))) as opened:
        sizes = {info.filename: info.compress_size for info in opened.infolist()}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def test_what_is_sent_for_a_module_is_little_more_than_for_a_ping(sent: dict[str, bytes]) -> None:
    ping = sent["ping"]
    for module in MODULES:
        more = len(archive(sent[module])) - len(archive(ping))
        own = {name: size for name, size in members(sent[module]).items() if name not in members(ping)}
        largest = "\n".join(f"  {size:6} {name}" for name, size in list(own.items())[:12])
        assert more < MORE, (
            f"{module}: {more} compressed bytes more than a ping's {len(archive(ping))}, "
            f"expected less than {MORE}; the largest of {len(own)} files:\n{largest}"
        )


def test_everything_that_the_engine_imports_late_is_sent(sent: dict[str, bytes], collection: Path) -> None:
    """Ansible finds imports by reading the source, those inside of functions, too; those by name a module names."""
    top = collection / "ansible_collections"
    here = top / "primus" / "patches" / "plugins" / "module_utils"
    only_for = {
        **dict.fromkeys(
            ("_command.py", "_options.py", "_outcome.py", "_kept.py", "_verify.py"), ""
        ),  # (of primus-patches.pyz)
        **dict.fromkeys(("_patch_file.py", "_patch_header.py"), ""),
        **dict.fromkeys(("_capture.py", "_captured.py", "_edited.py", "_originals.py"), ""),
        **dict.fromkeys(("_installed.py", "_working_copy.py"), ""),
        **dict.fromkeys(("_patch_text.py", "_diff_text.py"), ""),
        **dict.fromkeys(("_commit.py", "_locks.py", "_keeping.py", "_staging.py", "_environments.py"), "site_patch"),
        **dict.fromkeys(("_preflight.py", "_temporary.py", "_bytecode.py", "_several.py"), "site_patch"),
        **dict.fromkeys(
            ("_survey.py", "_discovery.py", "_storage.py", "_integrity.py", "_held.py", "_differ.py", "_walk.py"),
            "site_patch_info",
        ),
        "_patching.py": "site_patch",
        **dict.fromkeys(("_git_objects.py", "_git_packs.py"), "site_patch_info"),
        **dict.fromkeys(("_script.py", "listing.py"), ""),  # (the command lines of the catalogue)
        **dict.fromkeys(("_question.py", "_recording.py"), ""),  # (in place of a module)
        "_recorded.py": "",
    }
    for module in MODULES:
        wanted = {
            os.path.join("ansible_collections", file.relative_to(top))
            for file in here.rglob("*.py")
            if only_for.get(file.name, module) == module and (file.name, module) != ("_looking.py", "site_patch")
        }
        assert wanted <= set(members(sent[module])), module
