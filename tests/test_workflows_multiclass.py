"""Real flights in four classes of punctuality: through every step, against pandas over the business's own database."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score, top_k_accuracy_score

from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.dashboard.report import html
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.models import fallback
from mlprod_tasks.models.predicted_columns import differ, logged_columns, merged_predictions, read_logged
from mlprod_tasks.notifications.digest import text as digest
from mlprod_tasks.operations.doctor import read_sql
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.operations.explanation_text import text
from mlprod_tasks.operations.ledger_metrics import exposition
from mlprod_tasks.operations.status import status
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Measurement, Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.new_home import new_home
from tests.support.paths import FLIGHTS, REPOSITORY

DAY = timedelta(days=1)
HISTORY = (date(2013, 1, 2), date(2013, 2, 10))
TICKS = [date(2013, 2, 11) + i * DAY for i in range(5)]
TABLE = "arrival_class_predictions"
SQL = (
    "CASE WHEN arr_delay <= -15 THEN 'early' WHEN arr_delay <= 15 THEN 'on time' WHEN arr_delay <= 60 THEN 'late' "
    "ELSE 'very late' END"
)
CLASSES = ("early", "on time", "late", "very late")


def arrival_classes() -> Pipeline:
    """The shipped use case, asked for one of four classes instead of a yes or no, with a training that takes seconds."""
    flights = load(FLIGHTS)
    trees = ml.LightGBM(max_trees=40, min_data_in_leaf=100)
    return replace(
        flights,
        doc="How punctual will a flight arrive?",
        task="multiclass",
        label=replace(flights.label, sql=SQL, doc="how punctual it arrived", kind="class", classes=CLASSES),
        split=ml.Split(validation=7 * DAY, test=7 * DAY, gap=2 * DAY),
        model=ml.Model(
            candidates=(trees, ml.LogisticRegression(), ml.Constant()),
            categorical=("carrier", "origin", "dest"),
            threads=1,
            seed=7,
        ),
        fallback=ml.ShareTable(by=("carrier", "dep_hour")),
        value=ml.ClassValue(right=1, wrong=-1, pairs={"early": {"very late": -3}}, unit="points"),
        backtest=None,
        gates=(
            ml.AtMost("log_loss", 1.4),
            ml.AtLeast("macro_auc", 0.55),
            ml.NoLeakageSuspicion(most_share=1.0),
            ml.SamePredictions(),
        ),
        kpi=ml.Kpi("right", "100 * avg((prediction = outcome)::INT)", "right predictions of 100"),
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
    folder: Path = tmp_path_factory.mktemp("classes")
    url = f"sqlite:///{folder / 'business.db'}"
    shutil.copy(flights_db, folder / "business.db")
    given = {
        "MLPROD_HOME": str(new_home(folder / "var")),
        "MLPROD_EXPECTATIONS": str(folder / "great_expectations"),
        "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
        "MLPROD_CONNECTION_BUSINESS": url,
    }
    pipeline, platform = arrival_classes(), Platform(from_environment(given))
    schedule = pipeline.schedule
    workflows.ingest(pipeline, schedule.range(HISTORY[0], TICKS[-1]), platform)
    workflows.train(pipeline, schedule.tick(TICKS[0]), "for the test", platform)
    ticks = [schedule.tick(day) for day in TICKS]
    workflows.score(pipeline, ticks, platform)
    workflows.monitor(pipeline, ticks, platform)
    return Home(pipeline, platform, url)


def real(delays: pd.Series) -> np.ndarray:
    return np.array(CLASSES, object)[np.digitize(delays, [-15, 15, 60], right=True)]


def test_every_label_of_the_training_set_is_the_flights_own_class(home):
    rows = read_window(home.folder, "test").to_pandas()
    arrivals = home.sql("SELECT flight_id, arr_delay FROM arrivals").set_index("flight_id").arr_delay
    assert len(rows) > 4000
    assert (rows.label == real(arrivals.loc[rows.flight_id])).all()


def test_the_evaluation_is_scikit_learns_of_the_same_rows(home):
    evaluation = home.folder.read(Evaluation)
    model = home.platform.registry.load_model(home.platform.registry.champion(home.pipeline))
    rows = read_window(home.folder, "test")
    predicted, outcome = model.predict(rows), rows["label"].to_numpy(zero_copy_only=False).astype(str)
    assert predicted.score.classes == CLASSES
    order = np.argsort(CLASSES)
    shares, labels = predicted.score.shares[:, order], np.array(CLASSES)[order]
    found, said = {name: one.value for name, one in evaluation.model.items()}, predicted.decision.astype(str)
    assert found["log_loss"] == pytest.approx(log_loss(outcome, shares, labels=labels))
    assert found["accuracy"] == pytest.approx(accuracy_score(outcome, said))
    assert found["macro_f1"] == pytest.approx(f1_score(outcome, said, average="macro"))
    assert found["weighted_f1"] == pytest.approx(f1_score(outcome, said, average="weighted"))
    assert found["macro_auc"] == pytest.approx(roc_auc_score(outcome, shares, multi_class="ovr", labels=labels))
    assert found["top_k_accuracy"] == pytest.approx(top_k_accuracy_score(outcome, shares, k=2, labels=labels))
    train = read_window(home.folder, "train")["label"].to_pandas().value_counts(normalize=True)
    constant = np.tile(train.loc[labels].to_numpy(), (len(outcome), 1))
    assert evaluation.baseline["log_loss"].value == pytest.approx(log_loss(outcome, constant, labels=labels))
    assert evaluation.baseline["accuracy"].value == pytest.approx(np.mean(outcome == train.index[0]))
    assert {one.name for one in model.candidates} == {"lightgbm", "logistic_regression", "constant"}


def test_predictions_are_published_with_class_and_probabilities(home):
    published = home.sql(f"SELECT * FROM {TABLE}")
    assert not {"score", "decision"} & set(published.columns)
    shares = pd.DataFrame([json.loads(one) for one in published.probabilities])
    assert list(shares.columns) == list(CLASSES)
    assert np.allclose(shares.sum(axis=1), 1)
    assert (shares.idxmax(axis=1) == published.prediction).all()
    assert (shares.max(axis=1) == published.probability).all()


def test_the_monitor_measures_what_pandas_finds_in_the_business_database(home):
    joined = home.sql(f"SELECT p.*, a.arr_delay FROM {TABLE} p JOIN arrivals a USING (flight_id)")
    joined["tick"], joined["outcome"] = pd.to_datetime(joined.tick).dt.date, real(joined.arr_delay)
    joined["chance"] = [json.loads(p)[o] for p, o in zip(joined.probabilities, joined.outcome, strict=True)]
    known = {
        what: {one.tick: one for one in home.platform.ledger.all(Measurement, what=what) if one.value is not None}
        for what in ("accuracy", "macro_f1", "log_loss", "calibration", "kpi", "value", "unknown_classes")
    }
    assert sorted(known["accuracy"]) == TICKS[:3]  # labels are complete two days later
    for tick in TICKS[:3]:
        rows = joined[joined.tick == tick]
        right = rows.prediction == rows.outcome
        assert known["accuracy"][tick].value == pytest.approx(right.mean())
        assert known["calibration"][tick].value == pytest.approx(right.mean() - rows.probability.mean())
        assert known["macro_f1"][tick].value == pytest.approx(f1_score(rows.outcome, rows.prediction, average="macro"))
        loss = known["log_loss"][tick]
        assert loss.value * loss.reference == pytest.approx(-np.log(rows.chance).mean())
        kpi = known["kpi"][tick]
        assert kpi.value * kpi.reference == pytest.approx(100 * right.mean())
        assert known["unknown_classes"][tick].value == 0


def test_every_tick_is_decided_and_estimated_before_labels(home):
    what = {one.what for one in home.platform.ledger.all(Measurement, pipeline=home.pipeline.name)}
    estimated = {"estimated_accuracy", "estimated_macro_f1", "estimated_log_loss", "estimated_value", "estimate_error"}
    assert {"accuracy", "macro_f1", "log_loss", "class_psi", "label_psi", "unknown_classes", "residual_drift"} <= what
    assert estimated <= what
    assert not {"roc_auc", "label_rate", "decision_share", "mae"} & what
    assert {one.tick for one in home.platform.ledger.all(Decision)} == set(TICKS)


def test_report_and_card_speak_of_classes(home):
    whole = (home.folder.path / "report.html").read_text(encoding="utf-8")
    report = re.sub(r'"data:[^"]*"', "", whole)  # a picture's bytes as text may hold any word
    card = (home.folder.path / "model_card.md").read_text(encoding="utf-8")
    for page in (report, card):
        assert "macro F1" in page
        for word in ("positive", "log-odds", "threshold", "were a yes", "mean outcome"):
            assert word not in page, word
    pictures = {one.stem for one in (home.folder.path / "plots").glob("*.png")}
    assert {"confusion", "reliability_by_class", "by_class", "permutation", "dependence"} <= pictures
    assert not {"roc", "residuals", "lift"} & pictures


def test_a_predicted_class_is_explained(home):
    landed = f"SELECT flight_id, prediction, arr_delay FROM {TABLE} JOIN arrivals USING (flight_id) WHERE tick = '2013-02-11'"
    flight = home.sql(landed).iloc[0]
    one = explain(home.pipeline, [flight.flight_id], home.platform)
    assert (one.outcome, one.predicted) == (real(pd.Series([flight.arr_delay]))[0], flight.prediction)
    assert one.recomputed == one.score == dict(one.probabilities)[flight.prediction]
    assert f"predicted  {flight.prediction}, probability {one.score:.4f}" in text(one)
    assert "log-odds" not in text(one)


def test_status_digest_page_and_metrics_speak_of_classes(home):
    said = status(home.pipeline, home.platform)
    assert "right" in said
    right = {one.tick: one.value for one in home.platform.ledger.all(Measurement, what="accuracy") if one.value is not None}
    assert f"{right[TICKS[0]]:.3f}" in said
    mail = digest(home.pipeline, home.pipeline.schedule.tick(TICKS[-1] + 2 * DAY), home.platform)
    assert "of predictions were right" in mail
    assert "Their probabilities were" in mail
    page = html(home.pipeline, home.pipeline.schedule.tick(TICKS[-1]), home.platform)
    assert "Right predictions" in page
    assert "Drift of the predicted classes: PSI" in page
    assert "accuracy" in exposition([home.pipeline], home.platform)


def test_the_engine_accepts_what_is_declared_and_refuses_a_kpi_of_other_columns(home):
    assert "accepts" in read_sql(home.pipeline)
    other = replace(home.pipeline, kpi=replace(home.pipeline.kpi, sql="avg(score)"))
    with pytest.raises(ValueError, match="kpi 'avg"):
        read_sql(other)
    number = replace(home.pipeline, label=replace(home.pipeline.label, sql="arr_delay / 2.0"))
    with pytest.raises(ValueError, match="a class is a text or a whole number"):
        read_sql(number)


def test_a_row_that_no_model_takes_is_answered_by_the_shares_of_its_group(home):
    rows = read_window(home.folder, "test").slice(0, 50)
    model = home.platform.registry.load_model(home.platform.registry.champion(home.pipeline))
    table = fallback.load(home.folder.fallback)
    some = np.arange(50) % 3 == 0
    parts = (table.predict(rows.filter(pa.array(some))), model.predict(rows.filter(pa.array(~some))))
    merged = merged_predictions(*parts, some)
    assert merged.score.classes == CLASSES
    assert (merged.score.shares[some] == table.predict(rows).score.shares[some]).all()
    assert (merged.decision[~some] == model.predict(rows).decision[~some]).all()
    again = read_logged(pa.table(logged_columns(merged)))
    assert not differ(merged, again).any()
    assert (again.score.shares == merged.score.shares).all()
