"""What a node remembers: one SQLite file, one writer that commits in groups, readers beside it.

The story: every change is a *job*, a function of a ``Transaction``, handed to ``Store.write``. The writer runs all jobs
that wait in one transaction, and ``write`` returns only after the commit, so whoever answers after ``await
store.write(...)`` answers for durable data. A domain change and the message it owes to a peer are rows of the same job.
The repositories (``sessions``, ``cdrs``, ``outbox``, ``destinations``, ``cursors``, ``authentication``) are small
modules of functions; replicated state has a room of its own, ``state``. Nothing else of the program knows SQL. Commands
``looking`` into the store of a running node read beside it.
"""

from p2p_oicp.storage import schema as _tables  # noqa: F401 - so that migrations see them
from p2p_oicp.storage.sqlite.readonly import ReadOnlyStore, open_for_change, open_readonly, query_once
from p2p_oicp.storage.sqlite.writer import Lane, Transaction
from p2p_oicp.storage.store import Row, Store, open_store

__all__ = [
    "Lane",
    "ReadOnlyStore",
    "Row",
    "Store",
    "Transaction",
    "open_for_change",
    "open_readonly",
    "open_store",
    "query_once",
]
