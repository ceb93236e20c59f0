"""What follows a verdict that stays, as the plan says: nothing, the champion for all again, or the promotion of the winner."""

from __future__ import annotations

import logging

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.gates.verdict import GatesRefused
from mlprod_tasks.experiments.plan import Plan
from mlprod_tasks.experiments.read_out import Reading
from mlprod_tasks.experiments.run import conclude as record
from mlprod_tasks.experiments.run import plan_of, stop
from mlprod_tasks.experiments.verdict import BETTER, ENDED
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.ledger import PromotionKind
from mlprod_tasks.platform.model_files import BrokenArtifact
from mlprod_tasks.platform.registry import RegistryUnreachable
from mlprod_tasks.promotion import history
from mlprod_tasks.promotion.approve import NotApproved
from mlprod_tasks.promotion.compared import ComparedWithAnother
from mlprod_tasks.promotion.eligible import CannotPromote, may_become_champion, promote_version
from mlprod_tasks.promotion.rollback import CannotRollBack

log = logging.getLogger(__name__)
BY_PLAN = "plan"  # who ends an experiment that has a verdict
REFUSED = (CannotPromote, CannotRollBack, GatesRefused, NotApproved, ComparedWithAnother, BrokenArtifact)


def conclude(pipeline: Pipeline, run: ExperimentRun, reading: Reading, platform: Platform) -> str | None:
    """Do what the plan says of a verdict that stays, and note what was done; None if it has nothing to do.

    A call that was killed in between is completed by the next one. A version is promoted only by the gates that any other way
    to become champion has; why it is not is noted, too. If the registry does not answer, the next tick tries again.
    """
    planned = plan_of(run)
    if run.concluded_at is not None or planned.wanted.then == "nothing" or not reading.final:
        return None
    if run.ended is None and pipeline.schedule.last_at(platform.clock.now()).name <= run.ends:
        stop(pipeline, run.name, BY_PLAN, f"it has a verdict: {reading.verdict}", platform)
    try:
        done = _winner_promoted(pipeline, run, planned, reading, platform)
    except RegistryUnreachable as error:
        log.error("%s: experiment %s: what follows waits: %s", pipeline.name, run.name, error)
        return None
    except REFUSED as error:
        done = f"nothing was promoted: {error}"
    log.info("%s: experiment %s: %s", pipeline.name, run.name, done)
    record(pipeline, run.name, done, platform)
    return done


def _winner_promoted(pipeline: Pipeline, run: ExperimentRun, planned: Plan, reading: Reading, platform: Platform) -> str:
    """Promote the winner, if there is one and the plan says so; return what is so now."""
    champion = history.promotions(pipeline, platform)[-1].model_version
    if planned.wanted.then != "promote" or reading.verdict != BETTER or reading.decided is None:
        return f"version {champion} stays champion and answers all rows" + ("" if reading.verdict == ENDED else " again")
    version = next(one.version for one in planned.treated if one.name == reading.decided)
    if champion == version:
        return f"version {version} is champion"  # an earlier call did not come to note it
    if champion != planned.control.version:
        return f"nothing was promoted: version {champion} became champion meanwhile, and was not compared"
    may_become_champion(pipeline, version, platform)
    why = f"experiment {run.name} found it better"
    done = promote_version(pipeline, version, platform, kind=PromotionKind.EXPERIMENT, reason=why, by=run.by)
    return done.sentence
