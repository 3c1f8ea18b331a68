# import_check by real ansible-playbook runs: Ansible on the system's Python, the imports in another environment.
from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import lab.run
import pytest
from lab import engine, environments, packages, snapshot
from lab.interpreters import PROMISED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.controller import Run

    Playbook = Callable[..., Run]
    Venv = Callable[..., Path]

# (Also those that call a module in process: what it hides is Ansible's doing in part.)
pytestmark = pytest.mark.ansible
TOKEN = "s3cret-t0ken"  # noqa: S105
ANOTHER = "an0ther-one"
RAISES = "import os\nprint(os.environ['TOKEN'], flush=True)\nraise KeyError(os.environ['TOKEN'])\n"


def play(module: str, **parameters: Any) -> list[dict[str, Any]]:
    return [{"hosts": "all", "gather_facts": False, "tasks": [{f"primus.patches.{module}": parameters}]}]


@pytest.fixture
def environment(venv: Venv) -> Path:
    return venv()


@pytest.fixture
def interpreter(environment: Path) -> str:
    return str(environments.python_of(environment))


@pytest.fixture
def site(environment: Path) -> Path:
    return environments.site_packages(environment)


@pytest.mark.parametrize("version", [v if v == "3.8" else pytest.param(v, marks=pytest.mark.slow) for v in PROMISED])
def test_imports_run_in_the_environments_own_interpreter(playbook: Playbook, venv: Venv, version: str) -> None:
    environment = venv(version)
    numbers = tuple(map(int, version.split(".")))
    checks = f"import sys\nassert sys.version_info[:2] == {numbers}\n__version__ = '1.5'\n"
    engine.thing(environments.site_packages(environment), __init__=checks)
    before = snapshot.take(environment)
    for check in (False, True):
        run = playbook(
            play(
                "import_check", python=str(environments.python_of(environment)), imports=["thing", "thing.core:Thing"]
            ),
            check=check,
        ).exits(0)
        result = run.one("import_check").result
        assert result["changed"] is False
        assert result["msg"] == "thing, thing.core:Thing can be imported"
        assert result["environment"]["prefix"] == str(environment)
        assert [(done["ok"], done["version"]) for done in result["imports"]] == [(True, "1.5"), (True, "1.5")]
    assert snapshot.take(environment) == before


def test_each_operation_of_the_same_environment_without_python(playbook: Playbook) -> None:
    """In process: Ansible's own interpreter is the environment."""
    result = playbook(play("import_check", imports=["json:dumps"])).exits(0).one("import_check").result
    assert result["imports"][0]["ok"]


def test_nothing_of_ansible_is_importable_while_imports_are_tried(
    playbook: Playbook, interpreter: str, site: Path
) -> None:
    text = "import sys\nassert [name for name in sys.modules if 'ansible' in name] == []\nimport ansible\n"
    packages.write(site, {"sees.py": text})
    result = playbook(play("import_check", python=interpreter, imports=["sees"])).exits(2).one("import_check").result
    assert result["imports"][0]["error"].startswith("needs the module ansible, which is not installed")


def test_a_failed_import_fails_the_task_and_returns_what_was_found(
    playbook: Playbook, interpreter: str, site: Path
) -> None:
    engine.thing(site)
    packages.write(site, {"crashes.py": "import os; os.abort()", "odd.py": "raise ValueError('\\udcff\\x00é✓')"})
    imports = ["thing.api:Thing", "crashes", "odd", "thing"]
    run = playbook(play("import_check", python=interpreter, imports=imports)).exits(2)
    result = run.one("import_check").result
    assert [done["cause"] for done in result["imports"]] == ["name", "crash", "exception", None]
    assert result["patches"] == []
    assert result["msg"].startswith("import failed, as the files are: thing.api:Thing (expected Thing in thing.api, ")
    assert "crashes (the interpreter died: signal 6 (Aborted))" in result["msg"]


def test_preview_makes_the_import_pass_and_writes_nothing(playbook: Playbook, interpreter: str, site: Path) -> None:
    engine.thing(site)
    before = snapshot.take(site)
    parameters = {"python": interpreter, "imports": ["thing.api:Thing"], "definitions": [engine.PATCH]}
    for more in ({}, {"preview": ["thing_names"]}):
        result = playbook(play("import_check", **parameters, **more)).exits(0).one("import_check").result
        assert result["imports"][0]["proof"] == "before"
        assert [(patch["name"], patch["state"]) for patch in result["patches"]] == [("thing_names", "pending")]
    assert snapshot.take(site) == before


