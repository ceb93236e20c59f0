"""The reference profile: what a model's own test window looked like, kept with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike
from pydantic import TypeAdapter

from mlprod_tasks.declaration import AsOf, Lookup, Pipeline
from mlprod_tasks.models import decision_value as value
from mlprod_tasks.monitoring.history import History, history_of
from mlprod_tasks.monitoring.observe import Joined, Observed, observe_by_tick
from mlprod_tasks.monitoring.residuals import Residuals, explained, residuals
from mlprod_tasks.monitoring.sample import SampledRows, of_reference
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.statistics import bins, distances
from mlprod_tasks.statistics.bins import Bins, quoted
from mlprod_tasks.statistics.metrics import CannotBeMeasured, roc_auc

SCORE = "score"
SHARE_OF_GAIN = 0.8  # the features that together make up this share of the gain are the important ones


@dataclass(frozen=True)
class Column:
    """One feature of the reference, or the scores.

    `counts` are of all its rows. `tick_psi` and `tick_null_share` say how far each single tick of the reference lay from
    the others (corrected PSI) and from the whole (absolute difference): what a quiet tick looks like. `type`: what it holds
    (`bins.family`). `present`: of each category, how many ticks have it. A profile from before has neither.
    """

    bins: Bins
    counts: tuple[int, ...]
    tick_psi: tuple[float, ...] = ()
    tick_null_share: tuple[float, ...] = ()
    importance: float = 0.0
    important: bool = False
    type: str = ""
    present: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.bins.column

    @property
    def null_share(self) -> float:
        return self.counts[bins.NULL] / max(1, sum(self.counts))


@dataclass(frozen=True)
class ReferenceProfile:
    """A model's test window in counts and means. `kpi` and `roc_auc` are None where they could not be computed.

    value: what its decisions were worth per 1,000 rows. residuals: how outcomes lay off the scores, by region of the important
    features; empty in a profile from before. decisions: rows above the threshold. joins: the tables that features are looked up
    in. sampled: some of its rows. The three are None or empty in a profile from before.
    history: what its own ticks look like against the rest of it; None where there are too few, or in a profile from before.
    """

    first: str
    last: str
    rows_by_tick: tuple[int, ...]
    features: tuple[Column, ...]
    score: Column
    mean_score: float
    outcomes: int
    label_rate: float | None
    roc_auc: float | None
    kpi: float | None
    precision: float | None = None
    recall: float | None = None
    value: float | None = None
    residuals: tuple[Residuals, ...] = ()
    decisions: int | None = None
    joins: tuple[Joined, ...] = ()
    sampled: SampledRows | None = None
    history: History | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features, then the scores."""
        return (*self.features, self.score)

    @property
    def rows_per_tick(self) -> float:
        return float(np.mean(self.rows_by_tick))

    @property
    def rows_per_tick_sd(self) -> float:
        return float(np.std(self.rows_by_tick))

    def as_json(self) -> dict[str, Any]:
        """The profile as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> ReferenceProfile:
        """The profile that `as_json` wrote. Raises: pydantic.ValidationError where it is something else."""
        return TypeAdapter(cls).validate_python(dict(written))


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


def less(profile: ReferenceProfile, tick: date, observed: Observed) -> ReferenceProfile:
    """What the profile says of inputs and scores, without the rows of one of its own ticks."""

    def of_others(column: Column) -> Column:
        counts = observed.columns[column.name].counts
        return replace(
            column,
            counts=tuple(int(n) for n in np.asarray(column.counts) - counts),
            present=tuple(int(n) for n in np.asarray(column.present, np.int64) - (counts[2:] > 0)) if column.present else (),
        )

    rows = list(profile.rows_by_tick)
    rows.remove(observed.rows)
    return replace(
        profile,
        rows_by_tick=tuple(rows),
        features=tuple(of_others(column) for column in profile.features),
        score=of_others(profile.score),
        decisions=None if profile.decisions is None else profile.decisions - (observed.decisions or 0),
        joins=tuple(replace(join, unmatched=join.unmatched - observed.unmatched[join.table]) for join in profile.joins),
        sampled=profile.sampled.without(tick) if profile.sampled else None,
    )


def joined(pipeline: Pipeline) -> tuple[Joined, ...]:
    """The tables in which a row looks up another one, at a key or as of its moment, with the features taken from each."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for feature in pipeline.features:
        if isinstance(feature, Lookup | AsOf):
            groups.setdefault(feature.table, []).append(tuple(feature.columns))
    return tuple(Joined(table, tuple(columns)) for table, columns in groups.items())


def important_features(importance: Mapping[str, float]) -> frozenset[str]:
    """The fewest features that make up SHARE_OF_GAIN of the gain, the greatest first."""
    total, covered, chosen = sum(importance.values()), 0.0, set()
    for name, gain in sorted(importance.items(), key=lambda item: (-item[1], item[0])):
        if total <= 0 or covered >= SHARE_OF_GAIN * total:
            break
        covered += gain
        chosen.add(name)
    return frozenset(chosen)


def with_value(pipeline: Pipeline, judged: pa.Table) -> pa.Table:
    """Columns score, decision, outcome, value: what a KPI is declared over.

    judged: score, decision, label, and the features that the worth of a decision is declared over. Raises: ValueUndefined.
    """
    decision, outcome = (judged[name].to_numpy(zero_copy_only=False).astype(bool) for name in ("decision", "label"))
    worth = value.worth(pipeline.value, judged, judged["score"].to_numpy(), outcome).of(decision)
    return pa.table({"score": judged["score"], "decision": decision, "outcome": outcome, "value": worth})


def kpi_of(con: Any, pipeline: Pipeline, outcomes: pa.Table) -> float | None:
    """The declared KPI over outcomes; None where its SQL gives no finite number."""
    con.register("outcomes", outcomes)
    ((kpi,),) = con.execute(f"SELECT ({pipeline.kpi.sql})::DOUBLE FROM outcomes").fetchall()
    con.unregister("outcomes")
    return float(kpi) if kpi is not None and np.isfinite(kpi) else None


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


def _column(one: Bins, by_tick: Mapping[date, Observed], gain: float, important: bool) -> Column:
    counts = [observed.columns[one.column].counts for observed in by_tick.values()]
    types = {observed.types[one.column] for observed in by_tick.values()}
    whole = np.sum(counts, axis=0)
    nulls = whole[bins.NULL] / whole.sum()
    several = len(counts) > 1
    return Column(
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
