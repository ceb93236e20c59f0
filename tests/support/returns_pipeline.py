"""A small use case that declares all that the train DAG can do: search by two workers, segments, a person's approval."""

from datetime import date, time

from mlprod_tasks import declaration as ml

orders = ml.Table(
    "orders",
    ml.Database("shop", "orders"),
    key=("order_id",),
    time="placed_at",
    ticks_ahead=1,
    columns=(
        ml.Column("order_id", "int", "the order"),
        ml.Column("placed_at", "timestamp", "when"),
        ml.Column("channel", "text", "web, app or phone"),
        ml.Column("amount", "float", "price"),
    ),
)
returned = ml.Table(
    "returned",
    ml.Database("shop", "returned"),
    key=("order_id",),
    time="settled_at",
    columns=(
        ml.Column("order_id", "int", "the order"),
        ml.Column("settled_at", "timestamp", "when the time to return it was over"),
        ml.Column("returned", "bool", "whether it came back"),
    ),
)

pipeline = ml.Pipeline(
    name="returns",
    doc="Will an order come back?",
    owner="shop",
    alert_to=("shop@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="UTC", starts=date(2024, 1, 1)),
    tables=(orders, returned),
    entity="orders",
    features=(
        ml.Expression("channel", "channel", "text", "web, app or phone"),
        ml.Expression("amount", "amount", "float", "price"),
    ),
    label=ml.Label("returned", {"order_id": "order_id"}, "returned", delay=ml.days(1)),
    split=ml.Split(validation=ml.days(4), test=ml.days(4), gap=ml.days(1)),
    model=ml.Model(
        candidates=(ml.LightGBM(learning_rate=0.2, num_leaves=7, max_trees=10, min_data_in_leaf=20),),
        segment_by="channel",
        least_segment_rows=500,
        search=ml.Search(trials=2, workers=2, space={"num_leaves": ml.OneOf((7, 15))}),
        threads=1,
    ),
    fallback=ml.RateTable(by=("channel",)),
    value=ml.CostMatrix(true_positive=10, false_positive=-4),
    gates=(ml.AtLeast("roc_auc", 0.6),),
    kpi=ml.Kpi("value_per_1000_orders", "1000 * avg(value)", "saved by acting"),
    watches=(),
    rules=(),
    retraining=ml.Retraining(cooldown=ml.days(7)),
    approval=ml.Approval(wait=ml.hours(1)),
)
