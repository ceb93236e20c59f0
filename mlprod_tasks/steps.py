"""Every step by its verb, and what its runs are about. DAGs and workflows call a step here, and it leaves a record of its run.

Each calls the function of the same name in its room, which says all else of it. That is imported when the step is called: a DAG
file stays light, and a task loads what it uses. A step that is about no tick and no training leaves no record: it comes around
for whatever there is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mlprod_tasks.platform.step_runs import step, unrecorded_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlprod_tasks.declaration import Pipeline, Tick, TickRange
    from mlprod_tasks.evaluation.gates import Passed
    from mlprod_tasks.evaluation.results import BacktestResult, Evaluation
    from mlprod_tasks.evaluation.run_checks import ChecksRun
    from mlprod_tasks.experiments.by_hand import AskedExperiment
    from mlprod_tasks.ingest.tables import TablesDone
    from mlprod_tasks.monitoring.decide import Decided
    from mlprod_tasks.monitoring.measure import Measured
    from mlprod_tasks.monitoring.requests import RequestsMeasured
    from mlprod_tasks.monitoring.verify import Verified
    from mlprod_tasks.notifications.events import Failure
    from mlprod_tasks.online.check import OnlineChecked
    from mlprod_tasks.online.fill import Filled
    from mlprod_tasks.platform import Platform
    from mlprod_tasks.platform.ledger import Approval
    from mlprod_tasks.platform.model_files import ModelRef
    from mlprod_tasks.promotion.approve import Answer, Request
    from mlprod_tasks.promotion.register import Promoted
    from mlprod_tasks.reporting.write import Reported
    from mlprod_tasks.rollout.state import Ramping
    from mlprod_tasks.rollout.steps import Checked, Finished, TakenBack
    from mlprod_tasks.scoring.collect import Collected
    from mlprod_tasks.scoring.score import Scored
    from mlprod_tasks.training.records import Assembled, Trained
    from mlprod_tasks.training.search import Searched
    from mlprod_tasks.training.train import Part

    Links = Sequence[tuple[str, str]]  # of a mail: text and address


@step(about="ticks")
def extract(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = (), run: str = "") -> TablesDone:
    """Read the ticks of all tables from their sources into staging."""
    from mlprod_tasks.ingest.tables import extract

    return extract(pipeline, ticks, platform, tables, run)


@step(about="ticks")
def audit(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = (), run: str = "") -> TablesDone:
    """Check the staged rows of all tables against their declaration."""
    from mlprod_tasks.ingest.tables import audit

    return audit(pipeline, ticks, platform, tables, run)


@step(about="ticks")
def publish(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = (), run: str = "") -> TablesDone:
    """Replace the lake's rows of the ticks by the audited ones."""
    from mlprod_tasks.ingest.tables import publish

    return publish(pipeline, ticks, platform, tables, run)


@unrecorded_step
def build_data_docs(platform: Platform) -> Path:
    """Render Great Expectations' pages of all suites and of the newest audits."""
    from mlprod_tasks.ingest.data_docs import build_data_docs

    return build_data_docs(platform)


@step(about="training_id", opens="trainings")
def assemble(
    pipeline: Pipeline,
    as_of: Tick,
    training_id: str,
    reason: str,
    platform: Platform,
    *,
    by: str = "",
    decided_at: Tick | None = None,
) -> Assembled:
    """Build the training set as it could have been built at the start of `as_of`."""
    from mlprod_tasks.training.assemble import assemble

    return assemble(pipeline, as_of, training_id, reason, platform, by=by, decided_at=decided_at)


@step(about="training_id", parts=("worker",), opens="trainings")
def search(pipeline: Pipeline, training_id: str, platform: Platform, worker: int = 0) -> Searched:
    """Search for better parameters, together with the training's other workers."""
    from mlprod_tasks.training.search import search

    return search(pipeline, training_id, platform, worker)


@step(about="training_id", opens="trainings")
def segments(pipeline: Pipeline, training_id: str, platform: Platform) -> list[str]:
    """List what `fit` is to be called for."""
    from mlprod_tasks.training.train import segments

    return segments(pipeline, training_id, platform)


@step(about="training_id", parts=("segment",), opens="trainings")
def fit(pipeline: Pipeline, training_id: str, segment: str, platform: Platform) -> Part:
    """Fit the model of one segment, or with '*' of all rows."""
    from mlprod_tasks.training.train import fit

    return fit(pipeline, training_id, segment, platform)


@step(about="training_id", opens="trainings")
def train(pipeline: Pipeline, training_id: str, platform: Platform) -> Trained:
    """Put the fitted parts together with the fallback, and open the MLflow run."""
    from mlprod_tasks.training.train import train

    return train(pipeline, training_id, platform)


@step(about="training_id", opens="trainings")
def evaluate(pipeline: Pipeline, training_id: str, platform: Platform) -> Evaluation:
    """Measure model, baseline and champion on the test window."""
    from mlprod_tasks.evaluation.evaluate import evaluate

    return evaluate(pipeline, training_id, platform)


