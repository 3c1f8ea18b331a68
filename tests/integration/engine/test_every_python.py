# Every Python that an environment may have finds the same where a block belongs.
from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from ansible_collections.primus.patches.plugins.module_utils._errors import Conflict
from ansible_collections.primus.patches.tests.unit.plugins.module_utils.test_reexport import (
    NESTED,
    PLACES,
    STATEMENTS,
    do,
)
from lab import engine
from lab.interpreters import PROMISED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHILD = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
from module_utils import _edits, _reexport
from module_utils._errors import Conflict, Unsupported
edit = _reexport.Reexport("module.py", ".core", ("Thing", "other"))
modules = {"pkg.core": ("core.py", b"class Thing: pass\\ndef other(): pass\\n")}
target = _edits.Target("pkg", "p", 1, modules.get, lambda _path: _edits.ABSENT)
found = []
for text in json.load(sys.stdin):
    text = _edits.Text(text.encode("latin-1"))
    try:
        after = edit.do(text, target)
        if edit.undo(after, target) != text:
            raise Conflict("cannot be undone")
        found.append(after.data.decode("latin-1") if after != text else None)
    except (Conflict, Unsupported) as error:
        found.append(type(error).__name__)
json.dump(found, sys.stdout)
"""


@pytest.mark.parametrize("version", PROMISED)
def test_every_python_finds_the_same(version: str, python: Callable[[str], Path]) -> None:
    texts = [
        template.replace("@", "").replace("\n", newline)
        for template in PLACES.values()
        for newline in ("\n", "\r\n", "\r")
    ]
    texts += [text + "\nimport a\n" for text in STATEMENTS if "é" not in text]
    texts += [
        bad.decode("latin-1") for bad in (b"import a\n\0", b"import a\nx = " + b"-" * 100000 + b"1\n", b"(", NESTED)
    ]
    texts = [text.encode().decode("latin-1") for text in texts]
    command = [python(version), "-I", "-S", "-B", "-c", CHILD, engine.PLUGINS]
    answer = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True)
    expected: list[str | None] = []
    for text in texts:
        try:
            after = do(text.encode("latin-1"), "p")
            expected.append(after and after.decode("latin-1"))
        except Conflict:
            expected.append("Conflict")
    assert json.loads(answer.stdout) == expected
