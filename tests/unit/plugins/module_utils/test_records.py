# Records: which distribution a file is of, its version and what its installer wrote of it, in all that there are.
from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _environment, _records
from ansible_collections.primus.patches.plugins.module_utils._environment import Package, Place
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict, NoEnvironment
from ansible_collections.primus.patches.plugins.module_utils._records import Distribution
from ansible_collections.primus.patches.tests.lab import packages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

API = "def answer():\n    return 42\n"
THING = {"thing/__init__.py": "", "thing/api.py": API}
METADATA = "Metadata-Version: 2.1\nName: Thing.Y\nVersion: 1.5\n\nName: body\nVersion: 9\n"


def at(root: Path, relative: str) -> Place:
    return Place(str(root / relative), str(root), relative)


def owner(root: Path, relative: str = "thing/api.py", names: Any = ("thing",)) -> tuple[str, str | None] | None:
    """Return name and version of the distribution that has a file."""
    found = _records.owner(at(root, relative), names)
    return None if found is None else found[:2]


def version(root: Path, names: Any = ("thing",), relative: str = "thing/api.py") -> str | None:
    return _records.version(at(root, relative), str((root / relative).parent), names)


# --- RECORD


def test_record_is_found_for_quoted_names(tmp_path: Path) -> None:
    info = tmp_path / "thing_y-1.5.dist-info"
    packages.write(
        info,
        {
            "METADATA": METADATA,
            "RECORD": b'x,,\r\n"thing/a,b.py",sha256=comma,1\r\n"thing/a""b.py",sha256=quote,1\r\n'
            b"thing/ab.py,sha256=plain,1\r\nthing/none.py,,\r\nthing/short.py\r\nxthing/c.py,sha256=other,1\r\n",
        },
    )
    found = Distribution("Thing.Y", "1.5", str(info))
    assert _records.distributions(str(tmp_path)) == [found]
    for name, digest in (("a,b", "comma"), ('a"b', "quote"), ("ab", "plain")):
        assert _records.recorded(found, "thing/%s.py" % name) == "sha256=" + digest
    assert _records.recorded(found, "thing/none.py") == ""
    for name in ("b", "c", "nothing", "a"):
        assert _records.recorded(found, "thing/%s.py" % name) is None, name
    listed = ["x", "thing/a,b.py", 'thing/a"b.py', "thing/ab.py", "thing/none.py", "thing/short.py", "xthing/c.py"]
    assert _records.files(found) == listed
    assert _records.record_digest(found) == hashlib.sha256((info / "RECORD").read_bytes()).hexdigest()


def test_a_digest_proves_the_bytes_and_an_odd_one_nothing(tmp_path: Path) -> None:
    packages.install(tmp_path, "thing", "1.5", THING)
    (found,) = _records.distributions(str(tmp_path))
    digest = _records.recorded(found, "thing/api.py")
    assert digest is not None
    assert _records.matches(API.encode(), digest)
    assert not _records.matches(API.encode() + b"\n", digest)
    for odd in ("", "sha256", "sha256=", "none=abc", "shake_128=abc", "=", digest + "="):
        assert not _records.matches(API.encode(), odd), odd


def test_installed_files_lists_names_without_hashes(tmp_path: Path) -> None:
    packages.write(
        tmp_path,
        {
            **THING,
            "thing-1.5.egg-info/PKG-INFO": METADATA,
            "thing-1.5.egg-info/installed-files.txt": "../thing/api.py\n../../../../bin/thing\nPKG-INFO\n",
        },
    )
    (found,) = _records.distributions(str(tmp_path))
    assert _records.files(found) == ["thing/api.py", "../../../bin/thing", "thing-1.5.egg-info/PKG-INFO"]
    assert _records.recorded(found, "thing/api.py") == ""
    assert _records.recorded(found, "thing/other.py") is None
    assert _records.record_digest(found) is None
    assert owner(tmp_path, names=("nothing",)) == ("Thing.Y", "1.5")


