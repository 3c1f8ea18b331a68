# The command `verify`: what it prints of an environment that somebody edited, and the exit status it ends with.
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab import engine, environments, packages, snapshot, wheels
from lab.run import run
from module_utils import _verify

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGINS = Path(_verify.__file__).parents[1]
RUN = "import sys; sys.path.insert(0, {!r}); from module_utils import _command; sys.exit(_command.main())"


def verify(*arguments: Path | str) -> tuple[int, str, str]:
    """Return exit status and output of the command, run by this Python."""
    command = [sys.executable, "-B", "-c", RUN.format(str(PLUGINS)), "verify", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_exit_status_says_whether_somebody_edited_a_real_wheel(venv: Callable[..., Path]) -> None:
    environment = venv()
    python, site = environments.python_of(environment), environments.site_packages(environment)
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheels.wheel("idna", "3.11"))
    before = snapshot.take(environment)
    code, text, errors = verify("--python", python)
    assert (code, errors) == (0, "")
    assert text.endswith("files of 1 distribution, 0 undeclared edits\n")
    assert snapshot.take(environment) == before

    (site / "idna" / "core.py").write_text("# mine\n")
    code, text, errors = verify("--python", python, "idna")
    assert (code, errors) == (1, "")
    assert "idna 3.11: " in text
    assert "  changed   idna/core.py  (7 bytes, of " in text
    code, text, _errors = verify("--python", python, "--json")
    assert code == 1
    (found,) = json.loads(text)["integrity"]
    assert found["counts"]["changed"] == 1
    assert verify("--python", python, "--quiet")[:2] == (1, "")


def test_what_cannot_be_told_is_not_taken_for_unedited(tmp_path: Path) -> None:
    site = tmp_path / "site"
    engine.thing(site)
    packages.write(site, {"old-1.egg-info/PKG-INFO": "Name: old\nVersion: 1\n"})
    assert verify("--path", site)[0] == 0, "of all, what has no RECORD is as good as not there"
    code, text, _errors = verify("--path", site, "old")
    assert code == 2
    assert text.splitlines()[:2] == ["old 1: not looked at", "  cannot be told: no RECORD says what was installed"]
    assert verify("--path", site, "other")[0] == 2
    code, text, errors = verify("--path", tmp_path / "nowhere")
    assert (code, text) == (2, "")
    assert "expected a directory" in errors