@step(about="training_id", opens="trainings")
def backtest(pipeline: Pipeline, training_id: str, platform: Platform) -> BacktestResult | None:
    """Train and measure again as of earlier ticks."""
    from mlprod_tasks.evaluation.backtest import backtest

    return backtest(pipeline, training_id, platform)


@step(about="training_id", opens="trainings")
def run_checks(pipeline: Pipeline, training_id: str, platform: Platform) -> ChecksRun:
    """Check the model itself, as far as its gates ask for it."""
    from mlprod_tasks.evaluation.run_checks import run_checks

    return run_checks(pipeline, training_id, platform)


@step(about="training_id", opens="trainings")
def report(pipeline: Pipeline, training_id: str, platform: Platform) -> Reported:
    """Write the plots, the report and the model card."""
    from mlprod_tasks.reporting.write import report

    return report(pipeline, training_id, platform)


@step(about="training_id", opens="trainings")
def gate(pipeline: Pipeline, training_id: str, platform: Platform) -> Passed:
    """Pass the model only if every declared gate does."""
    from mlprod_tasks.evaluation.gate import gate

    return gate(pipeline, training_id, platform)


@step(about="training_id", opens="trainings")
def request_approval(pipeline: Pipeline, training_id: str, platform: Platform) -> Request:
    """Ask a person whether the model may be promoted."""
    from mlprod_tasks.promotion.approve import request_approval

    return request_approval(pipeline, training_id, platform)


@step(about="training_id", opens="trainings")
def approve(pipeline: Pipeline, training_id: str, answer: Answer, platform: Platform) -> Approval:
    """Record a person's answer."""
    from mlprod_tasks.promotion.approve import approve

    return approve(pipeline, training_id, answer, platform)


@step(about="training_id", opens="trainings")
def register(pipeline: Pipeline, training_id: str, platform: Platform) -> ModelRef:
    """Make the model a version in the registry, and its fallback beside it."""
    from mlprod_tasks.monitoring.profile import profile_of
    from mlprod_tasks.promotion.register import register

    return register(pipeline, training_id, platform, profile_of)


@step(about="verdict.training_id", opens="trainings")
def promote(pipeline: Pipeline, ref: ModelRef, verdict: Passed, platform: Platform) -> Promoted:
    """Make a version champion."""
    from mlprod_tasks.promotion.register import promote

    return promote(pipeline, ref, verdict, platform)


@step(name="promote", about="training_id", opens="trainings")
def promote_training(pipeline: Pipeline, training_id: str, passed_digest: str, platform: Platform) -> Promoted:
    """Make the version that a training registered champion."""
    from mlprod_tasks.promotion.register import promote_training

    return promote_training(pipeline, training_id, passed_digest, platform)


@step(about="tick")
def score(pipeline: Pipeline, tick: Tick, platform: Platform, *, as_of: bool = False) -> Scored:
    """Replace the predictions of a tick."""
    from mlprod_tasks.scoring.score import score

    return score(pipeline, tick, platform, as_of=as_of)


@unrecorded_step
def collect(pipeline: Pipeline, platform: Platform, *, tidy: bool = False) -> Collected:
    """Bring what the service has logged into the lake."""
    from mlprod_tasks.scoring.collect import collect

    return collect(pipeline, platform, tidy=tidy)


@step(about="tick")
def measure(pipeline: Pipeline, tick: Tick, platform: Platform) -> Measured:
    """Measure a tick's predictions, and the outcomes that are complete with it."""
    from mlprod_tasks.monitoring.measure import measure

    return measure(pipeline, tick, platform)


@unrecorded_step
def measure_collected(pipeline: Pipeline, platform: Platform) -> list[RequestsMeasured]:
    """Measure the requests of each tick of which new ones were collected."""
    from mlprod_tasks.monitoring.requests import measure_collected

    return measure_collected(pipeline, platform)


@step(about="tick", name="decide")
def decide_and_act(pipeline: Pipeline, tick: Tick, platform: Platform) -> Decided:
    """Decide by the rules what a tick's measurements ask for; switch to the fallback or roll back if that is decided."""
    from mlprod_tasks.monitoring.act import decide_and_act

    return decide_and_act(pipeline, tick, platform)


@unrecorded_step
def decide_again(pipeline: Pipeline, platform: Platform, links: Links = ()) -> list[dict[str, Any]]:
    """Decide again where requests were measured after the decision."""
    from mlprod_tasks.monitoring.redecide_late import decide_again
    from mlprod_tasks.notifications.decision_mails import tell_decision

    return decide_again(pipeline, platform, partial(tell_decision, pipeline, platform=platform, links=links))


@step(about="tick")
def verify(pipeline: Pipeline, tick: Tick, platform: Platform) -> Verified:
    """Score a sample of a tick's predictions again, and compare."""
    from mlprod_tasks.monitoring.verify import verify

    return verify(pipeline, tick, platform)


@step(about="tick")
def fill_online(pipeline: Pipeline, tick: Tick | None, platform: Platform, *, back: bool = False) -> Filled:
    """Bring the online store up to what is published."""
    from mlprod_tasks.online.fill import fill_online

    return fill_online(pipeline, tick, platform, back=back)


