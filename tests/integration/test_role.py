# The role in plays of users: the ways to use it, its variables, and the real Megatron-Bridge.
from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import environments

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.controller import Run

    Playbook = Callable[..., Run]
    Tree = Callable[[str], Path]

ROLE = "primus.patches.megatron_bridge"
FILE = "transformers/modeling_utils.py"


def play(*tasks: dict[str, Any], **keywords: Any) -> list[dict[str, Any]]:
    body = {"tasks": list(tasks)} if tasks else {}
    return [{"hosts": "all", "gather_facts": False, **body, **keywords}]


def use(how: str, **variables: Any) -> list[dict[str, Any]]:
    """Return a play that uses the role by ``roles``, ``import_role`` or ``include_role``."""
    if how == "roles":
        return play(roles=[{"role": ROLE, **variables}])
    return play({f"ansible.builtin.{how}": {"name": ROLE}, "vars": variables, "tags": "megatron_bridge"})


def items(run: Run, host: str = "localhost") -> list[dict[str, Any]]:
    """Return the results of the role's task, one per environment."""
    return run.one("site_patch", host).environments


def found(run: Run, host: str = "localhost") -> list[tuple[str, str]]:
    return [(patch["state"], patch["action"]) for item in items(run, host) for patch in item["patches"]]


@pytest.mark.parametrize("how", ["roles", "import_role", "include_role"])
def test_the_role_works_in_each_way_ansible_has_with_its_tag(playbook: Playbook, tree: Tree, how: str) -> None:
    plays = use(how, megatron_bridge_paths=[str(tree("4.57.6"))])
    assert playbook(plays, "--tags", "something_else").of("site_patch") == []
    predicted = playbook(plays, "--tags", "megatron_bridge", check=True)
    assert (predicted.rc, found(predicted)) == (0, [("pending", "apply")]), predicted
    done = playbook(plays, "--tags", "megatron_bridge")
    assert (done.rc, found(done), done.changed) == (0, [("pending", "apply")], True), done
    again = playbook(plays)
    assert (again.rc, found(again), again.changed) == (0, [("applied", "none")], False), again


