"""Weekly ticks through every step: customers scored each Monday, against pandas."""

import signal
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import features, workflows
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.notifications import digest
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Decision, Measurement, Publication, Scoring, Training
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.killed_step import run_until
from tests.support.processes import PROCESSES
from tests.support.weekly_shop import (
    DAY,
    FIRST,
    LAST,
    REGULARS,
    TRAINED,
    WEEK,
    alive,
    buys,
    new_platform,
    purchases,
    start,
    variables,
    write_source,
)

SCHEDULE = REGULARS.schedule


@dataclass(frozen=True)
class Home:
    folder: Path
    platform: Platform
    purchases: pd.DataFrame


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """History ingested, a model trained and promoted, some weeks scored and monitored, one of them after the next."""
    folder = tmp_path_factory.mktemp("regulars")
    bought = purchases()
    write_source(bought, folder / "shop.db")
    platform = new_platform(folder)
    workflows.ingest(REGULARS, SCHEDULE.range(FIRST, LAST - WEEK), platform)
    workflows.train(REGULARS, SCHEDULE.tick(TRAINED), "for the test", platform)
    first, second, *others = SCHEDULE.range(TRAINED, LAST - WEEK)
    for tick in (second, first, *others):
        workflows.score(REGULARS, [tick], platform)
        workflows.monitor(REGULARS, [tick], platform)
    return Home(folder, platform, bought)


