"""A little shop whose orders are sometimes returned, declared once: what a test needs otherwise it says with `replace`."""

from dataclasses import replace
from datetime import date, time

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Column, Pipeline, Table

STARTS = date(2024, 1, 1)

ORDERS = Table(
    "orders",
    ml.Database("shop", "orders"),
    key=("order_id",),
    time="placed_at",
    ticks_ahead=1,
    columns=(
        Column("order_id", "text", "the order"),
        Column("placed_at", "timestamp", "when"),
        Column("channel", "text", "web, app or phone", nullable=True),
        Column("amount", "float", "price", nullable=True),
        Column("items", "int", "how many", nullable=True),
    ),
)
RETURNS = Table(
    "returns",
    ml.Database("shop", "returns"),
    key=("order_id",),
    time="settled_at",
    columns=(
        Column("order_id", "text", "the order"),
        Column("settled_at", "timestamp", "when the time to return it was over"),
        Column("returned", "bool", "whether it came back"),
    ),
)
SHOP = Pipeline(
    name="returns",
    doc="Will an order come back?",
    owner="shop",
    alert_to=("shop@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=STARTS),
    tables=(ORDERS, RETURNS),
    entity="orders",
    features=(
        ml.Expression("channel", "channel", "text", "web, app or phone"),
        ml.Expression("amount", "amount", "float", "price"),
        ml.Expression("items", "items", "int", "how many"),
        ml.Expression("weekday", "extract(isodow FROM placed_at)", "int", "1 Monday to 7 Sunday"),
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
    gates=(
        ml.AtLeast("roc_auc", 0.6),
        ml.BetterThanBaseline("log_loss"),
        ml.NotWorseThanChampion("roc_auc", tolerance=0.02),
    ),
    kpi=ml.Kpi("value_per_1000_orders", "1000 * avg(value)", "saved by acting"),
    watches=(),
    rules=(),
    retraining=ml.Retraining(cooldown=ml.days(7)),
)


def with_columns(table: Table, *columns: Column) -> Table:
    """Return the table with these columns: each in the place of the one of its name, or after the others."""
    given = {column.name: column for column in columns}
    kept = [given.pop(column.name, column) for column in table.columns]
    return replace(table, columns=(*kept, *given.values()))


def without(table: Table, *names: str) -> Table:
    """Return the table without these columns."""
    return replace(table, columns=tuple(column for column in table.columns if column.name not in names))


def orders_to_check(**changed: object) -> Table:
    """Return the table `orders` of bounds, listed values and personal columns; arguments change it."""
    columns = (
        Column("order_id", "int", "number of the order"),
        Column("ordered_at", "timestamp", "when it was placed"),
        Column("amount", "float", "francs", min=0, max=10_000),
        Column("items", "int", "pieces", nullable=True, min=1),
        Column("state", "text", "what became of it", nullable=True, values=("paid", "open")),
        Column("customer", "text", "who ordered", nullable=True, personal="hash"),
        Column("email", "text", "where to write", nullable=True, personal="drop"),
    )
    return replace(ORDERS, **({"columns": columns, "time": "ordered_at", "ticks_ahead": 0} | changed))  # type: ignore[arg-type]


def order(number: int, at: str = "2024-03-14 12:00:00", **changed: object) -> dict[str, object]:
    """Return a row of that table, as its source holds it."""
    row = {"order_id": number, "ordered_at": at, "amount": 9.5, "items": 2, "state": "paid"}
    return {**row, "customer": "Ann", "email": "a@b.ch", **changed}


def shop_of_one_table(amount: str = "amount", **changed: object) -> Pipeline:
    """Return a use case over that table alone, at midnight in Zurich. amount: the number that feature and label read."""
    orders = orders_to_check(**changed)
    return replace(
        SHOP,
        name="shop",
        schedule=ml.Schedule(at=time(0), timezone="Europe/Zurich", starts=date(2024, 3, 1), ends=date(2024, 11, 30)),
        tables=(orders,),
        features=(ml.Expression("francs", amount, "float", "what it costs"),),
        label=ml.Label("orders", {name: name for name in orders.key}, f"{amount} > 10", delay=ml.days(1), doc=""),
        model=ml.Model(),
        fallback=ml.RateTable(by=("francs",)),
        gates=(ml.AtLeast("roc_auc", 0.5),),
    )
