"""Count rows that equal another row of their tick, where rows have no key."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("audits", sa.Column("rows_repeated", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("audits") as changes:
        changes.drop_column("rows_repeated")
