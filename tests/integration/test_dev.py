# What ./dev and ./dev bare say and hand on; what they do is for a whole run to show.
from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lab import fleet, sandbox
from lab.controller import ROOT
from lab.sandbox import USER, needs_root

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


def load(name: str, path: Path) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


dev = load("dev", ROOT / "dev")
bare = load("bare", ROOT / "tools" / "bare.py")
stages = load("stages", ROOT / "tools" / "stages.py")


def ended(function: Any, *arguments: Any) -> Any:
    """Return what a user who is nobody here is told at the end."""

    def told() -> Any:
        with pytest.raises(SystemExit) as error:
            function(*arguments)
        return error.value.code

    return sandbox.child(told, user=USER)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", ".github/PULL_REQUEST_TEMPLATE.md", ".github/workflows"])
def test_what_contributors_and_a_forge_are_to_run_is_there(name: str) -> None:
    files = sorted((ROOT / name).glob("*")) or [ROOT / name]
    named = {command for file in files for command in re.findall(r"\./dev ([a-z][a-z-]*)", file.read_text())}
    assert named
    assert named <= set(dev.COMMANDS)


@needs_root
def test_who_may_not_install_is_told_all_packages_in_one_line_which_bare_understands() -> None:
    told = ended(dev.install_debian_packages, {"none-1": "second", "none-2": "first", "none-3": "first", "sh": "dash"})
    # (Debian's own Python has what makes a .venv in one more package; a Python in root's home cannot be looked into.)
    line = (
        r"sudo apt-get update && sudo apt-get install --yes --no-install-recommends first second( python3\.\d+-venv)?"
    )
    assert re.fullmatch(line, bare.apt_line(told))
    assert told.startswith("these Debian packages are not here, and ./dev may not install them itself: sudo ")
    assert bare.apt_line("[dev] exit 1 after 3 s: pytest") is None


@needs_root
def test_what_only_root_can_do_is_refused_to_a_user_before_anything_is_made() -> None:
    wanted = "expected to run as root, for namespaces and mounts; run it as root"
    assert ended(dev.fleet, []) == f"./dev fleet: {wanted}"
    assert ended(dev.bare, []) == f"./dev bare: {wanted}"


@needs_root
def test_a_fleet_in_a_plain_chroot_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    """A directory with nothing but /proc is enough: it is the root directory that is no mount point."""
    (tmp_path / "proc").mkdir()

    def told() -> str:
        sandbox.mount(tmp_path / "proc", "-t", "proc", "proc")
        os.chroot(tmp_path)
        return fleet.why_not()

    assert sandbox.child(told, mounts=True).startswith("expected / to be a mount point")


# Waits for the other lane's first stage, so the lanes must run at once, and prints on both channels before and after.
STAGE = """
import pathlib, subprocess, sys, time
name, mine, other, code = sys.argv[1:]
print(name, "begins", flush=True)
pathlib.Path(mine).touch()
while not pathlib.Path(other).exists():
    time.sleep(0.01)
subprocess.run(["sh", "-c", "echo to stderr >&2"])
print(name, "ends", flush=True)
sys.exit(int(code))
"""


def test_lanes_run_at_once_and_all_their_stages_are_shown_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (program := tmp_path / "program.py").write_text(STAGE)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    ended = stages.run(program, [["one", a, b, "3"], ["two", a, b, "0"]], [["three", b, a, "0"]])
    assert {name.split()[0]: code for name, code, _seconds in ended} == {"one": 3, "two": 0, "three": 0}
    names = [name.split()[0] for name, _code, _seconds in ended]
    assert names.index("one") < names.index("two")
    told = capsys.readouterr().out
    for name in names:
        assert f"{name} begins\nto stderr\n{name} ends\n[dev] ended after " in told


def test_a_bare_machine_sees_what_the_settings_name_and_it_does_not_have(tmp_path: Path) -> None:
    root, wheels, index = tmp_path / "root", tmp_path / "wheels", tmp_path / "index"
    for path in (root, wheels, index / "simple", index / "files"):
        path.mkdir(parents=True)
    settings = [
        f"{wheels} {wheels}",
        f"file://{index}/simple https://index.invalid/simple",
        "/usr/lib",
        "60",
        "relative",
    ]
    (root / "usr" / "lib").mkdir(parents=True)
    assert bare.seen(root, settings) == [str(wheels), str(index)]


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "https_proxy", "NO_PROXY", "SSL_CERT_FILE"])
def test_a_bare_machine_has_the_variables_that_say_how_indexes_are_reached(name: str) -> None:
    assert bare.CARRIED.fullmatch(name)


@pytest.mark.parametrize("name", ["HOME", "CI", "PYTHONPATH", "MY_PIP_INDEX_URL"])
def test_a_bare_machine_has_no_other_variable_of_this_one(name: str) -> None:
    assert not bare.CARRIED.fullmatch(name)
