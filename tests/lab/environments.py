# Real Python environments: bare ones, and the one with the real Megatron-Bridge on a CPU.
"""The Megatron environment was tested with Python 3.11 on x86_64; another version works where all its wheels exist.

The build of torch for the CPU comes from pip's own index or from PyTorch's; where neither has it, the one for CUDA is
taken, which works without a GPU and is four times as large. ``PRIMUS_TORCH`` replaces the torch requirement, and
``PRIMUS_TORCH_PIP_ARGS`` adds options of pip's for it (such as ``--index-url URL``, instead of PyTorch's).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lab import cache, interpreters
from lab.run import CommandError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TRANSFORMERS = "4.57.6"
# The 5.x release of the demo and the tests: `import megatron.bridge` works with it.
TRANSFORMERS_5 = "5.0.0"
TORCH = os.environ.get("PRIMUS_TORCH", "torch==2.13.0")
TORCH_PIP_ARGS = tuple(shlex.split(os.environ.get("PRIMUS_TORCH_PIP_ARGS", "")))
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
LIBRARIES = (f"transformers=={TRANSFORMERS}", "huggingface-hub<1.0", "omegaconf==2.4.0", "einops==0.8.2", "rich")
# Their own requirements name GPU-only or long outdated packages that the imports here do not touch.
WITHOUT_DEPENDENCIES = ("megatron-core==0.15.3", "megatron-bridge==0.2.0rc6", "blip-ci==0.0.5")


def python_of(environment: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return environment / "bin" / "python"


def site_packages(environment: Path) -> Path:
    """Return the site-packages directory of a virtual environment."""
    (directory,) = (environment / "lib").glob("python3*/site-packages")
    return directory


def bare(python: Path, destination: Path) -> Path:
    """Make an empty virtual environment (not even pip) of the interpreter ``python`` and return it."""
    run(python, "-I", "-m", "venv", "--without-pip", destination)
    return destination


def megatron(say: Callable[[str], None] = print) -> Path:
    """Return the real environment: torch, Transformers 4.57.6, Megatron-Core, Megatron-Bridge and blip-ci.

    Built once. It is shared: treat it as read-only and work on :func:`megatron_copy`.
    """
    python = interpreters.usual()

    def build(directory: Path) -> None:
        say(f"building the Megatron environment with {python} (once, a minute or more): {directory}")
        run(python, "-m", "venv", directory)
        torch, what = torch_build(python_of(directory))
        say(f"  {torch[0]}: {what}")
        steps = [torch, *others]
        for number, step in enumerate(steps, 1):
            say(f"  {number} of {len(steps)}: pip install {shlex.join(step)}")
            run(python_of(directory), "-m", "pip", "install", "--quiet", *step)

    others: list[Sequence[str]] = [LIBRARIES, ("--no-deps", *WITHOUT_DEPENDENCIES)]
    return cache.once("megatron", cache.digest(str(python.resolve()), (TORCH, *TORCH_PIP_ARGS), *others), build)


def torch_build(python: Path) -> tuple[Sequence[str], str]:
    """Return what pip is to install as torch for ``python``, and what that is and how large (for :data:`TORCH`)."""
    places = [TORCH_PIP_ARGS] if TORCH_PIP_ARGS else [(), ("--extra-index-url", TORCH_CPU_INDEX, "--retries", "1")]
    for arguments in places:
        if f"{TORCH}+cpu" in (f"torch=={version}" for version in versions("torch", python, *arguments)):
            return (
                f"{TORCH}+cpu",
                *arguments,
            ), "the build for the CPU: 0.2 GB to download, 1.2 GB on disk with the rest"
    return (TORCH, *TORCH_PIP_ARGS), (
        "the build for CUDA, as no index has one for the CPU: 2.9 GB to download, 4.9 GB on disk with the rest. "
        "PRIMUS_TORCH_PIP_ARGS='--index-url URL' names an index that has one"
    )


def versions(project: str, python: Path, *arguments: str) -> list[str]:
    """Return the versions of ``project`` that pip finds for ``python``, none when it finds no such project."""
    try:
        listing = run(python, "-m", "pip", "index", "versions", project, *arguments)
    except CommandError:
        return []
    return re.findall(r"[^\s,]+", listing.partition("Available versions:")[2].partition("\n")[0])


def megatron_copy(destination: Path, say: Callable[[str], None] = print) -> Path:
    """Make a private environment of the real one in a second or two, and return it.

    Its own site-packages holds a full private copy of Transformers with its dist-info (RECORD beside it, as pip left
    it); everything else comes from the shared environment behind it by a ``.pth`` file. So ``find_spec`` finds the
    private package, imports are the real ones, and whatever is done to Transformers stays in ``destination``.
    """
    shared = site_packages(megatron(say))
    private = site_packages(bare(interpreters.usual(), destination))
    for path in shared.glob("transformers*"):
        shutil.copytree(path, private / path.name, symlinks=True)
    (private / "shared.pth").write_text(f"{shared}\n")
    return destination


def megatron_5(destination: Path, say: Callable[[str], None] = print) -> Path:
    """Make a private environment like :func:`megatron_copy`'s, but with Transformers 5 and what that release wants."""
    shared = site_packages(megatron(say))
    requirement = f"transformers=={TRANSFORMERS_5}"

    def build(directory: Path) -> None:
        say(f"building the environment with {requirement} (once): {directory}")
        private = site_packages(bare(interpreters.usual(), directory))
        (private / "shared.pth").write_text(f"{shared}\n")
        # pip runs out of the shared environment, sees what is there, and installs only what is missing or too old; it
        # leaves alone what is outside of `directory`. (blip-ci's own conflicts, which it reports, are meant.)
        run(python_of(directory), "-m", "pip", "install", "--quiet", requirement)

    built = cache.once("megatron-5", cache.digest(str(shared), requirement), build)
    private = site_packages(bare(interpreters.usual(), destination))
    shutil.copytree(site_packages(built), private, symlinks=True, dirs_exist_ok=True)
    return destination
