"""What a bandit chooses among, what it earns by it, and how it chooses."""

from __future__ import annotations

from datetime import date

from mlprod_tasks.declaration.declared import declared

ACTION, STATE = "action", "state_version"  # columns of the predictions


@declared
class EpsilonGreedy:
    """The arm with the best mean so far; a share of the units gets any arm.

    epsilon: that share.
    """

    epsilon: float = 0.1


@declared
class UCB1:
    """The arm whose mean could be the highest: a bonus for what is little known (Auer, Cesa-Bianchi and Fischer, 2002).

    All units of a tick get that arm, but for the floor of the others.

    scale: how far apart two rewards can be, in the metric's unit; 1 for a proportion.
    """

    scale: float = 1.0


@declared
class ThompsonSampling:
    """Each arm as often as it is probably the best (Thompson, 1933): a proportion has a Beta, a mean a normal distribution."""


@declared
class LinearThompson:
    """Each arm as often as it is probably the best for a row like this (Agrawal and Goyal, 2013).

    What an arm earns is taken to be linear in the features, each standardised.

    features: declared features that are numbers or bools; one that is null counts as 0.
    ridge: how many rows' worth of evidence speaks for no influence of a feature.
    """

    features: tuple[str, ...]
    ridge: float = 1.0


@declared
class LinUCB:
    """The arm whose reward could be the highest for a row like this (Li et al., 2010).

    What an arm earns is taken to be linear in the features, each standardised.

    features: declared features that are numbers or bools; one that is null counts as 0.
    alpha: how many standard errors are added to what is expected.
    ridge: how many rows' worth of evidence speaks for no influence of a feature.
    """

    features: tuple[str, ...]
    alpha: float = 1.0
    ridge: float = 1.0


@declared
class AroundModel:
    """The champion as it is, but for a share of the units that the other arms get alike.

    Nothing is learned while it runs: it gathers rows from which `mlprod bandit evaluate` tells what another policy would earn.

    share: of the units.
    """

    share: float = 0.1


Policy = EpsilonGreedy | UCB1 | ThompsonSampling | LinearThompson | LinUCB | AroundModel
Contextual = LinearThompson | LinUCB


@declared
class Bandit:
    """How units are given more and more to what earns most, while rewards come in.

    Its arms are versions and thresholds, which are named when it starts, or declared actions. At each tick the policy's shares
    follow from all rewards that were known by then; each unit of the tick is given an arm by chance, with these shares. The
    reward of a unit is the metric over its rows of one tick, known after the metric's delay.

    reward: the name of a metric of the experiments: a mean or a proportion.
    policy: how shares follow from rewards.
    actions: the arms, if they are what the business may do with a row, such as coupons: the champion scores all rows, and each
    gets one of these as its `action`. Empty: arms are versions and thresholds.
    floor: the least share of each arm, so that it can still be found to be the best; of no meaning for `AroundModel`.
    warm_up: rewards of each arm before which all have equal shares.
    best: the probability of being the best at which an arm wins and the bandit ends; None does not end it so.
    until: the last day on which it may run; None: until it is stopped or has a winner.
    discount: the weight of a reward falls by this factor with each tick, for arms whose worth changes; 1 keeps it.
    window: how many ticks of rewards count; None for all.
    by_tick: whether arms are compared within ticks, so that good days do not speak for the arm that had most of their units;
    rewards then have normal distributions. False adds them up over time, as policies that choose by features always do.
    seed: of all that is drawn by chance.
    """

    reward: str
    policy: Policy = ThompsonSampling()
    actions: tuple[str, ...] = ()
    floor: float = 0.05
    warm_up: int = 100
    best: float | None = 0.95
    until: date | None = None
    discount: float = 1.0
    window: int | None = None
    by_tick: bool = True
    seed: int = 0

    @property
    def features(self) -> tuple[str, ...]:
        """The features by which a contextual policy chooses; empty for others."""
        return self.policy.features if isinstance(self.policy, Contextual) else ()
