"""Linear models, stored as plain numbers: logistic regression, SVM, and ridge regression."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlprod_tasks.declaration import LinearRegression, LinearSVM, LogisticRegression, Model
from mlprod_tasks.models.learners import design, fitted, links
from mlprod_tasks.models.learners.design import Design
from mlprod_tasks.models.learners.links import IDENTITY, LOGIT, Link, predicted
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows

log = logging.getLogger(__name__)

KIND = "linear"
HELD_OUT = 0.2  # share of the training rows, the newest, that an SVM's sigmoid is fitted to
MOST_STEPS = 1000
MOST_NEWTON_COLUMNS = 2000
TOLERANCE = 1e-6  # of the gradient; with scikit-learn's 1e-4, the third digit of a probability is not reproducible


@dataclass(frozen=True)
class LinearModel:
    """log-odds, or the predicted number = intercept + one term per feature.

    coef: by the design's columns. centre: each feature's mean term over the training rows; spread: the mean distance from it.
    """

    design: Design = field(repr=False)
    coef: tuple[float, ...] = field(repr=False)
    intercept: float
    centre: tuple[float, ...] = field(repr=False)
    spread: tuple[float, ...] = field(repr=False)
    link: Link = LOGIT
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        # Summed feature by feature: BLAS rounds a single row differently than a batch.
        total = np.full(len(x), self.intercept)
        for term in terms(self.design, np.asarray(self.coef), x, len(self.centre)).T:
            total = total + term
        return predicted(self.link, total)

    def contributions(self, x: Floats) -> Floats:
        """Return each term minus its mean over the training rows.

        These are exact Shapley values of independent features.
        """
        added = np.empty((len(x), len(self.centre) + 1))
        added[:, :-1] = terms(self.design, np.asarray(self.coef), x, len(self.centre)) - np.asarray(self.centre)
        added[:, -1] = self.intercept + sum(self.centre)
        return added

    @property
    def importance(self) -> Floats:
        """Each feature's share of `spread`."""
        spread = np.asarray(self.spread)
        return spread / (float(spread.sum()) or 1.0)

    @property
    def size(self) -> int:
        return len(self.coef) + 1

    @property
    def trees(self) -> int:
        return 0

    def save(self, folder: Path) -> None:
        fitted.write(
            folder,
            KIND,
            design=self.design.as_json(),
            coef=list(self.coef),
            intercept=self.intercept,
            centre=list(self.centre),
            spread=list(self.spread),
            **links.written(self.link),
        )


def load(folder: Path, threads: int | None = None) -> LinearModel:
    """Load the model that `save` wrote."""
    written = fitted.read(folder)
    return LinearModel(
        design.from_json(written["design"]),
        tuple(written["coef"]),
        written["intercept"],
        tuple(written["centre"]),
        tuple(written["spread"]),
        links.read(written),
    )


def fit_logistic(learner: LogisticRegression, columns: Columns, train: LearnerRows, declared: Model) -> LinearModel:
    """Fit scikit-learn's logistic regression.

    Weights apply to the loss and to the means of terms.
    """
    import sklearn.linear_model

    fitted_design = design.fit_design(columns, train.x, learner.least_category_rows)
    if fitted_design.width == 0:
        return _rate_only(fitted_design, columns, train)
    # L-BFGS takes minutes for nearly collinear features; Newton needs few steps, but its Hessian is (width, width).
    solver = "newton-cholesky" if fitted_design.width <= MOST_NEWTON_COLUMNS else "lbfgs"
    model = sklearn.linear_model.LogisticRegression(C=learner.c, solver=solver, tol=TOLERANCE, max_iter=MOST_STEPS)
    with _logged_warnings(learner.name):
        model.fit(fitted_design.sparse(train.x), train.y, sample_weight=train.weight)
    return _linear_model(fitted_design, model.coef_[0], float(model.intercept_[0]), columns, train)


def fit_ridge(learner: LinearRegression, columns: Columns, train: LearnerRows) -> LinearModel:
    """Fit scikit-learn's linear regression with an L2 penalty of 1 / c (Hoerl and Kennard, 1970)."""
    from sklearn.linear_model import Ridge

    fitted_design = design.fit_design(columns, train.x, learner.least_category_rows)
    if fitted_design.width == 0:
        zeros = (0.0,) * len(columns.names)
        return LinearModel(fitted_design, (), train.rate, zeros, zeros, IDENTITY)
    # Cholesky is exact and the same in every run; for a wide design, whose squared matrix would be large, an iteration.
    solver = "cholesky" if fitted_design.width <= MOST_NEWTON_COLUMNS else "sparse_cg"
    rows = fitted_design.dense(train.x) if solver == "cholesky" else fitted_design.sparse(train.x)
    model = Ridge(alpha=1 / learner.c, solver=solver, tol=TOLERANCE)
    with _logged_warnings(learner.name):
        model.fit(rows, train.y, sample_weight=train.weight)
    fitted_model = _linear_model(fitted_design, np.asarray(model.coef_), float(model.intercept_), columns, train)
    return replace(fitted_model, link=IDENTITY)


