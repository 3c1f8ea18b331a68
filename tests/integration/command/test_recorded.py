# What an apply leaves for the next one: that says what the engine would, or nothing, whatever became of the files.
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import checkout, controller, environments, interpreters, pyz, sandbox, snapshot
from lab.run import run
from lab.sandbox import needs_root
from module_utils import _patch_file, _recorded, _store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLOW = ("--timeout", "99")  # an option that is left to the engine, and says nothing here


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Return a directory of root's that every user may go to."""
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        yield Path(top)


@pytest.fixture
def patched(file: Path, site: Path, patches: Path) -> Path:
    """Return the site-packages with both patches applied."""
    succeeds(pyz.run(file, "apply", "--path", site, "--patch", patches))
    assert len(answers(site)) == 1
    return site


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def answers(site: Path) -> list[Path]:
    return sorted((site / "primus-patches" / "answers").glob("*"))


def record(site: Path) -> Path:
    (found,) = answers(site)
    return found


def both(file: Path, *arguments: str | Path, python: str | Path = sys.executable, **more: Any) -> bool:
    """Run an apply as it is, and by the engine; return whether the first went without it. Both say the same."""
    quick = command([python, "-Ximporttime", file, "apply", *arguments], **more)
    slow = command([python, file, "apply", *arguments, *SLOW], **more)
    loaded = "_primus_patches_engine._options" in quick.stderr
    errors = "".join(line + "\n" for line in quick.stderr.splitlines() if not line.startswith("import time:"))
    assert (quick.returncode, quick.stdout, errors) == (slow.returncode, slow.stdout, slow.stderr)
    return not loaded


def command(words: list[str | Path], **more: Any) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **more.pop("env", {})}
    return subprocess.run(words, env=variables, capture_output=True, text=True, timeout=120, check=False, **more)


# --- what is answered


@pytest.mark.parametrize(
    "options",
    [
        *("", "--check", "--diff", "--quiet", "--json", "--json --check", "--json --quiet", "--check --diff"),
        "--missing skip --unsupported fail",
    ],
)
def test_it_says_what_the_engine_says(file: Path, patched: Path, patches: Path, options: str) -> None:
    assert both(file, *options.split(), "--path", patched, "--patch", patches)


@pytest.mark.parametrize(
    "options",
    [
        *("--json --diff", "--backup", "--trust-writers", "--nope", "--missing nope", "--path", "--patch ", "--help"),
        *("--patch -x", "--validate-failure refuse", "--import acme", "x"),
    ],
)
def test_other_options_are_the_engines(file: Path, patched: Path, patches: Path, options: str) -> None:
    assert not both(file, "--path", patched, "--patch", patches, *options.split(" "))


def test_every_way_to_name_the_environment(
    file: Path, venv: Callable[..., Path], patches: Path, tmp_path: Path
) -> None:
    python = environments.python_of(venv())
    site = environments.site_packages(python.parent.parent)
    pyz.install(site)
    succeeds(pyz.run(file, "apply", "--python", python, "--patch", patches))
    where = ("--path", site), ("--path", site / "acme"), ("--python", python), ()
    for options in where:
        for more in ((), ("--json",)):
            assert both(file, *options, "--patch", patches, *more, python=python), options
    assert both(file, "--patch", "patches", python=python, cwd=tmp_path) is False, "a word may be of the catalogue"
    assert both(file, "--patch", "./patches/", "--path", os.path.relpath(site, tmp_path), cwd=tmp_path)
    assert not both(file, "--python", python, "--patch", patches), "another interpreter is to be started"
    link = tmp_path / "link"
    link.symlink_to(python)
    assert not both(file, "--python", link, "--patch", patches, python=python)


def test_a_patch_of_the_catalogue(file: Path, tree: Callable[[str], Path], tmp_path: Path) -> None:
    name = "transformers_modeling_utils"
    site = tree("4.57.6")
    succeeds(pyz.run(file, "apply", "--path", site, "--patch", name))
    assert both(file, "--path", site, "--patch", name, cwd=tmp_path)
    pyz.patch(tmp_path / name)
    assert not both(file, "--path", site, "--patch", name, "--check", cwd=tmp_path)


def test_a_directory_named_as_a_patch_of_the_catalogue_is_not_meant(
    file: Path, patched: Path, patches: Path, tmp_path: Path
) -> None:
    shutil.copytree(patches, tmp_path / "transformers_modeling_utils")
    assert not both(file, "--path", patched, "--patch", "transformers_modeling_utils", "--check", cwd=tmp_path)


