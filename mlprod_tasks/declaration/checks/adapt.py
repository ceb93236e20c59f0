"""Rules of what adapts scores between trainings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.tables import repeated
from mlprod_tasks.declaration.split import RowSplit

if TYPE_CHECKING:
    from mlprod_tasks.declaration.adapt import Adapt
    from mlprod_tasks.declaration.pipeline import Pipeline

COLUMNS = ("raw_score", "raw_probabilities", "adaptation")


def adapt_problems(pipeline: Pipeline) -> Iterator[str]:
    adapt = pipeline.adapt
    if adapt is None:
        return
    yield from _number_problems(adapt)
    if isinstance(pipeline.split, RowSplit) or pipeline.entity_table.snapshots:
        yield (
            f"adapt learns from one tick after the other, and rows of {pipeline.entity_name!r} have no time: leave adapt out, "
            "or declare the time of the table"
        )
    if pipeline.quantile is not None:
        yield (
            f"adapt keeps predictions right on average, and the quantile {pipeline.quantile:g} of outcomes is predicted: leave "
            "adapt out, or declare another objective"
        )
    yield from _learner_problems(pipeline, adapt)
    taken = (*pipeline.entity_table.key, *pipeline.feature_names)
    for name in COLUMNS:
        if name in taken:
            yield f"adapt: predictions get a column {name!r}, which is also a key or feature here: give that another name"


def _learner_problems(pipeline: Pipeline, adapt: Adapt) -> Iterator[str]:
    if adapt.learners and pipeline.task == "multiclass":
        yield "adapt.learners learn a yes or no, or a number, and classes are predicted here: leave learners out"
    yield from repeated("adapt.learners", (one.name for one in adapt.learners))
    for one in adapt.learners:
        where = f"adapt.learners {one.name!r}"
        if not one.name:
            yield "adapt.learners: give each a name"
        if not one.features:
            yield f"{where} has no features: name those that it is to read, numbers"
        yield from repeated(f"{where}: features", one.features)
        for name in one.features:
            if name not in pipeline.feature_names:
                yield f"{where} reads {name!r}, which is no feature: there are {', '.join(pipeline.feature_names)}"
            elif name in pipeline.model.categorical:
                yield f"{where} reads {name!r}, which is a category here: it reads numbers"
        if not 0 < one.rate <= 1:
            yield f"{where}: rate {one.rate:g} must be above 0 and at most 1"


def _number_problems(adapt: Adapt) -> Iterator[str]:
    if not adapt.half_lives or any(not one > 0 for one in adapt.half_lives):
        yield f"adapt.half_life {adapt.half_life!r}: give a number of ticks above 0, or several"
    yield from repeated("adapt.half_life", (f"{one:g}" for one in adapt.half_lives))
    if not adapt.prior > 0:
        yield f"adapt.prior {adapt.prior:g} must be above 0: without it a few rows could move all scores"
    if not 0 < adapt.coverage <= 1:
        yield f"adapt.coverage {adapt.coverage:g} must be above 0 and at most 1"
    if not adapt.most > 0:
        yield f"adapt.most {adapt.most:g} must be above 0"
    low, high = adapt.slopes
    if not 0 < low <= 1 <= high:
        yield f"adapt.slopes {adapt.slopes!r}: give a slope above 0 and at most 1, and one of at least 1; (1, 1) keeps it"
    if adapt.fewest < 2:
        yield f"adapt.fewest {adapt.fewest}: give at least 2: one tick does not tell how much ticks differ"
    if adapt.window < adapt.fewest:
        yield f"adapt.window {adapt.window} is less than adapt.fewest {adapt.fewest}: the layer would never answer"
    if not 0 <= adapt.confidence < 1:
        yield f"adapt.confidence {adapt.confidence:g} must be 0 or more, and less than 1"
