"""The comparison with the champion: data, recipe, features, importance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlprod_tasks.documents import Block, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import number, window
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.platform import Platform
from mlprod_tasks.reporting.plots import importance as plots
from mlprod_tasks.reporting.report_context import ReportContext, ReportedChampion
from mlprod_tasks.training.label_changes import label_changes
from mlprod_tasks.training.records import classes_in_words

ABSENT = "-"


def change(context: ReportContext, champion: ReportedChampion | None, platform: Platform) -> Section:
    """The differences between the model and the champion."""
    if champion is None:
        return Section("change", "Against the champion", (NotMade("what changed", "There was no champion yet."),))
    if champion.model is None:
        why = champion.problem or "The champion could not be loaded."
        return Section("change", "Against the champion", (NotMade("what changed", why),))
    name = f"version {champion.version}"
    blocks: list[Block] = [Grid("Data", ("", f"champion, {name}", "model"), tuple(_data(context.model, champion.model)))]
    blocks.append(_outcomes(context, champion.model, platform))
    blocks += _recipes(context.model, champion.model, name)
    new, old = set(context.model.feature_names), set(champion.model.feature_names)
    added, removed = sorted(new - old), sorted(old - new)
    if added or removed:
        rows = tuple((feature, ABSENT, "new") for feature in added) + tuple((feature, "read", ABSENT) for feature in removed)
        blocks.append(Grid("Features", ("feature", f"champion, {name}", "model"), rows))
    else:
        blocks.append(Paragraph(f"Both read the same {len(new)} features."))
    shares, before = context.model.importance, champion.model.importance
    if any(shares.values()) and any(before.values()):
        drawn = plots.shift(shares, before, f"champion, {name}")
        blocks.append(Picture("importance_shift", png(drawn), "Shares of importance, as each learner measures it."))
    else:
        blocks.append(NotMade("the shift of importance", "One of the two learners does not measure it."))
    return Section("change", "Against the champion", tuple(blocks))


def _outcomes(context: ReportContext, champion: Model | SegmentedModel, platform: Platform) -> Block:
    """What became of the outcomes that the champion was made with."""
    found = label_changes(context.pipeline, champion.facts, context.assembled, platform)
    if isinstance(found, str):
        return NotMade("what became of the champion's outcomes", found)
    return Paragraph(
        f"Outcomes are taken as they are known at a training. Of the {found.known:,} that the champion was made with, "
        f"{found.changed:,} have changed since and {found.gone:,} are gone; {found.added:,} more of its rows have one now."
    )


def _data(model: Model | SegmentedModel, champion: Model | SegmentedModel) -> Iterator[tuple[str, ...]]:
    pairs = [(one.facts, one) for one in (champion, model)]
    yield ("made as of", *(str(facts.as_of or ABSENT) for facts, _ in pairs))
    for split in ("train", "validation", "test"):
        yield (f"{split} window", *(window(facts.windows[split]) if facts.windows else ABSENT for facts, _ in pairs))
    outcomes, shown = _OUTCOMES[model.task]
    yield (f"{outcomes} in training", *(shown(facts.training_rate, facts.training_classes) for facts, _ in pairs))
    yield (f"{outcomes} in validation", *(shown(facts.validation_rate, facts.validation_classes) for facts, _ in pairs))
    for table in sorted({table for facts, _ in pairs for table in facts.versions}):
        yield (f"version of {table}", *(str(facts.versions.get(table, ABSENT)) for facts, _ in pairs))
    if model.threshold is not None:
        yield ("acts from", *(number(one.threshold) for _, one in pairs))
    yield ("learner", *(one.kind for _, one in pairs))
    yield ("trees, or parameters", *(f"{one.size:,}" for _, one in pairs))


def _recipes(model: Model | SegmentedModel, champion: Model | SegmentedModel, name: str) -> list[Block]:
    new, old = model.facts.recipe, champion.facts.recipe
    if new is None or old is None:
        return [
            NotMade(
                "differences of the recipe", "One of the two models was made by an older release that did not store the recipe."
            )
        ]
    flat, before = dict(_flat(new)), dict(_flat(old))
    fields = list(dict.fromkeys([*before, *flat]))
    rows = tuple(
        (field, before.get(field, ABSENT), flat.get(field, ABSENT)) for field in fields if before.get(field) != flat.get(field)
    )
    if not rows:
        return [Paragraph("Both were made by the same recipe: the same candidates with the same parameters.")]
    return [Grid("Recipe: what differs", ("field", f"champion, {name}", "model"), rows)]


def _flat(part: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every field of a declared part by its path.

    List items are named by their `name` or position.
    """
    if isinstance(part, Mapping):
        for field, value in part.items():
            yield from _flat(value, f"{path}.{field}" if path else str(field))
    elif isinstance(part, list) and part and all(isinstance(one, Mapping) for one in part):
        for i, one in enumerate(part):
            yield from _flat(one, f"{path}[{one.get('name', i)}]")
    else:
        yield path, ABSENT if part is None else ", ".join(map(str, part)) if isinstance(part, list) else str(part)


def _share(share: float | None, classes: Mapping[str, int] | None) -> str:
    return ABSENT if share is None else f"{share:.1%}"


def _mean(mean: float | None, classes: Mapping[str, int] | None) -> str:
    return ABSENT if mean is None else number(mean)


def _classes(rate: float | None, classes: Mapping[str, int] | None) -> str:
    return ABSENT if classes is None else classes_in_words(classes)


_OUTCOMES = {"binary": ("positive", _share), "regression": ("mean outcome", _mean), "multiclass": ("outcomes", _classes)}
