"""What followed an experiment's verdict, and which units it takes: those whose place lies in [low, high)."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("experiments", sa.Column("concluded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("experiments", sa.Column("conclusion", sa.Text(), nullable=False, server_default=""))
    op.add_column("experiments", sa.Column("low", sa.Double(), nullable=False, server_default="0"))
    op.add_column("experiments", sa.Column("high", sa.Double(), nullable=False, server_default="1"))


def downgrade() -> None:
    with op.batch_alter_table("experiments") as changes:
        for name in ("high", "low", "conclusion", "concluded_at"):
            changes.drop_column(name)
