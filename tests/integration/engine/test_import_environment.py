# The environment of an import: private caches, nothing of ours, and the values that are given, which nobody shows.
from __future__ import annotations

from pathlib import Path

import pytest
from lab import engine, imports, interpreters, snapshot
from lab.run import run

TOKEN = "s3cret-t0ken"  # noqa: S105


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory in which private caches are made: what is left there was left behind."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


# --- private caches


PRIVATE = ("HOME", "XDG_CACHE_HOME", "TMPDIR", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "HF_HOME")
WRITES = (
    "import os, pathlib, tempfile, time\n"
    f"for name in {PRIVATE}:\n"
    "  path = pathlib.Path(os.environ[name])\n"
    "  assert path.is_dir()\n"
    "  (path / 'lock').touch()\n"
    "assert pathlib.Path('~').expanduser() == pathlib.Path(os.environ['HOME'])\n"
    "assert tempfile.gettempdir() == os.environ['TMPDIR']\n"
)


@pytest.mark.parametrize("ending", ["", "1 / 0", "os._exit(1)", "os.abort()", "time.sleep(100)"])
def test_private_caches_are_used_and_removed(
    here: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    user = tmp_path / "user"
    for name in PRIVATE:
        (user / name).mkdir(parents=True)
        monkeypatch.setenv(name, str(user / name))
    before = snapshot.take(user)
    imports.module(here, WRITES + ending)
    (result,) = imports.prove(here, "mod", timeout=1.5 if "sleep" in ending else 30)
    expected = {"": None, "1 / 0": "exception", "time.sleep(100)": "timeout"}.get(ending, "crash")
    assert result["cause"] == expected, result
    assert snapshot.take(user) == before
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", PRIVATE)
def test_values_of_the_caller_win(here: Path, tmp_path: Path, name: str) -> None:
    given = tmp_path / "given"
    given.mkdir()
    imports.module(here, WRITES)
    (result,) = imports.prove(here, "mod", **{name: str(given)})
    assert result["ok"], result["traceback"]
    assert (given / "lock").exists()


def test_user_site_stays_importable_though_home_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONUSERBASE", "PYTHONNOUSERSITE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    python = interpreters.usual()
    site = Path(run(python, "-c", "import site; print(site.getusersitepackages())").strip())
    assert site.is_relative_to(tmp_path)
    directory = engine.thing(site, __init__="import os\nassert not os.path.exists(os.path.expanduser('~/.local'))\n")
    result = engine.preview(python)
    assert [file["path"] for file in result["patches"][0]["files"]] == [str(directory / "api.py")]


def test_imports_write_no_bytecode_nor_do_interpreters_that_they_start(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    imports.module(here, "", "other")
    imports.module(
        here,
        "import os, subprocess, sys\nimport other\n"
        "subprocess.run([sys.executable, '-c', 'import other'], check=True, cwd=os.path.dirname(__file__))\n",
    )
    before = snapshot.take(here)
    (result,) = imports.prove(here, "mod")
    assert result["ok"], result["traceback"]
    assert snapshot.take(here) == before


def test_nothing_of_ours_is_importable_while_imports_are_tried(here: Path) -> None:
    imports.module(
        here,
        "import sys\nfrom importlib.util import find_spec\n"
        "names = ('ansible_collections', 'module_utils', '_imports', '_importer', 'lab')\n"
        "assert [name for name in names if find_spec(name) or name in sys.modules] == []\n",
    )
    (result,) = imports.prove(here, "mod")
    assert result["ok"], result["traceback"]


# --- values of import_environment


@pytest.mark.parametrize(
    "text",
    [
        "import os; raise RuntimeError(os.environ['TOKEN'])",
        "import os; raise KeyError(os.environ['TOKEN'])",
        "import os; raise RuntimeError('x' * 3900 + os.environ['TOKEN'] + 'y' * 90)",
        "import os; raise RuntimeError(os.environ['TOKEN'] * 1000)",
        "import os; os.environ['not_there' + os.environ['TOKEN']]",
        "import os; os.environ.pop('TOKEN_2'); __import__(os.environ['TOKEN'].strip().replace('.', '-'))",
        "import os; os.write(1, os.environ['TOKEN'].encode() * 3000); os._exit(1)",
        "import os; print(dict(os.environ), flush=True); os._exit(1)",
        "import os; __version__ = os.environ['TOKEN']; raise SystemExit(os.environ['TOKEN'])",
    ],
)
@pytest.mark.parametrize("value", [TOKEN, f"{TOKEN}-1\n{TOKEN}-2\n", f"quote'\"\\{TOKEN}", f"{TOKEN} é✓"])
def test_values_are_nowhere_in_the_results(here: Path, text: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # (holds the value, too)
    imports.module(here, text)
    (result,) = imports.prove(here, "mod", TOKEN=value, TOKEN_2="another-value")  # noqa: S106
    assert not result["ok"]
    assert "s3cret" not in repr(result)
    assert "t0ken" not in repr(result)
    assert "another-value" not in repr(result)


def test_short_values_leave_numbers_readable(here: Path) -> None:
    result = imports.one(here, "__version__ = '1.10.1'\nraise RuntimeError('10 of 11')", A="1", B="", C="10", D="true")
    assert result["error"] == "RuntimeError: 10 of 11"


@pytest.mark.parametrize("environment", [{"A=B": "x"}, {"": "x"}, {"A\0": "x"}, {"A": f"{TOKEN}\0"}], ids=ascii)
def test_what_cannot_be_a_variable_is_refused_without_its_value(environment: dict[str, str]) -> None:
    result = engine.ask("check", imports=["json"], import_environment=environment)
    assert result["failed"]
    assert result["msg"].startswith("import_environment: expected names and values of variables, found the name ")
    assert TOKEN not in result["msg"]


def test_a_long_text_that_was_cut_within_a_value_does_not_show_the_rest(here: Path) -> None:
    value = TOKEN * 3000  # (33,000 characters: whichever end is cut off, some are left of it)
    imports.module(here, "import os\nraise RuntimeError(os.environ['TOKEN'] * 40)")
    (result,) = imports.prove(here, "mod", TOKEN=value)
    assert result["cause"] == "exception"
    assert "t0ken" not in repr(result)
