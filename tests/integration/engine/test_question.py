# The question: what it answers is the engine's own result, key by key, and where anything is odd it does not answer.
from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.primus.patches.plugins.module_utils import _patch
from ansible_collections.primus.patches.plugins.module_utils._catalogue import CATALOGUE
from ansible_collections.primus.patches.plugins.modules import site_patch, site_patch_info
from ansible_collections.primus.patches.plugins.plugin_utils import _asking
from lab import engine, environments, interpreters, packages, snapshot
from lab.sandbox import GROUP, USER, needs_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SYSTEM = str(interpreters.system())
LIMIT = engine.definition(
    name="thing_limit", edits=[{"replace": {"before": "return 42", "after": "return 43"}}], after=["thing_names"]
)
TWO_FILES = engine.definition(
    edits=[*engine.PATCH["edits"], {"file": "core.py", "replace": {"before": "pass", "after": "size = 1"}}]
)


def asked(
    python: Path | str = "", options: dict[str, Any] | None = None, **parameters: Any
) -> tuple[dict[str, Any], list[Any], str]:
    arguments = {"python": str(python), "definitions": [engine.PATCH], **parameters}
    checked = ArgumentSpecValidator(options or site_patch.ARGUMENTS).validate(arguments)
    assert not checked.error_messages
    found = checked.validated_parameters
    assert _asking.is_for(found)
    patches = _patch.select(found["name"], found["definitions"], CATALOGUE)[0]
    return found, patches, _asking.command(_asking.question(patches, found, SYSTEM), SYSTEM)


def told(python: Path | str = "", user: int | None = None, **parameters: Any) -> dict[str, Any] | None:
    """Return the result that the question gives, in check and diff mode; None where the module is to have a look.

    ``options``: those of the module, of site_patch if it is not said.
    """
    found, patches, command = asked(python, **parameters)
    who = {} if user is None else dict(user=user, group=GROUP, extra_groups=[])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, cwd="/", **who)
    answer = _asking.answer({"rc": done.returncode, "stdout": done.stdout}, patches, found)
    if answer is None:
        return None
    result = _asking.result(answer, patches, found, check_mode=True, diff=True)
    assert result.pop("invocation") == {"module_args": found}
    return result


def looked(python: Path | str = "", **parameters: Any) -> dict[str, Any]:
    """Return the engine's result in check and diff mode."""
    parameters = {"definitions": [engine.PATCH], **parameters}
    return engine.ask("patch", python or SYSTEM, check_mode=True, diff=True, **parameters)


