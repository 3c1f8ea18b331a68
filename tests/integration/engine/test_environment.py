# Environments: packages are found where the environment's own interpreter finds them, without being imported.
from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import engine, environments, interpreters, packages, wheels
from lab.run import run
from module_utils import _environment
from module_utils._errors import NoEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable

    Venv = Callable[..., Path]

RAISES = "raise SystemExit('imported')\n"


def found(python: Path | str, **parameters: Any) -> tuple[str, str | None, str | None]:
    patch = engine.look(python, **parameters)
    return patch["state"], patch["version"], next((file["path"] for file in patch["files"]), None)


def pending(directory: Path, version: str = "1.5") -> tuple[str, str, str]:
    return "pending", version, str(directory / "api.py")


# --- never imports


@pytest.mark.parametrize("package", ["thing", "outer.thing", "outer.inner.thing"])
@pytest.mark.parametrize("way", ["raises", "writes"])
def test_neither_the_package_nor_a_parent_is_imported(
    interpreter: Path, site: Path, tmp_path: Path, package: str, way: str
) -> None:
    marker = tmp_path / "imported"
    init = RAISES if way == "raises" else f"open({str(marker)!r}, 'w')\n"
    directory = site.joinpath(*package.split("."))
    packages.write(site, {f"{directory.relative_to(site)}/{name}": text for name, text in engine.FILES.items()})
    packages.write(directory, {"__init__.py": f"{init}__version__ = '1.5'\n"})
    for parent in list(directory.relative_to(site).parents)[:-1]:
        packages.write(site, {f"{parent}/__init__.py": init})
    definition = engine.definition(package=package)
    assert found(interpreter, definitions=[definition]) == pending(directory)
    assert found(interpreter, definitions=[definition], path=site) == pending(directory)
    assert not marker.exists()
    assert not list(site.rglob("__pycache__"))


