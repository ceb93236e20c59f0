"""The fallback model for when the champion fails: smoothed outcome rates, or means, by group."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import MeanTable, RateTable
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.feature_frame import Input, Predictions, as_categories, decisions, exact_names, inputs_of, read
from mlprod_tasks.models.model import MANIFEST
from mlprod_tasks.models.stored_rows import StoredRows, in_batches
from mlprod_tasks.platform import digest

Outcomes = NDArray[np.bool_] | NDArray[np.float64]
KIND = "rate_table"


@dataclass(frozen=True)
class FallbackModel:
    """The outcome rate, or mean outcome, by values of `inputs`.

    The overall one for values unknown in training. threshold: None if outcomes are numbers.
    """

    inputs: tuple[Input, ...]
    rates: dict[tuple[Any, ...], float] = field(repr=False)
    overall: float
    threshold: float | None

    def predict(self, features: Any) -> Predictions:
        """Score each row of a frame, which needs only the features of `by`.

        Raises: ModelInputError.
        """
        if isinstance(features, StoredRows):
            return in_batches(self.predict, features, self.feature_names)
        groups = _groups(features, self.inputs, self.exact)
        score = np.array([self.rates.get(group, self.overall) for group in groups], dtype=np.float64)
        return Predictions(score, decisions(score, self.threshold))

    @cached_property
    def exact(self) -> frozenset[str]:
        """The features whose groups only integers tell apart."""
        return exact_names({wanted.name: [group[i] for group in self.rates] for i, wanted in enumerate(self.inputs)})

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(wanted.name for wanted in self.inputs)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "inputs": [{"name": wanted.name, "kind": wanted.kind} for wanted in self.inputs],
            "rates": [[list(group), rate] for group, rate in self.rates.items()],
            "overall": self.overall,
            "threshold": self.threshold,
        }

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> FallbackModel:
        """Return the model that `as_json` wrote."""
        rates = {tuple(group): rate for group, rate in written["rates"]}
        inputs = tuple(Input(**wanted) for wanted in written["inputs"])
        return cls(inputs, rates, written["overall"], written["threshold"])

    def save(self, folder: Path) -> str:
        """Write the model as JSON to a folder; return its digest."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_json(), indent=1, sort_keys=True, allow_nan=False)
        (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
        return digest.of_folder(folder)


def load(folder: Path) -> FallbackModel:
    """Load the model that `save` wrote."""
    return FallbackModel.from_json(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))


def fit_fallback(
    declared: RateTable | MeanTable, worth: decision_value.Declared, features: Any, outcome: Outcomes
) -> FallbackModel:
    """Fit the rate, or mean, of each group, and the threshold.

    Rate: (positives + smoothing * overall rate) / (rows + smoothing). The threshold is the break-even of the cost matrix or, if
    values differ by row, the rate that paid best on the training rows; None for a MeanTable. So few numbers need no validation
    window.
    """
    inputs = inputs_of(features.schema, declared.by)
    overall = float(np.mean(outcome))
    grouped = features.select(list(declared.by)) if isinstance(features, StoredRows) else features
    summed = pa.array(outcome, pa.float64() if isinstance(declared, MeanTable) else pa.int64())
    rows_by_group = pa.table([*read(grouped, inputs, declared.by), summed], [*declared.by, "outcome"])
    groups = rows_by_group.group_by(list(declared.by)).aggregate([("outcome", "count"), ("outcome", "sum")])
    *values, rows, positives = (column.to_pylist() for column in groups.select([*declared.by, "outcome_count", "outcome_sum"]))
    values = [as_categories(column) for column in values]
    weight = declared.smoothing
    rates = {
        group: (hits + weight * overall) / (n + weight)
        for group, n, hits in zip(zip(*values, strict=True), rows, positives, strict=True)
    }
    # Sorted, so that the order of rows does not change the model; by text, as a value may be None.
    ordered = dict(sorted(rates.items(), key=lambda item: repr(item[0])))
    if isinstance(declared, MeanTable):
        return FallbackModel(inputs, ordered, overall, None)
    threshold = decision_value.break_even(worth)
    if threshold is None:
        score = FallbackModel(inputs, ordered, overall, 0.0).predict(features).score
        threshold = decision_value.best_threshold(decision_value.worth(worth, features, score, outcome), score)
    return FallbackModel(inputs, ordered, overall, threshold)


def _groups(features: Any, inputs: tuple[Input, ...], exact: frozenset[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in read(features, inputs, exact)), strict=True))
