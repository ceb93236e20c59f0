"""How columns change over time: missing values and level in equal periods, and the seasons of a level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mlprod_tasks.platform.sql import identifier, literal
from mlprod_tasks.profiling.column_profile import NUMBERS, ColumnProfile, ProfiledColumn, moment, seconds

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PERIODS = 40
# What a season is called, the part of a moment that it is, and the days without which it cannot be told from a trend.
SEASONS = (("hour of the day", "hour", 4), ("day of the week", "isodow", 28), ("month", "month", 540))
SECONDS_A_DAY = 86_400
CLEAR = 0.05  # of a level's variance that a season explains, for it to be named


@dataclass(frozen=True)
class OverTime:
    """A column in equal periods between `first` and `last`.

    level: the mean of a number or truth value, the share of the most frequent value of a text; `levels` says which. season:
    what explains most of its variance, and how much, if that is a clear part.
    """

    first: datetime
    last: datetime
    rows: tuple[int, ...]
    null_shares: tuple[float | None, ...]
    level: tuple[float | None, ...]
    levels: str
    season: tuple[str, float] | None = None


def over_time(
    connection: DuckDBPyConnection, relation: str, profiles: Sequence[ColumnProfile], time: str, zone: str
) -> Mapping[str, OverTime]:
    """How each column changes by the column `time`, by name; empty if all rows have one time.

    zone: the time zone of hours and days.
    """
    when = seconds(identifier(time))
    ends = connection.execute(f"SELECT min({when}), max({when}) FROM {relation}").fetchall()[0]
    if ends[0] is None or ends[0] == ends[1]:
        return {}
    first, last = ends
    shown = [profile for profile in profiles if profile.column.name != time]
    if not shown:
        return {}
    width = (last - first) / PERIODS
    period = f"CAST(least(floor(({when} - {first!r}) / {width!r}), {PERIODS - 1}) AS INT)"
    measures = ", ".join(f"avg(({identifier(p.column.name)} IS NULL)::INT), avg({_value(p)})" for p in shown)
    found = connection.execute(
        f"SELECT {period}, count(*), {measures} FROM {relation} WHERE {when} IS NOT NULL GROUP BY 1"
    ).fetchall()
    by_period = {row[0]: row[1:] for row in found}
    seasons = _seasons(connection, relation, shown, identifier(time), zone, (last - first) / SECONDS_A_DAY)
    between = (moment(first), moment(last))
    return {profile.column.name: _one(profile, i, by_period, between, seasons) for i, profile in enumerate(shown)}


def _value(profile: ColumnProfile) -> str:
    """The number whose mean is the level."""
    column, name = profile.column, identifier(profile.column.name)
    if column.kind in NUMBERS:
        return f"CASE WHEN isfinite({name}::DOUBLE) THEN {name}::DOUBLE END"
    if column.kind == "bool":
        return f"{name}::INT"
    if profile.top:
        return f"(CAST({name} AS VARCHAR) = {literal(profile.top[0][0])})::INT"
    return "NULL::INT"


def _levels(profile: ColumnProfile) -> str:
    column: ProfiledColumn = profile.column
    if column.kind in NUMBERS:
        return "mean"
    if column.kind == "bool":
        return "share of true"
    return f"share of {profile.top[0][0]!r}" if profile.top else ""


def _one(
    profile: ColumnProfile,
    at: int,
    by_period: Mapping[int, Sequence[float | int | None]],
    between: tuple[datetime, datetime],
    seasons: Mapping[str, tuple[str, float]],
) -> OverTime:
    rows, nulls, level = [], list[float | None](), list[float | None]()
    for period in range(PERIODS):
        found = by_period.get(period)
        rows.append(int(found[0] or 0) if found else 0)
        nulls.append(found[1 + 2 * at] if found else None)
        level.append(found[2 + 2 * at] if found else None)
    season = seasons.get(profile.column.name)
    return OverTime(*between, tuple(rows), tuple(nulls), tuple(level), _levels(profile), season)


def _seasons(
    connection: DuckDBPyConnection, relation: str, profiles: Sequence[ColumnProfile], time: str, zone: str, days: float
) -> dict[str, tuple[str, float]]:
    """For each column the season that explains most of its level's variance: the correlation ratio, eta squared."""
    varied = [profile for profile in profiles if _value(profile) != "NULL::INT"]
    best: dict[str, tuple[str, float]] = {}
    if not varied:
        return best
    for words, part, least_days in SEASONS:
        if days < least_days:
            continue
        local = f"extract({part} FROM {time}::TIMESTAMPTZ AT TIME ZONE {literal(zone)})"
        sums = ", ".join(f"count(v{i}) AS n{i}, avg(v{i}) AS m{i}, var_pop(v{i}) AS s{i}" for i in range(len(varied)))
        values = ", ".join(f"{_value(profile)} AS v{i}" for i, profile in enumerate(varied))
        grouped = f"SELECT {sums} FROM (SELECT {local} AS season, {values} FROM {relation}) GROUP BY season"
        ratios = ", ".join(_ratio(i) for i in range(len(varied)))
        for profile, ratio in zip(varied, connection.execute(f"SELECT {ratios} FROM ({grouped})").fetchall()[0], strict=False):
            if ratio is not None and ratio > max(best.get(profile.column.name, ("", CLEAR))[1], CLEAR):
                best[profile.column.name] = (words, float(ratio))
    return best


def _ratio(i: int) -> str:
    """Variance between the groups over all variance, less what chance alone explains (omega squared; Hays, 1963)."""
    within = f"sum(n{i} * s{i})"
    mean = f"(sum(n{i} * m{i}) / sum(n{i}))"
    between = f"(sum(n{i} * m{i} * m{i}) - sum(n{i}) * {mean} * {mean})"
    noise = f"({within} / nullif(sum(n{i}) - count(*), 0))"
    return (
        f"CASE WHEN {within} + {between} > 0 THEN ({between} - (count(*) - 1) * {noise}) / ({within} + {between} + {noise}) END"
    )
