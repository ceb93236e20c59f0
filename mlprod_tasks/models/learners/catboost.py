"""CatBoost: boosted symmetric trees of another library, an extra of this package, stored in CatBoost's binary format."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mlprod_tasks.declaration import CatBoost, Model
from mlprod_tasks.declaration.catboost_parameters import own_name
from mlprod_tasks.models.learners import constant, fitted, links
from mlprod_tasks.models.learners.cores import cores_for
from mlprod_tasks.models.learners.errors import CannotFit, LibraryMissing
from mlprod_tasks.models.learners.fitted import FittedLearner
from mlprod_tasks.models.learners.links import IDENTITY, LOG, LOGIT, Link
from mlprod_tasks.models.learners.rows import TINY, Columns, Floats, LearnerRows, Report, in_32_bits, to_sum_one

log = logging.getLogger(__name__)

KIND = "catboost"
FILE = "trees.cbm"  # CatBoost's JSON rounds values of leaves
OBJECTIVES = {
    "l2": "RMSE",
    "l1": "MAE",
    "huber": "Huber:delta={alpha!r}",
    "poisson": "Poisson",
    "tweedie": "Tweedie:variance_power={power!r}",
    "quantile": "Quantile:alpha={alpha!r}",
}
LOGARITHMS = ("poisson", "tweedie")
DEFAULT_ALPHA, DEFAULT_POWER = 0.9, 1.5
WITHOUT_SHARE = ("Bayesian", "No")  # ways to draw rows that take no share of them
OF_ONE_TRAINING = ("train_finish_time", "model_guid", "output_options")  # what differs between equal trainings
MISSING = -1  # the code that stands for a missing category: CatBoost takes none
ROUNDS_BETWEEN_REPORTS = 10


@dataclass(frozen=True)
class CatBoostTrees:
    """Fitted trees, in CatBoost's binary format, which read the numbers of a row first and then its categories.

    names: of all features. categorical: positions of those that are categories.
    """

    trees_of: bytes = field(repr=False)
    features: int
    categorical: tuple[int, ...] = field(repr=False)
    threads: int | None = None
    link: Link = LOGIT
    classes: int = 1
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        """Return the trees' probabilities before calibration, (n,) or (n, classes), or predicted numbers, (n,)."""
        if len(x) == 0:
            return np.empty((0, self.classes) if self.classes > 1 else 0)
        of_logits = self.link == LOGIT
        kind = "Probability" if of_logits else "Exponent" if self.link == LOG else "RawFormulaVal"
        predicted = self._trees.predict(self._pool(x), prediction_type=kind, thread_count=self._cores(x))
        predicted = np.asarray(predicted, np.float64)
        if self.classes > 1:
            return to_sum_one(np.maximum(predicted, TINY))  # of a class that no training row has, CatBoost gives 0
        return np.ascontiguousarray(predicted[:, 1]) if of_logits else predicted

    def contributions(self, x: Floats) -> Floats | None:
        """Return Shapley values of the trees on the scale of `link`, (n, features + 1), the base last; None of classes."""
        if self.classes > 1:
            return None
        return self._shapley(x) if len(x) else np.empty((0, self.features + 1))

    def class_contributions(self, x: Floats) -> Floats | None:
        """Return the Shapley values of each class's trees, (n, classes, features + 1), the base last; None without classes."""
        if self.classes == 1:
            return None
        return self._shapley(x) if len(x) else np.empty((0, self.classes, self.features + 1))

    @property
    def importance(self) -> Floats:
        """Each feature's share of how much predictions change if its value does (PredictionValuesChange)."""
        changes = np.empty(self.features)
        changes[self._order] = self._trees.get_feature_importance(type="PredictionValuesChange")
        return changes / (float(changes.sum()) or 1.0)

    @property
    def size(self) -> int:
        return self.trees

    @property
    def trees(self) -> int:
        """The number of trees; of classes, each tree has values of all of them."""
        return int(self._trees.tree_count_)

    def save(self, folder: Path) -> None:
        classes = {"classes": self.classes} if self.classes > 1 else {}
        plain = {"features": self.features, "categorical": list(self.categorical)}
        fitted.write(folder, KIND, **plain, **links.written(self.link), **classes)
        (folder / FILE).write_bytes(self.trees_of)

    def _shapley(self, x: Floats) -> Floats:
        given = self._trees.get_feature_importance(self._pool(x), type="ShapValues", thread_count=self._cores(x))
        values = np.empty(given.shape)
        values[..., self._order] = given[..., :-1]
        values[..., -1] = given[..., -1]
        return values

    def _cores(self, x: Floats) -> int:
        return cores_for(self.threads) if len(x) > 1 else 1

    def _pool(self, x: Floats) -> Any:
        return library().Pool(_features(x, self.categorical), thread_count=self._cores(x))

    @cached_property
    def _order(self) -> list[int]:
        return _order(self.features, self.categorical)

    @cached_property
    def _trees(self) -> Any:
        trees = library().CatBoost()
        trees.load_model(blob=self.trees_of)
        return trees


