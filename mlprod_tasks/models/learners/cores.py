"""How many threads a learner may use, whichever library runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

ROWS_A_THREAD = 2000


def cores_for(threads: int | None) -> int:
    """The declared number of threads, or all cores but one.

    Beside another busy process boosting is slower with all of them.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads or max(1, available - 1)


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Limit scikit-learn's OpenMP loops and BLAS to the declared threads inside the block."""
    with _controller().limit(limits=cores_for(threads)):
        yield


def in_parts(predict: Callable[[Any], Any], rows: Any, threads: int | None) -> Any:
    """Predict all rows, (n,), part by part in the declared threads; a row gets the same value in any part.

    Beside a busy process this is much faster than one OpenMP loop for each tree, where all threads wait for the last one.
    """
    parts = min(cores_for(threads), len(rows) // ROWS_A_THREAD)
    if parts < 2:
        return predict(rows)
    with ThreadPoolExecutor(parts) as pool:
        return np.concatenate(list(pool.map(predict, np.array_split(rows, parts))))


@lru_cache(maxsize=1)
def _controller() -> Any:
    # Finding the thread pools of a process takes milliseconds, so it is done once, when all of them are loaded.
    import sklearn.ensemble  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
