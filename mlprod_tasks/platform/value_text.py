"""The text of a value, which depends on the value alone: 7 is written the same as an integer, a float and a decimal."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

EXACT_INTEGERS = 2**53  # above it, floats cannot represent every integer


def written(value: Any) -> str:
    """The text of a value: without a fraction of zeros, moments with a time zone in UTC, bytes decoded."""
    match value:
        case float() if value.is_integer() and abs(value) <= EXACT_INTEGERS:
            return str(int(value))
        case Decimal() if value.is_finite():
            return _without_trailing_zeros(value)
        case datetime() if value.tzinfo is not None:
            return str(value.astimezone(UTC))
        case bytes():
            return decoded(value)
    return str(value)


def decoded(value: bytes) -> str:
    """The bytes decoded as UTF-8, or as Python writes them if they are not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return str(value)


def _without_trailing_zeros(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
