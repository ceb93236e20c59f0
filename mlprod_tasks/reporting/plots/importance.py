"""Pictures of importance, contributions and partial dependence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.documents.plot_style import BLUE, GREY, INK, PURPLE, Floats, figure, named_rows, panels, shortened
from mlprod_tasks.reporting.importance import Contributions, Dependence, Shuffled
from mlprod_tasks.reporting.task_words import SCALES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 20  # features
IN_SWARM = 14
MOVED = 15
BAR = 0.27  # inches per row


def gain(shares: Mapping[str, float]) -> Figure:
    """The most important features by the learner's own measure."""
    top = sorted(shares.items(), key=lambda item: -item[1])[:SHOWN]
    fig, axes = figure(f"Importance, top {len(top)} of {len(shares)} features", height=BAR * len(top) + 1.3)
    at = named_rows(axes, [name for name, _ in top])
    axes.barh(at, [100 * share for _, share in top], color=BLUE, height=0.7)
    axes.set(xlabel="share of all importance, percent")
    return fig


def permutation(title: str, lost: Sequence[Shuffled], what: str) -> Figure:
    """What is lost by shuffling features or groups of features, with intervals. what: 'AUC lost', for example."""
    top = lost[:SHOWN]
    heading = f"{title}, top {len(top)} of {len(lost)}" if len(lost) > len(top) else title
    fig, axes = figure(heading, height=BAR * len(top) + 1.3)
    at = named_rows(axes, [one.name if len(one.features) < 2 else f"{one.name}, {len(one.features)}" for one in top])
    drop = np.array([one.drop for one in top])
    ends = np.array([[one.drop - one.low for one in top], [one.high - one.drop for one in top]])
    sure = [one.low > 0 for one in top]
    axes.barh(at, drop, color=[BLUE if is_sure else "#a9bcd6" for is_sure in sure], height=0.7)
    axes.errorbar(drop, at, xerr=ends, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel=f"{what}, with 95 % interval; pale if it includes 0")
    return fig


def contributions(made_by: Contributions) -> Figure:
    """The features by the mean size of their contributions."""
    top = list(made_by.mean_size.items())[:SHOWN]
    fig, axes = figure(
        f"Mean size of contributions, top {len(top)} of {len(made_by.names)} features", height=BAR * len(top) + 1.3
    )
    at = named_rows(axes, [name for name, _ in top])
    axes.barh(at, [size for _, size in top], color=BLUE, height=0.7)
    axes.set(xlabel=f"mean of |SHAP value|, in {SCALES[made_by.link]}")
    return fig


