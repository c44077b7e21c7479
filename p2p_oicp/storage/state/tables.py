"""The tables of replicated state; ``storage.state`` tells what they mean.

``kind`` is a ``Kind``, ``raw`` a record as it came; ``change`` numbers come from the node's one change sequence.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, Table, Text, text

from p2p_oicp.storage.tables import metadata

state_groups = Table(
    "state_groups",
    metadata,
    Column("kind", Integer, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("group_key", Text, primary_key=True),
    Column("party", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("head_change", Integer, nullable=False),
    Column("newest", Integer, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("last_push", LargeBinary),
    sqlite_with_rowid=False,
)

state_records = Table(
    "state_records",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("facet", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_change", Integer, nullable=False),
    Column("change", Integer, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("deleted", Integer, nullable=False, server_default=text("0")),
    Column("raw", LargeBinary, nullable=False),
)
Index("state_records_by_key", state_records.c.kind, state_records.c.key, state_records.c.source, unique=True)
Index(
    "state_records_of_group",
    state_records.c.kind,
    state_records.c.source,
    state_records.c.group_key,
    state_records.c.change,
)
Index(
    "state_tombstones",
    state_records.c.kind,
    state_records.c.changed_at,
    sqlite_where=state_records.c.deleted == 1,
)

state_versions = Table(
    "state_versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("change", Integer, nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("deleted", Integer, nullable=False),
    Column("raw", LargeBinary),
)
Index("state_versions_by_key", state_versions.c.kind, state_versions.c.key, state_versions.c.change)
Index("state_versions_by_age", state_versions.c.kind, state_versions.c.until)

state_sweeps = Table(
    "state_sweeps",
    metadata,
    Column("kind", Integer, primary_key=True),
    Column("change", Integer, nullable=False),
    Column("at", Float, nullable=False),
)

evse_facts = Table(
    "evse_facts",
    metadata,
    Column("record_id", Integer, primary_key=True),
    Column("evse_key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("operator_key", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("cell", Integer),
    Column("accessibility", Text, nullable=False),
    Column("calibration", Text, nullable=False),
    Column("authentication_modes", Text, nullable=False),
    Column("renewable", Integer),
    Column("compatible", Integer),
    Column("always_open", Integer),
    Column("changed_at", Float, nullable=False),
    Column("deleted", Integer, nullable=False, server_default=text("0")),
)
Index("evse_facts_by_cell", evse_facts.c.cell)
Index("evse_facts_by_time", evse_facts.c.changed_at)
Index("evse_facts_of_operator", evse_facts.c.operator_key, evse_facts.c.deleted)

identifications = Table(
    "identifications",
    metadata,
    Column("record_id", Integer, primary_key=True),
    Column("uid_key", Text),
    Column("evco_key", Text),
    Column("expires_at", Float),
)
Index("identifications_by_uid", identifications.c.uid_key)
Index("identifications_by_evco", identifications.c.evco_key)

batches = Table(
    "batches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("plan", LargeBinary, nullable=False),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("decided_change", Integer, nullable=False, server_default=text("0")),
    sqlite_autoincrement=True,
)

# An id is the batch's number times 2 to the power of 32, plus the place in it: in order, without an index.
staged = Table(
    "staged",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("facet", Text, nullable=False),
    Column("facts", LargeBinary),
    Column("raw", LargeBinary),
)

# In a backup only: requests that were being applied piece by piece, by the number of their batch.
journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", LargeBinary, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("findings", LargeBinary, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("first_seen_at", Float, nullable=False),
    Column("last_seen_at", Float, nullable=False),
    Column("times", Integer, nullable=False, server_default=text("1")),
)
Index("quarantine_once", quarantine.c.source, quarantine.c.operation, quarantine.c.digest, unique=True)
Index("quarantine_by_age", quarantine.c.last_seen_at)

cursors = Table(
    "cursors",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("kind", Integer, primary_key=True),
    Column("group_key", Text, primary_key=True),
    Column("change", Integer, nullable=False),
    sqlite_with_rowid=False,
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("kind", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)
