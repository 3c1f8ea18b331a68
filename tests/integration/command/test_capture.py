# `capture` and `edit` of primus-patches.pyz: from files that were edited by hand to a patch file, with real wheels.
from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import environments, interpreters, packages, pyz, wheels
from lab.controller import ROOT
from module_utils import _command

if TYPE_CHECKING:
    from collections.abc import Callable

EINOPS = ("einops", "0.8.2")
PAGE = ROOT / "docs" / "COMMAND.md"
COMPILED = ("markupsafe", "3.0.2")
HEADER = """Description: (to be filled in: what goes wrong without this patch)
Bug:
Forwarded: no
"""


@pytest.fixture
def run(file: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return ``run(...)``: the command line in a directory of its own; output in bytes, as a patch file is no text."""
    (tmp_path / "cwd").mkdir()

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(file), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path / "cwd", env=environment, capture_output=True, check=False)

    return call


@pytest.fixture
def ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return ``ask(...)``: as ``run``, in this process, which is quicker."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        capfdbinary.readouterr()
        status = _command.main(list(map(str, arguments)))
        return subprocess.CompletedProcess(arguments, status, *capfdbinary.readouterr())

    return call


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a site-packages with the real einops."""
    return shutil.copytree(wheels.unpacked(*EINOPS), tmp_path / "site")


@pytest.fixture
def wheel() -> Path:
    return wheels.wheel(*EINOPS)


def captured(done: subprocess.CompletedProcess[bytes], to: Path, status: int = 0) -> Path:
    """Return the patch file, after looking at how the run ended."""
    assert done.returncode == status, done.stderr.decode()
    assert done.stdout.startswith(HEADER.encode())
    to.write_bytes(done.stdout)
    return to


def refused(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return what was said, after looking at how the run ended."""
    assert (done.returncode, done.stdout) == (2, b""), done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


def content(directory: Path, *but: str) -> dict[str, tuple[bytes, bool]]:
    """Return content and executable bit of all files, without the store and those named."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    names = {str(path.relative_to(directory)): path for path in files}
    return {
        name: (path.read_bytes(), os.access(path, os.X_OK))
        for name, path in names.items()
        if name not in but and not name.startswith("primus-patches")
    }


def stamps(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells of any write below a directory."""
    paths = [directory, *directory.rglob("*")]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, path.lstat().st_size) for path in paths}


def edit(package: Path) -> None:
    """Edit a package by hand, in all ways that a patch can hold."""
    api, layers, ops = (package / name for name in ("einops.py", "layers/torch.py", "packing.py"))
    api.write_bytes(api.read_bytes().replace(b"import functools\n", b"import functools\nimport os\n"))
    layers.write_bytes(layers.read_bytes().replace(b"\n", b"\r\n"))
    ops.write_bytes(ops.read_bytes().rstrip(b"\n") + b"\n# the end, without a newline")
    (package / "array_api.py").unlink()
    (package / "py.typed").chmod(0o755)
    packages.write(
        package,
        {
            "more/__init__.py": "",
            "more/a name.py": "A = 1\n",
            "more/é.txt": b"latin: \xe9, no newline",
            "more/run.sh": "#!/bin/sh\n",
        },
    )
    (package / "more" / "run.sh").chmod(0o755)
    # What nobody means:
    packages.write(package, {"__pycache__/x.pyc": b"\0", "einops.py~": "", "einops.py.orig": "", ".x_cache/y": ""})


PASSED_OVER = ("__pycache__/x.pyc", "einops.py~", "einops.py.orig", ".x_cache/y")


def test_what_was_edited_by_hand_is_applied_there_and_gives_the_same_bytes_elsewhere(
    run: Callable[..., subprocess.CompletedProcess[bytes]], site: Path, wheel: Path, tmp_path: Path
) -> None:
    edit(site / "einops")
    before = stamps(site)
    done = run("capture", "--path", site, "einops", "--wheel", wheel)
    patch = captured(done, tmp_path / "our_fix.patch")
    assert stamps(site) == before
    assert b"\nPackage: einops\nVersions: ==0.8.2\n" in done.stdout
    said = done.stderr.decode()
    assert "einops/array_api.py: gone" in said
    assert "einops/more/a name.py: new" in said
    # What verify names is what capture finds; that passes over more leftovers, and knows modes by the wheel.
    (verified,) = json.loads(run("verify", "--path", site, "einops", "--json").stdout)["integrity"]
    words = {"changed": "edited", "missing": "gone", "added": "new"}
    named = {(each["path"], words[each["kind"]]) for each in verified["found"]}
    told = {tuple(line.strip().rsplit(": ", 1)) for line in said.splitlines() if line.startswith("  einops/")}
    assert {(path, kind) for path, kind in named if path[len("einops/") :] not in PASSED_OVER} == told - {
        ("einops/py.typed", "edited")
    }
    assert "Still to be written, in the first lines of the patch file:\n  Description: " in said

    applied = run("apply", "--path", site, "--patch", patch)
    assert applied.returncode == 0, applied.stderr.decode()
    assert b"applied: revision 1" in applied.stdout
    assert stamps(site) == before
    # (No fact tells of it: the patch itself explains what it would make.)
    (declared,) = json.loads(run("verify", "--path", site, "einops", "--patch", patch, "--json").stdout)["integrity"]
    explained = {path for path, _kind in named if path[len("einops/") :] not in PASSED_OVER}
    assert explained <= {each["path"] for each in declared["found"] if each["kind"] == "declared"}
    assert stamps(site) == before

    fresh = shutil.copytree(wheels.unpacked(*EINOPS), tmp_path / "fresh")
    pristine = content(fresh)
    applied = run("apply", "--path", fresh, "--patch", patch)
    assert applied.returncode == 0, applied.stderr.decode()
    edited = content(site, *(f"einops/{name}" for name in PASSED_OVER))
    assert content(fresh) == edited
    assert run("revert", "--path", fresh, "--patch", patch).returncode == 0
    assert content(fresh) == pristine

    by_git = shutil.copytree(wheels.unpacked(*EINOPS), tmp_path / "git")
    subprocess.run(["git", "apply", "--whitespace=nowarn", str(patch)], cwd=by_git, check=True)
    assert content(by_git) == edited

    # Taken out where it was made by hand, all is as it was installed: what RECORD proves. The mode, it does not tell.
    assert run("revert", "--path", site, "--patch", patch).returncode == 0
    reverted = content(site, *(f"einops/{name}" for name in PASSED_OVER))
    assert {**reverted, "einops/py.typed": pristine["einops/py.typed"]} == pristine
    assert reverted["einops/py.typed"] == (b"", True)


def test_transformers_edited_by_sed(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], tree: Callable[[str], Path], tmp_path: Path
) -> None:
    site, wheel = tree("4.57.6"), wheels.wheel("transformers", "4.57.6")
    record = site / "transformers-4.57.6.dist-info" / "RECORD"
    rows = record.read_text().splitlines(keepends=True)
    # (the lab's tree is the top of the wheel)
    record.write_text("".join(row for row in rows if (site / row.split(",")[0]).exists()))
    stems = ("modeling_utils", "trainer")
    for stem in stems:
        command = ["sed", "-i", "s/logger.warning_once/logger.warning/", f"{stem}.py"]
        subprocess.run(command, cwd=site / "transformers", check=True)
    said = refused(ask("capture", "--path", site, "transformers"))
    assert "expected the original of transformers/modeling_utils.py, transformers/trainer.py in the store" in said
    assert "--download" in said
    patch = captured(ask("capture", "--path", site, "transformers", "--wheel", wheel), tmp_path / "quiet.patch")
    assert b"applied" in ask("status", "--path", site, "--patch", patch).stdout
    fresh = tree("4.57.6")
    assert ask("apply", "--path", fresh, "--patch", patch).returncode == 0
    for stem in stems:
        assert (fresh / "transformers" / f"{stem}.py").read_bytes() == (
            site / "transformers" / f"{stem}.py"
        ).read_bytes()


@pytest.mark.slow
def test_the_environments_own_pip_downloads_what_it_installed(
    run: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    subprocess.run([interpreters.usual(), "-m", "venv", environment], check=True)
    python, site = environments.python_of(environment), environments.site_packages(environment)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "==".join(EINOPS)], check=True)
    edited = site / "einops" / "packing.py"
    pristine = edited.read_bytes()
    edited.write_bytes(b"# by hand\n" + pristine)
    assert "expected the original of einops/packing.py" in refused(run("capture", "--python", python, "einops"))
    done = run("capture", "--python", python, "einops", "--download")
    patch = captured(done, tmp_path / "fix.patch")
    assert b"\n+# by hand\n" in done.stdout
    assert b"applied" in run("status", "--python", python, "--patch", patch).stdout
    assert run("revert", "--python", python, "--patch", patch).returncode == 0
    assert edited.read_bytes() == pristine

    edited.write_bytes(b"# by hand\n" + pristine)
    shutil.rmtree(site / "pip")
    shutil.rmtree(site / "primus-patches", ignore_errors=True)
    said = refused(run("capture", "--python", python, "einops", "--download"))
    assert "-m pip download einops==0.8.2: expected one wheel, found 0" in said
    assert "give it as --wheel FILE" in said


def test_a_package_with_a_compiled_file_and_metadata(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    site = shutil.copytree(wheels.unpacked(*COMPILED), tmp_path / "site")
    wheel = wheels.wheel(*COMPILED)
    (compiled,) = (site / "markupsafe").glob("*.so")
    compiled.write_bytes(compiled.read_bytes() + b"\0")
    (info,) = site.glob("*.dist-info")
    metadata = info / "METADATA"
    metadata.write_bytes(metadata.read_bytes().replace(b"Requires-Python: >=3.9", b"Requires-Python: >=3.8"))
    native = site / "markupsafe" / "_native.py"
    native.write_bytes(b"# by hand\n" + native.read_bytes())
    done = ask("capture", "--path", site, "MarkupSafe", "--wheel", wheel)
    patch = captured(done, tmp_path / "pin.patch", status=1)
    assert b"\nDistribution: MarkupSafe\nVersions: ==3.0.2\n" in done.stdout
    assert f"left out: markupsafe/{compiled.name}: a binary file" in done.stderr.decode()
    fresh = shutil.copytree(wheels.unpacked(*COMPILED), tmp_path / "fresh")
    assert ask("apply", "--path", fresh, "--patch", patch).returncode == 0
    assert (fresh / info.name / "METADATA").read_bytes() == metadata.read_bytes()
    assert (fresh / "markupsafe" / "_native.py").read_bytes() == native.read_bytes()
    status = ask("status", "--path", site, "--patch", patch)
    assert (status.returncode, b"applied" in status.stdout) == (0, True)

    native.write_bytes(wheels.unpacked(*COMPILED).joinpath("markupsafe/_native.py").read_bytes())
    shutil.copy(wheels.unpacked(*COMPILED) / info.name / "METADATA", metadata)
    said = refused(ask("capture", "--path", site, "MarkupSafe", "--wheel", wheel))
    assert "expected edited files of MarkupSafe 3.0.2, found none" in said
    assert compiled.name in said


# --- a copy to be edited


def test_a_copy_is_edited_and_the_environment_is_not(
    run: Callable[..., subprocess.CompletedProcess[bytes]], site: Path, wheel: Path, tmp_path: Path
) -> None:
    before = stamps(site)
    done = run("edit", "--path", site, "einops")
    copy = tmp_path / "cwd" / "einops-0.8.2"
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == f"primus-patches.pyz capture --edited {copy} > NAME.patch\n"
    assert (copy / "einops" / "einops.py").read_bytes() == (site / "einops" / "einops.py").read_bytes()
    assert "found none" in refused(run("capture", "--edited", copy))
    edit(copy / "einops")
    patch = captured(run("capture", "--edited", copy), tmp_path / "our_fix.patch")
    assert stamps(site) == before
    by_hand = shutil.copytree(wheels.unpacked(*EINOPS), tmp_path / "by hand")
    edit(by_hand / "einops")
    same = run("capture", "--path", by_hand, "einops", "--wheel", wheel)
    assert same.stdout == patch.read_bytes()
    assert run("apply", "--path", site, "--patch", patch).returncode == 0
    assert content(site) == content(by_hand, *(f"einops/{name}" for name in PASSED_OVER))

    # What is patched is copied as it was installed; the originals come from the store.
    done = run("edit", "--path", site, "einops", "--to", tmp_path / "again")
    assert done.returncode == 0, done.stderr.decode()
    pristine = content(wheels.unpacked(*EINOPS))
    again = content(tmp_path / "again", "primus-patches-edit.json")
    assert again == {name: told for name, told in pristine.items() if not name.endswith("RECORD")}


@pytest.mark.parametrize("case", ["there already", "no marker", "damaged", "another version", "originals lost"])
def test_a_copy_that_cannot_be_used_is_refused(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], site: Path, tmp_path: Path, case: str
) -> None:
    copy = tmp_path / "copy"
    if case == "originals lost":
        (site / "einops" / "einops.py").write_text("# edited\n")
        assert "expected the original of einops/einops.py" in refused(
            ask("edit", "--path", site, "einops", "--to", copy)
        )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cwd", "site"]
        return
    assert ask("edit", "--path", site, "einops", "--to", copy).returncode == 0
    marker = copy / "primus-patches-edit.json"
    if case == "there already":
        before = stamps(copy)
        assert "expected nothing there" in refused(ask("edit", "--path", site, "einops", "--to", copy))
        assert stamps(copy) == before
    elif case == "no marker":
        marker.unlink()
        assert "expected a directory that 'edit' made" in refused(ask("capture", "--edited", copy))
    elif case == "damaged":
        for text in ("", "[]", "{}", '{"schema": 2}', marker.read_text().replace('"einops"', "3")):
            marker.write_text(text)
            assert "expected what 'edit' wrote" in refused(ask("capture", "--edited", copy))
    else:
        marker.write_text(marker.read_text().replace("0.8.2", "0.8.1"))
        assert "is a copy of einops 0.8.1: expected that in" in refused(ask("capture", "--edited", copy))


# --- declared patches, and where originals come from

LIMIT = """Description: Larger circles.
Package: acme
Versions: ==2.3.0

--- a/acme/api.py
+++ b/acme/api.py
@@ -3 +3 @@
-LIMIT = 10
+LIMIT = 20
"""


def test_what_is_declared_is_not_captured_and_what_was_added_is_held_against_the_original(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    api = pyz.install(site)
    (tmp_path / "limit.patch").write_text(LIMIT)
    assert ask("apply", "--path", site, "--patch", tmp_path / "limit.patch").returncode == 0
    said = refused(ask("capture", "--path", site, "acme"))
    assert "declared, and as it was written: acme/api.py: limit" in said
    api.write_text(api.read_text() + "\n\nMORE = 1\n")
    done = ask("capture", "--path", site, "acme")  # (the store has the original: no wheel is needed)
    patch = captured(done, tmp_path / "more.patch")
    told = "patched before, what is left of that is in the patch, too: acme/api.py: limit"
    assert told in done.stderr.decode()
    assert b"-LIMIT = 10\n+LIMIT = 20\n" in done.stdout
    assert b"+MORE = 1\n" in done.stdout
    assert b"applied" in ask("status", "--path", site, "--patch", patch).stdout


def test_originals_of_a_checkout_are_gits_objects(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    packages.write(tmp_path / "checkout" / "src", pyz.FILES)

    def git(*arguments: str) -> None:
        settings = ("-c", "user.name=n", "-c", "user.email=e")
        command = ["git", "-C", str(tmp_path / "checkout"), *settings, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    metadata = {"acme.egg-info/PKG-INFO": "Name: acme\nVersion: 2.3.0\n"}  # (as of an editable install)
    packages.write(tmp_path / "checkout" / "src", metadata)
    git("init")
    git("add", "src/acme")
    git("commit", "-m", "one")
    api = tmp_path / "checkout" / "src" / "acme" / "api.py"
    api.write_text(pyz.PATCHED)
    api.chmod(0o755)
    (tmp_path / "checkout" / "src" / "acme" / "other.py").unlink()
    (tmp_path / "checkout" / "src" / "acme" / "new.py").write_text("NEW = 1\n")
    done = ask("capture", "--path", tmp_path / "checkout", "acme")
    patch = captured(done, tmp_path / "limit.patch")
    assert b"Package: acme\nVersions: ==2.3.0\n" in done.stdout
    assert b"old mode 100644\nnew mode 100755\n" in done.stdout
    fresh = tmp_path / "fresh"
    pyz.install(fresh)
    assert ask("apply", "--path", fresh, "--patch", patch).returncode == 0
    assert (fresh / "acme" / "api.py").read_text() == pyz.PATCHED
    assert not (fresh / "acme" / "other.py").exists()
    assert b"applied" in ask("status", "--path", tmp_path / "checkout", "--patch", patch).stdout
    assert "is a git checkout" in refused(
        ask("capture", "--path", tmp_path / "checkout", "acme", "--wheel", tmp_path / "x.whl")
    )
    assert "found a git checkout" in refused(ask("edit", "--path", tmp_path / "checkout", "acme"))
    git("gc", "--prune=now")
    assert ask("capture", "--path", tmp_path / "checkout", "acme").stdout == done.stdout, "also from a pack"
    for path in (tmp_path / "checkout" / ".git" / "objects" / "pack").glob("*.pack"):
        path.unlink()
    said = refused(ask("capture", "--path", tmp_path / "checkout", "acme"))
    assert "among the objects of its own repository, found none that can be read" in said
    assert "diff --relative HEAD" in said


def rebuilt(wheel: Path, to: Path, *changes: tuple[str, bytes, bytes]) -> Path:
    """Write the wheel with other bytes in its members, by the end of their names."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            for end, before, after in changes:
                data = data.replace(before, after) if info.filename.endswith(end) else data
            new.writestr(info, data)
    return to


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("none", "x.whl: expected a wheel, found: No such file or directory"),
        ("text", "x.whl: expected a wheel, found: File is not a zip file"),
        ("bare", "x.whl: expected a wheel, found: \"There is no item named 'einops-0.8.2.dist-info/RECORD'"),
        ("archive", "expected the wheel of einops 0.8.2, which is installed, found no METADATA"),
        ("version", "expected the wheel of einops 0.8.2, which is installed, found einops 0.8.1"),
        ("other", "expected the wheel of einops 0.8.2, which is installed, found MarkupSafe 3.0.2"),
        ("build", "found another build of einops 0.8.2: RECORD has other hashes of einops/einops.py"),
        ("bytes", "expected the original of einops/einops.py in the store, in git or in a wheel, found it in none"),
    ],
)
def test_a_wheel_that_is_not_what_is_installed_is_refused(
    ask: Callable[..., subprocess.CompletedProcess[bytes]],
    site: Path,
    wheel: Path,
    tmp_path: Path,
    case: str,
    told: str,
) -> None:
    (site / "einops" / "einops.py").write_text("# edited\n")
    given = tmp_path / "x.whl"
    if case == "text":
        given.write_text("no wheel")
    elif case == "archive":
        with zipfile.ZipFile(given, "w") as archive:
            archive.writestr("x.py", "")
    elif case == "bare":
        with zipfile.ZipFile(given, "w") as archive:
            archive.write(site / "einops-0.8.2.dist-info" / "METADATA", "einops-0.8.2.dist-info/METADATA")
    elif case == "version":
        rebuilt(wheel, given, ("METADATA", b"Version: 0.8.2", b"Version: 0.8.1"))
    elif case == "other":
        shutil.copy(wheels.wheel(*COMPILED), given)
    elif case == "build":
        rebuilt(wheel, given, ("RECORD", b"einops/einops.py,sha256=", b"einops/einops.py,sha256=A"))
    elif case == "bytes":
        rebuilt(wheel, given, ("einops/einops.py", b"import", b"IMPORT"))
    before = stamps(site)
    assert told in refused(ask("capture", "--path", site, "einops", "--wheel", given))
    assert stamps(site) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("capture", "nothing-like-it"), "distribution nothing-like-it: expected it in"),
        (("capture", "no/name"), "expected the name of a distribution or a package, found 'no/name'"),
        (("capture",), "expected the name of a distribution, found none"),
        (("edit", "nothing-like-it"), "distribution nothing-like-it: expected it in"),
        (("capture", "einops"), "expected edited files of einops 0.8.2, found none"),
    ],
)
def test_what_cannot_be_captured_is_said(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], site: Path, arguments: tuple[str, ...], told: str
) -> None:
    command, *names = arguments
    assert told in refused(ask(command, *names, "--path", site))


