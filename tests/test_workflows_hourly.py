"""Hourly ticks through every step, over both changes of the clock, against pandas."""

import json
import sqlite3
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features, workflows
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.features import sql
from mlprod_tasks.monitoring.requests import measure_collected
from mlprod_tasks.notifications import digest
from mlprod_tasks.online.check import check_online
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Decision, Measurement, Training
from mlprod_tasks.rollout.rows import read
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.serving.run import build_service
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.hourly_shop import AUTUMN, HOUR, SPRING, new_platform, pipeline, tables, write_source
from tests.support.service import request


@dataclass(frozen=True)
class Home:
    folder: Path
    pipeline: Pipeline
    platform: Platform
    orders: pd.DataFrame
    payments: pd.DataFrame
    day: date

    @property
    def scored(self) -> list[str]:
        """The names of all ticks of the day on which the clock changes, found apart from the project."""
        begin = pd.Timestamp(self.day, tz="America/New_York").tz_convert("UTC") + timedelta(minutes=15)
        hours = 25 if self.day == AUTUMN else 23
        return [(begin + n * HOUR).strftime("%Y-%m-%dT%H%MZ") for n in range(hours)]


def start(name: str) -> pd.Timestamp:
    return pd.Timestamp(datetime.strptime(name, "%Y-%m-%dT%H%MZ").replace(tzinfo=UTC))


