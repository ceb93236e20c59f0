"""Random forest and extra trees, with cross-fitted outcome rates, or mean outcomes, of categories."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlprod_tasks.declaration import ExtraTrees, Model, RandomForest
from mlprod_tasks.models.learners import fitted, links, stored
from mlprod_tasks.models.learners.cores import cores_for, in_parts
from mlprod_tasks.models.learners.links import IDENTITY, LOGIT, Link
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows

KIND = "forest"
FILE = "forest.skops"
FOLDS = 5
LARGEST = 1e30  # trees compare float32, and scikit-learn sums whole columns of it
TYPES = ("sklearn.tree._tree.Tree",)


# For each coded column: position, and the rates by code, for other codes, and for missing ones.
Rates = tuple[tuple[int, tuple[float, ...], float, float], ...]


@dataclass(frozen=True)
class Forest:
    """A fitted forest.

    content: the trees as a skops file. decrease: each feature's share of the decrease of impurity.
    """

    content: bytes = field(repr=False)
    rates: Rates = field(repr=False)
    decrease: tuple[float, ...] = field(repr=False)
    threads: int | None = None
    link: Link = LOGIT
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        """Return the mean probability, or number, of the trees, (n,).

        Summed in order, so that threads do not change the rounding.
        """
        trees = self._trees  # loaded once, before the threads start
        return np.asarray(in_parts(lambda part: _mean(trees, part), _with_rates(x, self.rates), self.threads))

    def contributions(self, x: Floats) -> None:
        """Return None: scikit-learn computes no exact contributions."""
        return

    @property
    def importance(self) -> Floats:
        """Each feature's share of the decrease of impurity."""
        return np.asarray(self.decrease)

    @property
    def size(self) -> int:
        return self.trees

    @property
    def trees(self) -> int:
        return len(self._trees)

    def save(self, folder: Path) -> None:
        rates = [[position, list(by), *others] for position, by, *others in self.rates]
        fitted.write(folder, KIND, rates=rates, decrease=list(self.decrease), **links.written(self.link))
        (folder / FILE).write_bytes(self.content)

    @cached_property
    def _trees(self) -> Any:
        return stored.load(self.content, TYPES, FILE)


def load(folder: Path, threads: int | None) -> Forest:
    """Load the model that `save` wrote. Raises: ForbiddenType."""
    written = fitted.read(folder)
    rates = tuple((position, tuple(by), other, missing) for position, by, other, missing in written["rates"])
    link = links.read(written)
    forest = Forest((folder / FILE).read_bytes(), rates, tuple(written["decrease"]), threads, link)
    forest._trees  # noqa: B018  a bad file is refused on loading, not at the first score
    return forest


def fit_forest(learner: RandomForest | ExtraTrees, columns: Columns, train: LearnerRows, declared: Model) -> Forest:
    """Fit the trees.

    Weights apply to the trees, not to the rates of categories: scikit-learn's encoder has no weights.
    """
    x, rates = _encode(columns, train, declared.seed)
    model = _kind(learner, train)(
        n_estimators=learner.trees,
        max_depth=learner.max_depth,
        min_samples_leaf=learner.min_data_in_leaf,
        max_features=learner.feature_fraction or "sqrt",
        random_state=declared.seed,
        n_jobs=cores_for(declared.threads),
    )
    model.fit(x, train.y, sample_weight=train.weight)
    content = stored.dump([one.tree_ for one in model.estimators_])
    link = IDENTITY if train.of_numbers else LOGIT
    return Forest(content, rates, tuple(model.feature_importances_.tolist()), declared.threads, link)


def _kind(learner: RandomForest | ExtraTrees, train: LearnerRows) -> Any:
    """Return scikit-learn's class. Trees of numbers decrease the squared error."""
    import sklearn.ensemble

    kind = "RandomForest" if isinstance(learner, RandomForest) else "ExtraTrees"
    return getattr(sklearn.ensemble, f"{kind}{'Regressor' if train.of_numbers else 'Classifier'}")


def _mean(trees: list[Any], x: Any) -> Floats:
    total = np.zeros(len(x))
    if len(x) == 0:
        return total
    for tree in trees:
        total += tree.predict(x)[:, -1]  # the probability of a yes, or the only number
    return total / len(trees)


def _encode(columns: Columns, train: LearnerRows, seed: int) -> tuple[Any, Rates]:
    """Return the training matrix with cross-fitted rates of categories, and the rates over all rows."""
    if not columns.categorical:
        return _with_rates(train.x, ()), ()
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import TargetEncoder

    # The folds are passed in, as the encoder's own would differ from run to run.
    folds = KFold(min(FOLDS, len(train)), shuffle=True, random_state=seed)
    numbers = train.of_numbers
    encoder = TargetEncoder(target_type="continuous" if numbers else "binary", cv=folds)
    coded = train.x[:, list(columns.categorical)]
    crossed = encoder.fit_transform(coded, train.y if numbers else train.y.astype(np.int64))
    rates = []
    for i, position in enumerate(columns.categorical):
        codes, rate, other = encoder.categories_[i], encoder.encodings_[i], float(encoder.target_mean_)
        known = ~np.isnan(codes)
        by = np.full(int(codes[known].max(initial=-1)) + 1, other)
        by[codes[known].astype(np.intp)] = rate[known]
        rates.append((position, tuple(by.tolist()), other, other if known.all() else float(rate[~known][0])))
    x = _with_rates(train.x, tuple(rates))
    x[:, list(columns.categorical)] = crossed
    return x, tuple(rates)


def _with_rates(x: Floats, rates: Rates) -> Any:
    """Return the matrix as trees read it: float32, with rates instead of codes."""
    # A number beyond float32 would be infinite, which scikit-learn refuses.
    values = np.ascontiguousarray(np.clip(x, -LARGEST, LARGEST), dtype=np.float32)
    for position, by, other, missing in rates:
        table = np.array([*by, other, missing])
        codes = x[:, position]
        absent = np.isnan(codes)
        place = np.where(absent, len(by) + 1, np.minimum(np.where(absent, 0, codes), len(by)))
        values[:, position] = table[place.astype(np.intp)]
    return values
