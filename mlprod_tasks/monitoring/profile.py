"""The reference profile: what a model's own test window looked like, kept with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from mlprod_tasks.declaration import AsOf, Lookup, Pipeline
from mlprod_tasks.models.kpi import kpi_of, with_value
from mlprod_tasks.models.reference_profile import SCORE, JoinedTable, ProfileColumn, ReferenceProfile
from mlprod_tasks.monitoring.history import history_of
from mlprod_tasks.monitoring.observe import Observed, observe_by_tick
from mlprod_tasks.monitoring.residuals import explained, residuals
from mlprod_tasks.monitoring.sample import of_reference
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics import bins, distances
from mlprod_tasks.statistics.bins import Bins
from mlprod_tasks.statistics.metrics import CannotBeMeasured, roc_auc

SHARE_OF_GAIN = 0.8  # the features that together make up this share of the gain are the important ones


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
    rows = features.select([name for name in features.column_names if name in (*pipeline.feature_names, "tick")])
    for name, values, kind in (
        (SCORE, scores, pa.float64()),
        ("decision", decisions, pa.bool_()),
        ("label", labels, pa.bool_()),
    ):
        rows = rows.append_column(name, pa.array(np.asarray(values), kind))
    return profile_of(pipeline, rows, importance)


def profile_of(pipeline: Pipeline, rows: pa.Table | Sequence[str], importance: Mapping[str, float]) -> ReferenceProfile:
    """The profile of a test window: a table, or Parquet files of one that is larger than memory.

    Columns: the features, `tick`, `score`, `decision`, `label`. A row without label counts as input only.
    """
    with engine() as con:
        if isinstance(rows, pa.Table):
            con.register("reference", rows)
        else:
            con.execute(f"CREATE VIEW reference AS SELECT * FROM read_parquet({listed(rows)})")
        kinds = {name: kind for name, kind, *_ in con.execute("DESCRIBE reference").fetchall()}
        chosen = bins.learn(con, "reference", {name: kinds[name] for name in (*pipeline.feature_names, SCORE)})
        by_tick = observe_by_tick(con, "reference", chosen, joined(pipeline))
        if not by_tick:
            raise ValueError(f"{pipeline.name}: a reference profile needs rows, and the test window has none")
        needed = ", ".join(map(quoted, ("score", "decision", "label", *pipeline.value_features)))
        judged = con.sql(f"SELECT {needed} FROM reference WHERE label IS NOT NULL").to_arrow_table()
        ((mean_score,),) = con.execute("SELECT avg(score) FROM reference").fetchall()
        outcomes = with_value(pipeline, judged)
        kpi = kpi_of(con, pipeline, outcomes)
        important = important_features(importance)
        *features, score = (_column(one, by_tick, importance.get(one.column, 0.0), one.column in important) for one in chosen)
        rate = float(np.mean(outcomes["outcome"].to_numpy(zero_copy_only=False))) if outcomes.num_rows else None
        precision, recall = _decided(outcomes)
        profile = ReferenceProfile(
            first=str(min(by_tick)),
            last=str(max(by_tick)),
            rows_by_tick=tuple(observed.rows for observed in by_tick.values()),
            features=tuple(features),
            score=score,
            mean_score=float(mean_score),
            outcomes=outcomes.num_rows,
            label_rate=rate,
            roc_auc=auc_of(outcomes),
            kpi=kpi,
            precision=precision,
            recall=recall,
            value=1000 * float(np.mean(outcomes["value"].to_numpy())) if outcomes.num_rows else None,
            decisions=sum(observed.decisions or 0 for observed in by_tick.values()),
            joins=tuple(
                replace(join, unmatched=sum(observed.unmatched[join.table] for observed in by_tick.values()))
                for join in joined(pipeline)
            ),
            sampled=of_reference({tick: observed.sampled for tick, observed in by_tick.items() if observed.sampled}),
            residuals=residuals(con, "(SELECT * FROM reference WHERE label IS NOT NULL)", explained(features)),
        )
        return replace(profile, history=history_of(con, "reference", pipeline, profile, by_tick))


def joined(pipeline: Pipeline) -> tuple[JoinedTable, ...]:
    """The tables in which a row looks up another one, at a key or as of its moment, with the features taken from each."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for feature in pipeline.features:
        if isinstance(feature, Lookup | AsOf):
            groups.setdefault(feature.table, []).append(tuple(feature.columns))
    return tuple(JoinedTable(table, tuple(columns)) for table, columns in groups.items())


def important_features(importance: Mapping[str, float]) -> frozenset[str]:
    """The fewest features that make up SHARE_OF_GAIN of the gain, the greatest first."""
    total, covered, chosen = sum(importance.values()), 0.0, set()
    for name, gain in sorted(importance.items(), key=lambda item: (-item[1], item[0])):
        if total <= 0 or covered >= SHARE_OF_GAIN * total:
            break
        covered += gain
        chosen.add(name)
    return frozenset(chosen)


def auc_of(outcomes: pa.Table) -> float | None:
    """ROC AUC of the outcomes; None where they are of one class only."""
    try:
        return roc_auc(outcomes["outcome"].to_numpy(zero_copy_only=False), outcomes["score"].to_numpy())
    except CannotBeMeasured:
        return None


def _decided(outcomes: pa.Table) -> tuple[float | None, float | None]:
    """Precision and recall; None where nothing was decided positive, or nothing is."""
    decision, outcome = (outcomes[name].to_numpy(zero_copy_only=False).astype(bool) for name in ("decision", "outcome"))
    hits = float((decision & outcome).sum())
    return hits / decision.sum() if decision.any() else None, hits / outcome.sum() if outcome.any() else None


def _column(one: Bins, by_tick: Mapping[date, Observed], gain: float, important: bool) -> ProfileColumn:
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
        present=() if one.of_numbers else tuple(int(n) for n in np.sum([tick[2:] > 0 for tick in counts], axis=0)),
    )
