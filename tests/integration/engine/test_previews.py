# Previews: with changes served from memory, imports find and show what they will once these are written.
from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import py_compile
import subprocess
import tempfile
from importlib import machinery
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import engine, environments, interpreters, packages, snapshot
from lab.run import run
from lab.sandbox import needs_root
from module_utils import _importer, _imports

if TYPE_CHECKING:
    from collections.abc import Callable

    Venv = Callable[..., Path]


# --- previews

SEES = (
    "import inspect, linecache, traceback\nimport thing.api, thing.core\n"
    "text = inspect.getsource(thing.api)\n"
    "assert '# >>> primus.patches: thing_names' in text, text\n"
    "assert text == ''.join(linecache.getlines(thing.api.__file__))\n"
    "assert thing.api.__loader__.get_source('thing.api') == text\n"
    "linecache.checkcache()\n"
    "assert text == ''.join(linecache.getlines(thing.api.__file__))\n"
    "assert inspect.getsource(thing.api.answer) == 'def answer():\\n    return 42\\n'\n"
    "assert thing.api.Thing is thing.core.Thing\n"
    "assert thing.api.answer() == 42\n"
)
CHECK = ("thing.api:Thing", "sees")


def preview(environment: Path, **parameters: Any) -> dict[str, Any]:
    """Preview ``thing``'s patch; the result, after a look that nothing at all was written."""
    before = snapshot.take(environment)
    packages.write(environment.parent / "sees", {"sees.py": SEES})
    result = engine.ask(
        "check",
        environments.python_of(environment),
        **{
            "definitions": [engine.PATCH],
            "imports": list(CHECK),
            "import_environment": {"PYTHONPATH": str(environment.parent / "sees")},
            **parameters,
        },
    )
    assert snapshot.take(environment) == before
    return result


def passed(result: dict[str, Any]) -> bool:
    assert not result.get("failed"), (result["msg"], result.get("imports"))
    return all(done["ok"] for done in result["imports"])


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_preview_is_what_import_inspect_and_linecache_see(venv: Venv, version: str) -> None:
    environment = venv(version)
    engine.thing(environments.site_packages(environment))
    result = preview(environment)
    assert passed(result)
    assert [done["proof"] for done in result["imports"]] == ["before", "before"]
    assert [(patch["state"], patch["action"]) for patch in result["patches"]] == [("pending", "apply")]
    unpatched = engine.ask("check", environments.python_of(environment), imports=["thing.api:Thing"])
    assert unpatched["imports"][0]["cause"] == "name"


def test_tracebacks_show_the_previewed_lines(environment: Path, site: Path) -> None:
    engine.thing(site, api="import os\n\n\n\ndef fail():\n    raise ValueError('here')  # the line\n\n\nfail()\n")
    result = preview(environment)
    text = result["imports"][0]["traceback"]
    assert "raise ValueError('here')  # the line" in text
    line = int(text.partition(", in fail")[0].rpartition(" ")[2])
    assert line > 6  # (the block comes before it)


def in_a_pth_directory(environment: Path, site: Path) -> None:
    engine.thing(environment / "more")
    (site / "more.pth").write_text(f"{environment / 'more'}\n")


def imported_at_start(_environment: Path, site: Path) -> None:
    engine.thing(site)
    (site / "early.pth").write_text("import thing.api, thing.core\n")


def in_a_namespace(environment: Path, site: Path) -> None:
    more = environment / "more"
    packages.write(more, {"thing/core.py": engine.FILES["core.py"]})
    packages.install(site, "thing", "1.5", {"thing/other.py": ""})
    packages.install(more, "thing", "1.5", {"thing/api.py": engine.FILES["api.py"]})
    (site / "more.pth").write_text(f"{more}\n")


def linked_to_a_cache(environment: Path, site: Path) -> None:
    """As uv makes it."""
    directory = engine.thing(site)
    (environment / "cache").mkdir()
    for name in engine.FILES:
        (directory / name).rename(environment / "cache" / name)
        (directory / name).symlink_to(environment / "cache" / name)


def beside_bytecode(mode: py_compile.PycInvalidationMode) -> Callable[[Path, Path], None]:
    def make(environment: Path, site: Path) -> None:
        directory = engine.thing(site)
        code = "import sys; from py_compile import *; compile(sys.argv[1], invalidation_mode=PycInvalidationMode[%r])"
        run(environments.python_of(environment), "-c", code % mode.name, directory / "api.py")
        assert list(directory.glob("__pycache__/api.*.pyc"))

    return make


