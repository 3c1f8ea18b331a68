# The script: a catalogue patch run on its own, from a checkout and from an installed collection, by any bare Python.
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import controller, engine, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    Tree = Callable[[str], Path]

SCRIPT = Path("plugins/module_utils/_catalogue/transformers_modeling_utils.py")
NAME = "transformers_modeling_utils"
PYTHONS = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"]


@pytest.fixture(params=["checkout", "collection"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the root of the collection: a clean copy of the checkout, or one laid out as an installed collection."""
    below = "checkout" if request.param == "checkout" else "collections/ansible_collections/primus/patches"
    source = controller.ROOT / "plugins"
    shutil.copytree(source, tmp_path / below / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / below


@pytest.fixture
def here() -> Path:
    """Return the root of the checkout itself."""
    return controller.ROOT


def script(
    home: Path,
    *arguments: str | Path,
    python: str | Path = sys.executable,
    options: tuple[str, ...] = (),
    cwd: Path | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    command = [python, *options, home / SCRIPT, *arguments]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **variables}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def state(site: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in site.rglob("*") if path.is_file()}


def modeling_utils(site: Path) -> Path:
    return site / "transformers" / "modeling_utils.py"


def test_check_apply_again_revert_again(home: Path, tree: Tree) -> None:
    site = tree("4.57.6")
    stock = modeling_utils(site).read_bytes()
    before = state(site)
    where = f"transformers 4.57.6 in {site}/transformers"
    pending = f"{NAME}: pending, %s: {where}: not applied; revision 1 is current\n"
    applied = f"{NAME}: applied, %s: {where}: revision 1\n"

    assert said(script(home, site, "--check")) == (1, pending % "would apply", "")
    assert said(script(home, site, "--revert", "--check")) == (0, pending % "nothing to do", "")
    assert state(site) == before

    done = f"{NAME}: applied (was pending: {where}: not applied; revision 1 is current)\n"
    assert said(script(home, site)) == (0, done, "")
    after = state(site)
    assert b"    prune_linear_layer,\n" in modeling_utils(site).read_bytes()

    assert said(script(home, site)) == (0, applied % "nothing to do", "")
    assert said(script(home, site, "--check")) == (0, applied % "nothing to do", "")
    assert said(script(home, site, "--check", "--revert")) == (1, applied % "would revert", "")
    assert state(site) == after

    done = f"{NAME}: reverted (was applied: {where}: revision 1)\n"
    assert said(script(home, site, "--revert")) == (0, done, "")
    assert modeling_utils(site).read_bytes() == stock
    assert said(script(home, site, "--revert")) == (0, pending % "nothing to do", "")
    assert {path.name for path in home.rglob("*")}.isdisjoint({"__pycache__"})


def test_the_checkout_itself_is_left_without_bytecode(here: Path, tree: Tree) -> None:
    caches = set(here.joinpath("plugins").rglob("*.pyc"))
    stamps = {path: path.stat().st_mtime_ns for path in caches}
    assert script(here, tree("4.57.6")).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in here.joinpath("plugins").rglob("*.pyc")} == stamps


@pytest.mark.parametrize(
    "layout", ["checkout", "checkout src", "package", "site-packages", "relative", "linked", "slash"]
)
def test_the_path_may_be_a_checkout_a_package_or_a_site_packages(
    here: Path, tree: Tree, tmp_path: Path, layout: str
) -> None:
    site = tree("4.57.6")
    path: str | Path = site
    if layout.startswith("checkout"):
        checkout = tmp_path / "transformers-main"
        checkout.mkdir()
        shutil.move(site / "transformers", checkout / "src" / "transformers")
        site = checkout / "src"
        path = checkout if layout == "checkout" else site
    elif layout == "package":
        path = site / "transformers"
    elif layout == "relative":
        path = "transformers"
    elif layout == "linked":
        path = tmp_path / "link"
        path.symlink_to(site)
    elif layout == "slash":
        path = f"{site}/transformers/"
    done = script(here, path, cwd=site)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{NAME}: applied (was pending: transformers 4.57.6 in " in done.stdout
    assert b"# >>> primus.patches: transformers_modeling_utils, revision 1 >>>\n" in modeling_utils(site).read_bytes()


def test_diff_shows_the_block_in_its_place(home: Path, tree: Tree) -> None:
    site = tree("4.57.6")
    line = 1 + modeling_utils(site).read_text().partition("from .pytorch_utils")[0].count("\n") - 2
    for options in (("--check", "--diff"), ("--diff",)):
        done = script(home, site, *options)
        file = modeling_utils(site)
        lines = done.stdout.splitlines()
        assert lines[:2] == [f"--- {file}\t(before)", f"+++ {file}\t(after)"]
        assert lines[2] == f"@@ -{line},6 +{line},16 @@"
        assert [line[1:] for line in lines[6:16]] == [
            "# >>> primus.patches: transformers_modeling_utils, revision 1 >>>",
            "from .pytorch_utils import (  # noqa: F401",
            "    Conv1D,",
            "    apply_chunking_to_forward,",
            "    find_pruneable_heads_and_indices,",
            "    prune_conv1d_layer,",
            "    prune_layer,",
            "    prune_linear_layer,",
            ")",
            "# <<< primus.patches: transformers_modeling_utils <<<",
        ]
        assert {line[0] for line in lines[6:16]} == {"+"}
        assert lines[5] == " from .pytorch_utils import id_tensor_storage"
        assert lines[19].startswith(
            f"{NAME}: pending, would apply: " if "--check" in options else f"{NAME}: applied (was pending: "
        )
        assert len(lines) == 20
    assert said(script(home, site, "--diff"))[1].startswith(f"{NAME}: applied")
    assert "\n-    Conv1D,\n" in script(home, site, "--diff", "--revert").stdout


def test_a_diff_splits_lines_as_an_editor_does(here: Path, tree: Tree) -> None:
    site = tree("4.57.6")
    file = modeling_utils(site)
    anchor = "from .pytorch_utils import id_tensor_storage\n"
    file.write_text(file.read_text().replace(anchor, f"x = 'é\x0c\x1c\u2028'\n\x0c\n{anchor}"))
    done = script(here, site, "--diff", "--check")
    assert "\n x = 'é\x0c\x1c\u2028'\n \x0c\n from .pytorch_utils" in done.stdout
    assert "No newline" not in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_a_character_is_no_failure(here: Path, tree: Tree, encoding: str) -> None:
    site = tree("4.57.6")
    file = modeling_utils(site)
    anchor = "from .pytorch_utils import id_tensor_storage\n"
    file.write_text(file.read_text().replace(anchor, f"x = '\u2713'\n{anchor}"), encoding="utf-8")
    done = script(here, site, "--diff", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert " x = '\\u2713'\n" in done.stdout


def test_native_is_nothing_to_do(home: Path, tree: Tree) -> None:
    site = tree("4.55.4")
    before = state(site)
    for options in ((), ("--check",), ("--revert",), ("--check", "--diff")):
        done = script(home, site, *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            f"{NAME}: native, nothing to do: transformers 4.55.4 in {site}/transformers: every name is there already\n"
        )
    assert state(site) == before


@pytest.mark.parametrize("options", [(), ("--check",), ("--diff",), ("--check", "--diff")])
@pytest.mark.parametrize(
    ("situation", "message"),
    [
        ("unsupported", "expected version >=4.56,<5, found 5.0.0. Nothing was written."),
        ("conflict", "the file does not parse at line 1: "),
        ("missing", "missing: package transformers: expected it in "),
        ("no directory", "expected a directory (site-packages, a package or a source checkout), found nothing"),
        ("a file", "expected a directory (site-packages, a package or a source checkout), found a file"),
    ],
)
def test_a_refusal_exits_2_says_why_on_stderr_and_writes_nothing(
    here: Path, tree: Tree, options: tuple[str, ...], situation: str, message: str
) -> None:
    site = tree("5.0.0" if situation == "unsupported" else "4.57.6")
    path = site
    if situation == "conflict":
        modeling_utils(site).write_text("(\n")
    elif situation == "missing":
        path = next(site.glob("*.dist-info"))
    elif situation == "no directory":
        path = site / "nothing"
    elif situation == "a file":
        path = modeling_utils(site)
    before = state(site)
    done = script(here, path, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert state(site) == before


@pytest.mark.parametrize("version", ["5.0.0", "4.57.6"])
def test_revert_of_what_is_not_applied_is_nothing_to_do(here: Path, tree: Tree, version: str) -> None:
    site = tree(version)
    before = state(site)
    done = script(here, site, "--revert")
    assert (done.returncode, done.stderr) == (0, "")
    assert ", nothing to do: " in done.stdout
    assert state(site) == before


def test_wrong_arguments_exit_2_on_stderr(here: Path) -> None:
    for arguments in ((), ("--nope", "."), ("a", "b")):
        done = script(here, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: transformers_modeling_utils.py ")


def test_help_says_what_it_does_and_the_exit_codes(here: Path) -> None:
    done = script(here, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    assert "Transformers 4.56 stopped re-exporting these names from transformers.modeling_utils" in text
    assert "Exit status: 0 done or nothing to do, 1 would change (--check), 2 refused or error." in text
    for option in ("--check", "--diff", "--revert"):
        assert option in text


@pytest.mark.parametrize("version", PYTHONS)
def test_any_bare_python_from_3_8_on_can_run_it(
    home: Path, tree: Tree, python: Callable[[str], Path], version: str
) -> None:
    site = tree("4.57.6")
    stock = modeling_utils(site).read_bytes()
    bare = ("-I", "-S", "-W", "error")
    assert script(home, site, "--check", python=python(version), options=bare).returncode == 1
    for options, expected in (
        ((), "applied (was pending: "),
        ((), "applied, nothing to do: "),
        (("--revert",), "reverted (was applied: "),
    ):
        done = script(home, site, *options, python=python(version), options=bare)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{NAME}: {expected}")
    assert modeling_utils(site).read_bytes() == stock
    assert not list(home.rglob("__pycache__"))


@pytest.mark.parametrize("version", ["3.8", "3.13"])
@pytest.mark.parametrize("options", [(), ("-S",), ("-I",), ("-E", "-s")])
def test_modules_named_like_the_standard_librarys_do_not_get_in_the_way(
    home: Path, tree: Tree, tmp_path: Path, python: Callable[[str], Path], version: str, options: tuple[str, ...]
) -> None:
    site = tree("4.57.6")
    for directory in (tmp_path / "cwd", (home / SCRIPT).parent, home, home / "plugins" / "module_utils"):
        directory.mkdir(exist_ok=True)
        for name in (
            "argparse",
            "ast",
            "json",
            "io",
            "re",
            "typing",
            "tempfile",
            "difflib",
            "warnings",
            "ansible",
            "types",
        ):
            (directory / f"{name}.py").write_text("raise RuntimeError('the wrong ' + __name__)\n")
    done = script(home, site, "--diff", python=python(version), options=options, cwd=tmp_path / "cwd")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{NAME}: applied (was pending: " in done.stdout


def test_it_may_be_started_by_a_link(here: Path, tree: Tree, tmp_path: Path) -> None:
    link = tmp_path / "bin" / "patch-transformers"
    link.parent.mkdir()
    link.symlink_to(here / SCRIPT)
    done = subprocess.run([sys.executable, link, tree("4.57.6")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_the_environment_is_imported(here: Path, tree: Tree) -> None:
    site = tree("4.57.6")
    for file in ("__init__.py", "pytorch_utils.py"):
        with (site / "transformers" / file).open("a") as stream:
            stream.write("\nraise RuntimeError('imported')\n")
    assert said(script(here, site))[::2] == (0, "")


@pytest.mark.parametrize(
    ("version", "status", "line"),
    [
        ("4.49.0", 0, "native: transformers 4.49.0 in "),
        ("4.57.6", 1, "pending: transformers 4.57.6 in "),
        ("5.0.0", 1, "unsupported: transformers 5.0.0 in "),
    ],
)
def test_a_health_check_is_one_line_and_writes_nothing(
    tree: Callable[[str], Path], version: str, status: int, line: str
) -> None:
    site = tree(version)
    before = snapshot.take(site)
    done = health(site)
    assert done.returncode == status
    assert done.stdout.startswith(f"transformers_modeling_utils {line}")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert snapshot.take(site) == before


def test_a_health_check_tells_drift_from_what_cannot_be_told(tree: Callable[[str], Path], tmp_path: Path) -> None:
    site = tree("4.57.6")
    file = site / "transformers" / "modeling_utils.py"
    assert engine.ask("patch", name=["transformers_modeling_utils"], path=site)["changed"]
    assert health(site).returncode == 0
    file.write_bytes(file.read_bytes().replace(b"    prune_layer,\n", b""))
    done = health(site)
    assert (done.returncode, done.stdout.partition(":")[0]) == (1, "transformers_modeling_utils outdated")
    (tmp_path / "empty").mkdir()
    missing = health(tmp_path / "empty")
    assert (missing.returncode, missing.stdout.partition(":")[0]) == (2, "transformers_modeling_utils missing")
    away = health(tmp_path / "away")
    assert (away.returncode, away.stdout.partition(":")[0]) == (2, "transformers_modeling_utils unknown")
    assert health(site, "--check").returncode == 2


def health(site: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, controller.ROOT / SCRIPT, site, "--health", *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)
