"""A tick that is read in pieces is measured as one that is read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring.estimate import Promised, Promises, estimates
from mlprod_tasks.monitoring.inputs import inputs
from mlprod_tasks.monitoring.known_faults import known_faults
from mlprod_tasks.monitoring.observe import Observed, Observing
from mlprod_tasks.monitoring.tick_rows import TickRows, pieces_of, rows_of_tick, source_of
from mlprod_tasks.monitoring.who_answered import WhoAnswered
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.statistics.bins import NULL, OTHER
from tests.support import large_tick, monitored_shop

SIZES = (large_tick.ROWS, 3_000)  # in SQL and sampled in blocks; in memory and sampled by hash


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, int]]:
    """For each of SIZES the tick's files, of unequal size, each with its rows."""
    made = {}
    for n in SIZES:
        rows, folder, first = large_tick.rows(n), tmp_path_factory.mktemp("tick"), n // 3
        made[n] = {str(folder / "a.parquet"): first, str(folder / "b.parquet"): n - first}
        pq.write_table(rows.slice(0, first), folder / "a.parquet", row_group_size=max(500, n // 20))
        pq.write_table(rows.slice(first), folder / "b.parquet", row_group_size=max(500, n // 20))
    return made


def observed(sizes: dict[str, int], pieces: Sequence[str]) -> Observed:
    with engine(threads=2) as con:
        rows = TickRows(con, source_of(list(sizes)), tuple(pieces))
        version, own = rows.aggregate(WhoAnswered(set(rows.kinds)), "who answered")
        assert version == monitored_shop.VERSION
        found: Observed = rows.only(own.condition).aggregate(Observing(large_tick.profile(), rows.kinds, own), "counts")
    return found


def plain(found: Observed) -> dict[str, Any]:
    """All that was counted, with arrays as lists."""
    columns = {
        name: (one.counts.tolist(), one.outside, one.below, one.above, one.beyond) for name, one in found.columns.items()
    }
    return {**vars(found), "columns": columns}


def in_pieces(sizes: dict[str, int], how: str) -> list[str]:
    """Pieces, shuffled, one of them without rows."""
    share = {"few": 3, "many": 12, "one a file": 1}[how]
    pieces = list(pieces_of(sizes, sum(sizes.values()) // share))
    nothing = f"(SELECT * FROM {source_of(list(sizes))} WHERE false)"
    return [*np.random.default_rng(3).permutation([*pieces, nothing]).tolist()]


@pytest.mark.parametrize("how", ["few", "many", "one a file"])
@pytest.mark.parametrize("n", SIZES)
def test_pieces_give_what_the_whole_gives(files: dict[int, dict[str, int]], n: int, how: str) -> None:
    pieces = in_pieces(files[n], how)
    whole, apart = observed(files[n], ()), observed(files[n], pieces)
    assert len(pieces) >= 3
    assert plain(apart) == plain(whole)
    assert whole.sampled is not None
    assert len(whole.sampled.codes) > 700
    assert set(whole.levels) == {"asked"}
    readings = [list(inputs(large_tick.profile(), one, together=False)) for one in (apart, whole)]
    assert readings[0] == readings[1]


def promised(sizes: dict[str, int], pieces: Sequence[str], pipeline: ml.Pipeline) -> Promised:
    with engine(threads=2) as con:
        rows = TickRows(con, source_of(list(sizes)), tuple(pieces))
        _, own = rows.aggregate(WhoAnswered(set(rows.kinds)), "who answered")
        promises = Promises(pipeline, own.answered, large_tick.profile().recalibration)
        return rows.only(own.condition).aggregate(promises, "promises")


@pytest.mark.parametrize("n", SIZES)
def test_what_scores_promise_is_the_same_from_pieces(files: dict[int, dict[str, int]], n: int) -> None:
    by_asked = ml.ValueFunction(act="CASE WHEN outcome THEN asked ELSE -2 END", wait="-score")
    for pipeline in (large_tick.pipeline, replace(large_tick.pipeline, value=by_asked)):
        whole, apart = promised(files[n], (), pipeline), promised(files[n], in_pieces(files[n], "few"), pipeline)
        for name in ("score", "decided", "rows", "chances"):
            assert np.array_equal(getattr(whole, name), getattr(apart, name)), name
        assert (apart.worths, apart.no_value) == (whole.worths, whole.no_value)
        assert list(estimates(large_tick.profile(), apart)) == list(estimates(large_tick.profile(), whole))
    rows = large_tick.rows(n).to_pandas()
    own = rows[~rows["fallback"] & ~rows["variant"].isin(["cheap"])]
    assert whole.n == len(own)
    assert (whole.score * whole.rows).sum() == pytest.approx(own["score"].sum(), rel=1e-12)
    assert whole.rows[whole.decided].sum() == own["decision"].sum()


def test_a_known_fault_is_found_in_pieces_too(files: dict[int, dict[str, int]]) -> None:
    sizes, found = files[large_tick.ROWS], []
    cents = "(SELECT * REPLACE (people * 100 AS people) FROM {})".format
    for pieces in ((), in_pieces(sizes, "few")):
        with engine(threads=2) as con:
            rows = TickRows(con, cents(source_of(list(sizes))), tuple(map(cents, pieces)))
            _, own = rows.aggregate(WhoAnswered(set(rows.kinds)), "who answered")
            seen = rows.only(own.condition).aggregate(Observing(large_tick.profile(), rows.kinds, own), "counts")
            faults = known_faults(rows.only(own.condition), large_tick.profile(), seen)
            (of_people,) = [one for one in faults if one.slice == "people"]
        found.append(of_people)
    assert (
        found[0].detail
        == found[1].detail
        == "its values are 100 times what they were, as cents are of euros: has its unit changed?"
    )
    assert found[1].value == pytest.approx(found[0].value, abs=0.01)


def test_each_row_is_in_one_piece() -> None:
    sizes = {"a": 10, "b": 3, "c": 0, "d": 4}
    pieces = list(pieces_of(sizes, 4))
    ranges = [tuple(map(int, piece.rpartition("BETWEEN ")[2].rstrip(")").split(" AND "))) for piece in pieces[:3]]
    assert ranges == [(0, 2), (3, 5), (6, 9)]
    assert [piece.partition("'")[2][0] for piece in pieces] == ["a", "a", "a", "b", "d"]


def test_counts_are_those_of_plain_pandas(files: dict[int, dict[str, int]]) -> None:
    profile, rows = large_tick.profile(), large_tick.rows().to_pandas()
    found = observed(files[large_tick.ROWS], in_pieces(files[large_tick.ROWS], "few"))
    treated = rows["variant"].isin(["cheap"])
    own = rows[~rows["fallback"] & ~treated]
    assert (found.rows, found.fallback_rows, found.treated_rows) == (
        len(rows),
        (rows["fallback"] & ~treated).sum(),
        treated.sum(),
    )
    assert found.answered == len(own)
    assert found.decisions == own["decision"].sum()
    null = large_tick.rows()["price"].is_null().to_numpy()[own.index]
    price = own["price"].to_numpy(float)
    finite = np.isfinite(price) & ~null
    (bins,) = [one.bins for one in profile.features if one.name == "price"]
    counts = found.columns["price"].counts
    assert (counts[NULL], counts[OTHER]) == (null.sum(), (~finite & ~null).sum())
    cut = pd.cut(price[finite], [-np.inf, *bins.edges, np.inf], labels=False)
    assert counts[2:].tolist() == np.bincount(cut, minlength=len(bins) - 2).tolist()
    below, above = price[finite & (price < bins.low)], price[finite & (price > bins.high)]
    assert (found.columns["price"].below, found.columns["price"].above) == (len(below), len(above))
    exact = float((bins.low - below).sum() + np.sort(above - bins.high).sum())
    assert found.columns["price"].beyond == pytest.approx(exact, rel=5e-9)
    assert found.levels["asked"] == pytest.approx(own["asked"].mean(), rel=5e-9), "nine digits"
    for name in ("place", "items"):
        (bins,) = [one.bins for one in profile.features if one.name == name]
        known = own[name].astype(str).value_counts()
        counts = found.columns[name].counts
        assert counts[2:].tolist() == [known.get(category, 0) for category in bins.categories]
        assert counts[OTHER] == len(own) - counts[2:].sum()


def test_a_tick_of_more_rows_than_the_setting_is_read_in_pieces_if_the_engine_is_spark(tmp_path: Path) -> None:
    shop = Platform(from_environment({"MLPROD_HOME": str(tmp_path)}))
    monitored_shop.score_tick(shop, monitored_shop.scored(monitored_shop.FIRST))
    ticks, name = monitored_shop.pipeline.schedule.range(monitored_shop.FIRST), names.predictions(monitored_shop.pipeline)
    rows = monitored_shop.ORDERS_A_TICK
    for engine_is, measure_rows, apart in (("local", 1, False), ("spark", rows, False), ("spark", rows - 1, True)):
        platform = Platform(replace(shop.settings, engine=engine_is, measure_rows=measure_rows))
        with engine() as con:
            found = rows_of_tick(con, name, ticks, platform)
            assert found is not None
            assert (found.platform is not None, len(found.pieces)) == (apart, int(apart))
            for piece in found.pieces:
                assert con.execute(f"SELECT count(*) FROM {piece}").fetchall() == [(rows,)]
            assert rows_of_tick(con, "shop/nothing", ticks, platform) is None