def test_interpreters_and_directories_are_environments_each(
    playbook: Playbook, tree: Tree, venv: Callable[[str], Path], system_python: Path
) -> None:
    version = subprocess.run(
        [system_python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    python = environments.python_of(venv(version))
    site = tree("4.49.0")
    run = playbook(
        use(
            "roles",
            megatron_bridge_pythons=[str(python)],
            megatron_bridge_paths=[str(site)],
            megatron_bridge_missing="skip",
        )
    )
    assert found(run) == [("missing", "skip"), ("native", "none")], run
    first, second = (item["environment"] for item in items(run))
    assert (first["python"], first["path"]) == (str(python), None)
    assert second["path"] == str(site)
    assert run.one("site_patch").result["msg"] == "2 environments, 0 changed"


def test_without_environments_ansibles_own_interpreter_is_meant(playbook: Playbook) -> None:
    run = playbook(
        use("roles", megatron_bridge_missing="skip", megatron_bridge_unsupported="skip", megatron_bridge_imports=[])
    )
    assert run.rc == 0, run
    (item,) = items(run)
    assert item["environment"]["path"] is None


def test_one_environment_may_be_given_as_a_string(playbook: Playbook, tree: Tree) -> None:
    run = playbook(use("roles"), "--extra-vars", f"megatron_bridge_paths={tree('4.49.0')}")
    assert (run.rc, found(run)) == (0, [("native", "none")]), run


def test_a_wrong_variable_is_refused_before_anything_runs(playbook: Playbook, tree: Tree) -> None:
    expected = "value of megatron_bridge_state must be one of: present, absent, got: gone"
    wrong = {"megatron_bridge_paths": [str(tree("4.57.6"))], "megatron_bridge_state": "gone"}
    assert playbook(use("roles", **wrong)).exits(2).one("site_patch").result["msg"] == expected
    checked = {"ansible.builtin.import_role": {"name": ROLE, "tasks_from": "setup"}, "vars": wrong}
    run = playbook(play(checked)).exits(2)
    assert (run.of("site_patch"), expected in run.stdout + run.stderr) == ([], True), run


def test_an_environment_without_an_answer_hides_none_of_the_others(playbook: Playbook, tmp_path: Path) -> None:
    dying = tmp_path / "python"
    dying.write_text('#!/bin/sh\ngrep -q /no/such/two "$@" 2> /dev/null && exit 137\nexec /usr/bin/python3 "$@"\n')
    dying.chmod(0o755)
    variables = {"megatron_bridge_paths": ["/no/such/one", "/no/such/two"], "megatron_bridge_missing": "skip"}
    run = playbook(use("roles", **variables), variables={"ansible_python_interpreter": str(dying)}).exits(2)
    first, second = items(run)
    assert first["environment"]["path"] == "/no/such/one", run
    assert (second["failed"], second["changed"], second["environment"]["path"]) == (True, False, "/no/such/two"), run
    assert run.one("site_patch").result["msg"].startswith("2 of 2 environments: /no/such/one: "), run


def test_an_empty_entry_is_no_environment(playbook: Playbook, tree: Tree) -> None:
    """Which would be the one of the interpreter that Ansible uses."""
    variables = {"megatron_bridge_pythons": ["{{ nothing }}"], "megatron_bridge_paths": [str(tree("4.57.6"))]}
    run = playbook(use("roles", **variables, nothing="")).exits(2)
    assert run.one("site_patch").result["msg"] == "megatron_bridge_pythons: expected paths, found an empty one"
    audit = {"ansible.builtin.import_role": {"name": ROLE, "tasks_from": "audit"}, "vars": {**variables, "nothing": ""}}
    first, second = playbook(play(audit)).exits(2).one("site_patch_info").result["results"]
    assert "an empty path" in first["msg"]
    assert second["patches"][0]["state"] == "pending"


def test_a_misspelt_variable_is_refused_with_the_nearest_name(playbook: Playbook, tree: Tree) -> None:
    """Ansible itself refuses unknown parameters of a role in ``roles``, but not what comes from anywhere else."""
    variables = {"megatron_bridge_paths": [str(tree("4.57.6"))], "megatron_bridge_stat": "absent"}
    expected = "unknown variable megatron_bridge_stat: the nearest one of the role is megatron_bridge_state"
    for how in ("roles", "import_role", "include_role"):
        (item,) = items(playbook(use(how), variables=variables).exits(2))
        assert item["msg"] == expected
    audit = {"ansible.builtin.import_role": {"name": ROLE, "tasks_from": "audit"}, "vars": variables}
    (item,) = playbook(play(audit)).exits(2).one("site_patch_info").result["results"]
    assert item["msg"] == expected


def test_variables_of_a_play_without_the_role_are_its_own_affair(playbook: Playbook, tree: Tree) -> None:
    options = {"name": "transformers_modeling_utils", "path": str(tree("4.57.6"))}
    tasks = [{f"primus.patches.{module}": options} for module in ("site_patch", "site_patch_info")]
    playbook(play(*tasks, vars={"megatron_bridge_stat": "mine", "primus_host": "mine"})).exits(0)


def test_skipping_is_a_choice_of_the_user(playbook: Playbook, tree: Tree, tmp_path: Path) -> None:
    sites = {"megatron_bridge_paths": [str(tree("5.0.0")), str(tmp_path)]}
    assert playbook(use("roles", **sites)).rc == 2
    run = playbook(use("roles", **sites, megatron_bridge_unsupported="skip", megatron_bridge_missing="skip"))
    assert (run.rc, found(run)) == (0, [("unsupported", "skip"), ("missing", "skip")]), run


def test_definitions_of_the_user_are_used(playbook: Playbook, tmp_path: Path) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "2.1"\n')
    (package / "core.py").write_text("class Thing: ...\n")
    (package / "api.py").write_text("from . import core\n")
    definition = {
        "name": "my_names",
        "package": "my_package",
        "versions": ">=2.0,<3",
        "file": "api.py",
        "revision": 1,
        "reason": "Version 2.0 moved Thing to my_package.core.",
        "upstream": "none",
        "retire": "When all jobs import Thing from my_package.core.",
        "edits": [{"reexport": {"source": ".core", "names": ["Thing"]}}],
    }
    variables = {"megatron_bridge_paths": [str(tmp_path)], "megatron_bridge_definitions": [definition]}
    for patches in ([], ["my_names"]):
        run = playbook(use("roles", **variables, megatron_bridge_patches=patches), check=True)
        assert (run.rc, found(run)) == (0, [("pending", "apply")]), run


def test_values_for_imports_appear_nowhere(playbook: Playbook, system_python: Path) -> None:
    secret = "s3cret-of-the-import"  # noqa: S105
    variables = {
        "megatron_bridge_pythons": [str(system_python)],
        "megatron_bridge_missing": "skip",
        "megatron_bridge_imports": ["json"],
        "megatron_bridge_import_environment": {"TOKEN": secret},
    }
    for how in ("roles", "include_role"):
        run = playbook(use(how, **variables), "-vvv")
        assert run.rc == 0, run
        assert secret not in run.stdout + run.stderr


def test_module_defaults_reach_what_the_role_does_not_set(playbook: Playbook, tree: Tree) -> None:
    site = tree("4.57.6")
    plays = use("import_role", megatron_bridge_paths=[str(site)])
    for group in ("primus.patches.site_patch", "group/primus.patches.all"):
        plays[0]["module_defaults"] = {group: {"backup": True, "timeout": 1, "path": "/nowhere", "python": "/nowhere"}}
        run = playbook(plays, check=True)
        assert (run.rc, found(run)) == (0, [("pending", "apply")]), run
        assert run.one("site_patch").status == "changed"
    plays[0]["module_defaults"] = {"primus.patches.site_patch": {"backup": True, "state": "absent"}}
    backup = items(playbook(plays))[0]["patches"][0]["files"][0]["backup_file"]
    assert Path(backup).exists()


def test_delegate_to_works_and_the_summary_names_both_nodes(
    playbook: Playbook, tree: Tree, system_python: Path
) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": str(system_python)}
    inventory = {"all": {"hosts": {"job": {"ansible_connection": "ssh", "ansible_port": 1}, "storage": local}}}
    task = {
        "ansible.builtin.import_role": {"name": ROLE},
        "delegate_to": "storage",
        "vars": {"megatron_bridge_paths": [str(tree("4.57.6"))]},
    }
    settings = {"callbacks_enabled": "lab_record, primus.patches.fleet_summary"}
    run = playbook(play(task, hosts="job"), inventory=inventory, settings=settings)
    assert (run.rc, found(run, "job")) == (0, [("pending", "apply")]), run
    assert "\njob -> storage  " in run.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user without a password takes root")
def test_become_user_may_own_the_environment(playbook: Playbook, tree: Tree, system_python: Path) -> None:
    user = pwd.getpwnam("nobody")
    # pytest's own directories are closed to other users.
    with tempfile.TemporaryDirectory() as home:
        site = shutil.move(tree("4.57.6"), Path(home) / "site")
        for path in (Path(home), site, *site.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        done = become_nobody(playbook, site, system_python)
        assert (done.rc, found(done)) == (0, [("pending", "apply")]), done
        assert (site / FILE).stat().st_uid == user.pw_uid


def become_nobody(playbook: Playbook, site: Path, system_python: Path) -> Run:
    task = {
        "ansible.builtin.import_role": {"name": ROLE},
        "become": True,
        "become_user": "nobody",
        "become_method": "ansible.builtin.su",
        "vars": {"megatron_bridge_paths": [str(site)]},
    }
    variables = {
        "ansible_pipelining": True,
        "ansible_python_interpreter": str(system_python),
        "ansible_become_flags": "-s /bin/sh",
    }
    return playbook(play(task), variables=variables)


@pytest.mark.slow
def test_the_real_megatron_bridge_from_prediction_to_revert(
    playbook: Playbook, megatron_copy: Path, system_python: Path
) -> None:
    python = environments.python_of(megatron_copy)
    file = environments.site_packages(megatron_copy) / FILE
    original = file.read_bytes()
    variables = {"megatron_bridge_pythons": [str(python)], "ansible_python_interpreter": str(system_python)}

    def blip() -> int:
        return subprocess.run(
            [python, "-B", "-c", "import blip.models.med"], capture_output=True, check=False
        ).returncode

    assert blip() != 0
    predicted = playbook("primus.patches.setup_primus", variables=variables, check=True)
    assert (predicted.rc, found(predicted)) == (0, [("pending", "apply")]), predicted
    assert [(entry["ok"], entry["proof"]) for entry in items(predicted)[0]["imports"]] == [(True, "before")] * 2
    assert file.read_bytes() == original

    assert playbook("primus.patches.setup_primus", variables=variables).rc == 0
    assert blip() == 0
    audit = playbook("primus.patches.audit_primus", variables=variables)
    assert audit.rc == 0, audit
    assert "; imports work" in audit.stdout

    reverted = playbook("primus.patches.revert_primus", variables=variables)
    assert (reverted.rc, found(reverted)) == (0, [("applied", "revert")]), reverted
    assert file.read_bytes() == original
    assert playbook("primus.patches.audit_primus", variables=variables).rc == 2