def test_stand_ins_for_parents_are_gone_after_the_look(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages.write(site, {"outer_of_this_test/inner/thing/__init__.py": ""})
    monkeypatch.syspath_prepend(str(site))
    assert _environment.find("outer_of_this_test.inner.thing") == _environment.Package(
        "outer_of_this_test.inner.thing", (str(site / "outer_of_this_test" / "inner" / "thing"),), regular=True
    )
    assert not [name for name in sys.modules if name.startswith("outer_of_this_test")]


# --- layouts


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_venv_of_each_promised_python(venv: Venv, version: str) -> None:
    environment = venv(version)
    directory = engine.thing(environments.site_packages(environment))
    assert found(environments.python_of(environment)) == pending(directory)


def test_conda_layout(prefix: Path) -> None:
    (prefix / "conda-meta").mkdir()  # (faked: only conda itself looks at it; conda's layout is an installation's)
    (prefix / "conda-meta" / "history").touch()
    (site,) = prefix.glob("lib/*/site-packages")
    assert found(prefix / "bin" / "python") == ("missing", None, None)
    directory = engine.thing(site)
    assert found(prefix / "bin" / "python") == pending(directory)
    assert engine.ask("info", prefix / "bin" / "python", definitions=[engine.PATCH])["environment"]["prefix"] == str(
        prefix
    )


def test_system_site_and_a_venv_that_sees_it(prefix: Path, tmp_path: Path) -> None:
    (site,) = prefix.glob("lib/*/site-packages")
    directory = engine.thing(site, "1.1")
    system = prefix / "bin" / "python"
    assert found(system) == pending(directory, "1.1")
    run(system, "-I", "-m", "venv", "--without-pip", "--system-site-packages", tmp_path / "sees")
    run(system, "-I", "-m", "venv", "--without-pip", tmp_path / "alone")
    sees = environments.python_of(tmp_path / "sees")
    assert found(sees) == pending(directory, "1.1")
    assert found(environments.python_of(tmp_path / "alone"))[0] == "missing"
    own = engine.thing(environments.site_packages(tmp_path / "sees"), "1.2")
    assert found(sees) == pending(own, "1.2")


@pytest.mark.parametrize("variable", ["HOME", "PYTHONUSERBASE"])
def test_user_site(prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("PYTHONUSERBASE", raising=False)
    monkeypatch.delenv("PYTHONNOUSERSITE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "user"))
    system = prefix / "bin" / "python"
    site = Path(run(system, "-m", "site", "--user-site", env=dict(os.environ)).strip())
    assert site.is_relative_to(tmp_path / "user")
    directory = engine.thing(site)
    assert found(system) == pending(directory)


def test_target_directory_by_path_and_by_pythonpath(
    interpreter: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.thing(site, "1.1")
    directory = engine.thing(tmp_path / "target", "1.2")
    assert found(interpreter, path=tmp_path / "target") == pending(directory, "1.2")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "target"))
    assert found(interpreter) == pending(directory, "1.2")


# --- editable installs, by the real installers

STYLES = {  # name: (layout, settings): setuptools chooses the style by the layout, and by editable_mode
    "pth": ("src", ()),
    "finder": ("mapped", ()),
    "strict": ("src", ("--config-settings=editable_mode=strict",)),
    "compat": ("flat", ("--config-settings=editable_mode=compat",)),
}
LAYOUTS = {
    "src": ("src/thing", '[tool.setuptools.packages.find]\nwhere = ["src"]\n'),
    "flat": ("thing", '[tool.setuptools]\npackages = ["thing"]\n'),
    "mapped": ("code", '[tool.setuptools]\npackages = ["thing"]\npackage-dir = {"thing" = "code"}\n'),
}


def editable(environment: Path, project: Path, installer: str, style: str) -> Path:
    """Install ``thing`` 1.5 as an editable project and return the directory in which its sources are found."""
    layout, settings = STYLES[style]
    where, table = LAYOUTS[layout]
    engine.source(project / where)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "thing"\nversion = "1.5"\n{table}'
    )
    python = environments.python_of(environment)
    run(wheels.UV, "pip", "install", "--quiet", "--python", python, "setuptools", "pip")
    if installer == "uv":
        run(wheels.UV, "pip", "install", "--python", python, "--no-build-isolation", *settings, "-e", project)
    else:
        run(python, "-m", "pip", "install", "--no-build-isolation", "--no-deps", *settings, "-e", project)
    if style == "strict":
        (link,) = project.glob("build/__editable__.*/thing/api.py")
        return link.parent
    return project / where


@pytest.mark.parametrize("installer", [pytest.param("pip", marks=pytest.mark.slow), "uv"])
@pytest.mark.parametrize(
    "style", [style if style in ("pth", "finder") else pytest.param(style, marks=pytest.mark.slow) for style in STYLES]
)
def test_editable_install(environment: Path, tmp_path: Path, installer: str, style: str) -> None:
    directory = editable(environment, tmp_path / "project", installer, style)
    site = environments.site_packages(environment)
    assert bool(list(site.glob("__editable___*_finder.py"))) == (style == "finder")
    interpreter = environments.python_of(environment)
    patch = engine.look(interpreter)
    assert found(interpreter) == pending(directory)
    assert patch["integrity"] == "unknown"
    code = "import thing.api; print(thing.api.__file__)"
    assert run(interpreter, "-B", "-c", code).strip() == patch["files"][0]["path"]
    engine.preview(interpreter, imports=["thing.api:Thing", "thing.api:answer"])
    assert engine.BLOCK not in (directory / "api.py").read_bytes()


@pytest.mark.parametrize("where", ["", "src", "src/transformers"])
def test_source_checkout_of_transformers(tree: Callable[[str], Path], tmp_path: Path, where: str) -> None:
    site = tree("4.57.6")
    checkout = tmp_path / "checkouts" / "transformers"
    (checkout / "src").mkdir(parents=True)
    shutil.copytree(site / "transformers", checkout / "src" / "transformers")
    patch = engine.look(path=checkout / where, name=["transformers_modeling_utils"])
    file = checkout / "src" / "transformers" / "modeling_utils.py"
    assert (patch["state"], patch["version"]) == ("pending", "4.57.6")
    assert patch["files"] == [{"path": str(file), "integrity": "unknown"}]


# --- namespace packages, and what is no package


def test_namespace_of_several_distributions(interpreter: Path, site: Path, tmp_path: Path) -> None:
    """As the real megatron-core and megatron-bridge: `megatron` has no __init__.py, each lies in its own portion."""
    files = {f"outer/thing/{name}": text for name, text in engine.FILES.items()}
    packages.install(tmp_path / "more", "outer-thing", "1.7", {**files, "outer/thing/__init__.py": RAISES})
    packages.install(site, "outer-bridge", "3.0", {"outer/bridge/__init__.py": ""})
    (site / "more.pth").write_text(f"{tmp_path / 'more'}\n")
    definitions = [engine.definition(package="outer.thing")]
    assert found(interpreter, definitions=definitions) == pending(tmp_path / "more" / "outer" / "thing", "1.7")


def test_the_portion_of_a_namespace_that_has_the_file(interpreter: Path, site: Path, tmp_path: Path) -> None:
    packages.install(site, "thing-first", "3.0", {"thing/first.py": ""})
    files = {f"thing/{name}": text for name, text in engine.FILES.items() if name != "__init__.py"}
    packages.install(tmp_path / "more", "thing", "1.7", files)
    (site / "more.pth").write_text(f"{tmp_path / 'more'}\n")
    assert found(interpreter) == pending(tmp_path / "more" / "thing", "1.7")


@pytest.mark.slow
def test_real_megatron_core_is_found_in_its_namespace(megatron_env: Path) -> None:
    definition = engine.definition(package="megatron.core", file="utils.py", versions=">=0.15,<0.16")
    patch = engine.look(environments.python_of(megatron_env), definitions=[definition])
    file = environments.site_packages(megatron_env) / "megatron" / "core" / "utils.py"
    assert (patch["files"], patch["version"]) == ([{"path": str(file), "integrity": "pristine"}], "0.15.3")


@pytest.mark.parametrize("left", [{}, {"thing/__pycache__/api.cpython-311.pyc": b"left"}], ids=["nothing", "bytecode"])
@pytest.mark.parametrize("by_path", [False, True])
def test_what_an_uninstall_leaves_is_missing(
    interpreter: Path, site: Path, left: dict[str, bytes], *, by_path: bool
) -> None:
    packages.write(site, left)
    patch = engine.look(interpreter, path=site if by_path else None)
    assert patch["state"] == "missing"
    expected = str(site) if by_path else "this environment"
    assert patch["message"].startswith(f"package thing: expected it in {expected}, found ")


def test_a_module_of_the_name_is_no_package(interpreter: Path, site: Path) -> None:
    packages.write(site, {"thing.py": RAISES})
    assert engine.look(interpreter)["state"] == "missing"
    assert engine.look(interpreter, path=site)["state"] == "missing"
    definition = engine.definition(package="thing.inner")
    assert engine.look(interpreter, definitions=[definition])["state"] == "missing"


def test_a_zipped_package_is_refused_in_words(interpreter: Path, site: Path) -> None:
    archive = site / "thing.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for name, text in engine.FILES.items():
            stream.writestr(f"thing/{name}", text)
    (site / "zipped.pth").write_text(f"{archive}\n")
    patch = engine.look(interpreter)
    assert patch["state"] != "pending"
    assert str(archive) in patch["message"]


def test_a_package_that_a_pth_file_has_imported_already(interpreter: Path, site: Path) -> None:
    directory = engine.thing(site)
    (site / "early.pth").write_text("import thing.api\n")
    assert found(interpreter) == pending(directory)


# --- path


def test_path_that_is_a_package_in_a_namespace(tmp_path: Path, interpreter: Path) -> None:
    files = {f"outer/thing/{name}": text for name, text in engine.FILES.items()}
    packages.install(tmp_path / "target", "outer-thing", "1.7", files)
    directory = tmp_path / "target" / "outer" / "thing"
    definitions = [engine.definition(package="outer.thing")]
    assert found(interpreter, definitions=definitions, path=directory) == pending(directory, "1.7")
    engine.preview(
        interpreter, definitions=definitions, path=directory, imports=["outer.thing.api:Thing", "outer.thing.core"]
    )


def test_relative_path_means_the_same_in_a_child(
    tmp_path: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = engine.thing(tmp_path / "target")
    monkeypatch.chdir(tmp_path)
    for path in ("target", "target/thing", "./target/"):
        assert found(interpreter, path=path) == pending(directory)
        engine.preview(interpreter, path=path)


def test_imports_take_the_package_that_was_found(tmp_path: Path, interpreter: Path) -> None:
    """A site-packages may hold a package `src` of a badly made wheel, with anything in it."""
    directory = engine.thing(tmp_path)
    engine.source(tmp_path / "src" / "thing", api="raise RuntimeError('the wrong one')\n")
    assert found(interpreter, path=tmp_path) == pending(directory)
    engine.preview(interpreter, path=tmp_path)


@pytest.mark.parametrize("directory", ["", "src", "src/thing"])
def test_imports_find_the_checkout_that_path_names(tmp_path: Path, interpreter: Path, directory: str) -> None:
    engine.source(tmp_path / "src" / "thing", __init__="__version__ = '1.5'\n")
    result = engine.preview(interpreter, path=tmp_path / directory)
    assert result["imports"][0]["version"] == "1.5"


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_path_that_is_no_directory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "here"
    if kind == "a file":
        path.touch()
    for operation in ("info", "patch", "check"):
        result = engine.ask(operation, definitions=[engine.PATCH], path=path, imports=["thing"])
        assert result["failed"]
        assert result["msg"] == (
            f"path {path}: expected a directory (site-packages, a package or a source checkout), found {kind}"
        )
    with pytest.raises(NoEnvironment):
        _environment.roots(str(path), [])


# --- version (of what there is to tell it: tests/unit/plugins/module_utils/test_records.py)


METADATA = "Metadata-Version: 2.1\nName: thing\nVersion: 1.5\n"
CODE = "import importlib.metadata\n__version__ = importlib.metadata.version('thing')\n"


def sources(at: Path, metadata: str | None = None, *, below: str = "", init: str = CODE) -> Path:
    """Write the package ``below`` a directory, with a version that only running code tells, and what else tells it."""
    engine.source(at / below / "thing", __init__=init)
    if metadata is not None:
        packages.write(at, {metadata: METADATA})
    return at


def on_path(site: Path, directory: Path, name: str = "more.pth") -> Path:
    directory.mkdir(exist_ok=True)
    (site / name).write_text(f"{directory}\n")
    return directory


def egg(site: Path) -> Path:
    """Lay out what easy_install and ``setup.py install`` did (by hand: setuptools no longer does)."""
    sources(site / "thing-1.4-py3.11.egg", "EGG-INFO/PKG-INFO", init="__version__ = '1.4'\n")
    sources(site / "thing-1.5-py3.11.egg", "EGG-INFO/PKG-INFO")
    (site / "easy-install.pth").write_text("./thing-1.5-py3.11.egg\n")
    return site


def in_place(site: Path, source: Path) -> Path:
    """Lay out what ``pip install -e`` leaves where the build tool writes no .egg-info (hatchling, flit, poetry)."""
    info = packages.install(site, "thing", "1.5", {"_thing.pth": f"{source}\n"})
    (info / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    return sources(source)


def two_copies(site: Path, other: Path) -> Path:
    """Lay out a package that nothing tells the version of, and behind it another copy that has one."""
    sources(on_path(site, other.with_name("later"), "later.pth"), "thing-1.5.egg-info")
    return sources(on_path(site, other, "earlier.pth"))


# What is laid out, given a site-packages and a directory elsewhere, and where `path` leads to it; and the version.
LAID_OUT: dict[str, tuple[Callable[[Path, Path], Path], str | None]] = {
    "wheel": (lambda site, _other: engine.thing(site, __init__=CODE).parent, "1.5"),
    "wheel's package": (lambda site, _other: engine.thing(site, __init__=CODE), "1.5"),
    "Debian's": (lambda site, _other: sources(site, "thing-1.5.dist-info/METADATA"), "1.5"),
    "egg-info": (lambda site, _other: sources(site, "thing-1.5-py3.11.egg-info/PKG-INFO"), "1.5"),
    "egg-info file": (lambda site, _other: sources(site, "thing-1.5-py3.11.egg-info"), "1.5"),
    "egg": (lambda site, _other: egg(site), "1.5"),
    "the egg itself": (lambda site, _other: egg(site) / "thing-1.5-py3.11.egg", "1.5"),
    "sdist": (lambda site, other: sources(on_path(site, other), "PKG-INFO"), "1.5"),
    "sdist, src": (lambda site, other: sources(on_path(site, other / "src").parent, "PKG-INFO", below="src"), "1.5"),
    "develop": (lambda site, other: sources(on_path(site, other), "thing.egg-info/PKG-INFO"), "1.5"),
    "in place": (in_place, "1.5"),
    "literal": (lambda site, _other: sources(site, init="__version__ = '1.5'\n"), "1.5"),
    "literal over metadata": (
        lambda site, _other: sources(site, "thing-1.5.egg-info/PKG-INFO", init="__version__ = '1.6'\n"),
        "1.6",
    ),
    "code": (lambda site, _other: sources(site), None),
    "another copy's": (two_copies, None),
}


@pytest.mark.parametrize("name", LAID_OUT)
def test_by_path_and_by_python_the_version_is_the_same(
    interpreter: Path, site: Path, tmp_path: Path, name: str
) -> None:
    """Asked of the parts alone, as they are asked in the environment's interpreter."""
    make, version = LAID_OUT[name]
    (tmp_path / "elsewhere").mkdir()
    path = make(site, tmp_path / "elsewhere")
    code = (
        "import json, sys; sys.path.append(sys.argv[1]); from module_utils import _environment, _records\n"
        "for path in (None, sys.argv[2]):\n"
        "    package = _environment.find('thing', path)\n"
        "    place = _environment.place(package, 'api.py')\n"
        "    owner = _records.owner(place, ['thing'])\n"
        "    print(json.dumps([_records.version(place, package.directories[0], ['thing']), place, owner]))\n"
    )
    by_python, by_path = map(json.loads, run(interpreter, "-B", "-c", code, engine.PLUGINS, path).splitlines())
    assert by_path == by_python
    assert by_python[0] == version
    assert Path(by_python[1][0]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_states_are_the_same_under_each_python(venv: Venv, tree: Callable[[str], Path], version: str) -> None:
    """Ansible's interpreter is another one than the environment's; the real wheel is read by each parser."""
    site = tree("4.57.6")
    expected = engine.look(path=site, name=["transformers_modeling_utils"])
    assert (
        engine.look(environments.python_of(venv(version)), path=site, name=["transformers_modeling_utils"]) == expected
    )