def swarm(made_by: Contributions, score: str = "score") -> Figure:
    """Each sampled row as a point: how far each feature moves its score, or whatever it is called.

    The colour is the rank of the feature's value.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    top = list(made_by.mean_size)[:IN_SWARM]
    colours = LinearSegmentedColormap.from_list("standing", ["#1f5fa8", "#9a7fb5", "#d3362d"])
    fig, axes = figure(f"Contributions of {len(made_by.values):,} rows", height=0.36 * len(top) + 1.4, width=9.2)
    at = named_rows(axes, top)
    axes.axvline(0, color=INK, linewidth=0.8)
    for y, name in zip(at, top, strict=True):
        column = made_by.names.index(name)
        values, standing = made_by.values[:, column], made_by.standing[:, column]
        spread = y + _swarm_offsets(values)
        plain = np.isnan(standing)
        axes.scatter(values[plain], spread[plain], s=4, color=GREY, alpha=0.6, linewidths=0)
        axes.scatter(values[~plain], spread[~plain], s=4, c=standing[~plain], cmap=colours, vmin=0, vmax=1, linewidths=0)
    axes.set(xlabel=f"SHAP value in {SCALES[made_by.link]}; to the right, it raises the {score}")
    bar = fig.colorbar(ScalarMappable(Normalize(0, 1), colours), ax=axes, ticks=[0, 1], aspect=40, pad=0.02)
    bar.ax.set_yticklabels(["low", "high"], fontsize=9)
    bar.ax.tick_params(length=0)
    bar.set_label("the feature's value", fontsize=9, labelpad=-14)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return fig


def dependence(shown: Sequence[Dependence], score: str = "score", *, bounded: bool = True) -> Figure:
    """The mean score over a grid of each feature's values. bounded: whether scores lie between 0 and 1.

    The band covers eight tenths of the rows.
    """
    columns = min(3, len(shown))
    rows = ceil(len(shown) / columns)
    fig, all_axes = panels("Partial dependence", rows, columns, width=3.6 * columns, height=0.35 + 2.75 * rows)
    low, high = _common_range(shown, bounded=bounded)
    for axes, one in zip(all_axes, shown, strict=False):
        _category(axes, one) if one.categorical else _number(axes, one)
        axes.set_title(shortened(one.name, 40), fontsize=10, loc="left", color=INK)
        axes.set_ylim(low, high)
    for axes in all_axes[len(shown) :]:
        axes.set_visible(False)
    for axes in all_axes[::columns]:
        axes.set_ylabel(score, fontsize=9)
    return fig


def shift(model: Mapping[str, float], champion: Mapping[str, float], champion_name: str) -> Figure:
    """The features whose share of importance changed most from the champion's."""
    names = sorted(model.keys() | champion.keys(), key=lambda name: (-abs(model.get(name, 0) - champion.get(name, 0)), name))
    top = sorted(names[:MOVED], key=lambda name: -(model.get(name, 0) - champion.get(name, 0)))
    fig, axes = figure("Largest changes in importance", height=BAR * len(top) + 1.5)
    at = named_rows(axes, top)
    new, old = ([100 * shares.get(name, 0) for name in top] for shares in (model, champion))
    axes.hlines(at, old, new, color="#c9ced6", linewidth=2.5, zorder=1)
    axes.plot(old, at, "o", color=PURPLE, markersize=6, label=champion_name)
    axes.plot(new, at, "o", color=BLUE, markersize=7, label="model")
    axes.set(xlabel="share of all importance, percent")
    axes.legend(loc="best", frameon=False, fontsize=9)
    return fig


def _number(axes: Axes, one: Dependence) -> None:
    low, high = np.quantile(one.each, [0.1, 0.9], axis=0)
    axes.fill_between(one.values, low, high, color=BLUE, alpha=0.13, linewidth=0)
    axes.locator_params(axis="x", nbins=5)
    axes.plot(one.values, one.mean, color=BLUE, linewidth=2, marker="o" if len(one.values) <= 12 else "", markersize=3.5)
    inside = [at for at in one.seen if one.values[0] <= at <= one.values[-1]]
    axes.plot(inside, np.zeros(len(inside)), "|", color=INK, markersize=9, transform=axes.get_xaxis_transform(), clip_on=False)


def _category(axes: Axes, one: Dependence) -> None:
    at = np.arange(len(one.values))
    low, high = np.quantile(one.each, [0.1, 0.9], axis=0)
    axes.vlines(at, low, high, color=BLUE, alpha=0.2, linewidth=8)
    axes.plot(at, one.mean, "o", color=BLUE, markersize=6)
    names = [shortened(str(value), 12) for value in one.values]
    turned = max(map(len, names)) * len(names) > 34
    axes.set_xticks(at, names, rotation=90 if turned else 0, fontsize=8)
    axes.margins(x=0.06)
    axes.grid(visible=False, axis="x")


def _common_range(shown: Sequence[Dependence], *, bounded: bool) -> tuple[float, float]:
    """A common range of scores for all panels, so that slopes can be compared."""
    ends = [np.quantile(one.each, [0.1, 0.9], axis=0) for one in shown if one.each.size]
    low, high = min(float(end[0].min()) for end in ends), max(float(end[1].max()) for end in ends)
    if not bounded:
        room = 0.06 * (high - low) or 1.0
        return low - room, high + room
    room = max(0.02, 0.06 * (high - low))
    return max(0.0, low - room), min(1.0, high + room)


def _swarm_offsets(values: Floats) -> Floats:
    """Vertical offsets that place points of similar value beside each other.

    They are within +- 0.38.
    """
    if np.ptp(values) == 0:
        return np.linspace(-0.38, 0.38, len(values))
    bins = np.floor((values - values.min()) / np.ptp(values) * 90).astype(int)
    counts = np.bincount(bins)
    offsets = np.zeros(len(values))
    for bin_ in np.flatnonzero(counts):
        inside = np.flatnonzero(bins == bin_)
        offsets[inside] = (np.arange(len(inside)) - (len(inside) - 1) / 2) / counts.max() * 0.76
    return offsets
