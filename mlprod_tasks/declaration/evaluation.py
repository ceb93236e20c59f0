"""How a model is judged beyond its test window: how it would have done at earlier moments."""

from __future__ import annotations

from datetime import timedelta

from mlprod_tasks.declaration.declared import declared


@declared
class Backtest:
    """Rolling-origin backtest: the same training spec fitted and judged at several moments.

    The last of them is the training's own.

    windows: how many moments.
    step: how far apart they lie; None takes the length of the test window, so that no row is judged twice.
    """

    windows: int = 5
    step: timedelta | None = None
