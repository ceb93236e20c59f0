"""An estimator of the team's own, by its import path: fitted, tried, and stored with skops, or else pickled."""

from __future__ import annotations

import hashlib
import importlib
import logging
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlprod_tasks.declaration import Estimator, Model
from mlprod_tasks.models.learners import fitted, links, stored
from mlprod_tasks.models.learners.cores import limited
from mlprod_tasks.models.learners.errors import CannotFit, ModuleMissing
from mlprod_tasks.models.learners.links import IDENTITY, LOGIT, Link
from mlprod_tasks.models.learners.rounding import rounds_by_row
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows

log = logging.getLogger(__name__)

KIND = "estimator"
FILES = {"skops": "estimator.skops", "pickle": "estimator.pickle"}
TRIED, SAMPLE = 100, 2000  # rows that are predicted, and fitted to, in trials
PARTS = (2, 5, 17, 60)  # rows in the batches of a trial
BLOCK = 64  # BLAS rounds a row alone otherwise than in a batch; matrices of the same shape are rounded the same
PICKLED = (
    "The estimator {make} is stored as a pickle, since skops cannot store it: loading it runs code, and another version of its "
    "packages may not load it. The file's digest is checked first, so keep the registry's files where only mlprod writes"
)


@dataclass(frozen=True)
class Frame:
    """How the matrix of a learner becomes the frame of an estimator.

    categories: for each coded column its position, and the values of its codes.
    """

    names: tuple[str, ...]
    categories: tuple[tuple[int, tuple[Any, ...]], ...]

    def __call__(self, x: Floats) -> Any:
        """Return a pandas DataFrame: float64, NaN if missing; categories as `category`, unknown ones missing."""
        import pandas as pd

        columns: dict[str, Any] = {name: np.ascontiguousarray(x[:, i]) for i, name in enumerate(self.names)}
        for position, values in self.categories:
            codes = x[:, position]
            known = np.isfinite(codes) & (codes < len(values))
            places = np.where(known, codes, -1).astype(np.intp)
            columns[self.names[position]] = pd.Categorical.from_codes(places, categories=pd.Index(values))  # type: ignore[arg-type]
        return pd.DataFrame(columns, copy=False)