def load(folder: Path, threads: int | None) -> CatBoostTrees:
    """Load the model that `save` wrote. Raises: LibraryMissing."""
    written = fitted.read(folder)
    library()
    trees, categorical = (folder / FILE).read_bytes(), tuple(written["categorical"])
    return CatBoostTrees(trees, written["features"], categorical, threads, links.read(written), written.get("classes", 1))


def fit_catboost(
    learner: CatBoost,
    columns: Columns,
    train: LearnerRows,
    validation: LearnerRows,
    declared: Model,
    report: Report | None = None,
) -> FittedLearner:
    """Fit trees until the validation AUC stops rising, or the loss of numbers or classes stops falling.

    If no feature differs between training rows, the model predicts their mean. report: called every ROUNDS_BETWEEN_REPORTS
    trees with the validation log loss, or the loss of numbers. Raises: LibraryMissing, CannotFit.
    """
    catboost = library()
    if not _differ(train.x):
        log.warning("%s: no feature differs between training rows: the model predicts their mean", learner.name)
        return constant.fit_constant(columns, train, declared.quantile)
    validated = len(validation) > 0
    stops = validated and learner.early_stopping_rounds is not None
    trees = catboost.CatBoost(_parameters(learner, columns, declared, train) | {"use_best_model": stops})
    threads = cores_for(declared.threads)
    try:
        trees.fit(
            _pool(catboost, columns, train, threads),
            eval_set=_pool(catboost, columns, validation, threads) if validated else None,
            early_stopping_rounds=learner.early_stopping_rounds if stops else None,
            callbacks=[_Reporting(report)] if validated and report is not None else None,
        )
    except catboost.CatBoostError as error:
        if not learner.params:
            raise
        why = re.sub(r"^\S+\.(cpp|h):\d+: ", "", str(error).strip().splitlines()[0])  # without the place in its source
        said = f"candidate {learner.name!r}: CatBoost refuses its params {learner.params}: {why}"
        raise CannotFit(f"{said}; correct them in the declaration") from error
    classes = train.class_count if train.of_classes else 1
    link = LOGIT if not train.of_numbers else LOG if learner.objective in LOGARITHMS else IDENTITY
    return CatBoostTrees(_stored(trees), len(columns.names), tuple(columns.categorical), declared.threads, link, classes)


def library() -> Any:
    """Import CatBoost. Raises: LibraryMissing."""
    try:
        import catboost
    except ImportError as error:
        raise LibraryMissing("CatBoost is not installed here: pip install 'mlprod[catboost]'") from error
    return catboost


def _order(features: int, categorical: tuple[int, ...]) -> list[int]:
    """Return the positions of features in the order in which CatBoost has them: numbers, then categories."""
    return [*(i for i in range(features) if i not in set(categorical)), *categorical]


def _pool(catboost: Any, columns: Columns, rows: LearnerRows, threads: int) -> Any:
    label = rows.y.astype(np.int64 if rows.of_classes else np.float64)
    data = _features(rows.x, tuple(columns.categorical), columns.names)
    return catboost.Pool(data, label=label, weight=rows.weight, thread_count=threads)


