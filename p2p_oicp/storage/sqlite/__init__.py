"""SQLite, the default engine of the store: one file in WAL mode, one writer, readers beside it.

Overview
    `connections` opens the file (locked for one process) with the pragmas and limits of each kind of connection.
    `writer` has the one connection that writes: `GroupCommitWriter` runs `Transaction` jobs in groups, and
    `WalCheckpointer` moves the log into the file beside it.
    `readonly` is for commands in another process: read-only queries, and one short change.
    `backup` copies the file online, whether or not a node has it open.

Invariants
    Only the writer of the node writes; a command may make one short change in a transaction of its own
    (`open_for_change`), for which the writer waits without blocking the event loop.
    No connection waits for a lock inside SQLite while it is used in the event loop (``timeout=0``).

Failures
    `StoreUnavailable` at opening, before anything is changed; `StoreError` while running, `StoreBusy` when too many
    jobs wait.

Where to read next
    `GroupCommitWriter._run_loop`; decisions 0002 (one writer) and 0006 (short work stays in the event loop).
"""
