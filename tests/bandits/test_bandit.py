"""A bandit over the ticks of a shop: what rows are given, what it learns, and that this does not depend on how ticks come."""

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import text

from mlprod_tasks import declaration as ml
from mlprod_tasks.bandits.run import CannotStart, NoBandit, get, in_force, start, stop
from mlprod_tasks.bandits.state import at_version, for_tick, plan_of, recorded, update
from mlprod_tasks.experiments.plan import Plan, Usual, Wanted
from mlprod_tasks.experiments.run import CannotStart as CannotStartExperiment
from mlprod_tasks.experiments.run import start as start_experiment
from mlprod_tasks.experiments.run import variants as variants_of
from mlprod_tasks.features import labels
from mlprod_tasks.models.kpi import with_value
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.bandit_entries import BanditTick
from mlprod_tasks.platform.database import open_database
from mlprod_tasks.scoring import variants
from mlprod_tasks.scoring.score import score
from mlprod_tasks.scoring.variants import row_thresholds
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
SAVING = ml.Bandit("saved", warm_up=50, floor=0.1)
FIRST = date(2024, 1, 25)


def started(shop: Shop, *arms: str) -> None:
    start(shop.pipeline, "saving", arms, "Ann", "a test", shop.platform)


def rows(shop: Shop, day: str):
    return shop.platform.lake.rows(names.predictions(shop.pipeline), [date.fromisoformat(day)])


def states(shop: Shop):
    return recorded(shop.pipeline, get(shop.pipeline, "saving", shop.platform), shop.platform)


def plain(shop: Shop):
    """What the ledger holds of each version, but for the moment."""
    return [(one.version, one.through, one.tick, one.rewards, one.best, one.shares) for one in states(shop)]


def updated(shop: Shop, day: str) -> int:
    return len(update(shop.pipeline, get(shop.pipeline, "saving", shop.platform), shop.tick(day), shop.platform))


def test_units_get_arms_by_shares_and_the_shares_follow_from_what_they_earned(make_shop, scored):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-31")
    first, last = rows(shop, "2024-01-25"), rows(shop, "2024-01-31")
    assert set(first["variant"].to_pylist()) == {"control", NEVER}
    assert set(first["propensity"].to_pylist()) == {0.5}
    assert set(first["state_version"].to_pylist()) == {0}
    # Outcomes are complete after two ticks: the last tick's arms follow from the rewards of the first five.
    assert set(last["state_version"].to_pylist()) == {5}
    shares = dict(zip(last["variant"].to_pylist(), last["propensity"].to_pylist(), strict=True))
    assert shares["control"] == pytest.approx(states(shop)[-1].shares["control"])
    assert shares["control"] > 0.8  # never acting saves nothing
    assert states(shop)[-1].best["control"] > 0.9
    given = np.mean([arm == "control" for arm in last["variant"].to_pylist()])
    assert given == pytest.approx(shares["control"], abs=0.12)
    never = last.filter(np.array([arm == NEVER for arm in last["variant"].to_pylist()]))
    assert not any(never["decision"].to_pylist())
    assert set(row_thresholds(shop.pipeline, last, shop.platform)) == {None, 1.0}


def test_rewards_are_those_that_were_known_counted_row_by_row(make_shop, scored):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-26")
    updated(shop, "2024-01-28")
    for state, day in zip(states(shop), ("2024-01-25", "2024-01-26"), strict=True):
        tick = shop.pipeline.schedule.range(day)
        known = labels(shop.pipeline, tick, shop.tick(str(state.tick)), shop.platform).to_pandas()
        both = rows(shop, day).to_pandas().merge(known[["order_id", "label"]].dropna(), on="order_id")
        value = with_value(shop.pipeline, pa.Table.from_pandas(both))["value"].to_numpy()
        for arm, name in enumerate(("control", NEVER)):
            mine = (both["variant"] == name).to_numpy()
            assert state.rewards["n"][arm] == mine.sum()
            assert state.rewards["total"][arm] == pytest.approx(value[mine].sum())
            assert state.rewards["squares"][arm] == pytest.approx((value[mine] ** 2).sum())


def test_the_state_is_the_same_however_ticks_are_updated(make_shop, scored):
    tick_by_tick, at_once, odd = (make_shop(SAVING, name) for name in ("a", "b", "c"))
    for shop in (tick_by_tick, at_once, odd):
        started(shop, NEVER)
    for day in range(25, 30):
        scored(tick_by_tick, f"2024-01-{day}", f"2024-01-{day}")
        updated(tick_by_tick, f"2024-01-{day}")
        updated(tick_by_tick, f"2024-01-{day}")
    scored(at_once, "2024-01-25", "2024-01-29")
    scored(odd, "2024-01-25", "2024-01-29")
    assert updated(odd, "2024-01-31") == 5
    assert updated(odd, "2024-01-27") == 1
    scored(odd, "2024-01-26", "2024-01-29")
    for shop in (tick_by_tick, at_once):
        updated(shop, "2024-01-31")
    assert plain(tick_by_tick) == plain(at_once) == plain(odd)
    assert rows(tick_by_tick, "2024-01-29").equals(rows(odd, "2024-01-29"))


