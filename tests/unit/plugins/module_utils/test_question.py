# The question's own reading of METADATA, RECORD and ways, held against the engine's.
from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from ansible_collections.primus.patches.plugins.module_utils import (
    _environment,
    _files,
    _interpreter,
    _question,
    _records,
    _trust,
)
from ansible_collections.primus.patches.tests.lab import packages
from hypothesis import example, given
from hypothesis import strategies as st

LINES = st.lists(
    st.sampled_from(["Name: a", "Name:", "Version: 1.0", "Version:1.0 ", "version: 2", "", " ", "Version", "x", "é"])
)
DIGEST = "sha256=" + "A" * 43


@given(LINES, st.sampled_from(["\n", "\r\n"]))
def test_the_version_is_the_engines(lines: list[str], newline: str) -> None:
    text = newline.join(lines).encode()
    with tempfile.TemporaryDirectory() as top:
        info = Path(top) / "a-9.dist-info"
        packages.write(info, {"METADATA": text})
        version = _environment.identity(str(info))[1]
    try:
        found = _question.version_in(text)
    except (ValueError, KeyError):
        return
    assert found == version


@given(
    st.lists(
        st.sampled_from([f"a.py,{DIGEST},1", "a.py,sha512=AA,1", '"a.py",,', "a.py,,", "b/a.py,x", "", "a.py", '"'])
    )
)
@example([f"a.py,{DIGEST},1", "a.py,,"])
@example(["a.py,,", f"a.py,{DIGEST},1"])
def test_what_record_has_is_what_the_engine_reads(lines: list[str]) -> None:
    text = "\n".join(lines).encode()
    with tempfile.TemporaryDirectory() as top:
        packages.write(Path(top), {"RECORD": text})
        recorded = _records.recorded(_records.Distribution("a", "1", top), "a.py")
    try:
        found = _question.recorded(text, "a.py")
    except ValueError:
        return
    assert recorded == DIGEST
    assert found == "00" * 32


@pytest.mark.parametrize("relative", ["a", "b/../a", "link", "to/../link", "loop", "none"])
@pytest.mark.parametrize("mode", [0o755, 0o775, 0o757, 0o1777])
def test_ways_that_others_may_change_are_refused_as_by_the_engine(relative: str, mode: int, tmp_path: Path) -> None:
    """It may refuse more: only where it does not must the engine agree; who is not root owns no way from / down."""
    for name in ("a", "b", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("to/../a")
    (tmp_path / "loop").symlink_to("loop")
    tmp_path.chmod(mode)
    path = str(tmp_path / relative)
    try:
        _question.walk(path)
    except (ValueError, OSError):
        assert (mode, os.geteuid()) != (0o755, 0) or relative in ("loop", "none")
        return
    _files.walk(path, _trust.Trust(by_root=True).guard()).parent.close()


def test_the_places_that_an_interpreter_runs_code_from_are_the_engines(tmp_path: Path) -> None:
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    base = tmp_path / "base" / "lib64" / "python3.11"
    for directory in (site, base, tmp_path / "venv" / "bin", tmp_path / "named"):
        directory.mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    (tmp_path / "venv" / "pyvenv.cfg").write_text(f"home = {tmp_path}/base/bin\n")
    (site / "more.pth").write_text(f"import os\n{tmp_path}/named\n\nnowhere\n")
    started = (base / "sitecustomize.py", tmp_path / "named" / "usercustomize.so", site / "more.pth")
    for file in started[:2]:
        file.touch()
    python = str(tmp_path / "venv" / "bin" / "python")
    found = {os.path.normpath(place) for place in _question.places(python)}
    assert found == {os.path.normpath(place) for place in _interpreter.places(python)}
    assert found >= {*map(str, started), str(tmp_path / "venv" / "pyvenv.cfg"), str(tmp_path / "named")}
