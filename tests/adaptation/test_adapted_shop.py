"""Scores of a champion whose world moved, tick by tick."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.adaptation import state
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.verify import verify
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.scoring.score import score
from tests.support.trained_shop import Shop

FIRST, LAST = date(2024, 2, 8), date(2024, 2, 11)


def rows_of(shop: Shop) -> pa.Table:
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline))
    return rows.sort_by([("tick", "ascending"), ("order_id", "ascending")])


def states_of(shop: Shop) -> list[state.AdaptationState]:
    return state.every(shop.pipeline, shop.platform)


def test_scores_follow_outcomes_and_the_champions_own_are_kept_beside_them(make_moved):
    plain, shop = make_moved("plain", None), make_moved()
    for tick in shop.pipeline.schedule.range(FIRST, LAST):
        score(plain.pipeline, tick, plain.platform)
        score(shop.pipeline, tick, shop.platform)
    own, rows = rows_of(plain), rows_of(shop)
    assert rows["raw_score"].equals(own["score"])
    assert rows["adaptation"].to_pylist() == [str(tick) for tick in rows["tick"].to_pylist()]
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    known = features.labels(shop.pipeline, ticks, shop.tick("2024-02-14"), shop.platform)
    judged = rows.join(known.select(["order_id", "label"]), "order_id", join_type="inner")
    outcome = judged["label"].to_numpy(zero_copy_only=False).astype(bool)
    adapted, raw = judged["score"].to_numpy(), judged["raw_score"].to_numpy()
    assert log_loss(outcome, adapted) < 0.9 * log_loss(outcome, raw)
    assert abs(outcome.mean() - adapted.mean()) < 0.5 * abs(outcome.mean() - raw.mean())
    # Decided by the champion's threshold, which is on the scale of right probabilities.
    threshold = shop.platform.registry.load(shop.pipeline, 1).threshold
    assert rows["decision"].to_pylist() == (rows["score"].to_numpy() >= threshold).tolist()
    assert verify(shop.pipeline, shop.tick(str(LAST)), shop.platform).replayed == 0.0


def test_any_order_gives_the_same_bits(make_moved):
    forth, back = make_moved("forth"), make_moved("back")
    ticks = list(forth.pipeline.schedule.range(FIRST, LAST))
    for one, other in zip(ticks, reversed(ticks), strict=True):
        score(forth.pipeline, one, forth.platform)
        score(back.pipeline, other, back.platform)
    assert states_of(forth) == states_of(back)
    assert rows_of(forth).equals(rows_of(back))
    again = states_of(forth)[-1]
    model = forth.platform.registry.load(forth.pipeline, 1)
    assert state.state_at(forth.pipeline, again.tick, 1, model, forth.platform) == again


def test_what_comes_later_changes_nothing_that_was_used(make_moved, with_outcomes):
    shop = make_moved()
    tick = shop.tick(str(LAST))
    score(shop.pipeline, tick, shop.platform)
    before = rows_of(shop)
    with_outcomes(shop, lambda day, was, coin: not was)  # all outcomes are corrected
    score(shop.pipeline, tick, shop.platform)
    assert rows_of(shop).equals(before)
    score(shop.pipeline, shop.tick("2024-02-12"), shop.platform)
    # The next tick learns one tick more, as it is known now; what was known before stays.
    first, second = states_of(shop)
    assert second.learned == first.learned + 1


def test_without_outcomes_the_layer_ends_and_says_so(make_moved, with_outcomes):
    shop = make_moved()
    with_outcomes(shop, lambda day, was, coin: was if day < "2024-02-01" else None)
    model = shop.platform.registry.load(shop.pipeline, 1)
    said = [state.state_at(shop.pipeline, date(2024, month, day), 1, model, shop.platform) for month, day in ((2, 5), (2, 15))]
    assert all(one.newest is None or str(one.newest) < "2024-02-01" for one in said)
    assert not any(one.answers for one in said)
    assert said[0].learned == 0
    assert said[0].why == "no outcomes are known of the last 30 days"
    assert said[0].parameters == (0.0, 1.0)


def test_half_of_a_ticks_outcomes_do_not_count(make_moved, with_outcomes):
    shop = make_moved()
    with_outcomes(shop, lambda day, was, coin: was if coin or day != "2024-02-06" else None)
    model = shop.platform.registry.load(shop.pipeline, 1)
    whole, half = (
        state.state_at(one.pipeline, date(2024, 2, 9), 1, model, one.platform) for one in (make_moved("whole"), shop)
    )
    assert half.learned == whole.learned - 1


def test_outcomes_that_come_twice_or_late_count_once_and_when_they_are_known(make_moved):
    plain, twice, late = (make_moved(name) for name in ("plain", "twice", "late"))
    name, day = names.raw(plain.pipeline, "returns"), date(2024, 2, 7)
    rows = plain.platform.lake.rows(name, [day])  # of orders of 5 and 6 February

    def put(shop: Shop, tick: date, table: pa.Table) -> None:
        at = table.column_names.index("tick")
        moved = table.set_column(at, "tick", pa.array([tick] * table.num_rows, table.schema.field("tick").type))
        shop.platform.lake.replace_ticks(name, shop.pipeline.schedule.range(tick, tick), moved)

    following = plain.platform.lake.rows(name, [date(2024, 2, 8)])
    put(twice, date(2024, 2, 8), pa.concat_tables([following, rows]))
    put(late, day, rows.slice(0, 0))
    put(late, date(2024, 2, 11), pa.concat_tables([plain.platform.lake.rows(name, [date(2024, 2, 11)]), rows]))

    def at(shop: Shop, day: int) -> state.AdaptationState:
        model = shop.platform.registry.load(shop.pipeline, 1)
        return state.state_at(shop.pipeline, date(2024, 2, day), 1, model, shop.platform)

    assert at(twice, 9) == at(plain, 9)
    assert at(late, 9).learned < at(plain, 9).learned
    assert np.all(np.isfinite(at(late, 12).parameters))


def test_outcomes_of_one_class_keep_it_bounded(make_moved, with_outcomes):
    shop = make_moved()
    with_outcomes(shop, lambda day, was, coin: True)
    score(shop.pipeline, shop.tick(str(LAST)), shop.platform)
    (one,) = states_of(shop)
    adapt = shop.pipeline.adapt
    assert adapt is not None
    assert adapt.slopes[0] <= one.parameters[1] <= adapt.slopes[1]
    scores = rows_of(shop)["score"].to_numpy()
    assert np.all((scores > 0) & (scores < 1))


def test_a_tick_waits_for_the_publication_of_its_outcomes(promoted_shop, publish):
    shop = promoted_shop.declared(adapt=ml.Adapt(fewest=3))
    model = shop.platform.registry.load(shop.pipeline, 1)
    assert state.state_at(shop.pipeline, date(2024, 2, 9), 1, model, shop.platform).learned == 0
    publish(shop, *shop.pipeline.schedule.names(date(2024, 1, 1), date(2024, 2, 7)))
    assert state.state_at(shop.pipeline, date(2024, 2, 9), 1, model, shop.platform).newest == date(2024, 2, 5)


def test_a_new_champion_starts_from_its_own_test(make_moved):
    shop = make_moved()
    score(shop.pipeline, shop.tick(str(LAST)), shop.platform)
    assert shop.declared(gates=(ml.AtLeast("roc_auc", 0.3),)).promoted("two", "2024-02-14").moved
    assert score(shop.pipeline, shop.tick("2024-02-14"), shop.platform).model_version == 2
    (old, new) = states_of(shop)
    assert (old.model_version, new.model_version) == (1, 2)
    windows = shop.platform.registry.load(shop.pipeline, 2).facts.windows
    first = state.first_unseen(shop.pipeline, 2, shop.platform.registry.load(shop.pipeline, 2), shop.platform)
    assert str(first) == str(windows.test.first)
    assert new.learned == shop.pipeline.schedule.ticks_between(first, date(2024, 2, 13))


def test_monitoring_tells_the_layers_part_from_the_models(make_moved):
    shop = make_moved().declared(watches=ml.ADAPTATION_WATCHES, rules=ml.ADAPTATION_RULES)
    tick = shop.tick(str(LAST))
    score(shop.pipeline, tick, shop.platform)
    measure(shop.pipeline, tick, shop.platform)
    rows = rows_of(shop)
    moved = float(np.mean(rows["score"].to_numpy()) - np.mean(rows["raw_score"].to_numpy()))
    of_tick = shop.platform.ledger.all(Measurement, pipeline=shop.pipeline.name, tick=tick.name)
    (found,) = [one for one in of_tick if one.what == "adaptation"]
    assert found.value == pytest.approx(moved, abs=1e-12)
    assert moved > 0.1
    assert found.breached
    assert "by the champion alone. If this lasts, a training is due" in found.sentence


def test_an_adapted_row_is_explained_by_the_score_that_it_was_given(make_moved):
    shop = make_moved()
    score(shop.pipeline, shop.tick(str(LAST)), shop.platform)
    row = rows_of(shop).to_pylist()[0]
    told = explain(shop.pipeline, [row["order_id"]], shop.platform)
    assert told.recomputed == told.score == row["score"] != row["raw_score"]
