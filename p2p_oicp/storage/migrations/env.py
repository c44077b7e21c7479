"""Alembic's entry point: runs the migrations on the connection that `upgrade` passes in."""

from alembic import context

from p2p_oicp.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
