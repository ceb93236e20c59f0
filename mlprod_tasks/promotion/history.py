"""The history of champions: promotions in the ledger, and the registry's aliases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Promotion, Row
from mlprod_tasks.platform.registry import CHAMPION, FALLBACK


def promotions(pipeline: Pipeline, platform: Platform) -> list[Promotion]:
    """All promotions and rollbacks, in the order in which they take effect."""
    return sorted(platform.ledger.all(Promotion, pipeline=pipeline.name), key=_order)


def record_promotion(
    pipeline: Pipeline,
    choose: Callable[[Sequence[Promotion]], Promotion | None],
    platform: Platform,
    beside: Callable[[Promotion], Row] | None = None,
) -> Promotion | None:
    """Record the promotion that `choose` returns, move the aliases, and return it.

    choose: gets the promotions so far, and returns None to change nothing; runs under a lock. beside: makes a further row to
    write with the promotion. The ledger is written first: if a call is killed before the aliases are moved, repeating it moves
    them.
    """
    with platform.ledger.exclusive(_lock(pipeline)) as session:
        known = sorted(session.scalars(select(Promotion).filter_by(pipeline=pipeline.name)), key=_order)
        promotion = choose(known)
        if promotion is not None:
            session.merge(promotion)
            if beside is not None:
                session.merge(beside(promotion))
    if promotion is not None:
        move_aliases(pipeline, platform)
    return promotion


def champion_stack(known: Sequence[Promotion], champion: int | None = None) -> list[int]:
    """The versions to roll back to in turn, the champion last.

    A rollback removes all versions after its target.

    champion: the version behind the alias; it may differ from the ledger if somebody moved the alias by hand.
    """
    stack: list[int] = []
    for version in [*(promotion.model_version for promotion in known), *([] if champion is None else [champion])]:
        stack = [*stack[: stack.index(version)], version] if version in stack else [*stack, version]
    return stack


def move_aliases(pipeline: Pipeline, platform: Platform) -> None:
    """Point both aliases at the last promotion in the ledger.

    Running it twice gives the same result.
    """
    registry, name, fallback = platform.registry, names.registered_model(pipeline), names.fallback_model(pipeline)
    with platform.ledger.exclusive(_lock(pipeline)) as session:
        last = max(session.scalars(select(Promotion).filter_by(pipeline=pipeline.name)), key=_order)
        ref = registry.version(name, last.model_version)
        registry.set_alias(name, CHAMPION, ref.version)
        registry.set_alias(fallback, FALLBACK, registry.of_run(fallback, ref.run_id).version)


def _order(promotion: Promotion) -> tuple[object, ...]:
    return promotion.effective, promotion.at


def _lock(pipeline: Pipeline) -> str:
    return f"{pipeline.name}/champion"
