# What patches of the catalogue are for, in real environments: without the patch it fails, with it it works.
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from lab import cache, environments, members, wheels
from lab.controller import ROOT
from lab.run import run
from module_utils._catalogue import CATALOGUE
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENGINE = (
    "import json, sys; sys.path.insert(0, sys.argv[1]); from module_utils import _engine; "
    "print(json.dumps(_engine.run(json.loads(sys.argv[2]))))"
)


@pytest.mark.slow
@pytest.mark.xdist_group("jax")
def test_flax_t5_runs_on_jax_only_with_the_patch(tmp_path: Path, python: Callable[[str], Path]) -> None:
    needs = ("jax==0.10.2", "flax==0.12.8", "msgpack==1.2.4", "transformers==4.57.6")
    interpreter = before(built("jax", python("3.11"), *needs), "transformers*", tmp_path)
    code = (
        "import jax.numpy as jnp\n"
        "from transformers.models.t5.modeling_flax_t5 import FlaxT5Attention as attention\n"
        "positions = jnp.arange(4)[None, :] - jnp.arange(4)[:, None]\n"
        "for both in (True, False):\n"
        "    print(attention._relative_position_bucket(positions, bidirectional=both).tolist())\n"
    )
    error = "TypeError: clip() got an unexpected keyword argument 'a_max'"
    assert only_with("transformers_flax_t5_clip", interpreter, code, error)[-2:] == [
        "[[0, 17, 18, 19], [1, 0, 17, 18], [2, 1, 0, 17], [3, 2, 1, 0]]",
        "[[0, 0, 0, 0], [1, 0, 0, 0], [2, 1, 0, 0], [3, 2, 1, 0]]",
    ]


@pytest.mark.slow
@pytest.mark.xdist_group("wandb")
def test_wandb_is_imported_with_numpy_2_only_with_the_patch(tmp_path: Path, python: Callable[[str], Path]) -> None:
    interpreter = before(built("wandb", python("3.11"), "wandb==0.16.6", "numpy==2.4.6"), "wandb*", tmp_path)
    code = (
        "import numpy, wandb\n"
        "from wandb.sdk.data_types._dtypes import TypeRegistry\n"
        "print(wandb.__version__, numpy.__version__)\n"
        "print([TypeRegistry.type_of(of(1)).name for of in (numpy.float64, numpy.complex128)])\n"
    )
    error = "AttributeError: `np.float_` was removed in the NumPy 2.0 release."
    said = only_with("wandb_numpy_float", interpreter, code, error)
    assert said == ["0.16.6 2.4.6", "['number', 'number']"]


@pytest.mark.slow
@pytest.mark.xdist_group("megatron")
def test_the_router_takes_a_padding_mask_only_with_the_patch(tmp_path: Path) -> None:
    interpreter = before(environments.site_packages(environments.megatron()), "nothing", tmp_path)
    with zipfile.ZipFile(wheels.wheel("megatron-core", "0.16.1")) as archive:
        archive.extractall(environments.site_packages(tmp_path / "venv"))
    # The router's buffers go to the current CUDA device, which is none here. Eight tokens, of which two are padding.
    code = (
        "import torch, megatron.core as core\n"
        "from megatron.core import parallel_state, process_groups_config, transformer\n"
        "from megatron.core.transformer.moe.router import TopKRouter\n"
        "torch.cuda.current_device = lambda: 'cpu'\n"
        "torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)\n"
        "parallel_state.initialize_model_parallel()\n"
        "config = transformer.TransformerConfig(num_layers=1, hidden_size=12, num_attention_heads=4,\n"
        "    num_moe_experts=4, moe_router_topk=2, moe_router_load_balancing_type='none', add_bias_linear=False,\n"
        "    moe_router_score_function='sigmoid', moe_router_enable_expert_bias=True, use_cpu_initialization=True)\n"
        "groups = process_groups_config.ProcessGroupCollection.use_mpu_process_groups()\n"
        "router = TopKRouter(config, pg_collection=groups)\n"
        "router.routing(torch.randn(8, 1, 4), padding_mask=torch.arange(8).reshape(8, 1) >= 6)\n"
        "print(core.__version__, router.local_tokens_per_expert.sum().item())\n"
    )
    error = "RuntimeError: The size of tensor a (4) must match the size of tensor b (8)"
    assert only_with("megatron_router_padding_mask", interpreter, code, error)[-1] == "0.16.1 12.0"