def test_what_lists_nothing_says_so(tmp_path: Path) -> None:
    packages.write(tmp_path, {**THING, "thing-1.5-py3.11.egg-info": METADATA})
    (found,) = _records.distributions(str(tmp_path))
    assert found == ("Thing.Y", "1.5", str(tmp_path / "thing-1.5-py3.11.egg-info"))
    assert (_records.files(found), _records.recorded(found, "thing/api.py"), _records.record_digest(found)) == (
        None,
        None,
        None,
    )


# --- whose a file is


@pytest.mark.parametrize(
    ("others", "file", "expected"),
    [
        pytest.param({"another-9.0": {"another/a.py": ""}, "opencv-1.6": THING}, "api.py", "opencv-1.6", id="any name"),
        pytest.param({"thing-1.5": THING, "plug_in-3.0": {"thing/in.py": ""}}, "in.py", "plug_in-3.0", id="a plugin"),
        pytest.param({"thing-1.4": {"thing/old.py": ""}, "thing-1.5": THING}, "api.py", "thing-1.5", id="an upgrade"),
    ],
)
def test_a_file_is_of_the_distribution_that_lists_it(
    tmp_path: Path, others: Mapping[str, Mapping[str, str]], file: str, expected: str
) -> None:
    for name, files in others.items():
        packages.install(tmp_path, *name.split("-"), files)
    assert owner(tmp_path, f"thing/{file}") == tuple(expected.split("-"))
    assert version(tmp_path, relative=f"thing/{file}") == expected.split("-")[1]


def test_a_file_that_no_installer_wrote_is_of_the_distribution_around_it(tmp_path: Path) -> None:
    packages.install(tmp_path, "opencv_things", "1.6", THING)
    for name in ("thing/new.py", "thing/new/deep/new.py", "thing/__pycache__/new.py"):
        assert owner(tmp_path, name) == ("opencv_things", "1.6")
    packages.install(tmp_path, "thing", "2.0", {})
    assert owner(tmp_path, "thing/new.py") == ("opencv_things", "1.6"), "the name alone is the last that counts"
    assert owner(tmp_path, "more/new.py") == ("thing", "2.0")
    assert owner(tmp_path, "more/new.py", ("more",)) is None


def test_what_was_left_of_an_uninstall_is_of_nobody(tmp_path: Path) -> None:
    info = packages.install(tmp_path, "thing", "1.5", THING)
    packages.write(tmp_path, {"thing/new.py": ""})
    info.rename(tmp_path / "~hing-1.5.dist-info")  # as pip puts it aside
    for name in THING:
        (tmp_path / name).unlink()
    assert owner(tmp_path, "thing/new.py") is None
    assert version(tmp_path, relative="thing/new.py") is None


# --- two distributions of one project


def test_two_that_list_a_file_are_told_by_the_version_in_the_source(tmp_path: Path) -> None:
    packages.install(tmp_path, "thing", "1.4", THING)
    packages.install(tmp_path, "thing", "1.5", THING)
    message = (
        r"thing/api.py is claimed by several installed distributions \(thing 1.4, thing 1.5\): an upgrade was "
        r"interrupted; reinstall one of them"
    )
    with pytest.raises(Conflict, match=message):
        owner(tmp_path)
    assert version(tmp_path) is None
    for number in ("1.4", "1.5"):
        packages.write(tmp_path, {"thing/__init__.py": "__version__ = '%s'\n" % number})
        assert owner(tmp_path) == ("thing", number)
        assert owner(tmp_path, "thing/new.py") == ("thing", number)
        assert version(tmp_path) == number
    packages.write(tmp_path, {"thing/__init__.py": "__version__ = '1.3'\n"})
    with pytest.raises(Conflict, match=message):
        owner(tmp_path)


