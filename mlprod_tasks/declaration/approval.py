"""Manual approval: a person reviews a model that passed its gates before it is promoted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.checks.tables import repeated
from mlprod_tasks.declaration.declared import declared

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline


@declared
class Approval:
    """Ask a person between the gates and the registry.

    Without an answer in time the model is rejected. Airflow's auth manager keeps others from answering, unless everyone is an
    admin (`simple_auth_manager_all_admins`).

    by: ids of the Airflow users who may answer; if empty, everyone who may act on the DAG.
    wait: how long to wait for an answer.
    """

    by: tuple[str, ...] = ()
    wait: timedelta = timedelta(days=2)

    @property
    def wait_in_words(self) -> str:
        """The time to wait for an answer, such as '2 days'."""
        for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
            n, rest = divmod(self.wait, length)
            if n and not rest:
                return f"{n} {unit}{'s' if n > 1 else ''}"
        return str(self.wait)


def approval_problems(pipeline: Pipeline) -> Iterator[str]:
    """The rules of approval that the declaration breaks."""
    approval = pipeline.approval
    if approval is None:
        return
    if approval.wait <= timedelta(0):
        yield f"approval.wait {approval.wait} must be positive: it is how long to wait for an answer"
    if any(not name.strip() for name in approval.by):
        yield "approval.by holds an empty name: give user ids of Airflow, or leave it out"
    yield from repeated("approval.by", approval.by)
