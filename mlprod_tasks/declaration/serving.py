"""Predictions on request: how old a feature may be, and what is answered without it."""

from __future__ import annotations

from dataclasses import field
from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.feature import hours

Policy = Literal["default", "fallback", "refuse"]


@declared
class Ramp:
    """How a challenger is rolled out as a canary: share by share, each judged before the next.

    Each of `shares` is held for `hold` at least, and until the challenger has answered `rows` rows; where it has not within
    `at_most`, it is taken back. A step passes unless the challenger, beside the champion's rows of the same time, has surely a
    share of errors more than `errors` higher, surely a 99th percentile of latency more than `latency` times as long (of fewer
    than some 665 rows of the champion, a lower percentile), surely a mean score more than `score_shift` away, or, where labels
    have arrived, surely a worse Brier score. Sure is what holds with `confidence`. While the champion has too few rows to
    tell errors or latency by, a step waits, for `at_most`.
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

    Look-ups, as-of and trailing features come from the online store. They are stale where the store is complete only up to
    a moment longer than `stale_after` ago, and missing where it does not hold them at all or cannot be reached; a key that is
    not in it is neither: its features are what batch scoring gives it. Then 'default' scores with the value in `defaults` (null
    for a feature that it does not name), 'fallback' lets the fallback model answer, 'refuse' gives no score; for what is stale
    'use' scores with the values as they are. Every answer says which features were stale or missing.

    `unknown_category` is about a request's value that is not among its column's `values`: refused, or taken as null.
    `look_back` is how far back from the newest data the store answers any moment exactly, by default two ticks, of which one
    may have 25 hours; `checked_rows` how many rows of a tick are computed again each night, online and in batch, and compared.
    `look_up_within` is how long a request waits for the store before it goes on with what it holds; `log_seconds` how long an
    answer may wait to be written to the log: a replica that is killed loses those of as many seconds at most. `ramp`: a version
    that passes its gates is rolled out so, and promoted at the end; without it, it is promoted at once.
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