def test_two_that_list_a_file_are_told_by_the_hashes_of_all_files_also_once_it_is_patched(tmp_path: Path) -> None:
    for number in ("1.4", "1.5"):
        files = dict.fromkeys(("thing/api.py", "thing/b.py", "thing/c.py"), "LIMIT = %r\n" % number)
        packages.install(tmp_path, "thing", number, {"thing/__init__.py": "", **files})
    assert owner(tmp_path) == ("thing", "1.5")
    packages.write(tmp_path, {"thing/api.py": "LIMIT = 20\n"})
    for name in ("thing/api.py", "thing/b.py", "thing/__init__.py", "thing/new.py"):
        assert owner(tmp_path, name) == ("thing", "1.5")
        assert version(tmp_path, relative=name) == "1.5"
    packages.write(tmp_path, {"thing/b.py": "LIMIT = '1.4'\n"})
    with pytest.raises(Conflict, match="an upgrade was interrupted"):  # (files of both are there)
        owner(tmp_path)


def test_two_that_list_a_module_are_told_by_its_version(tmp_path: Path) -> None:
    for number in ("1.4", "1.5"):
        packages.install(tmp_path, "thing", number, {"thing.py": "__version__ = '1.5'\n", "other.py": ""})
    assert owner(tmp_path, "thing.py") == ("thing", "1.5")
    with pytest.raises(Conflict, match=r"other\.py is claimed by several"):
        owner(tmp_path, "other.py")


def test_two_that_list_nothing_are_no_conflict(tmp_path: Path) -> None:
    """As where an interrupted removal has left an empty directory."""
    packages.write(tmp_path, {**THING, "thing-1.5.dist-info/METADATA": "Name: thing\nVersion: 1.5\n"})
    (tmp_path / "thing-1.4.dist-info").mkdir()
    packages.write(tmp_path, {"thing/__init__.py": "__version__ = '1.5'\n"})
    assert owner(tmp_path) == ("thing", "1.5")


# --- versions where there is no RECORD


@pytest.mark.parametrize(
    "files",
    [
        {"thing-1.5.egg-info/PKG-INFO": METADATA},
        {"thing-1.5-py3.11.egg-info": METADATA},
        {"thing.egg-info/PKG-INFO": METADATA, "thing.egg-info/top_level.txt": "thing\n"},
        {"EGG-INFO/PKG-INFO": METADATA, "EGG-INFO/top_level.txt": "thing\n"},
        {"yaml_of_a_thing.egg-info/PKG-INFO": METADATA, "yaml_of_a_thing.egg-info/top_level.txt": "_thing\nthing\n"},
        {"thing-1.5.dist-info/METADATA": METADATA},  # (as Debian's: without RECORD)
        {"thing-1.5.dist-info/RECORD": "other.py,,\n"},  # (and without METADATA)
        {"PKG-INFO": METADATA.replace("Thing.Y", "thing")},
    ],
)
@pytest.mark.parametrize("init", ["", "from ._version import __version__\n", "__version__ = open('VERSION').read()\n"])
def test_metadata_tell_the_version_that_the_source_does_not(
    tmp_path: Path, files: Mapping[str, str], init: str
) -> None:
    packages.write(tmp_path, {**THING, "thing/__init__.py": init, **files})
    assert version(tmp_path) == "1.5"
    found = _records.owner(at(tmp_path, "thing/api.py"), ("thing",))
    assert found is not None
    assert (found.version, found.info) == ("1.5", str(tmp_path / next(iter(files)).split("/")[0]))


@pytest.mark.parametrize(
    "files",
    [
        {"__init__.py": "__version__ = '1.5'\n"},
        {"__init__.py": "from .version import __version__\n", "version.py": "__version__ = version = '1.5'\n"},
        {"__init__.py": "this does not parse", "_version.py": "__version__ = '1.5'\n"},
    ],
)
def test_the_source_tells_more_than_metadata_of_its_name(tmp_path: Path, files: Mapping[str, str]) -> None:
    packages.write(tmp_path, {"thing.egg-info/PKG-INFO": "Name: thing\nVersion: 1.4\n"})
    packages.write(tmp_path / "thing", {"api.py": API, **files})
    assert version(tmp_path) == "1.5"