@pytest.fixture(scope="module", params=[AUTUMN, SPRING], ids=["clock put back", "clock put forward"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Ten days ingested, a model trained as of the day of the change, all hours of that day scored and monitored."""
    day, folder = request.param, tmp_path_factory.mktemp("hourly")
    declared, (orders, payments) = pipeline(day), tables(day)
    write_source(orders, payments, folder / "shop.db")
    platform, schedule = new_platform(folder), declared.schedule
    workflows.ingest(declared, schedule.range(str(schedule.starts), str(day)), platform)
    of_day = list(schedule.range(str(day)))
    workflows.train(declared, of_day[0], "for the test", platform)
    for tick in (of_day[1], of_day[0], *of_day[2:]):
        workflows.score(declared, [tick], platform)
        workflows.monitor(declared, [tick], platform)
    return Home(folder, declared, platform, orders, payments, day)


def rows_of(home: Home, name: str) -> pd.DataFrame:
    """The orders that became known in the hour before a tick."""
    at = home.orders["ordered_at"]
    return home.orders[(at >= start(name) - HOUR) & (at < start(name))]


def test_every_hour_of_the_day_is_scored_and_decided_once(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas()
    assert sorted(scored["tick"].unique()) == home.scored
    for name in home.scored:
        of = scored[scored["tick"] == name]
        assert sorted(of["order_id"]) == sorted(rows_of(home, name)["order_id"])
        assert not of["fallback"].any()
    assert [one.tick for one in home.platform.ledger.all(Decision, pipeline="paid")] == home.scored


def test_features_look_back_in_real_hours(home: Home) -> None:
    name = home.scored[6]  # after the change
    ticks = home.pipeline.schedule.range(name)
    made = features.build(home.pipeline, ticks, home.platform).table
    pd.testing.assert_frame_equal(made.to_pandas(), sql.run(home.pipeline, ticks, home.platform).to_pandas(), rtol=1e-12)
    at = home.orders["ordered_at"]
    known = home.orders[(at >= start(name) - 3 * HOUR) & (at < start(name))]
    counts = known.groupby("channel").size()
    rows = made.to_pandas()
    assert rows["recent_count_3h"].tolist() == [counts[channel] for channel in rows["channel"]]


def test_labels_are_those_known_at_the_training(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="paid")
    assert (training.state, training.as_of) == ("promoted", home.scored[0])
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas()
    last = start(home.scored[0]) - 3 * HOUR  # two and a half hours are over at the third tick after
    ticks = sorted(rows["tick"].unique())
    assert (len(ticks), start(ticks[-1])) == (48, last)
    paid = home.payments.set_index("order_id")["paid"]
    assert rows["label"].tolist() == paid[rows["order_id"]].tolist()


def test_outcomes_are_measured_at_the_third_tick_after(home: Home) -> None:
    measured = {(m.tick, m.what): m for m in home.platform.ledger.all(Measurement, pipeline="paid")}
    judged = home.scored[-4]
    paid = home.payments.set_index("order_id")["paid"][rows_of(home, judged)["order_id"]]
    assert f"{100 * np.mean(paid):.1f}% positive" in measured[judged, "label_rate"].sentence
    assert (home.scored[-3], "label_rate") not in measured


def test_the_page_and_the_digest_show_hours(home: Home) -> None:
    shown = detail(home.pipeline, home.platform, (None, None), ())
    assert list(shown.ticks) == home.scored
    assert "hours with outcomes" in digest.text(home.pipeline, home.pipeline.schedule.tick(home.scored[-1]), home.platform)


def test_predictions_are_published_by_the_names_of_hours(home: Home) -> None:
    with sqlite3.connect(home.folder / "shop.db") as connection:
        published = pd.read_sql("SELECT tick, count(*) AS n FROM predictions GROUP BY tick ORDER BY tick", connection)
    connection.close()
    assert published["tick"].tolist() == home.scored
    assert published["n"].tolist() == [len(rows_of(home, name)) for name in home.scored]


def test_requests_get_the_scores_of_their_hour_and_are_collected_and_measured_by_it(home: Home) -> None:
    served = replace(home.pipeline, serving=ml.Serving())
    fill_online(served, served.schedule.tick(home.scored[-1]), home.platform)
    service = build_service(home.platform, {"paid": served}, keys_needed=False)
    batch = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas().set_index("order_id")["score"]
    asked = home.scored[1:-5:5]  # among them one of the two hours that the clock shows twice
    sent = {name: rows_of(home, name) for name in asked}
    for name, rows in sent.items():
        texts = rows.assign(ordered_at=[at.isoformat() for at in rows["ordered_at"]])
        body = {"rows": json.loads(texts.to_json(orient="records", double_precision=15)), "moment": start(name).isoformat()}
        told = request(service, "POST", "/v1/pipelines/paid/score", json=body).json()["rows"]
        assert [one["score"] for one in told] == batch.loc[rows["order_id"]].tolist(), "bit for bit"
        assert {one["route"] for one in told} == {"champion"}
    service.scorers["paid"].log.flush()
    assert collect(served, home.platform).ticks == tuple(asked)
    assert collect(served, home.platform).rows == 0, "each row once"
    logged = home.platform.lake.rows(names.requests(served)).to_pandas()
    assert logged.groupby("tick").size().to_dict() == {name: len(rows) for name, rows in sent.items()}

    assert {one.tick for one in measure_collected(served, home.platform)} >= set(asked)
    measured = {m.tick: m.n for m in home.platform.ledger.all(Measurement, pipeline="paid", what="online_rows") if m.n}
    assert measured == {name: len(rows) for name, rows in sent.items()}
    for name in asked:
        assert check_online(served, served.schedule.tick(name), home.platform).share == 0.0
    began = datetime(2013, 1, 1, tzinfo=UTC)
    compared = read(served, home.platform, 1, 2, since=began, champion_since=began).champion
    paid = home.payments.set_index("order_id")["paid"]
    assert sorted(compared.outcome) == sorted(float(paid[key]) for rows in sent.values() for key in rows["order_id"])


def test_scoring_and_monitoring_again_changes_nothing(home: Home) -> None:
    before = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas()
    ticks = [home.pipeline.schedule.tick(name) for name in home.scored[2:5]]
    workflows.ingest(home.pipeline, home.pipeline.schedule.range(home.scored[2], home.scored[4]), home.platform)
    workflows.score(home.pipeline, ticks[::-1], home.platform)
    workflows.monitor(home.pipeline, ticks, home.platform)
    after = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas()
    key = ["tick", "order_id"]
    same = [*key, "score", "decision"]
    pd.testing.assert_frame_equal(
        before.sort_values(key, ignore_index=True)[same], after.sort_values(key, ignore_index=True)[same]
    )
