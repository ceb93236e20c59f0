"""Let people decide classes: what the model said of a row, and the class that it is."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("reviews", sa.Column("prediction", sa.Text(), nullable=True))
    op.add_column("reviews", sa.Column("decided_class", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("reviews") as changes:
        for name in ("decided_class", "prediction"):
            changes.drop_column(name)
