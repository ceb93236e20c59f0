"""Exact sums of values, squares and products over windows, and what is computed from them without any rounding before the end.

A number is a list of digits of 26 bits, the lowest first, each an array with one element for each row, or an integer. A digit
fits 64 bits with room: that of one event is below 2**27, so there may be 2**36 events, and products of digits have 52 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

WIDTH = 26
FRACTION = 52  # values are multiples of 2**-52, products of two of them multiples of 2**-104
LARGEST = 2.0**52  # values are smaller; so digits from 2**-104 to 2**104 hold a product
DIGITS = 8
LONGEST = 12  # digits of all that is computed here, with room for 2**26 events
SPLITTER = 134_217_729.0  # 2**27 + 1
Digits = list[Any]


def rounded(values: np.ndarray) -> np.ndarray:
    """The values in multiples of 2**-52, as those of which a mean is computed; 0 for those that no sum can hold."""
    kept = np.where(np.abs(values) < LARGEST, values, 0.0)
    return np.where(np.abs(kept) < 1.0, np.rint(kept * LARGEST) / LARGEST, kept)


def digits_of_values(values: np.ndarray) -> Digits:
    """The digits of each value, from 2**-52 on."""
    return _digits([values], -FRACTION)


def digits_of_products(a: np.ndarray, b: np.ndarray) -> Digits:
    """The digits of each product, from 2**-104 on. A product of floats is exactly the sum of two floats (T. J. Dekker 1971)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return _digits([product, error], -2 * FRACTION)


def spread(n: Any, total: Digits, squares: Digits, root: Callable[[Any], Any]) -> Any:
    """The sample standard deviation of n > 1 values, from their sum and the sum of their squares."""
    apart = _float(_minus(_times([n], squares), _times(total, total)), -2 * FRACTION)
    return root(apart / (n * (n - 1.0)))


def slope(n: Any, x: Digits, y: Digits, xx: Digits, xy: Digits) -> tuple[Any, Any]:
    """The slope of the least-squares line through n points, as a fraction: both parts are 0 if all x are the same."""
    above = _float(_minus(_times([n], xy), _times(x, y)), -2 * FRACTION)
    return above, _float(_minus(_times([n], xx), _times(x, x)), -2 * FRACTION)


def digits_of_integer(number: int) -> Digits:
    """The digits of a Python integer."""
    return _carried([(number >> WIDTH * i) & (2**WIDTH - 1) for i in range(LONGEST - 1)] + [number >> WIDTH * (LONGEST - 1)])


def _digits(parts: Sequence[np.ndarray], lowest: int) -> Digits:
    """The digits of the sum of some floats, which are multiples of 2**lowest and below 2**104."""
    found: Digits = []
    for i in reversed(range(DIGITS)):
        bits = lowest + WIDTH * i
        wholes = [np.trunc(part * 2.0**-bits) for part in parts]
        parts = [part - whole * 2.0**bits for part, whole in zip(parts, wholes, strict=True)]
        found.append(sum(whole.astype(np.int64) for whole in wholes))
    return found[::-1]


def _halves(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scaled = SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high


def _carried(number: Digits) -> Digits:
    """The same number with digits from 0 to 2**26 - 1, except for the last one, which has the sign: as two's complement."""
    carry: Any = 0
    digits = []
    for i in range(LONGEST - 1):
        total = (number[i] if i < len(number) else 0) + carry
        carry = total >> WIDTH
        digits.append(total - (carry << WIDTH))
    last = (number[LONGEST - 1] if len(number) == LONGEST else 0) + carry
    return [*digits, ((last + (1 << WIDTH - 1)) & ((1 << WIDTH) - 1)) - (1 << WIDTH - 1)]


def _times(a: Digits, b: Digits) -> Digits:
    a, b = (_carried(a), _carried(b)) if len(a) > 1 else (a, _carried(b))
    product: Digits = [0] * LONGEST
    for i, one in enumerate(a):
        for j, other in enumerate(b[: LONGEST - i]):
            product[i + j] = product[i + j] + one * other
    return product


def _minus(a: Digits, b: Digits) -> Digits:
    return _carried([one - other for one, other in zip(_carried(a), _carried(b), strict=True)])


def _float(number: Digits, lowest: int) -> Any:
    """The number as a float, from digits of its size, so that nothing cancels."""
    sign = 1 - 2 * (number[-1] < 0)
    high: Any = 0.0
    low: Any = 0.0
    for i, digit in reversed(list(enumerate(_carried([digit * sign for digit in number])))):
        part = digit * 2.0 ** (lowest + WIDTH * i)
        total = high + part
        low = low + ((high - total) + part)  # `high` is larger, or 0
        high = total
    return (high + low) * sign
