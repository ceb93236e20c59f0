"""Will an order come back? A use case with personal columns that is trained in a second, scored into a database, and asked."""

from dataclasses import replace

from mlprod_tasks import declaration as ml
from tests.support.shop import ORDERS, RETURNS, SHOP, with_columns

ORDER = ml.Column("order_id", "text", "who placed it, and which", personal="hash")
CUSTOMER = ml.Column("customer", "text", "who ordered", personal="hash")
EMAIL = ml.Column("email", "text", "where to write", nullable=True, personal="drop")
AMOUNT = ml.Column("amount", "float", "price", min=0)

pipeline = replace(
    SHOP,
    name="orders",
    doc=__doc__,
    tables=(
        replace(with_columns(ORDERS, ORDER, AMOUNT, CUSTOMER, EMAIL), max_refused_share=0.2),
        with_columns(RETURNS, ORDER, CUSTOMER),
    ),
    features=(
        *(feature for feature in SHOP.features if feature.name != "weekday"),
        ml.Trailing(
            "customer", "returns", {"customer": "customer"}, (ml.days(28),), (ml.Count(), ml.Rate("return_rate", "returned"))
        ),
    ),
    model=replace(SHOP.model, search=ml.Search(trials=3, workers=1)),
    gates=(ml.AtLeast("roc_auc", 0.55), ml.NotWorseThanChampion("roc_auc", tolerance=0.2), ml.NoLeakageSuspicion()),
    watches=(ml.Watch("volume", high=0.1), ml.Watch("feature_psi", high=0.25), ml.Watch("score_psi", high=0.25)),
    # At the second tick that is monitored, always: so that there is a mail to lose or to send twice.
    rules=(ml.Rule("volume", "volume", "alert", breaches=2, of=2),),
    backtest=ml.Backtest(windows=2, step=ml.days(5)),
    publish=ml.Publish("business", "predictions"),
    serving=ml.Serving(log_seconds=0.2),
)