def test_bad_input_is_one_clear_error(playbook: Playbook, interpreter: str, tmp_path: Path) -> None:
    path = str(tmp_path)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"path": path, "imports": ["thing"]}, f"imports need an interpreter: give python along with path {path}"),
        ({"imports": ["no import"]}, "import 'no import': expected package.module or package.module:name,name"),
        (
            {"imports": ["json"], "preview": ["nobody"]},
            "unknown patch nobody; known: megatron_router_padding_mask, te_flash_attn_max_version, ",
        ),
        ({"imports": ["json"], "python": "/does/not/exist"}, "python /does/not/exist: expected a Python interpreter"),
        (
            {"imports": ["json"], "python": interpreter, "path": "/does/not/exist"},
            "path /does/not/exist: expected a dir",
        ),
    ]
    tasks = [{"primus.patches.import_check": parameters, "ignore_errors": True} for parameters, _error in cases]
    run = playbook([{"hosts": "all", "gather_facts": False, "tasks": tasks}]).exits(0)
    for task, (_parameters, error) in zip(run.of("import_check"), cases, strict=True):
        assert task.status == "ignored", run
        assert task.result["msg"].startswith(error), run
        assert task.result["patches"] == []


def test_values_of_the_import_environment_are_shown_nowhere(playbook: Playbook, interpreter: str, site: Path) -> None:
    engine.thing(site)
    packages.write(site, {"raises.py": RAISES, "dies.py": RAISES.replace("raise", "import os; os._exit(1) #")})
    for module, parameters in (
        ("import_check", {"imports": ["raises", "dies", "thing"]}),
        ("site_patch", {"validate": ["raises", "dies", "thing"], "definitions": [engine.PATCH]}),
    ):
        run = playbook(
            play(module, python=interpreter, import_environment={"TOKEN": TOKEN}, **parameters), "-vvvv", diff=True
        ).exits(2)
        result = run.one(module).result
        assert [done["ok"] for done in result["imports"]] == [False, False, True]
        assert TOKEN not in run.stdout + run.stderr
        assert TOKEN not in json.dumps(result)
        assert "raise KeyError" in result["imports"][0]["traceback"]


FORMS = (
    {"TOKEN": TOKEN, "OTHER": ANOTHER},
    json.dumps({"TOKEN": TOKEN, "OTHER": ANOTHER}),
    repr({"TOKEN": TOKEN, "OTHER": ANOTHER}),
    f"TOKEN={TOKEN} OTHER={ANOTHER}",
    f"OTHER={ANOTHER}, TOKEN='{TOKEN}'",
)


@pytest.mark.parametrize("form", FORMS, ids=["dict", "json", "python", "spaces", "commas"])
@pytest.mark.parametrize("name", ["import_check", "site_patch", "site_patch_info"])
def test_values_are_hidden_in_whatever_form_they_are_given(
    interpreter: str, site: Path, capsys: pytest.CaptureFixture[str], name: str, form: Any
) -> None:
    """What Ansible refuses before the module, what the module refuses, and what imports tell."""
    testing = pytest.importorskip("ansible.module_utils.testing")
    module = importlib.import_module(f"ansible_collections.primus.patches.plugins.modules.{name}")
    engine.thing(site)
    packages.write(site, {"raises.py": RAISES})
    imports = "validate" if name == "site_patch" else "imports"
    wanted = {} if name == "import_check" else {"definitions": [engine.PATCH]}
    parameters = pytest.importorskip("ansible.module_utils.common.parameters")
    # (From 2.21 on, the controller tells a module to give its parameters back.)
    asked = {"_ansible_inject_invocation": True} if "inject_invocation" in parameters.PASS_VARS else {}
    told = ""
    for wrong in ({"timeout": "x"}, {"no_such_option": 1}, {"python": "/does/not/exist"}, {}):
        options = {"python": interpreter, imports: ["raises"], "import_environment": form, **wanted, **wrong, **asked}
        with testing.patch_module_args(options), pytest.raises(SystemExit):
            module.main()
        told += capsys.readouterr().out
    assert told.count('"invocation"') == 4
    assert "raise KeyError" in told
    assert (TOKEN in told, ANOTHER in told) == (False, False)


