"""The flights of `benchmarks.power` asked for a yes or no, a number or a class, and shifts of scores and outcomes of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import PROBABILITIES
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.predicted_columns import logged_columns, read_scores
from mlprod_tasks.statistics.class_scores import ClassScores

Rows: TypeAlias = pa.Table
Change = Callable[["World", Rows, int, np.random.Generator], Rows]
CLASSES = ("early", "on time", "late", "very late")
CLASS_SQL = (
    "CASE WHEN arr_delay <= -15 THEN 'early' WHEN arr_delay <= 15 THEN 'on time' WHEN arr_delay <= 60 THEN 'late' "
    "ELSE 'very late' END"
)


@dataclass(frozen=True)
class World:
    """Scored and labelled rows: the reference's, and those of the ticks after it."""

    pipeline: Pipeline
    model: Any
    reference: Rows
    after: Rows


@dataclass(frozen=True)
class Injected:
    """One kind and size of shift. `goal`: whether it must be found at the first tick."""

    kind: str
    size: str
    change: Change
    goal: bool = False


@dataclass(frozen=True)
class Asked:
    """One task: how the shipped declaration asks for it, and the shifts of its scores and outcomes."""

    declared: Callable[[Pipeline], Pipeline]
    shifts: tuple[Injected, ...]


def with_column(rows: Rows, name: str, values: Any) -> Rows:
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if name not in rows.column_names:
        return rows.append_column(name, column)
    return rows.set_column(rows.column_names.index(name), name, column)


def with_predictions(rows: Rows, predicted: Predictions, *, decides: bool = True) -> Rows:
    """The rows with predictions, as scoring logs them."""
    for name, column in logged_columns(predicted, decides=decides).items():
        rows = with_column(rows, name, column)
    return with_column(rows, "fallback", np.zeros(rows.num_rows, bool))


def for_minutes(pipeline: Pipeline) -> Pipeline:
    """How many minutes late, at most three hours: a number."""
    sql = "least(arr_delay, 180)"
    return _bare(
        pipeline,
        task="regression",
        model=replace(pipeline.model, calibration=ml.Model().calibration),
        label=replace(pipeline.label, sql=sql, kind="number"),
        fallback=ml.MeanTable(by=("carrier", "dep_hour")),
        value=ml.PredictionValue(unit="minutes"),
        kpi=ml.Kpi("error", "avg(abs(prediction - outcome))", "mean absolute error"),
    )


def for_classes(pipeline: Pipeline) -> Pipeline:
    """How punctual: one of four classes."""
    return _bare(
        pipeline,
        task="multiclass",
        label=replace(pipeline.label, sql=CLASS_SQL, kind="class", classes=CLASSES),
        fallback=ml.ShareTable(by=("carrier", "dep_hour")),
        value=ml.ClassValue(right=1, wrong=-1, unit="points"),
        kpi=ml.Kpi("right", "100 * avg((prediction = outcome)::INT)", "right predictions of 100"),
    )


def _bare(pipeline: Pipeline, task: Any, **parts: Any) -> Pipeline:
    """The declaration for another task, watched by the defaults, without what belongs to decisions."""
    without: dict[str, Any] = {"backtest": None, "serving": None, "slices": (), "publish": None, "experiments": None}
    gates = (ml.BetterThanBaseline("mae" if task == "regression" else "log_loss"),)
    return replace(pipeline, task=task, gates=gates, watches=ml.WATCHES, rules=ml.RULES, **without, **parts)


def drifted(logits: float) -> Change:
    """Every score is higher by so much in log odds; features and outcomes are as they were."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        score = rows["score"].to_numpy()
        moved = 1 / (1 + (1 - score) / score * np.exp(-logits))
        return with_column(with_column(rows, "score", moved), "decision", moved >= world.model.threshold)

    return change


def as_often(times: float) -> Change:
    """Positives are so many times as frequent: each row is drawn again, positives with another weight (a prior shift)."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        label = rows["label"].to_numpy(zero_copy_only=False) == True  # noqa: E712 - what has no outcome stays as it is
        return drawn_again(rows, label, times, random)

    return change


