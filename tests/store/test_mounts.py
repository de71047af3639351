"""SQLite files on file systems of other machines are refused, before they are written."""

from pathlib import Path

import pytest

from lrsearch.errors import StoreError
from lrsearch.store import mounts, open_store
from lrsearch.store.mounts import NETWORK, network_type

TABLE = """21 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 21 0:26 / /home rw shared:1 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/fast rw - xfs /dev/sdb rw
32 21 0:40 / /mnt/team\\040share rw - cifs //server/team rw
33 21 0:41 / /scratch rw - lustre mds@tcp:/scratch rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/lr.db", "nfs4"),
        ("/home/fast/lr.db", None),
        ("/home/fast/../me/lr.db", "nfs4"),
        ("/homework/lr.db", None),
        ("/mnt/team share/lr.db", "cifs"),
        ("/scratch/lr.db", "lustre"),
        ("/lr.db", None),
    ],
)
def test_the_deepest_mount_of_a_path_counts(path, kind):
    assert network_type(Path(path), TABLE) == kind


def test_without_a_table_nothing_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(mounts, "TABLE", tmp_path / "none")
    assert network_type(tmp_path) is None


def test_this_machine_s_own_temporary_folder_is_local(tmp_path):
    assert network_type(tmp_path / "store.db") is None


@pytest.mark.parametrize("kind", sorted(NETWORK))
def test_a_store_on_a_network_file_system_is_refused_unless_it_is_allowed(kind, tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text(f"30 21 0:26 / {tmp_path} rw - {kind} server:/home rw")
    monkeypatch.setattr(mounts, "TABLE", table)
    file = tmp_path / "store.db"
    with pytest.raises(StoreError, match=rf"network file system \({kind}\).*local disk or in PostgreSQL"):
        open_store(file)
    assert not file.exists()
    monkeypatch.setenv("LRSEARCH_SQLITE_ON_NETWORK", "1")
    with open_store(file) as store:
        assert store.runs() == []
