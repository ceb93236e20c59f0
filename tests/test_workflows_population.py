"""Customers who will buy again: a population and an outcome of later events, through every step, against pandas."""

import sqlite3
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from openapi_spec_validator import validate
from sklearn.metrics import mean_absolute_error

from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.monitoring.requests import measure_collected
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement, Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.reporting.data_dictionary import dictionary
from mlprod_tasks.rollout.rows import read
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.serving.run import build_service
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.new_home import new_home
from tests.support.service import request

DAY = timedelta(days=1)
FIRST, TRAINED, LAST = date(2024, 1, 2), date(2024, 4, 1), date(2024, 4, 12)
CUSTOMERS = 150

PURCHASES = ml.Table(
    "purchases",
    ml.Database("shop", "purchases"),
    ("purchase_id",),
    (
        ml.Column("purchase_id", "int", "number"),
        ml.Column("bought_at", "timestamp", "when"),
        ml.Column("customer_id", "int", "who"),
        ml.Column("amount", "float", "what it cost"),
    ),
    doc="Every purchase.",
    time="bought_at",
    min_rows=0,
)
BUYERS = Pipeline(
    name="buyers",
    doc="Will a customer buy within five days?",
    owner="shop",
    alert_to=("shop@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=FIRST),
    tables=(PURCHASES,),
    entity=ml.Population("customers", seen_in="purchases", by=("customer_id",), within=ml.days(21), doc="who bought lately"),
    features=(
        ml.Expression("weekday", "extract(isodow FROM as_of AT TIME ZONE 'Europe/Zurich')", "int", "of the tick"),
        ml.Trailing(
            "bought", "purchases", {"customer_id": "customer_id"}, (ml.days(7), ml.days(21)), (ml.Count(), ml.Sum("amount"))
        ),
    ),
    label=ml.Outcome("purchases", {"customer_id": "customer_id"}, ml.Any(), within=ml.days(5), doc="buys again"),
    split=ml.Split(validation=ml.days(10), test=ml.days(10), gap=ml.days(5)),
    model=ml.Model(candidates=(ml.LightGBM(max_trees=50, min_data_in_leaf=50),), threads=1, seed=1),
    fallback=ml.RateTable(by=("weekday",)),
    value=ml.CostMatrix(true_positive=3, false_positive=-1),
    gates=(ml.AtLeast("roc_auc", 0.6), ml.NoLeakageSuspicion(most_share=1.0)),
    kpi=ml.Kpi("value_per_1000", "1000 * avg(value)", "what writing to customers is worth"),
)
SPENDERS = replace(
    BUYERS,
    name="spenders",
    doc="What will a customer spend within five days?",
    task="regression",
    label=ml.Outcome("purchases", {"customer_id": "customer_id"}, ml.Sum("amount"), within=ml.days(5), doc="spends"),
    model=ml.Model(candidates=(ml.LightGBM(max_trees=50, min_data_in_leaf=50), ml.Constant()), threads=1, seed=1),
    fallback=ml.MeanTable(by=("weekday",)),
    value=ml.PredictionValue("-abs(prediction - outcome)", "EUR"),
    gates=(ml.BetterThanBaseline("mae"), ml.NoLeakageSuspicion(most_share=1.0)),
    kpi=ml.Kpi("off", "avg(abs(prediction - outcome))", "how far off a forecast is", "EUR"),
    watches=ml.WATCHES,
    rules=ml.RULES,
)


def purchases() -> pd.DataFrame:
    """Each customer buys every so often, some seldom; a third of them stops some day."""
    random = np.random.default_rng(7)
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    rows = []
    for customer in range(CUSTOMERS):
        gap, at = random.uniform(1, 20), random.uniform(0, 20)
        stops = random.uniform(30, 100) if random.random() < 0.3 else 1000
        while at < min(stops, 104):
            rows.append((begin + timedelta(days=at), customer, float(np.round(random.exponential(20), 2))))
            at += random.exponential(gap)
    frame = pd.DataFrame(sorted(rows), columns=["bought_at", "customer_id", "amount"])
    return frame.rename_axis("purchase_id").reset_index()


@dataclass(frozen=True)
class Home:
    platform: Platform
    purchases: pd.DataFrame


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """History ingested, a model of each task trained and promoted, some days scored and monitored."""
    folder: Path = tmp_path_factory.mktemp("buyers")
    bought = purchases()
    with sqlite3.connect(folder / "shop.db") as connection:
        texts = bought.assign(bought_at=bought["bought_at"].dt.strftime("%Y-%m-%d %H:%M:%S.%f"))
        texts.to_sql("purchases", connection, index=False)
    connection.close()
    given = {
        "MLPROD_HOME": str(new_home(folder / "var")),
        "MLPROD_EXPECTATIONS": str(folder / "great_expectations"),
        "MLPROD_CONNECTION_SHOP": f"sqlite:///{folder / 'shop.db'}",
    }
    platform, schedule = Platform(from_environment(given)), BUYERS.schedule
    for pipeline, last in ((BUYERS, LAST), (SPENDERS, TRAINED + 5 * DAY)):
        workflows.ingest(pipeline, schedule.range(FIRST, last), platform)
        workflows.train(pipeline, schedule.tick(TRAINED), "for the test", platform)
        ticks = list(schedule.range(TRAINED, last))
        workflows.score(pipeline, ticks, platform)
        workflows.monitor(pipeline, ticks, platform)
    return Home(platform, bought)


def alive(bought: pd.DataFrame, day: date) -> pd.Series:
    """The newest purchase of each customer who is in the population of a tick."""
    start = BUYERS.schedule.tick(day).start
    known = bought[(bought["bought_at"] < start) & (bought["bought_at"] >= start - 21 * DAY)]
    return known.groupby("customer_id")["bought_at"].max()


def later(bought: pd.DataFrame, customer: int, day: date) -> pd.DataFrame:
    """What a customer buys in the five days after a tick; they are 119 hours at the clock change."""
    start, end = (BUYERS.schedule.tick(one).start for one in (day, day + 5 * DAY))
    return bought[(bought["customer_id"] == customer) & (bought["bought_at"] >= start) & (bought["bought_at"] < end)]


def buys(bought: pd.DataFrame, customer: int, day: date) -> bool:
    return len(later(bought, customer, day)) > 0


def test_the_training_set_has_every_customer_of_each_day_with_what_happened_then(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="buyers")
    assert training.state == "promoted"
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas()
    days = sorted(rows["tick"].unique())
    # The last test tick is the one whose five days, one of 23 hours, are over when the training begins.
    assert (days[0], days[-1], len(days)) == (date(2024, 3, 18), TRAINED - 5 * DAY, 10)
    for day in days:
        of_day = rows[rows["tick"] == day].set_index("customer_id")
        assert sorted(of_day.index) == sorted(alive(home.purchases, day).index)
        assert of_day["label"].to_dict() == {customer: buys(home.purchases, customer, day) for customer in of_day.index}


def test_each_tick_scores_the_customers_of_its_day_and_what_came_true_is_measured(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(BUYERS)).to_pandas()
    for day, rows in scored.groupby("tick"):
        assert sorted(rows["customer_id"]) == sorted(alive(home.purchases, day).index)
        assert not rows["fallback"].any()
    measured = {(m.tick, m.what): m for m in home.platform.ledger.all(Measurement, pipeline="buyers")}
    assert measured[LAST, "volume"].n == (scored["tick"] == LAST).sum()
    judged = TRAINED + DAY
    rows = scored[scored["tick"] == judged]
    rate = np.mean([buys(home.purchases, customer, judged) for customer in rows["customer_id"]])
    assert measured[judged, "label_coverage"].value == 1.0
    assert f"{100 * rate:.1f}% positive" in measured[judged, "label_rate"].sentence
    assert (LAST, "label_coverage") not in measured, "its five days are not over"


def test_what_customers_spend_is_predicted_and_its_error_measured(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="spenders")
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas()
    spent = [later(home.purchases, c, d)["amount"].sum() for c, d in zip(rows["customer_id"], rows["tick"], strict=True)]
    assert rows["label"].tolist() == pytest.approx(spent, abs=1e-9)
    scored = home.platform.lake.rows(names.predictions(SPENDERS)).to_pandas()
    of_day = scored[scored["tick"] == TRAINED]
    spent = [later(home.purchases, customer, TRAINED)["amount"].sum() for customer in of_day["customer_id"]]
    error = mean_absolute_error(spent, of_day["score"])
    (measured,) = home.platform.ledger.all(Measurement, pipeline="spenders", tick=TRAINED, what="mae")
    assert f"({format_number(error)}," in measured.sentence


def test_a_prediction_is_explained_by_key_and_tick(home: Home) -> None:
    customer = int(alive(home.purchases, LAST).index[0])
    found = explain(BUYERS, [str(customer)], home.platform, tick=BUYERS.schedule.tick(LAST))
    assert found.key == {"customer_id": str(customer)}
    assert {source.table for source in found.sources} == {"buyers/raw/purchases"}


@pytest.mark.parametrize("pipeline", [BUYERS, SPENDERS], ids=["a yes or no", "a number"])
def test_a_request_names_a_customer_and_gets_the_score_of_the_batch(home: Home, pipeline: Pipeline) -> None:
    served = replace(pipeline, serving=ml.Serving(look_back=ml.days(15)))
    fill_online(served, served.schedule.tick(LAST), home.platform)
    service = build_service(home.platform, {served.name: served}, keys_needed=False)
    day = TRAINED
    batch = home.platform.lake.rows(names.predictions(pipeline), [day]).to_pandas().set_index("customer_id")
    keys = [*range(CUSTOMERS), 4711]
    body = {"rows": [{"customer_id": key} for key in keys], "moment": served.schedule.tick(day).start.isoformat()}
    path = f"/v1/pipelines/{served.name}/score"
    answered = request(service, "POST", path, json=body)
    assert answered.status_code == 200, answered.text
    name = served.of_task.published["score"]
    told = dict(zip(keys, answered.json()["rows"], strict=True))
    there = sorted(alive(home.purchases, day).index)
    assert {key for key, one in told.items() if one["route"] == "absent"} == set(keys) - set(there)
    assert [told[key][name] for key in there] == batch["score"].loc[there].tolist(), "bit for bit"
    reason = "not in customers: no row of 'purchases' became known in the 21 days before the moment"
    assert told[4711] | {"age_seconds": 0} == {
        "key": {"customer_id": 4711}, name: None, "version": None, "route": "absent", "reason": reason, "age_seconds": 0,
    } | ({"decision": None} if pipeline is BUYERS else {})  # fmt: skip
    assert service.scorers[served.name].counts.absent == len(keys) - len(there)

    explained = request(service, "POST", path.replace("score", "explain"), json=body | {"rows": [{"customer_id": 4711}]})
    assert explained.json()["rows"][0]["reason"] == reason
    document = request(service, "GET", "/openapi.json").json()
    validate(document)
    response = {"$ref": document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]}
    jsonschema.validate(answered.json(), response | {"components": document["components"]})

    service.scorers[served.name].log.flush()
    assert collect(served, home.platform).rows == len(keys)
    logged = home.platform.lake.rows(names.requests(served)).to_pandas()
    assert set(logged["tick"]) == {day}
    assert (logged["route"] == "absent").sum() == len(keys) - len(there)
    began = datetime(2020, 1, 1, tzinfo=UTC)
    rows = read(served, home.platform, 1, 2, since=began, champion_since=began).champion
    came = [buys(home.purchases, key, day) for key in there]
    spent = [later(home.purchases, key, day)["amount"].sum() for key in there]
    assert sorted(rows.outcome) == pytest.approx(sorted(map(float, came if pipeline is BUYERS else spent)))
    measure_collected(served, home.platform)
    (refused,) = home.platform.ledger.all(Measurement, pipeline=served.name, tick=day, what="online_refused")
    assert (refused.value, refused.n) == (0.0, len(keys)), "a key that is no customer is no failure"


def test_the_data_dictionary_says_who_is_scored_and_what_is_predicted() -> None:
    text = dictionary(BUYERS)
    assert "One score for every row of `customers`" in text
    assert "each `customer_id` with a row in `purchases` within 21 d" in text
    assert "buys again: `any row within 5 days` in `purchases`" in text
