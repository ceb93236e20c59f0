"""A salt for each rollout; those that were there keep their entities."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("rollouts") as table:
        table.add_column(sa.Column("salt", sa.String(length=16), nullable=False, server_default=""))
    with op.batch_alter_table("rollouts") as table:
        table.alter_column("salt", server_default=None)  # what is written says it itself


def downgrade() -> None:
    with op.batch_alter_table("rollouts") as table:
        table.drop_column("salt")
