"""Outcomes that a column tells through every step: invoices that are paid in time, and members who leave, against pandas."""

import sqlite3
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.operations.doctor import read_sql
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement, Training
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.weekly_shop import new_platform

DAY = timedelta(days=1)
FIRST, TRAINED, LAST = date(2024, 1, 2), date(2024, 3, 2), date(2024, 3, 5)
ROWS, MEMBERS = 6000, 80

INVOICES = ml.Table(
    "invoices",
    ml.Database("shop", "invoices"),
    ("invoice",),
    (
        ml.Column("invoice", "int"),
        ml.Column("sent_at", "timestamp"),
        ml.Column("member", "int"),
        ml.Column("value", "float"),
        ml.Column("score", "float", "what another system said; called as a column of predictions"),
        ml.Column("paid_at", "timestamp", nullable=True, known_at="paid_at"),
    ),
    time="sent_at",
    refresh_ticks=2,
)
MEMBERS_TABLE = ml.Table(
    "members",
    ml.Database("shop", "members"),
    ("member",),
    (ml.Column("member", "int"), ml.Column("left_at", "timestamp", nullable=True)),
)
PAID = Pipeline(
    name="paid",
    alert_to=("shop@example.com",),
    schedule=ml.Schedule(at=time(4), timezone="UTC", starts=FIRST),
    tables=(INVOICES,),
    entity="invoices",
    features=(
        ml.Expression("value", "value", "float", "what it asks for"),
        ml.Expression("invoices_score", "score", "float", "what another system said"),
        ml.Expression("weekday", "extract(isodow FROM sent_at)", "int", "1 is Monday"),
    ),
    fallback=ml.RateTable(by=("weekday",)),
    label=ml.Outcome("invoices", {"invoice": "invoice"}, ml.Happens("paid_at"), within=ml.days(2)),
    split=ml.Split(validation=ml.days(10), test=ml.days(14), gap=ml.days(2)),
    model=ml.Model(candidates=(ml.LogisticRegression(),), threads=1, seed=1),
    gates=(ml.AtLeast("roc_auc", 0.6),),
)
LEAVES = replace(
    PAID,
    name="leaves",
    tables=(INVOICES, MEMBERS_TABLE),
    entity=ml.Population("billed", seen_in="invoices", by=("member",), within=ml.days(20)),
    features=(
        ml.Expression("weekday", "extract(isodow FROM as_of)", "int", "1 is Monday"),
        ml.Trailing(
            "billed", "invoices", {"member": "member"}, (ml.days(20),), (ml.Count(), ml.Sum("value"), ml.Mean("score"))
        ),
    ),
    label=ml.Outcome("members", {"member": "member"}, ml.Happens("left_at"), within=ml.days(2)),
    gates=(ml.AtLeast("roc_auc", 0.01),),
)
USES = {"paid": PAID, "leaves": LEAVES}


@dataclass(frozen=True)
class Home:
    folder: Path
    platform: Platform
    invoices: pd.DataFrame
    members: pd.DataFrame

    def deliver(self, now: pd.Timestamp | None = None) -> None:
        """Write the source as it is at a moment: what happens later is missing."""
        with sqlite3.connect(self.folder / "shop.db") as connection:
            for name, frame, column in (("invoices", self.invoices, "paid_at"), ("members", self.members, "left_at")):
                shown = frame if now is None else frame.assign(**{column: frame[column].where(frame[column] < now)})
                if now is not None and "sent_at" in frame:
                    shown = shown[shown["sent_at"] < now]
                texts = {one: shown[one].dt.strftime("%Y-%m-%d %H:%M:%S.%f") for one in shown if one.endswith("_at")}
                shown.assign(**texts).to_sql(name, connection, index=False, if_exists="replace")
        connection.close()


def start(tick: date) -> pd.Timestamp:
    return pd.Timestamp(tick, tz="UTC") + pd.Timedelta(hours=4)


