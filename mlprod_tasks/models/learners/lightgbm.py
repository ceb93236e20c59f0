"""LightGBM: boosted trees with native categories, stored as LightGBM's text."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlprod_tasks.declaration import LightGBM, Model
from mlprod_tasks.declaration.lightgbm_parameters import own_name
from mlprod_tasks.models.learners import fitted
from mlprod_tasks.models.learners.cores import cores_for
from mlprod_tasks.models.learners.errors import CannotFit
from mlprod_tasks.models.learners.links import IDENTITY, LOG, LOGIT, Link
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows, Report
from mlprod_tasks.models.stored_rows import BATCH_ROWS, ForwardReader, StoredMatrix

if TYPE_CHECKING:
    import lightgbm

log = logging.getLogger(__name__)

KIND = "lightgbm"
BOOSTER = "booster.txt"
ROUNDS_BETWEEN_LINES = 50
# The metric of early stopping. Trees only have to rank, as they are calibrated later; log loss would also depend on the
# share of positives, which differs between windows.
METRIC = "auc"
REPORTED = "binary_logloss"
OBJECTIVES_OF_LOGARITHMS = ("poisson", "tweedie")
ROUNDS_BETWEEN_REPORTS = 10


@dataclass(frozen=True)
class BoostedTrees:
    """Fitted trees, in LightGBM's text format. threads: None uses all cores but one."""

    booster: str = field(repr=False)
    threads: int | None = None
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        """Return the trees' probabilities before calibration, (n,) or (n, classes), or predicted numbers, (n,)."""
        if len(x) == 0:
            return np.empty((0, self.classes) if self.classes > 1 else 0)
        return np.asarray(self._trees.predict(x, num_threads=cores_for(self.threads)), np.float64)

    def contributions(self, x: Floats) -> Floats | None:
        """Return exact Shapley values on the scale of `link`, (n, features + 1), the base last.

        Of the trees: Lundberg et al. (2020). None if leaves are linear models, of which LightGBM gives none,
        and of several classes.
        """
        if self._linear or self.classes > 1:
            return None
        if len(x) == 0:
            return np.empty((0, self._trees.num_feature() + 1))
        summed = np.asarray(self._trees.predict(x, pred_contrib=True, num_threads=cores_for(self.threads)), np.float64)
        return summed / self.trees if self._averaged else summed

    def class_contributions(self, x: Floats) -> Floats | None:
        """Return exact Shapley values of each class's trees, (n, classes, features + 1), the base last.

        None without classes, and if leaves are linear models.
        """
        if self._linear or self.classes == 1:
            return None
        width = self._trees.num_feature() + 1
        if len(x) == 0:
            return np.empty((0, self.classes, width))
        summed = np.asarray(self._trees.predict(x, pred_contrib=True, num_threads=cores_for(self.threads)), np.float64)
        added = summed.reshape(len(x), self.classes, width)
        return added * self.classes / self.trees if self._averaged else added

    @cached_property
    def classes(self) -> int:
        """The number of classes; 1 of a yes or no, or of numbers."""
        found = re.search(r"^num_class=(\d+)", self.booster, re.MULTILINE)
        return int(found[1]) if found else 1

    @cached_property
    def link(self) -> Link:
        found = re.search(r"^objective=(\w+)", self.booster, re.MULTILINE)
        objective = found[1] if found else "binary"
        return LOGIT if objective in ("binary", "multiclass") else LOG if objective in OBJECTIVES_OF_LOGARITHMS else IDENTITY

    @property
    def importance(self) -> Floats:
        """Each feature's share of the total gain."""
        gain = np.asarray(self._trees.feature_importance("gain"), np.float64)
        return gain / (float(gain.sum()) or 1.0)

    @property
    def size(self) -> int:
        return self.trees

    @property
    def trees(self) -> int:
        return int(self._trees.num_trees())

    @cached_property
    def _averaged(self) -> bool:
        """Whether trees are averaged, as in a random forest; LightGBM sums their contributions all the same."""
        return re.search(r"^average_output$", self.booster, re.MULTILINE) is not None

    @cached_property
    def _linear(self) -> bool:
        return re.search(r"^is_linear=1", self.booster, re.MULTILINE) is not None

    @cached_property
    def _trees(self) -> lightgbm.Booster:
        import lightgbm

        return lightgbm.Booster(model_str=self.booster)

    def save(self, folder: Path) -> None:
        fitted.write(folder, KIND)
        (folder / BOOSTER).write_text(self.booster, encoding="utf-8", newline="\n")


