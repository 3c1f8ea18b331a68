# docs/RECIPES.md: its commands run in the root of an image; scontrol and srun are stand-ins, and say so.
from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from lab import controller, image, pyz, wheels

if TYPE_CHECKING:
    from pathlib import Path

SITE = "/opt/venv/lib/python3.11/site-packages"  # as the page has it
HEADER = "Description: So that the tests see it.\nPackage: einops\nVersions: >=0.8,<0.9\n\n"
# Notes what it is told, or runs the command behind its options.
SCONTROL = '#!/bin/sh\nprintf "%s\\n" "$@" > /tmp/scontrol\n'
SRUN = '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n'


@pytest.fixture
def site(tmp_path: Path, system_python: Path) -> Path:
    """Return the site-packages of an image with the real einops, and what the page wants in /opt/primus."""
    site = image.make(tmp_path / "image", system_python)
    shutil.copytree(wheels.unpacked("einops", "0.8.2"), site, dirs_exist_ok=True)
    top = tmp_path / "image" / "opt" / "primus"
    (top / "patches").mkdir(parents=True)
    pyz.builder().build(top)
    (line,) = re.findall(r"^__version__ = .*\n", (site / "einops" / "__init__.py").read_text(), re.MULTILINE)
    before = (site / "einops" / "__init__.py").read_text().splitlines(keepends=True)
    at = before.index(line)
    hunk = f"@@ -{at + 1} +{at + 1},2 @@\n {line}+PATCHED = True\n"
    text = f"{HEADER}--- a/einops/__init__.py\n+++ b/einops/__init__.py\n{hunk}"
    (top / "patches" / "mark.patch").write_text(text)
    for name, script in {"scontrol": SCONTROL, "srun": SRUN, "logger": "#!/bin/sh\n"}.items():
        (tmp_path / "image" / "opt" / name).write_text(script)
        (tmp_path / "image" / "opt" / name).chmod(0o755)
    return site


def blocks(language: str, begins: str = "") -> list[str]:
    """Return the page's blocks in a language that begin in a way."""
    page = (controller.ROOT / "docs" / "RECIPES.md").read_text()
    return [text for text in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) if text.startswith(begins)]


def run(site: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the page in the image."""
    root = site.parents[4]
    script = script.replace(SITE, f"/{site.relative_to(root)}").replace("PATH=/usr/sbin", "PATH=/opt:/usr/sbin")
    return image.inside(root, "sh", *options, "-c", f"PATH=/opt:$PATH; {script}")


def patched(site: Path) -> bool:
    return "PATCHED = True\n" in (site / "einops" / "__init__.py").read_text()


def unpatch(site: Path) -> None:
    done = run(site, f"python3 /opt/primus/primus-patches.pyz revert --path {SITE} --all")
    assert done.returncode == 0, done.stderr
    assert not patched(site)


@pytest.mark.slow
def test_the_lines_of_a_dockerfile_and_of_a_definition_file_patch_an_image(site: Path) -> None:
    (dockerfile,) = blocks("dockerfile")
    assert re.findall(r"^COPY (\S+) (\S+)$", dockerfile, re.MULTILINE) == [  # (what the fixture has done)
        ("primus-patches.pyz", "/opt/primus/"),
        ("patches/", "/opt/primus/patches/"),
    ]
    (apptainer,) = blocks("text", "%files")
    scripts = [*re.findall(r"^RUN (.*)$", dockerfile, re.MULTILINE), apptainer.partition("%post\n")[2]]
    assert len(scripts) == 2
    for script in scripts:
        done = run(site, script)
        assert done.returncode == 0, done.stderr
        assert patched(site)
        status = run(site, "python3 /opt/primus/primus-patches.pyz status --python /opt/venv/bin/python")
        assert (status.returncode, "as written" in status.stdout) == (0, True)
        unpatch(site)
    (site / "einops" / "einops.py").write_text("import not_there\n")
    done = run(site, scripts[0])
    assert done.returncode == 2, "the build has to fail where the import does"
    assert "not_there" in done.stderr
    assert not patched(site)


@pytest.mark.slow
def test_the_containers_of_a_pod_patch_a_volume_and_find_what_was_changed(site: Path) -> None:
    (container,) = yaml.safe_load(blocks("yaml", "initContainers")[0])["initContainers"]
    probe = yaml.safe_load(blocks("yaml", "livenessProbe")[0])["livenessProbe"]["exec"]["command"]
    assert run(site, " ".join(probe)).returncode == 1
    assert run(site, " ".join(container["command"])).returncode == 0
    assert patched(site)
    assert run(site, " ".join(probe)).returncode == 0
    with (site / "einops" / "__init__.py").open("a") as file:
        file.write("# by hand\n")
    assert run(site, " ".join(probe)).returncode == 1


@pytest.mark.slow
def test_the_scripts_for_slurm(site: Path) -> None:
    (prolog,) = blocks("sh", "#!/bin/sh\n# A program of Prolog=")
    once, each = [block for block in blocks("sh") if "srun " in block]
    (check,) = blocks("sh", "#!/bin/sh\n# HealthCheckProgram=")
    noted = site.parents[4] / "tmp" / "scontrol"

    assert run(site, check).returncode == 0
    *words, reason = noted.read_text().splitlines()
    assert words[0::2] == ["update", "State=DRAIN"]
    assert reason.startswith("Reason=primus.patches: mark pending: einops 0.8.2 in ")
    for script in (prolog, each, once.replace("srun python train.py", "srun true")):
        done = run(site, script)
        assert done.returncode == 0, done.stderr
        assert patched(site)
        noted.unlink(missing_ok=True)
        assert run(site, check).returncode == 0
        assert not noted.exists(), "a node that is as it should be is left alone"
        unpatch(site)
    shutil.rmtree(site / "einops")
    assert run(site, prolog).returncode == 1
    assert run(site, once).returncode == 2
    assert run(site, check).returncode == 0
    assert not noted.exists(), "where nothing can be told, a node is left alone"


@pytest.mark.slow
def test_the_hook_of_conda_patches_and_never_ends_the_shell(site: Path) -> None:
    (hook,) = blocks("sh", "# $CONDA_PREFIX/etc/conda/activate.d/")
    script = f"set -e; CONDA_PREFIX=/opt/venv; {hook}\necho still here"
    done = run(site, script)
    assert (done.returncode, done.stdout) == (0, "still here\n"), done.stderr
    assert patched(site)
    with (site / "einops" / "__init__.py").open("a") as file:
        file.write("# by hand\n")
    done = run(site, script)
    assert (done.returncode, done.stdout) == (0, "still here\n")
    assert "edited since" in done.stderr


def test_the_page_tells_the_state_of_each_recipe() -> None:
    page = (controller.ROOT / "docs" / "RECIPES.md").read_text()
    heads = set(re.findall(r"^## (.+)$", page, re.MULTILINE))
    told = set(re.findall(r"^\| \[(.+?)\]", page, re.MULTILINE))
    assert told - {"ansible-pull"} == heads
