"""One wide table of finished features with the day of each snapshot and a label that is filled in later, in ten lines."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement, Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.new_home import new_home

WRITTEN = """
from datetime import date, time
from mlprod_tasks import declaration as ml

customers = ml.Table("customers", ml.Files("shop", "*.csv", "csv"), ("customer", "day"), time="day", refresh_ticks=11, columns=(
    ml.Column("customer", "int"), ml.Column("day", "date"), ml.Column("visits", "int"), ml.Column("spent", "float"),
    ml.Column("plan", "text"), ml.Column("left", "bool", nullable=True)))
pipeline = ml.Pipeline(
    name="leaving", alert_to=("shop@example.com",), tables=(customers,), entity="customers",
    schedule=ml.Schedule(at=time(4), timezone="UTC", starts=date(2024, 1, 2)),
    label=ml.Label("customers", {"customer": "customer", "day": "day"}, '"left"', delay=ml.days(10)),
    gates=(ml.AtLeast("roc_auc", 0.6),))
"""
FIRST, TRAINED = date(2024, 1, 2), date(2024, 4, 1)
DAY = timedelta(days=1)


def snapshots() -> pd.DataFrame:
    """Sixty customers a day; who visits seldom leaves."""
    random = np.random.default_rng(3)
    days = pd.date_range("2024-01-01", TRAINED)
    rows = pd.DataFrame({"day": np.repeat(days, 60), "customer": np.tile(np.arange(60), len(days))})
    rows["visits"] = random.poisson(5, len(rows))
    rows["spent"] = random.exponential(20, len(rows)).round(2)
    rows["plan"] = random.choice(["basic", "full"], len(rows))
    rows["left"] = random.random(len(rows)) < 1 / (1 + np.exp(rows["visits"] - 3.0))
    return rows


def deliver(rows: pd.DataFrame, folder: Path, today: date) -> None:
    """All snapshots up to a day, with the labels that are known by then: those that are ten days old."""
    rows = rows[rows["day"] <= pd.Timestamp(today)]
    known = rows["day"] <= pd.Timestamp(today - 10 * DAY)
    labels = rows["left"].map({True: "true", False: "false"}).where(known)
    rows.assign(left=labels, day=rows["day"].dt.strftime("%Y-%m-%d")).to_csv(folder / "customers.csv", index=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Platform, pd.DataFrame]:
    """Delivered twice: as of early March, and again as of April, with the labels of then."""
    folder = tmp_path_factory.mktemp("wide")
    (folder / "leaving.py").write_text(f'"""Who leaves?"""\n{WRITTEN}')
    pipeline, rows = load(folder / "leaving.py"), snapshots()
    platform = Platform(
        from_environment(
            {
                "MLPROD_HOME": str(new_home(folder / "var")),
                "MLPROD_EXPECTATIONS": str(folder / "gx"),
                "MLPROD_CONNECTION_SHOP": str(folder),
            }
        )
    )
    schedule, before = pipeline.schedule, TRAINED - 20 * DAY
    deliver(rows, folder, before)
    workflows.ingest(pipeline, schedule.range(FIRST, before), platform)
    deliver(rows, folder, TRAINED)
    for day in (before + 10 * DAY, TRAINED):  # each reads eleven earlier partitions again
        workflows.ingest(pipeline, schedule.range(day - 9 * DAY, day), platform)
    workflows.train(pipeline, schedule.tick(TRAINED), "for the test", platform)
    ticks = list(schedule.range(TRAINED - 12 * DAY, TRAINED))
    workflows.score(pipeline, ticks, platform)
    workflows.monitor(pipeline, ticks, platform)
    return pipeline, platform, rows


def test_it_takes_ten_lines() -> None:
    statements = [line for line in WRITTEN.splitlines() if line.strip() and "import" not in line]
    assert len(statements) <= 10


def test_rows_are_trained_with_the_labels_that_came_with_them_again(home) -> None:
    pipeline, platform, rows = home
    (training,) = platform.ledger.all(Training, pipeline="leaving")
    assert training.state == "promoted"
    assert "left" not in pipeline.feature_names
    assert {"visits", "spent", "plan"} <= set(pipeline.feature_names)
    truth = rows.assign(tick=rows["day"].dt.date).set_index(["customer", "tick"])["left"]
    found = read_window(TrainingFolder(platform, training.id), "test").to_pandas()
    # The last tick whose labels are complete is ten days before; all of its rows have one.
    assert found["tick"].max() == TRAINED - 10 * DAY
    labels = found.set_index(["customer", "tick"])["label"].astype(bool)
    assert (labels == truth.reindex(labels.index)).all()
    assert (found.groupby("tick").size() == 60).all()


def test_it_is_scored_and_judged(home) -> None:
    pipeline, platform, _ = home
    scored = platform.lake.rows(names.predictions(pipeline)).to_pandas()
    assert set(scored.groupby("tick").size()) == {60}
    judged = {m.tick for m in platform.ledger.all(Measurement, pipeline="leaving", what="label_coverage") if m.value == 1.0}
    assert judged == {TRAINED - n * DAY for n in (12, 11, 10)}
