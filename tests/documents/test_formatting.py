"""Numbers for people: few digits, no powers of ten, and always on the right side of a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprod_tasks.documents.formatting import format_compared, format_exact, format_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-14350.2, "-14,350"), (-0.1665, "-0.167"), (0.04048, "0.0405"), (0.5, "0.5"), (0, "0"), (512.0, "512"), (7, "7"),
        (999.6, "1,000"), (0.000123456, "0.000123"), (2e-7, "2.0e-07"), (123.456, "123"), (1000000.0, "1,000,000"),
    ],
)  # fmt: skip
def test_a_number_has_three_significant_digits_and_no_power_of_ten(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("value", "bound", "texts"),
    [
        (-0.1665, -0.15, ("-0.167", "-0.15")),
        (0.15003, 0.15, ("0.15003", "0.15")),
        (5.1551, 5.155, ("5.1551", "5.155")),
        (0.15, 0.15, ("0.15", "0.15")),
    ],
)
def test_a_number_and_its_bound_show_which_one_is_greater(value: float, bound: float, texts: tuple[str, str]) -> None:
    assert format_compared(value, bound) == texts


@given(st.floats(-900, 900), st.floats(-900, 900))
def test_what_is_shown_is_ordered_as_the_numbers_are(value: float, bound: float) -> None:
    if abs(value - bound) > 1e-5:
        shown, limit = map(float, format_compared(value, bound))
        assert (shown > limit) == (value > bound)


def test_a_declared_bound_keeps_all_its_digits() -> None:
    assert (format_exact(0.12345), format_exact(10000.0), format_exact(1e-7)) == ("0.12345", "10,000", "0.0000001")
