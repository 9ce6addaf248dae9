"""How alembic runs our migrations: on the connection that `infra.postgres.schema` hands it, in one transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
