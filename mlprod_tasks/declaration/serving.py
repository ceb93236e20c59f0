"""Predictions on request: how old features may be, and what happens without them."""

from __future__ import annotations

from dataclasses import field
from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.feature import hours

Policy = Literal["default", "fallback", "refuse"]


@declared
class Ramp:
    """How a challenger is rolled out as a canary: share by share, with checks before each next share.

    A step passes unless the challenger is surely worse than the champion's rows of the same time. While the champion has too
    few rows to tell errors or latency by, a step waits. Where labels have arrived, a surely worse Brier score fails it too.

    shares: the shares of entities that it scores, one after the other.
    hold: the shortest time at each share.
    at_most: the longest time at each share; where there are too few rows by then, the challenger is taken back.
    rows: how many rows it must have scored at each share.
    errors: how much higher its share of errors may be.
    latency: how many times the champion's its 99th percentile of latency may be (with fewer than some 665 rows of the
    champion, a lower percentile).
    score_shift: how far its mean score may lie from the champion's.
    confidence: the confidence behind 'surely'.
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

    Look-ups, as-of and trailing features come from the online store. They are missing where the store has none of them
    or cannot be reached. A key that is not in the store is not missing: its features are those that batch scoring would give.
    Every answer says which features were stale or missing.

    stale_after: features are stale where the store is complete only up to a moment longer ago than this.
    stale: what happens then: 'use' scores with the values as they are, 'default' with those in `defaults`, 'fallback' lets the
    fallback model answer, 'refuse' gives no score.
    missing: what happens where features are missing; the same without 'use'.
    defaults: the value for each feature; null for one that is not named.
    unknown_category: a request's value that is not among its column's `values` is refused, or taken as null.
    look_back: how far back from the newest data the store answers any moment exactly; by default two ticks, of which one may
    have 25 hours.
    checked_rows: how many rows of a tick are computed again each night, online and in batch, and compared.
    look_up_within: how long a request waits for the store before it goes on with what is cached.
    log_seconds: how long an answer may wait to be written to the log; a replica that is killed loses at most these seconds.
    ramp: how a version that passes its gates is rolled out before it is promoted; without it, it is promoted at once.
    """

    stale_after: timedelta = hours(30)
    stale: Literal["use", "default", "fallback", "refuse"] = "fallback"
    missing: Policy = "fallback"
    defaults: dict[str, int | float | str | bool] = field(default_factory=dict)
    unknown_category: Literal["refuse", "null"] = "refuse"
    look_back: timedelta = hours(50)
    checked_rows: int = 1000
    look_up_within: timedelta = timedelta(milliseconds=250)
    log_seconds: float = 2.0
    ramp: Ramp | None = None
