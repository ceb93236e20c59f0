"""The design matrix for learners that need numbers: standardised, one-hot, no gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlprod_tasks.models.learners.rows import Columns, Floats

FURTHEST = 10.0  # standard deviations from the mean: one absurd number must not dominate
MOST_CATEGORIES = 200  # of one feature, the most frequent ones


@dataclass(frozen=True)
class Number:
    """A numeric feature: (value - mean) / scale, 0 if missing, and an indicator of that.

    first: its column in the design. scale 0: it was constant in training and has no column. missing: the column that is 1 if
    it is missing; None if no training row misses it.
    """

    position: int
    first: int
    mean: float
    scale: float
    missing: int | None


@dataclass(frozen=True)
class Category:
    """A coded feature. column: the column that is 1, by code; -1 for none.

    rare: the column of codes that were rare or unknown in training. missing: the column that is 1 if it is missing, or -1.
    """

    position: int
    column: tuple[int, ...]
    rare: int
    missing: int


@dataclass(frozen=True)
class Design:
    """The transformation of a matrix of features to `width` columns of numbers."""

    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]
    width: int

    def numeric(self, x: Floats) -> Iterator[tuple[int, int, Floats]]:
        """Yield feature, design column and values (n,) of all columns that are not one-hot."""
        for one in self.numbers:
            values = x[:, one.position]
            absent = np.isnan(values)
            if one.scale > 0:
                with np.errstate(over="ignore"):
                    scaled = np.clip((values - one.mean) / one.scale, -FURTHEST, FURTHEST)
                scaled[absent] = 0.0
                yield one.position, one.first, scaled
            if one.missing is not None:
                yield one.position, one.missing, absent.astype(np.float64)

    def hot(self, x: Floats) -> Iterator[tuple[int, Any]]:
        """Yield feature and which of its columns is 1, (n,); -1 if none is."""
        for one in self.categories:
            # The second last entry is for unknown codes, the last for missing ones.
            table = np.array([*one.column, one.rare, one.missing])
            codes = x[:, one.position]
            absent = np.isnan(codes)
            place = np.where(absent, len(one.column) + 1, np.minimum(np.where(absent, 0, codes), len(one.column)))
            yield one.position, table[place.astype(np.intp)]

    def sparse(self, x: Floats) -> Any:
        """Return the design as a scipy CSR matrix, (n, width)."""
        from scipy.sparse import coo_matrix

        rows = np.arange(len(x))
        row, column, value = [], [], []
        for _, at, values in self.numeric(x):
            filled = values != 0
            row.append(rows[filled])
            column.append(np.full(int(filled.sum()), at))
            value.append(values[filled])
        for _, at in self.hot(x):
            filled = at >= 0
            row.append(rows[filled])
            column.append(at[filled])
            value.append(np.ones(int(filled.sum())))
        if not row:
            return coo_matrix((len(x), self.width)).tocsr()
        parts = (np.concatenate(value), (np.concatenate(row), np.concatenate(column)))
        return coo_matrix(parts, shape=(len(x), self.width)).tocsr()

    def dense(self, x: Floats) -> Floats:
        """Return the design as an array, (n, width)."""
        dense = np.zeros((len(x), self.width))
        for _, at, values in self.numeric(x):
            dense[:, at] = values
        for _, at in self.hot(x):
            filled = np.flatnonzero(at >= 0)
            dense[filled, at[filled]] = 1.0
        return dense

    def as_json(self) -> dict[str, Any]:
        return {
            "numbers": [[one.position, one.first, one.mean, one.scale, one.missing] for one in self.numbers],
            "categories": [[one.position, list(one.column), one.rare, one.missing] for one in self.categories],
            "width": self.width,
        }


def from_json(written: dict[str, Any]) -> Design:
    """Return the design that `as_json` wrote."""
    return Design(
        tuple(Number(*one) for one in written["numbers"]),
        tuple(Category(position, tuple(column), rare, missing) for position, column, rare, missing in written["categories"]),
        written["width"],
    )


def fit_design(columns: Columns, x: Floats, least_category_rows: int) -> Design:
    """Fit means, scales and categories.

    Rare categories, and those beyond MOST_CATEGORIES, share a column.
    A feature without values, or with only one value, gets no column.
    """
    width, numbers, categories = 0, [], []
    for position in columns.numeric:
        values = x[:, position]
        present = values[~np.isnan(values)]
        mean, scale = _mean_and_deviation(present)
        first = width
        width += scale > 0
        missing = width if 0 < len(present) < len(values) else None
        width += missing is not None
        numbers.append(Number(position, first, mean, scale, missing))
    for position in columns.categorical:
        codes = x[:, position]
        absent = np.isnan(codes)
        rows = np.bincount(codes[~absent].astype(np.intp))
        frequent = np.argsort(-rows, kind="stable")[:MOST_CATEGORIES]
        kept = np.sort(frequent[rows[frequent] >= least_category_rows])
        column = np.full(len(rows), -1)
        column[kept] = width + np.arange(len(kept))
        width += len(kept)
        rare = -1
        if (rows > 0).sum() > len(kept):
            rare = width
            column[column < 0] = rare
            width += 1
        missing = width if absent.any() and len(rows) else -1
        width += missing >= 0
        categories.append(Category(position, tuple(column.tolist()), rare, missing))
    return Design(tuple(numbers), tuple(categories), int(width))


def _mean_and_deviation(values: Floats) -> tuple[float, float]:
    """Return mean and standard deviation; 0 and 0 if values are all equal, missing, or their squares overflow."""
    # For equal values, the computed deviation may be a rounding error instead of 0.
    if len(values) == 0 or values.min() == values.max():
        return 0.0, 0.0
    with np.errstate(over="ignore"):
        mean, scale = float(values.mean()), float(values.std())
    return (mean, scale) if np.isfinite(scale) and scale > 0 else (0.0, 0.0)