def test_a_tick_that_was_killed_between_choice_and_rows_gives_the_same_arms(make_shop, scored):
    whole, killed = make_shop(SAVING, "a"), make_shop(SAVING, "b")
    for shop in (whole, killed):
        started(shop, NEVER)
        scored(shop, "2024-01-25", "2024-01-27")
    scored(whole, "2024-01-28", "2024-01-28")
    run = get(killed.pipeline, "saving", killed.platform)
    assert for_tick(killed.pipeline, run, killed.tick("2024-01-28"), killed.platform).version == 2
    # Killed here; before the tick is scored, more rewards become known.
    scored(killed, "2024-01-29", "2024-01-29")
    updated(killed, "2024-01-30")
    scored(killed, "2024-01-28", "2024-01-28")
    assert rows(killed, "2024-01-28").equals(rows(whole, "2024-01-28"))


def test_a_tick_whose_outcomes_are_late_is_waited_for(make_shop, scored, publish):
    late, whole = make_shop(SAVING, "a", last=date(2024, 1, 26)), make_shop(SAVING, "b")
    started(late, NEVER)
    scored(late, "2024-01-25", "2024-01-28")
    assert set(rows(late, "2024-01-28")["state_version"].to_pylist()) == {0}
    assert updated(late, "2024-01-30") == 0
    started(whole, NEVER)
    scored(whole, "2024-01-25", "2024-01-25")
    updated(whole, "2024-01-27")
    publish(late, date(2024, 1, 27))
    assert updated(late, "2024-01-30") == 1
    assert plain(late) == plain(whole)


def test_a_bandit_with_actions_gives_rows_an_action_and_the_champion_answers_all(make_shop, scored):
    shop = make_shop(ml.Bandit("acted", actions=("coupon", "call", "nothing"), warm_up=10, floor=0.1))
    started(shop)
    scored(shop, "2024-01-25", "2024-01-28")
    found = rows(shop, "2024-01-28")
    assert set(found["action"].to_pylist()) == {"coupon", "call", "nothing"}
    assert set(found["variant"].to_pylist()) == {"control"}
    assert set(row_thresholds(shop.pipeline, found, shop.platform)) == {None}
    state = states(shop)[0]
    first = rows(shop, "2024-01-25").to_pandas()
    # Less is better, of a proportion: a reward is 1 for an order that was not acted on.
    known = state.rewards["n"][0]
    assert 0 < known <= (first["action"] == "coupon").sum()
    assert 0 <= state.rewards["total"][0] <= known
    assert state.rewards["total"] == state.rewards["squares"]


def test_what_is_to_be_done_with_a_row_is_published_also_to_a_table_that_was_there_before(make_shop, tmp_path):
    shop = make_shop(ml.Bandit("acted", actions=("coupon", "call"), warm_up=10, floor=0.1))
    business = f"sqlite:///{tmp_path / 'business.db'}"
    shop = replace(
        shop,
        pipeline=replace(shop.pipeline, publish=ml.Publish("business", "scores")),
        platform=Platform(replace(shop.platform.settings, connection=lambda name: business), clock=shop.platform.clock),
    )
    before = replace(shop.pipeline, experiments=replace(shop.pipeline.experiments, bandit=None))
    score(before, shop.tick("2024-01-23"), shop.platform)
    score(shop.pipeline, shop.tick("2024-01-24"), shop.platform)
    started(shop)
    for _ in range(2):
        score(shop.pipeline, shop.tick("2024-01-25"), shop.platform)
    in_lake = dict(zip(*(rows(shop, "2024-01-25")[name].to_pylist() for name in ("order_id", "action")), strict=True))
    with open_database(business).connect() as connection:
        published = connection.execute(text("SELECT tick, order_id, action FROM scores")).all()
    found = {day: {key: action for tick, key, action in published if str(tick) == day} for day in ("2024-01-23", "2024-01-24")}
    assert all(one and set(one.values()) == {None} for one in found.values())
    assert {key: action for tick, key, action in published if str(tick) == "2024-01-25"} == in_lake
    assert set(in_lake.values()) == {"coupon", "call"}


