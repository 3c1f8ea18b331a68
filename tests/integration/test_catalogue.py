# The catalogue on the real wheels that it is for: each claim of each patch, the whole way to applied and back.
"""Only the files that a patch concerns are fetched (see lab.members), so that every release in range can be tried."""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import cache, environments, interpreters, members
from lab.controller import ROOT
from lab.run import run
from module_utils import _engine, _patch
from module_utils._catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

STORE = "primus-patches"
FOLDER = ROOT / "plugins" / "module_utils" / "_catalogue"
LISTING = FOLDER / "listing.py"
KNOWN = {"catalogue": list(CATALOGUE)}
PATCHES = {patch["name"]: patch for patch in CATALOGUE}
# Every release at which a claim changes, and those between whose files differ.
CLAIMS = {
    "te_flash_attn_max_version": {
        "pending": ("1.9.0", "1.10.0", "1.11.0", "1.12.0", "1.13.0", "2.1.0"),
        "unsupported": ("2.2.0", "2.3.0", "2.20.2"),
    },
    "te_triton_permutation": {
        "unsupported": ("2.1.0", "2.5.0"),
        "pending": ("2.6.0", "2.6.0.post1", "2.7.0", "2.8.0", "2.9.0"),
        "native": ("2.10.0", "2.17.0", "2.20.2"),
    },
    "transformers_flax_t5_clip": {
        "unsupported": ("4.31.0", "5.0.0rc0", "5.0.0", "5.23.0"),
        "pending": ("4.32.0", "4.35.0", "4.38.0", "4.42.0", "4.48.0", "4.50.0", "4.52.0", "4.53.0", "4.57.6"),
    },
    "transformers_modeling_utils": {
        "unsupported": ("4.17.0", "4.29.2", "5.0.0rc0", "5.0.0", "5.23.0"),
        "native": ("4.30.0", "4.49.0", "4.55.4"),
        "pending": tuple(f"4.{minor}.{micro}" for minor, last in ((56, 2), (57, 6)) for micro in range(last + 1)),
    },
}
TRIALS = [(name, version, state) for name, claims in CLAIMS.items() for state in claims for version in claims[state]]


