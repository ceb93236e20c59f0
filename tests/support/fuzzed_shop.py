"""The small shop with a column of each type, bound and list of values, and features that compute with them."""

from dataclasses import replace

from mlprod_tasks import declaration as ml
from tests.support.shop import ORDERS, RETURNS, SHOP, with_columns

ASKED = replace(
    SHOP,
    tables=(
        with_columns(
            ORDERS,
            ml.Column("country", "text", "where to", values=("CH", "DE", "FR")),
            ml.Column("packing", "text", "how it is packed", values=("box", "bag"), nullable=True),
            ml.Column("weight", "float", "kilograms", min=0, max=100, nullable=True),
            ml.Column("lines", "int", "of the order", min=1, max=99),
            ml.Column("gift", "bool", "whether it is a gift", nullable=True),
            ml.Column("wished", "date", "when it is to be there", nullable=True),
            ml.Column("paid_at", "timestamp", "when it was paid", nullable=True),
            ml.Column("settled", "bool", "whether it came back", nullable=True, known_at="paid_at"),
            ml.Column("street", "text", "a person's", nullable=True, personal="drop"),
        ),
        RETURNS,
    ),
    features=(
        *SHOP.features,
        ml.Expression("per_line", "amount / lines", "float", "price of a line"),
        ml.Expression("heavy", "weight * items", "float", "of all"),
        ml.Expression("as_gift", "gift", "bool", "whether it is a gift"),
        ml.Expression("packed", "packing", "text", "how"),
        ml.Expression("ahead", "wished - CAST(placed_at AS DATE)", "int", "days"),
        ml.Expression("paid_after", "extract(epoch FROM paid_at - placed_at) / 60", "float", "minutes"),
        ml.Expression("abroad", "country <> 'CH'", "bool", "whether it leaves the country"),
    ),
)
