"""Report a search: a nested MLflow run per trial, and a picture of the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import title
from mlprod_tasks.models.tasks import task_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.training.search_study import EndedTrial
from mlprod_tasks.training.search_trials import Trials
from mlprod_tasks.training.workspace import TrainingFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "search.png"
LOCK = "record"  # only one worker at a time may log trials
SECONDS_BETWEEN = 30.0
STATES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}  # MLflow's names


def record(pipeline: Pipeline, folder: TrainingFolder, trials: Trials, platform: Platform) -> str:
    """Log every ended trial of any worker once, as a run nested in the training's.

    Return the training's run id.
    """
    from mlprod_tasks.platform.trial_runs import TrialRun, log_trials

    metric = task_of(pipeline).search_metric(pipeline)
    with trials.records.locked(LOCK):
        run_id = platform.registry.start_run(pipeline, folder.training_id)
        runs = (
            TrialRun(
                key=f"{trials.key[:16]} {one.candidate} {one.place + 1}",
                name=f"{one.candidate} {one.place + 1}",
                params={"candidate": one.candidate, **one.parameters},
                metrics={} if one.loss is None else {metric: one.loss},
                tags={"mlprod.said": one.note} if one.note else {},
                status=STATES[one.state],
                began=one.began,
                seconds=one.seconds,
            )
            for one in trials.ended()
        )
        log_trials(platform.registry, run_id, runs)
    return run_id


def is_due(trials: Trials) -> bool:
    """Whether to record ended trials during the search, for somebody who follows it."""
    return trials.records.now() - trials.records.last_locked(LOCK) > SECONDS_BETWEEN


def finish(folder: TrainingFolder, trials: Trials, run_id: str, platform: Platform, result_file: str, metric: str) -> None:
    """Add the result file and the picture of the search to the training's run."""
    from mlprod_tasks.documents.plot_style import png

    with trials.records.locked(LOCK):
        folder.plots.mkdir(parents=True, exist_ok=True)
        (folder.plots / PICTURE).write_bytes(png(history(trials.ended(), metric)))
        platform.registry.log_file(run_id, folder.plots / PICTURE, "plots")
        platform.registry.log_file(run_id, folder.path / result_file, "training")


def history(trials: Sequence[EndedTrial], metric: str = "log_loss") -> Figure:
    """Draw each trial's loss, which is a metric, and the lowest so far, by candidate, in order of their end."""
    from mlprod_tasks.documents.plot_style import BLUE, GREY, ORANGE, PURPLE, RED, figure

    drawn, axes = figure(f"Search: {title(metric)} on validation")
    colours = (BLUE, ORANGE, PURPLE, RED, GREY)
    names = list(dict.fromkeys(one.candidate for one in trials))
    plotted: list[float] = []
    for name, colour in zip(names, colours * len(names), strict=False):
        ended = sorted((one for one in trials if one.candidate == name), key=lambda one: one.began + one.seconds)
        complete = [(i + 1, one.loss) for i, one in enumerate(ended) if one.state == "complete" and one.loss is not None]
        if not complete:
            continue
        at, losses = zip(*complete, strict=True)
        lowest = [min(losses[: i + 1]) for i in range(len(losses))]
        declared = [one.loss for one in ended if one.place == 0 and one.loss is not None]
        label = f"{name}: declared {declared[0]:.4f}, best {lowest[-1]:.4f}" if declared else f"{name}: best {lowest[-1]:.4f}"
        axes.step([*at, len(ended)], [*lowest, lowest[-1]], where="post", color=colour, linewidth=2, label=label)
        axes.plot(at, losses, "o", color=colour, markersize=4, alpha=0.6)
        plotted += losses
    if plotted:
        ordered = sorted(plotted)
        low, high = ordered[0], ordered[int(0.9 * (len(ordered) - 1))]  # one bad trial would flatten all the others
        room = 0.1 * (high - low) or 0.01
        axes.set_ylim(low - room, high + room)
        axes.legend(loc="upper right")
    axes.set(xlabel="trials ended", ylabel=f"{title(metric)} (line: lowest so far)")
    return drawn
