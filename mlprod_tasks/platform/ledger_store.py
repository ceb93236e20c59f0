"""Store the ledger's entries in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, delete, event, func, inspect, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session

from mlprod_tasks.platform.database import as_json, database_url, reason
from mlprod_tasks.platform.files import locked
from mlprod_tasks.platform.ledger import R, Row
from mlprod_tasks.platform.write_ahead import write_ahead

VANISHED = {
    "connect_timeout": 10, "tcp_user_timeout": 20_000, "keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3,
}  # fmt: skip


class LedgerUnreachable(ConnectionError):
    """The ledger's database does not answer, or stopped in the middle.

    The message says which, why, and what to do.
    """


class Ledger:
    """Reads and writes ledger entries in SQLite (write-ahead log) or PostgreSQL.

    Everything but `answers` raises LedgerUnreachable if the database does not answer.
    """

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite:///") and url != "sqlite:///":
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        parsed = database_url(url)
        # A host that has vanished sends no error: without these timeouts a call would wait for minutes.
        patience = VANISHED if parsed.drivername.startswith("postgresql") else {}
        self.engine: Engine = create_engine(
            parsed, pool_pre_ping=True, json_serializer=as_json, connect_args=patience, hide_parameters=True
        )
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _patient_sqlite)

    def migrate(self) -> None:
        """Migrate the database to the newest schema; does nothing if it is up to date."""
        from mlprod_tasks.platform.migrations import upgrade

        with self._reached():
            upgrade(self.engine)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a transaction: it commits at the end and rolls back on any exception."""
        with self._reached(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def exclusive(self, name: str) -> Iterator[Session]:
        """Open a transaction that waits for others of the same name.

        What it reads does not change until it commits.
        """
        with self.session() as session:
            if self.engine.dialect.name == "postgresql":
                session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
            else:
                session.execute(text("BEGIN IMMEDIATE"))
            yield session

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait until no other process has a turn of that name, and let others wait. It ends with the process.

        Unlike in `exclusive`, everybody reads and writes meanwhile, also whoever has the turn. name: as of a file.
        """
        if self.engine.dialect.name == "postgresql":
            with self.exclusive(f"turn {name}"):
                yield
        else:
            with locked(Path(f"{self.engine.url.database}.{name}.lock")):
                yield

    def put(self, *rows: Row) -> None:
        """Write entries in one transaction.

        Entries with the same primary key are replaced; of two of `rows` with the same one, the last is kept.
        """
        with self.session() as session:
            self._write(session, rows)

    def put_instead(self, kind: type[Row], rows: Sequence[Row], **where: Any) -> None:
        """Replace all entries of `kind` that match `where` by `rows`, in one transaction."""
        with self.session() as session:
            session.execute(delete(kind).filter_by(**where))
            self._write(session, rows)

    def add_once(self, row: Row) -> bool:
        """Write an entry unless one with its primary key exists.

        Returns whether it was written.
        """
        kind = type(row)
        with self.session() as session:
            result = session.execute(self._insert(kind).values(**_values(row)).on_conflict_do_nothing())
            return bool(result.rowcount)  # type: ignore[attr-defined]

    def get(self, kind: type[R], /, *key: Any) -> R | None:
        """The entry with this primary key; None if there is none."""
        with self.session() as session:
            return session.get(kind, key if len(key) > 1 else key[0])

    def all(self, kind: type[R], /, *conditions: Any, **where: Any) -> list[R]:
        """All matching entries, in the order of their primary keys."""
        query = select(kind).filter_by(**where).order_by(*inspect(kind).primary_key)
        with self.session() as session:
            return list(session.scalars(query.where(*conditions) if conditions else query))

    def answers(self) -> bool:
        """Whether the database can be reached. Raises the driver's error if it cannot."""
        with self.engine.connect() as connection:
            return connection.execute(text("SELECT 1")).scalar() == 1

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            # A malformed file is a DatabaseError of no finer class; the others are about the rows.
            if not isinstance(error, OperationalError) and type(error) is not DatabaseError:
                raise
            raise LedgerUnreachable(
                f"the ledger, {self.engine.url!r}, does not answer: {reason(error)}. Check that its database is running and "
                "MLPROD_LEDGER_URL, then run again: what was written before is kept"
            ) from None  # the driver's own message may show values

    def _insert(self, kind: type[Row]) -> Any:
        if self.engine.dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(kind)
        return sqlite.insert(kind)

    def _write(self, session: Session, rows: Sequence[Row]) -> None:
        """Write entries, those of a kind together: a statement for each would take most of the time of many small ticks."""
        kinds: dict[type[Row], dict[tuple[Any, ...], dict[str, Any]]] = {}
        for row in rows:
            # PostgreSQL refuses a statement that writes a key twice.
            key = tuple(inspect(type(row)).primary_key_from_instance(row))
            kinds.setdefault(type(row), {})[key] = _values(row)
        for kind, values in kinds.items():
            session.execute(self._upsert(kind), list(values.values()), execution_options={"render_nulls": True})

    def _upsert(self, kind: type[Row]) -> Any:
        insert = self._insert(kind)
        keys = [column.name for column in inspect(kind).primary_key]
        changed = {column.name: insert.excluded[column.name] for column in kind.__table__.columns if column.name not in keys}
        return insert.on_conflict_do_update(index_elements=keys, set_=changed)


def _values(row: Row) -> dict[str, Any]:
    return {attribute.key: getattr(row, attribute.key) for attribute in inspect(type(row)).column_attrs}


def _patient_sqlite(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA busy_timeout=30000")
    write_ahead(connection)