def _features(x: Floats, categorical: tuple[int, ...], names: tuple[str, ...] = ()) -> Any:
    """Return a matrix as CatBoost reads it: numbers in 32 bits, categories as text of their codes."""
    numeric = _order(x.shape[1], categorical)[: x.shape[1] - len(categorical)]
    given: dict[str, Any] = {}
    if numeric:
        given["num_feature_data"] = np.ascontiguousarray(in_32_bits(x[:, numeric]))
    if categorical:
        coded = x[:, list(categorical)]
        given["cat_feature_data"] = _texts(np.where(np.isnan(coded), MISSING, coded).astype(np.int64))
    if names:
        given |= {"num_feature_names": [names[i] for i in numeric]} if numeric else {}
        given |= {"cat_feature_names": [names[i] for i in categorical]} if categorical else {}
    return library().FeaturesData(**given)


def _texts(codes: Any) -> Any:
    """Return codes, whole numbers from MISSING on, as text in UTF-8, in an array of objects of the same shape."""
    if codes.size == 0 or codes.max() >= codes.size:  # a few rows, of columns with more categories
        return np.array([str(code).encode() for code in codes.flat], object).reshape(codes.shape)
    return np.array([str(code).encode() for code in range(MISSING, codes.max() + 1)], object)[codes - MISSING]


def _differ(x: Floats) -> bool:
    """Return whether a feature has two values, as CatBoost reads them; a missing one is a value."""
    columns = (in_32_bits(x[:, i]) for i in range(x.shape[1]))
    return any(not np.array_equal(one, np.broadcast_to(one[:1], one.shape), equal_nan=True) for one in columns)


def _of_outcomes(learner: CatBoost, train: LearnerRows) -> dict[str, Any]:
    """Return objective and metric. Early stopping follows the metric: for a yes or no the area, as of LightGBM."""
    if train.of_classes:
        return {"loss_function": "MultiClass", "classes_count": train.class_count}
    if not train.of_numbers:
        return {"loss_function": "Logloss", "eval_metric": "AUC"}
    alpha = DEFAULT_ALPHA if learner.alpha is None else learner.alpha
    power = DEFAULT_POWER if learner.tweedie_power is None else learner.tweedie_power
    return {"loss_function": OBJECTIVES[learner.objective or "l2"].format(alpha=alpha, power=power)}


def _parameters(learner: CatBoost, columns: Columns, declared: Model, train: LearnerRows) -> dict[str, Any]:
    own = {own_name(name): value for name, value in learner.params.items()}
    drawn = own.get("bootstrap_type", "MVS")
    order = _order(len(columns.names), tuple(columns.categorical))  # of the lists, which have a number for each feature
    return {
        **_of_outcomes(learner, train),
        "learning_rate": learner.learning_rate,
        "iterations": learner.max_trees,
        "depth": learner.max_depth,
        "rsm": learner.feature_fraction,
        "bootstrap_type": drawn,
        **({} if drawn in WITHOUT_SHARE else {"subsample": learner.bagging_fraction}),
        "l2_leaf_reg": learner.lambda_l2,
        "thread_count": cores_for(declared.threads),
        "random_seed": declared.seed,
        "allow_writing_files": False,
        "logging_level": "Silent",
        **{name: [value[i] for i in order] if isinstance(value, tuple) else value for name, value in own.items()},
    }


def _stored(trees: Any) -> bytes:
    """Return trees in CatBoost's binary format, without the time and name of this training: equal trees give equal bytes."""
    metadata = trees.get_metadata()
    for name in OF_ONE_TRAINING:
        del metadata[name]
    with TemporaryDirectory() as folder:
        trees.save_model(str(Path(folder) / FILE))
        return (Path(folder) / FILE).read_bytes()


class _Reporting:
    """Reports the validation log loss or loss, and stops the fit if the report returns True."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def after_iteration(self, info: Any) -> bool:
        if info.iteration % ROUNDS_BETWEEN_REPORTS:
            return True
        losses = next(values for name, values in info.metrics["validation"].items() if name != "AUC")
        return not self.report(info.iteration, float(losses[-1]))
