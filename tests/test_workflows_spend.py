"""The shipped use case of what households spend, on real data, against the package's own files."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error

from benchmarks.groceries import spend
from benchmarks.simple_rules import compared, table
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement, Training
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.grocery import grocery_platform, needs_groceries, raw
from tests.support.paths import REPOSITORY

needs_groceries()
SCORED = date(2017, 9, 4)  # a Monday
COMPLETE = SCORED + timedelta(days=28)  # when the outcomes of SCORED are


@dataclass(frozen=True)
class Home:
    pipeline: Pipeline
    platform: Platform
    lines: pd.DataFrame  # of all baskets, with `at`, the local time

    def between(self, start: pd.Timestamp, days: int) -> pd.DataFrame:
        """The lines that were bought in so many days from a local midnight on; before it, if negative."""
        first, last = sorted((start, start + pd.Timedelta(days=days)))
        return self.lines[(self.lines["at"] >= first) & (self.lines["at"] < last)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Eight months ingested, a model trained, a tick scored and monitored, and measured when its outcomes are there."""
    platform = grocery_platform(tmp_path_factory.mktemp("spend"))
    pipeline = load(REPOSITORY / "pipelines" / "household_spend.py")
    schedule = pipeline.schedule
    workflows.ingest(pipeline, schedule.range(schedule.starts, COMPLETE), platform)
    workflows.train(pipeline, schedule.tick(SCORED), "for the test", platform)
    ticks = [schedule.tick(day) for day in (SCORED, COMPLETE)]
    workflows.score(pipeline, ticks, platform)
    workflows.monitor(pipeline, ticks, platform)
    lines = raw("transactions")
    local = lines["transaction_timestamp"].dt.tz_localize("UTC").dt.tz_convert("America/New_York").dt.tz_localize(None)
    return Home(pipeline, platform, lines.assign(at=local))


def test_each_row_is_a_household_seen_lately_with_what_it_spent_afterwards(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="household_spend")
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas()
    ticks = pd.to_datetime(rows["tick"])
    assert set(ticks.dt.day_name()) == {"Monday"}
    assert ticks.nunique() == 4
    for start in (ticks.min(), ticks.max()):
        found = rows[ticks == start].set_index("household_id")
        assert set(found.index) == set(home.between(start, -91)["household_id"])
        spent = home.between(start, 28).groupby("household_id")["sales_value"].sum()
        assert found["label"].to_numpy() == pytest.approx(spent.reindex(found.index, fill_value=0.0).to_numpy(), abs=0.01)
        before = home.between(start, -28).groupby("household_id")["sales_value"].sum()
        assert found["bought_sum_amount_28d"].to_numpy() == pytest.approx(
            before.reindex(found.index, fill_value=0.0).to_numpy(), abs=0.01
        )
        visits = home.between(start, -91).groupby("household_id")["basket_id"].nunique()
        assert (found["bought_count_91d"] == visits.reindex(found.index)).all()


def test_predictions_have_intervals_and_are_judged_by_what_was_spent(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas()
    scored = scored[scored["tick"] == SCORED].set_index("household_id")
    start = pd.Timestamp(SCORED)
    spent = home.between(start, 28).groupby("household_id")["sales_value"].sum().reindex(scored.index, fill_value=0.0)
    measured = {m.what: m for m in home.platform.ledger.all(Measurement, pipeline="household_spend", tick=SCORED)}
    inside = (scored["prediction_low"] <= spent + 0.005) & (spent - 0.005 <= scored["prediction_high"])
    assert measured["interval_coverage"].value == pytest.approx(inside.mean() - 0.9, abs=0.002)  # beside what was promised
    assert 0.8 < inside.mean() < 0.97
    error = np.abs(scored["score"] - spent).mean()
    assert error < 0.75 * np.abs(spent - spent.mean()).mean()


def test_the_model_is_promoted_on_a_later_window(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="household_spend")
    assert training.state == "promoted"
    assert training.metrics["r2"] > 0.5
    assert training.metrics["mae"] < 0.8 * training.metrics["baseline_mae"]


def test_the_benchmark_compares_it_with_simple_rules(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="household_spend")
    found = compared(home.pipeline, training, home.platform, spend)
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas()
    naive = mean_absolute_error(rows["label"], rows["bought_sum_amount_28d"])
    assert found.figures["as in the last four weeks"]["mean absolute error"] == pytest.approx(naive)
    assert found.figures["model"]["mean absolute error"] == training.metrics["mae"] < naive
    assert f"| as in the last four weeks | {naive:.3f} |" in table(found)
