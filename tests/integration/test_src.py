# Patch files on the controller, by `src`: found, read and checked there, never templated, and applied on nodes.
from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from lab import packages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.controller import Run

    Playbook = Callable[..., Run]

API = b"# coding: latin-1\n\nLIMIT = 10\nWORD = '{{ 7 }}'\nNAME = 'M\xfcller'\nEND = 1\n"
WORD = b'WORD = f"{{{name}}}"  # {{ 8 }} {% raw %} {# no #}\n'
HEADER = b"Description: Our circles are larger than acme expects.\nPackage: acme\nVersions: >=2.3,<3\n\n"
AWAY = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
BESIDE = {"package": "acme", "versions": ">=2.3,<3", "reason": "A test."}
DEFINITION: dict[str, Any] = {
    **BESIDE,
    "name": "acme_end",
    "file": "api.py",
    "upstream": "none",
    "retire": "Never.",
    "edits": [{"replace": {"before": "END = 1", "after": "END = '{{ 7 }}'"}}],
}
DONE = b"# coding: latin-1\n\nLIMIT = 30\n" + WORD + b"NAME = 'M\xfcller \xff'\nEND = '{{ 7 }}'\n"


def diff(line: int, old: bytes, new: bytes) -> bytes:
    return b"--- a/src/acme/api.py\n+++ b/src/acme/api.py\n@@ -%d +%d @@\n-%s+%s" % (line, line, old, new)


