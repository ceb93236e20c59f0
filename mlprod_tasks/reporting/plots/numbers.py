"""Pictures of predicted numbers: against what came, and by how much they were off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.documents.plot_style import BLUE, GREY, INK, ORANGE, PURPLE, WIDTH, Floats, figure, panels
from mlprod_tasks.statistics import regression_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS = 10  # of rows with similar predictions
MOST_POINTS = 4000  # drawn; more would hide each other
SHOWN_SHARE = 0.99  # of the rows: a few huge values would press all others into a corner
BINS = 60


@dataclass(frozen=True)
class PredictedNumbers:
    """Rows of the test window with an outcome.

    outcome, predicted: (n,). champion: (n,) the champion's predictions of the same rows, if there is one; champion_name: its
    name in the legend. interval: the ends of the model's intervals, (n,) each.
    """

    outcome: Floats
    predicted: Floats
    champion: Floats | None = None
    champion_name: str = "champion"
    interval: tuple[Floats, Floats] | None = None

    def models(self) -> Iterator[tuple[Floats, str, str]]:
        """The predictions to draw, with colour and name; the champion's first, so that the model's are on top."""
        if self.champion is not None:
            yield self.champion, PURPLE, self.champion_name
        yield self.predicted, BLUE, "model"


def against_outcomes(numbers: PredictedNumbers) -> Figure:
    """Each outcome against its prediction, and the mean outcome of rows with similar predictions."""
    fig, axes = figure(f"Predicted and real, R2 {_r2(numbers):.3f}")
    at = _drawn(len(numbers.outcome))
    axes.scatter(numbers.predicted[at], numbers.outcome[at], s=5, color=BLUE, alpha=0.18, linewidths=0)
    low, high = _ends(np.concatenate((numbers.predicted, numbers.outcome)))
    axes.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1, label="as predicted")
    if numbers.interval is not None:
        order = np.argsort(numbers.predicted)
        for end, label in zip(numbers.interval, ("interval", ""), strict=True):
            axes.plot(numbers.predicted[order], end[order], color=ORANGE, linewidth=1.2, label=label or None)
    for predicted, colour, name in numbers.models():
        expected, realised, error = _groups(predicted, numbers.outcome)
        axes.errorbar(
            expected, realised, yerr=1.96 * error, color=INK if name == "model" else colour, marker="o", markersize=4.5,
            linewidth=1.4, elinewidth=1, capsize=2, label=f"mean outcome, {name}",
        )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="real", xlim=(low, high), ylim=(low, high))
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return fig


def residuals(numbers: PredictedNumbers) -> Figure:
    """Outcome minus prediction: against the prediction, and as a distribution."""
    fig, (by_prediction, spread) = panels("Outcome minus prediction", 1, 2, width=1.45 * WIDTH, height=4.2)
    off = numbers.outcome - numbers.predicted
    at = _drawn(len(off))
    by_prediction.scatter(numbers.predicted[at], off[at], s=5, color=BLUE, alpha=0.18, linewidths=0)
    by_prediction.axhline(0, color=INK, linewidth=0.8)
    _residual_band(by_prediction, numbers.predicted, off)
    low, high = _ends(off)
    by_prediction.set(xlabel="predicted", ylabel="real minus predicted", xlim=_ends(numbers.predicted), ylim=(low, high))
    by_prediction.legend(loc="upper left", frameon=False, fontsize=9)
    edges = np.linspace(low, high, BINS + 1)
    for predicted, colour, name in numbers.models():
        share = np.histogram(numbers.outcome - predicted, edges)[0] / len(off)
        spread.stairs(100 * share, edges, fill=name == "model", color=colour, alpha=0.25 if name == "model" else 1.0)
        spread.stairs(100 * share, edges, color=colour, linewidth=1.4, label=name)
    spread.axvline(0, color=INK, linewidth=0.8)
    spread.axvline(float(off.mean()), color=ORANGE, linestyle="--", linewidth=1.2, label="mean")
    spread.set(xlabel="real minus predicted", ylabel="percent of rows", xlim=(low, high))
    spread.legend(loc="upper right", frameon=False, fontsize=9)
    return fig


def distributions(numbers: PredictedNumbers) -> Figure:
    """The distribution of predictions beside that of outcomes: a model that knows little predicts a narrow range."""
    fig, axes = figure("Distribution of predictions and outcomes")
    low, high = _ends(np.concatenate((numbers.predicted, numbers.outcome)))
    edges = np.linspace(low, high, BINS + 1)
    for values, colour, name in ((numbers.outcome, ORANGE, "real"), (numbers.predicted, BLUE, "predicted")):
        share = np.histogram(values, edges)[0] / len(values)
        axes.stairs(100 * share, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(100 * share, edges, color=colour, linewidth=1.4, label=name)
    axes.set(xlabel="value", ylabel="percent of rows", xlim=(low, high))
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    return fig


def _r2(numbers: PredictedNumbers) -> float:
    return regression_metrics.r2(numbers.outcome, numbers.predicted)


def _residual_band(axes: Axes, predicted: Floats, off: Floats) -> None:
    """The median and the middle eight tenths of residuals of rows with similar predictions."""
    groups = _equal_groups(predicted)
    x = np.array([predicted[rows].mean() for rows in groups])
    low, middle, high = np.array([np.quantile(off[rows], (0.1, 0.5, 0.9)) for rows in groups]).T
    axes.fill_between(x, low, high, color=ORANGE, alpha=0.16, linewidth=0, label="eight tenths of rows")
    axes.plot(x, middle, color=ORANGE, linewidth=1.8, marker="o", markersize=4, label="median")


def _groups(predicted: Floats, outcome: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean prediction, mean outcome and its standard error, of rows with similar predictions, (groups,) each."""
    groups = _equal_groups(predicted)
    error = [outcome[rows].std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan for rows in groups]
    return (
        np.array([predicted[rows].mean() for rows in groups]),
        np.array([outcome[rows].mean() for rows in groups]),
        np.array(error),
    )


def _equal_groups(predicted: Floats) -> list[np.ndarray]:
    """The rows by prediction in at most GROUPS parts of about the same size; equal predictions stay together."""
    order = np.argsort(predicted, kind="stable")
    ranked = predicted[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    even = np.linspace(0, len(order), GROUPS, endpoint=False)
    at = np.searchsorted(starts, even)
    cuts = np.unique(starts[at[at < len(starts)]])
    return [rows for rows in np.split(order, cuts[1:]) if len(rows)]


def _drawn(rows: int) -> np.ndarray:
    """Positions of the rows to draw, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_POINTS)).astype(np.int64))


def _ends(values: Floats) -> tuple[float, float]:
    """The range of SHOWN_SHARE of the values, with some room."""
    low, high = np.quantile(values, ((1 - SHOWN_SHARE) / 2, (1 + SHOWN_SHARE) / 2))
    room = 0.04 * (high - low) or 1.0
    return float(low - room), float(high + room)
