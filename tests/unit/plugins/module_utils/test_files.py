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


def test_a_file_that_comes_while_it_is_looked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = _files.Directory.read

    def late(directory: _files.Directory, name: str) -> _files.Content | None:
        found = read(directory, name)
        (tmp_path / name).write_text("text")
        return found

    monkeypatch.setattr(_files.Directory, "read", late)
    assert _evidence.read(str(tmp_path / "file")).data == b"text"


def test_a_link_that_leads_to_nothing_is_no_file_that_is_absent(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OSError, match="leads to nothing") as caught:
        _evidence.read(str(tmp_path / "link"))
    assert caught.value.filename == str(tmp_path / "link")
