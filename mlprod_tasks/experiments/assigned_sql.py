"""The SQL of who assigned a row, and how: a row may be in two experiments, whose columns are told apart by the name."""

from __future__ import annotations

from collections.abc import Collection

from mlprod_tasks.declaration.experiment import EXPERIMENT, PROPENSITY, SECOND, VARIANT

SECOND_EXPERIMENT, SECOND_VARIANT, SECOND_PROPENSITY = SECOND


def with_second(source: str, there: Collection[str]) -> str:
    """Return what follows FROM for logged rows, with the columns of a second experiment, also if no row was in two.

    there: the columns of `source`.
    """
    if EXPERIMENT not in there or SECOND_EXPERIMENT in there:
        return source
    nothing = f"NULL::VARCHAR AS {SECOND_EXPERIMENT}, NULL::VARCHAR AS {SECOND_VARIANT}, NULL::DOUBLE AS {SECOND_PROPENSITY}"
    return f"(SELECT *, {nothing} FROM {source})"


def in_run(name: str) -> str:
    """SQL of whether an experiment or bandit assigned a row, never null. Names are lower-case letters, digits and _."""
    return f"coalesce({EXPERIMENT} = '{name}', false) OR coalesce({SECOND_EXPERIMENT} = '{name}', false)"


def variant_in(name: str) -> str:
    """SQL of the variant that it gave a row which it assigned."""
    return f"CASE WHEN {EXPERIMENT} = '{name}' THEN {VARIANT} ELSE {SECOND_VARIANT} END"


def propensity_in(name: str) -> str:
    """SQL of the probability with which it gave it that."""
    return f"CASE WHEN {EXPERIMENT} = '{name}' THEN {PROPENSITY} ELSE {SECOND_PROPENSITY} END"


def beside(name: str) -> tuple[str, str]:
    """SQL of the other experiment that assigned a row, and of the variant that it gave it; null if none did."""
    both = (EXPERIMENT, SECOND_EXPERIMENT), (VARIANT, SECOND_VARIANT)
    experiment, variant = (f"CASE WHEN {EXPERIMENT} = '{name}' THEN {other} ELSE {one} END" for one, other in both)
    return experiment, variant
