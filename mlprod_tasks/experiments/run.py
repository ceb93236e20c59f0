"""Start and end experiments. The plan is in the ledger before the first row is assigned, and does not change."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.experiment import CONTROL, HOLD_OUT
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.assignment import Variant
from mlprod_tasks.experiments.layer import NoRoom, free_range, share_units
from mlprod_tasks.experiments.plan import CannotPlan, Plan, Wanted, declared, plan, ticks_a_period
from mlprod_tasks.experiments.plan_written import layers_of, variants_written
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.bandit_entries import BanditRun
from mlprod_tasks.platform.experiment_entries import ROLLED_OUT, ExperimentRun
from mlprod_tasks.platform.ledger import Fallback, Rollout, Scoring, newest
from mlprod_tasks.platform.model_files import BrokenArtifact
from mlprod_tasks.promotion import history

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
WRITTEN = re.compile(
    r"(?P<version>\d+|champion|fallback)(?:@(?P<threshold>[0-9.eE+-]+))?(?:=(?P<share>[0-9.]+)(?P<percent>%?))?"
)
SETTLED = timedelta(seconds=10)  # replicas that answer requests read the ledger every two


class CannotStart(ValueError):
    """The experiment cannot be started; the message says why."""


class NoExperiment(LookupError):
    """There is no such experiment."""


def variants(pipeline: Pipeline, treated: Sequence[str], platform: Platform) -> tuple[Variant, ...]:
    """Return the champion as control, and the treated variants.

    Those without a share of their own share the rest alike with the control.

    treated: each a registered version, such as '3'; with '@0.4' it decides from that score on; 'champion@0.4' is the champion
    with another threshold; 'fallback' holds units out: the champion's fallback answers their rows. '=0.1' or '=10%' gives it
    that share of the units.

    Raises: CannotPlan.
    """
    declared(pipeline)
    promoted = history.promotions(pipeline, platform)
    if not promoted:
        raise CannotPlan(f"{pipeline.name} has no champion to compare with: train a model first")
    champion = promoted[-1].model_version
    written = [_read(one) for one in treated]
    own = [_share(one) for one in written]
    rest = (1 - sum(share for share in own if share is not None)) / (1 + own.count(None))
    if rest <= 0:
        raise CannotPlan(f"the shares of {', '.join(treated)} leave nothing for the control")
    shares = [rest if share is None else share for share in own]
    variants = [_treated(pipeline, one, champion, share, platform) for one, share in zip(written, shares, strict=True)]
    return (Variant(CONTROL, champion, rest), *variants)


def start(
    pipeline: Pipeline, name: str, planned: Plan, by: str, reason: str, platform: Platform, *, starts: TickName | None = None
) -> ExperimentRun:
    """Write the plan to the ledger; rows are assigned from tick `starts` on, by default the next one.

    Experiments that run at once have units of their own, or vary different parts of the answer. See `experiments.layer`.

    Raises: CannotStart, also if other experiments leave too few units, or a rollout lets another version answer.
    """
    if not NAME.fullmatch(name):
        raise CannotStart(f"experiment {name!r}: give lower-case letters, digits and _, starting with a letter")
    now = platform.clock.now()
    schedule = pipeline.schedule
    first = schedule.next_after(now + SETTLED) if starts is None else starts
    if (late := too_late(pipeline, first, platform)) is not None:
        raise CannotStart(f"experiment {name!r}: {late}")
    reads = planned.wanted.rows == "requests"
    if (why := rollout_in_the_way(pipeline, reads=reads, gives=True, platform=platform)) is not None:
        raise CannotStart(f"experiment {name!r}: {why}")
    if planned.wanted.then == "promote":
        _check_promotable(pipeline, name, planned, platform)
    run = ExperimentRun(
        pipeline=pipeline.name, name=name, at=now, by=by, reason=reason, plan=planned.as_json(),
        salt=_salt(pipeline, name, now), layer_salt=_salt(pipeline, f"{name}/layer", now), starts=first,
        ends=schedule.shift(first, planned.periods * ticks_a_period(schedule) - 1),
    )  # fmt: skip
    if schedule.last is not None and run.ends > schedule.last:
        raise CannotStart(f"experiment {name!r}: it would last until {run.ends}, but the schedule ends on {schedule.last}")
    with platform.ledger.exclusive(f"{pipeline.name}/experiment") as session:
        known = list(session.scalars(select(ExperimentRun).filter_by(pipeline=pipeline.name)))
        bandits = list(session.scalars(select(BanditRun).filter_by(pipeline=pipeline.name)))
        if name in {*(one.name for one in known), *(one.name for one in bandits)}:
            raise CannotStart(f"experiment {name!r}: there was one of that name, or a bandit; give another")
        _share_layer(pipeline, run, planned, known, schedule.last_at(now).name)
        if (choosing := next((one for one in bandits if one.ended is None or one.ended > first), None)) is not None:
            raise CannotStart(f"experiment {name!r}: bandit {choosing.name!r} is not over: stop it first")
        session.add(run)
    return run


def _share_layer(pipeline: Pipeline, run: ExperimentRun, planned: Plan, known: Sequence[ExperimentRun], now: TickName) -> None:
    """Give an experiment units that no other has while it runs, or if there are too few, none that varies the same.

    known: all others; now: the newest tick. Raises: CannotStart.
    """
    where = f"experiment {run.name!r}"
    lasts = {one.name: last_of(pipeline, one) for one in known}
    beside = [one for one in known if lasts[one.name] >= run.starts and one.starts <= run.ends]
    for one in beside:
        if "promote" in (planned.wanted.then, plan_of(one).wanted.then):
            raise CannotStart(
                f"{where}: {one.name!r} runs until {lasts[one.name]}, and one of the two would make its winner champion, which "
                "voids the other: plan both with another `then`, end it, or start after it"
            )
    mine = layers_of(planned.variants)
    rivals = [one for one in beside if layers_of(variants_written(one)) & mine]
    try:
        taken = _free(planned.wanted.traffic, beside, rivals)
    except NoRoom as error:
        there = ", ".join(f"{one.name!r} has {one.units_to - one.units_from:.0%} until {lasts[one.name]}" for one in rivals)
        what = " and the ".join(sorted(mine, reverse=True))
        raise CannotStart(
            f"{where} varies the {what}: {error}: {there}. End one, start after it, or ask for less traffic"
        ) from error
    # The ranges of a layer mean the same units as long as any experiment in it is not over; then they are drawn anew.
    run.layer_salt = next((one.layer_salt for one in known if one.layer_salt and lasts[one.name] >= now), run.layer_salt)
    run.units_from, run.units_to = taken


def _free(traffic: float, beside: Sequence[ExperimentRun], rivals: Sequence[ExperimentRun]) -> tuple[float, float]:
    """Return a range of units that none beside has, or else none of the rivals. Raises: NoRoom."""
    try:
        return free_range(traffic, [(one.units_from, one.units_to) for one in beside])
    except NoRoom:
        return free_range(traffic, [(one.units_from, one.units_to) for one in rivals])


def on_same_units(pipeline: Pipeline, run: ExperimentRun, platform: Platform) -> list[str]:
    """Return the experiments that vary something else on some of the same units, while this one runs."""
    return [one.name for one in every(pipeline, platform) if one.name != run.name and share_units(one, run)]


def beside_told(pipeline: Pipeline, run: ExperimentRun, platform: Platform) -> str:
    """Tell which experiments are on some of the same units, as a sentence; empty if none is."""
    there = on_same_units(pipeline, run, platform)
    what = "".join(layers_of(variants_written(run)))
    return f"it varies the {what}, on some of the same units as {', '.join(there)}, each by chance of its own" if there else ""


def too_late(pipeline: Pipeline, first: TickName, platform: Platform) -> str | None:
    """Return why units cannot be assigned from a tick on any more; None if they can."""
    now, begins = platform.clock.now(), pipeline.schedule.moment(first)
    if begins <= now:
        return f"tick {first} has begun: units are assigned before their rows are scored"
    if begins <= now + SETTLED:
        return f"tick {first} begins in seconds, and not every replica would know of it by then"
    if scored := platform.ledger.all(Scoring, Scoring.tick >= first, pipeline=pipeline.name):
        last = max(one.tick for one in scored)
        return f"tick {last} is scored already, and here it is {now:%Y-%m-%d %H:%M} UTC: check this machine's clock"
    return None


def rollout_in_the_way(pipeline: Pipeline, *, reads: bool, gives: bool, platform: Platform) -> str | None:
    """Return why requests would be answered in another way than planned; None if they would not.

    reads: whether requests are what is compared; gives: whether versions are what units are given.
    """
    rollout = newest(platform.ledger.all(Rollout, pipeline=pipeline.name), "at")
    if rollout is None:
        return None
    if gives and rollout.mode in ROLLED_OUT:
        return f"rollout {rollout.mode!r} lets version {rollout.challenger} answer requests: take it back first, or let it end"
    if reads and rollout.automation != "full":
        return f"people decide on requests (automation {rollout.automation!r}), so a variant does not: set it to 'full' first"
    return None


def _check_promotable(pipeline: Pipeline, name: str, planned: Plan, platform: Platform) -> None:
    """Raise CannotStart if a variant could not become champion whatever the experiment shows."""
    from mlprod_tasks.promotion.eligible import may_become_champion  # it loads what evaluates models

    for one in planned.treated:
        try:
            may_become_champion(pipeline, one.version, platform)
        except (ValueError, RuntimeError) as error:
            raise CannotStart(f"experiment {name!r}: {one.name} could not be promoted: {error}") from error


def stop(pipeline: Pipeline, name: str, by: str, reason: str, platform: Platform) -> ExperimentRun:
    """End an experiment: the champion answers all rows from the next tick on, and all requests within seconds.

    What it showed so far stays.

    Raises: NoExperiment.
    """
    with platform.ledger.exclusive(f"{pipeline.name}/experiment") as session:
        run = session.scalar(select(ExperimentRun).filter_by(pipeline=pipeline.name, name=name))
        if run is None:
            raise NoExperiment(f"{pipeline.name} has no experiment {name!r}")
        note_end(run, pipeline, by, reason, platform)
        return run


def note_end(run: ExperimentRun | BanditRun, pipeline: Pipeline, by: str, reason: str, platform: Platform) -> None:
    """Write into an entry of the ledger that it ends with the newest tick, unless it has ended."""
    if run.ended is None:
        now, schedule = platform.clock.now(), pipeline.schedule
        last = schedule.last_at(now).name
        run.ended = max(run.starts, schedule.shift(last if run.ends is None else min(last, run.ends), 1))
        run.ended_at, run.ended_by, run.end_reason = now, by, reason


def conclude(pipeline: Pipeline, name: str, what: str, platform: Platform) -> None:
    """Note what followed the verdict of an experiment, once."""
    with platform.ledger.exclusive(f"{pipeline.name}/experiment") as session:
        run = session.scalar(select(ExperimentRun).filter_by(pipeline=pipeline.name, name=name))
        if run is not None and run.concluded_at is None:
            run.concluded_at, run.conclusion = platform.clock.now(), what


def get(pipeline: Pipeline, name: str, platform: Platform) -> ExperimentRun:
    """Return an experiment. Raises: NoExperiment."""
    run = platform.ledger.get(ExperimentRun, pipeline.name, name)
    if run is None:
        there = ", ".join(one.name for one in every(pipeline, platform)) or "none"
        raise NoExperiment(f"{pipeline.name} has no experiment {name!r}; there are: {there}")
    return run


def every(pipeline: Pipeline, platform: Platform) -> list[ExperimentRun]:
    """Return all experiments, by their start."""
    return sorted(platform.ledger.all(ExperimentRun, pipeline=pipeline.name), key=lambda run: (run.starts, run.name))


def in_force(pipeline: Pipeline, tick: Tick, platform: Platform) -> tuple[ExperimentRun, ...]:
    """Return the experiments that assign the rows of a tick, by their start."""
    runs = platform.ledger.all(
        ExperimentRun, ExperimentRun.starts <= tick.name, ExperimentRun.ends >= tick.name, pipeline=pipeline.name
    )
    ordered = sorted(runs, key=lambda run: (run.starts, run.name))
    return tuple(run for run in ordered if run.ended is None or tick.name < run.ended)


def plan_of(run: ExperimentRun) -> Plan:
    """Return the plan of an experiment."""
    return Plan.from_json(run.plan)


def plan_for(
    pipeline: Pipeline, wanted: Wanted, treated: Sequence[str], platform: Platform, periods: int | None = None
) -> Plan:
    """Plan an experiment of the champion against other variants. Raises: CannotPlan."""
    return plan(pipeline, wanted, variants(pipeline, treated, platform), platform, periods=periods)


def _salt(pipeline: Pipeline, name: str, at: datetime) -> str:
    """Return a salt of the experiment's own: its units are independent of those of any other."""
    return hashlib.blake2b(f"{pipeline.name}/{name}/{at.isoformat()}".encode(), digest_size=8).hexdigest()


