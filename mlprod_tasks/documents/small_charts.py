"""Small charts as SVG: bars of a distribution, a line over time. They need no library, scale with the page and print well."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from html import escape

WIDTH, HEIGHT = 240.0, 64.0
FOOT = 14.0  # for the words below
GAP = 0.18  # of a bar's width
WIDEST = 30  # characters of a word below
BLUE, LIGHT, RED, SOFT, LINE = "#1f5fa8", "#d6e4f3", "#b3261e", "#5b6673", "#e1e5ea"
PER_ROW = 15.0  # the height of a named bar


def bars(counts: Sequence[float], left: str, right: str) -> str:
    """A histogram. left, right: what the first and the last bar stand for."""
    most = max(counts, default=0) or 1
    step = WIDTH / max(len(counts), 1)
    drawn = "".join(
        _rect(i * step, HEIGHT - height, step * (1 - GAP), height, BLUE)
        for i, count in enumerate(counts)
        if (height := max(HEIGHT * count / most, 1.0 if count else 0.0)) > 0
    )
    return _svg(f"{drawn}{_base()}", HEIGHT + FOOT, _foot(left, right))


def named_bars(shares: Sequence[tuple[str, float]]) -> str:
    """One bar for each name, with its share of all, from 0 to 1."""
    most = max((share for _, share in shares), default=0) or 1
    drawn = []
    for i, (name, share) in enumerate(shares):
        top = i * PER_ROW
        drawn.append(_rect(0, top, max(WIDTH * share / most, 1.0), PER_ROW - 2, LIGHT))
        drawn.append(_text(4, top + PER_ROW - 5, shortened(name), "start", "#1d2733"))
        drawn.append(_text(WIDTH - 2, top + PER_ROW - 5, f"{share:.1%}", "end", SOFT))
    return _svg("".join(drawn), PER_ROW * max(len(shares), 1))


def line(
    values: Sequence[float | None],
    left: str,
    right: str,
    *,
    marked: Collection[int] = (),
    bounds: Sequence[float | None] = (),
    least: tuple[float, float] | None = None,
) -> str:
    """A line over time, broken where a value is missing.

    left, right: the first and the last moment. marked: positions of points to mark in red. bounds: values to draw as dashed
    lines. least: an interval that the vertical axis at least covers.
    """
    known = [value for value in (*values, *bounds, *(least or ())) if value is not None and math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    spread = (high - low) or abs(high) or 1.0

    def at(i: int, value: float) -> tuple[float, float]:
        return WIDTH * (i / max(len(values) - 1, 1)), 4 + (HEIGHT - 8) * (1 - (value - low) / spread)

    drawn = []
    for bound in bounds:
        if bound is not None and math.isfinite(bound):
            y = at(0, bound)[1]
            dashed = f'stroke="{RED}" stroke-width="0.8" stroke-dasharray="3 3"'
            drawn.append(f'<line x1="0" x2="{WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}" {dashed}/>')
    for piece in _pieces(values):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(i, value) for i, value in piece))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{BLUE}" stroke-width="1.6" stroke-linejoin="round"/>')
        if len(piece) == 1:
            drawn.append(_dot(*at(*piece[0]), BLUE))
    for i in sorted(marked):
        value = values[i]
        if value is not None and math.isfinite(value):
            drawn.append(_dot(*at(i, value), RED))
    return _svg(f"{''.join(drawn)}{_base()}", HEIGHT + FOOT, _foot(left, right))


def difference(value: float, low: float, high: float, most: float) -> str:
    """A difference as a point with its interval, beside a line at 0; grey if the interval holds 0 or is missing.

    most: what either end of the axis stands for, above 0.
    """
    middle, half = WIDTH / 2, WIDTH / 2 - 4

    def at(number: float) -> float:
        return middle + half * max(-1.0, min(1.0, number / most))

    drawn = [
        f'<line x1="{middle:g}" x2="{middle:g}" y1="0" y2="20" stroke="{SOFT}" stroke-width="0.8" stroke-dasharray="2 2"/>'
    ]
    colour = BLUE if low > 0 or high < 0 else SOFT
    if math.isfinite(low) and math.isfinite(high):
        drawn.append(f'<line x1="{at(low):.1f}" x2="{at(high):.1f}" y1="10" y2="10" stroke="{colour}" stroke-width="2"/>')
    if math.isfinite(value):
        drawn.append(f'<circle cx="{at(value):.1f}" cy="10" r="3.6" fill="{colour}"/>')
    return _svg("".join(drawn), 20)


def shortened(text: str) -> str:
    """Shorten a word so that it fits into a chart."""
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _pieces(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The runs of values that are not missing, with their positions."""
    pieces: list[list[tuple[int, float]]] = [[]]
    for i, value in enumerate(values):
        if value is None or not math.isfinite(value):
            pieces.append([])
        else:
            pieces[-1].append((i, value))
    return [piece for piece in pieces if piece]


def _svg(drawn: str, height: float, foot: str = "") -> str:
    return f'<svg viewBox="0 0 {WIDTH:g} {height:g}" aria-hidden="true">{drawn}{foot}</svg>'


def _base() -> str:
    return f'<line x1="0" x2="{WIDTH:g}" y1="{HEIGHT:g}" y2="{HEIGHT:g}" stroke="{LINE}"/>'


def _foot(left: str, right: str) -> str:
    return f"{_text(0, HEIGHT + 11, left, 'start', SOFT)}{_text(WIDTH, HEIGHT + 11, right, 'end', SOFT)}"


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" rx="1" fill="{colour}"/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="10" fill="{colour}">{escape(words)}</text>'
