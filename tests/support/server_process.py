"""Servers of tests that are processes of their own, with libraries that other tests must not see."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import REPOSITORY


@contextmanager
def server_process(file: str, libraries: Path, *arguments: str) -> Iterator[int]:
    """Run a server among the files of this folder, which prints its port. libraries: a folder of what it imports."""
    command = [sys.executable, str(REPOSITORY / "tests" / "support" / file), *arguments]
    server = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(libraries)},
        text=True,
    )
    assert server.stdin
    assert server.stdout
    try:
        line = server.stdout.readline()
        assert line, f"{file} did not start: run make install"
        yield int(line)
    finally:
        server.stdin.close()
        server.terminate()
        server.wait(10)
