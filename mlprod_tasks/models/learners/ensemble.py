"""Ensembles of candidates: their mean, and stacking fitted to later predictions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mlprod_tasks.declaration import Averaging, Learner, Model, Stacking
from mlprod_tasks.models.learners import class_pool, class_shares, fitted, links
from mlprod_tasks.models.learners.class_pool import SUREST
from mlprod_tasks.models.learners.fitted import FittedLearner
from mlprod_tasks.models.learners.links import IDENTITY, LOGIT, Link
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows, expit, logit

log = logging.getLogger(__name__)

AVERAGING, STACKING = "averaging", "stacking"
PENALTY = 1e-3  # per row, on the distance of weights from equal ones: it decides the weights if members agree
# The function that fits one member, `learners.fit_learner`. It is passed in, because it imports this module.
FitMember = Callable[..., FittedLearner]


@dataclass(frozen=True)
class EnsembleModel:
    """The common part of all ensembles. members: each with its candidate's name."""

    members: tuple[tuple[str, FittedLearner], ...] = field(repr=False)
    link = LOGIT

    @property
    def importance(self) -> None:
        return None

    @property
    def size(self) -> int:
        return sum(member.size for _, member in self.members)

    @property
    def trees(self) -> int:
        return sum(member.trees for _, member in self.members)


@dataclass(frozen=True)
class AveragingModel(EnsembleModel):
    """The mean of the members' predictions."""

    kind = AVERAGING

    def predict(self, x: Floats) -> Floats:
        (_, first), *others = self.members
        total = np.array(first.predict(x), np.float64)
        for _, member in others:
            total += member.predict(x)
        return np.asarray(total / len(self.members))

    def contributions(self, x: Floats) -> None:
        """Return None: a mean of probabilities has no exact contributions to log-odds."""
        return

    def save(self, folder: Path) -> None:
        fitted.write(folder, AVERAGING, members=[name for name, _ in self.members])
        _save(self.members, folder)


@dataclass(frozen=True)
class StackingModel(EnsembleModel):
    """log-odds, or the number, = intercept + sum of weight * that of the member.

    intercepts: of several classes, one for each; they are pooled as `class_pool` says.
    """

    weights: tuple[float, ...]
    intercept: float
    link: Link = LOGIT
    intercepts: tuple[float, ...] = ()
    kind = STACKING

    def predict(self, x: Floats) -> Floats:
        if self.intercepts:
            return class_pool.pooled(self.weights, self.intercepts, [member.predict(x) for _, member in self.members])
        total = np.full(len(x), self.intercept)
        for weight, (_, member) in zip(self.weights, self.members, strict=True):
            total += weight * _stacked(member.predict(x), self.link)
        return expit(total) if self.link == LOGIT else total

    def contributions(self, x: Floats) -> Floats | None:
        """Return the members' weighted contributions.

        None if one with a weight above 0 has none, or has them on another scale.
        Exact unless a member's probability is closer than SUREST to 0 or 1.
        """
        if self.intercepts:
            return None
        total: Floats | None = None
        for weight, (_, member) in zip(self.weights, self.members, strict=True):
            if weight == 0:
                continue
            one = member.contributions(x)
            if one is None or member.link != self.link:
                return None
            total = weight * one if total is None else total + weight * one
        if total is None:
            return None
        total[:, -1] += self.intercept
        return total

    def class_contributions(self, x: Floats) -> Floats | None:
        """Return the members' weighted contributions to each class; None if one with a weight above 0 has none."""
        if not self.intercepts:
            return None
        added = [
            (weight, class_shares.class_contributions(member, x))
            for weight, (_, member) in zip(self.weights, self.members, strict=True)
            if weight
        ]
        total = sum((weight * one for weight, one in added if one is not None), start=np.zeros(1))
        if not added or any(one is None for _, one in added):
            return None
        total[:, :, -1] += self.intercepts
        return np.asarray(total)

    def save(self, folder: Path) -> None:
        members = [name for name, _ in self.members]
        weights: dict[str, object] = {"weights": list(self.weights), "intercept": self.intercept}
        if self.intercepts:
            weights["intercepts"] = list(self.intercepts)
        fitted.write(folder, STACKING, members=members, **weights, **links.written(self.link))
        _save(self.members, folder)


