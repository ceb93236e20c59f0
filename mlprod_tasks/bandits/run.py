"""Start and end bandits. Their arms are in the ledger before the first row is given one, and do not change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import select

from mlprod_tasks.declaration import Bandit, Pipeline, Tick, UnitMetric
from mlprod_tasks.declaration.bandit import ACTION
from mlprod_tasks.declaration.experiment import CONTROL, VARIANT, Rows
from mlprod_tasks.declaration.recorded import read_part
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.assignment import Variant
from mlprod_tasks.experiments.plan import CannotPlan, check_unit_of_requests
from mlprod_tasks.experiments.run import NAME, SETTLED, note_end, rollout_in_the_way, too_late, variants
from mlprod_tasks.experiments.run import last_of as last_of_experiment
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditRun
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.promotion import history


class CannotStart(ValueError):
    """The bandit cannot be started; the message says why."""


class NoBandit(LookupError):
    """There is no such bandit."""


@dataclass(frozen=True)
class Plan:
    """What a bandit chooses among, and how.

    metric: what rewards are, as declared when it started; arms: the names; variants: the versions and thresholds that answer,
    the champion first; with declared actions the champion alone, since it answers all rows. rows: from which it learns: those
    that ticks scored, or those that were answered on request.
    """

    bandit: Bandit
    metric: UnitMetric
    arms: tuple[str, ...]
    variants: tuple[Variant, ...]
    rows: Rows = "batch"

    @property
    def gives(self) -> str:
        """The column that names the arm of a row."""
        return ACTION if self.acts else VARIANT

    @property
    def acts(self) -> bool:
        """Whether arms are declared actions."""
        return bool(self.bandit.actions)


def declared(pipeline: Pipeline) -> Bandit:
    """Return the bandit of a use case. Raises: CannotStart."""
    if pipeline.experiments is None or pipeline.experiments.bandit is None:
        raise CannotStart(f"{pipeline.name} declares no bandit: declare ml.Experiments(..., bandit=ml.Bandit(...)) first")
    return pipeline.experiments.bandit


def start(
    pipeline: Pipeline,
    name: str,
    arms: Sequence[str],
    by: str,
    reason: str,
    platform: Platform,
    *,
    rows: Rows = "batch",
    starts: TickName | None = None,
) -> BanditRun:
    """Write the bandit to the ledger; rows and requests are given arms from tick `starts` on, by default the next one.

    arms: besides the champion, each as a variant of an experiment is written; none if the declaration names actions.
    rows: from which it learns.

    Raises: CannotStart, also if an experiment or another bandit of the use case is not over, or a rollout lets another version
    answer.
    """
    where = f"bandit {name!r}"
    if not NAME.fullmatch(name):
        raise CannotStart(f"{where}: give lower-case letters, digits and _, starting with a letter")
    planned = _plan(pipeline, arms, rows, platform)
    now, schedule = platform.clock.now(), pipeline.schedule
    first = schedule.next_after(now + SETTLED) if starts is None else starts
    if (late := too_late(pipeline, first, platform)) is not None:
        raise CannotStart(f"{where}: {late}")
    _check_requests(pipeline, where, planned, platform)
    ends = _last_tick(pipeline, planned.bandit)
    if ends is not None and ends < first:
        raise CannotStart(f"{where}: its last day is {planned.bandit.until}, before tick {first}: declare a later `until`")
    run = BanditRun(
        pipeline=pipeline.name, name=name, at=now, by=by, reason=reason, plan=_as_json(planned), salt=_salt(pipeline, name,
        now), starts=first, ends=ends,
    )  # fmt: skip
    with platform.ledger.exclusive(f"{pipeline.name}/experiment") as session:
        experiments = list(session.scalars(select(ExperimentRun).filter_by(pipeline=pipeline.name)))
        known = list(session.scalars(select(BanditRun).filter_by(pipeline=pipeline.name)))
        if name in {*(one.name for one in experiments), *(one.name for one in known)}:
            raise CannotStart(f"{where}: there was an experiment or bandit of that name; give another")
        busy = [(one.name, last_of_experiment(pipeline, one)) for one in experiments]
        if (other := next((name for name, last in busy if last >= first), None)) is not None:
            raise CannotStart(f"{where}: experiment {other!r} is not over: end it, or start after it")
        if (still := next((one for one in known if one.ended is None or one.ended > first), None)) is not None:
            raise CannotStart(f"{where}: bandit {still.name!r} is not over: stop it first")
        session.add(run)
    return run


def stop(pipeline: Pipeline, name: str, by: str, reason: str, platform: Platform) -> BanditRun:
    """End a bandit: the champion answers all rows from the next tick on, and all requests within seconds, without actions.

    Raises: NoBandit.
    """
    with platform.ledger.exclusive(f"{pipeline.name}/experiment") as session:
        run = session.scalar(select(BanditRun).filter_by(pipeline=pipeline.name, name=name))
        if run is None:
            raise NoBandit(f"{pipeline.name} has no bandit {name!r}")
        note_end(run, pipeline, by, reason, platform)
        return run


def get(pipeline: Pipeline, name: str, platform: Platform) -> BanditRun:
    """Return a bandit. Raises: NoBandit."""
    run = platform.ledger.get(BanditRun, pipeline.name, name)
    if run is None:
        there = ", ".join(one.name for one in every(pipeline, platform)) or "none"
        raise NoBandit(f"{pipeline.name} has no bandit {name!r}; there are: {there}")
    return run


def every(pipeline: Pipeline, platform: Platform) -> list[BanditRun]:
    """Return all bandits, by their start."""
    return sorted(platform.ledger.all(BanditRun, pipeline=pipeline.name), key=lambda run: run.starts)


def in_force(pipeline: Pipeline, tick: Tick, platform: Platform) -> BanditRun | None:
    """Return the bandit that gives the rows of a tick their arms; None if there is none."""
    return next((run for run in every(pipeline, platform) if run.starts <= tick.name and not _is_after(run, tick.name)), None)


def plan_of(run: BanditRun) -> Plan:
    """Return what a bandit chooses among, and how."""
    written = run.plan
    return Plan(
        read_part(written["bandit"]), read_part(written["metric"]), tuple(written["arms"]),
        tuple(Variant(**one) for one in written["variants"]), written.get("rows", "batch"),
    )  # fmt: skip


def champion_now(pipeline: Pipeline, platform: Platform) -> int | None:
    """Return the version that was promoted last; None if there is none."""
    promoted = history.promotions(pipeline, platform)
    return promoted[-1].model_version if promoted else None


def _is_after(run: BanditRun, tick: TickName) -> bool:
    """Whether a tick comes after a bandit's last one."""
    return (run.ended is not None and tick >= run.ended) or (run.ends is not None and tick > run.ends)


