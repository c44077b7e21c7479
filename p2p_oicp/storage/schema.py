"""The tables of a node, defined once: migrations create them, statements are compiled from them.

Conventions:
    Times are seconds since the epoch (UTC).
    ``*_key`` columns hold canonical ids (`Identifier.key`); the column beside it has the text as it was received.
    ``peer``, ``source`` and ``destination`` are peers' ids (table ``peers``), which only `storage.peers` makes.
    ``role`` is the role of this node in the row, ``cpo`` or ``emp``; a company with both may hold both sides of a
    session.
    ``source`` is where a copy of a dataset came from, empty for our own; `storage.datasets` explains the
    tables of datasets. ``dataset`` is a `DatasetKind`, ``raw`` a record as it was received; ``change`` numbers come
    from the node's one change sequence.

Tables with long rows and random keys (sessions, CDRs) are ordinary rowid tables: a new row is appended, and only its
key goes to a random place. Without rowid the whole row does, which costs twice as much (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement, Float, Index, LargeBinary, MetaData, Table, text

metadata = MetaData()

# PostgreSQL: numbers of 64 bits as SQLite has, and texts that are compared by their bytes whatever the database's
# collation is: ranges of keys mean that.
Integer = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _rows_where(condition: ColumnElement[bool]) -> dict[str, Any]:
    """Return the options of an index of some rows only."""
    return {"sqlite_where": condition, "postgresql_where": condition}


sessions = Table(
    "sessions",
    metadata,
    Column("role", Text, primary_key=True),
    Column("session_key", Text, primary_key=True),
    Column("session_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("operator_key", Text, nullable=False, server_default=text("''")),
    Column("operator_id", Text, nullable=False, server_default=text("''")),
    Column("provider_key", Text, nullable=False, server_default=text("''")),
    Column("provider_id", Text, nullable=False, server_default=text("''")),
    Column("evse_key", Text, nullable=False, server_default=text("''")),
    Column("evse_id", Text, nullable=False, server_default=text("''")),
    Column("peer", Text, nullable=False, server_default=text("''")),
    Column("cpo_partner_session_id", Text),
    Column("emp_partner_session_id", Text),
    Column("request_digest", LargeBinary, nullable=False),
    Column("id_generated_here", Integer, nullable=False, server_default=text("0")),
    Column("start_response", LargeBinary),
    Column("identification_key", Text, nullable=False, server_default=text("''")),
    Column("stop_identification_keys", Text, nullable=False, server_default=text("''")),
    Column("offline", Integer, nullable=False, server_default=text("0")),
    Column("progress_at", Float),
    Column("stop_digest", LargeBinary),
    Column("stop_response", LargeBinary),
    Column("unconfirmed", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)
# Partial: a request that carried its SessionID is found by that; for the others, each row costs a random page more.
Index(
    "sessions_by_request",
    sessions.c.request_digest,
    sessions.c.created_at,
    **_rows_where(sessions.c.id_generated_here == 1),
)
# With the role, so that sessions are counted by it alone.
Index("sessions_by_state", sessions.c.state, sessions.c.role, sessions.c.updated_at)
# The list for people: new rows go to its end, and it has all that is filtered by, so that only a page of rows is read.
Index(
    "sessions_listed",
    sessions.c.created_at,
    sessions.c.state,
    sessions.c.role,
    sessions.c.peer,
    sessions.c.evse_key,
)

# The ids that sessions had here before a clearing house gave them theirs (RULES L26).
session_aliases = Table(
    "session_aliases",
    metadata,
    Column("role", Text, primary_key=True),
    Column("alias_key", Text, primary_key=True),
    Column("session_key", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("session_aliases_by_session", session_aliases.c.role, session_aliases.c.session_key)

# The peer that authorized a UID last time: the first one to send the next AuthorizeStart to.
uid_routes = Table(
    "uid_routes",
    metadata,
    Column("uid_key", Text, primary_key=True),
    Column("peer", Text, nullable=False),
    Column("authorized_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

# The token list of an EMP without a backend: a UID, or an EvcoID with the bcrypt hash of its PIN.
tokens = Table(
    "tokens",
    metadata,
    Column("token_key", Text, primary_key=True),
    Column("token", Text, nullable=False),
    Column("pin_hash", LargeBinary),
    Column("added_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

session_events = Table(
    "session_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("role", Text, nullable=False),
    Column("session_key", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("event", Text, nullable=False),
    Column("body", LargeBinary),
    Column("digest", LargeBinary),  # of a message whose duplicates are to be found
)
Index(
    "session_events_by_session",
    session_events.c.role,
    session_events.c.session_key,
    session_events.c.digest,
    unique=True,
)

# Pages in the order of ``id`` do not move while CDRs are added; autoincrement, so that no id is used twice.
cdrs = Table(
    "cdrs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("role", Text, nullable=False),
    Column("session_key", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("operator_key", Text, nullable=False),
    Column("provider_key", Text, nullable=False),
    Column("session_end", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("forwarded_at", Float),
    Column("state", Text, nullable=False),  # a `storage.cdrs.CdrState`
    Column("unconfirmed", Integer, nullable=False, server_default=text("0")),
    Column("doubts", Text),  # what speaks against it, as its sender was told
    # What the EMP's backend, or the peer's node, said of it.
    Column("verdict_code", Text),
    Column("verdict_text", Text),
    Column("verdict_at", Float),
    sqlite_autoincrement=True,
)
Index("cdrs_by_session", cdrs.c.role, cdrs.c.session_key, unique=True)
Index("cdrs_unconfirmed", cdrs.c.role, cdrs.c.id, **_rows_where(cdrs.c.unconfirmed == 1))
# The state first: it must not be taken for the index of a query by role, which needs another order.
Index("cdrs_by_state", cdrs.c.state, cdrs.c.role)
Index("cdrs_doubtful", cdrs.c.role, **_rows_where(cdrs.c.doubts.is_not(None)))
# As sessions_listed.
Index("cdrs_listed", cdrs.c.id, cdrs.c.state, cdrs.c.role, cdrs.c.peer, cdrs.c.unconfirmed, cdrs.c.received_at)
Index("cdrs_by_provider", cdrs.c.role, cdrs.c.provider_key, cdrs.c.id)

# Up to which SessionEnd a CPO peer was asked for CDRs that never came.
cdr_reconciliations = Table(
    "cdr_reconciliations",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("until", Float, nullable=False),
    sqlite_with_rowid=False,
)

conflicting_cdrs = Table(
    "conflicting_cdrs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("role", Text, nullable=False),
    Column("session_key", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
Index(
    "conflicting_cdrs_unique",
    conflicting_cdrs.c.role,
    conflicting_cdrs.c.session_key,
    conflicting_cdrs.c.digest,
    unique=True,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("sender_id", Text),
    Column("role", Text, nullable=False),
    Column("session_key", Text, nullable=False),
    # A newer message with the same key (and session) replaces this one.
    Column("coalesce_key", Text, nullable=False, server_default=text("''")),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_try_at", Float, nullable=False),
    Column("last_error", Text),
    Column("last_cause", Text),  # an `errors.FailureCause`
    sqlite_autoincrement=True,
)
Index("outbox_by_destination", outbox.c.destination, outbox.c.state, outbox.c.id)
# The messages that have failed; most never do.
Index("outbox_troubled", outbox.c.destination, outbox.c.state, outbox.c.id, **_rows_where(outbox.c.attempts > 0))
Index("outbox_by_session", outbox.c.destination, outbox.c.state, outbox.c.session_key, outbox.c.id)

# What is delivered to or pulled from: the outbox of a peer or of the own backend (no dataset), one dataset of either,
# what `storage.peer_state` has a name for (hello, a pull).
destinations = Table(
    "destinations",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("next_try_at", Float, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("last_error_type", Text),  # the exception's class
    Column("last_cause", Text),  # an `errors.FailureCause`
    Column("failing_since", Float),  # the first failure since the last success
    Column("last_success_at", Float),
    Column("store_epoch", Integer),  # of the peer, as of its last hello
    Column("extensions", Text, nullable=False, server_default=text("'[]'")),  # of the peer's node: a JSON list
    # Of a dataset: the filter by which the peer's copy was made (`peers.publishing`), empty for none.
    Column("publish", Text, nullable=False, server_default=text("''")),
)

# Deliveries that a person has paused (`storage.pauses`).
pauses = Table(
    "pauses",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("since", Float, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What happened (`storage.event_log`): the events of one commit, as JSON.
event_batches = Table(
    "event_batches",
    metadata,
    Column("first_number", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("events", LargeBinary, nullable=False),
)

# Which database (`storage.epochs`) has written the events from a number on.
event_epochs = Table(
    "event_epochs",
    metadata,
    Column("first_number", Integer, primary_key=True),
    Column("epoch_id", Integer, nullable=False),
)

# Who is sent events (`storage.webhooks`); the settings are empty of those that stand in node.toml.
webhooks = Table(
    "webhooks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("settings", LargeBinary, nullable=False),
    Column("position", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# The partners that speak OCPI (`storage.ocpi_partners`): what they send is stored as a hash, what we send is sealed.
ocpi_partners = Table(
    "ocpi_partners",
    metadata,
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("registration", LargeBinary, nullable=False),
    Column("sealed_token", LargeBinary),
    Column("token_hash", LargeBinary),
    Column("token_until", Float),
    Column("previous_token_hash", LargeBinary),
    Column("previous_token_until", Float),
    Column("spent_token_hash", LargeBinary),
    Column("last_success_at", Float),
    Column("last_failure_at", Float),
    Column("last_error", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Objects of OCPI partners as they were received (`storage.ocpi.objects`); ids are compared without letter case, so that
# the key columns hold them in lower case.
ocpi_objects = Table(
    "ocpi_objects",
    metadata,
    Column("partner", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("country_code", Text, primary_key=True),
    Column("party_id", Text, primary_key=True),
    Column("object_key", Text, primary_key=True),
    Column("object_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("last_updated", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("state", Text, nullable=False),  # an `objects.ObjectState`
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("session_key", Text, nullable=False, server_default=text("''")),
)
Index("ocpi_objects_by_state", ocpi_objects.c.state, ocpi_objects.c.kind, ocpi_objects.c.partner)
Index("ocpi_objects_by_key", ocpi_objects.c.partner, ocpi_objects.c.kind, ocpi_objects.c.object_key)

# The EVSEs of their locations, and what of them was pushed to the node.
ocpi_evses = Table(
    "ocpi_evses",
    metadata,
    Column("partner", Text, primary_key=True),
    Column("location_key", Text, primary_key=True),
    Column("uid_key", Text, primary_key=True),
    Column("location_id", Text, nullable=False),
    Column("uid", Text, nullable=False),
    Column("evse_key", Text, nullable=False),
    Column("evse_id", Text, nullable=False),
    Column("connectors", Text, nullable=False),  # JSON: their ids, and those of their tariffs
    Column("capabilities", Text, nullable=False),  # JSON
    Column("record", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),  # of OICP, as it was pushed
)
Index("ocpi_evses_by_evse", ocpi_evses.c.partner, ocpi_evses.c.evse_key)

# Which session of OICP a session of OCPI is, and what the partner was told or has said of it.
ocpi_sessions = Table(
    "ocpi_sessions",
    metadata,
    Column("partner", Text, primary_key=True),
    Column("session_key", Text, primary_key=True),
    Column("session_id", Text, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("state", Text, nullable=False),  # a `sessions.OcpiSessionState`
    Column("ocpi_key", Text),
    Column("ocpi_id", Text),
    Column("facts", LargeBinary, nullable=False),  # JSON, a `sessions.SessionFacts`
    Column("body", LargeBinary),  # the last PUT that was carried
    Column("opened_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)
Index("ocpi_sessions_by_ocpi_id", ocpi_sessions.c.partner, ocpi_sessions.c.ocpi_key)
Index("ocpi_sessions_by_time", ocpi_sessions.c.partner, ocpi_sessions.c.opened_at)

# Commands that were sent to a partner, whose results come as requests of their own.
ocpi_commands = Table(
    "ocpi_commands",
    metadata,
    Column("command_id", Text, primary_key=True),
    Column("partner", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("session_key", Text, nullable=False),
    Column("sent_at", Float, nullable=False),
    Column("deadline", Float, nullable=False),
    Column("response", LargeBinary),
    Column("result", LargeBinary),
    sqlite_with_rowid=False,
)
Index("ocpi_commands_by_time", ocpi_commands.c.sent_at)

# What we serve as sender, in the order of creation: pages do not move while objects are added.
ocpi_served = Table(
    "ocpi_served",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("partner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("country_code", Text, nullable=False),
    Column("party_id", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("group_key", Text, nullable=False),  # whose it is: a fullLoad of that party replaces it
    Column("body", LargeBinary, nullable=False),
    Column("last_updated", Float, nullable=False),
    Column("expires_at", Float),
    Column("is_outstanding", Integer, nullable=False),  # the partner has not acknowledged this form yet
    sqlite_autoincrement=True,
)
Index(
    "ocpi_served_by_object",
    ocpi_served.c.partner,
    ocpi_served.c.kind,
    ocpi_served.c.country_code,
    ocpi_served.c.party_id,
    ocpi_served.c.object_key,
    unique=True,
)
Index(
    "ocpi_served_outstanding",
    ocpi_served.c.partner,
    ocpi_served.c.number,
    **_rows_where(ocpi_served.c.is_outstanding == 1),
)

# Up to which last_updated the objects of a kind have been pulled from a partner.
ocpi_cursors = Table(
    "ocpi_cursors",
    metadata,
    Column("partner", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("last_updated", Float),
    Column("pulled_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

# What could not be carried of an object, each once; ``body`` is another form of it that was refused.
ocpi_findings = Table(
    "ocpi_findings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("partner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("pointer", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("body", LargeBinary),
)
Index(
    "ocpi_findings_unique",
    ocpi_findings.c.partner,
    ocpi_findings.c.kind,
    ocpi_findings.c.object_key,
    ocpi_findings.c.code,
    ocpi_findings.c.pointer,
    unique=True,
)

# The groups of datasets that a peer or backend refuses, until it takes them.
refused_groups = Table(
    "refused_groups",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("group_key", Text, primary_key=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("refused_since", Float, nullable=False),
    Column("next_try_at", Float, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("last_cause", Text, nullable=False),
    sqlite_with_rowid=False,
)

# The databases that this node has had, and those that its peers have had (`storage.epochs`).
store_epochs = Table(
    "store_epochs",
    metadata,
    Column("epoch_id", Integer, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("copied_from", Integer),
    Column("lost_since", Float),
)

peer_epochs = Table(
    "peer_epochs",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("epoch_id", Integer, primary_key=True),
    Column("copied_from", Integer),
    Column("lost_since", Float),
    Column("lost_until", Float),
    Column("proved", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# Sessions of which messages have come that nobody here knows; until when their peers may say so.
unknown_sessions = Table(
    "unknown_sessions",
    metadata,
    Column("role", Text, primary_key=True),
    Column("session_key", Text, primary_key=True),
    Column("first_seen_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

# Peers from which what an epoch of this node had lost was fetched.
recoveries = Table(
    "recoveries",
    metadata,
    Column("role", Text, primary_key=True),
    Column("peer", Text, primary_key=True),
    Column("epoch_id", Integer, primary_key=True),
    Column("completed_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
)

# All peers, former ones too. The name is a label; every other table that has a peer has its id.
peers = Table(
    "peers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("parties", Text, nullable=False),  # the keys of its OperatorIDs and ProviderIDs: a JSON list
    sqlite_with_rowid=False,
)

# The entries of peers that are not in the peers file, by their names as the file's are.
paired_peers = Table(
    "paired_peers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("paired_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

descriptors = Table(
    "descriptors",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("issued_at", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    # The ids of the pinned keys that this descriptor, or one before it, endorsed: a JSON list.
    Column("endorsed_keys", Text, nullable=False),
    # The fingerprints of those of its certificates that the peer has shown in a TLS handshake: a JSON list.
    Column("shown_certificates", Text, nullable=False, server_default=text("'[]'")),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

invitations = Table(
    "invitations",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("services", Text),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    # The key that has redeemed it, and the peer that it was redeemed for.
    Column("redeemed_by", Text),
    Column("peer", Text),
    sqlite_with_rowid=False,
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session_key", Text, nullable=False),
    Column("peer", Text, nullable=False, server_default=text("''")),
    Column("at", Float, nullable=False),
    Column("exchange", LargeBinary, nullable=False),
)
Index("evidence_by_session", evidence.c.session_key)

# The keys of the exchanges; they stay when their peer is removed. ``last_used_at`` may lag behind by a day.
evidence_keys = Table(
    "evidence_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("public_key", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("descriptor", LargeBinary),
    Column("last_used_at", Float, nullable=False),
    sqlite_with_rowid=False,
)


dataset_groups = Table(
    "dataset_groups",
    metadata,
    Column("dataset", Integer, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("group_key", Text, primary_key=True),
    Column("party", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("wrapper", LargeBinary, nullable=False),
    Column("wrapper_change", Integer, nullable=False),
    Column("wrapper_since", Float, nullable=False, server_default=text("0")),
    Column("last_change", Integer, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("last_request_digest", LargeBinary),
    sqlite_with_rowid=False,
)

dataset_records = Table(
    "dataset_records",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("dataset", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("filter_value", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_change", Integer, nullable=False),
    Column("change", Integer, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("deleted", Integer, nullable=False, server_default=text("0")),
    Column("raw", LargeBinary, nullable=False),
)
Index("dataset_records_by_key", dataset_records.c.dataset, dataset_records.c.key, dataset_records.c.source, unique=True)
Index(
    "dataset_records_by_group",
    dataset_records.c.dataset,
    dataset_records.c.source,
    dataset_records.c.group_key,
    dataset_records.c.change,
)
Index(
    "dataset_tombstones",
    dataset_records.c.dataset,
    dataset_records.c.changed_at,
    **_rows_where(dataset_records.c.deleted == 1),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("dataset", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("change", Integer, nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("deleted", Integer, nullable=False),
    Column("raw", LargeBinary),
)
Index("dataset_versions_by_key", dataset_versions.c.dataset, dataset_versions.c.key, dataset_versions.c.change)
Index("dataset_versions_by_age", dataset_versions.c.dataset, dataset_versions.c.until)

dataset_purges = Table(
    "dataset_purges",
    metadata,
    Column("dataset", Integer, primary_key=True),
    Column("change", Integer, nullable=False),
    Column("at", Float, nullable=False),
)

evse_index = Table(
    "evse_index",
    metadata,
    Column("record_id", Integer, primary_key=True),
    Column("evse_key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("operator_key", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("geo_cell", Integer),
    Column("accessibility", Text, nullable=False),
    Column("calibration_law_data", Text, nullable=False),
    Column("authentication_modes", Text, nullable=False),
    Column("renewable_energy", Integer),
    Column("hubject_compatible", Integer),
    Column("open_24_hours", Integer),
    Column("changed_at", Float, nullable=False),
    Column("deleted", Integer, nullable=False, server_default=text("0")),
)
# With the operator and what is withdrawn: a map counts a million records without reading them.
Index("evse_index_by_geo_cell", evse_index.c.geo_cell, evse_index.c.operator_key, evse_index.c.deleted)
Index("evse_index_by_time", evse_index.c.changed_at)
Index("evse_index_by_operator", evse_index.c.operator_key, evse_index.c.deleted)

identifications = Table(
    "identifications",
    metadata,
    Column("record_id", Integer, primary_key=True),
    Column("uid_key", Text),
    Column("evco_id_key", Text),
    Column("expires_at", Float),
)
Index("identifications_by_uid", identifications.c.uid_key)
Index("identifications_by_evco_id", identifications.c.evco_id_key)

# Imports behind their commit point (`storage.datasets.staging`).
imports = Table(
    "imports",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("changeset", LargeBinary, nullable=False),  # without its records, in MessagePack
    Column("last_change", Integer, nullable=False),  # the newest change before the import
    Column("spool_name", Text, nullable=False),  # the file that has its records
    Column("spool_size", Integer, nullable=False),
)

# In a backup only: the spool files of the imports that were under way, in blocks; ``position`` counts bytes.
spool = Table(
    "spool",
    metadata,
    Column("import_id", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
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
    Column("occurrences", Integer, nullable=False, server_default=text("1")),
)
Index("quarantine_unique", quarantine.c.source, quarantine.c.operation, quarantine.c.digest, unique=True)
Index("quarantine_by_age", quarantine.c.last_seen_at)

cursors = Table(
    "cursors",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("dataset", Integer, primary_key=True),
    Column("group_key", Text, primary_key=True),
    Column("change", Integer, nullable=False),
    sqlite_with_rowid=False,
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("dataset", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)


#: The newest revision; a test compares it with the migrations.
LATEST_REVISION: Final = "0002"
_MAX_DIFFERENCES = 3


def differences(columns: AbstractSet[tuple[str, str]]) -> str:
    """Return what differs between a database's columns (table and column) and this program's; empty: nothing.

    Between two releases a revision changes: a database that was written by a state in between has its number only.
    """
    expected = {(table.name, column.name) for table in metadata.sorted_tables for column in table.columns}
    found = [f"{table}.{column} is missing" for table, column in sorted(expected - columns)]
    found += [f"{table}.{column} is not known" for table, column in sorted(columns - expected)]
    return f"{', '.join(found[:_MAX_DIFFERENCES])}{' …' if len(found) > _MAX_DIFFERENCES else ''}"
