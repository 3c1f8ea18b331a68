# The catalogue on the real wheels that it is for: each claim of each patch, the whole way to applied and back.
"""Only the files that a patch concerns are fetched (see lab.members), so that every release in range can be tried."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import interpreters, members, packages
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
    "megatron_router_padding_mask": {
        "unsupported": ("0.15.3",),
        "pending": (
            *("0.16.0", "0.16.1", "0.17.0", "0.17.1", "0.18.0", "0.18.1", "0.18.2"),
            *("0.19.0", "0.19.1", "0.19.2"),
        ),
    },
    "te_flash_attn_max_version": {
        "pending": ("1.9.0", "1.10.0", "1.11.0", "1.12.0", "1.13.0", "2.1.0"),
        "unsupported": ("2.2.0", "2.3.0", "2.20.2"),
    },
    "te_triton_permutation": {
        "unsupported": ("2.1.0", "2.5.0"),
        "pending": ("2.6.0", "2.6.0.post1", "2.7.0", "2.8.0", "2.9.0"),
        "native": ("2.10.0", "2.17.0", "2.20.2"),
    },
    "torch_cudnn_pin": {"unsupported": ("2.9.0", "2.11.0", "2.15.0"), "pending": ("2.9.1", "2.10.0")},
    "transformers_flax_t5_clip": {
        "unsupported": ("4.31.0", "5.0.0rc0", "5.0.0", "5.23.0"),
        "pending": ("4.32.0", "4.35.0", "4.38.0", "4.42.0", "4.48.0", "4.50.0", "4.52.0", "4.53.0", "4.57.6"),
    },
    "transformers_modeling_utils": {
        "unsupported": ("4.17.0", "4.29.2", "5.0.0rc0", "5.0.0", "5.23.0"),
        "native": ("4.30.0", "4.49.0", "4.55.4"),
        "pending": tuple(f"4.{minor}.{micro}" for minor, last in ((56, 2), (57, 6)) for micro in range(last + 1)),
    },
    "wandb_numpy_float": {
        "unsupported": ("0.12.21",),
        "pending": ("0.13.0", "0.13.11", "0.15.4", "0.15.5", "0.15.6", "0.16.0", "0.16.3", "0.17.0", "0.17.1"),
        "native": ("0.17.2", "0.17.7", "0.31.0"),
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
    if file.suffix == ".py":
        ast.parse(file.read_bytes())
    applied = look(name, tree)
    assert (applied["state"], applied["integrity"]) == ("applied", "patched"), applied["message"]
    assert not call(name, tree)["changed"]
    assert call(name, tree, "absent")["patches"][0]["action"] == "revert"
    assert packages.recorded(file) == packages.listed(tree, file.relative_to(tree).as_posix())
    assert contents(tree) == before


@pytest.mark.parametrize("name", [name for name in sorted(PATCHES) if "when" in PATCHES[name]])
def test_patch_is_needed_only_beside_what_it_is_for(name: str, site: Callable[[str, str], Path]) -> None:
    tree = site(name, CLAIMS[name]["pending"][-1])
    before = contents(tree)
    call(name, tree)
    (requirement,) = PATCHES[name]["when"]
    (metadata,) = tree.glob(requirement.partition(">")[0].replace("-", "_") + "-*.dist-info/METADATA")
    lines = metadata.read_text().splitlines()
    metadata.write_text("\n".join("Version: 1.26.4" if line.startswith("Version: ") else line for line in lines))
    found = look(name, tree)
    assert (found["state"], found["action"]) == ("unneeded", "revert"), found["message"]
    assert f"needed only where {requirement.replace('>', ' >')}" in found["message"]
    call(name, tree)
    assert {**contents(tree), metadata: before[metadata]} == before
    assert (look(name, tree)["state"], call(name, tree)["changed"]) == ("unneeded", False)


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_patch_of_metadata_is_recognised_by_record_where_its_store_is_lost(
    state: str, site: Callable[[str, str], Path]
) -> None:
    tree = site("torch_cudnn_pin", "2.9.1")
    before = contents(tree)
    call("torch_cudnn_pin", tree)
    after = contents(tree)
    shutil.rmtree(tree / STORE)
    found = call("torch_cudnn_pin", tree, state)["patches"][0]
    assert (found["state"], found["action"]) == ("applied", "none" if state == "present" else "revert")
    assert contents(tree) == (after if state == "present" else before)


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
        home = patch.get("package") or patch["distribution"]
        texts = [patch[key] for key in ("name", "versions", "file", "reason", "upstream", "retire")]
        assert all(text in words for text in [home, *texts])
    assert json.loads(run(python(version), LISTING, "--json")) == json.loads(json.dumps(CATALOGUE))
    assert [
        patch["name"] for patch in json.loads(run(python(version), LISTING, "--json", "te_triton_permutation"))
    ] == ["te_triton_permutation"]
    wrong = subprocess.run([python(version), LISTING, "nope"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("unknown patch nope; known: megatron_router_padding_mask, ")


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
    assert "unknown patch nope; known: megatron_router_padding_mask" in str(failed.result)


def test_module_takes_the_whole_catalogue_along(
    playbook: Callable[..., Any], system_python: Path, site: Callable[[str, str], Path]
) -> None:
    tree = site("te_triton_permutation", "2.6.0")
    task = {"primus.patches.site_patch_info": {"path": str(tree), "python": str(system_python)}}
    result = playbook([{"hosts": "all", "gather_facts": False, "tasks": [task]}]).exits(0)
    found = {patch["name"]: patch["state"] for patch in result.one("site_patch_info").result["patches"]}
    assert found == {
        "megatron_router_padding_mask": "missing",
        "te_flash_attn_max_version": "unsupported",
        "te_triton_permutation": "pending",
        "torch_cudnn_pin": "missing",
        "transformers_flax_t5_clip": "missing",
        "transformers_modeling_utils": "missing",
        "wandb_numpy_float": "missing",
    }


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
