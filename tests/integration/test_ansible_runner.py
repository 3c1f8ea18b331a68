# The playbooks as AWX runs them: by ansible-runner, from a project that imports them, as docs/CLUSTERS.md has it.
from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml
from lab import controller
from lab.run import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_job_imports_a_playbook_and_leaves_records_and_report(
    tmp_path: Path, collection: Path, tree: Callable[[str], Path], system_python: Path
) -> None:
    page = (controller.ROOT / "docs" / "CLUSTERS.md").read_text()
    (setup,) = re.findall(r"```yaml\n# setup\.yml; .*?\n(---\n.*?)```", page, re.DOTALL)
    local = {"ansible_connection": "local", "ansible_python_interpreter": str(system_python)}
    hosts = {
        "good": {"megatron_bridge_paths": [str(tree("4.49.0"))]},
        "bad": {"megatron_bridge_paths": [str(tree("4.57.6"))]},
        "away": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
    }
    project, inventory, env = (tmp_path / "job" / name for name in ("project", "inventory", "env"))
    for directory in (project, inventory, env):
        directory.mkdir(parents=True)
    (project / "audit.yml").write_text(setup.replace("setup_primus", "audit_primus"))
    (inventory / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": local}}))
    (env / "extravars").write_text(json.dumps({"megatron_bridge_report_dir": str(tmp_path / "report")}))
    (env / "envvars").write_text(json.dumps({"ANSIBLE_COLLECTIONS_PATH": str(collection)}))
    (env / "settings").write_text(json.dumps({"suppress_env_files": True}))

    job = tmp_path / "job"
    command = f"{controller.tool('ansible-runner')} run {job} -p audit.yml --ident 1 || true"
    run("sh", "-c", command, env=controller.clean_environment(tmp_path / "home"))

    assert (job / "artifacts" / "1" / "rc").read_text() == "4"
    events: list[dict[str, Any]] = [
        yaml.safe_load(path.read_text()) for path in (job / "artifacts" / "1" / "job_events").glob("*.json")
    ]
    (stats,) = [event["event_data"] for event in events if event["event"] == "playbook_on_stats"]
    records = stats["artifact_data"]["primus_patches"]
    assert {node: lines[0]["state"] for node, lines in records.items()} == {
        "good": "native",
        "bad": "pending",
        "away": "unreachable",
    }
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {node["name"]: node["status"] for node in report["nodes"]} == {
        "good": "ok",
        "bad": "drifted",
        "away": "unreachable",
    }
    output = (job / "artifacts" / "1" / "stdout").read_text()
    assert "PRIMUS PATCHES" in output
    assert f"Report: {tmp_path}/report/report.html" in output
