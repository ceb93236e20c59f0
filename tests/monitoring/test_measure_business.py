"""Estimates, what became of them, and what the business says, of a real lake in a real ledger and in any order."""

import random
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn import metrics as sk

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring import correlation
from mlprod_tasks.monitoring.estimate import METRICS
from mlprod_tasks.monitoring.kinds import of_family
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement
from tests.support import monitored_shop as monitored

DAY = timedelta(days=1)
T = monitored.FIRST
ROWS = 120
TAKEN = ml.BusinessMetric("taken", "books", "SELECT taken FROM days WHERE tick = :tick", "francs taken", "CHF")
pipeline = replace(monitored.pipeline, monitoring=ml.Monitoring(metrics=(TAKEN,)))
Shop = Callable[[str], Platform]


@pytest.fixture
def shop(make_shop: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Make a shop whose books know what was taken on each day."""

    def made(folder: str) -> Platform:
        platform = make_shop(folder)
        books = platform.settings.home / "books.db"
        books.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(books) as connection:
            connection.execute("CREATE TABLE days (tick TEXT, taken NUMERIC)")
            connection.executemany(
                "INSERT INTO days VALUES (?, ?)", [(str(T + n * DAY), (n * 7) % 5 + n / 100) for n in range(20)]
            )
        return Platform(
            replace(platform.settings, connection={"books": f"sqlite:///{books}"}.__getitem__), clock=platform.clock
        )

    def with_profile(folder: str) -> Platform:
        platform = made(folder)
        platform.__dict__["registry"] = monitored.StoredProfiles({monitored.VERSION: monitored.reference().as_json()})
        return platform

    return with_profile


def lake(platform: Platform, days: list[date], **changes: Any) -> None:
    for day in days:
        rows = monitored.scored(day, ROWS, **changes)
        monitored.score_tick(platform, rows)
        monitored.publish_outcomes(platform, rows)
    monitored.note_published(platform, days[0], 0)


def run(platform: Platform, day: date) -> Any:
    return measure(pipeline, pipeline.schedule.tick(day), platform)


def found(platform: Platform, day: date, what: str, name: str = "") -> Measurement:
    row = platform.ledger.get(Measurement, "shop", day, what, name)
    assert row is not None, (day, what, name)
    return row


def outcomes_of(platform: Platform) -> list[dict[str, Any]]:
    rows = platform.ledger.all(Measurement, Measurement.what.in_(of_family("outcome")))
    return [{name: value for name, value in vars(row).items() if name not in ("at", "_sa_instance_state")} for row in rows]


def test_performance_is_estimated_at_the_tick_and_its_error_told_when_labels_are_there(shop: Shop) -> None:
    platform, days = shop("one"), [T, T + DAY, T + 2 * DAY]
    lake(platform, days, fallback=np.arange(ROWS) < 20)
    run(platform, T)
    rows = monitored.scored(T, ROWS).slice(20)
    decision, curve = rows["decision"].to_numpy(), monitored.reference().recalibration[0]
    chance = np.interp(rows["score"].to_numpy(), curve.x, curve.y)  # what scores meant on the reference
    assert found(platform, T, "estimated_precision").value == pytest.approx(chance[decision].mean())
    assert found(platform, T, "estimated_recall").value == pytest.approx(chance[decision].sum() / chance.sum())
    worth = 1000 * np.where(decision, 10 * chance - 2 * (1 - chance), 0).mean()
    assert found(platform, T, "estimated_value").value == pytest.approx(worth)
    auc = found(platform, T, "estimated_roc_auc")
    assert auc.interval_low < auc.value < auc.interval_high
    assert auc.reference == pytest.approx(monitored.reference().roc_auc)
    for day in days[1:]:
        run(platform, day)
    label = rows["label"].to_numpy(zero_copy_only=False)
    assert found(platform, T, "precision").value == pytest.approx(sk.precision_score(label, decision))
    for metric in METRICS:
        promised, realised = found(platform, T, f"estimated_{metric}"), found(platform, T, metric)
        error = found(platform, T, "estimate_error", metric)
        assert error.reference == pytest.approx(promised.value, abs=1e-12), "both are kept, and it is the same promise"
        assert error.value == pytest.approx(realised.value - promised.value)


def test_the_business_is_asked_when_labels_are_complete_and_not_before(shop: Shop) -> None:
    platform, days = shop("one"), [T, T + DAY, T + 2 * DAY, T + 3 * DAY]
    lake(platform, days)
    with platform.ledger.session() as session:
        session.delete(session.merge(platform.ledger.get(monitored.Publication, "shop", "returns", T + 2 * DAY)))
    run(platform, T + 2 * DAY)
    waiting = found(platform, T, "business_metric", "taken")
    assert waiting.value is None
    assert "wait for the publication of returns" in waiting.sentence
    assert found(platform, T, "estimate_error", "value").value is None
    assert not platform.ledger.all(Measurement, what="kpi_correlation")
    monitored.publish_outcomes(platform, monitored.scored(T + DAY, ROWS))
    run(platform, T + 2 * DAY)
    taken = found(platform, T, "business_metric", "taken")
    assert (taken.value, taken.breached) == (0, False)
    assert "CHF, francs taken" in taken.sentence


def test_books_that_do_not_answer_are_said_so_and_the_rest_is_measured(shop: Shop) -> None:
    platform = shop("one")
    lake(platform, [T, T + DAY, T + 2 * DAY])
    (platform.settings.home / "books.db").unlink()
    run(platform, T + 2 * DAY)
    assert "does not exist" in found(platform, T, "business_metric", "taken").sentence
    assert found(platform, T, "roc_auc").value is not None


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Correlations over few ticks."""
    monkeypatch.setattr(correlation, "TICKS", 4)
    monkeypatch.setattr(correlation, "FEWEST_PAIRS", 3)


@pytest.mark.usefixtures("soon")
def test_correlations_are_those_of_the_ledgers_rows_and_the_same_in_any_order_at_once_and_again(shop: Shop) -> None:
    days = [T + n * DAY for n in range(7)]
    in_order, shuffled = shop("in_order"), shop("shuffled")
    for platform in (in_order, shuffled):
        lake(platform, days)
    for day in days:
        run(in_order, day)
    complete = days[1:5]
    auc, kpi = ([found(in_order, day, what).value for day in complete] for what in ("roc_auc", "kpi"))
    taken = [found(in_order, day, "business_metric", "taken").value for day in complete]
    for name, one, other in (("roc_auc with value_per_order", auc, kpi), ("roc_auc with taken", auc, taken)):
        row = found(in_order, complete[-1], "kpi_correlation", name)
        assert row.value == pytest.approx(stats.spearmanr(one, other).statistic)
        assert row.n == 4
    assert found(in_order, days[1], "kpi_correlation", "roc_auc with taken").value is None, "two ticks are too few"
    assert not [row for row in in_order.ledger.all(Measurement, what="kpi_correlation") if row.tick > complete[-1]]
    random.Random(4).shuffle(days)
    with ThreadPoolExecutor(3) as at_once:
        list(at_once.map(lambda day: run(shuffled, day), days))
    assert outcomes_of(shuffled) == outcomes_of(in_order)
    run(shuffled, days[0])
    assert outcomes_of(shuffled) == outcomes_of(in_order)


@pytest.mark.usefixtures("soon")
def test_a_tick_that_is_scored_anew_changes_the_correlations_of_the_ticks_after_it(shop: Shop) -> None:
    days = [T + n * DAY for n in range(6)]
    mended, fresh = shop("mended"), shop("fresh")
    lake(mended, days)
    lake(fresh, days)
    for day in days:
        run(mended, day)

    def correlated() -> list[float | None]:
        return [row.value for row in mended.ledger.all(Measurement, tick=days[3], what="kpi_correlation")]

    before = correlated()
    rows = monitored.scored(days[1], ROWS)
    turned = pa.array(1 - rows["score"].to_numpy())
    again = rows.drop_columns(["label"]).set_column(rows.column_names.index("score"), "score", turned)
    for platform in (mended, fresh):
        platform.lake.replace_ticks(names.predictions(pipeline), pipeline.schedule.range(days[1]), again)
    run(mended, days[1])
    for day in days:
        run(fresh, day)
    assert outcomes_of(mended) == outcomes_of(fresh)
    assert correlated() != before
