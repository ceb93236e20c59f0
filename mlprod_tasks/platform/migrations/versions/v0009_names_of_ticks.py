"""Keep the names of ticks as text: a tick within a day is not named by a date."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

COLUMNS = {
    "audits": {"tick": False},
    "decisions": {"tick": False},
    "experiment_readings": {"tick": False},
    "experiments": {"starts": False, "ends": False, "ended": True},
    "interventions": {"tick": True},
    "mails": {"tick": True},
    "measurements": {"tick": False},
    "promotions": {"effective": False, "decided_at": True},
    "publications": {"tick": False},
    "scorings": {"tick": False},
    "trainings": {"as_of": False, "decided_at": True},
}
TEXT, DATE = sa.String(length=17), sa.Date()


def upgrade() -> None:
    # SQLite keeps dates as their ISO text, so the values stay; PostgreSQL writes them in that form.
    for table, columns in COLUMNS.items():
        with op.batch_alter_table(table) as changes:
            for name, nullable in columns.items():
                changes.alter_column(
                    name, type_=TEXT, existing_type=DATE, existing_nullable=nullable,
                    postgresql_using=f"to_char({name}, 'YYYY-MM-DD')",
                )  # fmt: skip


def downgrade() -> None:
    # What is about ticks within a day has no place in the earlier form.
    for table, columns in COLUMNS.items():
        for name in columns:
            op.execute(sa.text(f"DELETE FROM {table} WHERE length({name}) > 10"))
        if op.get_bind().dialect.name == "sqlite":
            continue  # it would cast a text to a number; a column declared as text holds dates as well
        with op.batch_alter_table(table) as changes:
            for name, nullable in columns.items():
                changes.alter_column(
                    name, type_=DATE, existing_type=TEXT, existing_nullable=nullable, postgresql_using=f"{name}::date"
                )