@pytest.mark.parametrize(
    "init",
    [
        "",
        "__version__ = '.'.join(['1', '5'])\n",
        "try:\n  from ._version import __version__\nexcept ImportError:\n  __version__ = '9'\n",
        "import importlib.metadata\n__version__ = importlib.metadata.version('thing')\n",
    ],
)
def test_what_only_running_code_could_tell_is_no_version(tmp_path: Path, init: str) -> None:
    packages.write(tmp_path, {**THING, "thing/__init__.py": init})
    packages.write(tmp_path, {"other.egg-info/PKG-INFO": METADATA, "other.egg-info/top_level.txt": "others\n"})
    assert version(tmp_path) is None
    assert owner(tmp_path) is None


def test_the_project_around_src_tells_its_version(tmp_path: Path) -> None:
    packages.write(tmp_path, {"PKG-INFO": "Name: thing\nVersion: 1.5\n"})
    packages.write(tmp_path / "src", THING)
    packages.write(tmp_path / "lib", THING)
    assert version(tmp_path / "src") == "1.5"
    assert version(tmp_path / "lib") is None


def test_the_name_of_a_directory_tells_where_its_metadata_do_not(tmp_path: Path) -> None:
    for name in ("a_b-1.0.dist-info", "c-2.0-py3.11.egg-info", "d.egg-info", "~e-1.0.dist-info", "f.dist-info.bak"):
        (tmp_path / name).mkdir()
    packages.write(tmp_path, {"PKG-INFO": "Metadata-Version: 2.1\n"})
    told = [found[:2] for found in _records.distributions(str(tmp_path))]
    assert told == [("a_b", "1.0"), ("c", "2.0"), ("d", None), ("", None)]
    assert _records.distributions(str(tmp_path), ["A.B", "D"]) == [
        ("a_b", "1.0", str(tmp_path / "a_b-1.0.dist-info")),
        ("d", None, str(tmp_path / "d.egg-info")),
    ]


def test_what_is_long_is_cut(tmp_path: Path) -> None:
    packages.write(tmp_path, {"thing-1.dist-info/METADATA": "Name: thing\nVersion: %s\n" % ("1" * 5000)})
    ((_name, found, _info),) = _records.distributions(str(tmp_path))
    assert found == "1" * 200


@pytest.mark.parametrize("name", ["RECORD", "METADATA"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_there_and_cannot_be_read_is_not_taken_for_absent(tmp_path: Path, name: str, make: Any) -> None:
    info = packages.install(tmp_path, "thing", "1.5", THING)
    (info / name).unlink()
    make(str(info / name))
    with pytest.raises(OSError, match="no regular file"):
        owner(tmp_path)
    with pytest.raises(OSError, match="no regular file"):
        version(tmp_path)


# --- other distributions, editable installs


def test_other_distributions_are_looked_for_beside_and_on_sys_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.install(tmp_path / "site", "num_lib", "2.1", {})
    packages.install(tmp_path / "more", "num-lib", "1.0", {})
    packages.install(tmp_path / "more", "other", "3.0", {})
    monkeypatch.setattr(sys, "path", [str(tmp_path / "absent"), str(tmp_path / "more"), *sys.path])
    root = str(tmp_path / "site")
    for local in (True, False):
        assert _records.installed("Num.Lib", root, local) == "2.1"
        assert _records.installed("no-such-distribution", root, local) is None
    assert _records.installed("other", root, local=True) is None
    assert _records.installed("other", root, local=False) == "3.0"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"url": "file://{source}", "dir_info": {"editable": True}}, "1.5"),
        ({"url": "file://{above}", "dir_info": {"editable": True}}, "1.5"),
        ({"url": "file://{source}", "dir_info": {"editable": False}}, None),
        ({"url": "file://{source}", "dir_info": {}}, None),
        ({"url": "file://{source}"}, None),
        ({"url": "file:///elsewhere", "dir_info": {"editable": True}}, None),
        ({"url": "https://example.org{source}", "dir_info": {"editable": True}}, None),
        ([], None),
    ],
)
def test_an_install_in_place_tells_the_version_of_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Any, expected: str | None
) -> None:
    source, site = tmp_path / "a source" / "src", tmp_path / "site"
    packages.write(source, THING)
    text = json.dumps(told).replace("{source}", str(source).replace(" ", "%20")).replace("{above}", str(tmp_path))
    info = packages.install(site, "thing", "1.5", {"__editable__.thing.pth": str(source)})
    (info / "direct_url.json").write_text(text)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    assert version(source) == expected
    assert version(source, ("other",)) is None


