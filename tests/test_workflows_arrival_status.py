"""The shipped use case of flights on time, late or cancelled, over a blizzard, against the package's own file."""

import json
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from benchmarks.airports import arrival_status
from benchmarks.simple_rules import compared
from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement, Training
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.airport import airport_platform, raw_flights
from tests.support.paths import REPOSITORY

TRAINED, BLIZZARD = date(2013, 2, 12), date(2013, 2, 8)
CLASSES = ("on time", "late", "cancelled")
# By what was predicted, then by what came: what the declaration says that passengers lose.
WORTH = np.array([[0, -4, -20], [-1, 0, -10], [-8, -1, 0]])


@dataclass(frozen=True)
class Home:
    pipeline: Pipeline
    platform: Platform
    came: pd.Series  # by flight; missing of flights that were diverted


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Six weeks ingested, a model trained, three days scored and monitored; with windows of days instead of weeks."""
    platform = airport_platform(tmp_path_factory.mktemp("status"))
    shipped = load(REPOSITORY / "pipelines" / "arrival_status.py")
    trees, *rules = shipped.model.candidates
    pipeline = replace(
        shipped,
        split=ml.Split(validation=ml.days(7), test=ml.days(7), gap=ml.days(2)),
        model=replace(shipped.model, candidates=(replace(trees, max_trees=60, learning_rate=0.1), *rules), threads=1),
        gates=(ml.AtLeast("macro_auc", 0.55), ml.SamePredictions()),  # the other bounds are for the whole windows
    )
    schedule = pipeline.schedule
    ticks = [schedule.tick(TRAINED + timedelta(days=n)) for n in range(3)]
    workflows.ingest(pipeline, schedule.range(schedule.starts, ticks[-1].name), platform)
    workflows.train(pipeline, ticks[0], "for the test", platform)
    workflows.score(pipeline, ticks, platform)
    workflows.monitor(pipeline, ticks, platform)
    raw = raw_flights()
    came = pd.Series(np.where(raw["arr_delay"] > 15, "late", "on time"), raw.index, dtype=object)
    came[raw["arr_delay"].isna()] = None
    came[raw["dep_time"].isna()] = "cancelled"
    return Home(pipeline, platform, came)


def test_each_flight_has_the_status_with_which_it_ended(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="arrival_status")
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas()
    assert (rows["label"] == home.came[rows["flight_id"]].to_numpy()).all()
    known = home.came.dropna()
    in_days = known[known.index.str[:10].isin([str(day) for day in sorted(rows["tick"].unique())])]
    # Ticks begin at four in the morning, when hardly a flight leaves.
    assert len(rows) == pytest.approx(len(in_days), rel=0.01)
    on_day = rows[rows["tick"] == BLIZZARD]["label"].value_counts(normalize=True)
    assert on_day["cancelled"] > 0.4


def test_the_predicted_class_is_the_one_of_the_largest_expected_worth(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas()
    shares = pd.DataFrame([json.loads(one) for one in scored["probabilities"]])[list(CLASSES)].to_numpy()
    assert np.allclose(shares.sum(axis=1), 1)
    expected = np.array(CLASSES, object)[(shares @ WORTH.T).argmax(axis=1)]
    assert (scored["prediction"] == expected).all()
    assert set(expected) >= {"on time", "late"}


def test_outcomes_are_measured_when_flights_have_ended(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas()
    measured = {(m.what, m.tick): m for m in home.platform.ledger.all(Measurement, pipeline="arrival_status")}
    first = scored[scored["tick"] == TRAINED].set_index("flight_id")
    came = home.came[first.index].dropna()
    right = (first.loc[came.index, "prediction"] == came).mean()
    assert measured["accuracy", TRAINED].value == pytest.approx(right)
    assert ("accuracy", TRAINED + timedelta(days=1)) not in measured
    of = [[CLASSES.index(one) for one in column] for column in (first.loc[came.index, "prediction"], came)]
    kpi = measured["kpi", TRAINED]
    assert kpi.value * kpi.reference == pytest.approx(-1000 * WORTH[of[0], of[1]].mean())


def test_the_benchmark_compares_it_with_shares(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="arrival_status")
    found = compared(home.pipeline, training, home.platform, arrival_status)
    folder = TrainingFolder(home.platform, training.id)
    rows, trained = (read_window(folder, name).to_pandas() for name in ("test", "train"))
    whole = trained["label"].value_counts(normalize=True)[sorted(CLASSES)]
    constant = log_loss(rows["label"], np.tile(whole, (len(rows), 1)), labels=sorted(CLASSES))
    assert found.figures["shares of the training"]["log loss"] == pytest.approx(constant)
    assert found.figures["shares of the training"]["lost"] == pytest.approx(-training.metrics["baseline_value_per_1000"])
    assert found.figures["model"]["log loss"] == training.metrics["log_loss"]