def test_pip_accepts_torch_beside_a_newer_cudnn_only_with_the_patch(
    tmp_path: Path, python: Callable[[str], Path]
) -> None:
    interpreter = environments.python_of(environments.bare(python("3.11"), tmp_path / "venv"))
    described = metadata_of(
        "torch==2.9.1", "nvidia-cudnn-cu12<10,>=9.15", site=environments.site_packages(tmp_path / "venv")
    )
    cudnn = described["nvidia-cudnn-cu12"]
    asked = ("install", "--no-index", "--dry-run", "torch")
    said, code = pip(interpreter, "check")
    wanted = f"torch 2.9.1 has requirement nvidia-cudnn-cu12==9.10.2.21; .*, but you have nvidia-cudnn-cu12 {cudnn}."
    assert code == 1
    assert re.fullmatch(wanted, said.strip()), said
    said, code = pip(interpreter, *asked)
    assert code == 1
    assert "No matching distribution found for nvidia-cudnn-cu12==9.10.2.21" in said
    assert site_patch(interpreter, "torch_cudnn_pin") == ("pending", "apply")
    assert pip(interpreter, "check") == ("No broken requirements found.\n", 0)
    said, code = pip(interpreter, *asked)
    assert code == 0
    assert f"Requirement already satisfied: nvidia-cudnn-cu12<10,>=9.10.2.21 in {tmp_path}" in said
    assert site_patch(interpreter, "torch_cudnn_pin", "absent") == ("applied", "revert")
    assert pip(interpreter, "check")[1] == 1


def built(name: str, interpreter: Path, *needs: str) -> Path:
    """Return the site-packages of an environment with ``needs``, made once. Treat it as read-only."""

    def build(directory: Path) -> None:
        run(interpreter, "-m", "venv", directory)
        run(environments.python_of(directory), "-m", "pip", "install", "--quiet", *needs)

    return environments.site_packages(cache.once(name, cache.digest(str(interpreter.resolve()), *needs), build))


def before(shared: Path, pattern: str, tmp_path: Path) -> Path:
    """Return the Python of an environment in front of ``shared``, with its own copy of what the pattern names.

    Links would do for reading, but the patch must never reach the shared environment.
    """
    environment = environments.bare(shared.parents[2] / "bin" / "python", tmp_path / "venv")
    private = environments.site_packages(environment)
    (private / "shared.pth").write_text(f"{shared}\n")
    for path in shared.glob(pattern):
        run("cp", "-R", path, private)
    return environments.python_of(environment)


def site_patch(interpreter: Path, name: str, state: str = "present") -> tuple[str, str]:
    """Return the state found and the action. By interpreter, not by path: only that follows the .pth file."""
    request = {"catalogue": list(CATALOGUE), "operation": "patch", "name": [name], "state": state}
    result = json.loads(run(interpreter, "-B", "-c", ENGINE, str(ROOT / "plugins"), json.dumps(request)))
    assert not result.get("failed"), result["msg"]
    return result["patches"][0]["state"], result["patches"][0]["action"]


def only_with(name: str, interpreter: Path, code: str, error: str) -> list[str]:
    """Return the lines that the code prints with the patch; without it it must fail with that error."""
    # (torch compiles nothing here: that takes long, and needs a compiler.)
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}
    without = subprocess.run([interpreter, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert without.returncode == 1
    assert error in without.stderr
    assert site_patch(interpreter, name) == ("pending", "apply")
    lines = run(interpreter, "-c", code, env=environment).splitlines()
    assert site_patch(interpreter, name, "absent") == ("applied", "revert")
    return lines


def metadata_of(*requirements: str, site: Path) -> dict[str, str]:
    """Lay METADATA and RECORD of these and of all that they require into ``site``; return the versions.

    The wheels have gigabytes; what pip reads of an installed distribution is this.
    """
    waiting = list(map(Requirement, requirements))
    found: dict[str, str] = {}
    while waiting:
        wanted = waiting.pop(0)
        if wanted.name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        fitting = [each for each in members.releases(wanted.name) if wanted.specifier.contains(each.version)]
        release = [each for each in fitting if not Version(each.version).is_prerelease][-1]
        files = members.files(release, ())
        shutil.copytree(files, site, dirs_exist_ok=True)
        found[wanted.name] = release.version
        (metadata,) = files.glob("*.dist-info/METADATA")
        waiting += Metadata.from_email(metadata.read_bytes(), validate=False).requires_dist or []
    return found


def pip(interpreter: Path, *arguments: str) -> tuple[str, int]:
    """Return what pip, of this environment but at work on that of ``interpreter``, says, and its exit status."""
    command = [sys.executable, "-m", "pip", "--python", interpreter, "--disable-pip-version-check", *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode
