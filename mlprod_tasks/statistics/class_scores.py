"""Probabilities of several classes, row by row, with the names of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Names = NDArray[np.object_]
UNKNOWN = -1  # the code of a class that is not among those of the scores


@dataclass(frozen=True)
class ClassScores:
    """What a model of classes gives. classes: their names; shares: (n, classes) probabilities, each row with sum 1."""

    classes: tuple[str, ...]
    shares: Floats

    def __len__(self) -> int:
        return len(self.shares)

    def __getitem__(self, rows: Any) -> ClassScores:
        """Return some of the rows, by a mask, a slice or positions."""
        return ClassScores(self.classes, self.shares[rows])

    def codes(self, names: Any) -> Ints:
        """Return the position of each name among the classes, (n,); UNKNOWN for another."""
        return codes_of(names, self.classes)

    def of(self, names: Any) -> Floats:
        """Return the probability of the class that is named for each row, (n,); 0 for one that the model does not know."""
        codes = self.codes(names)
        return np.where(codes == UNKNOWN, 0.0, self.shares[np.arange(len(codes)), codes])

    def aligned(self, classes: Sequence[str]) -> Floats:
        """Return the probabilities of these classes, (n, classes); 0 for one that the model does not know."""
        at = {name: i for i, name in enumerate(self.classes)}
        shares = np.zeros((len(self), len(classes)))
        for i, name in enumerate(classes):
            if name in at:
                shares[:, i] = self.shares[:, at[name]]
        return shares

    @property
    def likeliest(self) -> Names:
        """The class with the largest probability of each row, (n,); of equal ones the first."""
        return names_of(self.shares.argmax(axis=1), self.classes)


def joined(parts: Sequence[ClassScores]) -> ClassScores:
    """Return the rows of several scores with the same classes, one after the other."""
    return ClassScores(parts[0].classes, np.concatenate([one.shares for one in parts]))


def codes_of(names: Any, classes: Sequence[str]) -> Ints:
    """Return the position of each name among classes, (n,); UNKNOWN for another."""
    found = pc.index_in(pa.array(names, pa.string()), value_set=pa.array(list(classes), pa.string()))
    return np.asarray(pc.fill_null(found, UNKNOWN).to_numpy(zero_copy_only=False), np.int64)


def names_of(codes: Any, classes: Sequence[str]) -> Names:
    """Return the class of each position, (n,)."""
    table = np.empty(len(classes), object)
    table[:] = list(classes)
    return np.asarray(table[codes], object)


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes in the order in which they are shown: whole numbers by size, before others by text."""
    return tuple(sorted(set(names), key=_place))


def _place(name: str) -> tuple[int, Decimal, str]:
    """Return by what a name is sorted. Decimal: Python refuses to read an int of thousands of digits."""
    digits = name.removeprefix("-")
    return (0, Decimal(name), name) if digits.isascii() and digits.isdigit() else (1, Decimal(0), name)
