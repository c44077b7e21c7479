"""Backends have names, sessions ids from before a clearing house gave them theirs, copies a filter, failures causes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rename the destination that a node had until 0.2.0 to ``backend:emp``; create tables and columns.

    What waits for it is delivered to the short form (``emp_url``), or to the token list.
    """
    op.execute("UPDATE outbox SET destination = 'backend:emp' WHERE destination = 'backend emp'")
    op.execute("UPDATE destinations SET peer = 'backend:emp' WHERE peer = 'backend emp'")
    op.create_table(
        "session_aliases",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("alias_key", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("role", "alias_key"),
        sqlite_with_rowid=False,
    )
    op.add_column("destinations", sa.Column("publish", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.drop_index("sessions_by_state", "sessions")
    op.create_index("sessions_by_state", "sessions", ["state", "role", "updated_at"])
    op.drop_index("session_events_by_time", "session_events")
    op.drop_index("evse_index_by_geo_cell", "evse_index")
    op.create_index("evse_index_by_geo_cell", "evse_index", ["geo_cell", "operator_key", "deleted"])
    op.create_index("cdrs_by_state", "cdrs", ["state", "role"])
    op.create_index("cdrs_doubtful", "cdrs", ["role"], sqlite_where=sa.text("doubts IS NOT NULL"))
    op.create_index("sessions_listed", "sessions", ["created_at", "state", "role", "peer", "evse_key"])
    op.create_index("cdrs_listed", "cdrs", ["id", "state", "role", "peer", "unconfirmed", "received_at"])
    op.create_index("outbox_troubled", "outbox", ["destination", "state", "id"], sqlite_where=sa.text("attempts > 0"))
    op.create_index("session_aliases_by_session", "session_aliases", ["role", "session_key"])
    op.create_table(
        "event_batches",
        sa.Column("first_number", sa.Integer(), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "event_epochs",
        sa.Column("first_number", sa.Integer(), primary_key=True),
        sa.Column("epoch_id", sa.Integer(), nullable=False),
    )
    op.create_table(
        "webhooks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.add_column("outbox", sa.Column("last_cause", sa.Text()))
    op.add_column("destinations", sa.Column("last_cause", sa.Text()))
    op.add_column("destinations", sa.Column("failing_since", sa.Float()))
    op.execute("UPDATE destinations SET failing_since = coalesce(last_success_at, next_try_at) WHERE failures > 0")
    # How long the default price of an operator's products has been what it is, is known from now on.
    op.add_column("dataset_groups", sa.Column("wrapper_since", sa.Float(), nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE dataset_groups SET wrapper_since = updated_at")
    op.create_table(
        "refused_groups",
        sa.Column("peer", sa.Text(), primary_key=True),
        sa.Column("dataset", sa.Text(), primary_key=True),
        sa.Column("group_key", sa.Text(), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("refused_since", sa.Float(), nullable=False),
        sa.Column("next_try_at", sa.Float(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("last_cause", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pauses",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("peer"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ocpi_partners",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("registration", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_token", sa.LargeBinary()),
        sa.Column("token_hash", sa.LargeBinary()),
        sa.Column("token_until", sa.Float()),
        sa.Column("previous_token_hash", sa.LargeBinary()),
        sa.Column("previous_token_until", sa.Float()),
        sa.Column("spent_token_hash", sa.LargeBinary()),
        sa.Column("last_success_at", sa.Float()),
        sa.Column("last_failure_at", sa.Float()),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    _create_ocpi_tables()


def _create_ocpi_tables() -> None:
    """Create what is stored of OCPI partners besides their registration."""
    op.create_table(
        "ocpi_objects",
        sa.Column("partner", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("country_code", sa.Text(), primary_key=True),
        sa.Column("party_id", sa.Text(), primary_key=True),
        sa.Column("object_key", sa.Text(), primary_key=True),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("last_updated", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("session_key", sa.Text(), nullable=False, server_default=sa.text("''")),
    )
    op.create_table(
        "ocpi_evses",
        sa.Column("partner", sa.Text(), primary_key=True),
        sa.Column("location_key", sa.Text(), primary_key=True),
        sa.Column("uid_key", sa.Text(), primary_key=True),
        sa.Column("location_id", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("evse_key", sa.Text(), nullable=False),
        sa.Column("evse_id", sa.Text(), nullable=False),
        sa.Column("connectors", sa.Text(), nullable=False),
        sa.Column("capabilities", sa.Text(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
    )
    op.create_table(
        "ocpi_sessions",
        sa.Column("partner", sa.Text(), primary_key=True),
        sa.Column("session_key", sa.Text(), primary_key=True),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("ocpi_key", sa.Text()),
        sa.Column("ocpi_id", sa.Text()),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
    )
    op.create_table(
        "ocpi_commands",
        sa.Column("command_id", sa.Text(), primary_key=True),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=False),
        sa.Column("deadline", sa.Float(), nullable=False),
        sa.Column("response", sa.LargeBinary()),
        sa.Column("result", sa.LargeBinary()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ocpi_served",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("country_code", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("last_updated", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.Column("is_outstanding", sa.Integer(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ocpi_cursors",
        sa.Column("partner", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("last_updated", sa.Float()),
        sa.Column("pulled_at", sa.Float(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ocpi_findings",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("pointer", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
    )
    op.create_index("ocpi_objects_by_state", "ocpi_objects", ["state", "kind", "partner"])
    op.create_index("ocpi_objects_by_key", "ocpi_objects", ["partner", "kind", "object_key"])
    op.create_index("ocpi_evses_by_evse", "ocpi_evses", ["partner", "evse_key"])
    op.create_index("ocpi_sessions_by_ocpi_id", "ocpi_sessions", ["partner", "ocpi_key"])
    op.create_index("ocpi_sessions_by_time", "ocpi_sessions", ["partner", "opened_at"])
    op.create_index("ocpi_commands_by_time", "ocpi_commands", ["sent_at"])
    op.create_index(
        "ocpi_served_by_object",
        "ocpi_served",
        ["partner", "kind", "country_code", "party_id", "object_key"],
        unique=True,
    )
    op.create_index(
        "ocpi_served_outstanding", "ocpi_served", ["partner", "number"], sqlite_where=sa.text("is_outstanding = 1")
    )
    op.create_index(
        "ocpi_findings_unique", "ocpi_findings", ["partner", "kind", "object_key", "code", "pointer"], unique=True
    )
