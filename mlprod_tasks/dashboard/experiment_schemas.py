"""The page's JSON about experiments: what was planned, what it shows, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass

from mlprod_tasks.dashboard.bandit_schemas import BanditRow, DeclaredBandit


@dataclass(frozen=True)
class VariantRow:
    """A variant of an experiment. units: with a known outcome; rows: scored; waiting: rows without an outcome yet."""

    name: str
    version: int
    share: float
    threshold: float | None
    held_out: bool
    units: int
    rows: int
    waiting: int


@dataclass(frozen=True)
class DifferenceRow:
    """A metric of a treated variant beside the control's.

    low, high: the interval of the difference. lift: the difference as a share of the control's value. gain: whether the whole
    interval is good (true) or bad (false) for the business; None if it holds 0. adjusted: the difference and its interval
    without what is explained by what units did before the start, and by declared covariates; None without either. adjusted_p:
    of a metric that does not decide, adjusted for how many there are.
    """

    metric: str
    unit: str
    variant: str
    control: float
    treated: float
    difference: float
    low: float
    high: float
    lift: float | None
    p: float | None
    adjusted_p: float | None
    gain: bool | None
    adjusted: tuple[float, float, float] | None


@dataclass(frozen=True)
class DifferencePath:
    """The difference in the metric that decides, at each tick at which it was read."""

    variant: str
    ticks: tuple[str, ...]
    difference: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class ExposurePath:
    """The difference in the metric that decides, by ticks since a unit's first row.

    later: the difference without each unit's first period, and its interval. sentence: if it changes beyond doubt.
    """

    variant: str
    ages: tuple[int, ...]
    difference: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    later: tuple[float, float, float] | None
    sentence: str


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment.

    starts, ends: the first and the last tick whose rows are assigned, as planned. ended: the first tick that is not assigned,
    if somebody ended it. units: planned in the smallest variant. verdict: of the newest reading, or the one that stays; 'not
    read' before there is one. first, last: the ticks whose rows were read. sample_ratio: how likely chance gives numbers of
    units so far from the planned shares.
    """

    name: str
    at: str
    by: str
    reason: str
    starts: str
    ends: str
    ended: str | None
    ended_by: str
    end_reason: str
    metric: str
    unit: str
    rows: str  # 'batch' or 'requests'
    traffic: float  # the share of the units that take part
    fresh: bool  # whether only units count that were first seen after the start
    then: str  # what follows a verdict: 'nothing', 'take_back' or 'promote'
    conclusion: str  # what followed
    design: str
    difference: float
    alpha: float
    power: float
    units: int
    verdict: str
    sentence: str
    final: bool
    first: str | None
    last: str | None
    sample_ratio: float | None
    variants: tuple[VariantRow, ...]  # the control first
    differences: tuple[DifferenceRow, ...]
    paths: tuple[DifferencePath, ...]
    exposure: tuple[ExposurePath, ...]
    may_end: bool  # whether rows of ticks to come are still assigned
    beside: tuple[str, ...]  # experiments that run on some of the same units, as they vary another part of the answer
    untold: tuple[str, ...]  # of each metric that does not decide and has no difference to test, why


@dataclass(frozen=True)
class ExperimentsDetail:
    """The experiments and bandits of a use case. metrics: that experiments can be planned for, (name, doc, unit).

    bandit: that may be started.
    """

    metrics: tuple[tuple[str, str, str], ...]
    runs: tuple[ExperimentRow, ...]  # newest first
    bandits: tuple[BanditRow, ...] = ()  # newest first
    bandit: DeclaredBandit | None = None