def load(folder: Path, threads: int | None) -> BoostedTrees:
    """Load the model that `save` wrote."""
    return BoostedTrees((folder / BOOSTER).read_text(encoding="utf-8"), threads)


def fit_lightgbm(
    learner: LightGBM,
    columns: Columns,
    train: LearnerRows,
    validation: LearnerRows,
    declared: Model,
    report: Report | None = None,
    continued: BoostedTrees | None = None,
) -> BoostedTrees:
    """Fit trees until the validation AUC stops rising, or the loss of numbers or classes falling, from those of `continued` on.

    report: called every ROUNDS_BETWEEN_REPORTS trees with the validation log loss, or the loss of numbers.
    """
    # Without this, waiting OpenMP threads spin and take cores from other tasks. LightGBM reads it when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import lightgbm

    lightgbm.register_logger(log, info_method_name="debug")
    params = parameters(learner, declared, of_numbers=train.of_numbers)
    if train.of_classes:
        params |= {"objective": "multiclass", "metric": ["multi_logloss"], "num_class": train.class_count}
    elif report is not None and not train.of_numbers:
        params["metric"] = [METRIC, REPORTED]
    data = lightgbm.Dataset(
        _as_input(train.x),
        train.y,
        weight=train.weight,
        feature_name=list(columns.names),
        categorical_feature=[columns.names[i] for i in columns.categorical],
        params={**params, "data_random_seed": _data_seed(params)} if isinstance(train.x, StoredMatrix) else params,
    )
    validated = len(validation) > 0
    try:
        booster = lightgbm.train(
            params,
            data,
            num_boost_round=learner.max_trees,
            valid_sets=[data.create_valid(_as_input(validation.x), validation.y, weight=validation.weight)]
            if validated
            else None,
            valid_names=["validation"] if validated else None,
            init_model=None if continued is None else lightgbm.Booster(model_str=continued.booster),
            callbacks=_callbacks(learner, report) if validated else [],
        )
    except lightgbm.basic.LightGBMError as error:
        if not learner.params:
            raise
        why = f"candidate {learner.name!r}: LightGBM refuses its params {learner.params}: {str(error).partition(' at /')[0]}"
        raise CannotFit(f"{why}; correct them in the declaration") from error
    return BoostedTrees(str(booster.model_to_string(num_iteration=booster.best_iteration)), declared.threads)


def _as_input(x: Floats | StoredMatrix) -> Any:
    """Return a matrix as LightGBM reads it; one in a file in batches, as a Dataset in bins needs an eighth of its memory.

    LightGBM draws the rows from which it chooses bins in the same way from both, so the trees are the same.
    """
    if not isinstance(x, StoredMatrix):
        return x
    import lightgbm

    class InFile(lightgbm.Sequence):
        batch_size = BATCH_ROWS

        def __init__(self, matrix: StoredMatrix) -> None:
            self.reader = ForwardReader(matrix)

        def __len__(self) -> int:
            return len(self.reader.matrix)

        def __getitem__(self, at: Any) -> Floats:
            if isinstance(at, slice):
                return self.reader.rows(at.start, at.stop)
            (row,) = self.reader.rows(int(at), int(at) + 1)
            return np.asarray(row)

    return InFile(x)


