"""The verdict of the audit on the batch of a tick, and the refusal of batches, in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_count

MOST_TICKS = 5  # that a refusal tells in full


@dataclass(frozen=True)
class FailedExpectation:
    """An expectation that failed on a tick. `refuses`: 'rows' if only the failing rows are refused, 'batch' if all are.

    places: where the rows of the sample stand in their files, '' where that is not known.
    """

    expectation: str
    column: str | None
    sentence: str
    observed: str
    bound: str
    count: int
    refuses: str
    sample: tuple[dict[str, str | None], ...] = ()
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchVerdict:
    """The result of the audit of one tick's batch."""

    tick: TickName
    read: int
    refused: int
    failures: tuple[FailedExpectation, ...]

    @property
    def passed(self) -> bool:
        return not any(failure.refuses == "batch" for failure in self.failures)


class BatchRefused(ValueError):
    """The audit refused the batch of at least one tick. The verdicts are recorded; these ticks are not published."""

    def __init__(self, pipeline: str, table: str, refused: tuple[BatchVerdict, ...]) -> None:
        self.pipeline, self.table, self.refused = pipeline, table, refused
        super().__init__("\n".join(self._lines()))

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchRefused, (self.pipeline, self.table, self.refused)  # as another process gets it

    def _lines(self) -> list[str]:
        lines = [
            f"pipeline {self.pipeline!r}, table {self.table!r}: the audit refused the batch of "
            f"{format_count(len(self.refused), 'tick')}; none of their rows are published"
        ]
        for verdict in self.refused[:MOST_TICKS]:
            lines.append(f"tick {verdict.tick}: {format_count(verdict.read, 'row')} read")
            for failure in verdict.failures[:10]:
                lines.append(f"  {failure.sentence}; found {failure.observed}")
                places = failure.places or ("",) * len(failure.sample)
                for place, row in zip(places[:2], failure.sample[:2], strict=True):
                    lines.append(f"    for example {place}{': ' if place else ''}{json.dumps(row)}")
        if len(self.refused) > MOST_TICKS:
            lines.append(f"and {len(self.refused) - MOST_TICKS} more ticks, last {self.refused[-1].tick}")
        return [
            *lines,
            f"The rows with their reasons are in the lake: {self.pipeline}/quarantine/{self.table}. Correct the source, or "
            "widen the declaration if the data is right; then clear the task `extract`",
        ]
