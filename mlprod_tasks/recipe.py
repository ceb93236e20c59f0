"""Which recipe made the champion: the one that is declared now, or another that can be followed again."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.declaration.recorded import read_part
from mlprod_tasks.platform import Platform

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Champion:
    """The champion's version and recipe: as the pipeline that would make it, where that is another one."""

    version: int | None
    recipe: Literal["same", "other", "none", "unknown"]
    pipeline: Pipeline | None = None
    problem: str | None = None


def champions_recipe(pipeline: Pipeline, candidate: Any, platform: Platform) -> Champion:
    """Which recipe made the champion: this training's, or another that can be fitted again."""
    ref = platform.registry.champion(pipeline)
    if ref is None:
        return Champion(None, "none")
    try:
        loaded = platform.registry.load_model(ref)
        recipe = loaded.facts.get("recipe")
        if recipe is None:
            raise ValueError("its recipe was not recorded with it")
        reads = tuple(loaded.feature_names)
        if recipe == candidate.facts["recipe"] and reads == tuple(candidate.feature_names):
            return Champion(ref.version, "same")
        return Champion(ref.version, "other", _with(pipeline, recipe, reads))
    except Exception as error:
        log.exception("the recipe of champion version %d cannot be fitted again", ref.version)
        problem = f"the recipe of champion version {ref.version} cannot be fitted again: {type(error).__name__}: {error}"
        return Champion(ref.version, "unknown", problem=problem)


def _with(pipeline: Pipeline, recipe: dict[str, Any], reads: tuple[str, ...]) -> Pipeline:
    """The pipeline with another recipe, over the features that it read."""
    kept = tuple(feature for feature in pipeline.features if set(names_of(feature)) <= set(reads))
    made = replace(pipeline, model=read_part(recipe), features=kept)
    if lost := sorted(set(reads) - set(made.feature_names)):
        raise ValueError(f"it reads {', '.join(lost)}, which the pipeline does not declare so any more")
    return made
