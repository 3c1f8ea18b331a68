# primus-patches.pyz as a user has it: the real file, real interpreters, real environments.
from __future__ import annotations

import ast
import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import checkout, controller, environments, pyz, sandbox, snapshot
from lab.run import run
from lab.sandbox import needs_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

LARGEST = 150_000  # bytes
NAME = "transformers_modeling_utils"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  \S+@\S+"


def said(done: CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def succeeds(done: CompletedProcess[str], status: int = 0) -> str:
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


def refuses(done: CompletedProcess[str]) -> str:
    """Return the error of a command that was refused: one line, and no answer."""
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# --- the file


def test_two_checkouts_give_the_same_bytes(tmp_path: Path, file: Path) -> None:
    clone = checkout.copy(tmp_path / "elsewhere" / "clone")
    run("git", "-C", clone, "init", "--quiet")
    for path in clone.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1), follow_symlinks=False)
    other = pyz.builder().build(tmp_path / "other", clone)
    assert other.read_bytes() == file.read_bytes()


def test_it_is_small_and_can_be_run_as_a_program(file: Path, site: Path) -> None:
    assert file.stat().st_size < LARGEST
    assert os.access(file, os.X_OK)
    done = subprocess.run([file, "status", "--path", site], capture_output=True, text=True, check=False)
    assert said(done) == (0, f"{site}\n  no store beside its packages tells of a patched file\n", "")
    with zipfile.ZipFile(file) as archive:
        entries = [(entry.filename, entry.date_time, entry.external_attr >> 16) for entry in archive.infolist()]
    assert entries == [(name, (1980, 1, 1, 0, 0, 0), 0o100644) for name in ("__main__.py", "engine.json", "first.json")]


