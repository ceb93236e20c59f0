"""Real flights, their arrival delay in minutes: through every step, against pandas over the business's own database."""

import re
import shutil
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.operations.explanation_text import text
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Measurement, Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.new_home import new_home
from tests.support.paths import FLIGHTS, REPOSITORY

DAY = timedelta(days=1)
HISTORY = (date(2013, 1, 2), date(2013, 2, 10))
TICKS = [date(2013, 2, 11) + i * DAY for i in range(5)]
TABLE = "arrival_delay_predictions"


def arrival_delays() -> Pipeline:
    """The shipped use case, asked for minutes instead of a yes or no, with a training that takes seconds."""
    flights = load(FLIGHTS)
    trees = ml.LightGBM(max_trees=60, min_data_in_leaf=100, objective="huber", alpha=60.0, name="huber")
    return replace(
        flights,
        doc="How many minutes late will a flight arrive?",
        task="regression",
        label=replace(flights.label, sql="arr_delay", doc="minutes late at arrival", kind="number"),
        split=ml.Split(validation=7 * DAY, test=7 * DAY, gap=2 * DAY),
        model=ml.Model(
            candidates=(trees, ml.LinearRegression(c=0.01), ml.Constant()),
            categorical=("carrier", "origin", "dest"),
            threads=1,
            seed=7,
        ),
        fallback=ml.MeanTable(by=("carrier", "dep_hour")),
        value=ml.PredictionValue("-abs(prediction - outcome)", "minutes"),
        backtest=None,
        gates=(ml.AtMost("mae", 40.0), ml.AtMost("rmse", 100.0), ml.NoLeakageSuspicion(most_share=1.0), ml.SamePredictions()),
        kpi=ml.Kpi("minutes_off", "avg(abs(prediction - outcome))", "minutes that a forecast is off", "minutes"),
        watches=ml.WATCHES,
        rules=ml.RULES,
        serving=None,
        publish=ml.Publish("business", TABLE),
    )


@dataclass(frozen=True)
class Home:
    pipeline: Pipeline
    platform: Platform
    url: str

    def sql(self, query: str) -> pd.DataFrame:
        with sqlalchemy.create_engine(self.url).connect() as connection:
            return pd.read_sql(sqlalchemy.text(query), connection)

    @property
    def folder(self) -> TrainingFolder:
        (training,) = self.platform.ledger.all(Training, pipeline=self.pipeline.name)
        return TrainingFolder(self.platform, training.id)


@pytest.fixture(scope="module")
def home(flights_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """History ingested, a model trained and promoted, five days scored and monitored."""
    folder: Path = tmp_path_factory.mktemp("minutes")
    url = f"sqlite:///{folder / 'business.db'}"
    shutil.copy(flights_db, folder / "business.db")
    given = {
        "MLPROD_HOME": str(new_home(folder / "var")),
        "MLPROD_EXPECTATIONS": str(folder / "great_expectations"),
        "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
        "MLPROD_CONNECTION_BUSINESS": url,
    }
    pipeline, platform = arrival_delays(), Platform(from_environment(given))
    schedule = pipeline.schedule
    workflows.ingest(pipeline, schedule.range(HISTORY[0], TICKS[-1]), platform)
    workflows.train(pipeline, schedule.tick(TICKS[0]), "for the test", platform)
    ticks = [schedule.tick(day) for day in TICKS]
    workflows.score(pipeline, ticks, platform)
    workflows.monitor(pipeline, ticks, platform)
    return Home(pipeline, platform, url)


def test_every_label_of_the_training_set_is_the_flights_own_delay(home):
    rows = read_window(home.folder, "test").to_pandas()
    arrivals = home.sql("SELECT flight_id, arr_delay FROM arrivals").set_index("flight_id").arr_delay
    assert len(rows) > 4000
    assert (rows.label == arrivals.loc[rows.flight_id].to_numpy()).all()


def test_the_evaluation_is_scikit_learns_of_the_same_rows(home):
    evaluation = home.folder.read(Evaluation)
    model = home.platform.registry.load_model(home.platform.registry.champion(home.pipeline))
    rows = read_window(home.folder, "test")
    predicted, outcome = model.predict(rows).score, rows["label"].to_numpy()
    found = {name: one.value for name, one in evaluation.model.items()}
    assert found["mae"] == pytest.approx(mean_absolute_error(outcome, predicted))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(outcome, predicted))
    assert found["r2"] == pytest.approx(r2_score(outcome, predicted))
    assert found["value_per_1000"] == pytest.approx(-1000 * found["mae"])
    train = read_window(home.folder, "train")["label"].to_numpy()
    assert evaluation.baseline["mae"].value == pytest.approx(np.abs(outcome - train.mean()).mean())
    assert (evaluation.threshold, evaluation.mean_outcome) == (None, pytest.approx(outcome.mean()))
    assert {one.name: one.chosen for one in model.candidates}.keys() == {"huber", "linear_regression", "constant"}


