"""Words for which rows a model was tested on, and for what that does not show."""

from __future__ import annotations

from mlprod_tasks.declaration.split import PROVES_LESS
from mlprod_tasks.documents.formatting import window
from mlprod_tasks.training.records import Assembled


def tested_on(assembled: Assembled) -> str:
    """Name the rows of the test: 'the test window 2013-05-01 to 2013-05-28', or the part of a snapshot."""
    ticks = window(assembled.windows.test)
    if assembled.split is None:
        return f"the test window {ticks}"
    return f"the test part of the snapshot of {ticks}, split {assembled.split_words}"


def caveat(assembled: Assembled) -> str | None:
    """Say what a test on rows of the same time does not show; None if the test is later than the training."""
    if assembled.split is None:
        return None
    return f"Rows are split {assembled.split_words}, not by time. {PROVES_LESS}."