def test_another_copys_metadata_on_sys_path_are_not_this_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages.write(tmp_path / "first", THING)
    packages.install(tmp_path / "second", "thing", "1.5", THING)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second"), *sys.path])
    assert version(tmp_path / "first") is None
    assert version(tmp_path / "second") == "1.5"


# --- what an uninstall leaves


def package(root: Path, name: str = "thing") -> Package:
    found = _environment.find(name, str(root))
    assert found is not None
    return found


def test_a_regular_package_is_installed_whatever_lists_it(tmp_path: Path) -> None:
    packages.write(tmp_path, THING)
    assert _records.installed_package(package(tmp_path))


def test_a_namespace_package_is_installed_where_something_lists_a_file_of_it(tmp_path: Path) -> None:
    left = {"outer/thing/__pycache__/api.cpython-311.pyc": b"left", "outer/thing/new.py": ""}
    packages.write(tmp_path, left)
    packages.install(tmp_path, "other", "1.0", {"outer/thing_more/api.py": "", "x/outer/thing/api.py": ""})
    assert not _records.installed_package(package(tmp_path, "outer.thing"))
    assert _records.installed_package(package(tmp_path, "outer")), "the other one has files in it"
    info = packages.install(tmp_path, "any_name", "1.0", {"outer/thing/api.py": ""})
    assert _records.installed_package(package(tmp_path, "outer.thing"))
    (info / "RECORD").rename(info / "top_level.txt")
    (info / "top_level.txt").write_text("outer\n")
    assert _records.installed_package(package(tmp_path, "outer.thing")), "without a list, what setuptools noted"
    shutil.rmtree(info)
    assert not _records.installed_package(package(tmp_path, "outer.thing"))


@pytest.mark.parametrize("where", ["", "src"])
@pytest.mark.parametrize("top", ["pyproject.toml", "setup.py", ".git/HEAD", "PKG-INFO"])
def test_a_namespace_package_in_a_source_tree_is_there_but_not_what_bytecode_leaves(
    tmp_path: Path, where: str, top: str
) -> None:
    packages.write(tmp_path / where, {"thing/__pycache__/api.cpython-311.pyc": b"left"})
    packages.write(tmp_path, {top: ""})
    assert not _records.installed_package(package(tmp_path))
    packages.write(tmp_path / where, {"thing/api.py": API})
    assert _records.installed_package(package(tmp_path))
    shutil.rmtree(tmp_path / top) if (tmp_path / top).is_dir() else (tmp_path / top).unlink()
    if top == ".git/HEAD":
        (tmp_path / ".git").rmdir()
    assert not _records.installed_package(package(tmp_path))


# --- where a file is


def test_a_place_in_a_package_counts_from_the_directory_on_sys_path(tmp_path: Path) -> None:
    packages.write(tmp_path, {"outer/thing/__init__.py": "", "outer/thing/api.py": ""})
    for where in ("", "outer/thing"):
        found = package(tmp_path / where, "outer.thing")
        for file in ("api.py", "inner/none.py"):
            expected = at(tmp_path, "outer/thing/" + file)
            assert _environment.place(found, file) == expected


def test_of_a_namespace_package_the_directory_that_has_the_file_counts(tmp_path: Path) -> None:
    packages.write(tmp_path, {"first/thing/a.py": "", "second/thing/b.py": "", "second/thing/a.py": ""})
    found = Package("thing", (str(tmp_path / "first" / "thing"), str(tmp_path / "second" / "thing")), regular=False)
    places = {file: _environment.place(found, file).root for file in ("a.py", "b.py", "new.py")}
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert places == {"a.py": first, "b.py": second, "new.py": first}


