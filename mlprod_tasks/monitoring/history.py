"""The history of a reference: the readings of its own, quiet ticks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceClasses, ReferenceHistory, ReferenceProfile
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics.bins import OTHER
from mlprod_tasks.statistics.class_scores import UNKNOWN, codes_of

if TYPE_CHECKING:
    from mlprod_tasks.monitoring.measurement import Reading
    from mlprod_tasks.monitoring.observe import Observed

FEWEST_TICKS = 3  # one tick compared with a single other one tells nothing
TOGETHER = 14  # most ticks to train the domain classifier for: it takes as long as everything else


def history_of(
    con: Any, source: str, pipeline: Pipeline, profile: ReferenceProfile, by_tick: Mapping[TickName, Observed]
) -> ReferenceHistory | None:
    """The history of a reference; None if it has too few ticks.

    A tick's outcomes are compared with the AUC, the KPI and so on of the whole reference, since one tick of a month hardly
    moves them. The domain classifier is trained for TOGETHER ticks at most, evenly spaced.

    source: the rows of the reference, as `profile_of` reads them; profile: that of all rows; by_tick: the counts of each tick.
    """
    days = sorted(by_tick)
    if len(days) < FEWEST_TICKS:
        return None
    chosen = {days[at] for at in np.unique(np.linspace(0, len(days) - 1, TOGETHER).astype(int))}
    readings = [list(_readings(con, source, pipeline, profile, day, by_tick[day], day in chosen)) for day in days]
    by_subject = [{_subject(one): one.value for one in tick} for tick in readings]
    subjects = dict.fromkeys(subject for tick in by_subject for subject in tick)
    values = {subject: tuple(tick.get(subject) for tick in by_subject) for subject in subjects}
    kept = {subject: of_all for subject, of_all in values.items() if any(value is not None for value in of_all)}
    return ReferenceHistory(tuple(map(str, days)), kept)


def _readings(
    con: Any, source: str, pipeline: Pipeline, profile: ReferenceProfile, day: TickName, observed: Observed, together: bool
) -> Iterator[Reading]:
    """The readings of one tick of the reference, compared with the other ticks."""
    # Imported here because these modules import the profile, and the profile imports this module.
    from mlprod_tasks.monitoring.estimate import estimates
    from mlprod_tasks.monitoring.inputs import inputs
    from mlprod_tasks.monitoring.outcomes import columns, outcomes, promised_of

    needed = ", ".join(quoted(name) for name in columns(pipeline, profile) if name != "fallback")
    of_day = f"SELECT {needed}, label, false AS fallback FROM {source} WHERE tick = '{day}'"
    rows: pa.Table = con.sql(of_day).to_arrow_table()
    judged = rows.filter(rows["label"].is_valid())
    others = _outcomes_without(less(profile, day, observed), profile, rows, judged)
    yield from inputs(others, observed, together=together)
    promised = None
    if (promised_by := promised_of(profile)) is not None:
        con.register("one_tick", rows)
        promised = promised_by(con, "one_tick", pipeline)
        con.unregister("one_tick")
        yield from estimates(others, promised)
    if judged.num_rows:
        # Only values are kept.
        yield from outcomes(pipeline, others, judged, rows.num_rows, promised, kpi_interval=False)


def _outcomes_without(
    others: ReferenceProfile, profile: ReferenceProfile, rows: pa.Table, judged: pa.Table
) -> ReferenceProfile:
    """Set the label rate, or mean outcome, and the mean score of the other ticks.

    `rows` and `judged`, those of the one tick, are left out.
    """
    total, outcomes = sum(profile.rows_by_tick), profile.outcomes - judged.num_rows
    scores = profile.mean_score * total - float(np.sum(rows["score"].to_numpy()))
    mean_score = scores / (total - rows.num_rows)
    if profile.numbers is not None:
        summed = profile.numbers.mean * profile.outcomes - float(np.sum(judged["label"].to_numpy()))
        numbers = replace(profile.numbers, mean=summed / outcomes) if outcomes else profile.numbers
        return replace(others, outcomes=outcomes, mean_score=mean_score, numbers=numbers)
    if profile.classes is not None:
        return replace(others, outcomes=outcomes, mean_score=mean_score, classes=_classes_without(others.classes, judged))
    positives = int(np.count_nonzero(judged["label"].to_numpy(zero_copy_only=False)))
    rate = None
    if profile.label_rate is not None and outcomes:
        rate = (profile.label_rate * profile.outcomes - positives) / outcomes
    return replace(others, outcomes=outcomes, label_rate=rate, mean_score=mean_score)


def _classes_without(classes: ReferenceClasses | None, judged: pa.Table) -> ReferenceClasses | None:
    """The outcomes of the other ticks."""
    assert classes is not None
    codes = codes_of(judged["label"].combine_chunks(), classes.label.bins.categories)
    one = np.bincount(np.where(codes == UNKNOWN, OTHER, codes + 2), minlength=len(classes.label.counts))
    left = tuple(int(n) for n in np.asarray(classes.label.counts) - one)
    return replace(classes, label=replace(classes.label, counts=left))


def _subject(reading: Reading) -> str:
    return f"{reading.what}/{reading.slice}" if reading.slice else reading.what


def less(profile: ReferenceProfile, tick: TickName, observed: Observed) -> ReferenceProfile:
    """The profile's inputs and scores without the rows of one of its own ticks."""

    def of_others(column: ProfileColumn) -> ProfileColumn:
        counts = observed.columns[column.name].counts
        levels = list(column.levels)
        if levels:
            levels.remove(observed.levels[column.name])
        return replace(
            column,
            levels=tuple(levels),
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
        classes=None if profile.classes is None else replace(profile.classes, predicted=of_others(profile.classes.predicted)),
    )
