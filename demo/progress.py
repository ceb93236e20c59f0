"""Show on a terminal how far a wait of the demo is: a bar, the work done and the seconds so far."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

LOOK_EVERY_SECONDS = 1.0
WIDTH = 30

# Gives the parts done and all parts; None while that is not known.
HowFar = Callable[[], tuple[int, int] | None]


@contextmanager
def progress(what: str, how_far: HowFar, out: TextIO = sys.stdout, every: float = LOOK_EVERY_SECONDS) -> Iterator[None]:
    """Show a bar while the block runs, and remove it at the end; nothing if `out` is no terminal.

    how_far is called by another thread. If it raises, the bar stays as it is: a wait never fails because of it.
    """
    if not out.isatty():
        yield
        return
    over, began = threading.Event(), time.monotonic()

    def show() -> None:
        known: tuple[int, int] | None = None
        while not over.wait(every):
            with suppress(Exception):  # the server may be restarting
                known = how_far() or known
            out.write(f"\r\033[K{bar(what, known, time.monotonic() - began)}")
            out.flush()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)
        out.write("\r\033[K")
        out.flush()


def bar(what: str, known: tuple[int, int] | None, seconds: float) -> str:
    """Return the line: '  [#####-----] 3 of 6 tasks, 12 s'."""
    if known is None or known[1] == 0:
        return f"  [{'-' * WIDTH}] {seconds:.0f} s"
    done, total = known
    full = WIDTH * done // total
    return f"  [{'#' * full}{'-' * (WIDTH - full)}] {done} of {total} {what}, {seconds:.0f} s"
