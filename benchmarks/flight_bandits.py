"""What bandits earn on replayed flights, against the best arm, against A/B then best, and against the champion alone.

Four ways to decide whether to act on a flight are fitted or chosen on January to April: every one of them can score every later
flight, so what each would have earned is known, and so is what was lost by choosing among them. Shares are those of the
project's policies; flights are given arms by chance, again for each seed, and rewards come after a delay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.size import sized
from demo.business_database import business_tables
from mlprod_tasks.bandits.arm_rewards import ArmRewards, within_a_tick
from mlprod_tasks.bandits.policy import row_shares, shares
from mlprod_tasks.declaration.bandit import UCB1, Bandit, EpsilonGreedy, LinearThompson, LinUCB

Floats = NDArray[np.float64]
SEEDS = sized(200, 3)
DAYS = sized(119, 21)  # from the first of May on: 17 weeks
DELAYS = (0, 2, 14)  # days after which a reward is known, after the end of its own
TEST_DAYS = sized(28, 7)  # of A/B then best
RIGHT, WRONG, FROM = 120.0, -40.0, 0.25  # what acting earns, and the probability from which it pays
DRAWS = 1000
FEW = sized(200, 20)  # rewards of each arm before shares move
ARMS = ("rates of carrier and hour", "LightGBM", "LightGBM, late above 0.4", "never act")
SAVED = Bandit("saved", floor=0.02, warm_up=FEW)
POLICIES: dict[str, Bandit] = {
    "`ThompsonSampling()`": SAVED,
    "`ThompsonSampling()`, `by_tick=False`": replace(SAVED, by_tick=False),
    "`ThompsonSampling()`, `discount=0.97`": replace(SAVED, discount=0.97),
    "`EpsilonGreedy(0.1)`": replace(SAVED, policy=EpsilonGreedy(0.1), floor=0.0),
    "`UCB1(scale=160)`": replace(SAVED, policy=UCB1(RIGHT - WRONG)),
}
CONTEXT = ("rate of carrier and hour", "hour", "distance")
BY_FEATURES: dict[str, Bandit] = {
    "`LinUCB(...)`": replace(SAVED, policy=LinUCB(CONTEXT)),
    "`LinearThompson(...)`": replace(SAVED, policy=LinearThompson(CONTEXT)),
}
Choose = Callable[[int, Sequence[ArmRewards], Sequence[ArmRewards]], Floats]


@dataclass(frozen=True)
class Days:
    """The flights of each day.

    values: for each day what each arm earns with each flight, (flights, arms); features: of each flight, (flights, features).
    """

    values: tuple[Floats, ...]
    features: tuple[Floats, ...]

    @property
    def flights(self) -> int:
        return sum(len(one) for one in self.values)

    @property
    def arms(self) -> Floats:
        """What each arm earns with all flights, (arms,)."""
        return np.asarray(np.sum([one.sum(axis=0) for one in self.values], axis=0))


def regret() -> None:
    """Print what each way to choose among the arms loses against the best one."""
    days = replayed()
    each = days.arms / days.flights * 1000
    print("\n| arm | USD in 1,000 flights |\n| --- | ---: |")
    for name, value in zip(ARMS, each, strict=True):
        print(f"| {name} | {value:,.0f} |")
    print(f"\n{days.flights:,} flights of {len(days.values)} days, {SEEDS} seeds; USD in 1,000 flights, with 95 % intervals\n")
    print("| choosing by | " + " | ".join(f"lost, delay {one}" for one in DELAYS) + " | more than A/B then best, delay 2 |")
    print("| --- |" + " ---: |" * (len(DELAYS) + 1))
    best = each.max()
    testing = {delay: _earned(days, _test_then_best(delay), delay) for delay in DELAYS}
    for name, bandit in POLICIES.items():
        earned = {delay: _earned(days, _by_policy(bandit), delay, bandit.discount) for delay in DELAYS}
        lost = " | ".join(_interval(best - earned[delay]) for delay in DELAYS)
        print(f"| {name} | {lost} | {_interval(earned[2] - testing[2])} |", flush=True)
    for name, bandit in BY_FEATURES.items():
        earned = {delay: _earned_by_features(days, bandit, delay) for delay in DELAYS}
        lost = " | ".join(_interval(best - earned[delay]) for delay in DELAYS)
        print(f"| {name} | {lost} | {_interval(earned[2] - testing[2])} |", flush=True)
    print(f"| A/B for {TEST_DAYS} days, then best | " + " | ".join(_interval(best - testing[one]) for one in DELAYS) + " | |")
    print(f"| always the champion ({ARMS[0]}) |" + f" {best - each[0]:,.0f} |" * len(DELAYS) + " |")


def replayed() -> Days:
    """What each arm earns with the flights from May on, fitted on those before."""
    tables = business_tables()
    flights = (
        tables["flights"].to_pandas().merge(tables["arrivals"].select(["flight_id", "arr_delay"]).to_pandas(), on="flight_id")
    )
    local = flights["sched_dep_at"].dt.tz_convert("America/New_York")
    flights = flights.assign(
        late=flights["arr_delay"] > 15, hour=local.dt.hour, weekday=local.dt.dayofweek,
        day=(local.dt.tz_localize(None) - pd.Timestamp("2013-05-01")).dt.days,
    )  # fmt: skip
    before, after = flights[flights["day"] < 0], flights[(flights["day"] >= 0) & (flights["day"] < DAYS)]
    rates = before.groupby(["carrier", "hour"])["late"].mean().rename("rate")
    by_rate = after.merge(rates, how="left", left_on=["carrier", "hour"], right_index=True)["rate"].fillna(
        before["late"].mean()
    )
    by_model = _lightgbm(before, after)
    acts = np.column_stack([by_rate >= FROM, by_model >= FROM, by_model >= 0.4, np.zeros(len(after), bool)])
    values = acts * np.where(after["late"].to_numpy()[:, None], RIGHT, WRONG)
    day = after["day"].to_numpy()
    features = np.column_stack([by_rate, after["hour"], after["distance"]]).astype(float)
    return Days(*(tuple(of_all[day == one] for one in range(DAYS)) for of_all in (values, features)))


def _lightgbm(before: pd.DataFrame, after: pd.DataFrame) -> Floats:
    columns, text = ["carrier", "origin", "dest", "distance", "hour", "weekday"], ["carrier", "origin", "dest"]
    both = pd.concat([before, after])[columns]
    both = both.assign(**{name: both[name].astype("category").cat.codes for name in text}).to_numpy(float)
    data = lightgbm.Dataset(both[: len(before)], before["late"].to_numpy(float), categorical_feature=[0, 1, 2])
    options = {
        "objective": "binary",
        "verbose": -1,
        "num_threads": 1,
        "seed": 1,
        "min_data_in_leaf": 200,
        "deterministic": True,
    }
    model = lightgbm.train(options, data, num_boost_round=60)
    return np.asarray(model.predict(both[len(before) :]), float)


def _earned(days: Days, choose: Choose, delay: int, discount: float = 1.0) -> Floats:
    """What is expected to be earned in 1,000 flights, (seeds,). choose: shares by day, rewards known and rewards that count."""
    arms, earned = len(ARMS), np.zeros(SEEDS)
    known = [ArmRewards.none(arms) for _ in range(SEEDS)]
    counted, waiting = list(known), list[list[ArmRewards]]()
    for day, values in enumerate(days.values):
        if len(waiting) > delay:
            due = waiting.pop(0)
            known = [old + new for old, new in zip(known, due, strict=True)]
            counted = [old.weighted(discount) + new for old, new in zip(counted, due, strict=True)]
        given = choose(day, known, counted)
        chance = _chances(day, len(values))
        arm = np.minimum((chance[:, :, None] >= given.cumsum(axis=1)[:, None, :]).sum(axis=2), arms - 1)
        waiting.append([_of_a_day(values, arm[seed]) for seed in range(SEEDS)])
        earned += given @ values.sum(axis=0)  # what the shares earn: by which flights they were drawn is luck
    return earned / days.flights * 1000


def _earned_by_features(days: Days, bandit: Bandit, delay: int) -> Floats:
    """The same of a policy that chooses by features, (seeds,)."""
    arms, earned = len(ARMS), np.zeros(SEEDS)
    for seed in range(SEEDS):
        known, waiting = ArmRewards.none(arms, len(CONTEXT)), list[ArmRewards]()
        for day, (values, features) in enumerate(zip(days.values, days.features, strict=True)):
            if len(waiting) > delay:
                known += waiting.pop(0)
            given = row_shares(bandit, known, known, features, seed * 1000 + day)
            chance = _chances(day, len(values))[seed]
            arm = np.minimum((chance[:, None] >= given.cumsum(axis=1)).sum(axis=1), arms - 1)
            waiting.append(ArmRewards.of(arms, arm, values[np.arange(len(arm)), arm], features))
            earned[seed] += (given * values).sum()
    return earned / days.flights * 1000


@cache
def _chances(day: int, flights: int) -> Floats:
    """Where each flight lies in [0, 1), (seeds, flights): the same for each policy, so that only their choice differs."""
    return np.random.default_rng([1, day]).random((SEEDS, flights))


def _of_a_day(values: Floats, arm: NDArray[np.int64]) -> ArmRewards:
    """The rewards of a day's flights, each with its arm, (flights,)."""
    arms, reward = values.shape[1], values[np.arange(len(arm)), arm]
    n, total, squares = (np.bincount(arm, weights, minlength=arms) for weights in (np.ones(len(arm)), reward, reward**2))
    within, gained, around = within_a_tick(n, total, squares)
    return replace(ArmRewards.none(arms), n=n, total=total, squares=squares, within=within, gained=gained, around=around)


def _by_policy(bandit: Bandit) -> Choose:
    def choose(day: int, known: Sequence[ArmRewards], counted: Sequence[ArmRewards]) -> Floats:
        both = enumerate(zip(known, counted, strict=True))
        return np.array([shares(bandit, one, other, seed * 1000 + day, False, DRAWS) for seed, (one, other) in both])

    return choose


def _test_then_best(delay: int) -> Choose:
    """Equal shares until the rewards of the test's days are known, then all for the arm with the best mean in them."""
    kept: list[Floats] = []

    def choose(day: int, known: Sequence[ArmRewards], counted: Sequence[ArmRewards]) -> Floats:
        if day < TEST_DAYS + delay:
            return np.full((SEEDS, len(ARMS)), 1 / len(ARMS))
        if not kept:
            kept.append(np.eye(len(ARMS))[[int(one.mean.argmax()) for one in known]])
        return kept[0]

    return choose


def _interval(values: Floats) -> str:
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    return f"{mean:,.0f} ({mean - half:,.0f} to {mean + half:,.0f})"