def last_of(pipeline: Pipeline, run: ExperimentRun) -> TickName:
    """Return the last tick whose rows an experiment assigns."""
    return run.ends if run.ended is None else pipeline.schedule.shift(run.ended, -1)


def _read(text: str) -> re.Match[str]:
    read = WRITTEN.fullmatch(text)
    if read is None:
        raise CannotPlan(
            f"variant {text!r}: give a version such as '3', or with a threshold '3@0.4' or 'champion@0.4', or 'fallback' for a "
            "hold-out; '=10%' after it is its share"
        )
    return read


def _share(read: re.Match[str]) -> float | None:
    """The share that was asked for; None if none was."""
    if read["share"] is None:
        return None
    try:
        share = float(read["share"]) / (100 if read["percent"] else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise CannotPlan(f"variant {read[0]!r}: a share lies between 0 and 1, such as '=0.1' or '=10%'")
    return share


def _treated(pipeline: Pipeline, read: re.Match[str], champion: int, share: float, platform: Platform) -> Variant:
    what, _, _ = read[0].partition("=")
    version = int(read["version"]) if read["version"].isdigit() else champion
    threshold = None if read["threshold"] is None else _threshold(pipeline, what, read["threshold"])
    if read["version"] == HOLD_OUT:
        return _held_out(pipeline, what, champion, share, threshold, platform)
    if version == champion and threshold is None:
        raise CannotPlan(f"variant {what!r} is the champion, which is the control: give another version, or a threshold")
    try:
        platform.registry.version(names.registered_model(pipeline), version)
    except BrokenArtifact as error:
        raise CannotPlan(f"variant {what!r}: {pipeline.name} has no version {version}") from error
    return Variant(what if threshold is not None else f"version {version}", version, share, threshold)


def _held_out(
    pipeline: Pipeline, what: str, champion: int, share: float, threshold: float | None, platform: Platform
) -> Variant:
    if threshold is not None:
        raise CannotPlan(f"variant {what!r}: the fallback decides by its own threshold: leave it out")
    if platform.ledger.get(Fallback, pipeline.name, champion) is None:
        raise CannotPlan(f"variant {what!r}: no fallback is stored for version {champion}")
    return Variant(HOLD_OUT, champion, share, held_out=True)


def _threshold(pipeline: Pipeline, text: str, written: str) -> float:
    if pipeline.task != "binary":
        raise CannotPlan(f"variant {text!r}: only a yes or no is decided from a score")
    try:
        threshold = float(written)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise CannotPlan(f"variant {text!r}: a threshold is a probability, from 0 to 1")
    return threshold
