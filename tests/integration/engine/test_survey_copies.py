# The survey of other copies of a package on sys.path, and of several distributions of one name.
from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import engine, interpreters, packages
from module_utils import _environment, _patch, _step, _survey

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest


# --- other copies


def copies(python: Path, name: str = "thing", path: Sequence[Path] = (), user: Path | None = None) -> Any:
    """Return the other copies that an interpreter tells of, with ``path`` in PYTHONPATH and a user's directory."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONUSERBASE": str(user or "/nonexistent"),
    }
    return engine.within(
        python,
        "_survey.others(_environment.find(arguments[0]), arguments[1])",
        *(name, "thing"),
        env={name: value for name, value in environment.items() if value},
        cwd="/",
    )


def user_site(python: Path, base: Path) -> Path:
    code = "import site; print(site.getusersitepackages())"
    text = subprocess.check_output(
        [python, "-c", code], text=True, env={**os.environ, "PYTHONUSERBASE": str(base)}
    ).strip()
    Path(text).mkdir(parents=True)
    return Path(text)


def test_copies_later_on_the_path_are_told_in_order_with_their_own_versions(tmp_path: Path) -> None:
    """The first one is what is imported; that of the user's site-packages is called so."""
    interpreter = interpreters.usual()
    home = user_site(interpreter, tmp_path / "home")
    first, second = tmp_path / "first", tmp_path / "second"
    for site, version in ((first, "1.0"), (home, "2.0"), (second, "3.0")):
        engine.thing(site, version)
    assert copies(interpreter, path=[first, second, tmp_path / "absent"], user=tmp_path / "home") == [
        {"path": str(second / "thing"), "version": "3.0", "where": "sys.path"},
        {"path": str(home / "thing"), "version": "2.0", "where": "user site"},
    ]
    assert copies(interpreter, path=[second, first]) == [
        {"path": str(first / "thing"), "version": "1.0", "where": "sys.path"}
    ]
    assert copies(interpreter, path=[first]) == []


def test_a_user_site_that_a_pth_file_leads_on_from_is_still_the_users(tmp_path: Path) -> None:
    interpreter = interpreters.usual()
    home = user_site(interpreter, tmp_path / "home")
    (home / "more.pth").write_text("more\n")
    engine.thing(home / "more")
    engine.thing(tmp_path / "first")
    (copy,) = copies(interpreter, path=[tmp_path / "first"], user=tmp_path / "home")
    assert [copy["path"], copy["where"]] == [str(home / "more" / "thing"), "user site"]


def test_the_same_directory_by_another_name_is_no_copy(tmp_path: Path, interpreter: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    engine.thing(first)
    (tmp_path / "link").symlink_to(first)
    second.mkdir()
    (second / "thing").symlink_to(first / "thing")
    assert copies(interpreter, path=[first, tmp_path / "link", second]) == []
    engine.thing(tmp_path / "third")
    (tmp_path / "fourth").symlink_to("third")
    (copy,) = copies(interpreter, path=[first, tmp_path / "third", tmp_path / "fourth"])
    assert copy["path"] == str(tmp_path / "third" / "thing")


def test_a_copy_without_metadata_does_not_take_the_version_of_another_one(tmp_path: Path, interpreter: Path) -> None:
    engine.thing(tmp_path / "first", "1.0")
    engine.source(tmp_path / "second" / "thing")
    engine.source(tmp_path / "third" / "thing", __init__="__version__ = '3.5'\n")
    found = copies(interpreter, path=[tmp_path / name for name in ("first", "second", "third")])
    assert [copy["version"] for copy in found] == [None, "3.5"]


def test_a_copy_that_an_upgrade_left_broken_is_told_without_a_version(tmp_path: Path, interpreter: Path) -> None:
    engine.thing(tmp_path / "first", "1.0")
    engine.thing(tmp_path / "second", "1.0")
    engine.thing(tmp_path / "second", "2.0")
    (copy,) = copies(interpreter, path=[tmp_path / "first", tmp_path / "second"])
    assert copy == {"path": str(tmp_path / "second" / "thing"), "version": None, "where": "sys.path"}


def test_a_directory_without_init_shadows_nothing(tmp_path: Path, interpreter: Path) -> None:
    engine.thing(tmp_path / "first")
    (tmp_path / "second" / "thing").mkdir(parents=True)
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "thing.py").touch()
    assert copies(interpreter, path=[tmp_path / name for name in ("first", "second", "third")]) == []


def test_the_parts_of_a_namespace_package_are_no_copies_but_those_of_a_package_inside_are(
    tmp_path: Path, interpreter: Path
) -> None:
    path = [tmp_path / "first", tmp_path / "second"]
    for site in path:
        packages.write(site, {"space/thing/__init__.py": "__version__ = '1'\n"})
    assert copies(interpreter, "space", path) == []
    assert _survey.others(_environment.Package("space", (), regular=False), None) == [], "a broken one has no directory"
    (copy,) = copies(interpreter, "space.thing", path)
    assert copy["path"] == str(path[1] / "space" / "thing")


def test_a_package_in_a_directory_that_was_named_has_no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        engine.thing(tmp_path / name)
        monkeypatch.syspath_prepend(tmp_path / name)
    local, installed = (_environment.find("thing", path) for path in (str(tmp_path / "first"), None))
    assert local is not None
    assert installed is not None
    assert _survey.others(local, None) == []
    assert len(_survey.others(installed, None)) == 1


# --- distributions


def claims(site: Path, package: str = "thing", distribution: str | None = None) -> list[str]:
    """Return what details tell of a patch without any file, as where two distributions claim them."""
    patch = _patch.load(engine.definition(package=package, **{"distribution": distribution} if distribution else {}))
    told = _survey.details(_step.Step(patch, "conflict", "refuse", ""), str(site))
    assert told["others"] == []
    return told["distributions"]


def test_one_distribution_is_what_is_expected_and_two_tell_of_an_interrupted_upgrade(tmp_path: Path) -> None:
    engine.thing(tmp_path, "4.56.0")
    packages.install(tmp_path, "thing_more", "1.0", {})
    assert claims(tmp_path) == ["thing 4.56.0"]
    engine.thing(tmp_path, "4.57.6")
    assert claims(tmp_path) == ["thing 4.56.0", "thing 4.57.6"]


def test_a_distribution_counts_under_any_spelling_of_its_name(tmp_path: Path) -> None:
    """PEP 503; a directory without METADATA, as an interrupted removal leaves it, counts by its own name."""
    packages.install(tmp_path, "Big_Thing", "2.0", {"thing/api.py": ""})
    (tmp_path / "big.thing-1.0.dist-info").mkdir()
    assert claims(tmp_path, distribution="big-thing") == ["Big_Thing 2.0", "big.thing 1.0"]
    assert claims(tmp_path) == []


def test_a_package_inside_of_another_belongs_to_the_distribution_of_the_outer_one(tmp_path: Path) -> None:
    packages.install(tmp_path, "thing", "1.0", {"thing/__init__.py": "", "thing/inner/api.py": ""})
    packages.install(tmp_path, "inner", "9.0", {})
    assert claims(tmp_path, "thing.inner") == ["thing 1.0"]
    assert claims(engine.source(tmp_path / "checkout" / "thing").parent) == []