def apply(python: Path | str, *patches: Any, **parameters: Any) -> dict[str, Any]:
    result = engine.ask("patch", python, definitions=list(patches or [engine.PATCH]), **parameters)
    assert not result.get("failed"), result
    return result


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return an environment, and copies of its site-packages: empty, and with ``thing`` and its patch applied."""
    top = tmp_path_factory.mktemp("shared")
    environment = environments.bare(interpreters.usual(), top / "venv")
    site = environments.site_packages(environment)
    shutil.copytree(site, top / "empty")
    engine.thing(site)
    apply(environments.python_of(environment))
    shutil.copytree(site, top / "patched")
    return environment, top / "empty", top / "patched"


@pytest.fixture
def environment(shared: tuple[Path, Path, Path]) -> Path:
    return with_site(shared[0], shared[1])


@pytest.fixture
def patched(environment: Path, shared: tuple[Path, Path, Path]) -> Path:
    """Return the ``thing`` of the environment with its patch applied."""
    return environments.site_packages(with_site(environment, shared[2])) / "thing"


def with_site(environment: Path, copy: Path) -> Path:
    site = environments.site_packages(environment)
    shutil.rmtree(site)
    shutil.copytree(copy, site)
    return environment


def fact_of(site: Path) -> Path:
    (fact,) = (site / "primus-patches" / "facts").glob("*.json")
    return fact


# --- the one answer


def test_the_answer_is_the_engines_result_and_touches_nothing(patched: Path, interpreter: Path) -> None:
    before = snapshot.take(patched.parents[3])
    result = told(interpreter)
    assert result == looked(interpreter)
    assert result is not None
    assert result["patches"][0]["state"] == "applied"
    assert snapshot.take(patched.parents[3]) == before


def test_several_patches_of_several_files(interpreter: Path, site: Path) -> None:
    engine.thing(site)
    other = {**LIMIT, "name": "other_limit", "package": "other", "after": []}
    packages.install(site, "Other.Dist", "2!1.0+x", {"other/__init__.py": "", "other/api.py": "return 42\n"})
    wanted = [{**other, "distribution": "other-dist", "versions": "*"}, LIMIT, TWO_FILES]
    assert told(interpreter, definitions=wanted) is None
    apply(interpreter, *wanted)
    result = told(interpreter, definitions=wanted)
    assert result == looked(interpreter, definitions=wanted)
    assert result is not None
    assert [patch["name"] for patch in result["patches"]] == ["other_limit", "thing_limit", "thing_names"]
    for some in ([LIMIT], [TWO_FILES]):
        assert told(interpreter, definitions=some) == looked(interpreter, definitions=some)


def test_a_look_at_patches_alone(interpreter: Path, site: Path) -> None:
    engine.thing(site)
    other = {**LIMIT, "name": "other_limit", "package": "other", "after": []}
    packages.install(site, "other", "1.5", {"other/__init__.py": "", "other/api.py": "return 42\n"})
    wanted = [LIMIT, other, TWO_FILES]
    apply(interpreter, *wanted)
    before = snapshot.take(site)
    look = {"options": site_patch_info.ARGUMENTS, "definitions": wanted}
    result = told(interpreter, **look)
    assert result is not None
    assert result == engine.ask("info", interpreter, definitions=wanted)
    assert len({patch["copy_id"] for patch in result["patches"]}) == 2  # (one of each package)
    assert snapshot.take(site) == before
    apply(interpreter, TWO_FILES, state="absent")
    assert told(interpreter, **look) is None


def test_a_package_in_a_namespace(interpreter: Path, site: Path) -> None:
    patch = {**LIMIT, "package": "space.thing", "distribution": "thing", "after": []}
    packages.install(site, "thing", "1.5", {"space/thing/__init__.py": "", "space/thing/api.py": "return 42\n"})
    apply(interpreter, patch)
    assert told(interpreter, definitions=[patch]) == looked(interpreter, definitions=[patch])


@pytest.mark.parametrize("named", ["", "thing"])
def test_a_directory_and_ansibles_interpreter(named: str, tmp_path: Path) -> None:
    engine.thing(tmp_path)
    apply(SYSTEM, path=tmp_path / named)
    where = str(tmp_path / named) if named else str(tmp_path)
    assert told(path=where) == looked(path=where)


def test_the_real_wheels_file(tree: Callable[[str], Path]) -> None:
    site, wanted = str(tree("4.57.6")), {"name": ["transformers_modeling_utils"], "definitions": None}
    engine.ask("patch", SYSTEM, path=site, **wanted)
    assert told(path=site, **wanted) == looked(path=site, **wanted)


@pytest.mark.slow
def test_every_python(python: Callable[[str], Path], tmp_path: Path) -> None:
    for version in interpreters.PROMISED:
        environment = environments.bare(python(version), tmp_path / version)
        engine.thing(environments.site_packages(environment))
        interpreter = environments.python_of(environment)
        apply(interpreter)
        assert told(interpreter) == looked(interpreter), version


# --- no answer where there is any doubt


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return what changes the fact, in the form that the store has."""

    def make(site: Path) -> None:
        fact = json.loads(fact_of(site).read_text())
        change(fact)
        fact_of(site).write_text(json.dumps(fact, sort_keys=True, indent=1) + "\n")

    return make


def write(file: str, text: str, *, more: bool = False) -> Callable[[Path], None]:
    def make(site: Path) -> None:
        path = site / file
        path.parent.mkdir(exist_ok=True)
        before = path.read_bytes() if more else b""
        path.unlink(missing_ok=True)
        path.write_bytes(before + text.encode())

    return make


