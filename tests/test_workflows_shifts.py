"""Three ticks a day by cron through every step, over a change of the clock: who buys in the next shifts, against pandas."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Decision, Measurement, Training
from tests.support.weekly_shop import REGULARS, ZONE, new_platform, write_source

FIRST, TRAINED, LAST = date(2023, 10, 2), date(2023, 10, 28), date(2023, 10, 29)  # the clock is put back on the last day
PIPELINE = replace(
    REGULARS,
    schedule=ml.Schedule.cron("0 6,14,22 * * *", ZONE, FIRST, LAST),
    entity=ml.Population("customers", seen_in="purchases", by=("customer_id",), within=ml.days(3)),
    features=(
        ml.Expression("hour", f"extract(hour FROM as_of AT TIME ZONE '{ZONE}')", "int", "of the tick"),
        ml.Trailing("bought", "purchases", {"customer_id": "customer_id"}, (ml.days(1), ml.days(3)), (ml.Count(),)),
    ),
    label=ml.Outcome("purchases", {"customer_id": "customer_id"}, ml.Any(), within=ml.hours(6)),
    split=ml.Split(validation=ml.days(4), test=ml.days(5), gap=ml.hours(8)),
    model=ml.Model(candidates=(ml.LogisticRegression(),), threads=1, seed=1),
    fallback=ml.RateTable(by=("hour",)),
    gates=(ml.AtLeast("roc_auc", 0.5),),
)
SCHEDULE = PIPELINE.schedule


@dataclass(frozen=True)
class Home:
    platform: Platform
    purchases: pd.DataFrame


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A month of purchases, a model, and the five last ticks scored and monitored."""
    folder = tmp_path_factory.mktemp("shifts")
    random = np.random.default_rng(2)
    gaps = random.uniform(2, 40, 60)  # hours between the purchases of each customer
    rows = [(n, at) for n, gap in enumerate(gaps) for at in np.cumsum(random.exponential(gap, 2000)) if at < 30 * 24]
    frame = pd.DataFrame(rows, columns=["customer_id", "hours"])
    frame["bought_at"] = pd.Timestamp("2023-10-01", tz="UTC") + pd.to_timedelta(frame.pop("hours"), unit="h")
    frame = frame.sort_values("bought_at", ignore_index=True).assign(amount=1.0).rename_axis("purchase_id").reset_index()
    write_source(frame[["purchase_id", "bought_at", "customer_id", "amount"]], folder / "shop.db")
    platform = new_platform(folder)
    workflows.ingest(PIPELINE, SCHEDULE.range(FIRST, LAST), platform)
    first = SCHEDULE.at_or_after(TRAINED)
    workflows.train(PIPELINE, SCHEDULE.tick(first), "for the test", platform)
    ticks = list(SCHEDULE.range(SCHEDULE.shift(first, 1), LAST))
    workflows.score(PIPELINE, ticks, platform)
    workflows.monitor(PIPELINE, ticks, platform)
    return Home(platform, frame)


def local(*times: str) -> list[pd.Timestamp]:
    return [pd.Timestamp(one, tz=ZONE).tz_convert("UTC") for one in times]


TICKS = local("2023-10-28 14:00", "2023-10-28 22:00", "2023-10-29 06:00", "2023-10-29 14:00", "2023-10-29 22:00")
NAMES = [f"{one:%Y-%m-%dT%H%MZ}" for one in TICKS]


def test_partitions_end_at_local_times_also_on_the_long_night(home: Home) -> None:
    rows = home.platform.lake.rows(names.raw(PIPELINE, "purchases"), NAMES[1:]).to_pandas()
    bought = home.purchases
    for name, begins, ends in zip(NAMES[1:], TICKS, TICKS[1:], strict=False):
        expected = bought["purchase_id"][(bought["bought_at"] >= begins) & (bought["bought_at"] < ends)]
        assert sorted(rows["purchase_id"][rows["tick"] == name]) == sorted(expected)
    assert TICKS[2] - TICKS[1] == timedelta(hours=9)


def test_every_tick_is_scored_decided_and_measured_when_its_outcomes_are_known(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="regulars")
    assert training.state == "promoted"
    scored, bought = home.platform.lake.rows(names.predictions(PIPELINE)).to_pandas(), home.purchases
    assert sorted(scored["tick"].unique()) == NAMES
    assert sorted(str(one.tick) for one in home.platform.ledger.all(Decision, pipeline="regulars")) == NAMES
    measured = {str(one.tick): one for one in home.platform.ledger.all(Measurement, pipeline="regulars", what="label_rate")}
    known = NAMES[: -PIPELINE.label_delay_ticks]
    assert [name for name in NAMES if name in measured and measured[name].value is not None] == known
    for name, at in zip(known, TICKS, strict=False):
        later = bought[(bought["bought_at"] >= at) & (bought["bought_at"] < at + timedelta(hours=6))]
        alive = bought[(bought["bought_at"] < at) & (bought["bought_at"] >= at - timedelta(days=3))]["customer_id"].unique()
        assert sorted(scored["customer_id"][scored["tick"] == name]) == sorted(alive)
        assert f"{100 * np.isin(alive, later['customer_id']).mean():.1f}% positive" in measured[name].sentence
