# Root on a tree of somebody else's, through Ansible: the role and the modules, with real owners by number.
from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import engine, interpreters
from lab.sandbox import GROUP, USER, needs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.controller import Run

pytestmark = needs_root


@pytest.fixture
def home() -> Iterator[Path]:
    """Yield a user's home with a virtual environment in which ``thing`` is installed, its Python one for everybody."""
    with tempfile.TemporaryDirectory(prefix="primus-trust-") as top:
        Path(top).chmod(0o755)
        home = Path(top) / "home"
        command = [interpreters.system(), "-m", "venv", "--without-pip", home / "venv"]
        subprocess.run(command, check=True, capture_output=True)
        (site,) = (home / "venv" / "lib").glob("python3*/site-packages")
        engine.thing(site)
        (site / "early.pth").write_text(f"import os; open({str(home / 'users')!r}, 'a').write('%d ' % os.geteuid())\n")
        for path in (home, *home.rglob("*")):
            os.chown(path, USER, GROUP, follow_symlinks=False)
        yield home


def test_modules_and_role_of_root_work_as_the_owner(playbook: Callable[..., Run], home: Path) -> None:
    python = str(home / "venv" / "bin" / "python")
    (site,) = (home / "venv" / "lib").glob("python3*/site-packages")
    role = {
        "megatron_bridge_patches": [],
        "megatron_bridge_definitions": [engine.PATCH],
        "megatron_bridge_imports": ["thing.api:Thing"],
        "megatron_bridge_pythons": [python],
    }
    tasks = [
        {"ansible.builtin.include_role": {"name": "primus.patches.megatron_bridge"}, "vars": role},
        {"primus.patches.site_patch_info": {"definitions": [engine.PATCH], "roots": [str(home)], "details": True}},
        {"primus.patches.import_check": {"imports": ["thing.api:Thing"], "python": python}},
        {"primus.patches.site_patch": {"definitions": [engine.PATCH], "path": str(site), "state": "absent"}},
    ]
    run = playbook([{"hosts": "all", "gather_facts": False, "tasks": tasks}]).exits(0)
    (looked,) = run.of("primus.patches.site_patch_info")
    assert [(patch["state"], patch["version"]) for patch in looked.result["patches"]] == [("applied", "1.5")]
    made = (site / "thing" / "api.py").stat()
    assert (made.st_uid, made.st_gid) == (USER, GROUP)
    assert engine.BLOCK not in (site / "thing" / "api.py").read_bytes()
    assert set((home / "users").read_text().split()) == {str(USER)}


def test_a_directory_that_others_may_write_is_refused_and_named(playbook: Callable[..., Run], home: Path) -> None:
    home.chmod(0o777)
    options = {"definitions": [engine.PATCH], "python": str(home / "venv" / "bin" / "python")}
    task = {"primus.patches.site_patch": options}
    refused = playbook([{"hosts": "all", "gather_facts": False, "tasks": [task]}]).exits(2)
    assert f"{home}: expected that only root and {USER} may write there" in refused.stdout
    assert not (home / "users").exists()
    trusting = {"primus.patches.site_patch": {**options, "trust_writers": True}}
    (done,) = playbook([{"hosts": "all", "gather_facts": False, "tasks": [trusting]}]).exits(0).of("site_patch")
    assert done.result["changed"]