@step(about="tick")
def check_online(pipeline: Pipeline, tick: Tick, platform: Platform) -> OnlineChecked:
    """Compare features from the online store with those computed in batch."""
    from mlprod_tasks.online.check import check_online

    return check_online(pipeline, tick, platform)


@unrecorded_step
def begin(pipeline: Pipeline, challenger: int, by: str, reason: str, platform: Platform) -> Ramping:
    """Begin to roll a version out."""
    from mlprod_tasks.rollout.steps import begin

    return begin(pipeline, challenger, by, reason, platform)


@unrecorded_step
def take_step(pipeline: Pipeline, share: float, platform: Platform, *, challenger: int | None = None) -> Ramping:
    """Let the challenger answer that share of entities."""
    from mlprod_tasks.rollout.steps import take_step

    return take_step(pipeline, share, platform, challenger=challenger)


@unrecorded_step
def check(pipeline: Pipeline, platform: Platform, *, challenger: int | None = None) -> Checked:
    """Judge the challenger at the share that it has."""
    from mlprod_tasks.rollout.steps import check

    return check(pipeline, platform, challenger=challenger)


@unrecorded_step
def finish(pipeline: Pipeline, platform: Platform, *, challenger: int | None = None) -> Finished:
    """Make the challenger champion."""
    from mlprod_tasks.notifications.rollout_mails import tell_taken_back
    from mlprod_tasks.rollout.steps import finish

    return finish(pipeline, platform, partial(tell_taken_back, pipeline, platform=platform), challenger=challenger)


@unrecorded_step
def take_back(
    pipeline: Pipeline, by: str, reason: str, platform: Platform, links: Links = (), *, challenger: int | None = None
) -> TakenBack:
    """Let the champion answer everything again, and mail why."""
    from mlprod_tasks.notifications.rollout_mails import tell_taken_back
    from mlprod_tasks.rollout.steps import take_back

    tell = partial(tell_taken_back, pipeline, platform=platform, links=links)
    return take_back(pipeline, by, reason, platform, tell, challenger=challenger)


@unrecorded_step
def take_back_abandoned(pipeline: Pipeline, platform: Platform) -> TakenBack:
    """Take back a challenger that nobody watches any more."""
    from mlprod_tasks.notifications.rollout_mails import tell_taken_back
    from mlprod_tasks.rollout.steps import take_back_abandoned

    return take_back_abandoned(pipeline, platform, partial(tell_taken_back, pipeline, platform=platform))


@unrecorded_step
def ask_experiment(pipeline: Pipeline, asked: AskedExperiment, platform: Platform) -> str:
    """Plan, start or end an experiment, as a person asks for it."""
    from mlprod_tasks.experiments.by_hand import ask_experiment

    return ask_experiment(pipeline, asked, platform)


@step(about="training_id", opens="trainings")
def tell_approval(pipeline: Pipeline, training_id: str, platform: Platform, links: Links = ()) -> bool:
    """Mail that a model waits for a person's approval."""
    from mlprod_tasks.notifications.events import tell_approval

    return tell_approval(pipeline, training_id, platform, links)


@unrecorded_step
def tell_failure(pipeline: Pipeline, failure: Failure, platform: Platform) -> bool:
    """Mail that a task failed."""
    from mlprod_tasks.notifications.events import tell_failure

    return tell_failure(pipeline, failure, platform)


@step(about="tick")
def tell_fallback(pipeline: Pipeline, tick: Tick, platform: Platform, links: Links = ()) -> bool:
    """Mail that the fallback answered at a tick."""
    from mlprod_tasks.notifications.events import tell_fallback

    return tell_fallback(pipeline, tick, platform, links)


@step(about="tick")
def tell_decision(pipeline: Pipeline, tick: Tick, platform: Platform, links: Links = ()) -> bool:
    """Mail what is new in a tick's decision."""
    from mlprod_tasks.notifications.decision_mails import tell_decision

    return tell_decision(pipeline, tick, platform, links)


@step(about="tick")
def tell_experiments(pipeline: Pipeline, tick: Tick, platform: Platform, links: Links = ()) -> list[str]:
    """Mail the verdicts that experiments have at a tick, and bandits that ended."""
    from mlprod_tasks.notifications.experiment_mails import tell_experiments

    return tell_experiments(pipeline, tick, platform, links)


@step(about="tick")
def tell_digest(pipeline: Pipeline, tick: Tick, platform: Platform, links: Links = ()) -> bool:
    """Mail the week that ends with a tick."""
    from mlprod_tasks.notifications.digest import tell_digest

    return tell_digest(pipeline, tick, platform, links)


@unrecorded_step
def tell_uncollected(pipeline: Pipeline, causes: Mapping[str, int], platform: Platform, links: Links = ()) -> list[str]:
    """Mail which logged requests could not be collected."""
    from mlprod_tasks.notifications.uncollected import tell_uncollected

    return tell_uncollected(pipeline, causes, platform, links)
