"""The shipped use case of departures in the next hour, over a change of the clock, against the package's own file."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error

from benchmarks.airports import departures
from benchmarks.simple_rules import compared
from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Decision, Measurement, Training
from mlprod_tasks.serving.run import build_service
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.airport import airport_platform, raw_flights
from tests.support.paths import REPOSITORY
from tests.support.service import request

STARTS, SCORED = date(2013, 2, 16), date(2013, 3, 10)  # the clock is put forward at two in the morning
HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


@dataclass(frozen=True)
class Home:
    pipeline: Pipeline
    platform: Platform
    flights: pd.DataFrame

    @property
    def scored(self) -> list[datetime]:
        """The hours of the day on which the clock changes, found apart from the project."""
        begin = pd.Timestamp(SCORED, tz="America/New_York").tz_convert("UTC").tz_localize(None)
        return [begin + n * HOUR for n in range(23)]

    def count(self, airport: str, what: str, begin: datetime, end: datetime) -> int:
        """The flights of an airport with a time in [begin, end)."""
        of = self.flights
        return int(((of["origin"] == airport) & (of[what] >= begin) & (of[what] < end)).sum())


def start(name: str) -> datetime:
    return datetime.strptime(name, "%Y-%m-%dT%H%MZ").replace(tzinfo=UTC).replace(tzinfo=None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Three weeks ingested, a model trained, the hours of a day scored and monitored; with windows of days instead of weeks."""
    platform = airport_platform(tmp_path_factory.mktemp("departures"))
    shipped = load(REPOSITORY / "pipelines" / "departures.py")
    trees, *rules = shipped.model.candidates
    pipeline = replace(
        shipped,
        schedule=replace(shipped.schedule, starts=STARTS),
        split=ml.Split(validation=ml.days(4), test=ml.days(4), gap=ml.hours(1)),
        gates=(ml.AtLeast("r2", 0.6), ml.SamePredictions()),  # the other bounds are for the whole windows
        model=replace(shipped.model, candidates=(replace(trees, max_trees=60, learning_rate=0.2), *rules), threads=1),
    )
    schedule = pipeline.schedule
    of_day = list(schedule.range(str(SCORED)))
    workflows.ingest(pipeline, schedule.range(str(STARTS), str(SCORED)), platform)
    workflows.train(pipeline, of_day[0], "for the test", platform)
    workflows.score(pipeline, of_day, platform)
    workflows.monitor(pipeline, of_day, platform)
    return Home(pipeline, platform, raw_flights())


def test_each_row_is_an_airport_and_an_hour_with_what_left_in_it(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="departures")
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas()
    assert rows.groupby("tick")["origin"].agg(list).map(sorted).tolist() == [["EWR", "JFK", "LGA"]] * 96
    assert start(rows["tick"].max()) == home.scored[0] - HOUR  # the last hour that is over
    for row in rows.sample(60, random_state=1).itertuples():
        now = start(row.tick)
        assert row.label == home.count(row.origin, "left", now, now + HOUR)
        assert row.planned_count_1h == home.count(row.origin, "planned", now, now + HOUR)
        assert row.departed_count_1h == home.count(row.origin, "left", now - HOUR, now)
        assert row.week_ago_count_1h == home.count(row.origin, "left", now - WEEK, now - WEEK + HOUR)
        waiting = home.count(row.origin, "planned", now - 3 * HOUR, now) - home.count(row.origin, "left", now - 3 * HOUR, now)
        assert row.backlog == waiting
        local = pd.Timestamp(now, tz="UTC").tz_convert("America/New_York")
        assert row.hour_of_week == 24 * local.weekday() + local.hour


def test_every_hour_of_a_day_of_23_hours_is_scored_and_judged_by_what_left(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas()
    assert [start(name) for name in sorted(scored["tick"].unique())] == home.scored
    assert not scored["fallback"].any()
    errors = [
        abs(row.score - home.count(row.origin, "left", start(row.tick), start(row.tick) + HOUR)) for row in scored.itertuples()
    ]
    assert np.mean(errors) < 4
    assert len(home.platform.ledger.all(Decision, pipeline="departures")) == 23


def test_the_monitor_sees_that_outcomes_are_there_but_says_that_three_are_too_few_to_judge_errors_by(home: Home) -> None:
    measured = {(m.what, m.tick): m for m in home.platform.ledger.all(Measurement, pipeline="departures")}
    of_day = [moment.strftime("%Y-%m-%dT%H%MZ") for moment in home.scored]
    # The outcome of the last hour is not known yet.
    assert [measured["label_coverage", tick].value for tick in of_day[:-1]] == [1.0] * 22
    assert ("label_coverage", of_day[-1]) not in measured
    assert {measured["mae", tick].n for tick in of_day[:-1]} == {3}
    assert all("3 outcomes are too few" in measured["mae", tick].sentence for tick in of_day[:-1])


def test_the_model_is_better_than_the_plan(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="departures")
    assert training.state == "promoted"
    found = compared(home.pipeline, training, home.platform, departures)
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas()
    planned = mean_absolute_error(rows["label"], rows["planned_count_1h"])
    assert (found.first, found.last) == (date(2013, 3, 6), date(2013, 3, 9))
    assert found.figures["as planned"]["mean absolute error"] == pytest.approx(planned)
    assert training.metrics["mae"] < planned < found.figures["as in the last hour"]["mean absolute error"]


def test_a_request_of_an_airport_gets_what_the_batch_of_the_hour_predicts(home: Home) -> None:
    served = replace(home.pipeline, serving=ml.Serving())
    names_of_hours = [tick.name for tick in served.schedule.range(str(SCORED))]
    fill_online(served, served.schedule.tick(names_of_hours[-1]), home.platform)
    service = build_service(home.platform, {served.name: served}, keys_needed=False)
    batch = home.platform.lake.rows(names.predictions(served)).to_pandas().set_index(["tick", "origin"])["score"]
    rows = [{"origin": airport} for airport in ("EWR", "JFK", "LGA")]
    for name in names_of_hours:
        body = {"rows": rows, "moment": served.schedule.tick(name).start.isoformat()}
        answer = request(service, "POST", f"/v1/pipelines/{served.name}/score", json=body)
        assert answer.status_code == 200, answer.text
        told = [one["prediction"] for one in answer.json()["rows"]]
        assert told == [batch[name, row["origin"]] for row in rows], "bit for bit"
