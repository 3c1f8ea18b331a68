# The lab itself: what the other tests take for granted about wheels, environments, ansible-playbook and the SSH node.
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from lab import cores, environments, interpreters, packages
from lab.controller import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Run

REPORT = "import sys, importlib.util as u; print(sys.prefix); print(u.find_spec('transformers').origin)"


def test_tree_is_private_and_as_the_wheel_recorded_it(tree: Callable[[str], Path]) -> None:
    first, second = tree("4.57.6"), tree("4.57.6")
    (second / "transformers" / "modeling_utils.py").write_text("")
    name = "transformers/modeling_utils.py"
    assert packages.recorded(first / name) == packages.listed(first, name)
    assert (first / name).stat().st_nlink == 1


def test_an_interpreter_behind_a_script_is_known_by_its_own_path(tmp_path: Path) -> None:
    """As a shim of pyenv's is one: what lies beside the script is not the interpreter's."""
    shim = tmp_path / "python3"
    shim.write_text(f'#!/bin/sh\nexec {interpreters.own()} "$@"\n')
    shim.chmod(0o755)
    assert interpreters.probe(shim) == (sys.version_info[:2], interpreters.own())


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_venv_runs_the_python_asked_for(venv: Callable[[str], Path], version: str) -> None:
    environment = venv(version)
    code = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix)"
    output = subprocess.check_output([environments.python_of(environment), "-c", code], text=True)
    assert output.split() == [version, str(environment)]


@pytest.mark.slow
def test_megatron_copy_has_its_own_transformers_and_the_real_bridge(megatron_copy: Path) -> None:
    site_packages = environments.site_packages(megatron_copy)
    code = f"{REPORT}; import megatron.bridge"
    output = subprocess.check_output([environments.python_of(megatron_copy), "-B", "-c", code], text=True, cwd="/")
    assert output.split() == [str(megatron_copy), str(site_packages / "transformers" / "__init__.py")]
    name = "transformers/modeling_utils.py"
    assert packages.recorded(site_packages / name) == packages.listed(site_packages, name)


@pytest.mark.slow
def test_megatron_5_has_transformers_5_and_the_real_bridge(megatron_5: Path) -> None:
    code = "import transformers, megatron.bridge; print(transformers.__version__)"
    output = subprocess.check_output([environments.python_of(megatron_5), "-B", "-c", code], text=True, cwd="/")
    assert output.split() == [environments.TRANSFORMERS_5]


def test_playbook_reports_results_and_keeps_the_developers_home_out(
    playbook: Callable[..., Run], tmp_path: Path
) -> None:
    task = {"name": "Look", "ansible.builtin.command": "printenv HOME"}
    run = playbook([{"hosts": "all", "gather_facts": False, "tasks": [task]}]).exits(0)
    assert run.one("command").status == "changed"
    assert Path(run.one("command").result["stdout"]).is_relative_to(tmp_path)


def test_playbook_tells_a_failure_from_an_unreachable_host(playbook: Callable[..., Run]) -> None:
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.command": "false"}]}
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    run = playbook([play], inventory={"all": {"hosts": {"here": {"ansible_connection": "local"}, "gone": gone}}})
    run.exits(4)
    assert {task.host: task.status for task in run.tasks} == {"here": "failed", "gone": "unreachable"}


def test_ssh_node_is_reached_by_a_real_ssh(playbook: Callable[..., Run], ssh_node: dict[str, Any]) -> None:
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.command": "printenv SSH_CONNECTION"}]}
    run = playbook([play], inventory=ssh_node).exits(0)
    assert run.one("command", "node").result["stdout"].startswith("127.0.0.1 ")


def test_the_oldest_core_that_is_tested_is_the_one_that_the_collection_requires() -> None:
    requires = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"]
    assert requires == f">={min(cores.SUPPORTED)}.0"


def test_a_core_without_a_python_is_told_with_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(version: str) -> Path:
        raise interpreters.NoInterpreter(f"no Python {version} in PATH")

    monkeypatch.setattr(interpreters, "find", none)
    monkeypatch.setattr(interpreters, "get", none)
    told = r"ansible-core 2\.20 needs a Python of 3\.12, 3\.13, 3\.14; no Python 3\.12 in PATH\. .*--core 2\.19"
    with pytest.raises(interpreters.NoInterpreter, match=told):
        cores.python("2.20")
