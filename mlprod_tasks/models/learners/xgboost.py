"""XGBoost: boosted trees of another library, an extra of this package, stored as XGBoost's JSON."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlprod_tasks.declaration import Model, XGBoost
from mlprod_tasks.declaration.xgboost_parameters import own_name
from mlprod_tasks.models.learners import fitted, links
from mlprod_tasks.models.learners.cores import cores_for
from mlprod_tasks.models.learners.errors import CannotFit, LibraryMissing
from mlprod_tasks.models.learners.links import IDENTITY, LOG, LOGIT, Link
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows, Report, in_32_bits, to_sum_one

log = logging.getLogger(__name__)

KIND = "xgboost"
FILE = "booster.json"
OBJECTIVES = {"l2": "reg:squarederror", "l1": "reg:absoluteerror", "poisson": "count:poisson", "tweedie": "reg:tweedie"}
# Early stopping follows the last metric: for a yes or no the area, as of LightGBM.
METRICS = {"l2": "rmse", "l1": "mae", "poisson": "poisson-nloglik", "tweedie": "tweedie-nloglik@{power:g}"}
ROUNDS_BETWEEN_REPORTS = 10


@dataclass(frozen=True)
class XGBoostTrees:
    """Fitted trees, in XGBoost's JSON. categories: of each coded column its position, and the number of its codes."""

    booster: str = field(repr=False)
    features: int
    categories: tuple[tuple[int, int], ...] = field(repr=False)
    threads: int | None = None
    link: Link = LOGIT
    classes: int = 1
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        """Return the trees' probabilities before calibration, (n,) or (n, classes), or predicted numbers, (n,)."""
        if len(x) == 0:
            return np.empty((0, self.classes) if self.classes > 1 else 0)
        predicted = np.asarray(self._trees.predict(self._data(x)), np.float64)
        return to_sum_one(predicted) if self.classes > 1 else predicted

    def contributions(self, x: Floats) -> Floats | None:
        """Return Shapley values of the trees on the scale of `link`, (n, features + 1), the base last, as 32-bit floats.

        None of several classes.
        """
        if self.classes > 1:
            return None
        if len(x) == 0:
            return np.empty((0, self.features + 1))
        return np.asarray(self._trees.predict(self._data(x), pred_contribs=True), np.float64)

    def class_contributions(self, x: Floats) -> Floats | None:
        """Return the Shapley values of each class's trees, (n, classes, features + 1), the base last; None without classes."""
        if self.classes == 1:
            return None
        if len(x) == 0:
            return np.empty((0, self.classes, self.features + 1))
        return np.asarray(self._trees.predict(self._data(x), pred_contribs=True, strict_shape=True), np.float64)

    @property
    def importance(self) -> Floats:
        """Each feature's share of the total gain."""
        gains = self._trees.get_score(importance_type="total_gain")
        gain = np.array([gains.get(f"f{i}", 0.0) for i in range(self.features)], np.float64)
        return gain / (float(gain.sum()) or 1.0)

    @property
    def size(self) -> int:
        return self.trees

    @property
    def trees(self) -> int:
        return int(self._trees.num_boosted_rounds()) * self.classes

    def save(self, folder: Path) -> None:
        categories = [list(one) for one in self.categories]
        classes = {"classes": self.classes} if self.classes > 1 else {}
        fitted.write(folder, KIND, features=self.features, categories=categories, **links.written(self.link), **classes)
        (folder / FILE).write_text(self.booster, encoding="utf-8", newline="\n")

    def _data(self, x: Floats) -> Any:
        return _matrix(x, self.categories, cores_for(self.threads) if len(x) > 1 else 1)

    @cached_property
    def _trees(self) -> Any:
        booster = library().Booster({"nthread": cores_for(self.threads)})
        booster.load_model(bytearray(self.booster, "utf-8"))
        return booster


def load(folder: Path, threads: int | None) -> XGBoostTrees:
    """Load the model that `save` wrote. Raises: LibraryMissing."""
    written = fitted.read(folder)
    library()
    categories = tuple((position, codes) for position, codes in written["categories"])
    text = (folder / FILE).read_text(encoding="utf-8")
    return XGBoostTrees(text, written["features"], categories, threads, links.read(written), written.get("classes", 1))


