"""Columns as cards of a document: what they hold, how it is distributed, how it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from mlprod_tasks.documents import Card, small_charts
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.profiling.column_profile import ColumnProfile
from mlprod_tasks.profiling.over_time import OverTime

MANY_NULLS = 0.5
RARE = 0.01  # of rows
FEW_NULLS = 0.005


def cards(
    profiles: Sequence[ColumnProfile],
    changes: Mapping[str, OverTime],
    facts: Mapping[str, tuple[tuple[str, str], ...]] | None = None,
    warnings: Mapping[str, str] | None = None,
) -> tuple[Card, ...]:
    """One card for each column. facts, warnings: what else there is to say, by column."""
    return tuple(
        Card(
            title=profile.column.name,
            kind=profile.column.kind,
            note=profile.column.doc,
            facts=(*_facts(profile, changes.get(profile.column.name)), *(facts or {}).get(profile.column.name, ())),
            charts=tuple(_charts(profile, changes.get(profile.column.name))),
            warning=(warnings or {}).get(profile.column.name, "") or _warning(profile),
        )
        for profile in profiles
    )


def _facts(profile: ColumnProfile, change: OverTime | None) -> tuple[tuple[str, str], ...]:
    shown = [("missing", f"{profile.null_share:.1%}" if profile.nulls else "none")]
    if profile.column.secret:
        shown.append(("values", "personal: not shown"))
    elif profile.all_different:
        shown.append(("different", "all, or nearly all"))
    else:
        shown.append(("different", f"about {profile.distinct:,}" if profile.distinct > 20 else f"{profile.distinct:,}"))
    if profile.least is not None:
        shown.append(("range", f"{written(profile.least)} to {written(profile.most)}"))
    if profile.mean is not None:
        shown.append(("mean", format_number(profile.mean)))
    if change is not None and change.season is not None:
        shown.append(("season", f"{change.season[0]} explains {change.season[1]:.0%} of the variance"))
    return tuple(shown)


def _charts(profile: ColumnProfile, change: OverTime | None) -> list[tuple[str, str]]:
    charts = []
    if profile.top:
        shares = [(value, n / max(profile.rows - profile.nulls, 1)) for value, n in profile.top]
        charts.append(("most frequent values" if profile.distinct > len(shares) else "values", small_charts.named_bars(shares)))
    elif profile.bins and profile.edges is not None:
        charts.append(("distribution", small_charts.bars(profile.bins, *map(written, profile.edges))))
    if change is not None:
        ends = (f"{change.first:%Y-%m-%d}", f"{change.last:%Y-%m-%d}")
        if change.levels and not profile.all_different and _is_worth_a_line(profile):
            charts.append((f"{change.levels} over time", small_charts.line(change.level, *ends)))
        if profile.null_share >= FEW_NULLS:
            charts.append(("share missing over time", small_charts.line(change.null_shares, *ends, least=(0.0, 1.0))))
    return charts


def _is_worth_a_line(profile: ColumnProfile) -> bool:
    """Whether the share of the most frequent value says anything; of numbers it is the mean that is drawn."""
    return not profile.top or profile.column.kind != "text" or profile.top[0][1] > RARE * profile.rows


def _warning(profile: ColumnProfile) -> str:
    if not profile.rows:
        return "There are no rows."
    if profile.nulls == profile.rows:
        return "Every value is missing."
    if profile.distinct <= 1 and profile.rows > 1 and not profile.nulls:
        return "All rows have the same value."
    return "Most values are missing." if profile.null_share > MANY_NULLS else ""


def written(value: Any) -> str:
    """A value of a range, for people."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}" if (value.hour, value.minute) != (0, 0) else f"{value:%Y-%m-%d}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e9):
        return f"{int(value)}" if abs(value) < 10_000 else f"{int(value):,}"
    return format_number(value)
