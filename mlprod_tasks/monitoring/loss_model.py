"""Estimate the error of predicted numbers before their labels arrive: direct loss estimation (DLE, as published by NannyML).

Two models learn from the reference how large absolute and squared errors are, given the important features and the prediction.
The mean of what they say of a tick's rows estimates its errors. All this assumes that errors still depend on features as they
did in the reference: like any estimate without outcomes, it cannot detect a concept shift. The interval holds the realised
error of these same rows in about 95 of 100 cases: it knows how much errors of such rows differ, but not how wrong the models
are.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import LightGBM, Model
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.models.reference_profile import SCORE, LossModel, ReferenceNumbers
from mlprod_tasks.monitoring.count import rounded, sum_of
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics.auc_interval import Z

Floats = NDArray[np.float64]

FEWEST_TO_LEARN = 200  # labelled rows of the reference
FEWEST_ROWS = 30  # of a tick
ROWS_AT_ONCE = 200_000
MOST_ROWS = 50_000  # of the reference, evenly spaced
MOST_FEATURES = 20
MOST_CATEGORIES = 100  # of a feature, the most frequent ones
SEED = 1
ESTIMATED = ("mae", "rmse")
TREES = LightGBM(max_trees=100, early_stopping_rounds=None, num_leaves=8, bagging_fraction=1.0, feature_fraction=1.0)
LEAST_IN_A_LEAF, LEAVES = 30, 50  # a leaf has at least that many rows, and one in so many of all


def fit(con: Any, source: str, important: Sequence[str]) -> LossModel | None:
    """Learn errors from the labelled rows of a reference; None if they are too few.

    source: what follows FROM, with the features, `score` and `label`. important: features, the most important ones first.
    """
    features = tuple(important)[:MOST_FEATURES]
    columns = ", ".join(map(quoted, (*features, SCORE, "label")))
    rows: pa.Table = con.sql(f"SELECT {columns} FROM {source} WHERE label IS NOT NULL ORDER BY ALL").to_arrow_table()
    if rows.num_rows < FEWEST_TO_LEARN:
        return None
    if rows.num_rows > MOST_ROWS:
        rows = rows.take(np.linspace(0, rows.num_rows - 1, MOST_ROWS).astype(np.int64))
    error = np.abs(rows["label"].to_numpy() - rows[SCORE].to_numpy())
    categories = tuple((name, _by_error(rows[name], error)) for name in features if _is_text(rows[name].type))
    x = _matrix(rows, (*features, SCORE), dict(categories))
    absolute, squared = _fitted(x, error), _fitted(x, error**2)
    spread = float(np.std(error**2 / np.maximum(_predicted(squared, x), np.mean(error**2) / 100)))
    return LossModel(features, categories, _packed(absolute), _packed(squared), spread)


def estimates(con: Any, source: str, numbers: ReferenceNumbers) -> Iterator[Reading]:
    """The estimated errors of one tick's predictions, relative to the reference's; none if the reference has too few rows.

    source: what follows FROM, with the features and `score` of rows that the model itself answered.
    """
    errors = EstimatedErrors(numbers)
    yield from errors.merge([errors.read(con, source)])


@dataclass(frozen=True)
class _Sums:
    """Sums over rows of the absolute errors `a` and the squared errors `s` that the models expect."""

    rows: int
    absolute: float = 0.0  # a
    squared: float = 0.0  # s
    spread: float = 0.0  # s - a^2, if above 0
    fourth: float = 0.0  # s^2


@dataclass(frozen=True)
class EstimatedErrors:
    """The readings of `estimates`: an aggregate of the rows that the model itself answered. Sums are rounded."""

    numbers: ReferenceNumbers

    def read(self, con: Any, source: str) -> tuple[list[str], _Sums]:
        """The columns that the rows lack, and sums; these without expected errors if there are such columns."""
        model = self.numbers.losses
        if model is None:
            return [], _Sums(0)
        known = {name for name, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        lacking = [name for name in model.features if name not in known]
        if lacking:
            ((n,),) = con.execute(f"SELECT count(*) FROM {source}").fetchall()
            return lacking, _Sums(n)
        columns = ", ".join(quoted(name) for name in (*model.features, SCORE))
        boosters, batches = (_unpacked(model.absolute), _unpacked(model.squared)), []
        for batch in con.sql(f"SELECT {columns} FROM {source}").to_arrow_reader(ROWS_AT_ONCE):
            x = _matrix(pa.Table.from_batches([batch]), (*model.features, SCORE), dict(model.categories))
            absolute, squared = (np.maximum(_predicted(booster, x), 0.0) for booster in boosters)
            spread = np.maximum(squared - absolute**2, 0.0)
            batches.append(_Sums(len(x), *(float(one.sum()) for one in (absolute, squared, spread, squared**2))))
        return [], _of_all(batches)

    def merge(self, parts: Sequence[tuple[list[str], _Sums]]) -> list[Reading]:
        if self.numbers.losses is None:
            return []
        sums, lacking = _of_all([part for _, part in parts]), parts[0][0]
        return [_reading(metric, self.numbers, lacking, sums) for metric in ESTIMATED]


def _of_all(pieces: Sequence[_Sums]) -> _Sums:
    totals = (sum_of(getattr(one, name) for one in pieces) for name in ("absolute", "squared", "spread", "fourth"))
    return _Sums(sum(one.rows for one in pieces), *totals)


def _reading(metric: str, numbers: ReferenceNumbers, lacking: Sequence[str], sums: _Sums) -> Reading:
    n, reference = sums.rows, numbers.mae if metric == "mae" else numbers.rmse
    why = _why_not(lacking, n, reference)
    if why or numbers.losses is None:
        return Reading(f"estimated_{metric}", None, n, reference=reference, why=why)
    value, low, high = map(rounded, _errors(numbers.losses, sums)[metric])
    detail = (
        f"{format_number(value)}, assuming that errors still depend on features as in the reference, which has "
        f"{format_number(reference)}"
    )
    interval = (low / reference, high / reference)
    return Reading(f"estimated_{metric}", value / reference, n, reference=reference, detail=detail, interval=interval)


def _why_not(lacking: Sequence[str], n: int, reference: float) -> str:
    """Return why nothing can be estimated, or ''."""
    if lacking:
        return f"its rows lack {', '.join(lacking)}"
    if n < FEWEST_ROWS:
        shown = format_count(n, "row")
        return f"the model itself answered {shown}, too few for an estimate; at least {FEWEST_ROWS} are needed"
    return "" if reference > 0 else "the reference's is 0"


def _errors(model: LossModel, sums: _Sums) -> dict[str, tuple[float, float, float]]:
    """Return each estimated error with the ends of its interval."""
    n = sums.rows
    mae, mse = sums.absolute / n, sums.squared / n
    half = Z * sqrt(sums.spread) / n
    half_squared = Z * model.spread * sqrt(sums.fourth) / n
    return {
        "mae": (mae, max(0.0, mae - half), mae + half),
        "rmse": (sqrt(mse), sqrt(max(0.0, mse - half_squared)), sqrt(mse + half_squared)),
    }


def _matrix(rows: pa.Table, names: Sequence[str], categories: dict[str, tuple[str, ...]]) -> Floats:
    """Return features as numbers, (n, features): categories by their place, NaN if missing or unknown."""
    columns = []
    for name in names:
        if name in categories:
            place = {value: float(i) for i, value in enumerate(categories[name])}
            columns.append(np.array([place.get(value, np.nan) for value in rows[name].to_pylist()], np.float64))
        else:
            columns.append(rows[name].cast(pa.float64()).to_numpy().astype(np.float64))
    return np.column_stack(columns)


def _by_error(values: pa.ChunkedArray, error: Floats) -> tuple[str, ...]:
    """Return the most frequent categories, those with the smallest errors first."""
    counts = pa.table({"value": values, "error": error}).group_by("value").aggregate([("error", "mean"), ("error", "count")])
    known = [one for one in counts.to_pylist() if one["value"] is not None]
    frequent = sorted(known, key=lambda one: (-one["error_count"], one["value"]))[:MOST_CATEGORIES]
    return tuple(one["value"] for one in sorted(frequent, key=lambda one: (one["error_mean"], one["value"])))


def _fitted(x: Floats, loss: Floats) -> str:
    from mlprod_tasks.models.learners.lightgbm import fit_lightgbm
    from mlprod_tasks.models.learners.rows import Columns, LearnerRows

    learner = replace(TREES, min_data_in_leaf=max(LEAST_IN_A_LEAF, len(x) // LEAVES))
    names = Columns(tuple(f"f{i}" for i in range(x.shape[1])))
    nothing = LearnerRows(x[:0], loss[:0])
    return fit_lightgbm(
        learner, names, LearnerRows(x, loss), nothing, Model(candidates=(learner,), threads=1, seed=SEED)
    ).booster


def _predicted(booster: str, x: Floats) -> Floats:
    from mlprod_tasks.models.learners.lightgbm import BoostedTrees

    return BoostedTrees(booster, 1).predict(x)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()


def _unpacked(text: str) -> str:
    return zlib.decompress(base64.b64decode(text)).decode()
