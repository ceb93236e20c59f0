"""A model at a glance: six pictures of how it ranks, how far it can be believed, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks import metrics, value
from mlprod_tasks.declaration import Pipeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLUE, ORANGE, GREY = "#1f5fa8", "#d9722e", "#8a8f98"
SHOWN_FEATURES = 20
POINTS = 2000  # of a curve: more are not seen


def write(
    folder: Path, pipeline: Pipeline, outcome: Bools, score: Floats, threshold: float, importance: Mapping[str, float]
) -> None:
    """Write roc, precision_recall, calibration, scores, importance and value as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "roc": roc(outcome, score, threshold),
        "precision_recall": precision_recall(outcome, score, threshold),
        "calibration": calibration(outcome, score),
        "scores": scores(outcome, score, threshold),
        "importance": gain_importance(importance),
        "value": value_curve(pipeline, outcome, score, threshold),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)


def roc(outcome: Bools, score: Floats, threshold: float) -> Figure:
    """True against false positive rate, with the point at which the model acts."""
    figure, axes = _figure(f"ROC curve, area {metrics.roc_auc(outcome, score):.3f}")
    _, hits, misses = _cumulative(outcome, score)
    x, y = misses / misses[-1], hits / hits[-1]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="chance")
    axes.plot(*_thinned(x, y), color=BLUE, linewidth=2, label="model")
    acts = score >= threshold
    axes.plot(
        acts[~outcome].mean(), acts[outcome].mean(), "o", color=ORANGE, markersize=8, label=f"acts from {threshold:.3f} on"
    )
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.005))
    axes.legend(loc="lower right")
    return figure


def precision_recall(outcome: Bools, score: Floats, threshold: float) -> Figure:
    """Precision against recall, with the share of positives as the line that chance gives."""
    figure, axes = _figure(f"Precision and recall, average precision {metrics.pr_auc(outcome, score):.3f}")
    _, hits, misses = _cumulative(outcome, score)
    recall, precision = hits[1:] / hits[-1], hits[1:] / (hits[1:] + misses[1:])
    axes.axhline(outcome.mean(), color=GREY, linestyle="--", linewidth=1, label=f"chance: {outcome.mean():.1%} are positive")
    axes.plot(*_thinned(recall, precision), color=BLUE, linewidth=2, label="model")
    acts = score >= threshold
    if acts.any():
        at = (acts[outcome].mean(), outcome[acts].mean())
        axes.plot(*at, "o", color=ORANGE, markersize=8, label=f"acts from {threshold:.3f} on")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.005))
    axes.legend(loc="upper right")
    return figure


def calibration(outcome: Bools, score: Floats) -> Figure:
    """Share of positives in each bin of scores; on the diagonal scores mean what they say."""
    figure, axes = _figure(f"Calibration, expected error {metrics.calibration_error(outcome, score):.3f}")
    said, came, rows = metrics.calibration_bins(outcome, score)
    low, high = _wilson(came, rows)
    top = min(1.0, 1.1 * max(said.max(), high.max()))
    axes.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.errorbar(said, came, yerr=[came - low, high - came], color=BLUE, marker="o", linewidth=2, capsize=3, label="model")
    axes.set(xlabel="mean score of the bin", ylabel="share of positives in the bin", xlim=(0, top), ylim=(0, top))
    axes.legend(loc="upper left")
    return figure


def scores(outcome: Bools, score: Floats, threshold: float) -> Figure:
    """How the scores of positives and of negatives are distributed."""
    figure, axes = _figure("Scores by outcome")
    edges = np.linspace(0, max(float(score.max()), 1e-6), 41)
    for chosen, colour, name in ((~outcome, BLUE, "negative"), (outcome, ORANGE, "positive")):
        share = np.full(int(chosen.sum()), 1 / chosen.sum())
        axes.hist(
            score[chosen], edges.tolist(), weights=share, color=colour, alpha=0.55, label=f"{name} ({int(chosen.sum()):,} rows)"
        )
    if threshold <= 1:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"acts from {threshold:.3f} on")
    axes.set(xlabel="score", ylabel="share of the class")
    axes.legend(loc="upper right")
    return figure


def gain_importance(importance: Mapping[str, float]) -> Figure:
    """The features that make up most of the trees' gain."""
    top = sorted(importance.items(), key=lambda item: -item[1])[:SHOWN_FEATURES][::-1]
    figure, axes = _figure(
        f"Importance: share of gain, top {len(top)} of {len(importance)} features", height=0.28 * len(top) + 1.4
    )
    axes.barh([name for name, _ in top], [100 * share for _, share in top], color=BLUE)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.set(xlabel="per cent of total gain")
    return figure


def value_curve(pipeline: Pipeline, outcome: Bools, score: Floats, threshold: float) -> Figure:
    """What acting on the highest scores is worth, by how many are acted on."""
    unit, n = pipeline.value.unit, len(outcome)
    figure, axes = _figure("Value of acting on the highest scores")
    descending, total = value.total_by_threshold(pipeline.value, score, outcome)
    _, hits, misses = _cumulative(outcome, score)
    acted = 100 * (hits + misses) / n
    per_1000 = 1000 * total / n
    axes.axhline(0, color="black", linewidth=0.8)
    axes.plot([0, 100], [per_1000[0], per_1000[-1]], color=GREY, linestyle="--", linewidth=1, label="acting at random")
    axes.plot(*_thinned(acted, per_1000), color=BLUE, linewidth=2, label="model")
    at = int(np.searchsorted(-descending, -threshold, side="right"))
    told = f"acts from {threshold:.3f} on: {per_1000[at]:,.0f} {unit}"
    axes.plot(acted[at], per_1000[at], "o", color=ORANGE, markersize=8, label=told)
    axes.set(xlabel="per cent of rows acted on", ylabel=f"{unit} per 1,000 rows", xlim=(0, 100))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="best")
    return figure


def _figure(title: str, height: float = 4.4) -> tuple[Figure, Axes]:
    """A figure of its own: pyplot would keep every figure of a process alive and ask for a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=12, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _cumulative(outcome: Bools, score: Floats) -> tuple[Floats, Floats, Floats]:
    """Distinct scores, descending; positives and negatives at or above each, after a first 0."""
    ranking = metrics.Ranking(outcome, score)
    positive, negative = ranking.groups(np.ones((1, ranking.rows)))
    at = ranking.score[ranking.starts]
    return at, np.append(0.0, np.cumsum(positive[0])), np.append(0.0, np.cumsum(negative[0]))


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    if len(x) <= POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).astype(int))
    return x[kept], y[kept]


def _wilson(share: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """95 % interval of a share (Wilson, 1927)."""
    z = 1.96
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    return np.minimum(middle - half, share), np.maximum(middle + half, share)
