"""scikit-learn's histogram gradient boosting, stopped by the validation window."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlprod_tasks.declaration import HistGradientBoosting, Model
from mlprod_tasks.models.learners import fitted, links, stored
from mlprod_tasks.models.learners.cores import in_parts
from mlprod_tasks.models.learners.links import IDENTITY, LOGIT, Link, predicted
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows

KIND = "hist_gradient_boosting"
FILE = "trees.skops"
MOST_CATEGORIES = 255  # the most bins of one feature
TYPES = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)


@dataclass(frozen=True)
class HistBoosting:
    """Fitted trees.

    content: they and their known categories, as a skops file. start: log-odds, or the number, before the first tree.
    places: for each coded column (position, place by code); only the most frequent codes have their own place.
    gain: each feature's share of the total.
    """

    content: bytes = field(repr=False)
    start: float
    places: tuple[tuple[int, tuple[int, ...]], ...] = field(repr=False)
    gain: tuple[float, ...] = field(repr=False)
    threads: int | None = None
    link: Link = LOGIT
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        loaded = self._stored  # loaded once, before the threads start
        added = in_parts(lambda part: self._added(part, loaded), _as_trees_read(x, self.places), self.threads)
        return predicted(self.link, added)

    def contributions(self, x: Floats) -> None:
        """Return None: scikit-learn computes no exact contributions."""
        return

    @property
    def importance(self) -> Floats:
        """Each feature's share of the total gain."""
        return np.asarray(self.gain)

    @property
    def size(self) -> int:
        return self.trees

    @property
    def trees(self) -> int:
        return len(self._stored["trees"])

    def save(self, folder: Path) -> None:
        places = [[position, list(by)] for position, by in self.places]
        fitted.write(folder, KIND, start=self.start, places=places, gain=list(self.gain), **links.written(self.link))
        (folder / FILE).write_bytes(self.content)

    def _added(self, x: Floats, loaded: Any) -> Floats:
        total = np.full(len(x), self.start)
        known, order = loaded["categories"]
        for tree in loaded["trees"]:
            total += tree.predict(x, known, order, 1)
        return total

    @cached_property
    def _stored(self) -> Any:
        return stored.load(self.content, TYPES, FILE)


def load(folder: Path, threads: int | None) -> HistBoosting:
    """Load the model that `save` wrote. Raises: ForbiddenType."""
    written = fitted.read(folder)
    places = tuple((position, tuple(by)) for position, by in written["places"])
    content, link = (folder / FILE).read_bytes(), links.read(written)
    model = HistBoosting(content, written["start"], places, tuple(written["gain"]), threads, link)
    model._stored  # noqa: B018  a bad file is refused on loading, not at the first score
    return model


def fit_hist_gradient_boosting(
    learner: HistGradientBoosting, columns: Columns, train: LearnerRows, validation: LearnerRows, declared: Model
) -> HistBoosting:
    """Fit trees until the validation log loss, or squared error of numbers, stops falling; drop later trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    places = tuple((position, _places(train.x[:, position])) for position in columns.categorical)
    x = _as_trees_read(train.x, places)
    # scikit-learn 1.9 cannot bin a column without any value.
    x[:, np.isnan(x).all(axis=0)] = 0.0
    stopping = learner.early_stopping_rounds is not None and len(validation) > 0
    kind = HistGradientBoostingRegressor if train.of_numbers else HistGradientBoostingClassifier
    model = kind(
        learning_rate=learner.learning_rate,
        max_iter=learner.max_trees,
        max_leaf_nodes=learner.num_leaves,
        max_depth=learner.max_depth,
        min_samples_leaf=learner.min_data_in_leaf,
        max_features=learner.feature_fraction,
        l2_regularization=learner.lambda_l2,
        categorical_features=list(range(len(places))) or None,
        early_stopping=stopping,
        n_iter_no_change=learner.early_stopping_rounds or 1,
        tol=0,
        random_state=declared.seed,
    )
    window: dict[str, Any] = {}
    if stopping:
        window = {
            "X_val": _as_trees_read(validation.x, places),
            "y_val": validation.y,
            "sample_weight_val": validation.weight,
        }
    model.fit(x, train.y, sample_weight=train.weight, **window)
    trees = [tree for (tree,) in model._predictors]
    if stopping:
        # The first score is the one without any tree.
        trees = trees[: max(1, int(np.argmax(model.validation_score_)))]
    content = stored.dump({"trees": trees, "categories": list(model._bin_mapper.make_known_categories_bitsets())})
    start, link = float(model._baseline_prediction[0, 0]), IDENTITY if train.of_numbers else LOGIT
    return HistBoosting(content, start, places, tuple(_gain(trees, columns).tolist()), declared.threads, link)


def _gain(trees: list[Any], columns: Columns) -> Floats:
    """Return each feature's share of the gain of all splits."""
    gain = np.zeros(len(columns.names))
    for tree in trees:
        splits = tree.nodes[tree.nodes["is_leaf"] == 0]
        np.add.at(gain, splits["feature_idx"], splits["gain"])
    by_feature = np.empty_like(gain)
    by_feature[_order(columns.categorical, len(gain))] = gain
    return by_feature / (float(gain.sum()) or 1.0)


def _order(categorical: tuple[int, ...], features: int) -> list[int]:
    """Return the matrix's columns in the order of the trees: categories first."""
    return [*categorical, *(i for i in range(features) if i not in categorical)]


def _places(codes: Floats) -> tuple[int, ...]:
    """Return each code's place in order of frequency; the rarest codes share the last place."""
    rows = np.bincount(codes[~np.isnan(codes)].astype(np.intp))
    place = np.empty(len(rows), np.int64)
    place[np.argsort(-rows, kind="stable")] = np.arange(len(rows))
    return tuple(np.minimum(place, MOST_CATEGORIES - 1).tolist())


def _as_trees_read(x: Floats, places: tuple[tuple[int, tuple[int, ...]], ...]) -> Floats:
    """Return the matrix as the trees read it: categories first, by their places. Unknown codes count as missing."""
    values = x[:, _order(tuple(position for position, _ in places), x.shape[1])]
    for i, (position, by) in enumerate(places):
        table = np.array([*by, np.nan])
        codes = x[:, position]
        values[:, i] = table[np.where(np.isnan(codes), len(by), np.minimum(codes, len(by))).astype(np.intp)]
    return values
