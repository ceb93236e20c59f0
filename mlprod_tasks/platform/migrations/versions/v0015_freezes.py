"""Add when bandits were frozen, with which version of their state, and when they were thawed."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "bandit_freezes",
        sa.Column("pipeline", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("since", sa.String(length=17), nullable=False),
        sa.Column("until", sa.String(length=17), nullable=True),
        sa.Column("thawed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("thawed_by", sa.Text(), nullable=False),
        sa.Column("thaw_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "name", "at"),
    )


def downgrade() -> None:
    op.drop_table("bandit_freezes")
