"""Run by Alembic: migrates the connection that `keywheel.db.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from keywheel.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
