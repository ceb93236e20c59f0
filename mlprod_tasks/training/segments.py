"""Fit one model, or one per segment and a global one for all other rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Learner, Pipeline
from mlprod_tasks.models.feature_frame import ModelInputError, inputs_of, outcome_of, read
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.models.stored_rows import Rows, StoredRows
from mlprod_tasks.models.tasks import OutcomeSummary, task_of
from mlprod_tasks.models.tasks.protocol import summary_of
from mlprod_tasks.statistics import conformal
from mlprod_tasks.training import fit_model

log = logging.getLogger(__name__)

MOST_LOGGED = 20
OVERALL = "*"  # the global model's name among those of segments

__all__ = ["OVERALL", "SegmentedModel", "collect", "fit_all", "fit_part", "large"]


def fit_all(
    pipeline: Pipeline,
    train_rows: Rows,
    validation_rows: Rows,
    facts: ModelFacts,
    tuned: Mapping[str, Learner] | None = None,
    warm: Model | SegmentedModel | None = None,
) -> Model | SegmentedModel:
    """Fit to both windows as declared.

    Arguments as for `fit_model.fit_model`; warm may be by segments.
    Raises: ModelInputError.
    """
    return collect(
        pipeline,
        train_rows,
        large(pipeline, train_rows, validation_rows),
        lambda segment: fit_part(pipeline, segment, train_rows, validation_rows, facts, tuned, warm),
    )


def large(pipeline: Pipeline, train_rows: Rows, validation_rows: Rows) -> list[str]:
    """Return the segments that get their own model, largest first.

    None if none are declared.
    They have at least `least_segment_rows` training rows, and more than one outcome in each window, as fitting, calibration and
    threshold need. Rows without a value belong to no segment. Raises: ModelInputError.
    """
    if pipeline.model.segment_by is None:
        return []
    counts, of_validation = _count_by_segment(pipeline, train_rows), _count_by_segment(pipeline, validation_rows)
    chosen, others = [], []
    for name, outcomes in sorted(counts.items(), key=lambda item: (-item[1].rows, item[0])):
        why = _why_not(pipeline, name, outcomes, of_validation.get(name, OutcomeSummary()))
        if why is None:
            chosen.append(name)
        else:
            others.append(f"{name!r} ({why})")
    log.info(
        "%s: %d of %d segments by %s get their own model", pipeline.name, len(chosen), len(counts), _segment_feature(pipeline)
    )
    if others:
        listed = ", ".join(others[:MOST_LOGGED]) + (
            f" and {len(others) - MOST_LOGGED} more" if len(others) > MOST_LOGGED else ""
        )
        log.info("%s: the global model scores %s", pipeline.name, listed)
    return chosen


def fit_part(
    pipeline: Pipeline,
    segment: str,
    train_rows: Rows,
    validation_rows: Rows,
    facts: ModelFacts,
    tuned: Mapping[str, Learner] | None = None,
    warm: Model | SegmentedModel | None = None,
) -> Model:
    """Fit the model of one segment to its rows.

    With OVERALL, the global model to all rows.
    warm: a segment continues the champion's model of the same segment, the global model its global one.
    """
    if segment == OVERALL:
        overall = warm.overall if isinstance(warm, SegmentedModel) else warm
        return fit_model.fit_model(pipeline, train_rows, validation_rows, facts, tuned, overall)
    own = warm.parts.get(segment) if isinstance(warm, SegmentedModel) else None
    rows = [_rows_of(pipeline, segment, window) for window in (train_rows, validation_rows)]
    # All models know the same classes, so that a row's probabilities do not depend on who scores it.
    classes = task_of(pipeline).classes(pipeline, outcome_of(train_rows))
    return fit_model.fit_model(pipeline, rows[0], rows[1], replace(facts, segment=segment), tuned, own, classes)


def collect(pipeline: Pipeline, train_rows: Rows, chosen: list[str], part: Callable[[str], Model]) -> Model | SegmentedModel:
    """Combine the parts that `part` returns by name into one model.

    Without segment_by, the global model alone.
    """
    overall = part(OVERALL)
    if pipeline.model.segment_by is None:
        return overall
    counts = _count_by_segment(pipeline, train_rows)
    rows = {name: counts[name].rows for name in chosen}
    parts = {name: part(name) for name in chosen}
    return SegmentedModel(pipeline.model.segment_by, overall, parts, rows, train_rows.num_rows - sum(rows.values()))


def _why_not(pipeline: Pipeline, name: str, of_train: OutcomeSummary, of_validation: OutcomeSummary) -> str | None:
    """Return why a segment gets no model of its own, or None."""
    if of_train.rows < pipeline.model.least_segment_rows:
        return f"{of_train.rows:,} training rows"
    if name == OVERALL:
        return "its name is reserved for all rows"
    for window, outcomes in (("training", of_train), ("validation", of_validation)):
        if not outcomes.rows:
            return f"no {window} rows"
        if problem := task_of(pipeline).problem(pipeline, outcomes):
            return f"the {window} window has {problem}"
    coverage = pipeline.model.coverage
    if coverage is not None and of_validation.rows < (needed := conformal.fewest(coverage)):
        return f"{of_validation.rows:,} validation rows, and its intervals need {needed}"
    return None


def _count_by_segment(pipeline: Pipeline, rows: Rows) -> dict[str, OutcomeSummary]:
    """Sum up the outcomes of each segment; rows without a value belong to none."""
    coded = _values(pipeline, rows).dictionary_encode()
    code = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order, outcome = np.argsort(code, kind="stable"), outcome_of(rows)
    starts = np.searchsorted(code[order], np.arange(len(coded.dictionary) + 1))
    places = (order[start:end] for start, end in pairwise(starts))
    return {name: summary_of(outcome[at]) for name, at in zip(coded.dictionary.to_pylist(), places, strict=True)}


def _rows_of(pipeline: Pipeline, segment: str, rows: Rows) -> Rows:
    """Return the rows of one segment, in their order."""
    return rows.filter(pc.equal(_values(pipeline, rows), segment))  # rows without a value compare as null and are left out


def _values(pipeline: Pipeline, rows: Rows) -> pa.Array:
    """Return the feature that names the segment, as text."""
    by = _segment_feature(pipeline)
    (wanted,) = inputs_of(rows.schema, [by])
    if wanted.kind != "text":
        kind = rows.schema.field(by).type
        raise ModelInputError(f"{pipeline.name}: model.segment_by {by!r} is {kind}: segments need a text feature")
    return read(rows.select([by]) if isinstance(rows, StoredRows) else rows, [wanted])[0]


def _segment_feature(pipeline: Pipeline) -> str:
    assert pipeline.model.segment_by is not None
    return pipeline.model.segment_by
