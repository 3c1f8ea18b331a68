# What a user's tree may hold to lead root elsewhere or to get code run as root: links, races, answers, imports.
from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, interpreters, snapshot
from lab.commits import compiled
from lab.owners import noted, noting, patch, refusal, site_of, venv_below, venv_of
from lab.sandbox import GROUP, USER, give, needs_root
from module_utils._errors import SitePatchError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = needs_root
OTHER = 61003

# --- what a user could lead root to


def test_a_directory_of_bytecode_that_is_a_link_is_left_alone(home: Path, roots: Path) -> None:
    """It leads into an environment of root's: its bytecode would become the user's, who gets code run as root."""
    target = compiled(engine.thing(roots) / "api.py")
    site = site_of(home)
    (site / "thing" / "__pycache__").symlink_to(target.parent)
    before = snapshot.take(roots)
    results = [patch(path=site, check_mode=check) for check in (True, False)]
    assert snapshot.take(roots) == before
    for result in results:
        assert result["patches"][0]["message"].endswith("__pycache__ is a symbolic link: not touched")
    assert [result["changed"] for result in results] == [True, True]


def test_nothing_is_written_where_such_bytecode_would_go_on_being_used(home: Path, roots: Path) -> None:
    target = compiled(engine.thing(roots) / "api.py", "unchecked-hash")
    site = site_of(home)
    (site / "thing" / "__pycache__").symlink_to(target.parent)
    before = snapshot.take(home)
    message = refusal(path=site)
    assert "is a symbolic link; Python would go on using api." in message
    assert message.endswith("Remove it; nothing was written")
    assert snapshot.take(home) == before


def test_a_link_to_a_secret_of_roots_is_not_read(home: Path, roots: Path) -> None:
    site = site_of(home)
    secret = roots / "secret.py"
    secret.write_text("import os\nPASSWORD = 'hush-hush'\n")
    secret.chmod(0o600)
    (site / "thing" / "api.py").unlink()
    (site / "thing" / "api.py").symlink_to(secret)
    os.lchown(site / "thing" / "api.py", USER, GROUP)
    for check in (True, False):
        assert "hush-hush" not in json.dumps(patch(path=site, check_mode=check, diff=True))
    assert (site / "thing" / "api.py").is_symlink()


def test_a_link_in_roots_own_tree_through_a_users_directory_is_not_followed(home: Path, roots: Path) -> None:
    """The user leads it on to a secret of root's: what it finally is belongs to root, as the first link does."""
    (roots / "secret.py").write_text("import os\nPASSWORD = 'hush-hush'\n")
    (roots / "secret.py").chmod(0o600)
    api = engine.thing(roots / "site") / "api.py"
    api.unlink()
    api.symlink_to(home / "api.py")
    (home / "api.py").symlink_to(roots / "secret.py")
    give(home)
    try:
        result = patch(path=roots / "site", check_mode=True, diff=True)
    except SitePatchError as error:
        result = {"failed": True, "msg": str(error)}
    assert result["failed"]
    assert "hush-hush" not in json.dumps(result)


def test_a_directory_that_is_swapped_for_a_link_leads_root_nowhere(home: Path, roots: Path) -> None:
    """RENAME_EXCHANGE in a loop: the file that was planned for is replaced, or nothing."""
    site = site_of(home)
    other = engine.thing(roots / "site")
    (home / "link").symlink_to(other)
    os.lchown(home / "link", USER, GROUP)
    before = snapshot.take(roots)
    stop = threading.Event()
    swaps = [0]

    def swap() -> None:
        libc = ctypes.CDLL(None)
        names = (os.fsencode(home / "link"), os.fsencode(site / "thing"))
        while not stop.is_set():
            libc.renameat2(-100, names[0], -100, names[1], 2)
            swaps[0] += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(40):
            patch(path=site, state="absent" if number % 2 else "present")
    finally:
        stop.set()
        thread.join()
    assert swaps[0] > 100
    assert snapshot.take(roots) == before


@pytest.mark.parametrize("odd", ["fifo", "zero", "sparse"])
def test_odd_bytecode_neither_blocks_nor_fills(home: Path, odd: str) -> None:
    site = site_of(home)
    file = Path(importlib.util.cache_from_source(str(site / "thing" / "api.py")))
    file.parent.mkdir()
    if odd == "fifo":
        os.mkfifo(file)
    elif odd == "zero":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as stream:
            stream.truncate(2 << 30)
    give(home)
    for check in (True, False):
        assert patch(path=site, check_mode=check)["changed"]
    assert not os.path.lexists(file)


# --- what a user's tree could make root run


def answering(home: Path, answer: bytes) -> Path:
    """Make a user's program that is called python and gives an answer of its own; it notes as whom it runs."""
    program = home / "python"
    program.write_text(
        f"#!{interpreters.system()}\n{noting(home)}import sys\n"
        f"os.write(int(sys.argv[-1].partition(':')[0]), {answer!r})\n"
    )
    program.chmod(0o755)
    give(home)
    return program


@pytest.mark.parametrize(
    "answer",
    [
        b'{"belongs": [0, 0], "patches": []}',
        b'{"belongs": "/root", "patches": []}',
        b'{"belongs": 1}',
        b"old \xff",
        b"{}",
    ],
)
def test_an_interpreter_of_a_users_has_no_say_in_who_is_next(home: Path, answer: bytes) -> None:
    python = answering(home, answer)
    with contextlib.suppress(SitePatchError):
        patch(python, check_mode=True)
    assert noted(home) == {str(USER)}


