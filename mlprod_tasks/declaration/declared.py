"""The decorator of every declared thing: frozen, type-checked, no unknown fields."""

from typing import TypeVar, dataclass_transform

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def declared(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose fields are validated when it is written down."""
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    made: type[T] = dataclass(frozen=True, config=config)(cls)  # type: ignore[assignment]
    return made


class DeclarationError(ValueError):
    """A declaration that cannot work. Says the file, the field, and what to do about it."""
