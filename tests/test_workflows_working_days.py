"""Ticks by cron through every step: customers scored on working days, over a change of the clock, against pandas."""

import itertools
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features, workflows
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.notifications import digest
from mlprod_tasks.operations.status import status
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Decision, Measurement, Training
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.weekly_shop import DAY, REGULARS, ZONE, alive, buys, new_platform, purchases, start, write_source

FIRST, TRAINED, LAST = date(2023, 5, 1), date(2023, 10, 25), date(2023, 11, 9)  # the clock is put back on 29 October
PIPELINE = replace(
    REGULARS,
    schedule=ml.Schedule.cron("0 4 * * 1-5", ZONE, FIRST),
    split=ml.Split(validation=ml.days(21), test=ml.days(28), gap=ml.days(10)),
)
SCHEDULE = PIPELINE.schedule


@dataclass(frozen=True)
class Home:
    folder: Path
    platform: Platform
    purchases: pd.DataFrame


def working_days(first: date, last: date) -> list[date]:
    return [day.date() for day in pd.bdate_range(first, last)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Half a year ingested, a model trained, two weeks of working days scored and monitored."""
    folder = tmp_path_factory.mktemp("working_days")
    bought = purchases()
    write_source(bought, folder / "shop.db")
    platform = new_platform(folder)
    workflows.ingest(PIPELINE, SCHEDULE.range(FIRST, LAST), platform)
    workflows.train(PIPELINE, SCHEDULE.tick(TRAINED), "for the test", platform)
    ticks = list(SCHEDULE.range(TRAINED, LAST))
    workflows.score(PIPELINE, ticks, platform)
    workflows.monitor(PIPELINE, ticks, platform)
    return Home(folder, platform, bought)


def test_the_partition_of_a_monday_has_the_purchases_of_the_weekend(home: Home) -> None:
    rows, bought = home.platform.lake.rows(names.raw(PIPELINE, "purchases")).to_pandas(), home.purchases
    days = working_days(FIRST - 3 * DAY, LAST)
    expected = {
        day: set(bought["purchase_id"][bought["bought_at"].between(start(before), start(day), "left")])
        for before, day in itertools.pairwise(days)
    }
    assert {tick: set(of["purchase_id"]) for tick, of in rows.groupby("tick")} == {
        day: of for day, of in expected.items() if of
    }


def test_the_windows_of_a_training_are_working_days_whose_outcomes_are_known(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="regulars")
    assert training.state == "promoted"
    folder = TrainingFolder(home.platform, training.id)
    ticks = {name: sorted(read_window(folder, name).to_pandas()["tick"].unique()) for name in ("train", "validation", "test")}
    # Ten days end on the eighth working day after, wherever they begin: from a Thursday on a Sunday.
    last = working_days(FIRST, TRAINED)[-9]
    assert ticks["test"] == working_days(FIRST, last)[-20:]
    assert len(ticks["validation"]) == 15
    assert ticks["validation"][-1] <= ticks["test"][0] - 10 * DAY
    assert ticks["train"][-1] <= ticks["validation"][0] - 10 * DAY
    rows = read_window(folder, "test").to_pandas()
    for day, of in rows.groupby("tick"):
        assert sorted(of["customer_id"]) == sorted(alive(home.purchases, day).index)
        assert of["label"].tolist() == [buys(home.purchases, customer, day) for customer in of["customer_id"]]


def test_features_look_back_in_days_not_in_ticks(home: Home) -> None:
    monday = date(2023, 10, 30)
    rows = features.build(PIPELINE, SCHEDULE.range(monday), home.platform).table.to_pandas()
    bought = home.purchases
    seen = bought[(bought["bought_at"] < start(monday)) & (bought["bought_at"] >= start(monday) - 10 * DAY)]
    counts = seen.groupby("customer_id").size()
    assert rows["bought_count_10d"].tolist() == [counts.get(customer, 0) for customer in rows["customer_id"]]


def test_every_working_day_is_scored_decided_and_measured_when_its_outcomes_are_known(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(PIPELINE)).to_pandas()
    expected = working_days(TRAINED, LAST)
    assert sorted(scored["tick"].unique()) == expected
    assert sorted(one.tick for one in home.platform.ledger.all(Decision, pipeline="regulars")) == expected
    measured = {one.tick: one for one in home.platform.ledger.all(Measurement, pipeline="regulars", what="label_rate")}
    known = [day for day in expected if day + 10 * DAY <= LAST]
    assert sorted(day for day, one in measured.items() if one.value is not None) == known
    of = scored[scored["tick"] == known[0]]
    share = sum(buys(home.purchases, customer, known[0]) for customer in of["customer_id"]) / len(of)
    assert f"{100 * share:.1f}% positive" in measured[known[0]].sentence


def test_status_page_and_digest_speak_of_ticks(home: Home) -> None:
    assert list(detail(PIPELINE, home.platform, (None, None), ()).ticks) == [str(day) for day in working_days(TRAINED, LAST)]
    assert "ticks with outcomes" in digest.text(PIPELINE, SCHEDULE.tick(LAST), home.platform)
    assert str(LAST) in status(PIPELINE, home.platform)
