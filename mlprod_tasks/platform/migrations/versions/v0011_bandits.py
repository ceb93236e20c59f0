"""Add bandits, what they knew, and by which version of that they gave the rows of a tick their arms."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "bandits",
        sa.Column("pipeline", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("salt", sa.String(length=16), nullable=False),
        sa.Column("starts", sa.String(length=17), nullable=False),
        sa.Column("ends", sa.String(length=17), nullable=True),
        sa.Column("ended", sa.String(length=17), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=False),
        sa.Column("end_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "name"),
    )
    op.create_table(
        "bandit_states",
        sa.Column("pipeline", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("through", sa.String(length=17), nullable=False),
        sa.Column("tick", sa.String(length=17), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rewards", sa.JSON(), nullable=False),
        sa.Column("best", sa.JSON(), nullable=False),
        sa.Column("shares", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "name", "version"),
    )
    op.create_table(
        "bandit_ticks",
        sa.Column("pipeline", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("tick", sa.String(length=17), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "name", "tick"),
    )


def downgrade() -> None:
    op.drop_table("bandit_ticks")
    op.drop_table("bandit_states")
    op.drop_table("bandits")