def linked(file: str) -> Callable[[Path], None]:
    def make(site: Path) -> None:
        path = site / file
        path.rename(site / "elsewhere")
        path.symlink_to(site / "elsewhere")

    return make


def second_fact(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def make(site: Path) -> None:
        from module_utils import _store  # noqa: PLC0415

        fact = json.loads(fact_of(site).read_text())
        change(fact)
        name = _store.fact_name(fact["path"], fact["written"])
        (site / "primus-patches" / "facts" / name).write_text(json.dumps(fact))

    return make


INFO = "thing-1.5.dist-info"
DOUBTS: dict[str, Callable[[Path], object]] = {
    "the file edited": write("thing/api.py", "# edited\n", more=True),
    "the file gone": lambda site: (site / "thing/api.py").unlink(),
    "the file a link": linked("thing/api.py"),
    "the file with two names": lambda site: os.link(site / "thing/api.py", site / "cache"),
    "a directory in place of the file": lambda site: [
        (site / "thing/api.py").unlink(),
        (site / "thing/api.py").mkdir(),
    ],
    "a pipe": lambda site: [(site / "thing/api.py").unlink(), os.mkfifo(site / "thing/api.py")],
    "the package a link": linked("thing"),
    "the package gone": lambda site: shutil.rmtree(site / "thing"),
    "no regular package": lambda site: (site / "thing/__init__.py").unlink(),
    "another version": lambda site: (site / INFO).rename(site / "thing-1.6.dist-info"),
    "another version in METADATA": write(f"{INFO}/METADATA", "Name: thing\nVersion: 1.6\n"),
    "no version": write(f"{INFO}/METADATA", "Name: thing\n\nVersion: 1.5\n"),
    "no METADATA": lambda site: (site / INFO / "METADATA").unlink(),
    "another RECORD": write(f"{INFO}/RECORD", "x,,\n", more=True),
    "no RECORD": lambda site: (site / INFO / "RECORD").unlink(),
    "two versions": lambda site: shutil.copytree(site / INFO, site / "Thing-1.6.dist-info"),
    "an egg-info as well": write("thing.egg-info", "Name: thing\nVersion: 1.4\n"),
    "a source tree": write("PKG-INFO", "Name: thing\nVersion: 1.4\n"),
    "a git checkout": lambda site: (site / ".git").mkdir(),
    "a leftover of a killed run": write("thing/api.py.x.primus-tmp", ""),
    "a leftover of its bytecode": write("thing/__pycache__/api.pyc.x.primus-tmp", ""),
    "no fact": lambda site: fact_of(site).unlink(),
    "no store": lambda site: shutil.rmtree(site / "primus-patches"),
    "the store a link": linked("primus-patches"),
    "the facts a link": linked("primus-patches/facts"),
    "the fact a link": lambda site: linked(str(fact_of(site).relative_to(site)))(site),
    "a fact that is no JSON": lambda site: fact_of(site).write_text("{"),
    "a fact that is deep": lambda site: fact_of(site).write_text("[" * 100_000),
    "a fact that is a list": lambda site: fact_of(site).write_text("[]"),
    "a fact of another schema": edit(lambda fact: fact.update(schema=2)),
    "a fact of schema true": edit(lambda fact: fact.update(schema=True)),
    "a fact with more": edit(lambda fact: fact.update(more=1)),
    "a fact with less": edit(lambda fact: fact.pop("who")),
    "a fact with another kind": edit(lambda fact: fact.update(who=1)),
    "a fact of another path": edit(lambda fact: fact.update(path="thing/core.py")),
    "a fact of other bytes": edit(lambda fact: fact.update(written="0" * 64)),
    "a fact of another original": edit(lambda fact: fact.update(original="0" * 64)),
    "a fact of no original": edit(lambda fact: fact.update(original="absent")),
    "a fact of no hash": edit(lambda fact: fact.update(original=fact["original"].upper())),
    "an owed proof": edit(lambda fact: fact.update(proof="owed")),
    "an unknown proof": edit(lambda fact: fact.update(proof="seen")),
    "an original that is not proven": edit(lambda fact: fact.update(proven="foreign")),
    "directories": edit(lambda fact: fact.update(directories=["thing"])),
    "a fact of another distribution": edit(lambda fact: fact["dist"].__setitem__(2, "thing-1.4.dist-info")),
    "a fact of another RECORD": edit(lambda fact: fact["dist"].__setitem__(3, "0" * 64)),
    "a fact of no name": edit(lambda fact: fact["dist"].__setitem__(0, None)),
    "a fact of no distribution": edit(lambda fact: fact.update(dist=None)),
    "no patch listed": edit(lambda fact: fact.update(patches=[])),
    "listed twice": edit(lambda fact: fact["patches"].append(fact["patches"][0])),
    "other edits listed": edit(lambda fact: fact["patches"][0].update(digest="0" * 64)),
    "another revision listed": edit(lambda fact: fact["patches"][0].update(revision=2)),
    "other files listed": edit(lambda fact: fact["patches"][0].update(files=["thing/api.py", "thing/core.py"])),
    "another patch that is odd": edit(lambda fact: fact["patches"].append({"name": "other"})),
    "another patch's file outside": edit(
        lambda fact: fact["patches"].append({**fact["patches"][0], "name": "other", "files": ["../../../../../x"]})
    ),
    "another patch's files are no texts": edit(
        lambda fact: fact["patches"].append({**fact["patches"][0], "name": "other", "files": [1]})
    ),
    "the patch in another file": second_fact(lambda fact: fact.update(path="thing/core.py", written="1" * 64)),
    "a fact below the fact": second_fact(lambda fact: fact.update(written=fact["original"], original="1" * 64)),
    "a fact of another file that is damaged": write("primus-patches/facts/" + "0" * 32 + "-absent.json", "{"),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_it_says_nothing_where_there_is_any_doubt(doubt: str, patched: Path, interpreter: Path) -> None:
    """The engine then has a look; it may come to the same end."""
    assert told(interpreter) is not None
    DOUBTS[doubt](patched.parent)
    assert told(interpreter) is None


HARMLESS: dict[str, Callable[[Path], object]] = {
    "an older fact of the file": second_fact(lambda fact: fact.update(written="1" * 64)),
    "another distribution": lambda site: packages.install(site, "thing_more", "1.0", {"thing_more.py": ""}),
    "another patch's fact": second_fact(
        lambda fact: [fact.update(path="thing/core.py"), fact["patches"][0].update(name="other")]
    ),
    "an uninstall that was interrupted": lambda site: shutil.copytree(site / INFO, site / "~hing-1.4.dist-info"),
    "another mode": lambda site: (site / "thing/api.py").chmod(0o755),
    "no bytecode": lambda site: shutil.rmtree(site / "thing/__pycache__", ignore_errors=True),
    "a file without a name of ours": write("primus-patches/facts/x", "{"),
    "code that runs at the start, and prints": lambda site: packages.at_start(site, "print('hello')"),
    "PYTHONOPTIMIZE": lambda _site: os.environ.__setitem__("PYTHONOPTIMIZE", "2"),
}


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_has_no_say_is_no_doubt(
    harmless: str, patched: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONOPTIMIZE", "")
    HARMLESS[harmless](patched.parent)
    assert told(interpreter) == looked(interpreter)


def test_another_definition_is_no_answer(patched: Path, interpreter: Path) -> None:
    for changes in (
        {"revision": 2},
        {"after": ["other"]},
        {"name": "another"},
        {"file": "core.py"},
        {"edits": [*engine.PATCH["edits"], *LIMIT["edits"]]},
    ):
        assert told(interpreter, definitions=[engine.definition(**changes)]) is None, changes
    told_too = {"reason": "Another.", "versions": ">=1.2", "retire": "Soon."}
    result = told(interpreter, definitions=[engine.definition(**told_too)])
    assert result == looked(interpreter, definitions=[engine.definition(**told_too)])
    assert patched.exists()


@pytest.mark.parametrize(
    ("start", "answers"),
    [
        ("print('primus.patches says: {}')", True),
        ("import subprocess; subprocess.Popen(['sleep', '20'])", True),
        ("import sys; sys.exit(0)", False),
        ("import os; os.closerange(3, 99)", False),
        ("import os; os.closerange(3, 99); [open(%r, 'a') for _ in range(20)]", False),
        ("import thing", False),
        ("import sys; sys.path.insert(0, '/nowhere')", True),
        ("import sys; sys.path.insert(0, %r)", False),
        ("import time; time.sleep(600)", False),
    ],
)
def test_what_starts_with_the_interpreter(
    start: str, *, answers: bool, patched: Path, interpreter: Path, tmp_path: Path
) -> None:
    """What hangs is ended; another package that comes first is the one that counts."""
    other = tmp_path / "other"
    if "open" in start:
        other.touch()
    else:
        engine.thing(other, version="1.2")
    packages.at_start(patched.parent, start % str(other) if "%r" in start else start)
    result = told(interpreter, timeout=1) if "sleep" in start else told(interpreter)
    assert (result is not None) is answers
    assert other.is_dir() or other.read_bytes() == b"", "nothing is written where nobody asked for it"
    if answers:
        assert result == looked(interpreter)


def test_the_working_directory_and_relative_paths_have_no_say(
    patched: Path, interpreter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, patches, command = asked(interpreter)
    for module in ("json", "zlib", "binascii", "hashlib", "stat", "os"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('from the working directory')\n")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert _asking.answer({"rc": done.returncode, "stdout": done.stdout}, patches, found), done
    monkeypatch.setenv("PYTHONPATH", "lib")
    assert told(interpreter) is None
    assert patched.exists()


def test_no_interpreter_is_no_answer(patched: Path, interpreter: Path, tmp_path: Path) -> None:
    (tmp_path / "shell").write_text("#!/bin/sh\necho nothing\n")
    (tmp_path / "shell").chmod(0o755)
    for python in (tmp_path / "none", tmp_path / "shell", tmp_path):
        assert told(python) is None
    assert patched.exists()
    assert told(interpreter.with_name("python3")) == looked(interpreter.with_name("python3"))


# --- root


@pytest.fixture
def open_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="primus-question-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def venv_at(path: Path) -> tuple[Path, Path]:
    environment = environments.bare(interpreters.system(), path)
    site = environments.site_packages(environment)
    engine.thing(site)
    note = f"import os; open({str(path.parent / 'started')!r}, 'a').write('x')\n"
    (site / "early.pth").write_text(note)
    apply(environments.python_of(environment))
    (path.parent / "started").unlink()
    return environments.python_of(environment), site


@needs_root
@pytest.mark.parametrize(
    "where",
    ["", "venv", "venv/bin", "venv/lib", "site", "site/thing", "site/thing/api.py", "site/primus-patches/facts"],
)
def test_root_starts_and_believes_nothing_of_others(where: str, open_path: Path) -> None:
    """Whether they own a part of it, or may write to it; an interpreter of theirs is not even started."""
    python, site = venv_at(open_path / "venv")
    assert told(python) == looked(python)
    (open_path / "started").unlink()
    path = site / where[5:] if where.startswith("site") else open_path / where
    for spoil in (lambda: os.chown(path, USER, GROUP), lambda: path.chmod(path.stat().st_mode | stat.S_IWOTH)):
        os.chown(path, 0, 0)
        spoil()
        assert told(python) is None
        assert (open_path / "started").exists() is (where.startswith("site/"))


@needs_root
def test_a_user_is_asked_as_that_user(open_path: Path) -> None:
    python, site = venv_at(open_path / "venv")
    for path in (open_path, *open_path.rglob("*")):
        os.chown(path, USER, GROUP, follow_symlinks=False)
    assert told(python) is None
    assert not (open_path / "started").exists()
    result = told(python, user=USER)
    assert result == looked(python)
    (site / "thing" / "api.py").chmod(0)
    assert told(python, user=USER) is None
