"""File systems of other machines, on which SQLite's locks cannot be trusted."""

import os
from pathlib import Path

ON_NETWORK = "LRSEARCH_SQLITE_ON_NETWORK"
"""The environment variable that allows SQLite files on network file systems."""
TABLE = Path("/proc/self/mountinfo")
"""The mounts of this process; only Linux has it."""
NETWORK = frozenset(
    {
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
    }
)
"""Types of file systems whose files lie on another machine, by the names of Linux."""


def refused_type(path: Path) -> str | None:
    """The type of the network file system on which an SQLite file is refused; None where it may lie there.

    `LRSEARCH_SQLITE_ON_NETWORK=1` allows it anywhere.
    """
    return None if os.environ.get(ON_NETWORK) == "1" else network_type(path)


def network_type(path: Path, table: str | None = None) -> str | None:
    """The type of the network file system that a path lies on; None for a local one, or where it is not known.

    Args:
        path: the path; it need not exist.
        table: the table of mounts; None for that of this process.

    >>> network_type(Path("/home/me/lr.db"), "30 1 0:26 / /home rw - nfs4 server:/home rw")
    'nfs4'
    """
    if table is None:
        try:
            table = TABLE.read_text(errors="replace")
        except OSError:
            return None
    resolved = path.resolve()
    deepest: tuple[int, str] = (-1, "")
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds:
            continue
        point = Path(fields[4].replace("\\040", " "))
        if resolved.is_relative_to(point):
            deepest = max(deepest, (len(point.parts), kinds[0]), key=lambda mount: mount[0])
    return deepest[1] if deepest[1] in NETWORK else None