def fit_xgboost(
    learner: XGBoost,
    columns: Columns,
    train: LearnerRows,
    validation: LearnerRows,
    declared: Model,
    report: Report | None = None,
) -> XGBoostTrees:
    """Fit trees until the validation AUC stops rising, or the loss of numbers or classes stops falling.

    report: called every ROUNDS_BETWEEN_REPORTS trees with the validation log loss, or the loss of numbers. Raises:
    LibraryMissing, CannotFit.
    """
    xgboost = library()
    categories = tuple((i, int(np.nanmax(train.x[:, i], initial=-1)) + 1) for i in columns.categorical)
    threads, validated = cores_for(declared.threads), len(validation) > 0
    callbacks: list[Any] = []
    if validated and learner.early_stopping_rounds is not None:
        callbacks.append(
            xgboost.callback.EarlyStopping(rounds=learner.early_stopping_rounds, data_name="validation", save_best=True)
        )
    if validated and report is not None:
        callbacks.append(_reporting(xgboost, report))
    try:
        booster = xgboost.train(
            _parameters(learner, declared, train),
            _matrix(train.x, categories, threads, train),
            num_boost_round=learner.max_trees,
            evals=[(_matrix(validation.x, categories, threads, validation), "validation")] if validated else [],
            callbacks=callbacks,
            verbose_eval=False,
        )
    except xgboost.core.XGBoostError as error:
        if not learner.params:
            raise
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        said = f"candidate {learner.name!r}: XGBoost refuses its params {learner.params}: {why}"
        raise CannotFit(f"{said}; correct them in the declaration") from error
    text = bytes(booster.save_raw(raw_format="json")).decode()
    classes = train.class_count if train.of_classes else 1
    return XGBoostTrees(text, len(columns.names), categories, declared.threads, _link(learner, train), classes)


def library() -> Any:
    """Import XGBoost. Raises: LibraryMissing."""
    try:
        import xgboost
    except ImportError as error:
        raise LibraryMissing("XGBoost is not installed here: pip install 'mlprod[xgboost]'") from error
    return xgboost


def _matrix(x: Floats, categories: tuple[tuple[int, int], ...], threads: int, rows: LearnerRows | None = None) -> Any:
    """Return a matrix as XGBoost reads it: categories by code, those that no training row has missing."""
    coded = dict(categories)
    values = in_32_bits(x)
    for position, codes in categories:
        values[values[:, position] >= codes, position] = np.nan
    kinds = ["c" if i in coded else "float" for i in range(x.shape[1])]
    label, weight = (None, None) if rows is None else (rows.y.astype(np.float64), rows.weight)
    return library().DMatrix(
        values, label=label, weight=weight, feature_types=kinds, enable_categorical=True, nthread=threads, missing=np.nan
    )


def _of_outcomes(learner: XGBoost, train: LearnerRows) -> dict[str, Any]:
    """Return objective and metrics."""
    if train.of_classes:
        return {"objective": "multi:softprob", "num_class": train.class_count, "eval_metric": ["mlogloss"]}
    if not train.of_numbers:
        return {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"]}
    objective = learner.objective or "l2"
    power = {own_name(name): value for name, value in learner.params.items()}.get("tweedie_variance_power", 1.5)
    return {"objective": OBJECTIVES[objective], "eval_metric": [METRICS[objective].format(power=power)]}


def _parameters(learner: XGBoost, declared: Model, train: LearnerRows) -> dict[str, Any]:
    return {
        **_of_outcomes(learner, train),
        "learning_rate": learner.learning_rate,
        "max_depth": learner.max_depth or 0,
        "min_child_weight": learner.min_child_weight,
        "colsample_bytree": learner.feature_fraction,
        "subsample": learner.bagging_fraction,
        "reg_lambda": learner.lambda_l2,
        "tree_method": "hist",
        "nthread": cores_for(declared.threads),
        "seed": declared.seed,
        "verbosity": 0,
        **{own_name(name): _written(value) for name, value in learner.params.items()},
    }


def _written(value: Any) -> Any:
    """Return a declared value as XGBoost's Python package takes it: a tuple as text."""
    return f"({','.join(map(str, value))})" if isinstance(value, tuple) else value


def _link(learner: XGBoost, train: LearnerRows) -> Link:
    if not train.of_numbers:
        return LOGIT
    return LOG if learner.objective in ("poisson", "tweedie") else IDENTITY


def _reporting(xgboost: Any, report: Report) -> Any:
    """Return a callback that reports the first validation metric, and stops if the report returns True."""

    class Reporting(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if (epoch + 1) % ROUNDS_BETWEEN_REPORTS:
                return False
            losses = next(iter(evals_log["validation"].values()))
            return report(epoch + 1, float(losses[-1]))

    return Reporting()
