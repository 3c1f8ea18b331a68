# The role inside the root of a container image, by the chroot connection plugin of community.general.
from __future__ import annotations

import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from lab import cache, controller, wheels
from lab import image as images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Playbook = Callable[..., controller.Run]


@pytest.fixture
def image(tmp_path: Path, system_python: Path) -> Path:
    """Return the root of an image that holds a virtual environment at /opt/venv with a real Transformers."""
    site_packages = images.make(tmp_path / "image", system_python)
    wheels.modeling_tree("4.57.6", tmp_path / "tree")
    shutil.copytree(tmp_path / "tree", site_packages, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "tree")
    return tmp_path / "image"


@pytest.fixture(scope="session")
def collections(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collections path with ours and the chroot connection plugin, from the package ``ansible``."""

    def extract(directory: Path) -> None:
        with zipfile.ZipFile(wheels.wheel("ansible", "12.3.0")) as archive:
            for name in ("MANIFEST.json", "meta/runtime.yml", "plugins/connection/chroot.py"):
                archive.extract(f"ansible_collections/community/general/{name}", directory)

    path = tmp_path_factory.mktemp("collections")
    shutil.copytree(collection, path, symlinks=True, dirs_exist_ok=True)
    general = cache.once("community.general", "ansible-12.3.0", extract) / "ansible_collections" / "community"
    shutil.copytree(general, path / "ansible_collections" / "community")
    return path


@pytest.mark.slow
def test_the_role_works_inside_the_root_of_an_image(tmp_path: Path, image: Path, collections: Path) -> None:
    program = tmp_path / "chroot"
    program.write_text(images.CHROOT)
    program.chmod(0o755)
    variables: dict[str, Any] = {
        "ansible_connection": "community.general.chroot",
        "ansible_host": str(image),
        "ansible_chroot_exe": str(program),
        "ansible_python_interpreter": "/usr/bin/python3",
        "megatron_bridge_pythons": ["/opt/venv/bin/python"],
        "megatron_bridge_imports": [],
    }
    playbook = controller.Controller(tmp_path / "controller", collections).playbook
    inventory = {"all": {"hosts": {"image": variables}}}
    (file,) = image.glob("opt/venv/lib/python3*/site-packages/transformers/modeling_utils.py")
    original = file.read_bytes()
    for action, state in (("setup", "pending"), ("setup", "applied"), ("revert", "applied")):
        run = playbook(f"primus.patches.{action}_primus", inventory=inventory).exits(0)
        (item,) = run.one("site_patch").environments
        assert item["patches"][0]["state"] == state, run
        assert item["patches"][0]["files"][0]["path"] == "/" + str(file.relative_to(image))
        assert (file.read_bytes() == original) == (action == "revert")