def test_what_it_holds_is_the_engine_without_comments_line_by_line(file: Path) -> None:
    def code(text: str) -> tuple[str, list[int]]:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            for each in body if isinstance(body, list) else []:
                if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
                    each.value.value = ""
        return ast.dump(tree), [getattr(node, "lineno", 0) for node in ast.walk(tree)]

    with zipfile.ZipFile(file) as archive:
        texts = {**json.loads(archive.read("engine.json")), **json.loads(archive.read("first.json"))}
    assert {"_boot", "_question", "_catalogue", "_catalogue.listing", "_command", "_engine"} <= set(texts)
    for name, text in texts.items():
        stem = controller.ROOT / "plugins" / "module_utils" / name.replace(".", "/")
        source = (stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")).read_text()
        assert code(text) == code(source), name
        assert text[:40] == source[:40]


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_an_old_python_is_told_what_is_needed(file: Path, version: str) -> None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    python = next(iter(sorted(pyenv.glob(f"{version}.*/bin/python"))), None)
    if python is None:
        pytest.skip(f"no Python {version} in pyenv")
    error = refuses(pyz.run(file, "list", python=python))
    assert f"expected Python 3.8 or newer, found {version}." in error


def test_version_is_that_of_the_collection(file: Path) -> None:
    version = re.search(r"^version: (\S+)$", (controller.ROOT / "galaxy.yml").read_text(), re.MULTILINE)
    assert version
    assert succeeds(pyz.run(file, "--version")) == f"primus-patches {version[1]}\n"


@pytest.mark.parametrize("command", ["", "list", "apply", "status", "revert", "restore"])
def test_help_has_examples_and_the_exit_status(file: Path, command: str) -> None:
    text = succeeds(pyz.run(file, *filter(None, [command]), "--help"))
    assert re.search(rf"^  primus-patches.pyz {command}", text, re.MULTILINE)
    assert "Exit status: 0" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("arguments", [(), ("nope",), ("apply",), ("status", "--nope"), ("apply", "--pat", "x")])
def test_a_wrong_usage_ends_with_2_on_standard_error(file: Path, arguments: tuple[str, ...]) -> None:
    done = pyz.run(file, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: primus-patches.pyz")


# --- what it does


@pytest.mark.parametrize(("running", "environment"), [("3.8", "3.13"), ("3.13", "3.8"), ("", "3.8"), ("", "3.13")])
def test_check_apply_again_status_revert(
    file: Path,
    venv: Callable[[str], Path],
    python: Callable[[str], Path],
    patches: Path,
    running: str,
    environment: str,
) -> None:
    """Under another interpreter and, without ``running``, under the environment's own."""
    home = venv(environment)
    own = environments.python_of(home)
    api = pyz.install(environments.site_packages(home))
    starts = python(running) if running else own
    where = ("--python", own) if running else ()
    before = snapshot.take(home, file.parent)

    def call(*arguments: str | Path) -> CompletedProcess[str]:
        return pyz.run(file, *arguments, *where, python=starts, cwd=file.parent)

    head = rf"{re.escape(str(own))} \(Python {environment}\.\d+\)\n"
    apply = ("apply", "--patch", patches, "--import", "acme.api:area")
    pattern = head + (
        r"  would apply  limit        acme 2\.3\.0  pending: not applied; revision 1 is current\n"
        r"  would apply  other_limit  acme 2\.3\.0  pending: not applied; revision 1 is current\n"
        r"  imported  acme\.api:area  before anything was written\n"
    )
    assert re.fullmatch(pattern, succeeds(call(*apply, "--check"), 1))
    assert snapshot.take(home, file.parent) == before
    assert re.match(head + r"  applied  limit        acme 2\.3\.0  was pending: ", succeeds(call(*apply)))
    assert api.read_text() == pyz.PATCHED
    after = snapshot.take(home, file.parent)
    for more in ((), ("--check",)):
        assert "  nothing to do  limit        acme 2.3.0  applied: revision 1\n" in succeeds(call(*apply, *more))
    pattern = head + (
        rf".*/site-packages:\n  as written  acme/api\.py    limit        {STAMP}\n"
        rf"  as written  acme/other\.py  other_limit  {STAMP}\n"
    )
    assert re.fullmatch(pattern, succeeds(call("status")))
    told = succeeds(call("status", "--patch", patches))
    assert re.fullmatch(head + r"(  applied  (limit      |other_limit)  acme 2\.3\.0  patched  revision 1\n){2}", told)
    told = succeeds(call("revert", "--all", "--check", "--diff"), 1)
    assert told.startswith(f"--- {api}\t(before)\n+++ {api}\t(after)\n")
    assert "\n  would revert  limit        acme 2.3.0  applied: revision 1\n" in told
    assert snapshot.take(home, file.parent) == after
    assert "\n  reverted  limit        acme 2.3.0  was applied: revision 1\n" in succeeds(call("revert", "--all"))
    assert api.read_text() == pyz.API
    assert "  nothing to do: " in succeeds(call("revert", "--all"))
    assert "  no store beside its packages tells of a patched file\n" in succeeds(call("status"))


def test_the_catalogue_on_the_real_wheel(file: Path, tree: Callable[[str], Path]) -> None:
    site = tree("4.57.6")
    target = site / "transformers" / "modeling_utils.py"
    stock = target.read_bytes()
    where = ("--path", site, "--patch", NAME)
    assert f"  pending  {NAME}  transformers 4.57.6  pristine  not applied" in succeeds(
        pyz.run(file, "status", *where), 1
    )
    told = succeeds(pyz.run(file, "apply", *where, "--diff"))
    assert "\n+    prune_linear_layer,\n" in told
    assert f"  applied  {NAME}  transformers 4.57.6  was pending: " in told
    line = succeeds(pyz.run(file, "status", *where, "--health"))
    assert line == f"{NAME} applied: transformers 4.57.6 in {site}/transformers: revision 1\n"
    assert succeeds(pyz.run(file, "status", "--path", site, "--health")) == "all of 1 patched files are as written\n"
    assert succeeds(pyz.run(file, "revert", *where, "--quiet")) == ""
    assert target.read_bytes() == stock
    assert pyz.run(file, "status", *where, "--health").returncode == 1


def test_native_and_unsupported_versions(file: Path, tree: Callable[[str], Path]) -> None:
    where = ("--patch", NAME, "--path")
    native = tree("4.55.4")
    assert f"  nothing to do  {NAME}  transformers 4.55.4  native: " in succeeds(pyz.run(file, "apply", *where, native))
    newer = tree("5.0.0")
    before = snapshot.take(newer)
    assert "expected version >=4.56,<5, found 5.0.0. Nothing was written." in refuses(
        pyz.run(file, "apply", *where, newer)
    )
    skipped = succeeds(pyz.run(file, "apply", *where, newer, "--unsupported", "skip"))
    assert f"  passed over  {NAME}  transformers 5.0.0  unsupported: " in skipped
    assert pyz.run(file, "status", *where, newer).returncode == 1
    assert pyz.run(file, "status", *where, newer, "--unsupported", "skip").returncode == 0
    assert snapshot.take(newer) == before


def test_a_health_check_says_in_its_line_that_a_patch_cannot_be_read(file: Path, site: Path, tmp_path: Path) -> None:
    patch = tmp_path / "odd.patch"
    patch.write_text("Package: thing\n")
    for named in (patch, "no_such_patch"):
        done = pyz.run(file, "status", "--patch", named, "--path", site, "--health")
        assert (done.returncode, done.stderr) == (2, "")
        assert done.stdout.startswith("primus.patches unknown: ")
        assert done.stdout.count("\n") == 1
        assert str(named) in done.stdout


def test_list_has_the_catalogue_and_what_patch_files_say(file: Path, patches: Path) -> None:
    told = succeeds(pyz.run(file, "list"))
    assert re.search(rf"^{NAME} +transformers +>=4\.56,<5 +modeling_utils\.py$", told, re.MULTILINE)
    told = succeeds(pyz.run(file, "list", "--patch", patches))
    assert re.search(r"^limit +acme +>=2\.3,<3 +api\.py\n    reason    Our circles are larger\.$", told, re.MULTILINE)
    (found,) = json.loads(succeeds(pyz.run(file, "list", "--patch", NAME, "--json")))
    assert found["name"] == NAME


def test_json_is_the_result_of_the_module(file: Path, site: Path, patches: Path) -> None:
    done = pyz.run(file, "apply", "--path", site, "--patch", patches, "--check", "--diff", "--json")
    result = json.loads(succeeds(done, 1))
    assert (result["changed"], [patch["action"] for patch in result["patches"]]) == (True, ["apply", "apply"])
    assert result["diff"]["prepared"].count("\n+LIMIT = 20\n") == 2
    result = json.loads(succeeds(pyz.run(file, "status", "--path", site, "--patch", patches, "--json"), 1))
    assert [patch["state"] for patch in result["patches"]] == ["pending", "pending"]
    for command in (
        ("apply", "--path", site / "acme.no", "--patch", patches),
        ("apply", "--patch", "nope"),
        ("revert",),
    ):
        done = pyz.run(file, *command, "--json")
        assert (done.returncode, done.stderr) == (2, json.loads(done.stdout)["msg"] + "\n")


def test_a_file_edited_since_is_told_refused_and_given_back(file: Path, site: Path, patches: Path) -> None:
    api = site / "acme" / "api.py"
    where = ("--path", site)
    succeeds(pyz.run(file, "apply", *where, "--patch", patches))
    api.write_text(pyz.PATCHED + "# by hand\n")
    before = snapshot.take(site)
    told = succeeds(pyz.run(file, "status", *where), 1)
    assert re.search(rf"^  DIFFERS     acme/api\.py    limit        {STAMP}$", told, re.MULTILINE)
    assert "  acme/api.py: edited since primus.patches wrote it (limit, " in told
    assert "line 8: expected '', found '# by hand'" in told
    line = succeeds(pyz.run(file, "status", *where, "--health"), 1)
    assert line.startswith(f"1 of 2 patched files: {api}: edited since primus.patches wrote it (limit, ")
    error = refuses(pyz.run(file, "revert", *where, "--all"))
    assert "use primus-patches.pyz restore, which gives the original back" in error
    assert "  would restore  limit " in succeeds(pyz.run(file, "restore", *where, "--all", "--check"), 1)
    assert snapshot.take(site) == before
    told = succeeds(pyz.run(file, "restore", *where, "--all"))
    assert "  restored  limit        acme 2.3.0  was conflict: the kept original of " in told
    copy = re.search(r"^  copy kept: (.*/api\.py\..*)$", told, re.MULTILINE)
    assert copy
    assert Path(copy[1]).read_text().endswith("# by hand\n")
    assert [api.read_text(), (site / "acme" / "other.py").read_text()] == [pyz.API, pyz.API]


def test_a_failed_import_is_an_error_and_nothing_is_written(
    file: Path, venv: Callable[..., Path], patches: Path
) -> None:
    home = venv()
    pyz.install(environments.site_packages(home))
    before = snapshot.take(home)
    where = ("--python", environments.python_of(home), "--patch", patches)
    error = refuses(pyz.run(file, "apply", *where, "--import", "acme.nothing"))
    assert "acme.nothing" in error
    assert snapshot.take(home) == before
    told = succeeds(pyz.run(file, "status", *where, "--import", "acme.nothing"), 1)
    assert "  import fails  acme.nothing  as the files are: " in told


@needs_root
def test_root_works_as_the_owner_of_the_environment(file: Path, patches: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="primus-zipapp-") as name:
        home = Path(name)
        home.chmod(0o755)
        api = pyz.install(home / "site")
        for path in (home, *home.rglob("*")):
            os.chown(path, sandbox.USER, sandbox.GROUP)
        for command in (("apply", "--patch", patches), ("status",), ("revert", "--all")):
            succeeds(pyz.run(file, *command, "--path", home / "site"))
            owners = {path.stat().st_uid for path in home.rglob("*")}
            assert owners == {sandbox.USER}
        assert api.read_text() == pyz.API


def test_a_reader_that_has_seen_enough_is_no_failure_with_a_traceback(file: Path) -> None:
    command = f'"{sys.executable}" "{file}" list --json | head -c 1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_streams_that_cannot_be_written_do_not_change_what_is_done_and_how_it_ends(
    file: Path, site: Path, patches: Path, closed: str
) -> None:
    def ends(*arguments: str | Path) -> int:
        words = shlex.join(map(str, (sys.executable, file, *arguments, "--path", site)))
        return subprocess.run(["bash", "-c", f"{words} {closed}"], capture_output=True, check=False).returncode

    assert ends("apply", "--patch", patches, "--check") == 1
    assert ends("apply", "--patch", patches) == 0
    assert ends("revert", "--all") == 0
    assert ends("apply", "--patch", "nope") == 2


# --- what is refused


def _gzip(directory: Path) -> Path:
    path = directory / "packed.patch"
    path.write_bytes(gzip.compress(pyz.patch(directory / "x").read_bytes()))
    return path


def _written(name: str, text: str) -> Callable[[Path], Path]:
    def write(directory: Path) -> Path:
        (directory / name).write_text(text)
        return directory / name

    return write


def _of(name: str) -> Callable[[Path], Path]:
    def write(directory: Path) -> Path:
        path = pyz.patch(directory)
        path.write_text(re.sub("[ab]/src/acme/api.py", name, path.read_text()))
        return path

    return write


def _empty(directory: Path) -> Path:
    (directory / "empty").mkdir()
    return directory / "empty"


def _twice(directory: Path) -> Path:
    shutil.copy(pyz.patch(directory / "both"), directory / "both" / "LIMIT.diff")
    return directory / "both"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_written("empty.patch", ""), "empty.patch: "),
        (_written("page.patch", "<!DOCTYPE html><html></html>"), "download the raw file"),
        (_gzip, "it is compressed (gzip): unpack it first"),
        (_empty, "expected files that end in one of .patch, .diff, .json, found none"),
        (_twice, "a patch limit is in "),
        (lambda directory: directory / "nothing.patch", "nothing.patch: "),
        (lambda _directory: Path("nothing"), "--patch nothing: expected a patch of the catalogue ("),
        (lambda directory: pyz.patch(directory, Package=""), "limit.patch: "),
        (lambda directory: pyz.patch(directory, Versions=""), "limit.patch: "),
        (lambda directory: pyz.patch(directory, Versions="~2"), "limit.patch: "),
        (_of("a/src/acme/../../api.py"), "limit.patch: "),
        (_of("/etc/passwd"), "limit.patch: "),
        (lambda directory: pyz.patch(directory, before="LIMIT = 11"), "limit: conflict: acme 2.3.0 in "),
        (lambda directory: pyz.patch(directory, NAME), f"patch {NAME}: name: a patch of that name exists already"),
    ],
)
def test_what_is_no_patch_is_one_clear_error_and_nothing_is_written(
    file: Path, site: Path, tmp_path: Path, make: Callable[[Path], Path], expected: str
) -> None:
    path = make(tmp_path)
    before = snapshot.take(site)
    for more in ((), ("--check",)):
        assert expected in refuses(pyz.run(file, "apply", "--path", site, "--patch", path, *more))
    assert snapshot.take(site) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("revert", "--path", "{site}"), "expected either --patch or --all, found neither"),
        (("restore", "--path", "{site}", "--all", "--patch", NAME), "found both"),
        (("apply", "--path", "{site}", "--patch", NAME, "--import", "acme"), "give --python along with --path"),
        (("apply", "--python", "{site}", "--patch", NAME), "expected a Python interpreter of version 3.8 or newer"),
        (("status", "--path", "{site}/acme/api.py"), "expected a directory (site-packages, "),
        (("apply", "--path", "{site}", "--patch", NAME), "missing: package transformers: expected it in "),
        (("status", "--path", "{site}", "--import", "acme"), "--import: expected --patch along with it, found none"),
        (("status", "--path", "{site}", "--health", "--quiet"), "--health goes with none of "),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(
    file: Path, site: Path, arguments: tuple[str, ...], expected: str
) -> None:
    words: list[Any] = [word.format(site=site) for word in arguments]
    assert expected in refuses(pyz.run(file, *words))
