"""The bar of a wait appears on a terminal alone, and never makes the wait fail."""

from __future__ import annotations

import io
import threading

import pytest

from demo.progress import bar, progress


class Terminal(io.StringIO):
    """A terminal that tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        length = super().write(text)
        self.written.set()
        return length


@pytest.mark.parametrize(
    ("known", "line"),
    [
        (None, f"  [{'-' * 30}] 7 s"),
        ((0, 0), f"  [{'-' * 30}] 7 s"),
        ((3, 6), f"  [{'#' * 15}{'-' * 15}] 3 of 6 tasks, 7 s"),
        ((6, 6), f"  [{'#' * 30}] 6 of 6 tasks, 7 s"),
    ],
)
def test_the_bar_is_as_full_as_the_work_is_done(known, line) -> None:
    assert bar("tasks", known, 7.2) == line


def test_a_terminal_shows_the_bar_while_the_block_runs_and_nothing_after() -> None:
    out = Terminal()
    with progress("tasks", lambda: (1, 2), out, every=0.01):
        assert out.written.wait(10)
    assert "1 of 2 tasks" in out.getvalue()
    assert out.getvalue().endswith("\r\033[K")


def test_a_file_gets_nothing() -> None:
    out = io.StringIO()
    with progress("tasks", lambda: (1, 2), out, every=0.01):
        pass
    assert out.getvalue() == ""


def test_what_cannot_be_asked_for_stops_no_wait() -> None:
    out = Terminal()
    with progress("tasks", lambda: (_ for _ in ()).throw(OSError("no answer")), out, every=0.01):
        assert out.written.wait(10)
    assert " of " not in out.getvalue()


def test_an_error_of_the_block_is_its_own() -> None:
    with pytest.raises(ValueError, match="the block's"), progress("tasks", lambda: (1, 2), Terminal(), every=0.01):
        raise ValueError("the block's")
