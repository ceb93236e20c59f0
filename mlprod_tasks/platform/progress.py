"""Show on a terminal how far a long command is.

Loops say what they go through by `tracked`. That costs nothing until a command, with `show_bars`, asks to see it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


class _Shown:
    """Whether bars are shown, and those that are open: one for each loop, an inner one below its outer one."""

    wanted = False
    bars: Progress | None = None
    open = 0


def show_bars() -> None:
    """From now on, show a bar on stderr for each loop, where stderr is a terminal."""
    _Shown.wanted = sys.stderr.isatty()


def tracked(items: Collection[T], what: str, name: Callable[[T], str] = str) -> Iterator[T]:
    """Yield the items; a bar shows how many are done and the name of the one that is being worked on."""
    if not _Shown.wanted:
        yield from items
        return
    bars = _opened()
    task = bars.add_task(what, total=len(items))
    try:
        for item in items:
            bars.update(task, description=f"{what} {name(item)}")
            yield item
            bars.advance(task)
    finally:
        bars.remove_task(task)
        _close()


def _opened() -> Progress:
    if _Shown.bars is None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # What goes to stdout is the command's result: it is not mixed with the bars.
        _Shown.bars = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        _Shown.bars.start()
    _Shown.open += 1
    return _Shown.bars


def _close() -> None:
    _Shown.open -= 1
    if _Shown.open == 0 and _Shown.bars is not None:
        _Shown.bars.stop()
        _Shown.bars = None


class AboveBars(logging.StreamHandler[TextIO]):
    """Log to what is stderr at that moment: while bars are shown, that puts lines above them."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr
