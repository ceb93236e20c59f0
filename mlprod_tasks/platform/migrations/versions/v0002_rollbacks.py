"""Allow several promotions of a version from the same tick on.

A rollback records the version that it withdrew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

KEPT = "pipeline, model_version, effective, training_id, reason, at"


def upgrade() -> None:
    # Adds the time to the primary key; SQLite can only do this by creating a new table.
    op.rename_table("promotions", "promotions_before")
    _create("at", sa.Column("rolled_back_from", sa.Integer(), nullable=True))
    op.execute(f"INSERT INTO promotions ({KEPT}) SELECT {KEPT} FROM promotions_before")
    op.drop_table("promotions_before")


def downgrade() -> None:
    op.rename_table("promotions", "promotions_after")
    _create()
    last = "SELECT max(b.at) FROM promotions_after b WHERE (a.pipeline, a.model_version, a.effective)"
    last += " = (b.pipeline, b.model_version, b.effective)"
    op.execute(f"INSERT INTO promotions ({KEPT}) SELECT {KEPT} FROM promotions_after a WHERE a.at = ({last})")
    op.drop_table("promotions_after")


def _create(also_key: str = "", *more: sa.Column) -> None:
    key = ("pipeline", "model_version", "effective", *([also_key] if also_key else []))
    op.create_table(
        "promotions",
        sa.Column("pipeline", sa.String(length=63), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("effective", sa.Date(), nullable=False),
        sa.Column("training_id", sa.String(length=63), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *more,
        sa.PrimaryKeyConstraint(*key),
    )
