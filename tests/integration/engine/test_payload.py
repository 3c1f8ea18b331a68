# The engine, imported from an archive as a node gets it, is compiled once.
from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from lab.interpreters import PROMISED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHILD = """
import builtins, inspect, json, sys
directory, once = sys.argv[1], sys.argv[2] == "True"
real, compiled = builtins.compile, []

def compile(source, file, *arguments, **more):
    compiled.append(str(file))
    return real(source, file, *arguments, **more)

package = type(sys)("engine")
package.__path__ = [directory]
sys.modules["engine"] = package
if once:
    from engine import _payload
    _payload.compile_once(directory)
builtins.compile = compile
from engine import _engine, _patch
files = [module.__file__ for name, module in sys.modules.items() if name.startswith("engine.")]
json.dump([compiled, files, inspect.getsource(_patch)], sys.stdout)
"""


@pytest.mark.parametrize("version", PROMISED)
@pytest.mark.parametrize("once", [False, True])
def test_each_module_is_compiled_once(
    version: str, once: object, python: Callable[[str], Path], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    utils = request.config.rootpath / "plugins" / "module_utils"
    archive = tmp_path / "payload.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for source in utils.rglob("*.py"):
            file.write(source, source.relative_to(utils.parent))
    directory = f"{archive}/module_utils"
    answer = subprocess.check_output([python(version), "-I", "-S", "-B", "-c", CHILD, directory, str(once)])
    compiled, files, source = json.loads(answer)
    assert {f"{directory}/_engine.py", f"{directory}/_catalogue/__init__.py"} <= set(files)
    times = Counter(compiled)
    assert {times[name] for name in files if not name.endswith("_payload.py")} == {1 if once else 2}, times
    assert source == (utils / "_patch.py").read_text()


def test_a_real_directory_is_imported_as_ever(request: pytest.FixtureRequest) -> None:
    utils = request.config.rootpath / "plugins"
    program = "import sys; sys.path[:0] = sys.argv[1:]\nfrom module_utils import _payload\n"
    program += "_payload.compile_once(_payload.__file__.rpartition('/')[0])\nfrom module_utils import _engine\n"
    program += "print(type(_engine.__loader__).__name__)"
    answer = subprocess.check_output([sys.executable, "-I", "-B", "-c", program, utils], text=True)
    assert answer == "SourceFileLoader\n"
