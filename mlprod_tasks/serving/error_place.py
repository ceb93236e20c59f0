"""Where an error arose, for the service's log."""

from __future__ import annotations

import traceback

LAST_FRAMES, MOST_FRAMES = 3, 20


def error_place(error: BaseException, frames: int = LAST_FRAMES) -> str:
    """Return the type and place of an error, without its text: that may quote values of a request."""
    last = traceback.extract_tb(error.__traceback__)[-frames:]
    return f"{type(error).__name__} in " + " < ".join(
        f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(last)
    )