def test_predictions_are_published_as_numbers_without_a_decision(home):
    published = home.sql(f"SELECT * FROM {TABLE}")
    assert {"flight_id", "prediction", "fallback", "model_version"} <= set(published.columns)
    assert not {"score", "decision"} & set(published.columns)
    within = "sched_dep_at >= '2013-02-11 09:00' AND sched_dep_at < '2013-02-16 09:00'"  # from 4 in the morning in New York
    flights = home.sql(f"SELECT count(*) AS n FROM flights WHERE {within}")
    assert len(published) == flights.n[0]
    assert np.isfinite(published.prediction).all()
    assert published.prediction.std() > 1


def test_the_monitor_measures_the_error_that_pandas_finds_in_the_business_database(home):
    joined = home.sql(f"SELECT p.tick, p.prediction, a.arr_delay FROM {TABLE} p JOIN arrivals a USING (flight_id)")
    joined["tick"] = pd.to_datetime(joined.tick).dt.date
    off = (joined.arr_delay - joined.prediction).groupby(joined.tick)
    measured = home.platform.ledger.all(Measurement, pipeline=home.pipeline.name, what="mae")
    known = {one.tick: one for one in measured if one.value is not None}
    assert sorted(known) == TICKS[:3]  # labels are complete two days later
    for tick, one in known.items():
        assert one.value * one.reference == pytest.approx(off.get_group(tick).abs().mean())
    rmse = {one.tick: one for one in home.platform.ledger.all(Measurement, what="rmse") if one.value is not None}
    assert all(one.value * one.reference == pytest.approx(np.sqrt((off.get_group(t) ** 2).mean())) for t, one in rmse.items())
    kpi = {one.tick: one for one in home.platform.ledger.all(Measurement, what="kpi") if one.value is not None}
    assert all(kpi[tick].value * kpi[tick].reference == pytest.approx(off.get_group(tick).abs().mean()) for tick in known)


def test_the_error_is_estimated_before_labels_arrive_and_is_near_the_realised_one(home):
    found = {what: home.platform.ledger.all(Measurement, what=what) for what in ("estimated_mae", "mae")}
    estimated, realised = ({one.tick: one for one in rows if one.value is not None} for rows in found.values())
    assert sorted(estimated) == TICKS, "also of the last ticks, whose labels are not complete"
    assert realised
    for tick, one in realised.items():
        assert estimated[tick].value == pytest.approx(one.value, rel=0.5)
        assert estimated[tick].interval_low < estimated[tick].value < estimated[tick].interval_high


def test_nothing_is_measured_that_only_a_yes_or_no_has_and_every_tick_is_decided(home):
    what = {one.what for one in home.platform.ledger.all(Measurement, pipeline=home.pipeline.name)}
    assert {"mae", "rmse", "bias", "label_mean", "label_psi", "residual_shift", "score_psi", "value", "kpi"} <= what
    assert not {"roc_auc", "calibration", "label_rate", "decision_share", "estimated_roc_auc", "estimate_error"} & what
    assert {one.tick for one in home.platform.ledger.all(Decision)} == set(TICKS)


def test_report_and_card_speak_of_numbers(home):
    whole = (home.folder.path / "report.html").read_text(encoding="utf-8")
    report = re.sub(r'"data:[^"]*"', "", whole)  # a picture's bytes as text may hold any word
    card = (home.folder.path / "model_card.md").read_text(encoding="utf-8")
    for page in (report, card):
        assert "mean absolute error" in page
        for word in ("AUC", "positive", "log-odds", "threshold", "were a yes"):
            assert word not in page, word
    pictures = {one.stem for one in (home.folder.path / "plots").glob("*.png")}
    assert {"predicted_real", "residuals", "predictions", "permutation", "dependence"} <= pictures
    assert not {"roc", "calibration", "lift"} & pictures


def test_a_prediction_is_explained_in_minutes(home):
    landed = f"SELECT flight_id FROM {TABLE} JOIN arrivals USING (flight_id) WHERE tick = '2013-02-11' ORDER BY 1 LIMIT 1"
    key = home.sql(landed).flight_id[0]
    one = explain(home.pipeline, [key], home.platform)
    delay = home.sql(f"SELECT arr_delay FROM arrivals WHERE flight_id = '{key}'").arr_delay[0]
    assert (one.outcome, one.decision, one.threshold, one.scale) == (delay, None, None, "the outcome's own unit")
    assert one.recomputed == one.score
    assert one.base_log_odds + sum(part.log_odds or 0 for part in one.parts) == pytest.approx(one.score)
    assert f"predicted  {format_number(one.score)}" in text(one)
    assert "log-odds" not in text(one)
