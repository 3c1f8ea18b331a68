# Nodes that answer what they like, in real runs: one is told from its failure, and none has a say in another's.
from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible import release
from lab import promtool

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Run

    Playbook = Callable[..., Run]
    Tree = Callable[[str], Path]

AUDIT, SETUP = "primus.patches.audit_primus", "primus.patches.setup_primus"
NAME = "transformers_modeling_utils"
PATCH = {"name": NAME, "state": "applied", "action": "none", "message": "as it should be", "copy_id": "nfs4 a:/b 0 7"}
GOOD = {
    "changed": False,
    "patches": [PATCH],
    "imports": [],
    "integrity": [],
    "environment": {"path": "/srv/site"},
    "msg": "fine",
}
# What may make a terminal do something, or a line read otherwise than it is.
CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b[2J\x1b]0;title\x07\r\u202e\u2066\x9b2Jevil"


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return ``node(answer)``: a host that answers every module with that, as JSON or as it is.

    It is a real node for Ansible, whose "Python" is a fake: a script that reads nothing and prints the answer.
    """

    def make(answer: Any, **variables: Any) -> dict[str, Any]:
        number = len(list(tmp_path.glob("answer-*")))
        text = tmp_path / f"answer-{number}"
        text.write_text(answer if isinstance(answer, str) else json.dumps(answer))
        python = tmp_path / f"python-{number}"
        python.write_text(f"#!/bin/sh\ncat {shlex.quote(str(text))}\n")
        python.chmod(0o755)
        local = {"ansible_connection": "local", "ansible_python_interpreter": str(python)}
        return {**local, "megatron_bridge_paths": ["/srv/site"], **variables}

    return make


@pytest.fixture
def healthy(tree: Tree, system_python: Path) -> dict[str, Any]:
    """Return a host with a real package that needs no patch."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": str(system_python)}
    return {**local, "megatron_bridge_paths": [str(tree("4.49.0"))]}


@pytest.fixture
def audit(playbook: Playbook, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Run]]:
    """Return ``audit(hosts)``: what became of each host in the report of a run, and the run."""

    def make(hosts: dict[str, Any], name: Any = AUDIT, **options: Any) -> tuple[dict[str, Any], Run]:
        directory = tmp_path / "report"
        variables = {"megatron_bridge_report_dir": str(directory), **options.pop("variables", {})}
        run = playbook(name, inventory={"all": {"hosts": hosts}}, variables=variables, **options)
        assert (directory / "report.json").exists(), run
        report = json.loads((directory / "report.json").read_text())
        assert promtool.complaints((directory / "report.prom").read_text()) == ""
        assert not CONTROL.search((directory / "report.html").read_text())
        return {each["name"]: each for each in report["nodes"]}, run

    return make


def reason(found: dict[str, Any]) -> str:
    (environment,) = found["environments"]
    (problem,) = environment["problems"]
    return str(problem)


def patched(**more: Any) -> dict[str, Any]:
    return {**GOOD, "patches": [{**PATCH, **more}]}


ODD = {
    "number": (patched(state=5), "patches[0].state: expected one of applied, native"),
    "unknown": (patched(state="fine"), "patches[0].state: expected one of applied, native"),
    "copies": (patched(copy_id=["a"]), "patches[0].copy_id: expected a text"),
    "bytecode": (
        patched(files=[{"path": "a.py", "bytecode": [1, 2]}]),
        "patches[0].files[0].bytecode[0]: expected a mapping, found 1",
    ),
    "endless": ('{"patches": ' + "[" * 100_000 + "]" * 100_000 + "}", ""),
    "digits": ('{"changed": false, "patches": [], "revision": ' + "9" * 5000 + "}", ""),
    "infinite": (
        json.dumps(GOOD).replace('"fine"', '"fine", "processes": {"candidates": [], "unreadable": 1e400}'),
        "0",
    ),
    "many": ({**GOOD, "patches": [{**PATCH, "name": f"p{n}"} for n in range(100_000)]}, "at most 1,000 entries"),
    "nothing": ("", ""),
    "nonsense": (f"nonsense {EVIL}", ""),
    "forgetful": ({**GOOD, "patches": []}, f"expected what was asked (patch {NAME})"),
}


def test_an_odd_answer_is_the_failure_of_its_node_and_touches_nobody_else(
    audit: Any, node: Any, healthy: dict[str, Any]
) -> None:
    found, run = audit({"good": healthy, **{name: node(answer) for name, (answer, _reason) in ODD.items()}})
    run.exits(2)
    assert {name: each["status"] for name, each in found.items()} == {"good": "ok", **dict.fromkeys(ODD, "failed")}
    for name, (_answer, expected) in ODD.items():
        assert expected in reason(found[name])
    summary = run.stdout.partition("PRIMUS PATCHES")[2]
    assert not CONTROL.search(summary)
    assert max(map(len, summary.splitlines())) < 2000


def test_an_answer_that_leaves_out_what_was_asked_does_not_count_as_right(
    audit: Any, node: Any, healthy: dict[str, Any]
) -> None:
    asked = {"megatron_bridge_paths": [], "megatron_bridge_pythons": ["/opt/venv/bin/python"]}
    imported = {"name": "json", "ok": True, "proof": "none"}
    hosts = {
        "good": healthy,
        "imports": node(GOOD, megatron_bridge_imports=["json", "csv"], **asked),
        "one": node({**GOOD, "imports": [imported]}, megatron_bridge_imports=["json", "csv"], **asked),
        "whole": node({**GOOD, "imports": [imported]}, megatron_bridge_imports=["json"], **asked),
        "nowhere": node({**GOOD, "environments": []}),
        "root": node({**GOOD, "environments": []}, megatron_bridge_paths=[], megatron_bridge_roots=["/home"]),
    }
    for name in (AUDIT, SETUP):
        if name == SETUP:
            del hosts["root"]
        found, run = audit(hosts, name)
        run.exits(2)
        statuses = {host: each["status"] for host, each in found.items()}
        assert statuses == {host: "ok" if host in ("good", "whole") else "failed" for host in hosts}
        assert "what was asked (import json, import csv)" in reason(found["imports"])
        assert "what was asked (import csv)" in reason(found["one"])