def test_links_of_directories_lead_on_and_the_files_own_link_does_not(tmp_path: Path) -> None:
    packages.write(tmp_path, {"store/thing/__init__.py": "", "store/thing/api.py": "", "cache/api.py": ""})
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thing").symlink_to(tmp_path / "store" / "thing")
    (tmp_path / "store" / "thing" / "linked.py").symlink_to(tmp_path / "cache" / "api.py")
    for file in ("api.py", "linked.py"):
        found = _environment.place(package(tmp_path / "site"), file)
        assert found == (str(tmp_path / "site" / "thing" / file), str(tmp_path / "store"), "thing/" + file)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Return the site-packages of what looks like a virtual environment, with a distribution without a package."""
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    files = {"thing.py": API, "../../../bin/thing": "#!/bin/sh\n", "../../../../outside": ""}
    packages.install(site, "thing", "1.5", files)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    return site


def test_files_of_a_distribution_alone(environment: Path) -> None:
    prefix = environment.parents[2]
    for file in ("thing.py", "thing-1.5.dist-info/METADATA", "../../../bin/thing", "../../../share/new", "new.py"):
        found = _environment.site_place("Thing", file, str(environment))
        assert found == (os.path.normpath(str(environment / file)), str(environment), file)
        assert found.path.startswith(str(prefix))
    found = _environment.site_place("thing", "../../../bin/thing", str(environment))
    assert found is not None
    assert _records.owner(found, ["thing"]) == ("thing", "1.5", str(environment / "thing-1.5.dist-info"))
    assert _environment.site_place("other", "thing.py", str(environment)) is None
    with pytest.raises(NoEnvironment):
        _environment.site_place("thing", "thing.py", str(environment / "thing.py"))


def test_no_file_of_a_distribution_alone_lies_outside_of_the_environment(environment: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict) as raised:
        _environment.site_place("thing", "../../../../outside", str(environment))
    assert str(raised.value) == (
        "../../../../outside: expected a file of distribution thing inside of %s, found that it leads to %s, out of "
        "the environment: give file as the distribution's RECORD lists it"
        % (environment.parents[2], tmp_path / "outside")
    )
    (environment.parents[2] / "bin" / "away").symlink_to(tmp_path)
    (environment / "away").symlink_to(tmp_path)
    for file in ("../../../bin/away/x", "away/x", "thing/../../../../../outside", "/etc/passwd", "../../../../venv2/x"):
        with pytest.raises(Conflict, match="out of the environment"):
            _environment.site_place("thing", file, str(environment))
    assert _environment.site_place("thing", "away", str(environment)), "a link is a file of its directory"


@pytest.mark.parametrize("mark", ["conda-meta/history", None])
def test_the_prefix_of_a_directory_is_told_by_what_it_holds(environment: Path, mark: str | None) -> None:
    prefix = environment.parents[2]
    (prefix / "pyvenv.cfg").unlink()
    if mark is not None:
        packages.write(prefix, {mark: ""})
        assert _environment.site_place("thing", "../../../bin/thing", str(environment))
        return
    assert _environment.site_place("thing", "thing.py", str(environment))
    with pytest.raises(Conflict, match="inside of %s, found" % environment):
        _environment.site_place("thing", "../../../bin/thing", str(environment))


def test_files_of_a_distribution_of_this_interpreter(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(environment)])
    monkeypatch.setattr(sys, "prefix", str(environment.parents[2]))
    found = _environment.site_place("thing", "../../../bin/thing", None)
    assert found == _environment.site_place("thing", "../../../bin/thing", str(environment))
    monkeypatch.setattr(sys, "prefix", str(environment.parents[3] / "other"))
    assert _environment.site_place("thing", "thing.py", None)
    with pytest.raises(Conflict, match="out of the environment"):
        _environment.site_place("thing", "../../../bin/thing", None)
