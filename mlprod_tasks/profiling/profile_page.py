"""One page on what every column and every feature of a use case looks like over time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlprod_tasks import documents
from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.documents import Block, Cards, Document, Listing, Paragraph, Section, Tiles
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import write_text
from mlprod_tasks.profiling.cards import cards
from mlprod_tasks.profiling.feature_profile import FeatureProfile, profile_features
from mlprod_tasks.profiling.labelled_features import labelled_features, newest_ticks
from mlprod_tasks.profiling.lake_profile import TableProfile, table_profiles

MOST_ROWS = 400_000  # whose features are computed


def write_profile(pipeline: Pipeline, platform: Platform, out: Path | None = None, ticks: TickRange | None = None) -> Path:
    """Profile the tables in the lake, and the features of `ticks`, by default the newest with MOST_ROWS rows. The page's path.

    It only reads the lake. Raises: TableMissing if nothing is ingested.
    """
    chosen = ticks or newest_ticks(pipeline, platform, MOST_ROWS)
    as_of = pipeline.schedule.last_at(platform.clock.now())
    found = profile_features(pipeline, labelled_features(pipeline, chosen, as_of, platform))
    path = out or platform.settings.home / "reports" / pipeline.name / "profile.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, documents.html(document(pipeline, chosen, found, table_profiles(pipeline, platform))))
    return path


def document(pipeline: Pipeline, ticks: TickRange, found: FeatureProfile, tables: tuple[TableProfile, ...]) -> Document:
    """The page's content."""
    sections = (
        _summary(pipeline, ticks, found),
        _label(pipeline, found),
        _features(pipeline, found),
        *map(table_section, tables),
    )
    return Document(f"Profile of {pipeline.name}", " ".join(pipeline.doc.split()), sections)


def table_section(profile: TableProfile) -> Section:
    """A table and its columns."""
    table = profile.table
    of_time = f" Their time is {table.time}." if table.time else " It has no time: it is read as a whole."
    words = f"{table.doc.strip()} {profile.rows:,} rows, identified by {', '.join(table.key)}.{of_time}".strip()
    shown = Cards("", cards(profile.columns, profile.changes))
    return Section(f"table-{table.name}", f"Data: {table.name}", (Paragraph(words), shown))


def _summary(pipeline: Pipeline, ticks: TickRange, found: FeatureProfile) -> Section:
    power = pipeline.of_task.power
    best = max(found.power.items(), key=lambda one: one[1], default=None)
    tiles = [
        ("Rows", f"{found.rows:,}", f"of {format_count(len(ticks), 'tick')}, {ticks}"),
        ("Outcomes", f"{found.labelled:,}", "known so far"),
        ("Features", f"{len(found.features)}", f"{len(found.warnings) or 'none'} worth a look"),
    ]
    if best is not None:
        tiles.append((f"Best {power} alone", format_number(best[1]), best[0]))
    blocks: list[Block] = [Tiles(tuple(tiles))]
    if found.warnings:
        blocks += [
            Paragraph("Worth a look:", "bad"),
            Listing(tuple(f"{name}: {text}" for name, text in found.warnings.items())),
        ]
    else:
        blocks.append(
            Paragraph("No feature looks suspicious: none tells the outcome alone, none starts or stops being known.", "good")
        )
    return Section("summary", "In short", tuple(blocks))


def _label(pipeline: Pipeline, found: FeatureProfile) -> Section:
    delay = f"An outcome is complete {pipeline.label_delay_ticks} ticks after its row is scored."
    if found.label is None:
        return Section("label", "What is predicted", (Paragraph(f"{delay} None is known yet."),))
    return Section("label", "What is predicted", (Paragraph(delay), Cards("", cards([found.label], found.changes))))


def _features(pipeline: Pipeline, found: FeatureProfile) -> Section:
    """The strongest features first."""
    power = pipeline.of_task.power
    ordered = sorted(found.features, key=lambda one: -found.power.get(one.column.name, 0.0))
    facts = {name: ((f"{power} alone", format_number(value)),) for name, value in found.power.items()}
    shown = Cards("", cards(ordered, found.changes, facts, found.warnings))
    return Section("features", "Features", tuple(_feature_blocks(pipeline, found, shown)))


def _feature_blocks(pipeline: Pipeline, found: FeatureProfile, shown: Cards) -> Iterator[Block]:
    task = pipeline.of_task
    if found.power:
        yield Paragraph(
            f"The {task.power} of a feature alone: rates by its values or bins in the first half of the rows, measured on "
            f"the second half. {task.no_power:g} tells nothing, 1 everything. The strongest are first."
        )
    else:
        yield Paragraph("There are too few outcomes to say what a feature tells of them.")
    yield shown