def load(
    folder: Path, threads: int | None, load_member: Callable[[Path, int | None], FittedLearner]
) -> AveragingModel | StackingModel:
    """Load the model that `save` wrote."""
    written = fitted.read(folder)
    members = tuple((name, load_member(folder / str(i), threads)) for i, name in enumerate(written["members"]))
    if written["kind"] == AVERAGING:
        return AveragingModel(members)
    intercepts = tuple(written.get("intercepts", ()))
    return StackingModel(members, tuple(written["weights"]), written["intercept"], links.read(written), intercepts)


def fit_ensemble(
    learner: Averaging | Stacking,
    columns: Columns,
    train: LearnerRows,
    validation: LearnerRows,
    declared: Model,
    gap_ticks: int,
    known: Mapping[str, FittedLearner],
    fit_member: FitMember,
) -> AveragingModel | StackingModel:
    """Fit the members that are not `known` to all training rows.

    Fit stacking weights to out-of-time predictions.
    """
    if train.of_classes:  # a block of time may lack a class
        train, validation = (replace(rows, classes=train.class_count) for rows in (train, validation))
    wanted = [declared.candidate(name) for name in learner.of]
    by_name = dict(known)
    for member in wanted:
        if member.name not in by_name:
            by_name[member.name] = fit_member(
                member, columns, train, validation, declared, gap_ticks=gap_ticks, members=by_name
            )
    members = tuple((member.name, by_name[member.name]) for member in wanted)
    if isinstance(learner, Averaging):
        return AveragingModel(members)
    predicted, rows = out_of_time(wanted, columns, train, declared, learner.folds, gap_ticks, fit_member)
    link = IDENTITY if train.of_numbers else LOGIT
    if len(set(rows.y.tolist())) < 2:
        log.warning(
            "%s: too few rows for out-of-time predictions of different outcomes: all members get the same weight", learner.name
        )
        none = (0.0,) * train.class_count if train.of_classes else ()
        return StackingModel(members, (1 / len(members),) * len(members), 0.0, link, none)
    intercept, intercepts = 0.0, tuple[float, ...]()
    if train.of_classes:
        weights, intercepts = class_pool.fit_pool(predicted.swapaxes(0, 1), rows, PENALTY)
    else:
        fit = _fit_weights_of_numbers if train.of_numbers else _fit_weights
        weights, intercept = fit(_stacked(predicted, link), rows)
    listed = ", ".join(f"{member.name} {weight:.2f}" for member, weight in zip(wanted, weights, strict=True))
    log.info("%s: weights %s, from %d out-of-time rows", learner.name, listed, len(rows))
    return StackingModel(members, weights, intercept, link, intercepts)


def _stacked(predicted: Floats, link: Link) -> Floats:
    """Return members' predictions on the scale on which they are stacked."""
    return logit(predicted, SUREST) if link == LOGIT else predicted


def out_of_time(
    of: list[Learner],
    columns: Columns,
    train: LearnerRows,
    declared: Model,
    folds: int,
    gap_ticks: int,
    fit_member: FitMember,
) -> tuple[Floats, LearnerRows]:
    """Predict rows that are later than all rows the members were fitted to.

    Return predictions, (n, members) or (n, members, classes), and these rows.
    The window is cut into `folds` + 2 blocks of nearly equal size, between ticks if these are known. For each block from the
    third on, members are fitted to all earlier blocks but the last, which decides when to stop, and predict the block. The
    gap is left out between these three.
    """
    nothing = np.empty((0, train.class_count) if train.of_classes else 0)
    predicted, rows = [[nothing] for _ in of], [train.take(slice(0, 0))]
    for past, stop, block in _folds(train, folds, gap_ticks):
        members: dict[str, FittedLearner] = {}
        for member in of:
            # Members of an ensemble that is a member are fitted again too: the fitted ones know the block.
            members[member.name] = fit_member(member, columns, past, stop, declared, gap_ticks=gap_ticks, members=members)
        for parts, member in zip(predicted, of, strict=True):
            parts.append(members[member.name].predict(block.x))
        rows.append(block)
    weight = None if train.weight is None else np.concatenate([part.weight for part in rows if part.weight is not None])
    x, y = (np.concatenate([getattr(part, name) for part in rows]) for name in ("x", "y"))
    return np.stack([np.concatenate(parts) for parts in predicted], axis=1), LearnerRows(x, y, weight, classes=train.classes)


