"""The model, from feature frame to probability and decision, number or class, in batch and online."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration.task import TaskName
from mlprod_tasks.models import class_calibration, learners
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.class_calibration import ClassCalibration
from mlprod_tasks.models.class_rule import ClassRule, rule_from, task_name
from mlprod_tasks.models.feature_frame import Input, ModelInputError, Predictions, decisions, exact_names, matrix, read
from mlprod_tasks.models.interval import PredictionInterval
from mlprod_tasks.models.learners import FittedLearner, cores_for
from mlprod_tasks.models.learners.class_shares import class_contributions
from mlprod_tasks.models.learners.links import Link
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.stored_rows import StoredRows, in_batches
from mlprod_tasks.platform import digest
from mlprod_tasks.platform.versioned import from_json, to_json

Floats = NDArray[np.float64]
MANIFEST, LEARNER = "model.json", "learner"
KIND = "model"
# In old models with LightGBM as the only learner, the manifest has this kind, and the trees are beside it.
EARLIER_KIND = "lightgbm"

__all__ = ["Candidate", "Model", "ModelInputError", "Predictions", "cores_for", "load_one"]


@dataclass(frozen=True)
class Candidate:
    """A candidate with its metrics on the validation window, after calibration.

    None for a metric without a value.
    """

    name: str
    kind: str
    chosen: bool
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Model:
    """A fitted learner with everything between a feature frame and a decision.

    threshold: the score from which it acts; None if it predicts numbers or classes. rule: the classes that it predicts, and how
    it chooses one; None if it predicts none.
    codes: for each categorical feature the values of the training rows, in the order of their codes; any other value counts as
    missing. candidates: all that were fitted, in declared order. shares: permutation importance by feature, if the learner has
    no importance of its own.
    """

    inputs: tuple[Input, ...]
    codes: Mapping[str, tuple[Any, ...]]
    fitted: FittedLearner = field(repr=False)
    calibration: Calibration | ClassCalibration
    threshold: float | None
    threads: int | None = None
    facts: ModelFacts = field(default_factory=ModelFacts)
    candidates: tuple[Candidate, ...] = ()
    shares: tuple[float, ...] | None = None
    interval: PredictionInterval | None = None
    rule: ClassRule | None = None

    def predict(self, features: Any) -> Predictions:
        """Score each row of a frame.

        features: a pyarrow Table, StoredRows, a pandas DataFrame, or a mapping of names to values.

        Raises: ModelInputError.
        """
        if isinstance(features, StoredRows):
            return in_batches(self.predict, features, self.feature_names)
        score = self.calibration(self.raw(self.matrix(features)))
        return self.decided(features, score if self.rule is None else self.rule.scores(score))

    def decided(self, features: Any, score: Any) -> Predictions:
        """Return what the model makes of scores, its own or adapted ones, of the rows of a frame."""
        if self.rule is not None:
            return Predictions(score, self.rule.chosen(score))
        interval = None if self.interval is None else self.interval.ends(score)
        return Predictions(score, decisions(score, self.threshold), interval)

    def contributions(self, features: Any) -> Floats | None:
        """Return each feature's addition to the log-odds before calibration, or to the predicted number on the scale of `link`.

        (rows, features + 1), the base last. None if the learner has no exact contributions. Raises: ModelInputError.
        """
        return self.fitted.contributions(self.matrix(features))

    def class_contributions(self, features: Any) -> Floats | None:
        """Return each feature's addition to each class before calibration, as `learners.class_shares` says.

        (rows, classes, features + 1), the base last. None without classes or exact contributions. Raises: ModelInputError.
        """
        return None if self.rule is None else class_contributions(self.fitted, self.matrix(features))

    def matrix(self, features: Any) -> Floats:
        """Return the frame as learners read it: (rows, features), float64, NaN if missing.

        Raises: ModelInputError.
        """
        return matrix(read(features, self.inputs, self._exact), self.inputs, self.codes)

    def raw(self, values: Floats) -> Floats:
        """Return the learner's probabilities before calibration, or its predicted numbers, (rows,), or (rows, classes)."""
        if not len(values):
            return np.empty(0 if self.rule is None else (0, len(self.rule.classes)))
        return self.fitted.predict(values)

    @property
    def task(self) -> TaskName:
        """The kind of prediction that it was trained for."""
        return task_name(self.threshold, self.rule)

    @cached_property
    def _exact(self) -> frozenset[str]:
        return exact_names(self.codes)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(wanted.name for wanted in self.inputs)

    @property
    def importance(self) -> dict[str, float]:
        """Each feature's share, largest first.

        Of the gain of trees, of the size of linear terms, or of the loss added when it is shuffled among the validation rows.
        """
        own = self.fitted.importance if self.shares is None else self.shares
        given = np.zeros(len(self.inputs)) if own is None else own
        shares = {name: float(one) for name, one in zip(self.feature_names, given, strict=True)}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @property
    def kind(self) -> str:
        """The kind of its learner."""
        return self.fitted.kind

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of how its learner is stored or predicts, for report and card."""
        from mlprod_tasks.models.learners.notes import notes_of

        return notes_of(self.fitted)

    @property
    def link(self) -> Link:
        """The scale of its contributions."""
        return self.fitted.link

    @property
    def trees(self) -> int:
        """Number of trees of the learner, or of an ensemble's members; may be 0."""
        return self.fitted.trees

    @property
    def size(self) -> int:
        """Number of trees, or of parameters if there are no trees."""
        return self.fitted.size

    def save(self, folder: Path) -> str:
        """Write the model as text, JSON and skops files to an empty or new folder.

        Return its digest.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.fitted.save(folder / LEARNER)
        written: dict[str, Any] = {
            "kind": KIND,
            "inputs": [{"name": wanted.name, "kind": wanted.kind} for wanted in self.inputs],
            "codes": self.codes,
            "calibration": self.calibration.as_json(),
            "threshold": self.threshold,
            "threads": self.threads,
            "facts": to_json(self.facts),
            "candidates": [asdict(one) for one in self.candidates],
            "shares": self.shares,
        }
        if self.rule is not None:
            written["rule"] = asdict(self.rule)
        if self.interval is not None:
            written["interval"] = asdict(self.interval)
        text = json.dumps(written, indent=1, sort_keys=True, allow_nan=False)
        (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
        return digest.of_folder(folder)


def load_one(folder: Path) -> Model:
    """Load a single model that `save` wrote.

    Raises: ValueError for another kind; ForbiddenType.
    """
    written = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if written["kind"] not in (KIND, EARLIER_KIND):
        raise ValueError(f"{folder} contains a model of kind {written['kind']!r}, not {KIND!r}")
    return Model(
        inputs=tuple(Input(**wanted) for wanted in written["inputs"]),
        codes={name: tuple(values) for name, values in written["codes"].items()},
        fitted=_learner(folder, written),
        calibration=class_calibration.from_json(written["calibration"]),
        threshold=written["threshold"],
        threads=written["threads"],
        facts=from_json(ModelFacts, written["facts"], f"the facts in {folder / MANIFEST}"),
        candidates=tuple(Candidate(**one) for one in written.get("candidates", ())),
        shares=None if written.get("shares") is None else tuple(written["shares"]),
        interval=PredictionInterval(**written["interval"]) if "interval" in written else None,
        rule=rule_from(written.get("rule")),
    )


def _learner(folder: Path, written: Mapping[str, Any]) -> FittedLearner:
    if written["kind"] == EARLIER_KIND:
        from mlprod_tasks.models.learners import lightgbm

        return lightgbm.load(folder, written["threads"])
    return learners.load(folder / LEARNER, written["threads"])
