"""PostgreSQL, for a node whose data survives the loss of its machine; an extra (``p2p-oicp[postgresql]``).

Overview
    `compiler` makes the texts of statements and tables, `tables` the tables of a new database.
    `connections` has the pool, `writer` runs jobs: ordinary functions, each of whose statements waits for the server in
    a greenlet while other tasks go on. `spool` has large imports in a table. `store` is all of it behind `Store`,
    `commands` the store of a node from another process.

Invariants
    Jobs that share a key (`storage.job_keys`) run in the order in which they were handed over, also in two processes.
    Nothing is acknowledged whose commit the server has not confirmed.
    One process writes, the one that holds the database (`store.DatabaseLock`); commands make single short changes.

Failures
    `StoreUnavailable` at opening; `StoreError` while the server is away: connections are made anew when it is back.

Where to read next
    `KeyedWriter._attempt`.
"""
