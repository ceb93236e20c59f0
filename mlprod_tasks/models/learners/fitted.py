"""What every fitted learner can do, whatever its kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from mlprod_tasks.models.learners.rows import Floats

MANIFEST = "learner.json"


class FittedLearner(Protocol):
    """A fitted learner. It gives the same bits for a row alone and in a batch, and before and after it was saved."""

    @property
    def kind(self) -> str:
        """The name by which `learners.load` knows it."""

    @property
    def importance(self) -> Floats | None:
        """Each feature's share, (features,), none negative, summing to 1 unless all are 0; None where the kind has none."""

    @property
    def size(self) -> int:
        """Trees, or parameters where there are none."""

    @property
    def trees(self) -> int:
        """Trees; 0 for a learner without any."""

    def predict(self, x: Floats) -> Floats:
        """Probabilities before calibration, (n,), of a matrix as in LearnerRows."""

    def contributions(self, x: Floats) -> Floats | None:
        """What each feature adds to the log-odds, (n, features + 1), the base last: rows sum to the prediction's log-odds.

        None where the kind has no exact ones.
        """

    def save(self, folder: Path) -> None:
        """Write text, JSON and skops files into a new or empty folder, which `learners.load` reads."""


def write(folder: Path, kind: str, **content: Any) -> None:
    """Write a learner's kind and plain values into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"kind": kind, **content}, indent=1, sort_keys=True, allow_nan=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def read(folder: Path) -> dict[str, Any]:
    """Read what `write` wrote."""
    written: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return written