def _folds(train: LearnerRows, folds: int, gap_ticks: int) -> Iterator[tuple[LearnerRows, LearnerRows, LearnerRows]]:
    """Yield past, stopping and predicted rows of each fold; folds whose past has only one outcome are left out."""
    edges = [round(len(train) * i / (folds + 2)) for i in range(folds + 3)]
    if train.tick is not None:
        # No tick is split between blocks.
        edges = [0, *(int(np.searchsorted(train.tick, train.tick[edge])) for edge in edges[1:-1]), len(train)]
    for first, second, last in zip(edges[1:], edges[2:], edges[3:], strict=False):
        before = train.take(slice(0, second))
        stop = train.take(slice(first, second)) if second >= len(train) else _rows_between(train, first, second, gap_ticks)
        past, block = before.before(first, gap_ticks), train.take(slice(second, last))
        if len(block) and len(set(past.y.tolist())) >= 2:
            yield past, stop, block


def _rows_between(train: LearnerRows, first: int, second: int, gap_ticks: int) -> LearnerRows:
    """Return the rows from `first` up to the gap before `second`."""
    kept = train.before(second, gap_ticks)
    return kept.take(slice(first, None))


def _fit_weights(log_odds: Floats, rows: LearnerRows) -> tuple[tuple[float, ...], float]:
    """Fit a logistic regression on members' log-odds; return its weights, at least 0, and intercept."""
    from scipy.optimize import minimize

    y = rows.y.astype(np.float64)
    share = np.full(len(y), 1 / len(y)) if rows.weight is None else rows.weight / rows.weight.sum()
    members = log_odds.shape[1]

    def loss(at: Floats) -> tuple[float, Floats]:
        total = log_odds @ at[:-1] + at[-1]
        # log(1 + exp(total)) - y * total, without overflow
        each = np.logaddexp(0, total) - y * total
        residual = share * (expit(total) - y)
        from_equal = at[:-1] - 1 / members
        gradient = np.append(log_odds.T @ residual + 2 * PENALTY * from_equal, residual.sum())
        return float(share @ each + PENALTY * from_equal @ from_equal), gradient

    start = np.append(np.full(members, 1 / members), 0.0)
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * members + [(None, None)]).x
    return tuple(solution[:-1].tolist()), float(solution[-1])


def _fit_weights_of_numbers(predicted: Floats, rows: LearnerRows) -> tuple[tuple[float, ...], float]:
    """Fit outcomes as a sum of members' predictions by least squares; return its weights, at least 0, and intercept."""
    from scipy.optimize import nnls

    share = np.full(len(rows), 1 / len(rows)) if rows.weight is None else rows.weight / rows.weight.sum()
    means, mean = share @ predicted, float(share @ rows.y)
    members, sd = predicted.shape[1], float(np.sqrt(share @ (rows.y - mean) ** 2))
    root = np.sqrt(share)[:, None]
    # The last rows are the penalty on the distance of weights from equal ones, in the outcomes' variance.
    penalty = np.sqrt(PENALTY) * sd * np.eye(members)
    left = np.concatenate((root * (predicted - means), penalty))
    right = np.concatenate((root[:, 0] * (rows.y - mean), penalty.sum(axis=1) / members))
    weights, _ = nnls(left, right)
    return tuple(weights.tolist()), mean - float(means @ weights)


def _save(members: tuple[tuple[str, FittedLearner], ...], folder: Path) -> None:
    for i, (_, member) in enumerate(members):
        member.save(folder / str(i))
