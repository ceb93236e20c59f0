"""The model: feature frame in, calibrated probability and decision out. The same object scores in batch and online."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks import calibration
from mlprod_tasks.calibration import Calibration
from mlprod_tasks.inputs import Input, ModelInputError, Predictions, matrix, read
from mlprod_tasks.platform import digest

if TYPE_CHECKING:
    import lightgbm

Floats = NDArray[np.float64]
BOOSTER, MANIFEST = "booster.txt", "model.json"
KIND = "lightgbm"

__all__ = ["Model", "ModelInputError", "Predictions", "cores_for", "load"]


@dataclass(frozen=True)
class Model:
    """Boosted trees with everything between a feature frame and a decision.

    booster: LightGBM's own text form. codes: for each categorical feature the values of the training rows, in the order
    of their codes; any other value is treated as missing. facts: where the model comes from (training, windows, versions).
    """

    inputs: tuple[Input, ...]
    codes: Mapping[str, tuple[Any, ...]]
    booster: str = field(repr=False)
    calibration: Calibration
    threshold: float
    threads: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, features: Any) -> Predictions:
        """Score each row of a frame: a pyarrow Table, a pandas DataFrame, or a mapping of names to values.

        Raises: ModelInputError.
        """
        score = self.calibration(self.raw(self.matrix(features)))
        return Predictions(score, score >= self.threshold)

    def matrix(self, features: Any) -> Floats:
        """The frame as the trees read it: (rows, features), float64, NaN where missing. Raises: ModelInputError."""
        return matrix(read(features, self.inputs), self.inputs, self.codes)

    def raw(self, values: Floats) -> Floats:
        """The trees' own probabilities, (rows,), before calibration."""
        if len(values) == 0:
            return np.empty(0)
        return np.asarray(self._trees.predict(values, num_threads=cores_for(self.threads)), np.float64)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(wanted.name for wanted in self.inputs)

    @property
    def importance(self) -> dict[str, float]:
        """Each feature's share of the total gain, greatest first."""
        gain = self._trees.feature_importance("gain")
        total = float(gain.sum()) or 1.0
        shares = {name: float(one) / total for name, one in zip(self.feature_names, gain, strict=True)}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @property
    def trees(self) -> int:
        return int(self._trees.num_trees())

    @cached_property
    def _trees(self) -> lightgbm.Booster:
        import lightgbm

        return lightgbm.Booster(model_str=self.booster)

    def save(self, folder: Path) -> str:
        """Write the model as text and JSON into an empty or new folder; its digest."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BOOSTER).write_text(self.booster, encoding="utf-8", newline="\n")
        written = {
            "kind": KIND,
            "inputs": [{"name": wanted.name, "kind": wanted.kind} for wanted in self.inputs],
            "codes": self.codes,
            "calibration": self.calibration.as_json(),
            "threshold": self.threshold,
            "threads": self.threads,
            "facts": self.facts,
        }
        text = json.dumps(written, indent=1, sort_keys=True, allow_nan=False)
        (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
        return digest.of_folder(folder)


def load(folder: Path) -> Model:
    """The model that `save` wrote."""
    written = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if written["kind"] != KIND:
        raise ValueError(f"{folder} holds a model of kind {written['kind']!r}, not {KIND!r}")
    return Model(
        inputs=tuple(Input(**wanted) for wanted in written["inputs"]),
        codes={name: tuple(values) for name, values in written["codes"].items()},
        booster=(folder / BOOSTER).read_text(encoding="utf-8"),
        calibration=calibration.from_json(written["calibration"]),
        threshold=written["threshold"],
        threads=written["threads"],
        facts=written["facts"],
    )


def cores_for(threads: int | None) -> int:
    """The declared number of threads, or all cores but one: boosting beside a busy process is slower with all of them."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads or max(1, available - 1)
