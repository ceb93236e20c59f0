"""The interface of every fitted learner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from mlprod_tasks.models.learners.links import Link
from mlprod_tasks.models.learners.rows import Floats

MANIFEST = "learner.json"


class FittedLearner(Protocol):
    """A fitted learner.

    Its predictions are the same, bit for bit, for a row alone and in a batch, and after saving.
    """

    @property
    def kind(self) -> str:
        """The name by which `learners.load` knows it."""

    @property
    def importance(self) -> Floats | None:
        """Each feature's share, (features,): at least 0, with sum 1 or all 0.

        None if the kind has no importance.
        """

    @property
    def size(self) -> int:
        """Number of trees, or of parameters if there are no trees."""

    @property
    def trees(self) -> int:
        """Number of trees; may be 0."""

    @property
    def link(self) -> Link:
        """The scale of its contributions."""

    def predict(self, x: Floats) -> Floats:
        """Return probabilities before calibration, or predicted numbers, (n,), for a matrix as in LearnerRows."""

    def contributions(self, x: Floats) -> Floats | None:
        """Return each feature's addition to the prediction on the scale of `link`, (n, features + 1), the base last.

        Rows sum to the prediction on that scale. None if the kind has no exact contributions.
        """

    def save(self, folder: Path) -> None:
        """Write text, JSON and skops files to a new or empty folder, for `learners.load`."""


def write(folder: Path, kind: str, **content: Any) -> None:
    """Write a learner's kind and plain values to its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"kind": kind, **content}, indent=1, sort_keys=True, allow_nan=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def read(folder: Path) -> dict[str, Any]:
    """Read what `write` wrote."""
    written: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return written
