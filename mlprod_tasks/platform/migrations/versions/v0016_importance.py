"""Keep with a training what each feature is to its model, so that a page needs no copy of the model."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("trainings", sa.Column("importance", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    with op.batch_alter_table("trainings") as changes:
        changes.drop_column("importance")
