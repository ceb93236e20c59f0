"""Predictions as columns of a table, and back; whether two predictions are the same, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration.task import HIGH, LOW, PREDICTION, PROBABILITIES, PROBABILITY
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.statistics.class_scores import ClassScores, in_order

Floats = NDArray[np.float64]
SCORE, DECISION = "score", "decision"
# The champion's own scores beside those that a layer adapted, and by which version of the layer's state.
RAW_SCORE, RAW_PROBABILITIES, ADAPTATION = "raw_score", "raw_probabilities", "adaptation"
TYPES = {SCORE: pa.float64(), DECISION: pa.bool_(), PREDICTION: pa.string(), PROBABILITIES: pa.string()}


def logged_columns(predictions: Predictions, *, decides: bool = True) -> dict[str, pa.Array]:
    """Return the columns in which predictions are stored: `score`, `decision`, and what is predicted besides.

    Of several classes, `score` is the probability of the predicted one, `prediction` its name, and `probabilities` those of all
    as a JSON object. decides: False for predicted numbers, on which nothing is decided: `decision` is then null, as of classes.
    """
    score, decision = predictions.score, predictions.decision
    nothing = pa.nulls(len(score), pa.bool_())
    if isinstance(score, ClassScores):
        known = named_classes(predictions)
        values = {SCORE: known[PROBABILITY], PREDICTION: known[PREDICTION], PROBABILITIES: known[PROBABILITIES]}
        columns = {name: pa.array(one, TYPES[name]) for name, one in values.items()}
        return {SCORE: columns[SCORE], DECISION: nothing, **columns}
    columns = {SCORE: pa.array(score, pa.float64()), DECISION: pa.array(decision, pa.bool_()) if decides else nothing}
    ends = zip((LOW, HIGH), predictions.interval or (), strict=False)
    return columns | {name: pa.array(one, pa.float64(), from_pandas=True) for name, one in ends}


def named_classes(predictions: Predictions) -> dict[str, Any]:
    """Return the predicted class, its probability, and the probabilities of all classes as a JSON object, (n,) each.

    Numbers in the text are as short as their exact value allows, so reading it gives the same bits.
    """
    score: ClassScores = predictions.score
    return {
        PREDICTION: predictions.decision,
        PROBABILITY: score.of(predictions.decision),
        PROBABILITIES: [shares_text(score.classes, shares) for shares in score.shares.tolist()],
    }


def read_scores(texts: Iterable[str]) -> ClassScores:
    """Return the probabilities of rows as they were stored; rows may be of models with other classes."""
    rows = [json.loads(text) for text in texts]
    classes: Any = rows[0].keys() if rows else ()
    if any(row.keys() != classes for row in rows):
        classes = in_order([name for row in rows for name in row])
    shares = np.array([[row.get(name, 0.0) for name in classes] for row in rows], np.float64)
    return ClassScores(tuple(classes), shares.reshape(len(rows), len(classes)))


def read_logged(rows: pa.Table) -> Predictions:
    """Return the predictions of stored rows; a decision that is null is False."""
    if PROBABILITIES in rows.column_names:
        chosen = np.asarray(rows[PREDICTION].to_numpy(zero_copy_only=False), object)
        return Predictions(read_scores(rows[PROBABILITIES].to_pylist()), chosen)
    decision = np.asarray(rows[DECISION].to_numpy(zero_copy_only=False), bool)
    return Predictions(np.asarray(rows[SCORE].to_numpy(), np.float64), decision)


def merged_predictions(of_some: Predictions, of_others: Predictions, some: NDArray[np.bool_]) -> Predictions:
    """Return the predictions of all rows. some: (n,) whether a row is among the first; an end of an interval may be missing."""
    if isinstance(of_some.score, ClassScores):
        classes = in_order([*of_some.score.classes, *of_others.score.classes])
        if set(classes) == set(of_others.score.classes):
            classes = of_others.score.classes
        shares = _merged(of_some.score.aligned(classes), of_others.score.aligned(classes), some)
        return Predictions(ClassScores(classes, shares), _merged(of_some.decision, of_others.decision, some))
    low, high = (_merged(_end(of_some, end), _end(of_others, end), some) for end in (0, 1))
    either = of_some.interval is not None or of_others.interval is not None
    score, decision = _merged(of_some.score, of_others.score, some), _merged(of_some.decision, of_others.decision, some)
    return Predictions(score, decision, (low, high) if either else None)


def _end(predictions: Predictions, end: int) -> Floats:
    """One end of each interval, (n,); NaN without intervals."""
    ends = predictions.interval
    return np.full(len(predictions.score), np.nan) if ends is None else ends[end]


def _merged(of_some: Any, of_others: Any, some: NDArray[np.bool_]) -> Any:
    merged = np.empty((len(some), *of_others.shape[1:]), of_others.dtype)
    merged[some], merged[~some] = of_some, of_others
    return merged


def differ(one: Predictions, other: Predictions) -> NDArray[np.bool_]:
    """Return where two predictions of the same rows differ in any bit of the score, or in what is decided, (n,)."""
    decided: NDArray[np.bool_] = np.asarray(one.decision != other.decision, bool)
    if isinstance(one.score, ClassScores):
        if not isinstance(other.score, ClassScores):
            return np.ones(len(one.score), bool)
        classes = in_order([*one.score.classes, *other.score.classes])
        a, b = (_bits(scores.aligned(classes)) for scores in (one.score, other.score))
        return np.asarray(decided | (a != b).any(axis=1))
    return np.asarray(decided | (_bits(one.score) != _bits(other.score)))


def largest_difference(one: Predictions, other: Predictions) -> float:
    """Return the largest absolute difference of the scores, or of the probabilities of all classes, of the same rows."""
    if isinstance(one.score, ClassScores):
        classes = in_order([*one.score.classes, *other.score.classes])
        return float(np.max(np.abs(one.score.aligned(classes) - other.score.aligned(classes)), initial=0.0))
    return float(np.max(np.abs(one.score - other.score), initial=0.0))


def single_score(predictions: Predictions, row: int = 0) -> float:
    """Return one number for a row: its score, or the probability of its predicted class."""
    score = predictions.score
    if isinstance(score, ClassScores):
        return float(score[[row]].of(predictions.decision[[row]])[0])
    return float(score[row])


def _bits(values: Any) -> NDArray[np.int64]:
    return np.ascontiguousarray(values, np.float64).view(np.int64)


def shares_text(classes: Iterable[str], shares: Iterable[float]) -> str:
    """Return the probabilities of one row as they are stored."""
    return json.dumps(dict(zip(classes, shares, strict=True)), ensure_ascii=False)