def test_without_a_record_nothing_is_captured(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], site: Path
) -> None:
    (site / "einops-0.8.2.dist-info" / "RECORD").unlink()
    said = refused(ask("capture", "--path", site, "einops"))
    assert "expected RECORD with the hashes of its files, found none" in said


def test_of_what_is_installed_in_place_the_source_tree_is_to_be_given(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    info = packages.install(tmp_path / "site", "acme", "2.3.0", {"acme.pth": "/src/acme\n"})
    (info / "direct_url.json").write_text('{"url": "file:///src/acme", "dir_info": {"editable": true}}')
    said = refused(ask("capture", "--path", tmp_path / "site", "acme"))
    assert "acme is installed in place (editable): give the directory, --path /src/acme" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_does_not_read_another_users_environment_as_itself(
    ask: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        site = shutil.copytree(wheels.unpacked(*EINOPS), Path(top) / "site")
        for path in (site, *site.rglob("*")):
            os.chown(path, 65534, 65534)
        for command in ("capture", "edit"):
            said = refused(ask(command, "--path", site, "einops"))
            assert "expected an environment of root's, found another user's: run this as that user" in said


def test_a_tree_made_to_mislead_is_read_with_bounds(
    ask: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    info = packages.install(
        site, "acme", "2.3.0", {**pyz.FILES, "acme/pipe": "", "acme/large.txt": "", "acme/lost": ""}
    )
    record = info / "RECORD"
    record.write_text(record.read_text() + f"../secret,sha256=A,1\n{secret},sha256=A,1\nacme/../../secret,sha256=A,1\n")
    package = site / "acme"
    for name in ("pipe", "large.txt", "lost"):
        (package / name).unlink()
    os.mkfifo(package / "pipe")
    with open(package / "large.txt", "wb") as stream:
        stream.truncate(1 << 40)
    (package / "lost").symlink_to("nowhere")
    (package / "loop").symlink_to(package)
    (package / "linked.py").symlink_to(secret)
    (package / "api.py").write_text(pyz.PATCHED)
    store = site / "primus-patches" / "originals"
    store.mkdir(parents=True)
    digest = "6f2a"  # (what lies there is held against its hash)
    (store / f"{digest}.gz").write_bytes(gzip.compress(b"x"))
    said = refused(ask("capture", "--path", site, "acme"))
    assert "expected the original of acme/api.py in the store" in said
    wheel = tmp_path / "acme.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("acme/api.py", pyz.API)
        archive.writestr("acme-2.3.0.dist-info/RECORD", "")
        archive.write(info / "METADATA", "acme-2.3.0.dist-info/METADATA")
    done = ask("capture", "--path", site, "acme", "--wheel", wheel)
    assert done.returncode == 1, done.stderr.decode()
    assert b"secret" not in done.stdout
    assert done.stdout.count(b"diff --git") == 1
    said = done.stderr.decode()
    for name, reason in {
        "acme/pipe": "no regular file",
        "acme/large.txt": "edited, and larger than 16 MiB",
        "acme/lost": "a link that leads to nothing",
        "acme/loop": "a symbolic link",
        "acme/linked.py": "a symbolic link",
    }.items():
        assert f"left out: {name}: {reason}" in said
    assert "secret" not in said


# --- the page

EXAMPLES = [
    found
    for block in re.findall(r"^```shell-session\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for found in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


def test_each_command_of_the_page_prints_what_it_says(file: Path, tmp_path: Path, venv: Callable[..., Path]) -> None:
    home = venv()
    info = pyz.install(environments.site_packages(home)).parent.parent / "acme-2.3.0.dist-info"
    with zipfile.ZipFile(tmp_path / "acme-2.3.0-py3-none-any.whl", "w") as archive:
        for name in (*pyz.FILES, f"{info.name}/METADATA", f"{info.name}/RECORD"):
            archive.write(info.parent / name, name)
    shutil.copy(file, tmp_path)
    library = environments.site_packages(home).relative_to(home)
    names = {"python3 ": f"{sys.executable} ", "/opt/venv/lib/python3.11/site-packages": str(home / library)}
    names = {**names, "/opt/venv": str(home)}
    assert len(EXAMPLES) == 7
    for command, expected in EXAMPLES:
        line = command
        for name, here in names.items():
            line = line.replace(name, here)
        done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        told = (done.stderr + done.stdout).replace(str(home / library), "/opt/venv/lib/python3.11/site-packages")
        told = told.replace(str(home), "/opt/venv").replace(str(tmp_path), "/opt")
        told = re.sub(r"\(Python [\d.]+\)", "(Python 3.11.7)", told)
        assert re.sub(r"^Last-Update: .*", "Last-Update: 2026-01-31", told, flags=re.MULTILINE) == expected, command
        assert done.returncode == 0, command