def test_no_control_character_of_a_node_is_in_what_is_printed_for_it(audit: Any, node: Any) -> None:
    texts = {"message": EVIL, "name": NAME, "path": f"/a{EVIL}", "version": EVIL}
    wrong = {**GOOD, "patches": [{**PATCH, **texts, "state": "conflict"}], "environment": {"path": f"/b{EVIL}"}}
    # (Newer ones take a module's warnings before a plugin has a say: docs/SECURITY.md says so.)
    warnings = {"warnings": [EVIL]} if release.__version__ < "2.21" else {}
    hosts = {
        "conflict": node({**wrong, "msg": EVIL}),
        "failed": node({**wrong, "failed": True, "msg": EVIL * 2000, "exception": EVIL, **warnings}),
        "output": node({**wrong, "failed": True, "msg": EVIL, "module_stdout": EVIL, "ansible_parsed": False}),
        "import": node({**GOOD, "imports": [{"name": EVIL, "ok": False, "error": EVIL}]}),
    }
    for name in (AUDIT, SETUP):
        for verbosity in ("0", "1"):
            _found, run = audit(hosts, name, environment={"ANSIBLE_VERBOSITY": verbosity})
            assert not CONTROL.search(run.stdout + run.stderr)


def test_a_node_has_no_say_in_what_the_controller_does(audit: Any, node: Any, healthy: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    grab = {
        "ansible_facts": {"megatron_bridge_report_dir": str(elsewhere), "primus_max_fail_percentage": 0},
        "ansible_stats": {"data": {"primus_patches": {"good": []}}, "per_host": False},
        "add_host": {"host_name": "more", "groups": ["all"], "host_vars": {}},
        "ansible_job_id": "1.1",
        "results": [1],
        "skipped": True,
    }
    hosts = {"a": node({**GOOD, **grab}), "good": healthy}
    show = {"ansible.builtin.debug": {"msg": "{{ groups.all }} {{ ansible_facts }}"}}
    plays = [
        {"import_playbook": SETUP},
        {"import_playbook": AUDIT},
        {"hosts": "all", "gather_facts": False, "tasks": [show]},
    ]
    found, run = audit(hosts, plays, environment={"ANSIBLE_SHOW_CUSTOM_STATS": "true"})
    run.exits(0)
    assert {host: each["status"] for host, each in found.items()} == {"a": "ok", "good": "ok"}
    assert [task.result["msg"] for task in run.of("debug")] == ["['a', 'good'] {}"] * 2
    assert '"good": []' not in run.stdout
    assert not elsewhere.exists()


def test_facts_of_a_node_do_not_say_where_the_report_goes(
    playbook: Playbook, node: Any, healthy: Any, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    facts = {"megatron_bridge_report_dir": str(elsewhere), "megatron_bridge_audit_fail_states": []}
    hosts = {"a": node({**GOOD, "ansible_facts": facts}), "b": {**healthy, "primus_audit_fail_states": ["native"]}}
    plays = [{"hosts": "all", "gather_facts": True, "tasks": []}, {"import_playbook": AUDIT}]
    playbook(plays, inventory={"all": {"hosts": hosts}}).exits(2)
    assert not elsewhere.exists()
    (written,) = tmp_path.rglob("primus-report/report.json")
    assert len(json.loads(written.read_text())["fail_states"]) == 5


def test_of_nodes_that_share_a_copy_one_that_answers_nonsense_has_no_say(audit: Any, node: Any, tmp_path: Path) -> None:
    hosts = {"a": node(GOOD), "b": node(GOOD)}
    python, looked = Path(hosts["a"]["ansible_python_interpreter"]), tmp_path / "looked"
    python.write_text(f"#!/bin/sh\n[ -e {looked} ] && exec echo nonsense\ntouch {looked}\n{python.read_text()}")
    found, run = audit(hosts, SETUP, variables={"megatron_bridge_shared": True}, settings={"forks": "1"})
    assert {host: each["status"] for host, each in found.items()} == {"a": "failed", "b": "ok"}
    assert looked.exists(), run


def test_what_is_handed_on_is_plain_and_no_template(
    playbook: Playbook, node: Any, healthy: Any, tmp_path: Path
) -> None:
    template = "{{ lookup('ansible.builtin.pipe', 'touch %s') }}" % (tmp_path / "evaluated")
    hosts = {"a": node(patched(state="conflict", message=template + EVIL + "m" * 100_000)), "b": healthy}
    run = playbook(AUDIT, inventory={"all": {"hosts": hosts}}, environment={"ANSIBLE_SHOW_CUSTOM_STATS": "true"})
    (text,) = re.findall(r'RUN: (\{.*?"primus_patches".*\})$', run.stdout, re.MULTILINE | re.DOTALL)
    stats = json.loads(text)
    (record,) = stats["primus_patches"]["a"]
    assert record["reason"].startswith("{ { lookup(")
    assert not CONTROL.search(record["reason"])
    assert len(record["reason"]) <= 1000
    # Whoever gives it to a further playbook has it as variables of the operator's own, which are templates.
    again = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"var": "primus_patches"}}]}]
    playbook(again, variables=stats).exits(0)
    assert not (tmp_path / "evaluated").exists()
