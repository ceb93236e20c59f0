"""Predictions on request: how old features may be, what happens if they are missing, and how versions are rolled out."""

from __future__ import annotations

from dataclasses import field, replace
from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.feature import hours
from mlprod_tasks.declaration.schedule import Schedule

LONGEST_FILL = hours(5)  # after the tick, until the store has it
SHORTEST_LOOK_BACK = hours(24)
Policy = Literal["default", "fallback", "refuse"]


@declared
class Ramp:
    """A rollout of a challenger as a canary: share by share, with checks before each next share.

    A share passes its checks unless the challenger is significantly worse than the champion on rows of the same time. While the
    champion has too few rows to compare errors or latency, the rollout waits. If labels have arrived, a significantly worse
    Brier score, mean absolute error of predicted numbers, or log loss of classes, also fails.

    shares: the shares of entities that the challenger scores, one after the other.
    hold: the shortest time at each share.
    at_most: the longest time at each share; if there are too few rows by then, the challenger is taken back.
    rows: the number of rows that it must have scored at each share.
    errors: how much higher its share of errors may be.
    latency: the largest ratio of its 99th percentile of latency to the champion's (a lower percentile if the champion has fewer
    than about 665 rows).
    score_shift: how far its mean score may be from the champion's; of predicted numbers, in standard deviations of the
    champion's predictions; of classes, the mean probability of any of them.
    confidence: the confidence level of 'significantly'.
    """

    shares: tuple[float, ...] = (0.05, 0.25, 0.5, 1.0)
    hold: timedelta = hours(1)
    at_most: timedelta = hours(24)
    rows: int = 300
    errors: float = 0.01
    latency: float = 1.5
    score_shift: float = 0.1
    confidence: float = 0.99


@declared
class Serving:
    """A use case that answers requests, one row at a time, as of the moment of the request.

    Look-up, as-of and trailing features come from the online store. They are missing if the store has no data for them or
    cannot be reached. A key that is not in the store is not missing: it gets the features that batch scoring would give it.
    Every answer says which features were stale or missing.

    stale_after: features are stale if the store is complete only up to a moment longer ago than this. By default the longest
    time between two ticks, and five hours more for the fill: 30 hours of daily ticks; of hourly ticks two hours.
    stale: what to do with stale features: 'use' scores with them, 'default' scores with the values in `defaults`, 'fallback'
    lets the fallback model answer, 'refuse' gives no score.
    missing: what to do if features are missing; as `stale`, without 'use'.
    defaults: the value for each feature; null for features that are not named.
    unknown_category: whether a value in a request that is not among its column's `values` is refused or taken as null.
    look_back: how far back from the newest data the store answers any moment exactly; by default two ticks, one of which may
    have 25 hours, and at least a day.
    checked_rows: the number of rows of a tick that are computed each night both online and in batch, and compared.
    look_up_within: how long a request waits for the store before it uses cached values.
    log_seconds: how long an answer may wait to be written to the log; a replica that is killed loses at most these seconds.
    ramp: how a version that passes its gates is rolled out before it is promoted; None promotes it at once.
    """

    stale_after: timedelta | None = None
    stale: Literal["use", "default", "fallback", "refuse"] = "fallback"
    missing: Policy = "fallback"
    defaults: dict[str, int | float | str | bool] = field(default_factory=dict)
    unknown_category: Literal["refuse", "null"] = "refuse"
    look_back: timedelta | None = None
    checked_rows: int = 1000
    look_up_within: timedelta = timedelta(milliseconds=250)
    log_seconds: float = 2.0
    ramp: Ramp | None = None

    def of(self, schedule: Schedule) -> Serving:
        """Return the same with the lengths that follow the schedule, where none are declared."""
        longest = schedule.longest
        stale_after, look_back = longest + min(longest, LONGEST_FILL), max(2 * longest, SHORTEST_LOOK_BACK)
        return replace(
            self,
            stale_after=stale_after if self.stale_after is None else self.stale_after,
            look_back=look_back if self.look_back is None else self.look_back,
        )
