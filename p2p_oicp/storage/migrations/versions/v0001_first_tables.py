"""Create the tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "store_epochs",
        sa.Column("epoch_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("copied_from", sa.Integer(), nullable=True),
        sa.Column("lost_since", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("epoch_id"),
    )
    op.create_table(
        "peer_epochs",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("epoch_id", sa.Integer(), nullable=False),
        sa.Column("copied_from", sa.Integer(), nullable=True),
        sa.Column("lost_since", sa.Float(), nullable=True),
        sa.Column("lost_until", sa.Float(), nullable=True),
        sa.Column("proved", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "epoch_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "unknown_sessions",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("role", "session_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "recoveries",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("epoch_id", sa.Integer(), nullable=False),
        sa.Column("completed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("role", "peer", "epoch_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("changeset", sa.LargeBinary(), nullable=False),
        sa.Column("last_change", sa.Integer(), nullable=False),
        sa.Column("spool_name", sa.Text(), nullable=False),
        sa.Column("spool_size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "uid_routes",
        sa.Column("uid_key", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("authorized_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("uid_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cdrs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("operator_key", sa.Text(), nullable=False),
        sa.Column("provider_key", sa.Text(), nullable=False),
        sa.Column("session_end", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("forwarded_at", sa.Float(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("unconfirmed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("doubts", sa.Text(), nullable=True),
        sa.Column("verdict_code", sa.Text(), nullable=True),
        sa.Column("verdict_text", sa.Text(), nullable=True),
        sa.Column("verdict_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("cdrs_by_provider", "cdrs", ["role", "provider_key", "id"], unique=False)
    op.create_index("cdrs_by_session", "cdrs", ["role", "session_key"], unique=True)
    op.create_index("cdrs_unconfirmed", "cdrs", ["role", "id"], unique=False, sqlite_where=sa.text("unconfirmed = 1"))
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "cursors",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Integer(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "dataset", "group_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "descriptors",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("endorsed_keys", sa.Text(), nullable=False),
        sa.Column("shown_certificates", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("peer"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "destinations",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_try_at", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_error_type", sa.Text(), nullable=True),
        sa.Column("last_success_at", sa.Float(), nullable=True),
        sa.Column("store_epoch", sa.Integer(), nullable=True),
        sa.Column("extensions", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.PrimaryKeyConstraint("peer", "dataset"),
    )
    op.create_table(
        "evidence",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("exchange", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("evidence_by_session", "evidence", ["session_key"], unique=False)
    op.create_table(
        "evidence_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("descriptor", sa.LargeBinary(), nullable=True),
        sa.Column("last_used_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evse_index",
        sa.Column("record_id", sa.Integer(), nullable=False),
        sa.Column("evse_key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("operator_key", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("geo_cell", sa.Integer(), nullable=True),
        sa.Column("accessibility", sa.Text(), nullable=False),
        sa.Column("calibration_law_data", sa.Text(), nullable=False),
        sa.Column("authentication_modes", sa.Text(), nullable=False),
        sa.Column("renewable_energy", sa.Integer(), nullable=True),
        sa.Column("hubject_compatible", sa.Integer(), nullable=True),
        sa.Column("open_24_hours", sa.Integer(), nullable=True),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("deleted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("record_id"),
    )
    op.create_index("evse_index_by_geo_cell", "evse_index", ["geo_cell"], unique=False)
    op.create_index("evse_index_by_time", "evse_index", ["changed_at"], unique=False)
    op.create_index("evse_index_by_operator", "evse_index", ["operator_key", "deleted"], unique=False)
    op.create_table(
        "identifications",
        sa.Column("record_id", sa.Integer(), nullable=False),
        sa.Column("uid_key", sa.Text(), nullable=True),
        sa.Column("evco_id_key", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("record_id"),
    )
    op.create_index("identifications_by_evco_id", "identifications", ["evco_id_key"], unique=False)
    op.create_index("identifications_by_uid", "identifications", ["uid_key"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("services", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("redeemed_by", sa.Text(), nullable=True),
        sa.Column("peer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "spool",
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("import_id", "position"),
    )
    op.create_table(
        "peers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parties", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("sender_id", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.Column("coalesce_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_try_at", sa.Float(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_by_destination", "outbox", ["destination", "state", "id"], unique=False)
    op.create_index("outbox_by_session", "outbox", ["destination", "state", "session_key", "id"], unique=False)
    op.create_table(
        "paired_peers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("paired_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("findings", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.Column("last_seen_at", sa.Float(), nullable=False),
        sa.Column("occurrences", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("quarantine_by_age", "quarantine", ["last_seen_at"], unique=False)
    op.create_index("quarantine_unique", "quarantine", ["source", "operation", "digest"], unique=True)
    op.create_table(
        "cdr_reconciliations",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("peer"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "conflicting_cdrs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("conflicting_cdrs_unique", "conflicting_cdrs", ["role", "session_key", "digest"], unique=True)
    op.create_table(
        "session_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("session_events_by_time", "session_events", ["at"], unique=False)
    op.create_index("session_events_by_session", "session_events", ["role", "session_key", "digest"], unique=True)
    op.create_table(
        "sessions",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("session_key", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("operator_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("operator_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("provider_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("provider_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("evse_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("evse_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("peer", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("cpo_partner_session_id", sa.Text(), nullable=True),
        sa.Column("emp_partner_session_id", sa.Text(), nullable=True),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("id_generated_here", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("start_response", sa.LargeBinary(), nullable=True),
        sa.Column("identification_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("stop_identification_keys", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("offline", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("progress_at", sa.Float(), nullable=True),
        sa.Column("stop_digest", sa.LargeBinary(), nullable=True),
        sa.Column("stop_response", sa.LargeBinary(), nullable=True),
        sa.Column("unconfirmed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("role", "session_key"),
    )
    op.create_index(
        "sessions_by_request",
        "sessions",
        ["request_digest", "created_at"],
        unique=False,
        sqlite_where=sa.text("id_generated_here = 1"),
    )
    op.create_index("sessions_by_state", "sessions", ["state", "updated_at"], unique=False)
    op.create_table(
        "dataset_groups",
        sa.Column("dataset", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("wrapper", sa.LargeBinary(), nullable=False),
        sa.Column("wrapper_change", sa.Integer(), nullable=False),
        sa.Column("last_change", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("last_request_digest", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("dataset", "source", "group_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dataset_records",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("filter_value", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_change", sa.Integer(), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("deleted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("dataset_records_by_key", "dataset_records", ["dataset", "key", "source"], unique=True)
    op.create_index(
        "dataset_records_by_group", "dataset_records", ["dataset", "source", "group_key", "change"], unique=False
    )
    op.create_index(
        "dataset_tombstones",
        "dataset_records",
        ["dataset", "changed_at"],
        unique=False,
        sqlite_where=sa.text("deleted = 1"),
    )
    op.create_table(
        "dataset_purges",
        sa.Column("dataset", sa.Integer(), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("dataset"),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("deleted", sa.Integer(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("dataset_versions_by_age", "dataset_versions", ["dataset", "until"], unique=False)
    op.create_index("dataset_versions_by_key", "dataset_versions", ["dataset", "key", "change"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("token_key", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("pin_hash", sa.LargeBinary(), nullable=True),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("token_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "watermarks",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "dataset"),
        sqlite_with_rowid=False,
    )
