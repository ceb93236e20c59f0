"""The reference profile: a model's test window in counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from mlprod_tasks.declaration import AsOf, Lookup, Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.task import HIGH, LOW, PREDICTION, PROBABILITIES
from mlprod_tasks.models.kpi import kpi_of, with_value
from mlprod_tasks.models.predicted_columns import read_scores
from mlprod_tasks.models.reference_profile import (
    SCORE,
    JoinedTable,
    ProfileColumn,
    ReferenceClasses,
    ReferenceNumbers,
    ReferenceProfile,
)
from mlprod_tasks.monitoring import loss_model, number_outcomes
from mlprod_tasks.monitoring.count import count_by_tick
from mlprod_tasks.monitoring.history import history_of
from mlprod_tasks.monitoring.last_year import past_ticks
from mlprod_tasks.monitoring.observe import Observed, observe_by_tick
from mlprod_tasks.monitoring.recalibration import recalibration
from mlprod_tasks.monitoring.residuals import explained, residuals
from mlprod_tasks.monitoring.sample import of_reference
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics import bins, class_metrics, distances
from mlprod_tasks.statistics.bins import Bins
from mlprod_tasks.statistics.metrics import CannotBeMeasured, roc_auc

SHARE_OF_GAIN = 0.8  # the important features together make up this share of the gain


def make_profile(
    pipeline: Pipeline,
    features: pa.Table,
    *,
    scores: ArrayLike,
    decisions: ArrayLike,
    labels: ArrayLike,
    importance: Mapping[str, float],
) -> ReferenceProfile:
    """The profile of a test window in memory.

    features: the feature columns and `tick`, (n,) rows; scores, decisions, labels: (n,) each; importance: gain by feature.
    """
    label = {"number": pa.float64(), "yes_no": pa.bool_(), "class": pa.string()}[pipeline.label.kind]
    rows = features.select([name for name in features.column_names if name in (*pipeline.feature_names, "tick")])
    for name, values, kind in (
        (SCORE, scores, pa.float64()),
        ("decision", decisions, pa.bool_()),
        ("label", labels, label),
    ):
        rows = rows.append_column(name, pa.array(np.asarray(values), kind))
    return profile_of(pipeline, rows, importance)


def profile_of(
    pipeline: Pipeline, rows: pa.Table | Sequence[str], importance: Mapping[str, float], training_set: Path | None = None
) -> ReferenceProfile:
    """The profile of a test window: a table, or Parquet files larger than memory.

    Columns: the features, `tick`, `score`, `decision`, `label`. Rows without a label count as inputs only. training_set: the
    file of all windows, for what the same weeks of last year tell.
    """
    with engine() as con:
        if isinstance(rows, pa.Table):
            con.register("reference", rows)
        else:
            con.execute(f"CREATE VIEW reference AS SELECT * FROM read_parquet({listed(rows)})")
        kinds = {name: kind for name, kind, *_ in con.execute("DESCRIBE reference").fetchall()}
        own = (PREDICTION,) if pipeline.label.kind == "class" else ()  # outputs besides the score
        all_bins = bins.learn(con, "reference", {name: kinds[name] for name in (*pipeline.feature_names, SCORE, *own)})
        by_tick = observe_by_tick(con, "reference", all_bins, joined(pipeline))
        if not by_tick:
            raise ValueError(f"{pipeline.name}: a reference profile needs rows, but the test window has none")
        important = important_features(importance)
        columns = [_column(one, by_tick, importance.get(one.column, 0.0), one.column in important) for one in all_bins]
        features, (score, *predicted) = columns[: len(pipeline.feature_names)], columns[len(pipeline.feature_names) :]
        ((mean_score,),) = con.execute("SELECT avg(score) FROM reference").fetchall()
        profile = ReferenceProfile(
            first=str(min(by_tick)),
            last=str(max(by_tick)),
            rows_by_tick=tuple(observed.rows for observed in by_tick.values()),
            features=tuple(features),
            score=score,
            mean_score=float(mean_score),
            **_METRICS[pipeline.label.kind](con, pipeline, *predicted),
            decisions=sum(one.decisions or 0 for one in by_tick.values()) if pipeline.of_task.decides else None,
            joins=_joins(pipeline, by_tick),
            sampled=of_reference({tick: observed.sampled for tick, observed in by_tick.items() if observed.sampled}),
            residuals=residuals(con, _LABELLED[pipeline.label.kind], explained(features)),
        )
        if profile.numbers is not None:
            by_importance = sorted(important, key=lambda name: (-importance[name], name))
            learned = loss_model.fit(con, "reference", by_importance)
            profile = replace(profile, numbers=replace(profile.numbers, losses=learned))
        years = None if training_set is None else past_ticks(con, pipeline, profile, training_set)
        return replace(profile, history=history_of(con, "reference", pipeline, profile, by_tick), years=years)


def _outcome_metrics(con: Any, pipeline: Pipeline) -> dict[str, Any]:
    """The fields of a profile that come from the reference's labelled rows."""
    needed = ", ".join(map(quoted, ("score", "decision", "label", *pipeline.value_features)))
    labelled = con.sql(f"SELECT {needed} FROM reference WHERE label IS NOT NULL").to_arrow_table()
    outcomes = with_value(pipeline, labelled)
    n = outcomes.num_rows
    precision, recall = _precision_and_recall(outcomes)
    return {
        "outcomes": n,
        "label_rate": float(np.mean(outcomes["outcome"].to_numpy(zero_copy_only=False))) if n else None,
        "roc_auc": auc_of(outcomes),
        "kpi": kpi_of(con, pipeline, outcomes),
        "precision": precision,
        "recall": recall,
        "value": 1000 * float(np.mean(outcomes["value"].to_numpy())) if n else None,
        "recalibration": recalibration(con, "reference"),
    }


