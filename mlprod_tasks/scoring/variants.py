"""Assign the rows of a tick to the variants of an experiment."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.bandits import run as bandits
from mlprod_tasks.bandits.give import give
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.bandit import ACTION, STATE
from mlprod_tasks.declaration.experiment import ASSIGNED, CONTROL, SECOND
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.assignment import Variant, assign, combined, unit_columns, units_of, units_of_run
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditRun

if TYPE_CHECKING:
    from mlprod_tasks.models.feature_frame import Predictions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assigned:
    """The variants of a tick's rows.

    variants: of all experiments, or of a bandit; named: the name of each variant's experiment or bandit; of_row: the position
    of each row's variant, (rows,), -1 for none. without: the experiment or bandit of rows without a variant, of the one that
    has all units. propensities: (rows,) with which probability a bandit gave each row what it got; None if these are the
    variants' shares. state: the version of the bandit's state. actions: (rows,) what is to be done with each row, of a bandit
    with actions. second_of_row: the position of a second variant, (rows,), -1 for none: of an experiment that varies another
    part of the answer. Of two, the first one is not the control unless both are: a row is the champion's own if the first is.
    """

    variants: tuple[Variant, ...]
    named: tuple[str, ...]
    without: str | None
    of_row: NDArray[np.int64]
    propensities: NDArray[np.float64] | None = None
    state: int | None = None
    actions: tuple[str | None, ...] | None = None
    second_of_row: NDArray[np.int64] | None = None

    def answering(self) -> Iterator[tuple[Variant, str, NDArray[np.bool_]]]:
        """Yield what answers rows, whose experiment that is, and which rows, (rows,)."""
        second = np.full_like(self.of_row, -1) if self.second_of_row is None else self.second_of_row
        for one, other in np.unique(np.column_stack([self.of_row, second]), axis=0).tolist():
            if one >= 0:
                both = self.variants[one] if other < 0 else combined(self.variants[one], self.variants[other])
                yield both, self.named[one], (self.of_row == one) & (second == other)

    def held_out(self) -> NDArray[np.bool_]:
        """Which rows the fallback answers because they are held out, (rows,)."""
        return np.isin(self.of_row, [i for i, one in enumerate(self.variants) if one.held_out])

    def columns(self) -> dict[str | None, Any]:
        """The columns that record the assignment; null where there is none."""
        without = self.of_row < 0
        columns = self._columns(ASSIGNED, self.of_row, self.without, self.propensities)
        if self.second_of_row is not None:
            columns |= self._columns(SECOND, self.second_of_row, None, None)
        if self.state is not None:
            columns[STATE] = pa.array(np.full(len(without), self.state, np.int32), mask=without)
        if self.actions is not None:
            columns[ACTION] = pa.array(self.actions, pa.string(), mask=without)
        return columns

    def _columns(
        self,
        called: tuple[str, str, str],
        of_row: NDArray[np.int64],
        otherwise: str | None,
        propensities: NDArray[np.float64] | None,
    ) -> dict[str | None, Any]:
        """Experiment, variant and propensity of rows. otherwise: the experiment of rows without a variant."""
        names, named = [one.name for one in self.variants] + [None], [*self.named, otherwise]
        shares = np.array([one.share for one in self.variants] + [np.nan])
        experiment, variant, propensity = called
        return {
            experiment: pa.array([named[position] for position in of_row], pa.string()),
            variant: pa.array([names[position] for position in of_row], pa.string()),
            propensity: pa.array(shares[of_row] if propensities is None else propensities, pa.float64(), mask=of_row < 0),
        }

    def failed(self, rows: NDArray[np.bool_]) -> Assigned:
        """The same after a variant could not answer its rows, (rows,): a bandit does not learn from what it did not give.

        An experiment keeps them: it is void if it was not what was planned.
        """
        return self if self.state is None else replace(self, of_row=np.where(rows, -1, self.of_row))


def assigned(pipeline: Pipeline, tick: Tick, rows: pa.Table, champion: int, platform: Platform) -> Assigned | None:
    """Assign the rows of a tick; None without an experiment or bandit.

    Each unit is in one of several experiments, or in two that vary different parts of the answer. The champion is the control
    of a plan, or it assigns no rows: what was planned is not what would be compared.
    """
    runs = experiments.in_force(pipeline, tick, platform)
    if not runs:
        return chosen(pipeline, tick, rows, champion, platform)
    units = units_of(rows, unit_columns(pipeline))
    variants: list[Variant] = []
    named: list[str] = []
    first, second = np.full((2, len(units)), -1, np.int64)
    without = None
    for run in runs:
        planned, among = experiments.plan_of(run), units_of_run(run)
        if planned.control.version != champion:
            continue
        found = assign(units, run.salt, planned.variants, among)
        # Of two the one that is not the control comes first.
        instead = (first >= 0) & (found > 0) & np.isin(first, [i for i, one in enumerate(variants) if one.name == CONTROL])
        found = np.where(found < 0, found, found + len(variants))
        second = np.where(instead, first, np.where((first >= 0) & (found >= 0), found, second))
        first = np.where(instead | (first < 0), found, first)
        variants += planned.variants
        named += [run.name] * len(planned.variants)
        without = run.name if among.whole and without is None else without
    if not variants:
        return None
    two = second if (second >= 0).any() else None
    return Assigned(tuple(variants), tuple(named), without, first, second_of_row=two)


def chosen(pipeline: Pipeline, tick: Tick, rows: pa.Table, champion: int, platform: Platform) -> Assigned | None:
    """Give the rows of a tick what a bandit chooses for them; None without a bandit, or if it cannot choose."""
    run = bandits.in_force(pipeline, tick, platform)
    if run is None:
        return None
    plan = bandits.plan_of(run)
    if plan.variants[0].version != champion and not plan.acts:
        log.warning("%s: bandit %s chose among other versions than %d: it gives no arms", pipeline.name, run.name, champion)
        return None
    try:
        given = give(pipeline, run, tick, rows, platform)
    except Exception:
        log.exception("%s: bandit %s cannot choose at %s: the champion answers all rows", pipeline.name, run.name, tick)
        return None
    named = (run.name,) * len(plan.variants)
    if not plan.acts:
        return Assigned(plan.variants, named, run.name, given.arm, given.propensity, given.version)
    actions = tuple(plan.arms[arm] if arm >= 0 else None for arm in given.arm)
    control = np.where(given.arm < 0, -1, 0)
    return Assigned(plan.variants, named, run.name, control, given.propensity, given.version, actions)


def row_thresholds(pipeline: Pipeline, rows: pa.Table, platform: Platform) -> list[float | None]:
    """Return the threshold with which a variant decided each stored row; None for the version's own."""
    if not set(ASSIGNED) <= set(rows.column_names):
        return [None] * rows.num_rows
    thresholds: dict[tuple[str | None, str | None], float | None] = {(None, None): None}

    def threshold(of: tuple[str | None, str | None]) -> float | None:
        if of not in thresholds and of[0] is not None:
            thresholds.update({(of[0], one.name): one.threshold for one in _variants_of(pipeline, of[0], platform)})
        return thresholds.get(of)

    pairs = [_pairs(rows, ASSIGNED), *([_pairs(rows, SECOND)] if set(SECOND) <= set(rows.column_names) else [])]
    # Only one of two experiments varies the threshold.
    return [next((own for of in row if (own := threshold(of)) is not None), None) for row in zip(*pairs, strict=True)]


def _pairs(rows: pa.Table, called: tuple[str, str, str]) -> list[tuple[str | None, str | None]]:
    """The experiment and the variant of each row."""
    return list(zip(rows[called[0]].to_pylist(), rows[called[1]].to_pylist(), strict=True))


def _variants_of(pipeline: Pipeline, name: str, platform: Platform) -> tuple[Variant, ...]:
    """The variants of an experiment or bandit. Raises: NoExperiment."""
    if platform.ledger.get(BanditRun, pipeline.name, name) is not None:
        return bandits.plan_of(bandits.get(pipeline, name, platform)).variants
    return experiments.plan_of(experiments.get(pipeline, name, platform)).variants


def decided_from(predictions: Predictions, threshold: float | None, by_fallback: NDArray[np.bool_]) -> Predictions:
    """Return predictions decided from another threshold on; the fallback's decisions stand. by_fallback: (rows,)."""
    if threshold is None:
        return predictions
    return replace(predictions, decision=np.where(by_fallback, predictions.decision, predictions.score >= threshold))