def _check_requests(pipeline: Pipeline, where: str, planned: Plan, platform: Platform) -> None:
    """Raise CannotStart if requests would be answered in another way than the bandit chooses, or cannot be given arms."""
    reads, gives = planned.rows == "requests", not planned.acts
    if reads:
        try:
            check_unit_of_requests(pipeline)
        except CannotPlan as error:
            raise CannotStart(f"{where}: {error}") from error
    if (why := rollout_in_the_way(pipeline, reads=reads and gives, gives=gives, platform=platform)) is not None:
        raise CannotStart(f"{where}: {why}")


def _plan(pipeline: Pipeline, arms: Sequence[str], rows: Rows, platform: Platform) -> Plan:
    bandit = declared(pipeline)
    assert pipeline.experiments is not None
    metric = pipeline.experiments.metric(bandit.reward)
    if bandit.actions:
        if arms:
            raise CannotStart(
                f"arms {', '.join(arms)}: the declaration names the actions {', '.join(bandit.actions)}: give none"
            )
        champion = champion_now(pipeline, platform)
        if champion is None:
            raise CannotStart(f"{pipeline.name} has no champion: train a model first")
        return Plan(bandit, metric, bandit.actions, (Variant(CONTROL, champion, 1.0),), rows)
    if not arms:
        raise CannotStart("give at least one arm besides the champion, such as '3' or 'champion@0.4'")
    if shared := next((arm for arm in arms if "=" in arm), None):
        raise CannotStart(f"arm {shared!r}: shares follow from rewards: leave its share out")
    try:
        found = variants(pipeline, arms, platform)
    except CannotPlan as error:
        raise CannotStart(str(error)) from error
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise CannotStart(f"two arms are the same: {', '.join(names)}")
    if bandit.floor * len(names) >= 1:
        raise CannotStart(f"{len(names)} arms with a floor of {bandit.floor} leave nothing to learn: declare a lower floor")
    return Plan(bandit, metric, tuple(names), found, rows)


def _as_json(planned: Plan) -> dict[str, Any]:
    from mlprod_tasks.declaration.pipeline import plain

    return {
        "bandit": plain(planned.bandit),
        "metric": plain(planned.metric),
        "arms": list(planned.arms),
        "variants": [asdict(one) for one in planned.variants],
        "rows": planned.rows,
    }


def _last_tick(pipeline: Pipeline, bandit: Bandit) -> TickName | None:
    """The last tick that starts on the declared last day."""
    if bandit.until is None:
        return None
    midnight = datetime.combine(bandit.until + timedelta(days=1), time(0), pipeline.schedule.zone)
    return pipeline.schedule.last_at(midnight.astimezone(UTC) - timedelta(microseconds=1)).name


def _salt(pipeline: Pipeline, name: str, at: datetime) -> str:
    """A salt of the bandit's own: its units are independent of those of any other, and of any experiment."""
    return hashlib.blake2b(f"{pipeline.name}/bandit/{name}/{at.isoformat()}".encode(), digest_size=8).hexdigest()
