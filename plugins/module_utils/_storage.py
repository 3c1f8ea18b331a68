# Tells physical copies of a directory apart, also across nodes that share a file system. Reads only.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete in itself, standard library only: its own text is sent with a question (see _question)."""

from __future__ import annotations

import os
import re
from collections import namedtuple

_MOUNTS = "/proc/self/mountinfo"  # proc_pid_mountinfo(5)
# File systems that nodes share. Of those in FUSE, whose source names a server (host:/path, as sshfs has it).
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs")
_CLUSTER = ("lustre", "gpfs", "beegfs", "wekafs", "panfs", "pvfs2", "orangefs", "gfs2", "ocfs2")


# One line of /proc/self/mountinfo. (Importing typing would take a node longer than all the rest.)
Mount = namedtuple("Mount", ("point", "kind", "source"))  # noqa: PYI024


def copy_id(directory: str, mounts: str = _MOUNTS) -> str | None:
    """What is the same for two directories, on any nodes, only if they are one: there a file is written once for all.

    On a file system that nodes share that is its source, its own id and the inode (not the device number, which each
    NFS client gives anew); on any other one the boot of this machine, the device number and the inode. A directory
    keeps its inode when a file in it is replaced. None where nothing can be read.
    """
    try:
        there = os.stat(directory)
        mount = mount_of(directory, mounts)
        if mount is not None and is_shared(mount):
            return "%s %s %x %d" % (mount.kind, mount.source, os.statvfs(directory).f_fsid, there.st_ino)
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return "%s %x %d" % (stream.read().strip(), there.st_dev, there.st_ino)
    except OSError:
        return None


def mount_of(directory: str, mounts: str = _MOUNTS) -> Mount | None:
    """The mount that a directory is on: of those that lead to it the one mounted last (proc_pid_mountinfo(5))."""
    path = os.path.realpath(directory) + "/"
    found: Mount | None = None
    with open(mounts, encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            fields, _dash, about = line.partition(" - ")
            point = _plain(fields.split(" ")[4])
            if path.startswith(point.rstrip("/") + "/") and (found is None or len(point) >= len(found.point)):
                kind, source = about.split(" ")[:2]
                found = Mount(point, kind, _plain(source))
    return found


def is_shared(mount: Mount) -> bool:
    """Whether other nodes may see the same files."""
    return mount.kind in _NETWORK + _CLUSTER or (mount.kind.startswith("fuse.") and ":" in mount.source)


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