def install(site: Path, version: str = "2.3.0") -> Path:
    files = {"acme/__init__.py": f"__version__ = '{version}'\n", "acme/api.txt": "", "acme/api.py": API}
    packages.install(site, "acme", version, files)
    return site


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with patch files beside a playbook, and in a role."""
    vault = VaultLib([("default", VaultSecret(b"secret"))])
    limit, word = HEADER + diff(3, b"LIMIT = 10\n", b"LIMIT = 30\n"), diff(4, b"WORD = '{{ 7 }}'\n", WORD)
    files = {
        "files/patches/acme_limit.patch": limit,
        "files/patches/acme_word.diff": vault.encrypt(HEADER + word),
        "files/patches/more.yml": json.dumps([DEFINITION]),
        "files/patches/README": "no patch",
        "files/12345.diff": diff(5, b"NAME = 'M\xfcller'\n", b"NAME = 'M\xfcller \xff'\n"),
        "files/empty/README": "",
        "files/bad/one.patch": "no patch",
        "files/bad/list.json": "[1]",
        "files/bad/word.yml": "word",
        "files/bad/broken.yml": "a: [",
        "roles/own/files/of_the_role.patch": limit,
        "password": "secret",
    }
    packages.write(tmp_path / "project", files)
    return tmp_path / "project"


def play(project: Path, tasks: list[dict[str, Any]], *, role: bool = False) -> Path:
    """Write a playbook beside the project's files, with the tasks in its role or not."""
    (project / "roles" / "own" / "tasks").mkdir(exist_ok=True)
    (project / "roles" / "own" / "tasks" / "main.yml").write_text(json.dumps(tasks if role else []))
    body = {"roles": ["own"]} if role else {"tasks": tasks}
    (project / "site.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, **body}]))
    return project / "site.yml"


def test_files_and_directories_are_patches_in_each_module_and_way(playbook: Playbook, project: Path) -> None:
    site = install(project / "site")
    given = {"python": sys.executable, "path": str(site)}
    source = ["patches/", {"file": "12345.diff", "name": "acme_name", **BESIDE}]
    names = ["acme_limit", "acme_word", "acme_end", "acme_name"]
    imports = ["acme.api:END"]

    def task(**more: Any) -> dict[str, Any]:
        return {"primus.patches.site_patch": {**given, "src": source, **more}}

    tasks: list[dict[str, Any]] = [
        {"primus.patches.site_patch_info": {**given, "src": source}},
        {**task(), "check_mode": True},
        {"primus.patches.import_check": {**given, "src": source, "preview": "acme_end", "imports": imports}},
        task(name=["acme_limit"], shared=True),
        {"primus.patches.site_patch": {**given, "src": source}, "async": 60, "poll": 1},
        {"ansible.builtin.slurp": {"src": str(site / "acme" / "api.py")}},
        task(),
        task(state="absent"),
    ]
    tasks[4]["vars"] = {"ansible_async_dir": str(project / "jobs")}  # (the lab's HOME is not what ~root means)
    secret = {"vault_password_file": str(project / "password")}
    run = playbook(play(project, tasks), "-vvv", diff=True, settings=secret).exits(0)
    (info,), (preview,), done = (run.of(each) for each in ("site_patch_info", "import_check", "site_patch"))
    assert [patch["name"] for patch in info.result["patches"]] == names
    assert [entry["proof"] for entry in preview.result["imports"]] == ["before"]
    found = [[(patch["name"], patch["state"], patch["action"]) for patch in each.result["patches"]] for each in done]
    applied = ("acme_limit", "applied", "none")
    assert found == [
        [(name, "pending", "apply") for name in names],
        [("acme_limit", "pending", "apply")],
        [applied, *[(name, "pending", "apply") for name in names[1:]]],
        [(name, "applied", "none") for name in names],
        [(name, "applied", "revert") for name in names],
    ]
    assert base64.b64decode(run.one("slurp").result["content"]) == DONE
    assert (site / "acme" / "api.py").read_bytes() == API


def test_names_are_looked_for_as_copy_does(playbook: Playbook, project: Path) -> None:
    """In the role, beside the playbook, absolute, and below the home directory."""
    site = install(project / "site")
    home = project.parent / "controller" / "home"
    packages.write(home, {"of_the_home.diff": HEADER + diff(4, b"WORD = '{{ 7 }}'\n", WORD)})
    source = ["of_the_role.patch", "~/of_the_home.diff", str(project / "files" / "patches" / "more.yml")]
    task = {"primus.patches.site_patch_info": {"path": str(site), "src": source}}
    run = playbook(play(project, [task], role=True), environment={"HOME": str(home)}).exits(0)
    assert [(patch["name"], patch["state"]) for patch in run.one("site_patch_info").result["patches"]] == [
        *[("of_the_role", "pending"), ("of_the_home", "pending"), ("acme_end", "pending")]
    ]


def test_what_is_wrong_with_a_file_is_told_before_a_node_is_asked(playbook: Playbook, project: Path) -> None:
    """Of a node that cannot be reached."""
    files = project / "files"
    limit = "patches/acme_limit.patch"
    expected = {
        "gone.patch": f"src gone.patch: expected a file or a directory on the controller, found none at {files}/gone.",
        "/gone.patch": "src /gone.patch: expected a file or a directory on the controller, found none at /gone.patch",
        "empty": f"{files}/empty: expected files that end in one of .patch, .diff, .yml, .yaml, .json, found none",
        "bad/one.patch": f"{files}/bad/one.patch: expected a ",
        "bad/list.json": f"{files}/bad/list.json: a patch definition must be a mapping, found int 1",
        "bad/word.yml": f"{files}/bad/word.yml: expected a definition or a list of them, found 'word'",
        "bad/broken.yml": f"{files}/bad/broken.yml: expected a file that can be read: ",
        "patches/acme_word.diff": f"{files}/patches/acme_word.diff: expected a file that can be read: ",
    }
    more: list[tuple[Any, str]] = [
        ([{"package": "acme"}], "src: expected a path, or a mapping with one as file, found {'package': 'acme'}"),
        ([{"file": limit, "versons": "*"}], f"{files}/{limit}: "),
        ([{"file": limit, "versions": "4.x"}], f"{files}/{limit}: "),
        (
            [limit, {"file": "12345.diff", "name": "acme_limit", **BESIDE}],
            f"{files}/12345.diff: patch acme_limit: name: a patch of that name exists already, in {files}/{limit}",
        ),
        ([{"file": limit, "name": "te_triton_permutation"}], f"{files}/{limit}: patch te_triton_permutation: name: a "),
    ]
    cases = [([name], message) for name, message in expected.items()] + more
    modules = ("site_patch", "site_patch_info", "import_check")
    tasks = [
        {f"primus.patches.{modules[number % 3]}": {"src": source}, "ignore_errors": True}
        for number, (source, _message) in enumerate(cases)
    ]
    tasks += [
        {"primus.patches.site_patch": {"src": limit, "definitions": [{"name": "acme_limit"}]}, "ignore_errors": True}
    ]
    inventory = {"all": {"hosts": {"away": AWAY}}}
    run = playbook(play(project, tasks), inventory=inventory).exits(0)
    assert [task.status for task in run.tasks] == ["ignored"] * len(tasks)
    messages = [task.result["msg"] for task in run.tasks]
    for (source, message), said in zip(cases, messages, strict=False):
        assert said.startswith(message), source
    assert ". In an inventory, say where it lies: {{ inventory_dir }}/gone.patch" in messages[0]
    assert messages[-1].startswith(
        f"{files}/{limit}: patch acme_limit: name: a patch of that name exists already, in def"
    )


def test_definitions_are_templates_unless_they_are_marked(playbook: Playbook, project: Path) -> None:
    """What docs/PATCHES.md says of them."""
    texts = {
        "plain": "'END = \"{{ 7 }}\"'",
        "broken": "'f\"{{{name}}}\"'",
        "marked": "!unsafe 'f\"{{{name}}} {{ 7 }}\"'",
    }
    hosts = ""
    for name, text in texts.items():
        install(project / name)
        definition = json.dumps({**DEFINITION, "edits": [{"replace": {"before": "END = 1", "after": "TEXT"}}]})
        hosts += f"    {name}:\n      own: [{definition.replace(json.dumps('TEXT'), text)}]\n"
    (project / "inventory.yml").write_text(f"all:\n  vars: {{ansible_connection: local}}\n  hosts:\n{hosts}")
    task = {
        "primus.patches.site_patch": {"path": f"{project}/{{{{ inventory_hostname }}}}", "definitions": "{{ own }}"}
    }
    run = playbook(play(project, [task]), inventory=project / "inventory.yml").exits(2)
    assert {task.host: task.status for task in run.tasks} == {
        "plain": "changed",
        "broken": "failed",
        "marked": "changed",
    }
    assert "template" in run.one("site_patch", "broken").result["msg"]
    written = {name: (project / name / "acme" / "api.py").read_bytes().rpartition(b"ller'\n")[2] for name in texts}
    assert written == {"plain": b'END = "7"\n', "broken": b"END = 1\n", "marked": b'f"{{{name}}} {{ 7 }}"\n'}