def flipped(share: float) -> Change:
    """That share of the outcomes is the opposite of what it was (a concept shift)."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        flags = random.random(rows.num_rows) < share
        return with_column(rows, "label", pc.if_else(flags, pc.invert(rows["label"]), rows["label"]))

    return change


def drawn_again(rows: Rows, chosen: np.ndarray, times: float, random: np.random.Generator) -> Rows:
    """The rows drawn again, so that the chosen ones are so many times as frequent among those with an outcome."""
    known = rows["label"].is_valid().to_numpy(zero_copy_only=False)
    rate = chosen[known].mean()
    weight = np.where(chosen, times, (1 - min(0.95, times * rate)) / (1 - rate))
    weight[~known] = 1.0
    return rows.take(random.choice(rows.num_rows, rows.num_rows, p=weight / weight.sum()))


def predicted_higher(sds: float) -> Change:
    """Every predicted number is higher by so many standard deviations of those of the reference."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        sd = float(np.std(world.reference["score"].to_numpy()))
        return with_column(rows, "score", rows["score"].to_numpy() + sds * sd)

    return change


def came_higher(sds: float) -> Change:
    """Every outcome is higher by so many standard deviations of those of the reference (a prior shift)."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        sd = pc.stddev(world.reference["label"]).as_py()
        return with_column(rows, "label", pc.add(rows["label"], sds * sd))

    return change


def erred_more(times: float) -> Change:
    """Outcomes are so many times as far from what was predicted (a concept shift)."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        error = pc.subtract(rows["label"], rows["score"])
        return with_column(rows, "label", pc.add(rows["score"], pc.multiply(error, times)))

    return change


def likelier(logits: float) -> Change:
    """The last class is likelier in every row by so much in log odds; features and outcomes are as they were."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        score = read_scores(rows[PROBABILITIES].to_pylist())
        shares = score.shares.copy()
        shares[:, score.classes.index(CLASSES[-1])] *= np.exp(logits)
        moved = ClassScores(score.classes, shares / shares.sum(axis=1, keepdims=True))
        return with_predictions(rows, Predictions(moved, world.model.rule.chosen(moved)))

    return change


def class_as_often(times: float) -> Change:
    """The class 'late' is so many times as frequent (a prior shift)."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        late = np.asarray(pc.fill_null(pc.equal(rows["label"], CLASSES[2]), False).to_numpy(zero_copy_only=False))
        return drawn_again(rows, late, times, random)

    return change


def mixed_up(share: float) -> Change:
    """That share of the rows has the outcome of another row (a concept shift)."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        others = rows["label"].combine_chunks().take(pa.array(random.permutation(rows.num_rows)))
        return with_column(rows, "label", pc.if_else(random.random(rows.num_rows) < share, others, rows["label"]))

    return change


def renamed_class(share: float) -> Change:
    """That share of the outcomes is of a class that the model does not know."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        return with_column(rows, "label", pc.if_else(random.random(rows.num_rows) < share, "diverted", rows["label"]))

    return change


ASKED = {
    "binary": Asked(
        lambda pipeline: pipeline,
        (
            *(Injected("scores drift", f"{logits:g} in log odds", drifted(logits)) for logits in (0.25, 0.5)),
            *(Injected("label rate", f"x {times:g}", as_often(times), goal=times in (0.5, 2)) for times in (0.5, 0.8, 1.25, 2)),
            *(Injected("outcomes flip", f"{share:.0%}", flipped(share)) for share in (0.05, 0.1, 0.2)),
        ),
    ),
    "regression": Asked(
        for_minutes,
        (
            *(Injected("predictions drift", f"{sds:g} SD", predicted_higher(sds)) for sds in (0.25, 0.5, 1.0)),
            *(Injected("outcomes move", f"{sds:g} SD", came_higher(sds), goal=sds == 1) for sds in (0.25, 0.5, 1.0)),
            *(Injected("errors grow", f"x {times:g}", erred_more(times)) for times in (1.25, 1.5, 2.0)),
        ),
    ),
    "multiclass": Asked(
        for_classes,
        (
            *(Injected("one class is likelier", f"{logits:g} in log odds", likelier(logits)) for logits in (0.5, 1.0)),
            *(
                Injected("frequency of one class", f"x {times:g}", class_as_often(times), goal=times == 2)
                for times in (0.5, 0.8, 1.25, 2)
            ),
            *(Injected("outcomes of other rows", f"{share:.0%}", mixed_up(share)) for share in (0.1, 0.3, 1.0)),
            Injected("a class that is not known", "5%", renamed_class(0.05), goal=True),
        ),
    ),
}