@dataclass(frozen=True)
class OwnEstimator:
    """A fitted estimator.

    content: of its file. types: that its skops file may hold. code: SHA-256 of the module's source. at_once: how many rows
    are predicted at once, so that a row alone gets the same bits as in a batch; None: all.
    codes: the classes of the columns of `predict_proba`; None of a yes or no, or numbers. classes: the number of all.
    """

    make: str
    frame: Frame = field(repr=False)
    content: bytes = field(repr=False)
    stored_as: Literal["skops", "pickle"]
    types: tuple[str, ...] = field(repr=False)
    code: str
    at_once: int | None
    link: Link = LOGIT
    codes: tuple[int, ...] | None = None
    classes: int = 1
    kind = KIND
    importance = None
    size = 0
    trees = 0

    def predict(self, x: Floats) -> Floats:
        """Return probabilities, (n,) or (n, classes), or predicted numbers, (n,)."""
        if self.at_once is None or len(x) == 0:
            return self.predict_together(x)
        padded = np.concatenate((x, np.repeat(x[-1:], -len(x) % self.at_once, axis=0)))
        blocks = range(0, len(padded), self.at_once)
        return np.concatenate([self.predict_together(padded[i : i + self.at_once]) for i in blocks])[: len(x)]

    def predict_together(self, x: Floats) -> Floats:
        """Return the same up to rounding errors, all rows at once."""
        if len(x) == 0:
            return np.empty(0 if self.codes is None else (0, self.classes))
        with limited(1):  # so that the number of cores does not change the rounding, and no thread waits for a row
            return _predicted(self.estimator, self.frame(x), self.link, self.make, self.codes, self.classes)

    def contributions(self, x: Floats) -> None:
        """Return None: an estimator of any kind has no exact contributions."""
        return

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of how it is stored and predicts."""
        notes: tuple[str, ...] = (PICKLED.format(make=self.make),) if self.stored_as == "pickle" else ()
        if self.at_once == 1:
            alone = "its batches differ in rounding from rows alone, so rows are predicted one by one, which is slower"
            notes += (f"The estimator {self.make}: {alone}",)
        return notes

    def save(self, folder: Path) -> None:
        categories = [[position, list(values)] for position, values in self.frame.categories]
        of_classes = {} if self.codes is None else {"codes": list(self.codes), "classes": self.classes}
        fitted.write(
            folder, KIND, make=self.make, names=list(self.frame.names), categories=categories, stored_as=self.stored_as,
            types=list(self.types), code=self.code, at_once=self.at_once, digest=_digest(self.content),
            **links.written(self.link), **of_classes,
        )  # fmt: skip
        (folder / FILES[self.stored_as]).write_bytes(self.content)

    @cached_property
    def estimator(self) -> Any:
        return _loaded(self.content, self.stored_as, self.types, self.make)


def load(folder: Path, threads: int | None) -> OwnEstimator:
    """Load the model that `save` wrote.

    Raises: ModuleMissing if its module cannot be imported; ForbiddenType, ValueError if its file is not what was stored.
    """
    written = fitted.read(folder)
    content = (folder / FILES[written["stored_as"]]).read_bytes()
    if _digest(content) != written["digest"]:
        raise ValueError(
            f"{folder / FILES[written['stored_as']]} is not the file that was stored: nothing was loaded, restore it"
        )
    code = _code(_module(written["make"]))
    if code != written["code"]:
        log.warning("%s: its module has changed since the model was trained; predictions may differ", written["make"])
    categories = tuple((position, tuple(values)) for position, values in written["categories"])
    own = OwnEstimator(
        written["make"], Frame(tuple(written["names"]), categories), content, written["stored_as"], tuple(written["types"]),
        written["code"], written["at_once"], links.read(written),
        tuple(written["codes"]) if "codes" in written else None, written.get("classes", 1),
    )  # fmt: skip
    own.estimator  # noqa: B018  what cannot be loaded is told on loading, not at the first score
    return own


def fit_estimator(learner: Estimator, columns: Columns, train: LearnerRows, declared: Model) -> OwnEstimator:
    """Fit the estimator to the training rows, and try that it predicts, can be stored, and gives the same again.

    Raises: CannotFit, ModuleMissing.
    """
    link = IDENTITY if train.of_numbers else LOGIT
    frame = _frame(columns, train.x)
    estimator = _fitted(learner, frame, train, declared)
    tried = train.x[_spread(len(train), TRIED)]
    codes, classes = (_codes(learner, estimator), train.class_count) if train.of_classes else (None, 1)
    whole = _named(learner, lambda: _predicted(estimator, frame(tried), link, learner.make, codes, classes))
    content, stored_as, types = _stored(learner, estimator)
    code = _code(_module(learner.make))
    own = OwnEstimator(learner.make, frame, content, stored_as, types, code, None, link, codes, classes)
    if not np.array_equal(_named(learner, lambda: own.predict(tried)), whole):
        raise CannotFit(f"{_about(learner)} gives other predictions after it was stored and loaded")
    alone = _alone(own, tried)
    if not np.allclose(alone, whole, rtol=1e-6, atol=1e-9):
        raise CannotFit(f"{_about(learner)} predicts a row alone otherwise than among others: a row may not depend on others")
    _try_again(learner, frame, train, declared, link)
    if rounds_by_row(estimator) and np.array_equal(alone, whole) and _same_in_parts(own, tried, whole):
        return own
    blocks = replace(own, at_once=BLOCK)
    same = np.array_equal(_alone(blocks, tried), whole := blocks.predict(tried)) and _same_in_parts(blocks, tried, whole)
    return blocks if same else replace(own, at_once=1)


def _alone(own: OwnEstimator, x: Floats) -> Floats:
    """Return the predictions of rows one by one, (n,) or (n, classes)."""
    return _in_parts(own, x, 1)


def _in_parts(own: OwnEstimator, x: Floats, rows: int) -> Floats:
    return np.concatenate([own.predict(x[i : i + rows]) for i in range(0, len(x), rows)])


def _same_in_parts(own: OwnEstimator, x: Floats, whole: Floats) -> bool:
    """Whether rows get the same bits in batches of several sizes: BLAS has other kernels for the last rows of a batch."""
    return all(np.array_equal(_in_parts(own, x, rows), whole) for rows in PARTS)


def _frame(columns: Columns, x: Floats) -> Frame:
    values = columns.values or tuple(tuple(range(int(np.nanmax(x[:, i], initial=-1)) + 1)) for i in columns.categorical)
    return Frame(columns.names, tuple(zip(columns.categorical, values, strict=True)))


def _fitted(learner: Estimator, frame: Frame, train: LearnerRows, declared: Model) -> Any:
    """Return a new estimator, fitted to rows."""
    estimator = _made(learner, declared, train)
    y = train.y if train.of_numbers else train.y.astype(np.int64)
    try:
        estimator.fit(frame(train.x), y, **_weights(learner, estimator, train))
    except CannotFit:
        raise
    except Exception as error:
        what = "numbers with NaN if missing, and pandas categories: let it impute and encode them"
        raise CannotFit(f"{_about(learner)}: fit failed: {_short(error)}. It was given {what}") from error
    return estimator


def _made(learner: Estimator, declared: Model, train: LearnerRows) -> Any:
    """Return an unfitted estimator with the declared seed."""
    make = _make(learner.make)
    try:
        estimator = make(**learner.params)
    except Exception as error:
        raise CannotFit(f"{_about(learner)}: {learner.make} failed with params {learner.params}: {_short(error)}") from error
    needed, whom = ("fit", "predict" if train.of_numbers else "predict_proba"), "classes" if train.of_classes else "a yes or no"
    for name in needed:
        if not callable(getattr(estimator, name, None)):
            remedy = f" for {whom}: wrap it in scikit-learn's CalibratedClassifierCV" if name == "predict_proba" else ""
            raise CannotFit(f"{_about(learner)}: {type(estimator).__name__} has no {name}, which is needed{remedy}")
    known: Mapping[str, Any] = estimator.get_params() if hasattr(estimator, "get_params") else {}
    seeded = {name: declared.seed for name, value in known.items() if name.split("__")[-1] == "random_state" and value is None}
    return estimator.set_params(**seeded) if seeded else estimator


def _make(path: str) -> Callable[..., Any]:
    module, name = _module(path), path.partition(":")[2]
    if not callable(made := getattr(module, name, None)):
        raise CannotFit(f"{path}: {module.__name__} has no function or class {name!r}")
    return made  # type: ignore[no-any-return]


def _module(path: str) -> Any:
    """Import the module of an import path. Raises: ModuleMissing, CannotFit."""
    name = path.partition(":")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleMissing(
            f"the estimator {path} needs the module {error.name!r}, which cannot be imported here: install the package that "
            "has it, or put its folder on PYTHONPATH"
        ) from error
    except Exception as error:
        raise CannotFit(f"the estimator {path}: importing {name!r} failed: {_short(error)}") from error


def _weights(learner: Estimator, estimator: Any, train: LearnerRows) -> dict[str, Floats]:
    """Return the weights of rows as its `fit` takes them, of a Pipeline as those of its last step."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if train.weight is None:
        return {}
    last, name = estimator, "sample_weight"
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        name = f"{step}__sample_weight"
    if not has_fit_parameter(last, "sample_weight"):
        raise CannotFit(
            f"{_about(learner)}: rows are weighted (model.weights or model.half_life), but {type(last).__name__}.fit takes no "
            "sample_weight: leave the weights out, or take another estimator"
        )
    return {name: train.weight}


