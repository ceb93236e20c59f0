"""Experiments that run at once share a layer: each has units of its own, in a batch and on request."""

import hashlib
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from scipy import stats

from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.assignment import UnitRange, Variant, assign
from mlprod_tasks.experiments.layer import NoRoom, free_range
from mlprod_tasks.experiments.left_out import rows_left_out, ticks_left_out
from mlprod_tasks.experiments.plan import CannotPlan, Wanted
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import CannotStart, plan_for, start, stop
from mlprod_tasks.experiments.units import opened
from mlprod_tasks.platform import names
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.serving.experiments import first_that_assigns, split_of
from tests.experiments.conftest import NOON
from tests.support.trained_shop import Shop

NEVER, ALWAYS = "champion@1.0", "champion@0.0"
WANTED = Wanted("saved", difference=2.0, traffic=0.5)
FIRST, LAST = date(2024, 1, 25), date(2024, 1, 31)
CONTROL_AND_OTHER = (Variant("control", 1, 0.5), Variant("other", 2, 0.5))


def begun(shop: Shop, name: str, treated: str = NEVER, wanted: Wanted = WANTED, starts: date | None = None) -> ExperimentRun:
    planned = plan_for(shop.pipeline, wanted, [treated], shop.platform)
    return start(shop.pipeline, name, planned, "Ann", "a test", shop.platform, starts=starts)


def placed(unit: str, salt: str) -> float:
    """Where a unit lies, written once more from the definition: a hash of the unit, salted, as a share of all hashes."""
    return int.from_bytes(hashlib.blake2b(unit.encode(), digest_size=8, salt=salt.encode()).digest(), "big") / 2**64


def test_two_experiments_at_once_have_units_of_their_own_and_both_are_read(shop, scored):
    first, second = begun(shop, "never"), begun(shop, "always", ALWAYS, replace(WANTED, traffic=0.3))
    assert (first.layer_salt, second.layer_salt) == (first.layer_salt,) * 2
    assert [(run.units_from, run.units_to) for run in (first, second)] == [(0.0, 0.5), (0.5, 0.8)]
    scored(shop, FIRST, LAST)
    rows = shop.platform.lake.rows(
        names.predictions(shop.pipeline), list(shop.pipeline.schedule.names(FIRST, LAST))
    ).to_pandas()
    for row in rows.itertuples():
        at = placed(row.order_id, first.layer_salt)
        run = first if at < 0.5 else second if at < 0.8 else None
        if run is None:
            assert row.experiment is None or row.experiment != row.experiment
            continue
        treated = placed(row.order_id, run.salt) >= 0.5
        assert (row.experiment, row.variant, row.propensity) == (
            run.name, {first.name: NEVER, second.name: ALWAYS}[run.name] if treated else "control", 0.5,
        )  # fmt: skip
    treated = rows[rows["variant"].isin([NEVER, ALWAYS])]
    assert (treated["decision"] == (treated["variant"] == ALWAYS)).all()
    for run in (first, second):
        reading = read_out(shop.pipeline, run, shop.tick("2024-02-02"), shop.platform)
        assert reading.problems == ()
        assert reading.final
        counts = rows[rows["experiment"] == run.name]["variant"].value_counts()
        assert {name: n for name, (n, _) in reading.rows.items()} == counts.to_dict()


def test_a_request_takes_part_in_the_experiment_that_a_batch_gives_its_unit():
    units = [f"u{i}" for i in range(4000)]
    ranges = [(0.0, 0.25), (0.25, 0.7), (0.7, 1.0)]
    runs = [
        ExperimentRun(
            pipeline="p", name=f"x{i}", at=NOON, by="Ann", reason="", plan={}, salt=f"{i}f2e3d4c5b6a7988", starts=FIRST,
            ends=LAST, layer_salt="0011223344556677", units_from=low, units_to=high,
        )
        for i, (low, high) in enumerate(ranges)
    ]  # fmt: skip
    splits = [split_of(run, CONTROL_AND_OTHER) for run in runs]
    taken = [0] * len(units)
    for run, split in zip(runs, splits, strict=True):
        batch = assign(units, run.salt, CONTROL_AND_OTHER, UnitRange(run.layer_salt, run.units_from, run.units_to))
        for i, (unit, position) in enumerate(zip(units, batch, strict=True)):
            found = split.of(unit, ())
            given = (None, None) if position < 0 else (run.name, CONTROL_AND_OTHER[position].name)
            assert (found.experiment, found.name) == given
            taken[i] += position >= 0
        assert split.of(None, ()).experiment is None
        assert (batch == 0).mean() == pytest.approx((run.units_to - run.units_from) / 2, abs=0.03)
    assert set(taken) == {1}, "each unit is in exactly one"
    together = first_that_assigns([split.of for split in splits])
    assert all(together(unit, ()).experiment is not None for unit in units)
    assert first_that_assigns([split.of for split in splits[:2]])(None, ()).experiment is None


