"""Our own backends have names: the one that a node had until 0.2.0 is ``backend:emp`` now."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rename its destination: what waits for it is delivered to the short form (``emp_url``), or to the token list."""
    op.execute("UPDATE outbox SET destination = 'backend:emp' WHERE destination = 'backend emp'")
    op.execute("UPDATE destinations SET peer = 'backend:emp' WHERE peer = 'backend emp'")
