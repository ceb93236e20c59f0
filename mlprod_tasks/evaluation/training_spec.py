"""Find the champion's recipe: the declared one, or another that can be fitted again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlprod_tasks.declaration import AsOf, Expression, Lookup, Pipeline, Trailing
from mlprod_tasks.declaration.feature import Feature, names_of
from mlprod_tasks.declaration.recorded import digest_of, read, read_part
from mlprod_tasks.evaluation.champion import champion_now
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.model_files import ModelRef
from mlprod_tasks.training.assemble import DECLARATION
from mlprod_tasks.training.provenance import RECORD_FOLDER

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionSpec:
    """The champion's version and recipe.

    pipeline: the one that fits another recipe again.
    """

    version: int | None
    recipe: Literal["same", "other", "none", "unknown"]
    pipeline: Pipeline | None = None
    problem: str | None = None


def spec_of_champion(pipeline: Pipeline, candidate: Any, platform: Platform) -> ChampionSpec:
    """Find the champion's recipe: this training's, or another that can be fitted again."""
    now = champion_now(pipeline, platform)
    ref = now.ref
    if now.problem is not None:
        return ChampionSpec(now.version, "unknown", problem=now.problem)
    if ref is None:
        return ChampionSpec(None, "none")
    try:
        loaded = platform.registry.load_model(ref)
        recipe = loaded.facts.recipe
        if recipe is None:
            raise ValueError("its recipe was not recorded with it")
        reads = tuple(loaded.feature_names)
        _check_same_meaning(pipeline, reads, ref, loaded.facts.declaration, platform)
        # Read, so that fields that were added since have their defaults in both.
        same = candidate.facts.recipe is not None and read_part(recipe) == read_part(candidate.facts.recipe)
        if same and reads == tuple(candidate.feature_names):
            return ChampionSpec(ref.version, "same")
        return ChampionSpec(ref.version, "other", _with_recipe(pipeline, recipe, reads))
    except Exception as error:
        log.exception("the recipe of champion version %d cannot be fitted again", ref.version)
        problem = f"the recipe of champion version {ref.version} cannot be fitted again: {type(error).__name__}: {error}"
        return ChampionSpec(ref.version, "unknown", problem=problem)


def _check_same_meaning(
    pipeline: Pipeline, reads: tuple[str, ...], ref: ModelRef, declaration: str, platform: Platform
) -> None:
    """Raises: ValueError if the declaration of a champion's feature has changed, or was not recorded."""
    if declaration == pipeline.digest:
        return
    content = platform.registry.read_file(ref.run_id, f"{RECORD_FOLDER}/{DECLARATION}")
    if content is None or digest_of(content.decode()) != declaration:
        raise ValueError("the declaration of its features was not recorded with it")
    before, now = meanings(read(content.decode()).features), meanings(pipeline.features)
    if other := [name for name in reads if name in now and before.get(name) != now[name]]:
        raise ValueError(f"it reads {', '.join(other)}, whose declaration has changed since")


def meanings(features: Iterable[Feature]) -> dict[str, Any]:
    """Return what each feature is computed from, by its name."""
    by_name: dict[str, Any] = {}
    for feature in features:
        match feature:
            case Expression():
                by_name[feature.name] = feature.sql, feature.kind
            case Lookup() | AsOf():
                where = type(feature).__name__, feature.table, feature.on, getattr(feature, "max_age", None)
                by_name |= {name: (*where, column) for name, column in feature.columns.items()}
            case Trailing():
                by_name |= {
                    feature.feature(aggregate, window): (feature.table, feature.by, window, feature.skip, aggregate)
                    for window in feature.windows
                    for aggregate in feature.aggregates
                }
    return by_name


def _with_recipe(pipeline: Pipeline, recipe: dict[str, Any], reads: tuple[str, ...]) -> Pipeline:
    """Return the pipeline with another recipe and only the features that it reads."""
    kept = tuple(feature for feature in pipeline.features if set(names_of(feature)) <= set(reads))
    other = replace(pipeline, model=read_part(recipe), features=kept)
    if lost := sorted(set(reads) - set(other.feature_names)):
        raise ValueError(f"it reads {', '.join(lost)}, which the pipeline no longer declares")
    return other