def test_arms_may_be_chosen_by_features_of_the_row(make_shop, scored):
    shop = make_shop(ml.Bandit("saved", ml.LinearThompson(("amount", "items")), warm_up=20, floor=0.1))
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-29")
    found = rows(shop, "2024-01-29")
    assert len(set(found["propensity"].to_pylist())) > 5
    assert min(found["propensity"].to_pylist()) >= 0.1
    state = at_version(plan_of(get(shop.pipeline, "saving", shop.platform)), states(shop))
    amount = np.nan_to_num(np.array(rows(shop, "2024-01-25")["amount"].to_pylist(), float))
    assert state.known.products[:, 0, 1].sum() > 0
    first = states(shop)[0].rewards["products"]
    assert np.array(first)[:, 0, 1].sum() <= amount.sum()
    shares = state.row_shares(np.array([[1.0, 1.0], [400.0, 5.0]]))
    assert shares[1, 0] > 0.7  # acting on what is dear pays


def test_one_thing_chooses_at_a_time(make_shop):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    with pytest.raises(CannotStart, match="bandit 'saving' is not over: stop it first"):
        start(shop.pipeline, "other", [NEVER], "Ann", "", shop.platform)
    with pytest.raises(CannotStart, match="of that name"):
        started(shop, NEVER)
    wanted, usual = Wanted("saved", 1.0), Usual(FIRST, FIRST, 10, 1.0, 1.0)
    planned = Plan(wanted, variants_of(shop.pipeline, [NEVER], shop.platform), 1, 5, 5, 1.0, usual)
    with pytest.raises(CannotStartExperiment, match="bandit 'saving' is not over"):
        start_experiment(shop.pipeline, "test", planned, "Ann", "", shop.platform)
    stop(shop.pipeline, "saving", "Ann", "enough", shop.platform)
    start_experiment(shop.pipeline, "test", planned, "Ann", "", shop.platform)
    with pytest.raises(CannotStart, match="experiment 'test' is not over"):
        start(shop.pipeline, "other", [NEVER], "Ann", "", shop.platform)


@pytest.mark.parametrize(
    ("bandit", "arms", "why"),
    [
        (None, [NEVER], "declares no bandit"),
        (SAVING, [], "at least one arm besides the champion"),
        (SAVING, ["champion@1.0=10%"], "leave its share out"),
        (SAVING, ["9"], "returns has no version 9"),
        (SAVING, [NEVER, NEVER], "two arms are the same"),
        (ml.Bandit("saved", floor=0.4), [NEVER, "champion@0.9"], "leave nothing to learn"),
        (ml.Bandit("saved", actions=("a", "b")), [NEVER], "give none: the declaration names|give none"),
        (ml.Bandit("saved", until=date(2024, 1, 3)), [NEVER], "its last day is 2024-01-03"),
    ],
)
def test_what_cannot_be_started_is_refused_with_what_would_do(make_shop, bandit, arms, why):
    shop = make_shop(bandit)
    with pytest.raises(CannotStart, match=why):
        start(shop.pipeline, "saving", arms, "Ann", "", shop.platform)


def test_a_bandit_ends_with_its_last_day_or_when_it_is_stopped(make_shop):
    shop = make_shop(ml.Bandit("saved", until=date(2024, 1, 26)))
    started(shop, NEVER)
    there = [in_force(shop.pipeline, shop.tick(f"2024-01-{day}"), shop.platform) is not None for day in (24, 25, 26, 27)]
    assert there == [False, True, True, False]
    stop(shop.pipeline, "saving", "Ann", "enough", shop.platform)
    assert in_force(shop.pipeline, shop.tick("2024-01-25"), shop.platform) is None
    with pytest.raises(NoBandit, match="there are: saving"):
        get(shop.pipeline, "gone", shop.platform)


def test_rows_that_an_arm_could_not_answer_teach_nothing(make_shop, scored, monkeypatch):
    shop = make_shop(SAVING)
    started(shop, NEVER)

    def broken(*_: object) -> None:
        raise OSError("the threshold's table is gone")

    monkeypatch.setattr(variants, "decided_from", broken)
    scored(shop, "2024-01-25", "2024-01-25")
    found = rows(shop, "2024-01-25")
    assert set(found["variant"].to_pylist()) == {"control", None}
    assert found["propensity"].null_count == found["variant"].null_count > 0
    updated(shop, "2024-01-27")
    assert states(shop)[0].rewards["n"][1] == 0


def test_each_tick_keeps_by_which_version_it_was_given_its_arms(make_shop, scored):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-28")
    used = {one.tick: one.version for one in shop.platform.ledger.all(BanditTick, name="saving")}
    assert used == {date(2024, 1, 25): 0, date(2024, 1, 26): 0, date(2024, 1, 27): 1, date(2024, 1, 28): 2}
