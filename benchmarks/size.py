"""The size of a benchmark: the full one, or with `--small` one at which a test sees that it runs; its figures mean nothing."""

from __future__ import annotations

import sys
from datetime import date
from typing import TypeVar

T = TypeVar("T")
SMALL = "--small" in sys.argv[1:]
FLAG = ["--small"] if SMALL else []  # for processes that a benchmark starts
LAST_SMALL = date(2013, 3, 24)  # the last tick of the year of flights then


def sized(full: T, small: T) -> T:
    """One of both."""
    return small if SMALL else full
