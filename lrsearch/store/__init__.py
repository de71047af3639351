"""The store: the ledger of all runs. It knows no ranking, and no torch and no pandas.

**Threads and processes.** A `Store` may be used by several threads, and a database by several processes and machines.
Every call is one short transaction. SQLite waits 60 seconds for a lock; a server's connection that is lost is an
error, or is tried again after the pauses that the store was opened with.

**What a write guarantees.** A call that returned has been committed: a process that is killed afterwards loses
nothing. A run is recorded once. A final result stays as it is; a later one that says something else is kept beside it
as an attempt. What did not end gives way to what did, and its steps are kept as lost.

**What a read guarantees.** Values are frozen and belong to the caller. Each row was sealed by a digest; a row whose
digest does not hold is set aside, said once, and found by `check`. A read sees whole transactions only. What a
study or a recommendation reads comes from trusted origins.

**Errors.** `UsageError`: a URL or argument that cannot be. `StoreError`: a file that is no store, a newer schema, a
run that is not there or damaged. `StoreAwayError`: a database that cannot be reached or written for now.
"""

from lrsearch.store.bundles import read_bundle, write_bundle
from lrsearch.store.checking import check
from lrsearch.store.recorder import Recorder, record
from lrsearch.store.salvage import salvage
from lrsearch.store.store import Store, open_store
from lrsearch.store.stored import StoredRun, StoredStudy, Trial

__all__ = [
    "Recorder",
    "Store",
    "StoredRun",
    "StoredStudy",
    "Trial",
    "check",
    "open_store",
    "read_bundle",
    "record",
    "salvage",
    "write_bundle",
]
