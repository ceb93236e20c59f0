"""Add intervals and causes to measurements; add step runs and interventions."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("measurements") as table:
        table.add_column(sa.Column("interval_low", sa.Double(), nullable=True))
        table.add_column(sa.Column("interval_high", sa.Double(), nullable=True))
        table.add_column(sa.Column("cause", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("important", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("measurements") as table:
        table.alter_column("cause", server_default=None)  # new entries always give a value
        table.alter_column("important", server_default=None)
    with op.batch_alter_table("decisions") as table:
        table.add_column(sa.Column("retrain", sa.Boolean(), nullable=False, server_default=sa.false()))
    decisions = sa.table("decisions", sa.column("action", sa.String), sa.column("retrain", sa.Boolean))
    op.execute(decisions.update().where(decisions.c.action == "retrain").values(retrain=True))
    with op.batch_alter_table("decisions") as table:
        table.alter_column("retrain", server_default=None)
    op.create_index("ix_measurements_what", "measurements", ["pipeline", "what", "tick"])
    op.create_table(
        "step_runs",
        sa.Column("pipeline", sa.String(length=63), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("waited_seconds", sa.Double(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("peak_mb", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("pipeline", "step", "subject", "at"),
    )
    op.create_index("ix_step_runs_subject", "step_runs", ["pipeline", "subject"])
    op.create_table(
        "interventions",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("pipeline", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tick", sa.Date(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_interventions_pipeline"), "interventions", ["pipeline"])


def downgrade() -> None:
    op.drop_index(op.f("ix_interventions_pipeline"), "interventions")
    op.drop_table("interventions")
    op.drop_index("ix_step_runs_subject", "step_runs")
    op.drop_table("step_runs")
    op.drop_index("ix_measurements_what", "measurements")
    with op.batch_alter_table("decisions") as table:
        table.drop_column("retrain")
    with op.batch_alter_table("measurements") as table:
        table.drop_column("important")
        table.drop_column("cause")
        table.drop_column("interval_high")
        table.drop_column("interval_low")
