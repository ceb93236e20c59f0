"""Add approvals: who approved or rejected a model, and when."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("training_id", sa.String(length=63), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("pipeline", sa.String(length=63), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("training_id", "model_digest"),
    )
    op.create_index(op.f("ix_approvals_pipeline"), "approvals", ["pipeline"])


def downgrade() -> None:
    op.drop_index(op.f("ix_approvals_pipeline"), "approvals")
    op.drop_table("approvals")
