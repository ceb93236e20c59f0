"""Will an order come back? A use case that is trained in seconds, and asks the online store for each customer."""

from dataclasses import replace

from mlprod_tasks import declaration as ml
from tests.support.shop import ORDERS, RETURNS, SHOP, with_columns

CUSTOMER = ml.Column("customer", "text", "who ordered")
RETURN_RATE = ml.Rate("return_rate", "returned")

pipeline = replace(
    SHOP,
    tables=(with_columns(ORDERS, CUSTOMER), with_columns(RETURNS, CUSTOMER)),
    features=(
        *(feature for feature in SHOP.features if feature.name != "weekday"),
        ml.Trailing("customer", "returns", {"customer": "customer"}, (ml.days(28),), (ml.Count(), RETURN_RATE)),
    ),
    gates=(ml.AtLeast("roc_auc", 0.6),),
    serving=ml.Serving(),
)
