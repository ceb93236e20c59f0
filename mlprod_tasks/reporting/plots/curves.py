"""Curves over all scores: ranking, calibration, and the value of acting on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.documents.plot_style import BLUE, GREY, INK, ORANGE, PURPLE, Bools, Floats, figure, thinned
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.statistics import metrics
from mlprod_tasks.statistics.intervals import wilson
from mlprod_tasks.statistics.resamples import Ticks, drawn_weights, number_of, widening

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESAMPLES = 200
SHARES = 101  # points of the value curve
SMALLEST_SHARE = 0.005  # of the rows; the lift of fewer is noise


@dataclass(frozen=True)
class ScoredOutcomes:
    """Rows of the test window with an outcome.

    outcome: (n,) bool; score: (n,) probabilities; acts: (n,) the decisions. threshold: the lowest score at which the model
    acts; None if it differs by segment. champion: (n,) the champion's scores of the same rows, if there is one; champion_name:
    its name in the legend. ticks: the place of each row's tick, (n,), if there are enough to draw them for intervals.
    """

    outcome: Bools
    score: Floats
    acts: Bools
    threshold: float | None
    champion: Floats | None = None
    champion_name: str = "champion"
    ticks: Ticks | None = None

    def curves(self) -> Iterator[tuple[Floats, str, str]]:
        """The scores to draw, with colour and name.

        The champion's first, so that the model's are on top.
        """
        if self.champion is not None:
            yield self.champion, PURPLE, self.champion_name
        yield self.score, BLUE, "model"


def roc(scored: ScoredOutcomes) -> Figure:
    """The ROC curve, with the point at which the model acts."""
    fig, axes = figure(f"ROC curve, area {metrics.roc_auc(scored.outcome, scored.score):.3f}")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="chance")
    for score, colour, name in scored.curves():
        _, hits, misses = _cumulative(scored.outcome, score)
        axes.plot(
            *thinned(misses / misses[-1], hits / hits[-1]), color=colour, linewidth=2 if name == "model" else 1.3, label=name
        )
    at = (scored.acts[~scored.outcome].mean(), scored.acts[scored.outcome].mean())
    _mark(axes, at, _threshold_words(scored))
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.005))
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return fig


def precision_recall(scored: ScoredOutcomes) -> Figure:
    """Precision against recall, with the share of positives as the line of chance."""
    outcome = scored.outcome
    fig, axes = figure(f"Precision and recall, average precision {metrics.pr_auc(outcome, scored.score):.3f}")
    rate = float(outcome.mean())
    axes.axhline(rate, color=GREY, linestyle="--", linewidth=1, label=f"chance: {rate:.1%} are positive")
    for score, colour, name in scored.curves():
        _, hits, misses = _cumulative(outcome, score)
        recall, precision = hits[1:] / hits[-1], hits[1:] / (hits[1:] + misses[1:])
        axes.plot(*thinned(recall, precision), color=colour, linewidth=2 if name == "model" else 1.3, label=name)
    if scored.acts.any():
        _mark(axes, (scored.acts[outcome].mean(), outcome[scored.acts].mean()), _threshold_words(scored))
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.005))
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    return fig


def calibration(scored: ScoredOutcomes) -> Figure:
    """Share of positives in each bin of scores.

    On the diagonal the scores are calibrated.
    """
    fig, axes = figure(f"Calibration, expected error {metrics.calibration_error(scored.outcome, scored.score):.3f}")
    expected, realised, rows = metrics.calibration_bins(scored.outcome, scored.score)
    low, high = np.transpose([wilson(share * n, n) for share, n in zip(realised, rows, strict=True)])
    top = min(1.0, 1.1 * max(expected.max(), high.max()))
    axes.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    label = f"model, {len(expected)} bins of about {rows.mean():,.0f} rows"
    ends = [realised - low, high - realised]
    axes.errorbar(expected, realised, yerr=ends, color=BLUE, marker="o", linewidth=2, capsize=3, label=label)
    axes.set(xlabel="mean score of the bin", ylabel="share of positives in the bin", xlim=(0, top), ylim=(0, top))
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return fig


def gain(scored: ScoredOutcomes) -> Figure:
    """Share of all positives found, by share of rows acted on."""
    fig, axes = figure("Cumulative gain")
    rate = float(scored.outcome.mean())
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1, label="acting at random")
    axes.plot([0, 100 * rate, 100], [0, 100, 100], color=GREY, linestyle=":", linewidth=1, label="best possible")
    for score, colour, name in scored.curves():
        _, hits, misses = _cumulative(scored.outcome, score)
        acted = 100 * (hits + misses) / len(score)
        axes.plot(*thinned(acted, 100 * hits / hits[-1]), color=colour, linewidth=2 if name == "model" else 1.3, label=name)
    _mark(axes, (100 * scored.acts.mean(), 100 * scored.acts[scored.outcome].mean()), _threshold_words(scored))
    axes.set(xlabel="percent of rows acted on", ylabel="percent of positives found", xlim=(0, 100), ylim=(0, 100.5))
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return fig


def lift(scored: ScoredOutcomes) -> Figure:
    """How much more often the highest scores are positive than all rows."""
    fig, axes = figure("Lift")
    axes.axhline(1, color=GREY, linestyle="--", linewidth=1, label="acting at random")
    rate = float(scored.outcome.mean())
    top = 1.0
    for score, colour, name in scored.curves():
        _, hits, misses = _cumulative(scored.outcome, score)
        share = (hits + misses) / len(score)
        enough = share >= SMALLEST_SHARE
        lifts = hits[enough] / (share[enough] * len(score)) / rate
        top = max(top, float(lifts.max()))
        axes.plot(*thinned(100 * share[enough], lifts), color=colour, linewidth=2 if name == "model" else 1.3, label=name)
    if scored.acts.any():
        _mark(axes, (100 * scored.acts.mean(), scored.outcome[scored.acts].mean() / rate), _threshold_words(scored))
    axes.set(
        xlabel="percent of rows acted on",
        ylabel="positives among them, relative to chance",
        xlim=(0, 100),
        ylim=(0, 1.08 * top),
    )
    axes.yaxis.set_major_formatter("{x:g}x")
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    return fig


def profit(scored: ScoredOutcomes, worth: Worth, unit: str, champion_worth: Worth | None = None, seed: int = 0) -> Figure:
    """The value of acting on the highest scores, by share of rows acted on.

    The band is a 95 % bootstrap interval. worth: that of either decision for each row; champion_worth: the same for the
    champion's scores, if it depends on them.
    """
    fig, axes = figure("Value of acting on the highest scores")
    axes.axhline(0, color=INK, linewidth=0.8)
    shares, value, low, high = profit_band(scored.score, worth, seed, ticks=scored.ticks)
    axes.plot([0, 100], [value[0], value[-1]], color=GREY, linestyle="--", linewidth=1, label="acting at random")
    axes.fill_between(100 * shares, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95 % interval")
    for score, colour, name in scored.curves():
        values = value if name == "model" else profit_band(score, champion_worth or worth, seed, resamples=0)[1]
        axes.plot(100 * shares, values, color=colour, linewidth=2 if name == "model" else 1.3, label=name)
    at = 1000 * float(worth.of(scored.acts).mean())
    _mark(axes, (100 * scored.acts.mean(), at), f"{_threshold_words(scored)}: {at:,.0f} {unit}")
    axes.set(xlabel="percent of rows acted on", ylabel=f"{unit} per 1,000 rows", xlim=(0, 100))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="best", frameon=False, fontsize=9)
    return fig


def profit_band(
    score: Floats, worth: Worth, seed: int = 0, resamples: int = RESAMPLES, ticks: Ticks | None = None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Shares of rows acted on, (SHARES,), and the value per 1,000 rows at each.

    The value comes with its 95 % bootstrap interval, of resamples of `ticks` if these are given, else of rows. If only a part
    of the rows with equal scores is acted on, each of them counts by that part.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    gained, waited = (worth.acted - worth.waited)[order], worth.waited[order]
    shares = np.linspace(0, 1, SHARES)

    def curve(weights: Floats) -> Floats:
        rows = np.concatenate(([0.0], np.cumsum(np.add.reduceat(weights, starts))))
        total = np.concatenate(([0.0], np.cumsum(np.add.reduceat(weights * gained, starts))))
        n = rows[-1]
        return np.asarray(1000 * (np.interp(shares * n, rows, total) + (weights * waited).sum()) / n)

    measured = curve(np.ones(len(score)))
    if not resamples:
        return shares, measured, measured, measured
    of_rank = None if ticks is None else ticks[order]
    drawn = [curve(weights) for some in drawn_weights(len(score), resamples, seed, of_rank) for weights in some]
    wider = 1.0 if ticks is None else widening(number_of(ticks))
    low, high = measured + wider * (np.quantile(drawn, [0.025, 0.975], axis=0) - measured)
    return shares, measured, low, high


def _threshold_words(scored: ScoredOutcomes) -> str:
    if not scored.acts.any():
        return "never acts"
    return "acts" if scored.threshold is None else f"acts from {scored.threshold:.3f} on"


def _mark(axes: Axes, at: tuple[float, float], label: str) -> None:
    axes.plot(*at, "o", color=ORANGE, markersize=8, label=label, zorder=5, clip_on=False)


def _cumulative(outcome: Bools, score: Floats) -> tuple[Floats, Floats, Floats]:
    """Distinct scores, descending, with the positives and negatives from each up.

    The counts have a leading 0.
    """
    ranking = metrics.Ranking(outcome, score)
    positive, negative = ranking.groups(np.ones((1, ranking.rows)))
    at = ranking.score[ranking.starts]
    return at, np.append(0.0, np.cumsum(positive[0])), np.append(0.0, np.cumsum(negative[0]))
