"""The style of all plots (size, colours, grid), and their PNG bytes."""

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
POINTS = 1500  # per curve; more would not be visible
WIDEST_NAME = 34  # characters of a label beside a bar


def figure(title: str, height: float = HEIGHT, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Create a figure with one panel, without pyplot, which would keep every figure in memory and need a display."""
    canvas = _empty_figure(width, height)
    axes = canvas.add_subplot()
    plain(axes)
    _set_title(canvas, title)
    return canvas, axes


def panels(title: str, rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Create a figure of several panels under one title, row by row."""
    canvas = _empty_figure(width, height)
    axes_list = [canvas.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for axes in axes_list:
        plain(axes)
    _set_title(canvas, title)
    return canvas, axes_list


def plain(axes: Axes) -> None:
    """Remove lines and marks without information from a panel."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b6bcc4")
    axes.tick_params(colors="#4a5563", labelsize=9, length=3)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def named_rows(axes: Axes, names: list[str], widest: int = WIDEST_NAME) -> NDArray[np.int64]:
    """Put names on the vertical axis, the first on top. Returns the position of each."""
    at = np.arange(len(names))
    axes.set_yticks(at, [shortened(name, widest) for name in names], fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return at


def shortened(name: str, widest: int = WIDEST_NAME) -> str:
    """Shorten a name so that it fits beside a bar."""
    return name if len(name) <= widest else f"{name[: widest - 1]}…"


def png(canvas: Figure) -> bytes:
    """Render a figure as PNG, without metadata, so that the same picture gives the same bytes."""
    from matplotlib.text import Text

    for text in canvas.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]  # a name with dollar signs is not a formula
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Reduce a curve to at most POINTS points, keeping its ends."""
    if len(x) <= POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).astype(int))
    return x[kept], y[kept]


def _set_title(canvas: Figure, title: str) -> None:
    # A title of the whole figure: above the panel alone it would be cut off if long names are beside the panel.
    canvas.suptitle(title, fontsize=12, x=0.01, ha="left", fontweight="bold", color=INK)


def _empty_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas
