"""The style of all plots: size, colours, grid; and their PNG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLUE, ORANGE, GREY, PURPLE, RED, INK = "#1f5fa8", "#d9722e", "#8a8f98", "#7d5ba6", "#b3261e", "#1d2733"
GRID = "#e6e8eb"
WIDTH, HEIGHT = 6.4, 4.4  # inches
DPI = 130
POINTS = 1500  # of a curve: more would not be visible
WIDEST_NAME = 34  # characters of a label beside a bar


def figure(title: str, height: float = HEIGHT, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Create a figure with one panel, without pyplot, which would keep every figure alive and need a display."""
    made = _empty(width, height)
    axes = made.add_subplot()
    plain(axes)
    _head(made, title)
    return made, axes


def panels(title: str, rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Create a figure of several panels under one title, row by row."""
    made = _empty(width, height)
    axes_list = [made.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for axes in axes_list:
        plain(axes)
    _head(made, title)
    return made, axes_list


def plain(axes: Axes) -> None:
    """Remove from a panel what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b6bcc4")
    axes.tick_params(colors="#4a5563", labelsize=9, length=3)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def named_rows(axes: Axes, names: list[str], widest: int = WIDEST_NAME) -> NDArray[np.int64]:
    """Put names on the vertical axis, the first on top; give the position of each."""
    at = np.arange(len(names))
    axes.set_yticks(at, [shortened(name, widest) for name in names], fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return at


def shortened(name: str, widest: int = WIDEST_NAME) -> str:
    """Shorten a name so that it fits beside a bar."""
    return name if len(name) <= widest else f"{name[: widest - 1]}…"


def png(made: Figure) -> bytes:
    """Give the PNG bytes: the same for the same picture, so without the name of the software."""
    from matplotlib.text import Text

    for text in made.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]  # a name may hold dollar signs, and is no formula
    written = io.BytesIO()
    made.savefig(written, format="png", dpi=DPI, metadata={"Software": None})
    return written.getvalue()


def thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Reduce a curve to at most POINTS points; its ends stay."""
    if len(x) <= POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).astype(int))
    return x[kept], y[kept]


def _head(made: Figure, title: str) -> None:
    # Over the whole figure: over the panel alone it would be cut off where long names are beside the panel.
    made.suptitle(title, fontsize=12, x=0.01, ha="left", fontweight="bold", color=INK)


def _empty(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made