def _number_metrics(con: Any, pipeline: Pipeline) -> dict[str, Any]:
    """The same of outcomes that are numbers."""
    ends = (LOW, HIGH) if pipeline.model.coverage is not None else ()
    needed = ", ".join(map(quoted, ("tick", "score", "label", *ends, *pipeline.value_features)))
    labelled = con.sql(f"SELECT {needed} FROM reference WHERE label IS NOT NULL ORDER BY tick").to_arrow_table()
    n = labelled.num_rows
    if n < 2:
        raise ValueError(f"{pipeline.name}: a reference profile of numbers needs outcomes, but the test window has {n}")
    outcomes = with_value(pipeline, labelled)
    outcome = outcomes["outcome"].to_numpy()
    error = outcome - outcomes["prediction"].to_numpy()
    return {
        "outcomes": n,
        "label_rate": None,
        "roc_auc": None,
        "kpi": kpi_of(con, pipeline, outcomes),
        "value": 1000 * float(np.mean(outcomes["value"].to_numpy())),
        "numbers": ReferenceNumbers(
            label=_label_column(con),
            mean=float(outcome.mean()),
            sd=float(outcome.std()),
            mae=float(np.abs(error).mean()),
            rmse=float(np.sqrt(np.mean(error**2))),
            bias=float(error.mean()),
            held=float(number_outcomes.held(labelled).mean()) if ends else None,
        ),
    }


def _class_metrics(con: Any, pipeline: Pipeline, predicted: ProfileColumn) -> dict[str, Any]:
    """The same of outcomes that are classes."""
    needed = ", ".join(map(quoted, ("score", PREDICTION, PROBABILITIES, "label")))
    labelled = con.sql(f"SELECT {needed} FROM reference WHERE label IS NOT NULL").to_arrow_table()
    n = labelled.num_rows
    if not n:
        raise ValueError(f"{pipeline.name}: a reference profile of classes needs outcomes, but the test window has none")
    outcomes = with_value(pipeline, labelled)
    came, said = (np.asarray(labelled[name].to_numpy(zero_copy_only=False), object) for name in ("label", PREDICTION))
    score = read_scores(labelled[PROBABILITIES].to_pylist())
    return {
        "outcomes": n,
        "label_rate": None,
        "roc_auc": None,
        "kpi": kpi_of(con, pipeline, outcomes),
        "value": 1000 * float(np.mean(outcomes["value"].to_numpy())),
        "classes": ReferenceClasses(
            known=score.classes,
            label=_label_column(con, "VARCHAR"),
            predicted=predicted,
            log_loss=class_metrics.log_loss(came, score),
            accuracy=float(np.mean(came == said)),
            macro_f1=float(np.mean(list(class_metrics.f1_by_class(came, said).values()))),
        ),
    }


