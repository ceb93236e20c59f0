"""Trainings whose process was killed: find them, close them, or continue them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import locked
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.promotion import history
from mlprod_tasks.training.records import Assembled
from mlprod_tasks.training.workspace import TrainingFolder, update

log = logging.getLogger(__name__)

LOCKS = "trainings_running"  # subfolder of home: a file for each training that one process runs from start to end
LONGEST = timedelta(days=2)  # no training takes longer
RUNNING, FAILED, PROMOTED = "running", "failed", "promoted"


@dataclass(frozen=True)
class TrainingRequest:
    """What a training was requested for: two requests that are equal ask for the same model."""

    as_of: TickName
    reason: str
    by: str
    decided_at: TickName | None


@contextmanager
def running(training_id: str, platform: Platform) -> Iterator[None]:
    """Show to other processes that this one runs a training; if it is killed, its file stays behind without a lock.

    If the body raises, a training that is still 'running' becomes 'failed'.
    """
    path = platform.settings.home / LOCKS / training_id
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path, waiting=f"training {training_id} already runs in another process: waiting for it"):
        try:
            yield
        except BaseException:
            _close(training_id, platform)
            raise
        finally:
            path.unlink(missing_ok=True)


def to_continue(pipeline: Pipeline, request: TrainingRequest, platform: Platform) -> str | None:
    """The newest training for the same request that was killed, if the declaration is still the same.

    Continuing it makes no second version, wherever it was killed. None if there is none.
    """
    killed = [one for one in _killed(pipeline, platform) if _asked(one) == request and _recent(one, platform)]
    for training in sorted(killed, key=lambda one: one.at, reverse=True):
        assembled = TrainingFolder(platform, training.id).find(Assembled)
        if assembled is None or assembled.declaration == pipeline.digest:
            return training.id
    return None


def is_promoted(pipeline: Pipeline, training_id: str, platform: Platform) -> bool:
    """Whether the ledger has a promotion by that training."""
    return any(one.training_id == training_id for one in history.promotions(pipeline, platform))


def close_killed(pipeline: Pipeline, platform: Platform) -> list[str]:
    """Set the state of killed trainings: 'promoted' if they got that far, else 'failed'. Returns their ids.

    These are trainings of `mlprod train` without a living process, and any that began more than two days ago. If one was killed
    before it moved the alias, the alias is moved. A file that shows how to continue one stays for two days.
    """
    closed = []
    killed = {one.id for one in _killed(pipeline, platform)}
    for training in platform.ledger.all(Training, pipeline=pipeline.name):
        recent = _recent(training, platform)
        if training.id in killed and not recent:
            (platform.settings.home / LOCKS / training.id).unlink(missing_ok=True)
        # A version that waits for its rollout is 'running' too, but has a number.
        overdue = not recent and training.model_version is None and not _is_locked(_lock(training, platform))
        if training.state == RUNNING and (training.id in killed or overdue):
            close(pipeline, training.id, platform)
            closed.append(training.id)
    return closed


def close(pipeline: Pipeline, training_id: str, platform: Platform) -> None:
    """Set the state of a training that is known to run no more, if it is still 'running'."""
    training = platform.ledger.get(Training, training_id)
    if training is None or training.state != RUNNING:
        return
    if not is_promoted(pipeline, training_id, platform):
        _close(training_id, platform)
        log.warning("%s: training %s was killed: it failed", pipeline.name, training_id)
        return
    last = history.promotions(pipeline, platform)[-1]
    if last.training_id == training_id:
        history.move_aliases(pipeline, platform)
    update(training_id, platform, state=PROMOTED)
    log.warning("%s: training %s was killed after it was promoted: it is champion", pipeline.name, training_id)


def _close(training_id: str, platform: Platform) -> None:
    training = platform.ledger.get(Training, training_id)
    if training is not None and training.state == RUNNING:
        update(training_id, platform, state=FAILED)


def _killed(pipeline: Pipeline, platform: Platform) -> list[Training]:
    """The trainings with a file that no process locks."""
    trainings = platform.ledger.all(Training, pipeline=pipeline.name)
    return [one for one in trainings if (path := _lock(one, platform)).is_file() and not _is_locked(path)]


def _lock(training: Training, platform: Platform) -> Path:
    return platform.settings.home / LOCKS / training.id


def _is_locked(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with locked(path, wait=False):
            return False
    except BlockingIOError:
        return True


def _asked(training: Training) -> TrainingRequest:
    return TrainingRequest(training.as_of, training.reason, training.by, training.decided_at)


def _recent(training: Training, platform: Platform) -> bool:
    return platform.clock.now() - training.at < LONGEST
