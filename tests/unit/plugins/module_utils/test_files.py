# Files: what is told of those that cannot be reached, and from where they are reached.
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _evidence, _files

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_found_also_where_the_working_directory_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a hook that was started in a job's directory; else the file would be taken for absent."""
    (tmp_path / "file").write_text("text")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert _evidence.read(str(tmp_path / "file")).data == b"text"


def test_what_cannot_be_read_is_named_with_its_directory(tmp_path: Path) -> None:
    path = str(tmp_path / ("n" * 256))
    with pytest.raises(OSError, match="File name too long") as caught:
        _files.read(path)
    assert caught.value.filename == path
