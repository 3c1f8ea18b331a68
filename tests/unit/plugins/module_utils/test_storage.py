# Physical copies: what is the same on two nodes only where they see one directory. The mount tables are written here.
from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.primus.patches.plugins.module_utils import _storage

TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:45 / {point} rw,relatime shared:2 master:1 - {kind} {source} rw,vers=4.2
31 22 0:46 / /mnt/with\\040space rw - tmpfs tmpfs rw
"""


def table(tmp_path: Path, kind: str, source: str, point: str | None = None) -> str:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE.format(kind=kind, source=source, point=point or tmp_path))
    return str(path)


def test_two_directories_are_two_copies_and_links_are_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")
    assert _storage.copy_id(str(tmp_path / "a")) == _storage.copy_id(str(tmp_path / "link")) != None  # noqa: E711
    assert _storage.copy_id(str(tmp_path / "a")) != _storage.copy_id(str(tmp_path / "b"))


def test_a_copy_stays_what_it_is_when_a_file_in_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = _storage.copy_id(str(tmp_path))
    (tmp_path / "new").touch()
    (tmp_path / "new").rename(tmp_path / "file")
    assert _storage.copy_id(str(tmp_path)) == before


@pytest.mark.parametrize(
    ("kind", "source", "shared"),
    [
        ("nfs4", "storage:/export", True),
        ("lustre", "10.0.0.1@o2ib:/scratch", True),
        ("fuse.sshfs", "user@host:/envs", True),
        ("fuse.squashfuse", "squashfuse", False),
        ("ext4", "/dev/nvme0n1p1", False),
        ("overlay", "overlay", False),
    ],
)
def test_only_file_systems_that_nodes_share_are_the_same_on_other_nodes(
    tmp_path: Path, kind: str, source: str, *, shared: bool
) -> None:
    inode = os.stat(tmp_path).st_ino
    found = _storage.copy_id(str(tmp_path), table(tmp_path, kind, source))
    assert found is not None
    assert found.startswith(f"{kind} {source} ") == shared
    assert found.endswith(f" {inode}")
    assert (Path("/proc/sys/kernel/random/boot_id").read_text().strip() in found) != shared


def test_the_mount_that_leads_to_a_directory_is_the_longest_and_last(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    mounts = table(tmp_path, "nfs4", "storage:/export")
    found = _storage.mount_of(str(below), mounts)
    assert found == _storage.Mount(str(tmp_path), "nfs4", "storage:/export")
    other = _storage.mount_of(str(tmp_path) + "-other", mounts)
    assert other == _storage.Mount("/", "ext4", "/dev/sda1")
    with Path(mounts).open("a") as file:
        file.write(f"40 30 0:50 / {tmp_path} rw - lustre mgs:/fs rw\n")
    assert _storage.mount_of(str(below), mounts) == _storage.Mount(str(tmp_path), "lustre", "mgs:/fs")
    assert _storage.mount_of("/mnt/with space/x", mounts) == _storage.Mount("/mnt/with space", "tmpfs", "tmpfs")


def test_what_is_not_there_is_no_copy(tmp_path: Path) -> None:
    assert _storage.copy_id(str(tmp_path / "absent")) is None