LAYOUTS = {
    "in a .pth directory": in_a_pth_directory,
    "imported by a .pth file when the interpreter started": imported_at_start,
    "in a namespace package": in_a_namespace,
    "of files that are links to a cache": linked_to_a_cache,
    **{f"beside bytecode, {mode.name}": beside_bytecode(mode) for mode in py_compile.PycInvalidationMode},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_preview_of_a_package(environment: Path, site: Path, layout: str) -> None:
    LAYOUTS[layout](environment, site)
    assert passed(preview(environment))


def test_preview_under_another_optimisation_level_and_cache(
    environment: Path, site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine.thing(site)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "cache"))
    result = engine.ask("check", environments.python_of(environment), definitions=[engine.PATCH], imports=[CHECK[0]])
    assert passed(result)
    assert not (tmp_path / "cache").exists()


def test_preview_by_path_and_by_pythonpath(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.thing(tmp_path / "target")
    assert passed(preview(environment, path=tmp_path / "target"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "target"))
    assert passed(preview(environment, imports=[CHECK[0]], import_environment={}))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_preview_keeps_encodings(environment: Path, site: Path, encoding: str) -> None:
    cookie = "# -*- coding: latin-1 -*-\n" if encoding == "latin-1" else ""
    directory = engine.thing(site)
    (directory / "api.py").write_bytes(
        (cookie + "import os\r\nname = 'é'\r\nassert len(name) == 1\r\n").encode(encoding)
    )
    assert passed(preview(environment, imports=["thing.api:Thing,name"]))


def test_preview_of_what_is_applied_or_native_is_no_error(environment: Path, site: Path) -> None:
    engine.thing(site)
    python = environments.python_of(environment)
    assert engine.ask("patch", python, definitions=[engine.PATCH])["changed"]
    result = preview(environment)
    assert passed(result)
    assert result["patches"][0]["state"] == "applied"
    assert [done["proof"] for done in result["imports"]] == ["none", "none"]
    engine.thing(site, api="from .core import Thing\n")
    result = preview(environment, imports=["thing.api:Thing"])
    assert passed(result)
    assert result["patches"][0]["state"] == "native"


@pytest.mark.parametrize(("version", "core"), [("2.0", "class Thing: pass\n"), ("1.5", "")])
def test_preview_of_what_cannot_be_applied_is_refused(environment: Path, site: Path, version: str, core: str) -> None:
    engine.thing(site, version, core=core)
    result = preview(environment)
    assert result["failed"]
    assert result["msg"].startswith(f"thing_names: unsupported: thing {version} in ")
    assert result["patches"][0]["state"] == "unsupported"
    assert "imports" not in result


# --- of what comes and goes


TREE = {
    "pkg/__init__.py": "",
    "pkg/old.py": "name = 'old'\n",
    "pkg/sub/__init__.py": "",
    "pkg/sub/deep.py": "from ..old import name\n",
    "plain.py": "name = 'plain'\n",
    "space/one.py": "",
    "lib/both.py": "",
    "lib/space/two.py": "",
}
LISTED = b"import pkgutil, pkg\nassert [name for _, name, _ in pkgutil.iter_modules(pkg.__path__)] == %r\n"
SOURCE = b"""def own():
    return 1
import inspect, linecache
assert inspect.getsource(own) == 'def own():\\n    return 1\\n'
assert linecache.getline(__file__, 3) == 'import inspect, linecache\\n'
assert __loader__.get_data(__file__) == inspect.getsource(inspect.getmodule(own)).encode()
"""
# Changes of the tree (its directory and `lib` are on sys.path), an import, and why that fails then.
COMES_AND_GOES: list[tuple[dict[str, bytes | None], str, str | None]] = [
    ({"pkg/new.py": b"name = 'new'\n"}, "pkg.new:name", None),
    ({"pkg/new.py": b""}, "pkg.new", None),
    ({"pkg/new.py": b"("}, "pkg.new", "exception"),
    ({"pkg/new.py": SOURCE}, "pkg.new", None),
    ({"pkg/more/__init__.py": b"", "pkg/more/deep.py": b"from ..old import name\n"}, "pkg.more.deep:name", None),
    ({"pkg/more/deep.py": b"name = 1\n"}, "pkg.more.deep:name", None),
    ({"pkg/a/b/c.py": b"name = 1\n"}, "pkg.a.b.c:name", None),
    ({"pkg/a/b/c.py": b"name = 1\n"}, "pkg.a.c", "name"),
    ({"top.py": b"import pkg.old\n"}, "top", None),
    ({"plain/__init__.py": b"from .inside import name\n", "plain/inside.py": b"name = 1\n"}, "plain.inside", None),
    ({"plain/inside.py": b""}, "plain.inside", "name"),  # (a module goes before a directory of its name)
    ({"plain.py": None, "plain/inside.py": b""}, "plain.inside", None),
    ({"pkg/old.py": None}, "pkg.old", "name"),
    ({"pkg/old.py": None}, "pkg.sub.deep", "dependency"),
    ({"pkg/old.py": None, "pkg/old/__init__.py": b"name = 'moved'\n"}, "pkg.sub.deep:name", None),
    ({"pkg/__init__.py": None}, "pkg.old:name", None),
    ({"pkg/sub/__init__.py": None}, "pkg.sub.deep:name", None),
    ({"pkg/sub/__init__.py": None, "pkg/sub/deep.py": None}, "pkg.sub.deep", "name"),
    ({"plain.py": None}, "plain", "name"),
    ({"plain.py": None}, "pkg.old", None),
    ({"plain.py": None, "lib/plain.py": b"second = 2\n"}, "plain:second", None),
    ({"lib/plain.py": b"second = 2\n"}, "plain:second", "name"),  # (the first entry's is found)
    ({"both.py": b"first = 1\n"}, "both:first", None),
    ({"space/new.py": b"import space.one, space.two\n"}, "space.new", None),
    ({"space/__init__.py": b"import space.one\n"}, "space", None),
    ({"space/__init__.py": b""}, "space.two", "name"),
    ({"lib/space/__init__.py": b""}, "space.one", "name"),  # (a package goes before namespaces, wherever it lies)
    ({"space/one.py": None}, "space.one", "name"),
    ({"pkg/new.py": b"", "pkg/n/__init__.py": b"", "a.py": LISTED % ["n", "new", "old", "sub"]}, "a", None),
    ({"pkg/old.py": None, "a.py": LISTED % ["sub"]}, "a", None),
    ({"pkg/sub/__init__.py": None, "a.py": LISTED % ["old"]}, "a", None),
]
PROVES = """
import json, sys
sys.path.insert(0, sys.argv[1])
from module_utils import _imports
for case in json.load(sys.stdin):
    previews = {path: text if text is None else text.encode() for path, text in case["previews"].items()}
    (done,) = _imports.prove([case["import"]], previews, case["roots"], 60.0, {}, proof="before")
    print(json.dumps([done["ok"], done["cause"], done["error"], done["proof"]]))
"""


def proofs(python: Path, cases: list[dict[str, Any]]) -> list[list[Any]]:
    """Try imports under another interpreter; ok, cause, error and proof of each."""
    command = [python, "-B", "-c", PROVES, engine.PLUGINS]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("version", interpreters.PROMISED)
def test_modules_that_come_and_go_are_previewed_as_they_will_be(
    tmp_path: Path, python: Callable[[str], Path], version: str
) -> None:
    """What the preview shows is what the same import does once the files are so."""
    interpreter = python(version)
    cases: list[dict[str, Any]] = []
    for number, (changes, reference, _cause) in enumerate(COMES_AND_GOES):
        site = tmp_path / str(number)
        packages.write(site, TREE)
        texts = {str(site / name): text if text is None else text.decode() for name, text in changes.items()}
        cases.append({"import": reference, "previews": texts, "roots": [str(site), str(site / "lib")]})
    run(interpreter, "-m", "compileall", "-q", tmp_path)  # (bytecode of a source that is away is for nobody)
    before = snapshot.take(tmp_path)
    shown = proofs(interpreter, cases)
    assert snapshot.take(tmp_path) == before
    for case in cases:
        for name, text in case.pop("previews").items():
            if text is None:
                Path(name).unlink()
            else:
                packages.write(Path(name).parent, {Path(name).name: text})
        case["previews"] = {}
    real = proofs(interpreter, cases)
    for (changes, reference, cause), preview_says, run_says in zip(COMES_AND_GOES, shown, real, strict=True):
        assert preview_says[:2] == run_says[:2] == [cause is None, cause], (changes, reference, preview_says, run_says)


PLACES = ["a.py", "a/__init__.py", "a/b.py", "a/b/__init__.py", "a/b/c.py", "b.py", "b/c/d.py"]
SUFFIXES = st.dictionaries(st.sampled_from(["a.pyc", "a/b.abi3.so", "b/note.txt"]), st.just(b"other"))


@settings(deadline=None)
@given(
    before=st.sets(st.sampled_from(PLACES)), after=st.sets(st.sampled_from(PLACES)), others=SUFFIXES, tidy=st.booleans()
)
def test_a_preview_finds_what_python_finds_once_it_is_written(
    before: set[str],
    after: set[str],
    others: dict[str, bytes],
    tidy: bool,  # noqa: FBT001
) -> None:
    """In each directory, by each name; ``tidy``: directories that are left empty go with their last file."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for file, text in [*((each, b"before") for each in before), *others.items()]:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(text)
        made = [root / each for each in ("a/b", "a", "b/c", "b") if tidy and (root / each).is_dir()]
        previews: dict[str, str | None] = {str(root / each): None for each in before - after}
        previews.update({str(root / each): "after" for each in after}, **{str(each): None for each in made})
        tree = _importer.Tree(previews)
        seen = found(root, tree)
        for each in before - after:
            (root / each).unlink()
        for each in after:
            packages.write(root, {each: b"after"})
        for directory in made:
            with contextlib.suppress(OSError):
                directory.rmdir()
        assert seen == found(root, None)


def found(root: Path, tree: _importer.Tree | None) -> dict[str, Any]:
    """What is found in each directory below a root: modules, and what pkgutil lists."""
    told: dict[str, Any] = {}
    for directory in (str(root / each) for each in (".", "a", "a/b", "b", "b/c")):
        if tree is None or os.path.realpath(directory) not in tree.names:
            finder: Any = machinery.FileFinder(directory, *_importer.Finder.loaders)
            modules = list(pkgutil.iter_importer_modules(finder)) if Path(directory).is_dir() else []  # type: ignore[attr-defined]
        else:
            finder = _importer.Finder(directory, *_importer.Finder.loaders)
            finder.tree = tree
            modules = list(finder.modules())
        told[directory] = sorted(modules)
        for name in ("a", "b", "c", "d", "note"):
            spec = finder.find_spec(name)
            told[f"{directory}: {name}"] = spec and (type(spec.loader), spec.origin, spec.submodule_search_locations)
    return told


@pytest.mark.parametrize(
    "changes",
    [
        {"plain.py": None, "plain/__init__.py": b"new = 1\n"},
        {"plain/__init__.py": b"new = 1\n"},
        {"space/__init__.py": b"new = 1\n"},
        {"pkg/__init__.py": b"new = 1\n", "pkg/other.py": b""},
    ],
    ids=" and ".join,
)
def test_what_was_imported_when_the_interpreter_started_is_previewed_all_the_same(
    environment: Path, site: Path, changes: dict[str, bytes | None]
) -> None:
    packages.write(site, {**TREE, "early.pth": "import pkg.old, plain, space.one\n"})
    previews = {str(site / name): text if text is None else text.decode() for name, text in changes.items()}
    asked = [
        {"import": each + ":new", "previews": previews, "roots": []}
        for each in ("pkg", "plain", "space")
        if f"{each}/__init__.py" in changes
    ]
    assert [done[:2] for done in proofs(environments.python_of(environment), asked)] == [[True, None]] * len(asked)


def test_a_link_into_a_cache_that_is_to_go_leaves_other_links_to_that_file_importable(tmp_path: Path) -> None:
    """A change replaces the link; what it leads to is another environment's as well."""
    packages.write(tmp_path, {"cache/empty.py": "", "pkg/__init__.py": ""})
    for name in ("one.py", "two.py"):
        (tmp_path / "pkg" / name).symlink_to(tmp_path / "cache" / "empty.py")
    previews: dict[str, bytes | None] = {str(tmp_path / "pkg" / "one.py"): None}
    results = _imports.prove(["pkg.one", "pkg.two"], previews, [str(tmp_path)], 30.0, {}, proof="before")
    assert [(done["ok"], done["blame"]) for done in results] == [(False, "patch"), (True, None)]


@needs_root
def test_new_modules_run_where_only_roots_may(tmp_path: Path) -> None:
    packages.write(tmp_path, {"pkg/__init__.py": ""})
    previews: dict[str, bytes | None] = {
        str(tmp_path / "pkg" / "sub" / "__init__.py"): b"from . import new",
        str(tmp_path / "pkg" / "sub" / "new.py"): b"",
    }
    (done,) = _imports.prove(["pkg.sub"], previews, [str(tmp_path)], 30.0, {}, only_roots=True, proof="before")
    assert done["ok"], done["error"]
    (tmp_path / "pkg").chmod(0o777)
    (done,) = _imports.prove(["pkg.sub"], previews, [str(tmp_path)], 30.0, {}, only_roots=True, proof="before")
    assert f"others may write {tmp_path}/pkg of user 0, mode 777" in done["error"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/site/pkg/api.py", True),
        ("/site/pkg/__init__.py", True),
        ("/site/pkg/table.json", False),
        ("/site/pkg/native.so", False),
        ("/site/pkg/api.pyi", False),
        ("/env/bin/tool", False),
        ("/site/early.pth", False),
        ("/site/sitecustomize.py", False),
        ("/site/usercustomize.py", False),
    ],
)
def test_what_can_be_shown_from_memory(path: str, shown: bool) -> None:  # noqa: FBT001
    assert _imports.servable(path) is shown
