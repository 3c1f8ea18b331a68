# A HOME for ansible-test: it works offline but for the package index, with the settings of pip that are in force here.
from __future__ import annotations

import configparser
import contextlib
import re
from typing import TYPE_CHECKING

from lab import cache, interpreters
from lab.environments import python_of
from lab.index import pip_settings
from lab.run import run

if TYPE_CHECKING:
    from pathlib import Path


def python_links(directory: Path) -> Path:
    """Make ``directory`` hold a link to each Python that the collection promises to serve and that can be had."""
    directory.mkdir()
    for version in interpreters.PROMISED:
        with contextlib.suppress(interpreters.NoInterpreter):
            (directory / f"python{version}").symlink_to(interpreters.find(version))
    return directory


def make(parent: Path, environment: Path) -> Path:
    """Make a HOME below ``parent`` for the ansible-test of a virtual environment and return it.

    Its virtual environments are kept in the cache between runs. ansible-test starts pip without any PIP_* variable and
    downloads a script to bootstrap it; here pip's own settings are written to a configuration file that it does read,
    and pip's wheel from the package index takes the script's place.
    """
    home = parent / "home"
    kept = cache.root() / "ansible-test"
    (kept / "cache").mkdir(parents=True, exist_ok=True)
    (home / ".ansible").mkdir(parents=True)
    (home / ".ansible" / "test").symlink_to(kept)

    settings = configparser.RawConfigParser()
    settings["global"] = pip_settings(python_of(environment))
    (home / ".config" / "pip").mkdir(parents=True)
    with (home / ".config" / "pip" / "pip.conf").open("w") as file:
        settings.write(file)

    requirements = next(
        (environment / "lib").glob("python3*/site-packages/ansible_test/_internal/python_requirements.py")
    )
    found = re.search(r"pip='([0-9.]+)'", requirements.read_text())
    if found is None:
        raise LookupError(f"no version of pip in {requirements}: ansible-test has changed, and this file must follow")
    version = found[1]
    wheel = kept / "cache" / f"pip-{version}-py3-none-any.whl"
    if not wheel.exists():
        command = (python_of(environment), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheel.parent)
        run(*command, f"pip=={version}")
    (kept / "cache" / f"get_pip_{version.replace('.', '_')}.py").write_text(
        "# Installs pip by running it out of its own wheel, which is what get-pip.py does.\n"
        "import sys\n"
        f"sys.path.insert(0, {str(wheel)!r})\n"
        "from pip._internal.cli.main import main\n"
        "unknown = ('--no-setuptools', '--no-wheel')  # options of get-pip.py itself\n"
        "if __name__ == '__main__':\n"
        "    arguments = [argument for argument in sys.argv[1:] if argument not in unknown]\n"
        "    sys.exit(main(['install', '--upgrade', '--force-reinstall', *arguments]))\n"
    )
    return home
