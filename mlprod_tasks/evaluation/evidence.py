"""All that is known of a model before it is judged: what gates, report and model card read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from mlprod_tasks.evaluation import results as evaluations
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.statistics.metrics import Difference, Estimate, Number
from mlprod_tasks.training.workspace import TrainingFolder

T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """The model against the champion, on the same rows of the test window, by metric."""

    champion_version: int
    rows: int
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Slice:
    """A part of the test window: `name` reads as a condition, such as "channel = 'web'".

    found: 'declared' where the declaration names its columns, 'searched' where it is one of the worst there are.
    metrics: roc_auc, log_loss, calibration (mean outcome minus mean score), value_per_1000.
    """

    name: str
    found: Literal["declared", "searched"]
    rows: int
    positives: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Slices:
    """Every slice that was measured. least_rows: smaller ones were left out, `left_out` of them."""

    least_rows: int
    left_out: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Fold:
    """One window of the backtest: a model made as of that tick by the same recipe, judged on its own later test window."""

    as_of: str
    windows: dict[str, tuple[str, str]]
    rows: int
    positives: int
    model: dict[str, Estimate]
    baseline: dict[str, Estimate]
    champion: dict[str, Estimate] | None = None  # of the champion's recipe on the same rows


@dataclass(frozen=True)
class Backtest:
    """Folds in the order of time.

    champion_recipe: 'same' where the champion was made by the same recipe (its folds are then the model's), 'other' where its
    recipe was fitted too, 'none' without a champion, 'unknown' where it could not be (problem says why).
    correlation: Spearman's, over the folds, of roc_auc with value_per_1000.
    """

    folds: tuple[Fold, ...]
    champion_version: int | None
    champion_recipe: Literal["same", "other", "none", "unknown"]
    problem: str | None
    correlation: Number


@dataclass(frozen=True)
class Finding:
    """What one trial of the model showed. `what` names the trial, `subject` the feature or behaviour it is about, or ''.

    value is None where the trial could not be made; `told` then says why.
    """

    what: str
    subject: str
    value: float | None
    n: int
    told: str


@dataclass(frozen=True)
class Trials:
    """What was found by trying the model itself; model_digest says which."""

    model_digest: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Evidence:
    """Everything, as far as it is there: a part that no step has made yet is None."""

    evaluation: Evaluation
    comparison: Comparison | None = None
    slices: Slices | None = None
    backtest: Backtest | None = None
    trials: Trials | None = None


FILES: dict[type[Any], str] = {
    Comparison: "comparison.json",
    Slices: "slices.json",
    Backtest: "backtest.json",
    Trials: "trials.json",
}


def as_json(part: Any) -> dict[str, Any]:
    """A part of the evidence as plain JSON values."""
    adapter = TypeAdapter(type(part))
    plain: dict[str, Any] = json.loads(adapter.dump_json(part))  # NaN becomes null
    return plain


def from_json(kind: type[T], written: dict[str, Any]) -> T:
    """The part that `as_json` wrote. Raises: pydantic's ValidationError."""
    return TypeAdapter(kind).validate_python(written)


def write(folder: TrainingFolder, part: Any) -> None:
    """Leave a part in the training's folder, whole or not at all."""
    folder.write(FILES[type(part)], as_json(part))


def read(folder: TrainingFolder) -> Evidence:
    """The evidence of a training. Raises: StepMissing before `evaluate`."""
    evaluation = evaluations.from_json(folder.read("evaluation.json", "evaluate"))
    return Evidence(
        evaluation,
        comparison=_part(folder, Comparison),
        slices=_part(folder, Slices),
        backtest=_part(folder, Backtest),
        trials=_part(folder, Trials),
    )


def _part(folder: TrainingFolder, kind: type[T]) -> T | None:
    name = FILES[kind]
    if not (folder.path / name).is_file():
        return None
    return from_json(kind, folder.read(name, "evaluate"))
