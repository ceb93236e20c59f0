"""Alembic migrations of the ledger, run in the process that needs them."""

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

HEAD = "0007"
logging.getLogger("alembic").setLevel(logging.WARNING)
LOCK = 7_214_013  # any constant: two processes that start together must not both create the tables


def upgrade(engine: Engine) -> None:
    """Bring the ledger to HEAD; does nothing where it is there. Safe when several processes start at once."""
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # the second process waits here, then finds the work done
        if _revision(connection) != HEAD:
            # Loaded only here: a process that finds the ledger as it should be, as nearly all do, goes without.
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version_mlprod"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version_mlprod")).scalar()
    return found
