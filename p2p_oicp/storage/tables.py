"""The tables of a node, defined once; migrations create them, statements are compiled from them.

Times are seconds since the epoch (UTC). ``*_key`` columns hold canonical ids (what ``Identifier.key`` gives), the
column beside it the text as it came. ``role`` is the role this node plays in the row: ``cpo`` or ``emp``; a node of a
company with both roles may hold both sides of one session. ``source`` is the peer a copy came from, empty for our own
state; ``storage.state`` tells what the tables of state mean.

Tables with long rows and random keys (sessions, CDRs) are ordinary rowid tables: a new row is appended, and only its
key goes to a random place. Without rowid the whole row does, which costs twice as much (docs/performance.md).
"""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text, text

metadata = MetaData()

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
    Column("peer", Text, nullable=False, server_default=text("''")),
    Column("cpo_partner_session_id", Text),
    Column("emp_partner_session_id", Text),
    Column("request_digest", LargeBinary, nullable=False),
    Column("named_here", Integer, nullable=False, server_default=text("0")),
    Column("answer", LargeBinary),
    Column("medium", Text, nullable=False, server_default=text("''")),
    Column("stop_media", Text, nullable=False, server_default=text("''")),
    Column("offline", Integer, nullable=False, server_default=text("0")),
    Column("progress_at", Float),
    Column("stop_digest", LargeBinary),
    Column("stop_answer", LargeBinary),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)
# A request that carried the SessionID is found by it; the others cost an index more, which takes a random page each.
Index(
    "sessions_by_request",
    sessions.c.request_digest,
    sessions.c.created_at,
    sqlite_where=sessions.c.named_here == 1,
)
Index("sessions_by_state", sessions.c.state, sessions.c.updated_at)

# Who said yes to a card last time, so that not everybody is asked again.
cards = Table(
    "cards",
    metadata,
    Column("uid_key", Text, primary_key=True),
    Column("peer", Text, nullable=False),
    Column("seen_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

# The drivers of an EMP without a backend: a UID, or an EvcoID with the bcrypt hash of its PIN.
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
    Column("digest", LargeBinary),  # of a message that counts once, however often it comes
)
Index(
    "session_events_of_session",
    session_events.c.role,
    session_events.c.session_key,
    session_events.c.digest,
    unique=True,
)
Index("session_events_by_time", session_events.c.at)

# ``id`` is the order of arrival: pages in this order do not move while records are added.
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
    sqlite_autoincrement=True,
)
Index("cdrs_of_session", cdrs.c.role, cdrs.c.session_key, unique=True)
Index("cdrs_of_provider", cdrs.c.role, cdrs.c.provider_key, cdrs.c.id)

# Up to which time (of SessionEnd) a CPO peer was asked for records that never came.
reconciled = Table(
    "reconciled",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("until", Float, nullable=False),
    sqlite_with_rowid=False,
)

refused_cdrs = Table(
    "refused_cdrs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("role", Text, nullable=False),
    Column("session_key", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
Index("refused_cdrs_once", refused_cdrs.c.role, refused_cdrs.c.session_key, refused_cdrs.c.digest, unique=True)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("party", Text),
    Column("role", Text, nullable=False),
    Column("session_key", Text, nullable=False),
    Column("topic", Text, nullable=False, server_default=text("''")),  # a newer letter of it makes this one needless
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_try_at", Float, nullable=False),
    Column("last_error", Text),
    sqlite_autoincrement=True,
)
Index("outbox_in_order", outbox.c.destination, outbox.c.state, outbox.c.id)
Index("outbox_of_session", outbox.c.destination, outbox.c.state, outbox.c.session_key, outbox.c.id)

destinations = Table(
    "destinations",
    metadata,
    Column("name", Text, primary_key=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("next_try_at", Float, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("last_kind", Text),  # the class of the last error
    Column("last_success_at", Float),
    Column("store_id", Integer),  # which store the peer had when we last met it
    Column("knew_another", Integer, nullable=False, server_default=text("0")),  # it has met an earlier store of ours
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
)

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
    Column("learned_at", Float, nullable=False),
    Column("pins", Text, nullable=False),  # ids of the pinned keys that it, or one before it, named: a JSON list
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
    Column("used_by", Text),
    sqlite_with_rowid=False,
)

known_peers = Table(
    "known_peers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("parties", Text, nullable=False),
    sqlite_with_rowid=False,
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session_key", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("exchange", LargeBinary, nullable=False),
)
Index("evidence_of_session", evidence.c.session_key)

# What signed it, one row a key: a peer that was removed has signed all the same. ``used_at`` is a day old at most.
evidence_keys = Table(
    "evidence_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("public_key", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("descriptor", LargeBinary),
    Column("used_at", Float, nullable=False),
    sqlite_with_rowid=False,
)
