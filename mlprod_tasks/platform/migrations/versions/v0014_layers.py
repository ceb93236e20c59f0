"""Let several experiments of a use case run at once, each with units of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    # Experiments before had all units.
    op.add_column("experiments", sa.Column("layer_salt", sa.String(16), nullable=False, server_default=""))
    op.add_column("experiments", sa.Column("units_from", sa.Double(), nullable=False, server_default="0"))
    op.add_column("experiments", sa.Column("units_to", sa.Double(), nullable=False, server_default="1"))


def downgrade() -> None:
    with op.batch_alter_table("experiments") as changes:
        for name in ("units_to", "units_from", "layer_salt"):
            changes.drop_column(name)
