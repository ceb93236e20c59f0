"""Write the readings of a tick to the ledger, replacing its earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import delete, select

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.bounds import in_force
from mlprod_tasks.monitoring.diagnosis import causes
from mlprod_tasks.monitoring.kinds import Family, of_family
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement


def reference_of(pipeline: Pipeline, version: int, platform: Platform) -> ReferenceProfile:
    """The reference profile of a version."""
    return ReferenceProfile.from_json(platform.registry.reference_profile(pipeline, version))


def record(
    pipeline: Pipeline,
    tick: Tick,
    family: Family,
    readings: Sequence[Reading],
    version: int,
    platform: Platform,
    profile: ReferenceProfile | None,
    still: Callable[[], bool] = lambda: True,
) -> list[Measurement]:
    """Replace the tick's measurements of a family.

    Writes and returns nothing unless `still` is true. still: whether the data behind the readings is unchanged. profile: the
    source of learned bounds; None for the declared ones only.
    """
    at = platform.clock.now()
    bounds = in_force(pipeline, tick.name, platform, profile)
    rows = [judged(reading, pipeline, tick, version, at, bounds) for reading in readings]
    with platform.ledger.exclusive(f"{pipeline.name}/measurements/{tick}") as session:
        if not still():
            return []
        of_tick = (Measurement.pipeline == pipeline.name) & (Measurement.tick == tick.name)
        # Inputs help to explain outcomes. If inputs are measured again, their outcomes are measured again afterwards.
        inputs_then = of_tick & Measurement.what.in_(of_family("input") if family == "outcome" else ())
        kinds = causes(pipeline, [*rows, *session.scalars(select(Measurement).where(inputs_then))])
        for row in rows:
            row.cause = kinds.get((row.what, row.slice), "")
        session.execute(delete(Measurement).where(of_tick & Measurement.what.in_(of_family(family))))
        session.add_all(rows)
    return rows