def fit_svm(learner: LinearSVM, columns: Columns, train: LearnerRows, declared: Model, gap_ticks: int) -> LinearModel:
    """Fit an SVM to all training rows, and its sigmoid to margins of the newest.

    Those margins come from a second SVM that was not fitted to these rows.
    """
    fitted_design = design.fit_design(columns, train.x, learner.least_category_rows)
    if fitted_design.width == 0:
        return _rate_only(fitted_design, columns, train)
    position = int(len(train) * (1 - HELD_OUT))
    if train.tick is not None and len(train):
        position = int(np.searchsorted(train.tick, train.tick[min(position, len(train) - 1)]))  # the start of a tick
    older, newest = train.before(position, gap_ticks), train.take(slice(position, None))
    if any(len(set(part.y.tolist())) < 2 for part in (older, newest)):
        # Too few rows to leave some out. Margins of training rows are too large, but their order is the same.
        log.warning("%s: too few rows to fit the sigmoid out of time: it is fitted to the training rows", learner.name)
        older = newest = train
    older_design = design.fit_design(columns, older.x, learner.least_category_rows)
    slope, offset = 1.0, 0.0
    if older_design.width:
        coef, intercept = _fit_machine(learner, older_design, older, declared)
        slope, offset = _fit_sigmoid(older_design.sparse(newest.x) @ coef + intercept, newest)
    coef, intercept = _fit_machine(learner, fitted_design, train, declared)
    return _linear_model(fitted_design, slope * coef, slope * intercept + offset, columns, train)


def terms(fitted_design: Design, coef: Floats, x: Floats, features: int) -> Floats:
    """Return what each feature adds to the log-odds, (n, features)."""
    total = np.zeros((len(x), features))
    for feature, column, values in fitted_design.numeric(x):
        total[:, feature] += coef[column] * values
    by_column = np.append(coef, 0.0)  # the last one is for categories without a column
    for feature, column in fitted_design.hot(x):
        total[:, feature] += by_column[column]
    return total


def _fit_machine(learner: LinearSVM, fitted_design: Design, rows: LearnerRows, declared: Model) -> tuple[Floats, float]:
    """Fit a support vector machine; return its coefficients and intercept."""
    from sklearn.svm import LinearSVC

    model = LinearSVC(C=learner.c, dual=False, max_iter=MOST_STEPS, random_state=declared.seed)
    with _logged_warnings(learner.name):
        model.fit(fitted_design.sparse(rows.x), rows.y, sample_weight=rows.weight)
    return model.coef_[0], float(model.intercept_[0])


def _fit_sigmoid(margin: Floats, rows: LearnerRows) -> tuple[float, float]:
    """Fit log-odds to margins (Platt, 1999); return slope and offset."""
    import sklearn.linear_model

    spread = float(np.std(margin))
    if spread == 0:
        return 1.0, 0.0
    # Scaled, so that the penalty does not depend on the unit of margins. It only keeps the slope of separable margins finite.
    line = sklearn.linear_model.LogisticRegression(C=1e4, max_iter=MOST_STEPS)
    line.fit((margin / spread)[:, None], rows.y, sample_weight=rows.weight)
    return float(line.coef_[0, 0]) / spread, float(line.intercept_[0])


def _linear_model(fitted_design: Design, coef: Floats, intercept: float, columns: Columns, train: LearnerRows) -> LinearModel:
    each = terms(fitted_design, coef, train.x, len(columns.names))
    centre = np.average(each, axis=0, weights=train.weight)
    spread = np.average(np.abs(each - centre), axis=0, weights=train.weight)
    return LinearModel(fitted_design, tuple(coef.tolist()), intercept, tuple(centre.tolist()), tuple(spread.tolist()))


def _rate_only(fitted_design: Design, columns: Columns, train: LearnerRows) -> LinearModel:
    """Return a model of the rate alone, for a design without columns."""
    zeros = (0.0,) * len(columns.names)
    return LinearModel(fitted_design, (), float(np.log(train.rate / (1 - train.rate))), zeros, zeros)


class _logged_warnings(warnings.catch_warnings):
    """Write scikit-learn's warnings to the log, under the candidate's name."""

    def __init__(self, name: str) -> None:
        super().__init__(record=True)
        self.name = name

    def __enter__(self) -> Any:
        self.caught = super().__enter__()
        warnings.simplefilter("always")
        return self.caught

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for one in self.caught or ():
            log.warning("%s: %s", self.name, str(one.message).strip().splitlines()[0])
