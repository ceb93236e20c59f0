"""The backtest: how the model would have performed at earlier moments."""

from __future__ import annotations

from datetime import timedelta

from mlprod_tasks.declaration.declared import declared


@declared
class Backtest:
    """Rolling-origin backtest: the same training spec is fitted and evaluated at several moments.

    The last moment is that of the training itself. Rows without a time have no earlier moments: they are split anew for each
    window, so that none is tested on in two of them, which shows the chance in which rows are tested, and no more.

    windows: the number of moments, or of splits.
    step: the time between two moments; None takes the length of the test window, so that no row is evaluated twice.
    """

    windows: int = 5
    step: timedelta | None = None
