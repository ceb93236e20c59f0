import os
import pty
import subprocess
import sys

import pytest

from mlprod_tasks.platform import progress

CODE = """
import logging, time
from mlprod_tasks.platform.progress import AboveBars, show_bars, tracked

logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[AboveBars()])
show_bars()
for tick in tracked(["2013-06-17", "2013-06-18", "2013-06-19"], "score"):
    for table in tracked(["flights", "[weather]"], "audit"):
        logging.info("looking at %s", table)
        time.sleep(0.15)
    if tick == "2013-06-18" and {fails}:
        raise ValueError("no rows")
print("done")
"""


def on_a_terminal(code: str) -> str:
    """What a process writes to the terminal that is its stdout and stderr."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not part:
            break
        written += part
    process.wait(10)
    os.close(ours)
    return written.decode()


def test_a_terminal_shows_a_bar_for_each_loop_and_logs_above_them() -> None:
    shown = on_a_terminal(CODE.format(fails=False))
    assert "score 2013-06-18" in shown
    assert "audit [weather]" in shown
    assert "1/3" in shown
    assert shown.count("looking at flights") == 3
    assert shown.rstrip().endswith("done")


def test_an_error_removes_the_bars_and_gives_the_cursor_back() -> None:
    shown = on_a_terminal(CODE.format(fails=True))
    assert "ValueError: no rows" in shown
    assert shown.rindex("\x1b[?25h") < shown.index("Traceback")


def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress._Shown, "wanted", False)
    progress.show_bars()  # stderr is no terminal here
    assert list(progress.tracked([1, 2], "score")) == [1, 2]
    assert capsys.readouterr() == ("", "")
