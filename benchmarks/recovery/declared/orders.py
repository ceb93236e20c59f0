"""Will an order come back? A use case with personal columns that is trained in a second, scored into a database, and asked."""

from datetime import date, time

from mlprod_tasks import declaration as ml

CUSTOMER = ml.Column("customer", "text", "who ordered", personal="hash")

pipeline = ml.Pipeline(
    name="orders",
    doc=__doc__,
    owner="shop",
    alert_to=("shop@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=date(2024, 1, 1)),
    tables=(
        ml.Table(
            "orders",
            ml.Database("shop", "orders"),
            key=("order_id",),
            time="placed_at",
            ticks_ahead=1,
            max_refused_share=0.2,
            columns=(
                ml.Column("order_id", "text", "who placed it, and which", personal="hash"),
                ml.Column("placed_at", "timestamp", "when"),
                CUSTOMER,
                ml.Column("email", "text", "where to write", nullable=True, personal="drop"),
                ml.Column("channel", "text", "web, app or phone", nullable=True),
                ml.Column("amount", "float", "price", min=0),
                ml.Column("items", "int", "how many"),
            ),
        ),
        ml.Table(
            "returns",
            ml.Database("shop", "returns"),
            key=("order_id",),
            time="settled_at",
            columns=(
                ml.Column("order_id", "text", "the order", personal="hash"),
                ml.Column("settled_at", "timestamp", "when the time to return it was over"),
                CUSTOMER,
                ml.Column("returned", "bool", "whether it came back"),
            ),
        ),
    ),
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
        candidates=(ml.LightGBM(learning_rate=0.1, max_trees=40, min_data_in_leaf=30),),
        categorical=("channel",),
        threads=1,
        seed=1,
        search=ml.Search(trials=3, workers=1),
    ),
    fallback=ml.RateTable(by=("channel",)),
    value=ml.CostMatrix(true_positive=10, false_positive=-4),
    gates=(ml.AtLeast("roc_auc", 0.55), ml.NotWorseThanChampion("roc_auc", tolerance=0.2), ml.NoLeakageSuspicion()),
    kpi=ml.Kpi("value_per_1000_orders", "1000 * avg(value)", "saved by acting"),
    watches=(ml.Watch("volume", high=0.1), ml.Watch("feature_psi", high=0.25), ml.Watch("score_psi", high=0.25)),
    rules=(ml.Rule("volume", "volume", "alert"),),  # always: so that there is a mail to lose or to send twice
    backtest=ml.Backtest(windows=2, step=ml.days(5)),
    publish=ml.Publish("business", "predictions"),
    serving=ml.Serving(log_seconds=0.2),
)