def _codes(learner: Estimator, estimator: Any) -> tuple[int, ...]:
    """Return the codes of the classes of `predict_proba`'s columns. Raises: CannotFit."""
    found = getattr(estimator, "classes_", None)
    if found is None:
        raise CannotFit(
            f"{_about(learner)}: {type(estimator).__name__} has no classes_ after fit, which names the columns of "
            "predict_proba: set it as scikit-learn's classifiers do"
        )
    return tuple(int(code) for code in found)


def _predicted(
    estimator: Any, frame: Any, link: Link, make: str, codes: tuple[int, ...] | None = None, classes: int = 1
) -> Floats:
    """Return its predictions, (n,), or (n, classes) with codes. Raises: CannotFit if they have no such meaning."""
    n = len(frame)
    if codes is not None:
        given = _shares(estimator, frame, make, codes, classes)
    elif link == IDENTITY:
        given = np.asarray(estimator.predict(frame), np.float64)
        if given.shape not in ((n,), (n, 1)):
            raise CannotFit(f"{make}: predict gave an array of shape {given.shape} for {n} rows, not ({n},)")
        given = given.reshape(n)
    else:
        both = np.asarray(estimator.predict_proba(frame), np.float64)
        if both.shape != (n, 2):
            raise CannotFit(f"{make}: predict_proba gave an array of shape {both.shape} for {n} rows, not ({n}, 2)")
        given = _probabilities(both[:, 1], make)
    if bad := int((~np.isfinite(given)).sum()):
        raise CannotFit(f"{make}: {bad:,} of {n:,} predictions are NaN or infinite")
    return np.ascontiguousarray(given)


