"""Limit the threads of a learner, whatever library runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from mlprod_tasks.platform.threads import limit_here

ROWS_A_THREAD = 2000


def cores_for(threads: int | None) -> int:
    """Return the declared number of threads, or all cores but one; never more than the process may use.

    If another process is busy, boosting is slower with all cores.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = threads or max(1, available - 1)
    return min(wanted, limit_here() or wanted)


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Limit scikit-learn's OpenMP loops and BLAS to the declared threads."""
    with _controller().limit(limits=cores_for(threads)):
        yield


def in_parts(predict: Callable[[Any], Any], rows: Any, threads: int | None) -> Any:
    """Predict all rows, (n,), in parts, in the declared threads.

    The parts do not change a row's value.
    If another process is busy, this is much faster than one OpenMP loop per tree, where all threads wait for the last one.
    """
    parts = min(cores_for(threads), len(rows) // ROWS_A_THREAD)
    if parts < 2:
        return predict(rows)
    with ThreadPoolExecutor(parts) as pool:
        return np.concatenate(list(pool.map(predict, np.array_split(rows, parts))))


@lru_cache(maxsize=1)
def _controller() -> Any:
    # Finding a process's thread pools takes milliseconds, so do it once, when all libraries are loaded.
    import sklearn.ensemble  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
