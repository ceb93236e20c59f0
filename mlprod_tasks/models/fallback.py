"""The fallback model for when the champion fails: smoothed outcome rates, means, or shares of classes, by group."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import ClassValue, MeanTable, RateTable, ShareTable
from mlprod_tasks.declaration.task import TaskName
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.class_rule import ClassRule, rule_for, rule_from, task_name
from mlprod_tasks.models.feature_frame import (
    Input,
    Predictions,
    as_categories,
    decisions,
    exact_names,
    inputs_of,
    read,
    row_count,
)
from mlprod_tasks.models.model import MANIFEST
from mlprod_tasks.models.stored_rows import StoredRows, in_batches
from mlprod_tasks.platform import digest
from mlprod_tasks.statistics.class_scores import UNKNOWN, Names, codes_of

Outcomes = NDArray[np.bool_] | NDArray[np.float64] | Names
Shares = tuple[float, ...]
KIND = "rate_table"


@dataclass(frozen=True)
class FallbackModel:
    """The outcome rate, mean outcome, or share of each class, by values of `inputs`.

    The overall one for values unknown in training, and for every row if there are no inputs. threshold: None if outcomes are
    numbers or classes. rule: of classes.
    """

    inputs: tuple[Input, ...]
    rates: dict[tuple[Any, ...], float | Shares] = field(repr=False)
    overall: float | Shares
    threshold: float | None
    rule: ClassRule | None = None

    def predict(self, features: Any) -> Predictions:
        """Score each row of a frame, which needs only the features of `by`.

        Raises: ModelInputError.
        """
        if isinstance(features, StoredRows) and self.inputs:
            return in_batches(self.predict, features, self.feature_names)
        groups = _groups(features, self.inputs, self.exact) if self.inputs else [()] * row_count(features)
        score = np.array([self.rates.get(group, self.overall) for group in groups], dtype=np.float64)
        if self.rule is not None:
            scores = self.rule.scores(score.reshape(len(groups), len(self.rule.classes)))
            return Predictions(scores, self.rule.chosen(scores))
        return Predictions(score, decisions(score, self.threshold))

    @property
    def task(self) -> TaskName:
        """The kind of prediction that it was trained for."""
        return task_name(self.threshold, self.rule)

    @cached_property
    def exact(self) -> frozenset[str]:
        """The features whose groups only integers tell apart."""
        return exact_names({wanted.name: [group[i] for group in self.rates] for i, wanted in enumerate(self.inputs)})

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(wanted.name for wanted in self.inputs)

    def as_json(self) -> dict[str, Any]:
        written = {
            "kind": KIND,
            "inputs": [{"name": wanted.name, "kind": wanted.kind} for wanted in self.inputs],
            "rates": [[list(group), rate] for group, rate in self.rates.items()],
            "overall": self.overall,
            "threshold": self.threshold,
        }
        return written if self.rule is None else {**written, "rule": asdict(self.rule)}

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> FallbackModel:
        """Return the model that `as_json` wrote."""
        rule = rule_from(written.get("rule"))
        rates = {tuple(group): rate if rule is None else tuple(rate) for group, rate in written["rates"]}
        inputs = tuple(Input(**wanted) for wanted in written["inputs"])
        overall = written["overall"] if rule is None else tuple(written["overall"])
        return cls(inputs, rates, overall, written["threshold"], rule)

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
    declared: RateTable | MeanTable | ShareTable,
    worth: decision_value.Declared,
    features: Any,
    outcome: Outcomes,
    classes: tuple[str, ...] = (),
    quantile: float | None = None,
) -> FallbackModel:
    """Fit the rate, or mean, of each group, and the threshold.

    Rate: (positives + smoothing * overall rate) / (rows + smoothing). The threshold is the break-even of the cost matrix or, if
    values differ by row, the rate that paid best on the training rows; None for a MeanTable. So few numbers need no validation
    window. classes: of a ShareTable, in order; rows with any other are left out.
    quantile: of a MeanTable, the one that is predicted instead of the mean: (rows * that of the group + smoothing * the overall
    one) / (rows + smoothing).
    """
    inputs = inputs_of(features.schema, declared.by)
    if isinstance(worth, ClassValue):
        return _fit_shares(declared, inputs, rule_for(worth, classes), features, outcome)
    overall = float(np.mean(outcome) if quantile is None else np.quantile(outcome, quantile))
    rates = _rates(declared, inputs, features, outcome, overall, quantile) if inputs else {}
    if isinstance(declared, MeanTable):
        return FallbackModel(inputs, rates, overall, None)
    threshold = decision_value.break_even(worth)
    if threshold is None:
        score = FallbackModel(inputs, rates, overall, 0.0).predict(features).score
        threshold = decision_value.best_threshold(decision_value.worth(worth, features, score, outcome), score)
    return FallbackModel(inputs, rates, overall, threshold)


def _rates(
    declared: RateTable | MeanTable | ShareTable,
    inputs: tuple[Input, ...],
    features: Any,
    outcome: Outcomes,
    overall: float,
    quantile: float | None,
) -> dict[tuple[Any, ...], float | Shares]:
    """The rate, mean or quantile of each group."""
    grouped = features.select(list(declared.by)) if isinstance(features, StoredRows) else features
    summed = pa.array(outcome, pa.float64() if isinstance(declared, MeanTable) else pa.int64())
    rows_by_group = pa.table([*read(grouped, inputs, declared.by), summed], [*declared.by, "outcome"])
    total = "sum" if quantile is None else "list"
    groups = rows_by_group.group_by(list(declared.by)).aggregate([("outcome", "count"), ("outcome", total)])
    *values, rows = (column.to_pylist() for column in groups.select([*declared.by, "outcome_count"]))
    of_groups = groups[f"outcome_{total}"]
    positives = (
        of_groups.to_pylist()
        if quantile is None
        else [n * float(np.quantile(one.values.to_numpy(), quantile)) for n, one in zip(rows, of_groups, strict=True)]
    )
    values = [as_categories(column) for column in values]
    weight = declared.smoothing
    rates = {
        group: (hits + weight * overall) / (n + weight)
        for group, n, hits in zip(zip(*values, strict=True), rows, positives, strict=True)
    }
    # Sorted, so that the order of rows does not change the model; by text, as a value may be None.
    return dict(sorted(rates.items(), key=lambda item: repr(item[0])))


def _fit_shares(
    declared: RateTable | MeanTable | ShareTable, inputs: tuple[Input, ...], rule: ClassRule, features: Any, outcome: Any
) -> FallbackModel:
    """Share: (rows of the class + smoothing * its overall share) / (rows + smoothing)."""
    codes, size = codes_of(outcome, rule.classes), len(rule.classes)
    rows = np.flatnonzero(codes != UNKNOWN)
    codes = codes[rows]
    overall = np.bincount(codes, minlength=size) / len(codes)
    if not inputs:
        return FallbackModel((), {}, tuple(overall.tolist()), None, rule)
    grouped = features.select(list(declared.by)) if isinstance(features, StoredRows) else features
    columns = [column.take(pa.array(rows)).dictionary_encode() for column in read(grouped, inputs, declared.by)]
    group = np.zeros(len(codes), np.int64)
    for column in columns:
        group = group * (len(column.dictionary) + 1) + column.indices.fill_null(len(column.dictionary)).to_numpy()
    kept, first, of_row = np.unique(group, return_index=True, return_inverse=True)
    counts = np.zeros((len(kept), size))
    np.add.at(counts, (of_row, codes), 1)
    shares = (counts + declared.smoothing * overall) / (counts.sum(axis=1, keepdims=True) + declared.smoothing)
    values = [as_categories(column.take(pa.array(first)).to_pylist()) for column in columns]
    rates = {tuple(one): tuple(row) for one, row in zip(zip(*values, strict=True), shares.tolist(), strict=True)}
    ordered: dict[tuple[Any, ...], float | Shares] = dict(sorted(rates.items(), key=lambda item: repr(item[0])))
    return FallbackModel(inputs, ordered, tuple(overall.tolist()), None, rule)


def _groups(features: Any, inputs: tuple[Input, ...], exact: frozenset[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in read(features, inputs, exact)), strict=True))
