"""Rules about queues of tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def queue_problems(pipeline: Pipeline) -> Iterator[str]:
    """Yield what is wrong with the names of queues."""
    for field, name in asdict(pipeline.queues).items():
        if name and not NAME.fullmatch(name):
            yield (
                f"queues: {field} is {name!r}, but a queue is named by at most 100 letters, digits, or . _ -, the first "
                "a letter or digit"
            )
