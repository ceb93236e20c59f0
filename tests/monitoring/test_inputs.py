"""What is read of a tick's predictions, and that what goes wrong shows in it at one tick."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom, wasserstein_distance

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring import categories
from mlprod_tasks.monitoring.freshness import freshness
from mlprod_tasks.monitoring.history import less
from mlprod_tasks.monitoring.inputs import inputs
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.observe import observe, observe_by_tick
from mlprod_tasks.monitoring.profile import joined, make_profile, profile_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics.bins import OTHER
from tests.support import monitored_shop as monitored

ROWS = 900
TICKS = [date(2024, 2, 1) + timedelta(days=n) for n in range(10)]
NOW = date(2024, 3, 5)
TOWNS = [f"town {k}" for k in range(60)]
IMPORTANCE = {"price": 70.0, "place": 20.0, "items": 10.0}

looked_up = replace(
    monitored.pipeline,
    tables=(
        *monitored.pipeline.tables,
        ml.Table(
            "towns",
            ml.Database("shop", "towns"),
            key=("region",),
            columns=(
                ml.Column("region", "text", "key"),
                ml.Column("people", "int", "who live there", nullable=True),
                ml.Column("shops", "int", "that are there", nullable=True),
            ),
        ),
    ),
    features=(
        *monitored.pipeline.features,
        ml.Lookup("towns", {"region": "region"}, {"people": "people", "shops": "shops"}),
    ),
)


def tick(day: date, n: int = ROWS, **changes: Any) -> pa.Table:
    """A tick of a shop in 60 towns, of which some are rare; 5 % of the orders come from where nothing is known of."""
    random = np.random.default_rng(day.toordinal())
    shares = 1 / np.arange(1, len(TOWNS) + 1) ** 1.5
    unknown = random.random(n) < 0.05
    columns: dict[str, Any] = {
        "place": random.choice(TOWNS, n, p=shares / shares.sum()),
        "people": pa.array(random.poisson(3_000, n), mask=unknown),
        "shops": pa.array(random.poisson(30, n), mask=unknown | (random.random(n) < 0.1)),
    }
    return monitored.scored(day, n, **columns | changes)


@cache
def profile() -> ReferenceProfile:
    rows = pa.concat_tables([tick(day) for day in TICKS])
    given = {
        "decisions": rows["decision"].to_numpy(zero_copy_only=False),
        "labels": rows["label"].to_numpy(zero_copy_only=False),
    }
    return make_profile(looked_up, rows, scores=rows["score"].to_numpy(), importance=IMPORTANCE, **given)


def read(rows: pa.Table, against: ReferenceProfile | None = None, **how: Any) -> dict[tuple[str, str], Reading]:
    with engine(threads=1) as con:
        con.register("now", rows)
        found = observe(con, "now", against or profile())
    return {(one.what, one.slice): one for one in inputs(against or profile(), found, **({"together": False} | how))}


def value(readings: dict[tuple[str, str], Reading], what: str, name: str = "") -> float:
    found = readings[what, name].value
    assert found is not None, readings[what, name].why
    return found


def price(day: date = NOW) -> np.ndarray:
    return tick(day)["price"].to_numpy()


def holes(values: Any, share: float) -> pa.Array:
    return pa.array(values, mask=np.random.default_rng(0).random(len(values)) < share)


QUIET = [NOW + timedelta(days=n) for n in range(5)]
FAULTS: dict[str, tuple[str, str, Callable[[], dict[str, Any]]]] = {
    "miles to kilometres": ("feature_wasserstein", "price", lambda: {"price": price() * 1.609}),
    "miles to kilometres in bins": ("feature_psi", "price", lambda: {"price": price() * 1.609}),
    "one standard deviation": ("feature_wasserstein", "price", lambda: {"price": price() + np.std(price())}),
    "10 % nulls": ("null_share", "price", lambda: {"price": holes(price(), 0.1)}),
    "a renamed category": ("new_categories", "place", lambda: {"place": renamed("town 0", "Town 0")}),
    "the same, as a loss": ("lost_categories", "place", lambda: {"place": renamed("town 0", "Town 0")}),
    "pence for pounds": ("out_of_range", "price", lambda: {"price": price() * 100}),
    "scores in a heap": ("score_wasserstein", "", lambda: {"score": np.full(ROWS, 0.9)}),
    "a look-up without rows": ("join_coverage", "towns", lambda: {c: pa.nulls(ROWS, pa.int64()) for c in ("people", "shops")}),
}


def renamed(old: str, new: str) -> list[str]:
    return [new if name == old else name for name in tick(NOW)["place"].to_pylist()]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_shows_at_its_first_tick_far_from_what_quiet_ticks_have(fault: str) -> None:
    what, name, changes = FAULTS[fault]
    quiet = [value(read(tick(day)), what, name) for day in QUIET]
    moved = value(read(tick(NOW, **changes())), what, name)
    assert abs(moved - np.mean(quiet)) > 0.05 + 5 * np.std(quiet)


def test_each_reading_is_what_its_rows_say() -> None:
    rows = tick(NOW, price=np.where(np.arange(ROWS) < 9, 1e6, price()), items=np.full(ROWS, 7))
    got, reference = read(rows), pa.concat_tables([tick(day) for day in TICKS])
    assert value(got, "out_of_range", "price") == 9 / ROWS
    assert value(got, "new_categories", "items") == 1.0, "the reference has 1, 2 and 3"
    assert value(got, "lost_categories", "items") == pytest.approx(1.0)
    before, now = reference["price"].to_numpy(), rows["price"].to_numpy()
    assert value(got, "feature_wasserstein", "price") == pytest.approx(
        wasserstein_distance(before, now) / before.std(), rel=0.01
    )
    share = rows["decision"].to_numpy(zero_copy_only=False).mean()
    usual = reference["decision"].to_numpy(zero_copy_only=False).mean()
    assert value(got, "decision_share") == pytest.approx(share - usual)
    matched, usually = (1 - np.mean(table["people"].is_null().to_numpy()) for table in (rows, reference))
    assert value(got, "join_coverage", "towns") == pytest.approx(matched / usually), "a null of its own is no missing row"
    low, high = got["join_coverage", "towns"].interval or (1, 0)
    assert low < value(got, "join_coverage", "towns") < high


def test_so_few_rows_of_unknown_categories_as_the_reference_may_lack_by_chance_are_not_new() -> None:
    """Each row has one of 60 towns, and a reference of 4 ticks of 60 rows has not met all of the rare ones."""
    small = profile_of(monitored.pipeline, pa.concat_tables([tick(day, 60) for day in TICKS[:4]]), IMPORTANCE)
    (places,) = (one for one in small.features if one.name == "place")
    counts = np.asarray(places.counts)
    once, rows = int((counts[2:] == 1).sum()), int(counts.sum())
    assert once > 5
    for unknown in range(1, 60):
        now = np.zeros_like(counts)
        now[OTHER], now[2] = unknown, 60 - unknown
        expected = unknown / 60 if binom.sf(unknown - 1, 60, (once + 1) / (rows + 1)) <= 0.001 else 0
        found = categories.new(places, now)
        assert found is not None
        assert found.share == expected
        assert ("by chance" in found.detail) == (expected == 0)
    assert unknown / 60 == expected, "at last it is new"


def test_a_rare_category_is_neither_new_nor_missed() -> None:
    rarest = profile().features[1].bins.categories[-1]
    got = read(tick(NOW, place=[rarest] * 5 + tick(NOW)["place"].to_pylist()[5:]))
    assert value(got, "new_categories", "place") == 0
    assert value(got, "lost_categories", "place") == 0
    assert len(profile().features[1].bins.categories) > 40


def test_a_small_tick_loses_no_category_by_chance() -> None:
    for day in QUIET:
        assert value(read(tick(day, n=60)), "lost_categories", "place") == 0


def test_a_category_of_some_ticks_only_is_not_missed_on_the_others() -> None:
    # Each tick has its own weekday: six of seven are absent, each of them with a seventh of the reference's rows.
    of_day = lambda day: {"items": np.full(ROWS, day.isoweekday())}  # noqa: E731
    rows = pa.concat_tables([tick(day, **of_day(day)) for day in TICKS])
    decisions, labels = (rows[name].to_numpy(zero_copy_only=False) for name in ("decision", "label"))
    made = make_profile(
        looked_up, rows, scores=rows["score"].to_numpy(), decisions=decisions, labels=labels, importance=IMPORTANCE
    )
    assert value(read(tick(NOW, **of_day(NOW)), made), "lost_categories", "items") == 0


def test_a_type_that_changed_is_counted_and_named() -> None:
    plain = read(tick(NOW))["type_changes", ""]
    assert plain.value == 0
    changed = read(tick(NOW, price=[f"{one:.2f}" for one in price()], items=np.ones(ROWS, np.int8)))
    assert (value(changed, "type_changes"), changed["type_changes", ""].detail) == (1, "price float -> text")
    assert value(changed, "feature_psi", "price") < 0.05, "the numbers in the text are still compared"


def test_the_features_come_in_the_order_of_their_importance() -> None:
    named = [name for what, name in read(tick(NOW)) if what == "feature_psi"]
    assert named[:3] == ["price", "place", "items"]
    assert "feature 2 of 5 by importance, 20% of it" in read(tick(NOW))["feature_psi", "place"].detail


def test_what_a_profile_from_before_cannot_tell_is_said_and_the_rest_is_read() -> None:
    written = json.loads(json.dumps(profile().as_json()))
    for name in ("decisions", "joins", "sampled", "history", "residuals"):
        written.pop(name, None)
    for column in (*written["features"], written["score"]):
        for name in ("type", "present"):
            column.pop(name)
        for name in ("sd", "deciles", "few"):
            column["bins"].pop(name)
        if column["bins"]["categories"]:
            rare = column["counts"][22:]
            column["bins"]["categories"] = column["bins"]["categories"][:20]
            column["counts"] = column["counts"][:22]
            column["counts"][1] += sum(rare)
    older = ReferenceProfile.from_json(written)
    got = read(tick(NOW), older, together=True)
    cannot = {what for (what, _), one in got.items() if one.value is None}
    expected = {"type_changes", "decision_share", "domain_auc", "feature_wasserstein", "score_wasserstein", "lost_categories"}
    assert cannot - {"new_categories"} == expected
    assert all("has an older format" in one.why for one in got.values() if one.value is None)
    assert got["new_categories", "place"].value is None, "only 20 categories are known"
    assert got["new_categories", "items"].value == 0, "all three are"
    assert value(got, "feature_psi", "price") < 0.05


def test_a_tick_of_the_reference_is_held_against_the_others() -> None:
    odd = TICKS[4]
    rows = [tick(day, **({"price": np.where(np.arange(ROWS) < 90, 1e5, price(day))} if day == odd else {})) for day in TICKS]
    table = pa.concat_tables(rows)
    made = profile_of(looked_up, table, IMPORTANCE)
    with engine(threads=1) as con:
        con.register("reference", table)
        ticks = observe_by_tick(con, "reference", [column.bins for column in made.columns], joined(looked_up))
    got = {day: {(one.what, one.slice): one for one in inputs(less(made, day, ticks[day]), ticks[day])} for day in TICKS[3:6]}
    assert [value(got[day], "out_of_range", "price") > 0.05 for day in got] == [False, True, False]
    others = make_other(table, odd)
    assert less(made, odd, ticks[odd]).features[1].counts == pytest.approx(count_of(others, made.features[1]))
    assert value(got[odd], "domain_auc") > value(got[TICKS[3]], "domain_auc")


def make_other(table: pa.Table, left_out: date) -> list[str]:
    return [name for name, day in zip(table["place"].to_pylist(), table["tick"].to_pylist(), strict=True) if day != left_out]


def count_of(names: list[str], column: Any) -> list[int]:
    return [0, 0, *(names.count(name) for name in column.bins.categories)]


def test_freshness_is_how_long_before_the_tick_the_newest_row_of_its_own_partition_was_known(shop: Platform) -> None:
    for day in (NOW, NOW + timedelta(days=1)):
        monitored.score_tick(shop, monitored.scored(day))
    monitored.publish_outcomes(shop, monitored.scored(NOW - timedelta(days=1)))
    moment = monitored.pipeline.schedule.tick(NOW)
    with engine(threads=1) as con:
        orders, returns = freshness(con, monitored.pipeline, moment, shop)
        _, lacking = freshness(con, monitored.pipeline, monitored.pipeline.schedule.tick(NOW + timedelta(days=1)), shop)
    assert (orders.slice, returns.slice) == ("orders", "returns")
    newest = monitored.scored(NOW)["placed_at"].to_pylist()
    assert orders.value == pytest.approx(24 - (max(newest) - moment.start) / timedelta(hours=1)), (
        "orders are planned a day ahead"
    )
    assert returns.value == pytest.approx(1.0)
    assert (lacking.value, lacking.missing) == (None, True)
    assert "no row of returns is published" in lacking.why


def test_a_partition_in_a_file_gives_what_its_rows_in_memory_give(tmp_path: Path) -> None:
    pa.parquet.write_table(tick(NOW), tmp_path / "rows.parquet")
    with engine(threads=2) as con:
        found = observe(con, f"read_parquet('{tmp_path / 'rows.parquet'}', file_row_number = true)", profile())
    got = {(one.what, one.slice): one for one in inputs(profile(), found)}
    assert got == read(tick(NOW), together=True)
