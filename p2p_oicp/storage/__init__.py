"""The durable state of a node: one SQLite file, one writer that commits in groups, readers beside it.

Overview
    Every change is a *job*, a function of a `Transaction`, that is handed to `Store.write`. The writer runs all jobs
    that wait in one transaction, and ``write`` returns after the commit: what is answered after ``await
    store.write(...)`` is durable. Reads (`Store.query_inline`, `query`, `query_bulk`) see the last commit.

Repositories
    Modules of functions over a `Transaction`, and of compiled statements for queries: `sessions` (with the state
    machine), `cdrs`, `outbox`, `peer_state` (health, store epochs, cursors), `peers`, `tokens`, `evidence`,
    `retention`; replicated datasets have a package of their own, `datasets`. `schema` defines the tables,
    `statements` compiles SQL from them, `sqlite` is the engine, `spool` keeps large imports in files.

Invariants
    No other package knows SQL.
    A domain change and the outbox message that it causes are rows of the same job.
    Records and messages are stored as the bytes that were received; digests and columns beside them are for searching.

Failures
    `StoreUnavailable` when opening (damaged, newer, in use); `StoreBusy` when too many jobs wait; `StoreError` when the
    database cannot be read or cannot commit, and then nothing of the job is stored.

Where to read next
    `Store.write`, then `sqlite.writer.GroupCommitWriter`; decisions 0002 and 0006.
"""

from p2p_oicp.storage.opening import (
    Location,
    ReadOnlyStore,
    open_for_change,
    open_readonly,
    open_store,
    query_once,
)
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Lane, Row, Transaction

__all__ = [
    "Lane",
    "Location",
    "ReadOnlyStore",
    "Row",
    "Store",
    "Transaction",
    "open_for_change",
    "open_readonly",
    "open_store",
    "query_once",
]