def test_the_same_patches_elsewhere_and_a_copied_environment(
    file: Path, patched: Path, patches: Path, tmp_path: Path
) -> None:
    shutil.copytree(patches, tmp_path / "more" / "patches")
    assert both(file, "--path", patched, "--patch", tmp_path / "more" / "patches")
    one, two = sorted(patches.iterdir())
    assert not both(file, "--path", patched, "--patch", two, "--patch", one), "the order is that of the output"
    shutil.copytree(patched, tmp_path / "copy", symlinks=True)
    assert not both(file, "--path", tmp_path / "copy", "--patch", patches), "the messages name the directory"


# --- what became of files


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def reinstall(site: Path) -> None:
    shutil.rmtree(site / "acme-2.3.0.dist-info")
    pyz.install(site, "2.4.0")


def links(path: Path, to: str) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved") if to == "moved" else to)


def fact(site: Path) -> Path:
    return min((site / "primus-patches" / "facts").iterdir())


def changed(path: Path, **more: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}, sort_keys=True, indent=1) + "\n")


BROKEN: dict[str, Callable[[Path, Path], object]] = {
    "a file was edited": lambda site, _patches: write(site / "acme" / "api.py", "LIMIT = 30\n"),
    "a file is gone": lambda site, _patches: (site / "acme" / "api.py").unlink(),
    "a file is the original again": lambda site, _patches: write(site / "acme" / "api.py", pyz.API),
    "the package is gone": lambda site, _patches: shutil.rmtree(site / "acme"),
    "RECORD changed": lambda site, _patches: (site / "acme-2.3.0.dist-info" / "RECORD").write_text(""),
    "another version": lambda site, _patches: reinstall(site),
    "a second dist-info": lambda site, _patches: shutil.copytree(
        site / "acme-2.3.0.dist-info", site / "acme-2.2.0.dist-info"
    ),
    "a hard link": lambda site, _patches: os.link(site / "acme" / "api.py", site / "link"),
    "a patch was edited": lambda _site, patches: pyz.patch(patches, Revision="2"),
    "a patch has another name": lambda _site, patches: (patches / "limit.patch").rename(patches / "l.patch"),
    "one patch less": lambda _site, patches: (patches / "limit.patch").unlink(),
    "one patch more": lambda _site, patches: pyz.patch(patches, "more", before="LIMIT = 20"),
    "one patch more, in JSON": lambda _site, patches: write(patches / "more.JSON", "[]"),
    "no patch is readable": lambda _site, patches: [links(each, "/nowhere") for each in sorted(patches.iterdir())],
    "a checkout above": lambda site, _patches: (site.parent / ".git").mkdir(),
    "a killed run": lambda site, _patches: write(site / "acme" / ".api.py.x.y.primus-tmp", ""),
    "no store": lambda site, _patches: shutil.rmtree(site / "primus-patches"),
    "the store is a link": lambda site, _patches: links(site / "primus-patches", "moved"),
    "the facts are gone": lambda site, _patches: shutil.rmtree(site / "primus-patches" / "facts"),
    "a fact is gone": lambda site, _patches: fact(site).unlink(),
    "a fact is damaged": lambda site, _patches: fact(site).write_text("{"),
    "a proof is owed": lambda site, _patches: changed(fact(site), proof="owed"),
    "the answers are a link": lambda site, _patches: links(site / "primus-patches" / "answers", "moved"),
    "no answers": lambda site, _patches: shutil.rmtree(site / "primus-patches" / "answers"),
    "a link": lambda site, _patches: links(record(site), "moved"),
    "a link to nowhere": lambda site, _patches: links(record(site), "/nowhere"),
    "a pipe": lambda site, _patches: [path := record(site), path.unlink(), os.mkfifo(path)],
    "a directory": lambda site, _patches: [path := record(site), path.unlink(), path.mkdir()],
    "much too large": lambda site, _patches: os.truncate(record(site), 1 << 30),
    "empty": lambda site, _patches: record(site).write_text(""),
    "no object": lambda site, _patches: record(site).write_text("[]"),
    "deep": lambda site, _patches: record(site).write_text("[" * 100_000),
    "no text": lambda site, _patches: record(site).write_bytes(b"\xff\xfe"),
    "other keys": lambda site, _patches: record(site).write_text("{}"),
    "found elsewhere": lambda site, _patches: changed(record(site), found=[["/elsewhere/acme", "2.3.0"]]),
    "asked about nothing": lambda site, _patches: changed(
        record(site), asked={**json.loads(record(site).read_text())["asked"], "packages": []}
    ),
    "asked about nothing, and nothing found": lambda site, _patches: changed(
        record(site), found=[], asked={**json.loads(record(site).read_text())["asked"], "packages": []}
    ),
    "no lines": lambda site, _patches: changed(record(site), lines=None),
    "what moves the cursor": lambda site, _patches: changed(record(site), lines=["\x1b[2J"]),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_whatever_is_not_as_it_was_is_the_engines(file: Path, patched: Path, patches: Path, broken: str) -> None:
    BROKEN[broken](patched, patches)
    before = snapshot.take(patched, patches)
    assert not both(file, "--check", "--path", patched, "--patch", patches)
    assert snapshot.take(patched, patches) == before


def test_a_patch_out_of_a_pipe_is_read_once_and_by_the_engine(file: Path, site: Path, patches: Path) -> None:
    (patch, *_others) = sorted(patches.iterdir())
    words = [sys.executable, file, "apply", "--path", site, "--patch", "/dev/stdin"]
    assert "was pending" in succeeds(command(words, input=patch.read_text()))
    assert "nothing to do" in succeeds(command(words, input=patch.read_text()))
    assert not answers(site)


def test_another_program_has_answers_of_its_own(file: Path, patched: Path, patches: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pyz"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            new.writestr(name, re.sub(rb'(?m)^( *module.PROGRAM = ").', rb"\1x", old.read(name)))
    assert not both(other, "--path", patched, "--patch", patches)
    assert both(file, "--path", patched, "--patch", patches)


def test_a_program_is_told_by_each_of_its_texts(tmp_path: Path) -> None:
    def program(root: Path) -> bytes:
        with zipfile.ZipFile(pyz.builder().build(tmp_path / "built", root)) as archive:
            (found,) = re.findall(rb'(?m)^ *module.PROGRAM = "(\w{64})"$', archive.read("__main__.py"))
            return bytes(found)

    clone = checkout.copy(tmp_path / "clone")
    run("git", "-C", clone, "init", "--quiet")
    first = program(clone)
    assert program(clone) == first == program(controller.ROOT)
    for name in ("_question", "_plan"):
        text = clone / "plugins" / "module_utils" / f"{name}.py"
        text.write_text(f"{text.read_text()}\nMORE = 1\n")
        first, before = program(clone), first
        assert first != before


# --- what is left


def test_a_call_that_finds_nothing_to_do_changes_not_one_byte(file: Path, patched: Path, patches: Path) -> None:
    arguments = (file, "apply", "--path", patched, "--patch", patches)
    before = snapshot.take(patched)
    succeeds(pyz.run(*arguments))
    assert snapshot.take(patched) == before
    record(patched).unlink()
    before = snapshot.take(patched)
    succeeds(pyz.run(*arguments))
    assert snapshot.take(patched) == before


@pytest.mark.parametrize(
    "header",
    [{"When": "acme>=2"}, {"Requires": "acme>=2"}, {"Applied-Upstream": ">=2.3"}],
    ids=lambda header: next(iter(header)),
)
def test_of_what_follows_from_more_than_its_files_nothing_is_left(
    file: Path, site: Path, patches: Path, header: dict[str, str]
) -> None:
    pyz.patch(patches, **header)
    succeeds(pyz.run(file, "apply", "--path", site, "--patch", patches))
    assert not answers(site)


def test_check_mode_a_refusal_and_revert_leave_nothing(file: Path, site: Path, patches: Path) -> None:
    where = ("--path", site, "--patch", patches)
    assert pyz.run(file, "apply", "--check", *where).returncode == 1
    pyz.patch(patches, "wrong", before="LIMIT = 11")
    assert pyz.run(file, "apply", *where).returncode == 2
    assert not (site / "primus-patches").exists()
    (patches / "wrong.patch").unlink()
    succeeds(pyz.run(file, "apply", *where))
    before = snapshot.take(record(site))
    succeeds(pyz.run(file, "revert", *where))
    assert snapshot.take(record(site)) == before
    assert not both(file, "--check", *where)


@pytest.mark.parametrize("odd", ["a file", "a link"])
def test_where_it_cannot_be_left_the_apply_is_done_all_the_same(
    file: Path, site: Path, patches: Path, odd: str
) -> None:
    store = site / "primus-patches"
    store.mkdir()
    if odd == "a file":
        (store / "answers").write_text("")
    else:
        (store / "answers").symlink_to(site)
    assert "was pending" in succeeds(pyz.run(file, "apply", "--path", site, "--patch", patches))
    assert not list(site.glob("*.json"))
    assert not both(file, "--path", site, "--patch", patches)


def test_an_answer_is_read_by_whoever_may_read_the_file(file: Path, site: Path, patches: Path) -> None:
    (site / "acme" / "api.py").chmod(0o640)
    succeeds(pyz.run(file, "apply", "--path", site, "--patch", patches / "limit.patch"))
    first = record(site)
    assert first.stat().st_mode & 0o777 == 0o640
    assert record(site).parent.stat().st_mode == (site / "primus-patches" / "facts").stat().st_mode
    succeeds(pyz.run(file, "apply", "--path", site, "--patch", patches))
    assert [path.stat().st_mode & 0o777 for path in answers(site) if path != first] == [0o600], "not for each the same"


def test_applies_at_the_same_time(file: Path, site: Path, patches: Path) -> None:
    words = [sys.executable, file, "apply", "--path", site, "--patch"]
    runs = [
        subprocess.Popen([*words, which], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for which in (patches, patches / "limit.patch", patches, patches / "other_limit.patch")
    ]
    ends = [(*run.communicate(timeout=120), run.returncode) for run in runs]
    assert [(error, status) for _text, error, status in ends] == [("", 0)] * len(runs)
    assert all(path.suffix == ".json" for path in answers(site))
    for which in (patches, patches / "limit.patch", patches / "other_limit.patch"):
        both(file, "--path", site, "--patch", which)


def test_the_youngest_sixteen_stay_and_go_with_the_store(file: Path, site: Path, patches: Path) -> None:
    where = ("--path", site, "--patch", patches)
    succeeds(pyz.run(file, "apply", *where))
    first = record(site)
    for number in range(30):
        os.utime(shutil.copy(first, first.with_name(f"{number}.json")), (number, number))
    (first.parent / "odd").symlink_to("/nowhere")
    succeeds(pyz.run(file, "revert", *where))
    succeeds(pyz.run(file, "apply", *where))
    assert {path.name for path in answers(site)} == {first.name, "odd", *(f"{each}.json" for each in range(16, 30))}
    for path in (site / "primus-patches").rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    succeeds(pyz.run(file, "revert", *where))
    assert not (site / "primus-patches").exists()


# --- whom it is believed


@needs_root
def test_root_believes_no_answer_that_others_may_write(file: Path, patched: Path, patches: Path) -> None:
    arguments = ("--check", "--path", patched, "--patch", patches)
    assert both(file, *arguments)
    for path in (record(patched).parent, patched / "acme"):
        path.chmod(0o777)
        assert not both(file, *arguments), path
        path.chmod(0o755)
    os.chown(patched / "primus-patches", sandbox.USER, sandbox.GROUP)
    assert not both(file, *arguments)


@needs_root
def test_a_users_own_environment(file: Path, open_directory: Path) -> None:
    site = open_directory / "home" / "site"
    pyz.install(site)
    for path in (site.parent, *site.parent.rglob("*")):
        os.chown(path, sandbox.USER, sandbox.GROUP)
    where = ("--path", site, "--patch", pyz.patch(open_directory / "patches"))
    program = shutil.copy(file, open_directory)
    succeeds(pyz.run(program, "apply", *where))
    assert record(site).stat().st_uid == sandbox.USER
    assert not both(program, *where), "root works on it as the user"
    assert both(program, *where, python=interpreters.system(), user=sandbox.USER, group=sandbox.GROUP)


@needs_root
def test_an_answer_in_a_directory_of_all_is_not_believed(file: Path, open_directory: Path) -> None:
    """The directory of a package may lie where others may make a store."""
    pyz.install(open_directory)
    where = ("--path", open_directory / "acme", "--patch", pyz.patch(open_directory / "patches"))
    program = shutil.copy(file, open_directory)
    succeeds(pyz.run(program, "apply", *where))
    assert both(program, *where)
    python = interpreters.system()
    assert both(program, *where, python=python, user=sandbox.USER, group=sandbox.GROUP)
    os.chown(open_directory / "primus-patches", sandbox.USER, sandbox.GROUP)
    assert not both(program, *where, "--check")
    assert not both(program, *where, "--check", python=python, user=sandbox.USER + 2, group=sandbox.GROUP)


# --- what is said twice


def test_what_is_said_in_two_places_is_the_same() -> None:
    assert f"{_store.DIRECTORY}/{_store.ANSWERS}" == _recorded.STORED
    assert (*_patch_file.DIFFS, _patch_file.JSON) == _recorded.SUFFIXES
    assert _recorded._LARGEST == _patch_file._LARGEST