@pytest.mark.parametrize(
    "answer", [pytest.param(b"[" * 100_000, id="deep"), b'{"patches": 5}', b'{"patches": [5]}', b"old \xff", b"7"]
)
def test_an_answer_that_is_none_is_the_failure_of_its_interpreter(home: Path, answer: bytes) -> None:
    assert "expected a Python interpreter of version 3.8 or newer, found" in refusal(answering(home, answer))


def test_libraries_of_a_users_are_not_run_by_root_when_its_interpreter_starts(home: Path, roots: Path) -> None:
    home.chmod(0o777)
    python, site = venv_below(roots)
    (site / "early.pth").write_text(noting(home))
    give(site)
    engine.ask("info", python, definitions=[engine.PATCH])
    assert "0" not in noted(home)


def test_what_a_pth_file_names_is_a_place_that_code_is_run_from(home: Path, roots: Path) -> None:
    """Python looks for sitecustomize there, too."""
    python, site = venv_below(roots)
    (site / "further.pth").write_text(str(home))
    (home / "sitecustomize.py").write_text(noting(home))
    (home / "usercustomize.py").write_text(noting(home))
    give(home)
    with contextlib.suppress(SitePatchError):
        patch(python)
    assert "0" not in noted(home)


@pytest.mark.parametrize(
    "name",
    [
        "early.pth",
        "sitecustomize.py",
        "usercustomize.py",
        "sitecustomize/__init__.py",
        "../../../pyvenv.cfg",
        "../../../bin/pyvenv.cfg",
    ],
)
@pytest.mark.parametrize("spoil", [give, lambda file: file.chmod(0o666)], ids=["a user's", "for all to write"])
def test_root_starts_nothing_that_a_file_of_others_has_a_say_in(
    home: Path, roots: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    """The directories are all root's own."""
    home.chmod(0o777)
    python, site = venv_below(roots)
    (site / "early.pth").write_text(noting(home))
    file = Path(os.path.normpath(site / name))
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        file.write_bytes((python.parent.parent / file.name).read_bytes() if file.suffix == ".cfg" else b"")
    assert patch(python, check_mode=True)["changed"]
    (home / "users").unlink()
    spoil(file)
    assert f"{file}: {ONLY_ROOT}" in refusal(python)
    assert not noted(home)


def open_to_all(home: Path, _site: Path) -> dict[str, Any]:
    os.chown(home, 0, 0)
    home.chmod(0o777)
    return {"path": home}


def in_src(home: Path, _site: Path) -> dict[str, Any]:
    (home / "src").mkdir()
    (home / "evil.py").rename(home / "src" / "evil.py")
    os.chown(home, 0, 0)
    give(home / "src")
    return {"path": home}


def in_site_packages(home: Path, site: Path) -> dict[str, Any]:
    (site / "evil").mkdir()
    (home / "evil.py").rename(site / "evil" / "__init__.py")
    give(site / "evil")
    return {}


def in_a_zip(home: Path, site: Path) -> dict[str, Any]:
    with zipfile.ZipFile(home / "evil.zip", "w") as archive:
        archive.write(home / "evil.py", "evil.py")
    (home / "evil.py").unlink()
    (site / "zipped.pth").write_text(str(home / "evil.zip"))
    return {}


def by_a_finder(home: Path, site: Path) -> dict[str, Any]:
    finder = (
        "import sys, importlib.util\nclass F:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'evil':\n"
        f"            return importlib.util.spec_from_file_location(name, {str(home / 'evil.py')!r})\n"
        "sys.meta_path.append(F())\n"
    )
    (site / "editable_finder.py").write_text(finder)
    (site / "editable.pth").write_text("import editable_finder\n")
    return {}


def by_pythonpath(home: Path, _site: Path) -> dict[str, Any]:
    return {"import_environment": {"PYTHONPATH": str(home)}}


ONLY_ROOT = "expected that only root may write there"
NOT_RUN = "ImportError: root does not run "


@pytest.mark.parametrize(
    ("lead", "message"),
    [
        (open_to_all, ONLY_ROOT),
        (in_src, ONLY_ROOT),
        (in_site_packages, NOT_RUN),
        (in_a_zip, ONLY_ROOT),
        (by_a_finder, NOT_RUN),
        (by_pythonpath, ONLY_ROOT),
    ],
)
def test_root_imports_nothing_of_a_users_however_it_is_found(
    home: Path, roots: Path, lead: Callable[[Path, Path], dict[str, Any]], message: str
) -> None:
    """The environment is root's own, and something in it leads to the user's code."""
    python, site = venv_below(roots)
    (home / "evil.py").write_text(noting(home))
    give(home)
    assert message in refusal(python, operation="check", definitions=[], imports=["evil"], **lead(home, site))
    assert not noted(home)


def test_root_changes_nothing_of_its_own_where_its_imports_would_run_as_a_user(home: Path, roots: Path) -> None:
    """The environment is root's, its sys.path leads into a home."""
    python, site = venv_below(roots)
    (site / "further.pth").write_text(str(home))
    (home / "evil.py").write_text(noting(home))
    give(home)
    message = refusal(python, imports=["evil"])
    assert "expected one owner, found" in message
    assert f"the work is done as {USER}, whom the interpreter, or what it imports from, belongs to" in message
    assert not noted(home)
    assert patch(path=site)["changed"], "without the interpreter nothing is run"


def test_one_user_does_not_run_the_code_of_another_for_root(home: Path, roots: Path) -> None:
    python, _site = venv_of(home)
    (roots / "evil.py").write_text(noting(home))
    give(roots, OTHER)
    (home / "users").unlink(missing_ok=True)
    assert "expected one owner" in refusal(python, path=roots, imports=["evil"])