@pytest.fixture
def site(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return ``site(patch, version)``: a private site-packages with what that patch reads of that release."""

    def make(name: str, version: str) -> Path:
        release = members.release(members.project_of(PATCHES[name]), version)
        return members.tree(PATCHES[name], release, tmp_path / "site")

    return make


@pytest.mark.parametrize(("name", "version", "state"), TRIALS)
def test_release_is_found_as_claimed(name: str, version: str, state: str, site: Callable[[str, str], Path]) -> None:
    found = look(name, site(name, version))
    assert (found["state"], found["version"]) == (state, version), found["message"]
    assert found["integrity"] in ("pristine", None)


@pytest.mark.parametrize(("name", "version"), [trial[:2] for trial in TRIALS if trial[2] == "pending"])
def test_patch_applies_parses_and_reverts_to_what_record_says(
    name: str, version: str, site: Callable[[str, str], Path]
) -> None:
    tree = site(name, version)
    before = contents(tree)
    found = call(name, tree)["patches"][0]
    file = Path(found["files"][0]["path"])
    assert (found["state"], found["action"]) == ("pending", "apply")
    assert contents(tree) == {**before, file: file.read_bytes()}
    assert file.read_bytes() != before[file]
    ast.parse(file.read_bytes())
    applied = look(name, tree)
    assert (applied["state"], applied["integrity"]) == ("applied", "patched"), applied["message"]
    assert not call(name, tree)["changed"]
    assert call(name, tree, "absent")["patches"][0]["action"] == "revert"
    assert digest(file) == recorded(file, tree)
    assert contents(tree) == before


@pytest.mark.parametrize("version", ["4.31.0", "4.57.6"])
def test_flax_patch_wants_a_jax_that_knows_the_new_names(version: str, site: Callable[[str, str], Path]) -> None:
    tree = site("transformers_flax_t5_clip", version)
    (metadata,) = tree.glob("jax-*.dist-info/METADATA")
    lines = metadata.read_text().splitlines()
    metadata.write_text("\n".join("Version: 0.4.26" if line.startswith("Version: ") else line for line in lines))
    found = look("transformers_flax_t5_clip", tree)
    assert found["state"] == "unsupported"
    wanted = (
        "requires jax: expected version >=0.4.27, found 0.4.26" if version == "4.57.6" else "expected version >=4.32"
    )
    assert wanted in found["message"]


@pytest.mark.parametrize("version", CLAIMS["te_flash_attn_max_version"]["pending"])
def test_only_the_modules_own_limit_on_flash_attn_is_raised(version: str, site: Callable[[str, str], Path]) -> None:
    tree = site("te_flash_attn_max_version", version)
    file = tree / "transformer_engine" / "pytorch" / "attention.py"
    before, in_functions = limits(file)
    call("te_flash_attn_max_version", tree)
    after, in_functions_after = limits(file)
    assert after == [*before, "3.0.0.post1"]
    # Since 1.12 a function assigns "2.1" to the same name where flash-attn cannot serve: that must stay.
    assert in_functions_after == in_functions
    assert bool(in_functions) == (version not in ("1.9.0", "1.10.0", "1.11.0"))


def test_folder_and_list_hold_the_same_patches() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", LISTING.stem}
    assert [patch["name"] for patch in CATALOGUE] == sorted(files)
    assert set(CLAIMS) == files


@pytest.mark.parametrize("name", sorted(PATCHES))
def test_entry_is_valid_and_says_why(name: str) -> None:
    patch = _patch.load(PATCHES[name])
    assert patch.upstream == "none" or patch.upstream.startswith("https://")
    # (No shebang: it is started as `python3 FILE`, and ansible-test wants none in module_utils.)
    assert (FOLDER / f"{name}.py").read_text().startswith("# ")


@pytest.mark.parametrize("version", interpreters.PROMISED)
@pytest.mark.parametrize("name", sorted(PATCHES))
def test_entry_runs_as_a_script(
    name: str, version: str, python: Callable[[str], Path], site: Callable[[str, str], Path]
) -> None:
    script = [python(version), FOLDER / f"{name}.py"]
    # The oldest release: Python 3.8 cannot parse some newer ones (whatever their own metadata say).
    tree = site(name, CLAIMS[name]["pending"][0])
    before = contents(tree)
    assert name in run(*script, "--help")
    checked = subprocess.run([*script, tree, "--check", "--diff"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (1, "")
    assert f"{name}: pending, would apply: " in checked.stdout
    assert contents(tree) == before
    assert f"{name}: applied (was pending: " in run(*script, tree)
    assert f"{name}: applied, nothing to do: " in run(*script, tree, "--check")
    assert f"{name}: reverted (was applied: " in run(*script, tree, "--revert")
    assert contents(tree) == before


@pytest.mark.parametrize("name", [*sorted(PATCHES), LISTING.stem])
def test_a_script_leaves_no_bytecode_in_the_collection(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "plugins" / FOLDER.relative_to(ROOT / "plugins") / f"{name}.py"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [sys.executable, script, *([] if name == LISTING.stem else [tmp_path, "--check"])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert name == LISTING.stem or "expected it in" in done.stderr
    assert list(tmp_path.rglob("__pycache__")) == []


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_catalogue_is_listed_by_the_shell(version: str, python: Callable[[str], Path]) -> None:
    listed = run(python(version), LISTING)
    for patch in CATALOGUE:
        words = " ".join(listed.split())
        assert all(
            patch[key] in words for key in ("name", "package", "versions", "file", "reason", "upstream", "retire")
        )
    assert json.loads(run(python(version), LISTING, "--json")) == json.loads(json.dumps(CATALOGUE))
    assert [
        patch["name"] for patch in json.loads(run(python(version), LISTING, "--json", "te_triton_permutation"))
    ] == ["te_triton_permutation"]
    wrong = subprocess.run([python(version), LISTING, "nope"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("unknown patch nope; known: te_flash_attn_max_version, ")


def test_catalogue_is_listed_by_an_installed_collection(collection: Path) -> None:
    installed = collection.joinpath("ansible_collections", "primus", "patches", *LISTING.relative_to(ROOT).parts)
    assert run(sys.executable, installed, "--json") == run(sys.executable, LISTING, "--json")


def test_catalogue_is_listed_by_a_playbook(playbook: Callable[..., Any]) -> None:
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.debug": {"msg": "{{ item.name }} {{ item.versions }} {{ item.retire }}"},
                "loop": "{{ query('primus.patches.catalogue') }}",
            },
            {"ansible.builtin.set_fact": {"one": "{{ query('primus.patches.catalogue', 'te_triton_permutation') }}"}},
            {"ansible.builtin.set_fact": {"none": "{{ query('primus.patches.catalogue', 'nope') }}"}},
        ],
    }
    result = playbook([play]).exits(2)
    said = [each["msg"] for each in result.one("debug").result["results"]]
    assert said == [f"{patch['name']} {patch['versions']} {patch['retire']}" for patch in CATALOGUE]
    one, failed = result.of("set_fact")
    assert one.result["ansible_facts"]["one"] == [PATCHES["te_triton_permutation"]]
    assert "unknown patch nope; known: te_flash_attn_max_version" in str(failed.result)


def test_module_takes_the_whole_catalogue_along(
    playbook: Callable[..., Any], system_python: Path, site: Callable[[str, str], Path]
) -> None:
    tree = site("te_triton_permutation", "2.6.0")
    task = {"primus.patches.site_patch_info": {"path": str(tree), "python": str(system_python)}}
    result = playbook([{"hosts": "all", "gather_facts": False, "tasks": [task]}]).exits(0)
    found = {patch["name"]: patch["state"] for patch in result.one("site_patch_info").result["patches"]}
    assert found == {
        "te_flash_attn_max_version": "unsupported",
        "te_triton_permutation": "pending",
        "transformers_flax_t5_clip": "missing",
        "transformers_modeling_utils": "missing",
    }


@pytest.mark.slow
@pytest.mark.xdist_group("jax")
def test_flax_t5_runs_on_jax_only_with_the_patch(tmp_path: Path, python: Callable[[str], Path]) -> None:
    interpreter = python("3.11")
    needs = ("jax==0.10.2", "flax==0.12.8", "msgpack==1.2.4", "transformers==4.57.6")

    def build(directory: Path) -> None:
        run(interpreter, "-m", "venv", directory)
        run(environments.python_of(directory), "-m", "pip", "install", "--quiet", *needs)

    shared = environments.site_packages(cache.once("jax", cache.digest(str(interpreter.resolve()), *needs), build))
    environment = environments.bare(interpreter, tmp_path / "venv")
    private = environments.site_packages(environment)
    (private / "shared.pth").write_text(f"{shared}\n")
    for path in shared.glob("transformers*"):
        # Links would do for reading, but the patch must never reach the shared environment.
        run("cp", "-R", path, private)
    code = (
        "import jax.numpy as jnp\n"
        "from transformers.models.t5.modeling_flax_t5 import FlaxT5Attention as attention\n"
        "positions = jnp.arange(4)[None, :] - jnp.arange(4)[:, None]\n"
        "for both in (True, False):\n"
        "    print(attention._relative_position_bucket(positions, bidirectional=both).tolist())\n"
    )
    interpreter = environments.python_of(environment)

    def site_patch(state: str) -> dict[str, Any]:
        # By interpreter, not by path: JAX lies behind the .pth file, which only the interpreter follows.
        request = {**KNOWN, "operation": "patch", "name": ["transformers_flax_t5_clip"], "state": state}
        code = "import json, sys; sys.path.insert(0, sys.argv[1]); from module_utils import _engine; "
        code += "print(json.dumps(_engine.run(json.loads(sys.argv[2]))))"
        return json.loads(run(interpreter, "-B", "-c", code, str(ROOT / "plugins"), json.dumps(request)))

    broken = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    assert "TypeError: clip() got an unexpected keyword argument 'a_max'" in broken.stderr
    assert site_patch("present")["patches"][0]["action"] == "apply"
    assert run(interpreter, "-c", code).splitlines()[-2:] == [
        "[[0, 17, 18, 19], [1, 0, 17, 18], [2, 1, 0, 17], [3, 2, 1, 0]]",
        "[[0, 0, 0, 0], [1, 0, 0, 0], [2, 1, 0, 0], [3, 2, 1, 0]]",
    ]
    assert site_patch("absent")["patches"][0]["action"] == "revert"


def call(name: str, site: Path, state: str = "present") -> dict[str, Any]:
    result = _engine.run({**KNOWN, "operation": "patch", "name": [name], "path": str(site), "state": state})
    assert not result.get("failed"), result["msg"]
    return result


def look(name: str, site: Path) -> dict[str, Any]:
    (found,) = _engine.run({**KNOWN, "operation": "info", "name": [name], "path": str(site)})["patches"]
    return found


def contents(directory: Path) -> dict[Path, bytes]:
    """Return the files but for bytecode, and the store: facts stay for an hour."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path: path.read_bytes() for path in files if STORE not in path.parts}


def digest(file: Path) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()


def recorded(file: Path, site: Path) -> str:
    """Return what the wheel's own RECORD says of a file."""
    rows = [row for path in site.glob("*.dist-info/RECORD") for row in csv.reader(path.read_text().splitlines())]
    (found,) = (row[1] for row in rows if row[0] == file.relative_to(site).as_posix())
    return found


def limits(file: Path) -> tuple[list[str], list[str]]:
    """Return the versions assigned to ``_flash_attn_max_version`` by the module itself, and those by its functions."""
    module = ast.parse(file.read_bytes())
    own = assigned(module.body)
    return own, [version for version in assigned(list(ast.walk(module))) if version not in own]


def assigned(nodes: list[Any]) -> list[str]:
    return [
        node.value.args[0].value
        for node in nodes
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_flash_attn_max_version"
    ]
