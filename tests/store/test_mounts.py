"""SQLite files on file systems of other machines are refused, before they are written."""

from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.errors import EngineError, StoreError
from lrsearch.samplers.storages import open_storage
from lrsearch.store import mounts, open_store
from lrsearch.store.mounts import NETWORK, network_type

TABLE = """21 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 21 0:26 / /home rw shared:1 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/fast rw - xfs /dev/sdb rw
32 21 0:40 / /mnt/team\\040share rw - cifs //server/team rw
33 21 0:41 / /scratch rw - lustre mds@tcp:/scratch rw
a line that is none
"""


@lrs.task("toy", horizon=16, epoch=4, minimize="val_loss", lr_range=(1e-3, 1.0))
def toy(job):
    """Go down a parabola."""
    at = 1.0
    for step in range(1, 1 + job.horizon):
        job.log(step, train_loss=at * at)
        at -= job.policy(step - 1) * at
    return at * at


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


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A folder on a network file system."""
    table = tmp_path / "mountinfo"
    table.write_text(f"30 21 0:26 / {tmp_path} rw - nfs4 server:/home rw")
    monkeypatch.setattr(mounts, "TABLE", table)
    return tmp_path


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


def test_an_optuna_storage_in_a_file_on_a_network_file_system_is_refused_unless_it_is_allowed(remote, monkeypatch):
    url = f"sqlite:///{remote / 'optuna.db'}"
    with pytest.raises(EngineError, match=r"network file system \(nfs4\).*PostgreSQL, or a journal \(journal:////"):
        open_storage(url)
    assert not (remote / "optuna.db").exists()
    assert not (remote / "optuna.db.lock").exists()
    monkeypatch.setenv("LRSEARCH_SQLITE_ON_NETWORK", "1")
    assert open_storage(url).get_all_studies() == []


def test_a_search_writes_no_optuna_database_to_a_network_file_system_and_says_so(remote, caplog):
    result = lrs.search(toy, budget=4, store="sqlite:///:memory:", out=remote)
    assert result.best is not None
    assert not (remote / "optuna.db").exists()
    assert f"{remote} lies on a network file system (nfs4): no optuna.db is written there" in caplog.text
