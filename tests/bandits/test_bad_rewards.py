"""Rewards that say nothing: a bandit says so, and no arm wins by them."""

from dataclasses import replace

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.bandits import run as bandits
from mlprod_tasks.bandits.arm_rewards import ArmRewards
from mlprod_tasks.bandits.follow import follow_bandits
from mlprod_tasks.bandits.policy import best_probabilities, row_shares, shares
from mlprod_tasks.bandits.state import recorded, update
from mlprod_tasks.bandits.told import told
from mlprod_tasks.bandits.untold import untold
from mlprod_tasks.dashboard.bandits import bandits as shown_bandits
from mlprod_tasks.steps import tell_experiments
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
SAVING = ml.Bandit("saved", warm_up=50, floor=0.1, best=0.9)


def rewards(*values: float, null: bool = False) -> ArmRewards:
    arm = np.arange(len(values)) % 2
    return ArmRewards.of(2, arm, np.array(values), np.arange(len(values), dtype=float)[:, None], np.full(len(values), null))


@pytest.mark.parametrize("value", [0.0, 0.1, 5.3, -7.7])
@pytest.mark.parametrize("by_tick", [True, False])
def test_no_arm_is_better_by_rewards_that_are_alike(value: float, by_tick: bool) -> None:
    alike = sum((rewards(*[value] * 101) for _ in range(3)), ArmRewards.none(2, 1))
    assert best_probabilities(alike, 1, proportion=False, by_tick=by_tick).tolist() == [0.5, 0.5]
    for policy in (ml.ThompsonSampling(), ml.EpsilonGreedy(0.1), ml.UCB1(10.0)):
        bandit = replace(SAVING, policy=policy, by_tick=by_tick)
        assert shares(bandit, alike, alike, 1, proportion=False).tolist() == [0.5, 0.5]
    linear = replace(SAVING, policy=ml.LinUCB(("amount",)))
    assert row_shares(linear, alike, alike, np.array([[1.0], [60.0]]), 1).tolist() == [[0.5, 0.5]] * 2
    differ = alike + rewards(value + 1e-3, value)
    assert best_probabilities(differ, 1, proportion=False, by_tick=by_tick)[0] > 0.5


def test_what_rewards_do_not_tell_is_said() -> None:
    def why(*ticks: ArmRewards) -> str | None:
        return untold("saved", [one.as_json() for one in ticks])

    none, null = ArmRewards.none(2, 1), rewards(*[0.0] * 60, null=True)
    assert why() is why(none, none) is None
    assert why(none, none, none) == "no unit had a reward in 3 ticks: rows have no unit, or no outcome"
    assert why(null, null) == "metric 'saved' is null for all 120 rewards: check its sql, and what it reads"
    assert why(null, rewards(0.0)) == "all 61 rewards are alike: they tell no arm from another"
    assert why(null, rewards(1.0)) is why(rewards(1e6, 1e6 + 1)) is None
    before = {name: part for name, part in null.as_json().items() if name != "nulls"}
    assert ArmRewards.from_json(before).nulls.tolist() == [0.0, 0.0], "of a version that did not count them"


def run_of(shop: Shop):
    return bandits.get(shop.pipeline, "saving", shop.platform)


def test_a_metric_that_is_null_for_all_ends_a_bandit_after_its_warm_up(make_shop, scored, catcher, mailing) -> None:
    shop = make_shop(replace(SAVING, by_tick=False))
    settings = replace(shop.platform.settings, connection=mailing(shop.platform.clock).settings.connection)
    shop = replace(shop, platform=replace(shop.platform, settings=settings))
    null = ml.UnitMetric("saved", "CAST(NULL AS DOUBLE)", "what acting saved")
    shop = shop.declared(experiments=replace(shop.pipeline.experiments, metrics=(null,)))
    bandits.start(shop.pipeline, "saving", [NEVER], "Ann", "a test", shop.platform)
    scored(shop, "2024-01-25", "2024-01-26")
    states = update(shop.pipeline, run_of(shop), shop.tick("2024-01-27"), shop.platform)
    said = f"metric 'saved' is null for all {int(sum(states[0].rewards['n']))} rewards: check its sql, and what it reads"
    assert states[0].rewards["nulls"] == states[0].rewards["n"]
    assert said in told(run_of(shop), states)
    with shop.platform.ledger.session() as session:
        (row,) = shown_bandits(session, shop.pipeline, shop.tick("2024-02-01").start)
    assert row.untold == said
    ended = []
    for day in ("2024-01-27", "2024-01-28", "2024-01-29"):
        scored(shop, day, day)
        ended += follow_bandits(shop.pipeline, shop.tick(day), shop.platform)
    assert ended == ["saving"]
    assert run_of(shop).ended_by == "its metric"
    assert run_of(shop).end_reason.startswith("metric 'saved' is null for all ")
    last = recorded(shop.pipeline, run_of(shop), shop.platform)[-1]
    assert set(last.best.values()) == {0.5}
    assert tell_experiments(shop.pipeline, shop.tick("2024-01-29"), shop.platform) == ["saving"]
    (mail,) = [one for one in catcher.outbox.mails() if "bandit" in one["Subject"]]
    plain = " ".join(mail.get_body(("plain",)).get_content().split())
    assert plain.count("etric 'saved' is null for all") == 1
