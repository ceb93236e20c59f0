"""Will an order come back? A use case that is trained in seconds, and asks the online store for each customer."""

from datetime import date, time

from mlprod_tasks import declaration as ml

orders = ml.Table(
    "orders",
    ml.Database("shop", "orders"),
    key=("order_id",),
    time="placed_at",
    ticks_ahead=1,
    columns=(
        ml.Column("order_id", "text", "the order"),
        ml.Column("placed_at", "timestamp", "when"),
        ml.Column("customer", "text", "who ordered"),
        ml.Column("channel", "text", "web, app or phone"),
        ml.Column("amount", "float", "price"),
        ml.Column("items", "int", "how many"),
    ),
)
returns = ml.Table(
    "returns",
    ml.Database("shop", "returns"),
    key=("order_id",),
    time="settled_at",
    columns=(
        ml.Column("order_id", "text", "the order"),
        ml.Column("settled_at", "timestamp", "when the time to return it was over"),
        ml.Column("customer", "text", "who ordered"),
        ml.Column("returned", "bool", "whether it came back"),
    ),
)

pipeline = ml.Pipeline(
    name="returns",
    doc=__doc__,
    owner="shop",
    alert_to=("shop@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=date(2024, 1, 1)),
    tables=(orders, returns),
    entity="orders",
    features=(
        ml.Expression("channel", "channel", "text", "web, app or phone"),
        ml.Expression("amount", "amount", "float", "price"),
        ml.Expression("items", "items", "int", "how many"),
        ml.Trailing(
            "customer", "returns", {"customer": "customer"}, (ml.days(28),), (ml.Count(), ml.Rate("return_rate", "returned"))
        ),
    ),
    label=ml.Label("returns", {"order_id": "order_id"}, "returned", delay=ml.days(2)),
    split=ml.Split(validation=ml.days(6), test=ml.days(7), gap=ml.days(2)),
    model=ml.Model(
        candidates=(ml.LightGBM(learning_rate=0.1, max_trees=60, min_data_in_leaf=30),),
        categorical=("channel",),
        threads=1,
        seed=1,
    ),
    fallback=ml.RateTable(by=("channel",)),
    value=ml.CostMatrix(true_positive=10, false_positive=-4),
    gates=(ml.AtLeast("roc_auc", 0.6),),
    kpi=ml.Kpi("value_per_1000_orders", "1000 * avg(value)", "saved by acting"),
    watches=(),
    rules=(),
    retraining=ml.Retraining(cooldown=ml.days(7)),
    serving=ml.Serving(),
)
