"""Backends have names, sessions the ids that they had before a clearing house gave them theirs, copies a filter."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rename the destination that a node had until 0.2.0 to ``backend:emp``, and create tables and a column.

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
    op.create_index("session_aliases_by_session", "session_aliases", ["role", "session_key"])
    op.create_table(
        "event_batches",
        sa.Column("first_number", sa.Integer(), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
    )
