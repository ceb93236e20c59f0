"""Rules of what experiments are judged by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.bandit import number_feature_problems
from mlprod_tasks.declaration.checks.evaluation import words_of
from mlprod_tasks.declaration.checks.features import sql_problems
from mlprod_tasks.declaration.checks.population import later_problems
from mlprod_tasks.declaration.checks.tables import IDENTIFIER, listed, repeated
from mlprod_tasks.declaration.experiment import ASSIGNED, LATER, SECOND

if TYPE_CHECKING:
    from mlprod_tasks.declaration.experiment import UnitMetric
    from mlprod_tasks.declaration.pipeline import Pipeline


def experiment_problems(pipeline: Pipeline) -> Iterator[str]:
    experiments = pipeline.experiments
    if experiments is None:
        return
    if pipeline.entity_table.snapshots:
        yield (
            f"experiments: rows of {pipeline.entity_name!r} have no time: the same row is scored at many ticks until its "
            "outcome comes, so nothing tells what a variant did to it. Leave experiments out"
        )
    if not experiments.metrics:
        yield "experiments: metrics is empty: give at least one that versions are compared by"
    yield from repeated("experiments: metrics", (metric.name for metric in experiments.metrics))
    for metric in experiments.metrics:
        yield from _metric_problems(metric)
        yield from _later_problems(pipeline, metric)
    known = {metric.name for metric in experiments.metrics}
    for guardrail in experiments.guardrails:
        if guardrail.metric not in known:
            yield f"experiments: guardrail {guardrail.metric!r} is not a metric; metrics are {listed(known)}"
        if guardrail.loss < 0:
            yield f"experiments: guardrail {guardrail.metric!r}: loss {guardrail.loss} must be at least 0"
    columns = (*pipeline.entity_table.key, *pipeline.feature_names)
    for name in (*ASSIGNED, *SECOND):
        if name in columns:
            yield f"experiments: predictions get a column {name!r}, which is also a key or feature here: give that another name"
    for name in experiments.unit:
        if name not in columns:
            yield f"experiments: unit {name!r} is neither a column of the row's key nor a feature; these are {listed(columns)}"
    yield from repeated("experiments: covariates", experiments.covariates)
    yield from number_feature_problems(pipeline, "experiments: covariate", experiments.covariates)


def _metric_problems(metric: UnitMetric) -> Iterator[str]:
    where = f"experiments: metric {metric.name!r}"
    if not IDENTIFIER.fullmatch(metric.name):
        yield f"{where} must be lower-case letters, digits and _, starting with a letter"
    yield from sql_problems(f"{where}: sql", metric.sql, None)
    if metric.of == "ratio":
        if not metric.per.strip():
            yield f'{where}: a ratio needs `per`, the SQL of its denominator, such as per="1" for rows'
        else:
            yield from sql_problems(f"{where}: per", metric.per, None)
    if (metric.of == "quantile") != (metric.quantile is not None):
        yield f"{where}: `quantile` says which one: declare of='quantile', quantile=0.9, or leave both out"
    elif metric.quantile is not None and not 0 < metric.quantile < 1:
        yield f"{where}: quantile {metric.quantile} must lie between 0 and 1: 0.5 is the median"
    if metric.of != "ratio" and metric.per:
        yield f"{where}: only a ratio has `per`: declare of='ratio', or leave it out"


def _later_problems(pipeline: Pipeline, metric: UnitMetric) -> Iterator[str]:
    where = f"experiments: metric {metric.name!r}"
    reads = LATER in words_of(metric.sql) | words_of(metric.per)
    if metric.later is None:
        if reads and LATER not in pipeline.feature_names:
            yield f"{where}: reads `later`, which is not declared: later=ml.Outcome(...)"
        return
    if LATER in pipeline.feature_names:
        yield f"{where}: a feature is called `later`, too: give it another name"
    if not reads:
        yield f"{where}: its sql does not read `later`, which is declared: read it, or leave it out"
    yield from later_problems(pipeline, metric.later, f"{where}: later")
    if metric.later.kind == "class":
        what = type(metric.later.of).__name__
        yield f"{where}: later: {what} gives a class, and units are compared by numbers: use Any(...), Count() or Sum(...)"
