"""Compare each treated variant with the control, metric by metric, as the design allows at this look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mlprod_tasks.declaration import UnitMetric
from mlprod_tasks.experiments.plan import Plan
from mlprod_tasks.statistics import sequential
from mlprod_tasks.statistics.multiple_tests import benjamini_hochberg
from mlprod_tasks.statistics.treatment_effect import Effect, Moments, NoEffect, adjusted, of_means, of_ratios


@dataclass(frozen=True)
class Looked:
    """That a verdict may be given now.

    bound: of |z|, of a sequential design at this look; None if there is none, or if nothing came since the look before. at_end:
    whether no later look will come.
    """

    bound: float | None
    at_end: bool


@dataclass(frozen=True)
class Compared:
    """One metric of a treated variant beside the control's.

    low, high: the interval of the difference; it holds at this look, or at all times if there is no verdict yet. better: the
    difference without what is explained by what units did before the start, if they were there, and by declared covariates
    (CUPED); better_low, better_high, better_p: of it; explained: the share of the variance that this took away. adjusted_p: of
    a metric that does not decide: so that the share of false ones among those that are found is kept (Benjamini and Hochberg).
    """

    metric: str
    variant: str
    control: float
    treated: float
    difference: float
    low: float
    high: float
    lift: float | None
    p: float | None
    better: float | None = None
    better_low: float | None = None
    better_high: float | None = None
    explained: float | None = None
    adjusted_p: float | None = None
    better_p: float | None = None

    @property
    def without_covariates(self) -> Compared:
        """The same with the adjusted difference as the difference; itself if there is none."""
        if self.better is None or self.better_low is None or self.better_high is None:
            return self
        return replace(self, difference=self.better, low=self.better_low, high=self.better_high, p=self.better_p)


def compare(
    metrics: Sequence[UnitMetric],
    primary: UnitMetric,
    planned: Plan,
    found: Mapping[str, Mapping[str, Moments]],
    covariate: Mapping[str, Moments],
    looked: Looked | None,
) -> Iterator[Compared]:
    """Yield each metric of each treated variant beside the control's; nothing for one without a difference to test.

    found: the moments of each metric's units, by variant; covariate: of the primary metric now and before the start, by
    variant; looked: None if there may be no verdict now.
    """
    for metric in metrics:
        of_variant = found[metric.name]
        for one in planned.treated:
            if planned.control.name not in of_variant or one.name not in of_variant:
                continue
            pair = of_variant[planned.control.name], of_variant[one.name]
            try:
                effect = (of_ratios if metric.of == "ratio" else of_means)(*pair)
            except NoEffect:
                continue
            better = _adjusted(planned, one.name, covariate) if metric is primary else None
            yield _comparison(metric, planned, one.name, effect, better, pair, looked)


def for_several(compared: Sequence[Compared], primary: UnitMetric) -> tuple[Compared, ...]:
    """Return what was compared, with p-values of metrics that do not decide adjusted for how many there are."""
    others = [one for one in compared if one.metric != primary.name and one.p is not None]
    adjusted_p = iter(benjamini_hochberg([one.p for one in others if one.p is not None]))
    return tuple(replace(one, adjusted_p=float(next(adjusted_p))) if one in others else one for one in compared)


def _adjusted(planned: Plan, variant: str, covariate: Mapping[str, Moments]) -> tuple[Effect, float] | None:
    if planned.control.name not in covariate or variant not in covariate:
        return None
    try:
        return adjusted(covariate[planned.control.name], covariate[variant])
    except NoEffect:
        return None


def _comparison(
    metric: UnitMetric,
    planned: Plan,
    variant: str,
    effect: Effect,
    better: tuple[Effect, float] | None,
    pair: tuple[Moments, Moments],
    looked: Looked | None,
) -> Compared:
    n = min(one.n for one in pair)
    half, p = _half_and_p(planned, effect, n, looked)
    low, high = effect.difference - half, effect.difference + half
    found = Compared(metric.name, variant, effect.control, effect.treated, effect.difference, low, high, effect.lift, p)
    if better is None:
        return found
    around, explained = better
    width, better_p = _half_and_p(planned, around, n, looked)
    return replace(
        found, better=around.difference, better_low=around.difference - width, better_high=around.difference + width,
        explained=explained, better_p=better_p,
    )  # fmt: skip


def _half_and_p(planned: Plan, effect: Effect, n: int, looked: Looked | None) -> tuple[float, float | None]:
    """Half the width of the interval of a difference, and its p-value if a verdict may be given.

    Between looks, and before the end of a fixed design, the interval is always valid: looking at it costs nothing.
    """
    alpha, design = planned.wanted.alpha / len(planned.treated), planned.wanted.design
    if looked is not None and design == "fixed":
        return effect.difference - effect.interval(alpha)[0], effect.p
    if looked is not None and looked.bound is not None:
        return looked.bound * effect.error, effect.p
    half = sequential.always_valid_half(effect.error, n, planned.units, alpha)
    if looked is None or design != "always_valid":
        return half, None
    return half, sequential.always_valid_p(effect.difference, effect.error, n, planned.units, alpha)
