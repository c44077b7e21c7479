"""What a node remembers: one SQLite file, one writer that commits in groups, readers beside it.

The story: every change is a *job*, a function of a ``Transaction``, handed to ``Store.write``. The writer runs all jobs
that wait in one transaction, and ``write`` returns only after the commit, so whoever answers after ``await
store.write(...)`` answers for durable data. A domain change and the message it owes to a peer are rows of the same job.
The repositories (``sessions``, ``cdrs``, ``outbox``, ``destinations``, ``cursors``, ``authentication``) are small
modules of functions; replicated state has a room of its own, ``state``. Nothing else of the program knows SQL. Commands
``looking`` into the store of a running node read beside it.
"""

from p2p_oicp.storage.looking import Reader, changing, looking
from p2p_oicp.storage.reading import read_once
from p2p_oicp.storage.state import tables as _tables  # noqa: F401 - so that migrations see them
from p2p_oicp.storage.store import Row, Store, open_store
from p2p_oicp.storage.writer import Lane, Transaction

__all__ = ["Lane", "Reader", "Row", "Store", "Transaction", "changing", "looking", "open_store", "read_once"]
