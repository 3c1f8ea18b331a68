# An ansible-core that is too old, such as Debian's own: the playbooks and the role say so, and what to do.
from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from lab import cache, controller
from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: The oldest that a supported distribution brings (Debian 12), and the newest that is too old.
CORES = ("2.14.18", "2.18.19")


@pytest.fixture(scope="module", params=CORES)
def core(request: pytest.FixtureRequest, python: Callable[[str], Path]) -> tuple[str, Path]:
    """Return the version of an old ansible-core, and the directory of its programs."""
    version, interpreter = request.param, python("3.11")

    def build(directory: Path) -> None:
        run(interpreter, "-m", "venv", directory)
        run(directory / "bin" / "python", "-m", "pip", "install", "--quiet", f"ansible-core=={version}")

    return version, cache.once("cores", cache.digest(str(interpreter), version), build) / "bin"


@pytest.fixture
def old(core: tuple[str, Path], collection: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return ``old(arguments)``: exit status and output of the old ansible-playbook, for two local nodes."""
    hosts = tmp_path / "hosts"
    hosts.write_text("one ansible_connection=local\ntwo ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n")

    def play(*arguments: str | Path) -> tuple[int, str]:
        settings = {"ANSIBLE_COLLECTIONS_PATH": str(collection), "PATH": f"{core[1]}:/usr/bin:/bin"}
        environment = {**controller.clean_environment(tmp_path / "home"), **settings}
        command = [core[1] / "ansible-playbook", "-i", hosts, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
        return done.returncode, done.stdout + done.stderr

    return play


def message(core: tuple[str, Path]) -> str:
    return f"primus.patches: expected ansible-core >=2.19.0, found {core[0]} (Python 3.11."


@pytest.mark.parametrize("name", ["setup_primus", "audit_primus", "revert_primus"])
def test_a_playbook_says_at_once_which_version_it_needs_and_how_to_get_it(
    core: tuple[str, Path], old: Callable[..., tuple[int, str]], name: str
) -> None:
    code, output = old(f"primus.patches.{name}")
    assert code not in (0, 2, 4), output
    assert output.count(message(core)) == 1, output
    assert "~/ansible/bin/pip install 'ansible-core>=2.19.0'; then use ~/ansible/bin/ansible-playbook." in output
    assert "PLAY [" not in output


def test_the_role_in_a_play_of_ones_own_says_so_too(
    core: tuple[str, Path], old: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    for tasks_from in ("main", "setup", "audit"):
        role = f"{{name: primus.patches.megatron_bridge, tasks_from: {tasks_from}, rolespec_validate: false}}"
        play = tmp_path / "play.yml"
        play.write_text(f"- hosts: all\n  gather_facts: false\n  tasks:\n    - import_role: {role}\n")
        code, output = old(play)
        assert code == 2, output
        told = f'"msg": "{message(core)}'
        assert output.count(told) == 2, output  # (once for each node, also the one that cannot be reached)
        assert "Traceback" not in output
