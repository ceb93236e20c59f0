"""Alembic migrations of the ledger, run in the process that needs them."""

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

HEAD = "0016"
logging.getLogger("alembic").setLevel(logging.WARNING)
LOCK = 7_214_013  # any constant: two processes that start together must not both create the tables


def upgrade(engine: Engine) -> None:
    """Migrate the ledger to HEAD; does nothing if it is up to date.

    It is safe if several processes start at once.
    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # a second process waits here and then has nothing to do
        if _revision(connection) != HEAD:
            # Imported only here, because nearly all processes find an up-to-date ledger.
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version_mlprod"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version_mlprod")).scalar()
    return revision