def _data_seed(params: dict[str, Any]) -> int:
    """Return the seed with which LightGBM draws the rows for bins; it derives it from `seed`, but not for a Sequence."""
    import lightgbm

    smallest = lightgbm.Dataset(np.zeros((2, 1)), [0, 1], params={"verbosity": -1})
    written = lightgbm.Booster(params, smallest).model_to_string()
    return int(written.split("[data_random_seed: ")[1].split("]")[0])


def _callbacks(learner: LightGBM, report: Report | None) -> list[Any]:
    """Return the callbacks after each tree: log, report, and early stopping."""
    import lightgbm

    callbacks: list[Any] = [_log_progress]
    if report is not None:
        callbacks.append(_report_callback(report))
    if learner.early_stopping_rounds is not None:
        least: Any = learner.params.get("early_stopping_min_delta", 0.0)
        stop = lightgbm.early_stopping(learner.early_stopping_rounds, first_metric_only=True, verbose=False, min_delta=least)
        callbacks.append(stop)
    return callbacks


def parameters(learner: LightGBM, declared: Model, *, of_numbers: bool = False) -> dict[str, Any]:
    """Return the declaration as LightGBM's parameters. of_numbers: whether outcomes are numbers, not yes or no."""
    return {
        **(_number_parameters(learner) if of_numbers else {"objective": "binary", "metric": [METRIC]}),
        "learning_rate": learner.learning_rate,
        "num_leaves": learner.num_leaves,
        "max_depth": learner.max_depth or -1,
        "min_data_in_leaf": learner.min_data_in_leaf,
        "feature_fraction": learner.feature_fraction,
        "bagging_fraction": learner.bagging_fraction,
        "bagging_freq": 1 if learner.bagging_fraction < 1 else 0,
        "lambda_l2": learner.lambda_l2,
        "num_threads": cores_for(declared.threads),
        "seed": declared.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        **{own_name(name): _written(value) for name, value in learner.params.items()},
    }


def link_of(learner: LightGBM, *, of_numbers: bool) -> Link:
    """Return the scale on which the trees of a declared learner add up."""
    if not of_numbers:
        return LOGIT
    return LOG if learner.objective in OBJECTIVES_OF_LOGARITHMS else IDENTITY


def _written(value: Any) -> Any:
    """Return a declared value as LightGBM's Python package takes it."""
    return list(value) if isinstance(value, tuple) else value


def _number_parameters(learner: LightGBM) -> dict[str, Any]:
    """Return objective and metric for numbers. Trees are stopped by the loss that they minimise: it needs no other target."""
    objective = learner.objective or "l2"
    given = {"alpha": learner.alpha, "tweedie_variance_power": learner.tweedie_power}
    return {
        "objective": "regression" if objective == "l2" else "regression_l1" if objective == "l1" else objective,
        "metric": [objective],
        **{name: value for name, value in given.items() if value is not None},
    }


def _log_progress(env: Any) -> None:
    if (env.iteration + 1) % ROUNDS_BETWEEN_LINES == 0:
        for _, metric, score, *_ in env.evaluation_result_list:
            log.info("tree %d of at most %d: validation %s %.5f", env.iteration + 1, env.end_iteration, metric, score)


def _report_callback(report: Report) -> Any:
    """Return a callback that reports the validation log loss, and stops if the report returns True."""
    from lightgbm.callback import EarlyStopException

    def after_tree(env: Any) -> None:
        step = env.iteration - env.begin_iteration + 1
        if step % ROUNDS_BETWEEN_REPORTS:
            return
        by_metric = {metric: score for _, metric, score, *_ in env.evaluation_result_list}
        # Of numbers and classes, the only metric is the loss that trees minimise.
        loss = by_metric[REPORTED] if REPORTED in by_metric else next(iter(by_metric.values()))
        if report(step, float(loss)):
            raise EarlyStopException(env.iteration, env.evaluation_result_list)

    return after_tree
