"""`mlprod init` and `mlprod try` on a plain CSV without any time."""

from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.split import PROVES_LESS
from mlprod_tasks.platform.ledger import Scoring
from mlprod_tasks.platform.settings import Settings, from_environment
from mlprod_tasks.starting.init_pipeline import Declared, init_pipeline
from mlprod_tasks.starting.samples import CannotStart
from mlprod_tasks.starting.try_pipeline import try_pipeline


def customers(rows: int = 1200) -> pd.DataFrame:
    """Customers of whom every sixth is to be scored."""
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"Customer No": np.arange(rows) + 5000, "visits": random.poisson(5, rows)})
    frame["plan"] = random.choice(["basic", "full"], rows)
    frame["spent"] = random.exponential(30, rows).round(2)
    odds = 2.5 - frame["visits"] + 1.5 * (frame["plan"] == "basic")
    left = pd.Series(random.random(rows) < 1 / (1 + np.exp(-odds))).map({True: "yes", False: "no"})
    return frame.assign(churned=left.where(frame.index % 6 != 0))


def settings_of(folder: Path) -> Settings:
    return from_environment({"MLPROD_HOME": str(folder / "var"), "MLPROD_PIPELINES": str(folder / "pipelines")})


def started(folder: Path, rows: pd.DataFrame, predict: str = "churned") -> Declared:
    rows.to_csv(folder / "customers.csv", index=False)

    def choose(found: Any) -> str:
        return str(found[0][0])

    return init_pipeline([str(folder / "customers.csv")], predict, "", settings_of(folder), choose)


@pytest.mark.parametrize("predict", ["churned", ""])
def test_a_file_without_a_time_is_declared_without_one(tmp_path: Path, predict: str) -> None:
    declared = started(tmp_path, customers(), predict)
    pipeline = declared.pipeline
    assert pipeline.entity_table.snapshots
    assert pipeline.entity_table.key == ("customer_no",)
    assert pipeline.split == ml.SplitByHash(validation=0.2, test=0.2)
    assert pipeline.label == ml.Label("customers", {"customer_no": "customer_no"}, "churned = 'yes'", ml.days(28))
    assert pipeline.feature_names == ("visits", "plan", "spent")
    assert "proves less than a test on later ones" in " ".join(declared.path.read_text().split())


def test_a_column_that_names_parts_splits(tmp_path: Path) -> None:
    rows = customers()
    rows["data_split"] = np.where(rows.index % 4 == 0, "Test", np.where(rows.index % 4 == 1, "val", "Training"))
    pipeline = started(tmp_path, rows).pipeline
    assert pipeline.split == ml.SplitByColumn("data_split", train=("Training",), validation=("val",), test=("Test",))


def test_shares_grow_where_there_are_few_rows_and_too_few_are_refused(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    split = started(tmp_path, customers(720)).pipeline.split  # 600 with an outcome
    assert isinstance(split, ml.SplitByHash)
    assert 0.2 < split.test <= 0.3
    with pytest.raises(CannotStart, match="400 rows with an outcome: too few to learn from without a time"):
        started(tmp_path / "few", customers(480))


def test_what_has_a_time_that_is_not_read_is_still_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="year, month: deliver them as one column"):
        started(tmp_path, customers().assign(year=2024, month=3))


def test_a_trial_trains_scores_and_says_what_it_does_not_prove(tmp_path: Path) -> None:
    pipeline = started(tmp_path, customers()).pipeline
    trial, page = try_pipeline(pipeline, settings_of(tmp_path), tmp_path / "trial", lambda _: None)
    assert not trial.stopped
    assert len(trial.decisions) == 1
    assert "nothing" in trial.decisions[0]
    assert PROVES_LESS in " ".join(page.read_text().split())


def test_a_trial_reads_the_file_of_each_tick_to_the_last(tmp_path: Path) -> None:
    table = started(tmp_path, customers()).pipeline.tables[0].at_source
    days = [date(2024, 3, 1), date(2024, 3, 2), date(2024, 3, 3)]
    for day in days:
        customers().to_csv(tmp_path / f"customers-{day}.csv", index=False)
    pipeline = ml.Pipeline(
        name="churn",
        alert_to=("shop@example.com",),
        tables=(replace(table, source=replace(table.source, path="customers-{tick}.csv")),),
        entity="customers",
        schedule=ml.Schedule(at=time(4), timezone="UTC", starts=days[0]),
        label=ml.Label(sql="churned = 'yes'", delay=ml.days(28)),
    )
    trial, _ = try_pipeline(pipeline, settings_of(tmp_path), tmp_path / "trial", lambda _: None)
    scored = {one.tick: one.rows for one in trial.platform.ledger.all(Scoring, pipeline="churn")}
    assert scored == dict.fromkeys(days, 200)
