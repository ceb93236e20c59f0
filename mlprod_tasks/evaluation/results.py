"""What a model showed on its test window: plain numbers that gates, mails and reports read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlprod_tasks.statistics.metrics import Estimate

Estimates = Mapping[str, Estimate]


@dataclass(frozen=True)
class Evaluation:
    """Metrics with intervals of the model, a constant baseline and the champion, all on the same rows.

    champion: None where there is none, or where it could not be evaluated (champion_problem then says why, and
    champion_version is set).
    """

    training_id: str
    model_digest: str
    rows: int
    positives: int
    unlabelled: int
    threshold: float
    model: Estimates
    baseline: Estimates
    champion: Estimates | None = None
    champion_version: int | None = None
    champion_problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "training_id": self.training_id,
            "model_digest": self.model_digest,
            "rows": self.rows,
            "positives": self.positives,
            "unlabelled": self.unlabelled,
            "threshold": self.threshold,
            "model": _written(self.model),
            "baseline": _written(self.baseline),
            "champion": None if self.champion is None else _written(self.champion),
            "champion_version": self.champion_version,
            "champion_problem": self.champion_problem,
        }


def from_json(written: dict[str, Any]) -> Evaluation:
    """The evaluation that `as_json` wrote."""
    champion = written["champion"]
    return Evaluation(
        **{
            **written,
            "model": _read(written["model"]),
            "baseline": _read(written["baseline"]),
            "champion": None if champion is None else _read(champion),
        }
    )


def _written(estimates: Estimates) -> dict[str, list[float | None]]:
    """JSON has no NaN: null stands for what could not be computed."""
    return {
        name: [number if math.isfinite(number) else None for number in (one.value, one.low, one.high)]
        for name, one in estimates.items()
    }


def _read(written: dict[str, list[float | None]]) -> Estimates:
    return {name: Estimate(*(math.nan if number is None else number for number in one)) for name, one in written.items()}
