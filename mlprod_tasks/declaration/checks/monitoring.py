"""Rules of a declaration's watches, rules and monitoring."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.features import sql_problems
from mlprod_tasks.declaration.checks.tables import ADDRESS, connection_problems, listed, repeated
from mlprod_tasks.declaration.monitoring import FEWEST_OF_A_MEAN, Breach, Rule, Watch
from mlprod_tasks.declaration.standard import MULTICLASS_WATCHES, REGRESSION_WATCHES, WATCHES

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

# Values that are watched per feature.
BY_FEATURE = (
    "feature_psi",
    "feature_psi_last_year",
    "feature_js",
    "feature_wasserstein",
    "feature_level",
    "null_share",
    "new_categories",
    "lost_categories",
    "out_of_range",
    "known_fault",
    "residual_drift",
    "residual_shift",
    "online_nulls",
    "online_psi",
)
MOST_REPLAYED = 100_000
STANDARD = {
    "binary": ("WATCHES", WATCHES),
    "regression": ("REGRESSION_WATCHES", REGRESSION_WATCHES),
    "multiclass": ("MULTICLASS_WATCHES", MULTICLASS_WATCHES),
}
MOST_AROUND = 14  # days before or after a holiday


def monitoring_problems(pipeline: Pipeline) -> Iterator[str]:
    """The rules of monitoring that the declaration breaks."""
    yield from repeated("watches", (watch.what for watch in pipeline.watches))
    yield from repeated("rules", (rule.name for rule in pipeline.rules))
    for watch in pipeline.watches:
        yield from _watch(watch)
        if watch.learned is not None and watch.learned.by_weekday and pipeline.schedule.seasons == 1:
            often = pipeline.schedule.words
            yield f"watch {watch.what!r}: learned.by_weekday needs ticks every day or hour, not {often}: leave it out"
    yield from sql_problems("kpi", pipeline.kpi.sql, None)
    watched = {watch.what for watch in pipeline.watches}
    named, watches = STANDARD.get(pipeline.task, STANDARD["binary"])
    standard = f"*ml.{named}, " if set(watches) <= set(pipeline.watches) else ""
    for rule in pipeline.rules:
        for condition in rule.conditions:
            yield from _condition(rule, condition, watched, standard)
    if pipeline.retraining.cooldown < timedelta(0):
        yield "retraining.cooldown may not be negative"
    if pipeline.retraining.most_a_month < 1:
        yield f"retraining.most_a_month {pipeline.retraining.most_a_month} must be at least 1"
    yield from _monitoring(pipeline)


def _watch(watch: Watch) -> Iterator[str]:
    if watch.low is None and watch.high is None and watch.learned is None:
        yield f"watch {watch.what!r}: declare low, high or both, or learned=Learned()"
    if watch.only_important and watch.what not in BY_FEATURE:
        yield f"watch {watch.what!r}: only_important is for what looks at single features: {listed(BY_FEATURE)}"
    if watch.low is not None and watch.high is not None and watch.low >= watch.high:
        yield f"watch {watch.what!r}: low {watch.low} is not below high {watch.high}"
    if watch.learned is not None and watch.learned.k is not None and watch.learned.k <= 0:
        yield f"watch {watch.what!r}: learned.k {watch.learned.k} must be positive"


def _condition(rule: Rule, condition: Breach, watched: Collection[str], standard: str) -> Iterator[str]:
    """standard: how to keep the watches that are there, if they are the standard ones."""
    if condition.watch not in watched:
        watch = f"ml.Watch({condition.watch!r}, ...){'' if standard else ','}"
        yield f"rule {rule.name!r}: {condition.watch!r} has no bounds; declare them, as in watches=({standard}{watch})"
    if not 1 <= condition.breaches <= condition.of:
        yield f"rule {rule.name!r}: breaches {condition.breaches} must lie between 1 and of={condition.of}"
    if condition.mean_of < 1:
        yield f"rule {rule.name!r}: mean_of {condition.mean_of} must be at least 1"
    if condition.mean_of > 1 and (condition.breaches, condition.of) != (1, 1):
        yield f"rule {rule.name!r}: mean_of judges the last ticks together: leave out breaches and of"
    if 1 < condition.mean_of < FEWEST_OF_A_MEAN:
        yield f"rule {rule.name!r}: mean_of {condition.mean_of}: the interval of a mean needs at least {FEWEST_OF_A_MEAN} ticks"
    if condition.least < 1:
        yield f"rule {rule.name!r}: least {condition.least} must be at least 1"
    if condition.only_important and condition.watch not in BY_FEATURE:
        yield f"rule {rule.name!r}: only_important is for what looks at single features: {listed(BY_FEATURE)}"


def _monitoring(pipeline: Pipeline) -> Iterator[str]:
    given = pipeline.monitoring
    if given.false_alarms <= 0:
        yield f"monitoring.false_alarms {given.false_alarms} must be positive: learned bounds are sometimes breached by chance"
    if not 0 <= given.replayed_rows <= MOST_REPLAYED:
        yield f"monitoring.replayed_rows {given.replayed_rows} must lie between 0 and {MOST_REPLAYED:,}"
    yield from repeated("monitoring.metrics", (metric.name for metric in given.metrics))
    for metric in given.metrics:
        yield from connection_problems(f"monitoring.metrics {metric.name!r}: connection", metric.connection)
        if not metric.sql.strip():
            yield f"monitoring.metrics {metric.name!r}: sql is empty"
    yield from repeated("monitoring.upstream", (upstream.pipeline for upstream in given.upstream))
    for upstream in given.upstream:
        if upstream.pipeline == pipeline.name:
            yield f"monitoring.upstream {upstream.pipeline!r} is this use case itself"
        for name in upstream.features:
            if name not in pipeline.feature_names:
                yield f"monitoring.upstream {upstream.pipeline!r}: {name!r} is not a feature of this use case"
    yield from _holidays(pipeline)
    for address in given.digest_to:
        if not ADDRESS.fullmatch(address):
            yield f"monitoring.digest_to: {address!r} is not one mail address such as 'owner@example.com'"


def _holidays(pipeline: Pipeline) -> Iterator[str]:
    given, at = pipeline.monitoring.holidays, "monitoring.holidays"
    if given is None:
        return
    if not pipeline.schedule.ticks_a_week:
        yield f"{at}: most ticks have a holiday if there is one {pipeline.schedule.words}: leave it out"
    if not given.dates:
        yield f"{at} names no day: declare its dates, or leave it out"
    yield from repeated(f"{at}: dates", map(str, given.dates))
    for name in ("before", "after"):
        if not 0 <= (days := getattr(given, name)) <= MOST_AROUND:
            yield f"{at}: {name}={days} must lie between 0 and {MOST_AROUND} days"