def test_variants_are_independent_of_the_layer():
    units = [f"u{i}" for i in range(20_000)]
    ranges = [UnitRange("0011223344556677", i / 4, (i + 1) / 4) for i in range(4)]
    table = [
        [int((assign(units, "1f2e3d4c5b6a7988", CONTROL_AND_OTHER, among) == k).sum()) for k in (0, 1)] for among in ranges
    ]
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_ranges_never_overlap_and_the_first_that_is_free_is_given():
    rng = np.random.default_rng(7)
    for _ in range(200):
        _fill(rng.uniform(0.01, 0.6, size=8))


def _fill(shares):
    taken: list[tuple[float, float]] = []
    for one in shares:
        try:
            low, high = free_range(one, taken)
        except NoRoom:
            widest = max(
                b - a for (_, a), (b, _) in zip([(0.0, 0.0), *sorted(taken)], [*sorted(taken), (1.0, 1.0)], strict=True)
            )
            assert widest < one
            continue
        assert 0 <= low < high <= 1
        assert high - low == pytest.approx(one, abs=2e-9)
        assert all(high <= a or b <= low for a, b in taken)
        taken.append((low, high))


def test_more_traffic_than_others_leave_is_refused_with_what_is_free(shop):
    begun(shop, "never")
    with pytest.raises(
        CannotStart, match=r"asks for 60% of the units, and the widest range that is free has 50%: 'never' has 50%"
    ):
        begun(shop, "more", wanted=replace(WANTED, traffic=0.6))
    with pytest.raises(CannotStart, match=r"widest range that is free has 50%.*until 2024-01-31\. End one"):
        begun(shop, "all", wanted=Wanted("saved", difference=1.2))
    assert [one.name for one in experiments.every(shop.pipeline, shop.platform)] == ["never"]
    stop(shop.pipeline, "never", "Ann", "enough", shop.platform)
    assert begun(shop, "more", wanted=replace(WANTED, traffic=0.6)).units_to == 0.6


def test_one_that_promotes_runs_alone(shop):
    begun(shop, "never")
    run = experiments.get(shop.pipeline, "never", shop.platform)
    run.plan = {**run.plan, "wanted": {**run.plan["wanted"], "then": "promote"}}
    shop.platform.ledger.put(run)
    with pytest.raises(CannotStart, match="one of the two would make its winner champion, which voids the other"):
        begun(shop, "other", wanted=replace(WANTED, traffic=0.1, difference=6.0))


def test_a_layer_is_drawn_anew_when_all_have_ended_and_not_before(shop):
    first = begun(shop, "never")
    after = begun(shop, "after", starts=LAST + timedelta(days=1))
    assert after.layer_salt == first.layer_salt
    assert (after.units_from, after.units_to) == (0.0, 0.5), "it begins when the other has ended"
    shop.platform.clock.at = shop.tick("2024-02-20").start
    later = begun(shop, "much_later")
    assert later.layer_salt not in ("", first.layer_salt, later.salt)


@pytest.mark.parametrize("traffic", [0.0, -0.1, 1.1, float("nan")])
def test_traffic_that_is_no_share_is_refused(shop, traffic):
    with pytest.raises(CannotPlan, match="give the share of the units that take part"):
        plan_for(shop.pipeline, replace(WANTED, traffic=traffic), [NEVER], shop.platform)


def test_half_the_traffic_is_half_the_units(shop):
    whole, half = (plan_for(shop.pipeline, replace(WANTED, traffic=one), [NEVER], shop.platform) for one in (1.0, 0.5))
    assert (half.units, half.expected) == (whole.units, whole.expected // 2)
    assert half.seen == pytest.approx(whole.seen * 2**0.5, rel=0.01)  # by t, not by the normal


def test_only_rows_of_units_that_take_part_are_missed(shop):
    run = begun(shop, "never")
    units = [f"u{i}" for i in range(200)]
    mine = [placed(unit, run.layer_salt) < 0.5 for unit in units]
    given = ["'never'" if taken and i < 90 else "'other'" if i % 3 else "NULL" for i, taken in enumerate(mine)]
    rows = ", ".join(f"('{unit}', {1 + (i >= 100)}, {given[i]})" for i, unit in enumerate(units))
    with opened(shop.platform) as con:
        con.execute(f"CREATE TABLE log AS SELECT * FROM (VALUES {rows}, (NULL, 1, NULL)) AS t(u, tick, experiment)")
        con.execute("ALTER TABLE log ADD COLUMN second_experiment VARCHAR")
        lost = sum(taken for i, taken in enumerate(mine) if i >= 90)
        assert rows_left_out(con, "log", run, {"unit": "u"}, "true", []) == (lost, sum(mine))
        assert ticks_left_out(con, "log", run, {"unit": "u"}) == [2]
        ours = ", ".join(f"'{unit}'" for unit, taken in zip(units, mine, strict=True) if taken)
        con.execute(f"DELETE FROM log WHERE tick = 2 AND u IN ({ours})")
        assert ticks_left_out(con, "log", run, {"unit": "u"}) == []