def mondays(first: date, last: date) -> list[date]:
    return [first + n * WEEK for n in range((last - first) // WEEK + 1)]


def test_a_partition_has_the_purchases_of_a_week(home: Home) -> None:
    rows, bought = home.platform.lake.rows(names.raw(REGULARS, "purchases")).to_pandas(), home.purchases
    expected = {
        monday: set(bought["purchase_id"][bought["bought_at"].between(start(monday - WEEK), start(monday), "left")])
        for monday in mondays(FIRST, LAST - WEEK)
    }
    found = {tick: set(of["purchase_id"]) for tick, of in rows.groupby("tick")}
    assert found == {monday: of for monday, of in expected.items() if of}


def test_the_windows_of_a_training_are_mondays_whose_outcomes_are_known(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="regulars")
    assert training.state == "promoted"
    folder = TrainingFolder(home.platform, training.id)
    ticks = {name: sorted(read_window(folder, name).to_pandas()["tick"].unique()) for name in ("train", "validation", "test")}
    last = TRAINED - 2 * WEEK  # ten days are over at the second Monday after
    assert ticks["test"] == mondays(last - 9 * WEEK, last)
    assert ticks["validation"] == mondays(last - 19 * WEEK, last - 12 * WEEK)
    assert ticks["train"][-1] == last - 22 * WEEK
    rows = read_window(folder, "test").to_pandas()
    for monday, of in rows.groupby("tick"):
        assert sorted(of["customer_id"]) == sorted(alive(home.purchases, monday).index)
        assert of["label"].tolist() == [buys(home.purchases, customer, monday) for customer in of["customer_id"]]


def test_features_look_back_from_each_monday(home: Home) -> None:
    monday = date(2024, 4, 1)  # the clock was changed the day before
    rows = features.build(REGULARS, SCHEDULE.range(monday), home.platform).table.to_pandas()
    bought = home.purchases
    for days, name in ((10, "bought_count_10d"), (28, "bought_count_28d")):
        seen = bought[(bought["bought_at"] < start(monday)) & (bought["bought_at"] >= start(monday) - days * DAY)]
        counts = seen.groupby("customer_id").size()
        assert rows[name].tolist() == [counts.get(customer, 0) for customer in rows["customer_id"]]


def test_every_monday_is_scored_measured_and_decided_once(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(REGULARS)).to_pandas()
    expected = mondays(TRAINED, LAST - WEEK)
    assert sorted(scored["tick"].unique()) == expected
    for monday, of in scored.groupby("tick"):
        assert sorted(of["customer_id"]) == sorted(alive(home.purchases, monday).index)
        assert not of["fallback"].any()
    assert sorted(one.tick for one in home.platform.ledger.all(Decision, pipeline="regulars")) == expected
    measured = {(m.tick, m.what): m for m in home.platform.ledger.all(Measurement, pipeline="regulars")}
    judged = expected[-3]
    of = scored[scored["tick"] == judged]
    rate = np.mean([buys(home.purchases, customer, judged) for customer in of["customer_id"]])
    assert f"{100 * rate:.1f}% positive" in measured[judged, "label_rate"].sentence
    assert (expected[-2], "label_rate") not in measured, "its ten days are not over at the next Monday"


def test_the_age_of_a_model_is_in_days_and_what_is_past_in_ticks(home: Home) -> None:
    (age,) = home.platform.ledger.all(Measurement, pipeline="regulars", tick=LAST - WEEK, what="model_age")
    last = TRAINED - 24 * WEEK
    assert age.value == (LAST - WEEK - last).days


def test_the_page_and_the_digest_show_mondays(home: Home) -> None:
    shown = detail(REGULARS, home.platform, (None, None), ())
    assert list(shown.ticks) == [str(monday) for monday in mondays(FIRST, LAST - WEEK)][-len(shown.ticks) :]
    told = digest.text(REGULARS, SCHEDULE.tick(LAST - WEEK), home.platform)
    judged = LAST - 3 * WEEK
    assert f"From {judged.day} to {judged:%-d %B}" in told
    assert "weeks with outcomes" in told


def test_a_date_that_is_no_monday_is_refused_with_the_nearest_ones(home: Home) -> None:
    with pytest.raises(ValueError, match="is no tick: there is one every Monday, the nearest are 2024-02-12 and 2024-02-19"):
        SCHEDULE.tick("2024-02-14")


def test_a_backfill_of_weeks_leaves_the_same_rows_however_often_it_runs(home: Home) -> None:
    before = predictions(home)
    weeks = list(SCHEDULE.range(TRAINED + WEEK, TRAINED + 3 * WEEK))
    for ticks in (weeks, weeks[::-1]):
        workflows.ingest(REGULARS, SCHEDULE.range(ticks[0].name), home.platform)
        workflows.score(REGULARS, ticks, home.platform)
        workflows.monitor(REGULARS, ticks, home.platform)
    pd.testing.assert_frame_equal(before, predictions(home))


def test_a_week_whose_steps_are_killed_and_run_again_is_there_once(home: Home) -> None:
    for step, moments in (("ingest", (9, 31)), ("score", (4, 9)), ("monitor", (6, 14))):
        for moment in moments:
            assert run(home, step, moment) == -signal.SIGKILL, f"{step} ended before moment {moment}"
        assert run(home, step, 0) == 0
        assert run(home, step, 0) == 0
    ledger = home.platform.ledger
    assert len(ledger.all(Publication, pipeline="regulars", tick=LAST)) == 1
    (scoring,) = ledger.all(Scoring, pipeline="regulars", tick=LAST)
    assert len(ledger.all(Decision, pipeline="regulars", tick=LAST)) == 1
    scored = home.platform.lake.rows(names.predictions(REGULARS)).to_pandas()
    of = scored[scored["tick"] == LAST]
    assert sorted(of["customer_id"]) == sorted(alive(home.purchases, LAST).index)
    assert scoring.rows == len(of)


def predictions(home: Home) -> pd.DataFrame:
    """What is predicted for every Monday and customer, and by which version."""
    rows = home.platform.lake.rows(names.predictions(REGULARS)).to_pandas()
    rows = rows[["tick", "customer_id", "score", "decision", "model_version"]]
    return rows.sort_values(["tick", "customer_id"], ignore_index=True)


def run(home: Home, step: str, moment: int) -> int | None:
    """Run a step of the last week in a process of its own, killed at that moment of it; 0: not killed."""
    process = PROCESSES.Process(target=run_until, args=(step, str(LAST), moment, variables(home.folder)))
    process.start()
    process.join(timeout=120)
    return process.exitcode
