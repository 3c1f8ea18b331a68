# The edit `reexport` on real releases of Transformers.
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _edits, _patch
from ansible_collections.primus.patches.plugins.module_utils._catalogue.transformers_modeling_utils import PATCH
from ansible_collections.primus.patches.plugins.module_utils._edits import Text
from ansible_collections.primus.patches.tests.unit.plugins.module_utils.test_reexport import changed, undone_by
from lab import wheels
from lab.old_script import old_script

SEVEN: Any = _patch.load(PATCH).edits[0]

# --- the old script's block


@pytest.mark.parametrize("version", ["4.56.2", "4.57.6"])
def test_the_block_of_the_old_script_is_found_by_its_line_and_comes_out_again(version: str) -> None:
    stock, pytorch_utils = stock_files(version)
    old = old_script(stock.decode()).encode()
    assert changed(SEVEN, old, transformers(pytorch_utils)) is None
    line, without = SEVEN.unmarked(old) or (0, b"")
    assert old.decode().split("\n")[line - 1] == "from .pytorch_utils import (  # noqa: F401"
    assert without == stock


@pytest.mark.parametrize("version", ["4.30.2", "4.55.4"])
def test_the_same_import_in_a_stock_file_is_not_taken_for_the_old_scripts(version: str) -> None:
    stock, _source = stock_files(version)
    assert old_script(stock.decode()) == stock.decode()
    assert SEVEN.unmarked(stock) is None


# --- real files


def stock_files(version: str) -> tuple[bytes, bytes]:
    """Return modeling_utils.py and pytorch_utils.py of a release."""
    package = wheels.unpacked("transformers", version) / "transformers"
    return (package / "modeling_utils.py").read_bytes(), (package / "pytorch_utils.py").read_bytes()


def transformers(pytorch_utils: bytes) -> _edits.Target:
    modules = {"transformers.pytorch_utils": ("pytorch_utils.py", pytorch_utils)}
    return _edits.Target("transformers", "p", 1, modules.get, lambda _file: _edits.ABSENT)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("version", ["4.56.2", "4.57.6"])
def test_the_real_file_gets_six_names_after_its_one_import_and_comes_back(version: str, newline: bytes) -> None:
    before, pytorch_utils = stock_files(version)
    before = before.replace(b"\n", newline)
    after = changed(SEVEN, before, transformers(pytorch_utils))
    assert after is not None
    assert SEVEN.made(Text(after))
    assert not SEVEN.made(Text(before))
    head, begin, rest = after.partition(b"# >>> primus.patches: p, revision 1 >>>" + newline)
    assert begin
    assert head.endswith(newline + b"from .pytorch_utils import id_tensor_storage" + newline)
    names = [line.strip(b" ,").decode() for line in rest.partition(b")" + newline)[0].split(newline)[1:-1]]
    assert names == [name for name in SEVEN.names if name != "id_tensor_storage"]
    undone = undone_by(SEVEN, after, "p")
    assert undone is not None
    assert undone.text == before
