"""A model per segment and a global one for other rows, used like a single model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.declaration.task import TaskName
from mlprod_tasks.models import model
from mlprod_tasks.models.calibration import Calibration
from mlprod_tasks.models.class_calibration import ClassCalibration
from mlprod_tasks.models.class_rule import ClassRule
from mlprod_tasks.models.feature_frame import Input, Predictions, exact_names, read
from mlprod_tasks.models.model import Candidate, Model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.stored_rows import StoredRows, in_batches
from mlprod_tasks.platform import digest

Floats = NDArray[np.float64]
KIND = "segmented"
OVERALL, PARTS = "global", "segments"  # folders
LONGEST_NAME = 32


@dataclass(frozen=True)
class SegmentedModel:
    """One model per segment (value of feature `by`), and `overall` for all other rows.

    parts: models, each with its threshold, by the value of `by`. rows: training rows of each segment; overall_rows: training
    rows of the segments that are too small and use `overall`. All models read the same features.
    """

    by: str
    overall: Model
    parts: Mapping[str, Model]
    rows: Mapping[str, int]
    overall_rows: int
    kind: str = field(default=KIND, init=False)

    def predict(self, features: Any) -> Predictions:
        """Score each row of a frame, in the order of the frame. Raises: ModelInputError."""
        if isinstance(features, StoredRows):
            return in_batches(self.predict, features, self.feature_names)
        rows = self._table(features)
        if self.rule is not None:
            return self._predict_classes(rows, self.rule)
        return self._by_part(rows, lambda answering, at: answering.predict(rows.take(at)))

    def decided(self, features: Any, score: Any) -> Predictions:
        """Return what each row's model makes of scores, its own or adapted ones, of the rows of a frame."""
        if self.rule is not None:
            return Predictions(score, self.rule.chosen(score))
        return self._by_part(self._table(features), lambda answering, at: answering.decided(None, score[at]))

    def _by_part(self, rows: pa.Table, answers: Callable[[Model, Any], Predictions]) -> Predictions:
        score, decision = np.empty(rows.num_rows), np.empty(rows.num_rows, bool)
        ends = None if self.overall.interval is None else np.empty((2, rows.num_rows))
        for answering, at in self._models_with_rows(rows):
            predictions = answers(answering, at)
            score[at], decision[at] = predictions.score, predictions.decision
            if ends is not None:
                ends[:, at] = predictions.interval
        return Predictions(score, decision, None if ends is None else (ends[0], ends[1]))

    def _predict_classes(self, rows: pa.Table, rule: ClassRule) -> Predictions:
        """Score rows by the probabilities of all classes, which every model knows."""
        shares = np.empty((rows.num_rows, len(rule.classes)))
        for answering, at in self._models_with_rows(rows):
            shares[at] = answering.predict(rows.take(at)).score.shares
        scores = rule.scores(shares)
        return Predictions(scores, rule.chosen(scores))

    def contributions(self, features: Any) -> Floats | None:
        """Return each feature's addition to the log-odds, or the predicted number, of the row's model.

        (rows, features + 1), the base last. None if the model of any row has no exact contributions. Raises: ModelInputError.
        """
        return self._added(features, (), lambda answering, rows: answering.contributions(rows))

    def class_contributions(self, features: Any) -> Floats | None:
        """Return each feature's addition to each class by the row's model, (rows, classes, features + 1), the base last.

        None without classes, or if the model of any row has no exact contributions. Raises: ModelInputError.
        """
        if self.rule is None:
            return None
        classes = (len(self.rule.classes),)
        return self._added(features, classes, lambda answering, rows: answering.class_contributions(rows))

    def _added(
        self, features: Any, of_row: tuple[int, ...], added_by: Callable[[Model, pa.Table], Floats | None]
    ) -> Floats | None:
        """Return what `added_by` gives for the rows of each model, (rows, *of_row, features + 1); None if it does for any."""
        rows = self._table(features)
        added = np.empty((rows.num_rows, *of_row, len(self.inputs) + 1))
        for answering, at in self._models_with_rows(rows):
            of_part = added_by(answering, rows.take(at))
            if of_part is None:
                return None
            added[at] = of_part
        return added

    def answering(self, features: Any) -> Model:
        """Return the model that scores the first row of a frame. Raises: ModelInputError."""
        rows = self._table(features)
        return next((answering for answering, at in self._models_with_rows(rows) if at[0] == 0), self.overall)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return self.overall.inputs

    @property
    def codes(self) -> Mapping[str, tuple[Any, ...]]:
        """The codes of the global model; all models code the same features."""
        return self.overall.codes

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.overall.feature_names

    @property
    def threshold(self) -> float | None:
        """The threshold of the global model; each segment has its own. None if it predicts numbers."""
        return self.overall.threshold

    @property
    def rule(self) -> ClassRule | None:
        """The classes of the global model; None if it predicts none."""
        return self.overall.rule

    @property
    def task(self) -> TaskName:
        """The kind of prediction that it was trained for."""
        return self.overall.task

    @property
    def calibration(self) -> Calibration | ClassCalibration:
        """The calibration of the global model; see `answering` for a row's."""
        return self.overall.calibration

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates of the global model; each segment's model has its own."""
        return self.overall.candidates

    @property
    def facts(self) -> ModelFacts:
        """The global model's facts."""
        return self.overall.facts

    @property
    def importance(self) -> dict[str, float]:
        """Each feature's share, largest first: the mean over the models by training rows."""
        weighted = [(self.overall, self.overall_rows), *((part, self.rows[name]) for name, part in self.parts.items())]
        total = sum(rows for _, rows in weighted) or 1
        shares = dict.fromkeys(self.feature_names, 0.0)
        for one, rows in weighted:
            for name, share in one.importance.items():
                shares[name] += share * rows / total
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @property
    def trees(self) -> int:
        """Number of trees of all models."""
        return sum(one.trees for one in self._models())

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of how learners are stored or predict, each once."""
        return tuple(dict.fromkeys(note for one in self._models() for note in one.notes))

    @property
    def size(self) -> int:
        """Number of trees of all models, or of parameters if there are no trees."""
        return sum(one.size for one in self._models())

    def save(self, folder: Path) -> str:
        """Write every model to its own subfolder of an empty or new folder.

        Return the digest of all.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.overall.save(folder / OVERALL)
        for name, part in self.parts.items():
            part.save(folder / PARTS / folder_of(name))
        written = {
            "kind": KIND,
            "by": self.by,
            "overall_rows": self.overall_rows,
            "parts": [{"segment": name, "folder": folder_of(name), "rows": self.rows[name]} for name in self.parts],
        }
        text = json.dumps(written, indent=1, sort_keys=True, allow_nan=False)
        (folder / model.MANIFEST).write_text(text, encoding="utf-8", newline="\n")
        return digest.of_folder(folder)

    def _models(self) -> Iterator[Model]:
        yield self.overall
        yield from self.parts.values()

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset().union(*(exact_names(one.codes) for one in self._models()))

    def _table(self, features: Any) -> pa.Table:
        """Return the frame as checked columns, so that a part of the rows is read in the same way as all."""
        return pa.table(read(features, self.inputs, self._exact), names=list(self.feature_names))

    def _models_with_rows(self, rows: pa.Table) -> Iterator[tuple[Model, NDArray[np.int64]]]:
        """Yield each model with the positions of its rows; models without rows are left out."""
        names = list(self.parts)
        which = pc.fill_null(pc.index_in(rows[self.by], value_set=pa.array(names, pa.string())), -1)
        part_of_row = which.to_numpy()
        for i, one in enumerate(self._models()):
            at = np.flatnonzero(part_of_row == i - 1)
            if len(at):
                yield one, at


def folder_of(segment: str) -> str:
    """Return a segment's folder name: its readable characters and a unique digest."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", segment)[:LONGEST_NAME]
    return f"{readable}-{hashlib.sha256(segment.encode()).hexdigest()[:12]}"


def load(folder: Path) -> SegmentedModel:
    """Load the model that `save` wrote.

    Raises: ValueError for another kind; ForbiddenType.
    """
    written = json.loads((folder / model.MANIFEST).read_text(encoding="utf-8"))
    if written["kind"] != KIND:
        raise ValueError(f"{folder} contains a model of kind {written['kind']!r}, not {KIND!r}")
    return SegmentedModel(
        by=written["by"],
        overall=model.load_one(folder / OVERALL),
        parts={one["segment"]: model.load_one(folder / PARTS / one["folder"]) for one in written["parts"]},
        rows={one["segment"]: one["rows"] for one in written["parts"]},
        overall_rows=written["overall_rows"],
    )
