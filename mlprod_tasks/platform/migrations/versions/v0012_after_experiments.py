"""Note what followed the verdict of an experiment."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("experiments", sa.Column("concluded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("experiments", sa.Column("conclusion", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("experiments") as changes:
        for name in ("conclusion", "concluded_at"):
            changes.drop_column(name)
