"""Rules of a capacity: what decides on rows one by one cannot keep to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

AT_CAPACITY = "precision_at_capacity"


def capacity_problems(pipeline: Pipeline) -> Iterator[str]:
    """The rules of the capacity that the declaration breaks."""
    if pipeline.model.choose_by == AT_CAPACITY:
        yield f"model.choose_by {AT_CAPACITY!r}: it hardly differs between candidates; choose by log_loss or value_per_1000"
    capacity = pipeline.capacity
    if capacity is None:
        for gate in pipeline.gates:
            if getattr(gate, "metric", None) == AT_CAPACITY:
                yield f"gate {type(gate).__name__}({AT_CAPACITY!r}): declare a capacity, such as capacity=ml.Capacity(500)"
        return
    if capacity.per_tick < 1:
        yield f"capacity.per_tick {capacity.per_tick} must be at least 1"
    if pipeline.task != "binary":
        yield f"capacity is for task 'binary', which acts on rows or not; task {pipeline.task!r} decides nothing: leave it out"
    if pipeline.entity_table.snapshots:
        yield (
            f"capacity counts rows of a tick, and {pipeline.entity_name!r} has no time: its test is part of a snapshot, whose "
            "best rows are not those of a tick. Leave it out"
        )
    if pipeline.serving is not None:
        yield (
            "capacity cannot be kept on request: whether a row is among the best of its tick depends on rows that a request "
            "does not know. Leave serving out, or leave capacity out and decide by the threshold"
        )
    if pipeline.experiments is not None:
        yield (
            "capacity cannot be kept in an experiment: variants would take places from each other, so their effects mix. "
            "Leave one of them out"
        )
    if pipeline.model.segment_by is not None and pipeline.model.choose_by == "value_per_1000":
        yield "model.choose_by 'value_per_1000' with capacity and segment_by: a segment's share of the places is not known"
