"""How a model is judged beyond its test window: how it would have done at earlier moments."""

from __future__ import annotations

from datetime import timedelta

from mlprod_tasks.declaration.declared import declared


@declared
class Backtest:
    """Rolling-origin backtest: the same recipe fitted and judged as of `windows` moments, the last the training's own.

    They lie `step` apart; None takes the length of the test window, so that no row is judged twice.
    """

    windows: int = 5
    step: timedelta | None = None
