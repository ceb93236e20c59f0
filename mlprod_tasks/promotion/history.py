"""Who is champion, from which tick on: the ledger's record of it, and the aliases that follow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Promotion, Row
from mlprod_tasks.platform.registry import CHAMPION, FALLBACK


def promotions(pipeline: Pipeline, platform: Platform) -> list[Promotion]:
    """Every promotion and rollback, in the order in which they took and take effect."""
    return sorted(platform.ledger.all(Promotion, pipeline=pipeline.name), key=_order)


def record_promotion(
    pipeline: Pipeline,
    choose: Callable[[Sequence[Promotion]], Promotion | None],
    platform: Platform,
    beside: Callable[[Promotion], Row] | None = None,
) -> Promotion | None:
    """Record what `choose` makes of the promotions so far, then point the aliases where the ledger says. What it chose.

    `choose` returns None to leave everything as it is. One decides at a time. The record comes first: killed before the aliases
    are moved, the same call brings them to where they belong. What `beside` makes of the promotion is written with it.
    """
    with platform.ledger.exclusive(_lock(pipeline)) as session:
        known = sorted(session.scalars(select(Promotion).filter_by(pipeline=pipeline.name)), key=_order)
        chosen = choose(known)
        if chosen is not None:
            session.merge(chosen)
            if beside is not None:
                session.merge(beside(chosen))
    if chosen is not None:
        move_aliases(pipeline, platform)
    return chosen


def champion_stack(known: Sequence[Promotion], champion: int | None = None) -> list[int]:
    """The versions that stand one upon the other, the champion last: a rollback takes away what stood above its version.

    `champion` is the version behind the alias, where somebody may have moved it beside the ledger.
    """
    standing: list[int] = []
    for version in [*(promotion.model_version for promotion in known), *([] if champion is None else [champion])]:
        standing = [*standing[: standing.index(version)], version] if version in standing else [*standing, version]
    return standing


def move_aliases(pipeline: Pipeline, platform: Platform) -> None:
    """Point both aliases at the version that the ledger has last, whoever wrote it. Running it twice gives the same result."""
    registry, name, beside = platform.registry, names.registered_model(pipeline), names.fallback_model(pipeline)
    with platform.ledger.exclusive(_lock(pipeline)) as session:
        last = max(session.scalars(select(Promotion).filter_by(pipeline=pipeline.name)), key=_order)
        ref = registry.version(name, last.model_version)
        registry.set_alias(name, CHAMPION, ref.version)
        registry.set_alias(beside, FALLBACK, registry.of_run(beside, ref.run_id).version)


def _order(promotion: Promotion) -> tuple[object, ...]:
    return promotion.effective, promotion.at


def _lock(pipeline: Pipeline) -> str:
    return f"{pipeline.name}/champion"