def _label_column(con: Any, kind: str = "DOUBLE") -> ProfileColumn:
    """The reference's outcomes in bins, with how far each tick is from the others. kind: DuckDB's type of them."""
    source = "(SELECT tick, label FROM reference WHERE label IS NOT NULL)"
    (one,) = bins.learn(con, source, {"label": kind})
    counts = [counted.columns["label"].counts for counted in count_by_tick(con, source, [one]).values()]
    whole = np.sum(counts, axis=0)
    apart = (distances.corrected_psi(one.coarse(whole - tick), one.coarse(tick)) for tick in counts)
    return ProfileColumn(one, tuple(int(n) for n in whole), tuple(apart) if len(counts) > 1 else ())


def _joins(pipeline: Pipeline, by_tick: Mapping[TickName, Observed]) -> tuple[JoinedTable, ...]:
    """The tables of look-up features, with the number of rows without a match."""
    return tuple(
        replace(join, unmatched=sum(observed.unmatched[join.table] for observed in by_tick.values()))
        for join in joined(pipeline)
    )


def joined(pipeline: Pipeline) -> tuple[JoinedTable, ...]:
    """The tables in which rows look up another row, with the features from each.

    Rows are looked up by key or as of a moment.
    """
    groups: dict[str, list[tuple[str, ...]]] = {}
    for feature in pipeline.features:
        if isinstance(feature, Lookup | AsOf):
            groups.setdefault(feature.table, []).append(tuple(feature.columns))
    return tuple(JoinedTable(table, tuple(columns)) for table, columns in groups.items())


_METRICS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "yes_no": _outcome_metrics,
    "number": _number_metrics,
    "class": _class_metrics,
}
_OUTCOMES = "(SELECT * FROM reference WHERE label IS NOT NULL)"
# What features explain: of classes, whether the predicted one came.
_LABELLED = {
    "yes_no": _OUTCOMES,
    "number": _OUTCOMES,
    "class": f"(SELECT * REPLACE ({quoted(PREDICTION)} = label AS label) FROM {_OUTCOMES})",
}


def important_features(importance: Mapping[str, float]) -> frozenset[str]:
    """The smallest set of features that makes up SHARE_OF_GAIN of the gain."""
    total, covered, chosen = sum(importance.values()), 0.0, set()
    for name, gain in sorted(importance.items(), key=lambda item: (-item[1], item[0])):
        if total <= 0 or covered >= SHARE_OF_GAIN * total:
            break
        covered += gain
        chosen.add(name)
    return frozenset(chosen)


def auc_of(outcomes: pa.Table) -> float | None:
    """ROC AUC of the outcomes; None if they are all of one class."""
    try:
        return roc_auc(outcomes["outcome"].to_numpy(zero_copy_only=False), outcomes["score"].to_numpy())
    except CannotBeMeasured:
        return None


def _precision_and_recall(outcomes: pa.Table) -> tuple[float | None, float | None]:
    """Precision and recall; None if no row was decided positive, or none is positive."""
    decision, outcome = (outcomes[name].to_numpy(zero_copy_only=False).astype(bool) for name in ("decision", "outcome"))
    hits = float((decision & outcome).sum())
    return hits / decision.sum() if decision.any() else None, hits / outcome.sum() if outcome.any() else None


def _column(one: Bins, by_tick: Mapping[TickName, Observed], gain: float, important: bool) -> ProfileColumn:
    counts = [observed.columns[one.column].counts for observed in by_tick.values()]
    types = {observed.types[one.column] for observed in by_tick.values()}
    whole = np.sum(counts, axis=0)
    nulls = whole[bins.NULL] / whole.sum()
    several = len(counts) > 1
    return ProfileColumn(
        bins=one,
        counts=tuple(int(n) for n in whole),
        tick_psi=tuple(distances.corrected_psi(one.coarse(whole - tick), one.coarse(tick)) for tick in counts)
        if several
        else (),
        tick_null_share=tuple(float(abs(tick[bins.NULL] / tick.sum() - nulls)) for tick in counts) if several else (),
        importance=float(gain),
        important=important,
        type=types.pop(),
        levels=tuple(observed.levels[one.column] for observed in by_tick.values())
        if all(one.column in observed.levels for observed in by_tick.values())
        else (),
        present=() if one.of_numbers else tuple(int(n) for n in np.sum([tick[2:] > 0 for tick in counts], axis=0)),
    )
