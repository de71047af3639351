"""The store: the ledger of all runs, in SQLite or PostgreSQL. It ranks nothing, and imports neither torch nor pandas.

**Threads and processes.** Several threads may use one `Store`, and several processes and machines one database. Up to
15 threads run at once; more wait up to 30 seconds for a connection. A store in memory (`sqlite:///:memory:`) belongs to
the thread that opened it. A call is one short transaction or a few, and leaves none open. Between the transactions of
one call another process may write. SQLite waits 60 seconds for a lock; a store that `record` opens waits 5. A store
that was opened with `pauses` repeats these calls while its database is away: `record`, `find`, `open_study`, `note`,
`assign`, `progress`, `history`, `add_lost_steps`, `tasks`, and those of `Claims`.

**What a write guarantees.** A call that returned has committed: a process that is killed later loses nothing. A call
that raised can be repeated: recording a run twice is recording it once. A final result (finished, diverged or stopped)
stays as it is; a later one that differs is stored beside it as an attempt. There are three exceptions: a finished run
replaces a shorter one that was stopped, a trusted run replaces an untrusted one, and any run replaces a damaged one. A
trusted run also replaces a result that did not end, whose steps are then counted as lost. The steps of a run that
`lrs.record` wrote as failed or interrupted are not counted then.

**What a read guarantees.** `StoredRun`, `Trial` and `StoredStudy` are frozen; mappings and lists that a call returns
belong to the caller. Rows have digests. A row whose digest does not hold is left out with a warning, one for each run
and one for each other table, and is reported by `check`. `Store.damaged` names such a run by its key, and any other row
by its table. A study's history with such a row is an error. `merge` copies no such row.

Some reads do not check digests. `begun`, `open_study` and `note` read a study so, and `stats` reads all. `find`,
`history`, `ramps` and `representative_runs`, which studies and recommendations read, return runs of trusted origins
only; `runs` does so with `trusted=True`. They take the trust of an origin as it is; `origins` and `check` check it.

**Errors.**

- `UsageError`: a store that `open_store` cannot take for a URL or a path, a run's key that is not a text, or a value
  that `lrs.record` or `finish` refuses. Other arguments are not checked.
- `StoreError`: a URL or a file that is no store, a newer schema, a value that a database cannot hold, an entry that is
  not one, a run that is absent or damaged, a trial that only a later lrsearch can read.
- `StoreAwayError`, a `StoreError`: a database that cannot be reached, locked or written for now, or whose connections
  are all in use.
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