def _shares(estimator: Any, frame: Any, make: str, codes: tuple[int, ...], classes: int) -> Floats:
    """Return the probabilities of all classes, (n, classes); 0 of one that the estimator was not fitted to."""
    n, each = len(frame), np.asarray(estimator.predict_proba(frame), np.float64)
    if each.shape != (n, len(codes)):
        raise CannotFit(f"{make}: predict_proba gave an array of shape {each.shape} for {n} rows, not ({n}, {len(codes)})")
    shares = np.zeros((n, classes))
    shares[:, codes] = _probabilities(each, make)
    if (off := np.abs(shares.sum(axis=1) - 1)).max(initial=0) > 1e-3:
        raise CannotFit(f"{make}: predict_proba gave rows whose sum is off by up to {off.max():.3g}: probabilities sum to 1")
    return shares


def _probabilities(given: Floats, make: str) -> Floats:
    if ((given < 0) | (given > 1)).any():
        low, high = float(np.nanmin(given)), float(np.nanmax(given))
        raise CannotFit(f"{make}: predict_proba gave numbers from {low:.3g} to {high:.3g}: probabilities lie between 0 and 1")
    return given


def _try_again(learner: Estimator, frame: Frame, train: LearnerRows, declared: Model, link: Link) -> None:
    """Fit two estimators to the same sample of rows, which must then predict the same. Raises: CannotFit."""
    sample = train.take(_spread(len(train), SAMPLE))
    if sample.y.min() == sample.y.max():
        sample = train
    x = frame(train.x[_spread(len(train), TRIED)])
    known, classes = sample.of_classes, sample.class_count if sample.of_classes else 1
    first, second = (
        _predicted(one, x, link, learner.make, _codes(learner, one) if known else None, classes)
        for one in (_fitted(learner, frame, sample, declared) for _ in range(2))
    )
    if not np.array_equal(first, second):
        raise CannotFit(
            f"{_about(learner)}: fitted twice to the same rows it predicts otherwise, by up to "
            f"{np.abs(first - second).max():.3g}: let all its randomness come from random_state, or it cannot be reproduced"
        )


def _spread(rows: int, most: int) -> Any:
    """Return the positions of at most so many rows, spread evenly."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.intp))


def _stored(learner: Estimator, estimator: Any) -> tuple[bytes, Literal["skops", "pickle"], tuple[str, ...]]:
    """Return the content of its file, how it is stored, and the types that skops does not trust by itself."""
    import skops.io

    try:
        content = stored.dump(estimator)
        types = tuple(sorted(skops.io.get_untrusted_types(data=content)))
        skops.io.loads(content, trusted=list(types))
        return content, "skops", types
    except Exception as error:
        log.warning("%s: skops cannot store it (%s), so it is pickled", _about(learner), _short(error))
    try:
        return pickle.dumps(estimator, protocol=5), "pickle", ()
    except Exception as error:
        raise CannotFit(f"{_about(learner)} can be stored neither by skops nor as a pickle: {_short(error)}") from error


def _loaded(content: bytes, stored_as: str, types: tuple[str, ...], make: str) -> Any:
    import skops.io

    if stored_as == "pickle":
        return pickle.loads(content)  # noqa: S301  its digest was checked
    if other := set(skops.io.get_untrusted_types(data=content)) - set(types):
        raise stored.ForbiddenType(f"{make}: its file has {', '.join(sorted(other))}, which it had not when it was stored")
    return skops.io.loads(content, trusted=list(types))


def _named(learner: Estimator, predict: Callable[[], Floats]) -> Floats:
    """Return what `predict` returns; an error names the candidate. Raises: CannotFit."""
    try:
        return predict()
    except CannotFit as error:
        raise CannotFit(f"candidate {learner.name!r}: {error}") from error
    except Exception as error:
        raise CannotFit(f"{_about(learner)} was fitted, but cannot predict: {_short(error)}") from error


def _about(learner: Estimator) -> str:
    return f"candidate {learner.name!r} ({learner.make})"


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _code(module: Any) -> str:
    """Return the SHA-256 of a module's source file; '' if it has none."""
    file = getattr(module, "__file__", None)
    return _digest(Path(file).read_bytes()) if file else ""
