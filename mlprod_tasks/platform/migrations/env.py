"""Entry point of Alembic: migrates over the given connection."""

from alembic import context

from mlprod_tasks.platform.ledger import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    version_table="alembic_version_mlprod",  # the ledger may share a database with others that use Alembic
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
