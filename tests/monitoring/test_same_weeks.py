"""A distribution that left the reference but is as in the same weeks of last year is a note; anything else stays an alarm."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.decide import Decided, decide
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement
from tests.support import monitored_shop as monitored

DAY = timedelta(days=1)
TICK = date(2024, 3, 5)
YEAR_BEFORE = TICK - 364 * DAY
PIPELINE = replace(
    monitored.pipeline,
    schedule=replace(monitored.pipeline.schedule, starts=date(2023, 1, 1)),
    rules=(
        ml.Rule("inputs moved", "feature_psi", "alert"),
        ml.Rule("values moved far", "feature_wasserstein", "alert"),
        ml.Rule("scores moved", "score_psi", "alert"),
        ml.Rule("nulls", "null_share", "alert"),
    ),
    watches=(*monitored.pipeline.watches, ml.Watch("feature_wasserstein", high=0.75)),
)


def score_of(price: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-(np.log(price) - 3.5) * 2)))


@dataclass
class Said:
    score: np.ndarray


class ShopModel:
    """The formula by which the shop's orders are scored."""

    def predict(self, rows: pa.Table) -> Said:
        return Said(score_of(rows["price"].to_numpy()))


def dear(day: date, by: float = 0.7, **more: Any) -> pa.Table:
    """A tick of a season in which orders are dear, logged with the scores of an older model."""
    price = np.random.default_rng(day.toordinal()).lognormal(3 + by, 0.6, monitored.ORDERS_A_TICK)
    return monitored.scored(day, price=price, **{"score": score_of(price)} | more)


@dataclass
class Judged:
    decided: Decided
    measured: dict[tuple[str, str], Measurement]

    @property
    def last_year(self) -> dict[tuple[str, str], Measurement]:
        return {key: one for key, one in self.measured.items() if key[0].endswith("_last_year")}


@pytest.fixture
def judge(make_shop: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Judged]:
    monkeypatch.setattr(monitored.StoredProfiles, "load", lambda *_: ShopModel(), raising=False)
    shop = make_shop()

    def judged(now: pa.Table, years_before: list[pa.Table]) -> Judged:
        ticks = PIPELINE.schedule.range(years_before[0]["tick"][0].as_py(), years_before[-1]["tick"][0].as_py())
        before = pa.concat_tables(years_before).drop_columns(["label"])
        shop.lake.replace_ticks(names.predictions(PIPELINE), ticks, before)
        monitored.score_tick(shop, now)
        tick = PIPELINE.schedule.tick(TICK)
        measure(PIPELINE, tick, shop)
        found = shop.ledger.all(Measurement, pipeline=PIPELINE.name, tick=TICK)
        return Judged(decide(PIPELINE, tick, shop), {(one.what, one.slice): one for one in found})

    return judged


def around(days: int, make: Callable[..., pa.Table], **more: Any) -> list[pa.Table]:
    return [make(YEAR_BEFORE + n * DAY, **more) for n in range(-days, days + 1)]


def psi(then: np.ndarray, now: np.ndarray) -> float:
    """By the textbook, in deciles of the reference, half a row added to each bin, less what chance gives."""
    reference = pa.concat_tables([monitored.scored(day) for day in monitored.REFERENCE])["price"].to_numpy()
    edges = np.quantile(reference, np.arange(0.1, 1.0, 0.1))
    e, a = (np.histogram(values, [-np.inf, *edges, np.inf])[0].astype(float) for values in (then, now))
    noise = 9 * (1 / e.sum() + 1 / a.sum())
    p, q = ((n + 0.5) / (n + 0.5).sum() for n in (e, a))
    return float(np.sum((q - p) * np.log(q / p))) - noise


def test_what_moves_as_in_the_same_weeks_of_last_year_is_a_note_that_says_so(judge: Callable[..., Judged]) -> None:
    before = around(7, dear, score=np.full(monitored.ORDERS_A_TICK, 0.5))
    got = judge(dear(TICK), before)
    assert set(got.decided.rules) == {"inputs moved", "values moved far", "scores moved"}
    assert got.decided.action == "note"
    assert "a note: as in the same weeks of last year" in got.decided.reason
    assert set(got.last_year) == {("feature_psi_last_year", "price"), ("score_psi_last_year", "")}
    measured = got.measured["feature_psi_last_year", "price"]
    prices = np.concatenate([rows["price"].to_numpy() for rows in before])
    assert measured.value == pytest.approx(max(0.0, psi(prices, dear(TICK)["price"].to_numpy())), abs=0.01)
    assert measured.reference == got.measured["feature_psi", "price"].high
    assert "PSI of feature price against the same weeks of last year is" in measured.sentence
    assert (got.measured["score_psi_last_year", ""].value or 0) < 0.1  # by the present model, whatever was answered then


def test_what_was_not_so_last_year_is_an_alarm(judge: Callable[..., Judged]) -> None:
    got = judge(dear(TICK), around(7, monitored.scored))
    assert got.decided.action == "alert"
    assert (got.measured["feature_psi_last_year", "price"].value or 0) > 0.25


def test_too_few_ticks_of_last_year_tell_nothing(judge: Callable[..., Judged]) -> None:
    got = judge(dear(TICK), around(3, dear))
    assert got.decided.action == "alert"
    assert not got.last_year


def test_a_fault_of_the_data_is_an_alarm_in_every_season(judge: Callable[..., Judged]) -> None:
    price = [None if n % 4 == 0 else value for n, value in enumerate(dear(TICK)["price"].to_pylist())]
    broken = dear(TICK)
    broken = broken.set_column(broken.column_names.index("price"), "price", pa.array(price, pa.float64()))
    got = judge(
        broken, [rows.set_column(rows.column_names.index("price"), "price", pa.array(price)) for rows in around(7, dear)]
    )
    assert got.decided.action == "alert"
    assert "inputs moved" in got.decided.rules
    assert "a note: as in" not in got.decided.reason.partition("inputs moved")[2].partition(";")[0]


def test_nothing_is_compared_where_nothing_moved(judge: Callable[..., Judged]) -> None:
    assert not judge(monitored.scored(TICK), around(7, dear)).last_year
