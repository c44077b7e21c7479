"""What a job is about: the keys that `Store.write` gets with each job.

Two jobs that read or write the same rows, and for which the order counts, share a key. Jobs that share a key run in
the order in which they were handed over, and one at a time; nothing is promised about the others, but that each is
done alone, in a transaction. SQLite runs all jobs one after the other and ignores keys; a database that several
connections write to knows the order of jobs by them alone.

A key is a short text, made where the job is handed over. Rows that are only ever inserted (evidence, events), and
single rows of which the last writer wins, need none: `ANY_ORDER`.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

JobKeys: TypeAlias = tuple[str, ...]

#: The order of this job among others does not count.
ANY_ORDER: Final[JobKeys] = ()
#: The peers, their descriptors, the invitations and the store epochs of this node.
PEERS: Final = "peers"
#: What deletes and expires old rows of all kinds; each statement checks again that a row is old.
HOUSEKEEPING: Final = "housekeeping"


class DatasetChange(Protocol):
    """A changeset, as `storage.datasets.models` has it."""

    @property
    def dataset(self) -> int: ...
    @property
    def source(self) -> str: ...


class SessionRow(Protocol):
    """A session as `storage.sessions` has it."""

    @property
    def role(self) -> str: ...
    @property
    def session_key(self) -> str: ...
    @property
    def request_digest(self) -> bytes: ...


def of_session(session: SessionRow) -> JobKeys:
    """Return what a job about a session at hand is about."""
    return (session_of(session.role, session.session_key),)


def of_start(draft: SessionRow) -> JobKeys:
    """Return what a job that opens a session is about: all starts with the same content, and that session."""
    return f"start:{draft.role}:{draft.request_digest.hex()}", session_of(draft.role, draft.session_key)


def session_of(role: str, session_key: str) -> str:
    """Return the key of a session of ``role`` (``cpo`` or ``emp``): its row, events, CDR and outbox messages."""
    return f"session:{role}:{session_key}"


def cdrs_of(role: str) -> str:
    """Return the key of the numbers of CDRs, by which they are paged: taken in the order of the commits."""
    return f"cdrs:{role}"


def dataset_of(dataset: int, source: str) -> str:
    """Return the key of the copy of a dataset that ``source`` (``OWN`` or the id of a peer) has: its change numbers."""
    return f"state:{dataset}:{source}"


def of_changeset(changeset: DatasetChange) -> JobKeys:
    """Return what each job that applies a part of a changeset is about."""
    return (dataset_of(changeset.dataset, changeset.source),)


def quarantine_of(source: str) -> str:
    """Return the key of the quarantined records of a peer."""
    return f"quarantine:{source}"


def destination(name: str) -> str:
    """Return the key of a destination: its health, cursors and epochs.

    ``name`` is the id of a peer, ``backend:NAME`` of one of our own backends, or ``webhook:NAME``.
    """
    return f"destination:{name}"


def ocpi_partner(name: str) -> str:
    """Return the key of an OCPI partner: its objects, sessions, commands, and what is served to it."""
    return f"ocpi:{name}"
