"""Rules of a declaration's predictions on request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.tables import listed
from mlprod_tasks.declaration.feature import Expression, Feature, Trailing, kinds_of, names_of
from mlprod_tasks.declaration.serving import Ramp, Serving

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

MOST_CHECKED = 100_000
NOTHING = timedelta(0)
LONGEST_LOOK_BACK = timedelta(days=366)


def serving_problems(pipeline: Pipeline) -> Iterator[str]:
    """The rules of serving that the declaration breaks."""
    serving = pipeline.serving
    if serving is None:
        return
    usual = Serving().of(pipeline.schedule)
    stale_after, look_back = serving.stale_after or NOTHING, serving.look_back or NOTHING  # declared, or filled in by now
    if stale_after <= NOTHING:
        yield f"serving.stale_after {stale_after} must be positive"
    if NOTHING < stale_after < pipeline.schedule.shortest:
        yield (
            f"serving.stale_after {stale_after} is shorter than the time between two ticks: features would count as "
            f"stale before the next fill. Leave it out, or declare {usual.stale_after} or more"
        )
    if not NOTHING <= look_back <= LONGEST_LOOK_BACK:
        yield f"serving.look_back {look_back} must lie between nothing and {LONGEST_LOOK_BACK.days} days"
    if not 0 <= serving.checked_rows <= MOST_CHECKED:
        yield f"serving.checked_rows {serving.checked_rows} must lie between 0 and {MOST_CHECKED:,}"
    if serving.log_seconds <= 0:
        yield f"serving.log_seconds {serving.log_seconds} must be positive"
    if serving.look_up_within <= timedelta(0):
        yield f"serving.look_up_within {serving.look_up_within} must be positive"
    if serving.ramp is not None:
        yield from _ramp_problems(serving.ramp)
    kept = [feature for feature in pipeline.features if not isinstance(feature, Expression)]
    stored = {name: feature for feature in kept for name in names_of(feature)}
    for name, value in serving.defaults.items():
        if name not in stored:
            yield (
                f"serving.defaults: {name!r} is no look-up, as-of or trailing feature; those are {listed(stored)}. "
                "What the request itself gives needs no default"
            )
            continue
        kind = kind_of_feature(pipeline, stored[name], name)
        if kind is not None and type(value).__name__ != {"text": "str"}.get(kind, kind):
            yield f"serving.defaults: {name!r} is {kind}, which {value!r} is not"


def _ramp_problems(ramp: Ramp) -> Iterator[str]:
    shares = ramp.shares
    if not shares or shares[-1] != 1.0 or any(not 0 < share <= 1 for share in shares) or list(shares) != sorted(set(shares)):
        yield f"serving.ramp.shares {shares} must rise from above 0 to 1.0"
    if not timedelta(0) <= ramp.hold <= ramp.at_most:
        yield f"serving.ramp.hold {ramp.hold} must lie between nothing and at_most {ramp.at_most}"
    if ramp.rows < 1:
        yield f"serving.ramp.rows {ramp.rows} must be at least 1"
    if ramp.errors < 0 or ramp.latency <= 0 or ramp.score_shift < 0:
        yield "serving.ramp: errors and score_shift must not be negative, latency must be positive"
    if not 0.5 <= ramp.confidence < 1:
        yield f"serving.ramp.confidence {ramp.confidence} must lie between 0.5 and 1"


def kind_of_feature(pipeline: Pipeline, feature: Feature, name: str) -> str | None:
    """The kind of a column of a feature; None if the feature's declaration is wrong, which other rules report."""
    if isinstance(feature, Expression):
        return feature.kind
    table = next((table for table in pipeline.tables if table.name == feature.table), None)
    if isinstance(feature, Trailing):
        return kinds_of(feature, table)[name]
    column = feature.columns[name]
    return table.column(column).kind if table is not None and column in table.names else None
