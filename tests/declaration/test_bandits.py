"""What bandits may declare, and the sentence for what they may not."""

from dataclasses import replace

import pytest

from mlprod_tasks import declaration as ml
from tests.support.shop import SHOP

SAVED = ml.UnitMetric("saved", "value", "what acting saved")
GOOD = ml.Bandit("saved")
NUMBER, TEXT = "amount", "channel"


def declared(bandit: ml.Bandit, **more: object) -> ml.Pipeline:
    return replace(SHOP, experiments=ml.Experiments((SAVED,), bandit=bandit, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy",
    [
        ml.ThompsonSampling(),
        ml.EpsilonGreedy(),
        ml.UCB1(),
        ml.LinearThompson((NUMBER,)),
        ml.LinUCB((NUMBER,)),
        ml.AroundModel(),
    ],
)
def test_every_policy_can_be_declared(policy: object) -> None:
    pipeline = declared(replace(GOOD, policy=policy))
    assert pipeline.experiments is not None
    assert pipeline.experiments.bandit is not None
    assert pipeline.experiments.bandit.policy == policy


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"reward": "lost"}, "reward 'lost' is not a metric; metrics are saved"),
        ({"actions": ("coupon",)}, "give at least two to choose among"),
        ({"actions": ("a", "a")}, "'a' is declared 2 times"),
        ({"actions": ("a", "B!")}, "action 'B!' must be lower-case letters"),
        ({"floor": 0.5}, "floor 0.5 must be at least 0 and less than 1/2"),
        ({"floor": 0.25, "actions": ("a", "b", "c", "d")}, "less than 1/4"),
        ({"floor": 0.0, "policy": ml.UCB1()}, "floor 0 with UCB1"),
        ({"warm_up": 1}, "warm_up 1: give at least 2"),
        ({"best": 0.5}, "best 0.5 must lie between 0.5 and 1"),
        ({"discount": 0.0}, "discount 0.0 must be above 0"),
        ({"window": 0}, "window 0: give the number of ticks"),
        ({"window": 3, "discount": 0.9}, "declare one of them"),
        ({"policy": ml.EpsilonGreedy(1.0)}, "epsilon 1.0 must lie between 0 and 1"),
        ({"policy": ml.AroundModel(0.0)}, "share 0.0 must lie between 0 and 1"),
        ({"policy": ml.AroundModel(), "actions": ("a", "b")}, "no action is that"),
        ({"policy": ml.UCB1(scale=0.0)}, "scale 0.0 must be above 0"),
        ({"policy": ml.LinUCB(())}, "features is empty"),
        ({"policy": ml.LinUCB((NUMBER,), ridge=0.0)}, "ridge 0.0 must be above 0"),
        ({"policy": ml.LinearThompson((TEXT,))}, f"feature '{TEXT}' is a text: give features that are numbers"),
        ({"policy": ml.LinearThompson(("gone",))}, "'gone' is not a feature"),
        ({"policy": ml.LinearThompson((NUMBER, NUMBER))}, "is declared 2 times"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("(", r"\(")):
        declared(replace(GOOD, **change))  # type: ignore[arg-type]


def test_a_ratio_is_no_reward() -> None:
    with pytest.raises(ValueError, match="reward 'saved' is a ratio, which no unit has by itself"):
        replace(SHOP, experiments=ml.Experiments((replace(SAVED, of="ratio", per="1"),), bandit=GOOD))


def test_features_choose_for_rows_not_for_units_of_several() -> None:
    with pytest.raises(ValueError, match="leave experiments' unit out"):
        declared(replace(GOOD, policy=ml.LinUCB((NUMBER,))), unit=(TEXT,))