@pytest.mark.parametrize("form", [FORMS[0], FORMS[-2]], ids=["dict", "text"])
def test_values_are_hidden_on_every_way_to_the_module(
    playbook: Playbook, interpreter: str, site: Path, form: Any
) -> None:
    engine.thing(site)
    packages.write(site, {"raises.py": RAISES})
    options = {"python": interpreter, "import_environment": form}
    patch = {"validate": ["raises"], "definitions": [engine.PATCH], **options}
    tasks: list[dict[str, Any]] = [
        {"primus.patches.site_patch": patch},
        {
            "ansible.builtin.import_role": {"name": "primus.patches.megatron_bridge"},
            "vars": {
                "megatron_bridge_pythons": interpreter,
                "megatron_bridge_patches": [],
                "megatron_bridge_definitions": [engine.PATCH],
                "megatron_bridge_imports": ["raises"],
                "megatron_bridge_import_environment": form,
            },
        },
        {
            "primus.patches.import_check": {"imports": ["raises"]},
            "module_defaults": {"primus.patches.import_check": options},
        },
    ]
    plays = [{"hosts": "all", "gather_facts": False, "tasks": [{**task, "ignore_errors": True} for task in tasks]}]
    run = playbook(plays, "-vvv", environment={"ANSIBLE_INJECT_INVOCATION": "1"}).exits(0)
    results = json.dumps([task.result for task in run.tasks])
    assert run.stdout.count('"import_environment"') == results.count('"import_environment"') == 3
    assert results.count("raise KeyError") == 3
    told = run.stdout + run.stderr + results
    assert (TOKEN in told, ANOTHER in told) == (False, False)


def test_numbers_and_booleans_reach_the_import_and_versions_stay_readable(
    playbook: Playbook, interpreter: str, site: Path
) -> None:
    text = (
        "import os\n__version__ = '1.11.1'\n"
        "assert [os.environ[name] for name in 'ABCD'] == ['1', 'true', '1.5', ''], os.environ\n"
    )
    packages.write(site, {"mod.py": text})
    values = {"A": 1, "B": True, "C": 1.5, "D": ""}
    run = playbook(play("import_check", python=interpreter, imports=["mod"], import_environment=values)).exits(0)
    result = run.one("import_check").result
    assert result["imports"][0]["version"] == "1.11.1"
    code = "import platform; print(platform.python_version())"
    assert result["environment"]["python_version"] == lab.run.run(interpreter, "-c", code).strip()


def test_values_are_not_in_what_the_module_logs(
    interpreter: str, site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The module's calls of syslog and of the journal are recorded in this process: no daemon is needed."""
    basic = pytest.importorskip("ansible.module_utils.basic")
    testing = pytest.importorskip("ansible.module_utils.testing")
    import_check = importlib.import_module("ansible_collections.primus.patches.plugins.modules.import_check")

    packages.write(site, {"raises.py": RAISES})
    logged: list[str] = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda _self, message: logged.append(message))
    arguments = {"python": interpreter, "imports": ["raises"], "import_environment": {"TOKEN": TOKEN}}
    with testing.patch_module_args(arguments), pytest.raises(SystemExit):
        import_check.main()
    assert any("Invoked with" in line for line in logged), logged
    captured = capsys.readouterr()
    assert "raises" in captured.out
    assert TOKEN not in captured.out + captured.err + "".join(logged)


def test_a_hanging_import_ends_in_time_and_leaves_nothing(
    playbook: Playbook, interpreter: str, site: Path, tmp_path: Path
) -> None:
    packages.write(
        site,
        {
            "hangs.py": (
                "import os, pathlib, time\n"
                "(pathlib.Path.home() / 'lock').touch()\n"
                "pathlib.Path(os.environ['TORCH_EXTENSIONS_DIR'], 'lock').touch()\n"
                "def wait():\n    time.sleep(100)\nwait()\n"
            )
        },
    )
    home = tmp_path / "home-of-the-user"
    home.mkdir()
    (tmp_path / "tmp").mkdir()
    variables = {"HOME": str(home), "TMPDIR": str(tmp_path / "tmp"), "TORCH_EXTENSIONS_DIR": str(home)}
    plays = play("import_check", python=interpreter, imports=["hangs", "json"], timeout=1.5)
    plays[0]["environment"] = variables
    result = playbook(plays).exits(2).one("import_check").result
    assert [done["cause"] for done in result["imports"]] == ["timeout", "not_tried"]
    assert "line 5 in wait" in result["imports"][0]["traceback"]
    assert not list(home.rglob("lock"))
    assert not list((tmp_path / "tmp").glob("primus-imports-*"))
