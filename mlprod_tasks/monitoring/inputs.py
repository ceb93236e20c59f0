"""Compare a model's inputs and scores at one tick with its reference profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceProfile
from mlprod_tasks.monitoring import categories
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.observe import Observed
from mlprod_tasks.statistics import bins, distances, intervals

FEWEST_ROWS = 50  # with fewer rows, a tick's distribution is not meaningful
QUIET_MARGIN = 1.25
OF_SHARES = ("feature_psi", "score_psi", "class_psi")
OLDER = "this model's reference profile has an older format without {kept}; the next training adds it"
LOST = "the reference has this column, but the predictions do not"

Read = tuple[float | None, str, float | None]  # the value, its detail and the reference's value; or None, why, None


def inputs(
    profile: ReferenceProfile, observed: Observed, only_important: Mapping[str, bool] | None = None, *, together: bool = True
) -> Iterator[Reading]:
    """The readings of one tick's predictions, the most important features first.

    only_important: for each watch, whether its bounds apply to the important features only. together: whether to train the
    domain classifier too, which takes about as long as everything else.
    """
    fallback, asked = observed.fallback_rows, observed.rows - observed.treated_rows
    yield _fallback_share(fallback, asked)
    yield volume(profile, observed.rows)
    yield _type_changes(profile, observed)
    yield from _join_coverage(profile, observed)
    if profile.task == "binary":
        yield _decision_share(profile, observed)
    if profile.classes is not None:
        yield _reading("class_psi", profile.classes.predicted, observed, len(profile.rows_by_tick))
    for what in ("score_psi", "score_wasserstein"):
        yield _reading(what, profile.score, observed, len(profile.rows_by_tick))
    if together:
        yield _domain_auc(profile, observed)
    total = sum(column.importance for column in profile.features)
    ranked = sorted(profile.features, key=lambda column: -column.importance)
    for rank, column in enumerate(ranked, 1):
        ranks = f"feature {rank} of {len(ranked)} by importance, {column.importance / total:.0%} of it" if total else ""
        for what in _kinds(column):
            watched = column.important or not (only_important or {}).get(what, False)
            yield _reading(what, column, observed, len(profile.rows_by_tick), column.name, ranks, watched)


def _fallback_share(fallback: int, asked: int) -> Reading:
    """The share of the rows that the model was asked for and its fallback answered."""
    if not asked:
        return Reading("fallback_share", None, 0, why="an experiment gave every row to another variant")
    sure, detail = intervals.wilson(fallback, asked), f"{fallback:,} of {asked:,} rows"
    return Reading("fallback_share", fallback / asked, asked, reference=0.0, detail=detail, interval=sure)


def volume(profile: ReferenceProfile, rows: int) -> Reading:
    """The rows of a tick over the reference's mean per tick.

    It is the only reading of a tick without rows.
    """
    mean = profile.rows_per_tick
    return Reading(
        "volume",
        rows / mean,
        rows,
        reference=mean,
        detail=f"{format_count(rows, 'row')}; the reference has {mean:,.0f} per tick",
    )


def quiet_bound(ticks: tuple[float, ...]) -> float | None:
    """The highest value of a quiet tick; None without ticks.

    It is the largest of the reference's own ticks plus a margin. Rows of one tick resemble each other (one day's weather, one
    day's trailing means), so a tick never looks like a sample of the whole reference. How far it usually differs is learned
    from the reference's own ticks.
    """
    return QUIET_MARGIN * max(ticks) if ticks else None


def too_few(n: int) -> str:
    """Why a tick of n rows has no distribution."""
    if n == 0:
        return "the fallback answered every row, so the model has no scores to compare"
    too_few_rows = f"{format_count(n, 'row')} {'is' if n == 1 else 'are'} too few"
    return f"{too_few_rows} to compare distributions; at least {FEWEST_ROWS} are needed"


def _kinds(column: ProfileColumn) -> tuple[str, ...]:
    """The measurements of a feature.

    Numbers have ranges and distances, categories new and lost values. Of a number with a few values in each tick only its mean
    is compared: the distribution of a tick is always far from that of the others.
    """
    if column.levels:
        known = () if column.bins.of_numbers else ("new_categories", "lost_categories")
        return ("feature_level", "null_share", *known)
    every = ("feature_psi", "feature_js", "null_share")
    if column.bins.of_numbers:
        return (*every, "feature_wasserstein", "out_of_range")
    ordered = ("feature_wasserstein",) if column.type == "int" else ()
    return (*every, *ordered, "new_categories", "lost_categories")


def _reading(
    what: str, column: ProfileColumn, observed: Observed, ticks: int, name: str = "", ranks: str = "", watched: bool = True
) -> Reading:
    n = observed.answered

    def none(why: str, missing: bool = False) -> Reading:
        return Reading(what, None, n, name, why=why, missing=missing, watched=watched, important=column.important)

    if n < FEWEST_ROWS:
        return none(too_few(n))
    if column.name not in observed.columns:
        return none(LOST, missing=True)
    value, detail, reference = _READ[what](column, observed, ticks)
    if value is None:
        return none(detail)
    quiet = column.tick_psi if what in OF_SHARES else column.tick_null_share if what == "null_share" else ()
    detail = "; ".join(part for part in (detail, ranks) if part)
    return Reading(
        what, value, n, name, reference, quiet_bound(quiet), detail=detail, watched=watched, important=column.important
    )


def _psi(column: ProfileColumn, observed: Observed, _: int) -> Read:
    before, now = _coarse_counts(column, observed)
    typical = float(np.median(column.tick_psi)) if column.tick_psi else 0.0
    detail = ""
    if column.tick_psi:
        highest = format_number(max(column.tick_psi))
        detail = f"a typical tick of the reference has {format_number(typical)}, the highest {highest}"
    return distances.corrected_psi(before, now), detail, typical


def _jensen_shannon(column: ProfileColumn, observed: Observed, _: int) -> Read:
    return distances.jensen_shannon_distance(*_coarse_counts(column, observed)), "", None


def _wasserstein(column: ProfileColumn, observed: Observed, _: int) -> Read:
    if column.bins.sd is None:
        return None, OLDER.format(kept="the spread of this column"), None
    if column.bins.sd == 0:
        return None, "all values of the reference are equal, so there is no spread to scale a distance by", None
    try:
        distance = (
            distances.wasserstein_of(column.bins, np.asarray(column.counts), observed.columns[column.name]) / column.bins.sd
        )
    except distances.NothingToCompare:
        return None, "the tick or the reference has no value at all", None
    if not np.isfinite(distance):
        return None, "the tick has numbers so large that their distance cannot be computed", None
    return distance, f"the reference's standard deviation is {format_number(column.bins.sd)}", None


def _level(column: ProfileColumn, observed: Observed, _: int) -> Read:
    known = [level for level in column.levels if level is not None]
    level = observed.levels.get(column.name)
    if level is None or not known:
        return None, "the tick or the reference has no value at all", None
    if not column.bins.sd:
        return None, "all values of the reference are equal, so there is no spread to scale a distance by", None
    usual = float(np.mean(known))
    detail = (
        f"{format_number(level)} on average; the reference has {format_number(usual)}, its ticks from "
        f"{format_number(min(known))} to {format_number(max(known))}; watched as a series, since a tick has only a few values"
    )
    return (level - usual) / column.bins.sd, detail, usual


def _null_share(column: ProfileColumn, observed: Observed, _: int) -> Read:
    share = float(observed.columns[column.name].counts[bins.NULL] / observed.answered)
    detail = f"{share:.1%} null; the reference has {column.null_share:.1%}"
    return share - column.null_share, detail, column.null_share


def _out_of_range(column: ProfileColumn, observed: Observed, _: int) -> Read:
    if not any(column.counts[2:]):
        return None, "the reference has no value to compare with", None
    low, high = column.bins.low, column.bins.high
    detail = f"the reference reaches from {format_number(low)} to {format_number(high)}"
    return observed.columns[column.name].outside / observed.answered, detail, 0.0


def _new_categories(column: ProfileColumn, observed: Observed, _: int) -> Read:
    unknown = categories.new(column, observed.columns[column.name].counts)
    if unknown is None:
        return None, OLDER.format(kept="rare categories"), None
    return unknown.share, unknown.detail, unknown.usual


def _lost_categories(column: ProfileColumn, observed: Observed, ticks: int) -> Read:
    if not column.present:
        return None, OLDER.format(kept="the number of ticks with each category"), None
    missing = categories.lost(column, observed.columns[column.name].counts, ticks)
    return missing.share, missing.detail, missing.usual


_READ = {
    "feature_psi": _psi,
    "score_psi": _psi,
    "class_psi": _psi,
    "feature_js": _jensen_shannon,
    "feature_wasserstein": _wasserstein,
    "score_wasserstein": _wasserstein,
    "feature_level": _level,
    "null_share": _null_share,
    "out_of_range": _out_of_range,
    "new_categories": _new_categories,
    "lost_categories": _lost_categories,
}


def _coarse_counts(column: ProfileColumn, observed: Observed) -> tuple[bins.Counts, bins.Counts]:
    """The coarse counts of the reference and of the tick."""
    return column.bins.coarse(np.asarray(column.counts)), column.bins.coarse(observed.columns[column.name].counts)


def _type_changes(profile: ReferenceProfile, observed: Observed) -> Reading:
    known = [column for column in profile.features if column.type and column.name in observed.types]
    if not known:
        why = OLDER.format(kept="types") if observed.answered else too_few(0)
        return Reading("type_changes", None, observed.answered, why=why)
    changed = [f"{one.name} {one.type} -> {observed.types[one.name]}" for one in known if one.type != observed.types[one.name]]
    return Reading("type_changes", float(len(changed)), observed.answered, reference=0.0, detail=", ".join(changed))


def _join_coverage(profile: ReferenceProfile, observed: Observed) -> Iterator[Reading]:
    n, total = observed.answered, sum(profile.rows_by_tick)
    for join in profile.joins:
        usual = 1 - join.unmatched / total
        if n < FEWEST_ROWS:
            yield Reading("join_coverage", None, n, join.table, why=too_few(n))
        elif join.table not in observed.unmatched:
            why = f"the predictions lack features that the reference has from {join.table}"
            yield Reading("join_coverage", None, n, join.table, why=why, missing=True)
        elif usual == 0:
            yield Reading("join_coverage", None, n, join.table, why="no row of the reference has a match")
        else:
            share = 1 - observed.unmatched[join.table] / n
            detail = f"{share:.1%} of the rows have a match; in the reference {usual:.1%}"
            low, high = intervals.wilson(n - observed.unmatched[join.table], n)
            interval = (low / usual, high / usual)
            yield Reading("join_coverage", share / usual, n, join.table, usual, detail=detail, interval=interval)


def _decision_share(profile: ReferenceProfile, observed: Observed) -> Reading:
    n = observed.answered
    if profile.decisions is None or observed.decisions is None or n < FEWEST_ROWS:
        why = too_few(n) if n < FEWEST_ROWS else OLDER.format(kept="the number of decisions")
        return Reading("decision_share", None, n, why=why)
    usual, share = profile.decisions / sum(profile.rows_by_tick), observed.decisions / n
    low, high = intervals.wilson(observed.decisions, n)
    detail = f"{share:.1%} above the threshold; in the reference {usual:.1%}"
    return Reading("decision_share", share - usual, n, reference=usual, detail=detail, interval=(low - usual, high - usual))


def _domain_auc(profile: ReferenceProfile, observed: Observed) -> Reading:
    from mlprod_tasks.monitoring.domain import CannotTell, tell_apart

    n = observed.answered
    if n < FEWEST_ROWS or profile.sampled is None or observed.sampled is None:
        why = too_few(n) if n < FEWEST_ROWS else OLDER.format(kept="sampled rows")
        return Reading("domain_auc", None, n, why=why)
    try:
        result = tell_apart(profile, observed.sampled)
    except CannotTell as error:
        return Reading("domain_auc", None, n, why=str(error))
    return Reading("domain_auc", result.auc, result.rows, reference=0.5, detail=result.detail, interval=result.interval)
