"""The results of an evaluation, which gates, mails, report and model card read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.declaration.rhythm import RecordedName
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.models.model_facts import DateRange, PerWindow
from mlprod_tasks.platform.versioned import Versioned
from mlprod_tasks.statistics.metrics import Difference, Estimate, Number
from mlprod_tasks.training.records import classes_in_words
from mlprod_tasks.training.workspace import StepRecord, TrainingFolder

Estimates = dict[str, Estimate]  # by metric


@dataclass(frozen=True)
class Evaluation(StepRecord):
    """Metrics of the model, a constant baseline and the champion, on the same rows.

    champion: None if there is no champion, or if it could not be evaluated: then champion_version is set, and
    champion_problem says why. champion_recorded: the version of the ledger's last promotion then; it differs from
    champion_version if the alias was moved by hand. threshold: None if outcomes are numbers or classes; mean_outcome is then
    the mean of numbers, classes the rows of each class, and positives 0. simple: declared baselines, such as the last value, by
    the name of the candidate. ticks: how many ticks were drawn again and again for the intervals; None if rows were, because
    there are fewer than FEWEST_TICKS of them, or in older records.
    """

    FILE: ClassVar[str] = "evaluation.json"
    STEP: ClassVar[str] = "evaluate"

    training_id: str
    model_digest: str
    rows: int
    positives: int
    unlabelled: int
    threshold: float | None
    model: Estimates
    baseline: Estimates
    champion: Estimates | None = None
    champion_version: int | None = None
    champion_problem: str | None = None
    champion_recorded: int | None = None
    mean_outcome: float | None = None
    classes: dict[str, int] | None = None
    simple: dict[str, Estimates] = field(default_factory=dict)
    ticks: int | None = None

    def best_baseline(self, metric: str) -> tuple[str, Estimate | None]:
        """Return the name and the estimate of the baseline that is best by a metric: the constant one, or a declared one."""
        sign = 1 if HIGHER_IS_BETTER[metric] else -1
        known = {"constant": self.baseline.get(metric)} | {name: of.get(metric) for name, of in self.simple.items()}
        finite = {name: one for name, one in known.items() if one is not None and np.isfinite(one.value)}
        return max(finite.items(), key=lambda one: sign * one[1].value, default=("constant", self.baseline.get(metric)))

    @property
    def outcomes(self) -> str:
        """What the outcomes are, in words: '120 of them positive', 'mean outcome 6.9'."""
        return outcomes_in_words(self.positives, self.mean_outcome, self.classes)

    @classmethod
    def upgraded(cls, written: dict[str, Any], version: int) -> dict[str, Any]:
        """In records without a version, an estimate is a list of value, low and high."""
        for whose in ("model", "baseline", "champion"):
            written[whose] = {
                metric: dict(zip(("value", "low", "high"), numbers, strict=True))
                for metric, numbers in (written[whose] or {}).items()
            } or None
        return written


def outcomes_in_words(positives: int, mean_outcome: float | None, classes: Mapping[str, int] | None = None) -> str:
    """Return how many outcomes are positive, the mean of numbers, or the shares of classes, in words."""
    if classes is not None:
        return classes_in_words(classes)
    return f"{positives:,} of them positive" if mean_outcome is None else f"mean outcome {format_number(mean_outcome)}"


def outcomes_in_numbers(outcome: Any) -> tuple[int, float | None, dict[str, int] | None]:
    """Return the number of positive outcomes, the mean of numbers, and the rows of each class, largest first.

    Each is 0 or None unless outcomes are of this kind. outcome: (n,).
    """
    if outcome.dtype == object:
        return 0, None, dict(sorted(Counter(outcome.tolist()).items(), key=lambda one: (-one[1], one[0])))
    return (int(outcome.sum()), None, None) if outcome.dtype == bool else (0, float(outcome.mean()), None)


@dataclass(frozen=True)
class Comparison(StepRecord):
    """The model against the champion, on the same rows of the test window, by metric."""

    FILE: ClassVar[str] = "comparison.json"
    STEP: ClassVar[str] = "evaluate"

    champion_version: int
    rows: int
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Slice:
    """A part of the test window: `name` is a condition, such as "channel = 'web'".

    positives, mean_outcome, classes: as of an Evaluation.

    found: 'declared' if the declaration names its column, 'searched' if it is one of the worst in the window.
    metrics: roc_auc, log_loss, calibration (mean outcome minus mean score), value_per_1000; of numbers mae, rmse, bias (mean
    outcome minus mean prediction), value_per_1000; of classes accuracy, log_loss, calibration, value_per_1000.
    """

    name: str
    found: Literal["declared", "searched"]
    rows: int
    positives: int
    metrics: Estimates
    mean_outcome: float | None = None
    classes: dict[str, int] | None = None


@dataclass(frozen=True)
class Slices(StepRecord):
    """The measured slices.

    least_rows: smaller ones are left out; left_out counts them.
    """

    FILE: ClassVar[str] = "slices.json"
    STEP: ClassVar[str] = "evaluate"

    least_rows: int
    left_out: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Fold:
    """One window of the backtest: the recipe fitted as of a tick and tested after it.

    part: of rows without a time, which of them it is tested on, in words; all folds are then as of the same tick.
    """

    as_of: RecordedName
    windows: PerWindow[DateRange]
    rows: int
    positives: int
    model: Estimates
    baseline: Estimates
    champion: Estimates | None = None  # the champion's recipe on the same rows
    mean_outcome: float | None = None  # if outcomes are numbers
    classes: dict[str, int] | None = None  # if outcomes are classes
    part: str = ""

    @property
    def called(self) -> str:
        """What tells it from other folds."""
        return f"on {self.part}" if self.part else f"as of {self.as_of}"


@dataclass(frozen=True)
class KeptFold(Versioned):
    """A stored fold, reused by the next run if this one is killed.

    key: its inputs; left_out: why there is no fold.
    """

    key: str
    fold: Fold | None
    left_out: str | None


@dataclass(frozen=True)
class BacktestResult(StepRecord):
    """The folds of a backtest, earliest first.

    champion_recipe: 'same' if the champion has the same recipe (its folds are then the model's), 'other' if its recipe was
    fitted too, 'none' without a champion, 'unknown' if it could not be fitted (problem says why).
    correlation: Spearman's, over the folds, of roc_auc, or r2, with value_per_1000.
    """

    FILE: ClassVar[str] = "backtest.json"
    STEP: ClassVar[str] = "backtest"

    folds: tuple[Fold, ...]
    champion_version: int | None
    champion_recipe: Literal["same", "other", "none", "unknown"]
    problem: str | None
    correlation: Number

    @property
    def of_parts(self) -> bool:
        """Whether its folds are parts of the same rows, which have no time."""
        return any(fold.part for fold in self.folds)


@dataclass(frozen=True)
class CheckResult:
    """The result of one check of the model.

    subject: the feature or behaviour it is about, or ''.
    value is None if the check could not be made; `sentence` then says why.
    """

    check: str
    subject: str
    value: float | None
    n: int
    sentence: str


@dataclass(frozen=True)
class ModelChecks(StepRecord):
    """The results of the checks of the model with that digest."""

    FILE: ClassVar[str] = "model_checks.json"
    STEP: ClassVar[str] = "run_checks"
    EARLIER_FILE: ClassVar[str] = "trials.json"

    model_digest: str
    results: tuple[CheckResult, ...]

    @classmethod
    def upgraded(cls, written: dict[str, Any], version: int) -> dict[str, Any]:
        """Records without a version have other names for the results and two of their fields."""
        results = [
            {"check": one["what"], "sentence": one["told"], **{name: one[name] for name in ("subject", "value", "n")}}
            for one in written["findings"]
        ]
        return {"model_digest": written["model_digest"], "results": results}


@dataclass(frozen=True)
class EvaluationResults:
    """All results; a part that no step has written yet is None."""

    evaluation: Evaluation
    comparison: Comparison | None = None
    slices: Slices | None = None
    backtest: BacktestResult | None = None
    checks: ModelChecks | None = None


def read_results(folder: TrainingFolder) -> EvaluationResults:
    """Read the results of an evaluation.

    Raises: StepMissing before `evaluate`; UnreadableRecord.
    """
    return EvaluationResults(
        folder.read(Evaluation),
        comparison=folder.find(Comparison),
        slices=folder.find(Slices),
        backtest=folder.find(BacktestResult),
        checks=folder.find(ModelChecks),
    )