def truth(home: Home, use: str, key: int, tick: date) -> bool | None:
    """Whether it happens in the two days after a tick; None if it had happened before."""
    frame = home.invoices.set_index("invoice")["paid_at"] if use == "paid" else home.members.set_index("member")["left_at"]
    moment = frame.get(key)
    if moment is None or pd.isna(moment):
        return False
    return None if moment < start(tick) else bool(moment < start(tick) + 2 * DAY)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two months ingested at once, a model each, and then day by day what was there on each."""
    folder = tmp_path_factory.mktemp("moments")
    random = np.random.default_rng(8)
    sent = pd.Timestamp("2024-01-01 05:00", tz="UTC") + pd.to_timedelta(np.sort(random.uniform(0, 66, ROWS)), unit="D")
    amount = random.exponential(50, ROWS).round(2)
    paid = sent + pd.to_timedelta(random.exponential(1 + amount / 10), unit="D")
    invoices = pd.DataFrame({"invoice": np.arange(ROWS), "sent_at": sent, "member": random.integers(0, MEMBERS, ROWS)})
    invoices = invoices.assign(value=amount, score=random.random(ROWS), paid_at=paid.where(random.random(ROWS) < 0.8))
    left = pd.Timestamp("2024-01-20", tz="UTC") + pd.to_timedelta(random.uniform(0, 120, MEMBERS - 5), unit="D")
    home = Home(folder, new_platform(folder), invoices, pd.DataFrame({"member": np.arange(MEMBERS - 5), "left_at": left}))
    home.deliver(start(TRAINED))
    for pipeline in USES.values():
        workflows.ingest(pipeline, pipeline.schedule.range(FIRST, TRAINED), home.platform)
        workflows.train(pipeline, pipeline.schedule.tick(TRAINED), "for the test", home.platform)
    for tick in PAID.schedule.range(TRAINED + DAY, LAST):
        home.deliver(pd.Timestamp(tick.start))
        for pipeline in USES.values():
            workflows.ingest(pipeline, pipeline.schedule.range(tick.name), home.platform)
            if tick.name != TRAINED + 2 * DAY:  # one tick, and the one when its window is over
                workflows.score(pipeline, [tick], home.platform)
                workflows.monitor(pipeline, [tick], home.platform)
    return home


@pytest.mark.parametrize("use", USES)
def test_a_training_has_the_outcomes_of_pandas(use: str, home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline=use)
    assert training.state == "promoted"
    key = USES[use].entity_table.key[0]
    for window in ("train", "validation", "test"):
        rows = read_window(TrainingFolder(home.platform, training.id), window).to_pandas()
        assert rows["label"].tolist() == [
            truth(home, use, one, tick) for one, tick in zip(rows[key], rows["tick"], strict=True)
        ]
        assert set(rows["label"]) == {True, False}
    assert rows["tick"].max() == TRAINED - 2 * DAY


@pytest.mark.parametrize("use", USES)
def test_monitoring_measures_a_tick_when_its_windows_are_over(use: str, home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(USES[use])).to_pandas()
    measured = {one.tick: one for one in home.platform.ledger.all(Measurement, pipeline=use, what="label_rate")}
    known = [TRAINED + DAY]
    assert sorted(tick for tick, one in measured.items() if one.value is not None) == known
    key = USES[use].entity_table.key[0]
    for tick in known:
        told = [truth(home, use, one, tick) for one in scored[scored["tick"] == tick][key]]
        outcomes = [one for one in told if one is not None]
        assert f"{100 * sum(outcomes) / len(outcomes):.1f}% positive" in measured[tick].sentence
    assert None in told, "some happen before the tick: these rows are scored, and have no outcome"


def test_a_table_without_a_time_is_complete_at_any_later_reading(home: Home) -> None:
    """A range of ticks reads it once, for the last of them: earlier ticks have no publication of their own."""
    tick, later = (LEAVES.schedule.tick(TRAINED - days * DAY) for days in (8, 6))
    workflows.score(LEAVES, [tick, later], home.platform)
    workflows.monitor(LEAVES, [tick, later], home.platform)
    (one,) = home.platform.ledger.all(Measurement, pipeline="leaves", what="label_rate", tick=tick.name)
    assert one.value is not None


@pytest.mark.parametrize("use", USES)
def test_the_doctor_finds_nothing(use: str) -> None:
    assert read_sql(USES[use])
