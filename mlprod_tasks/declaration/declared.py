"""The decorator of every declared class: frozen, type-checked, no unknown fields."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

T = TypeVar("T")
FIELDS: dict[str, tuple[str, ...]] = {}  # of every declared class by its name, for error messages
CLASSES: dict[str, type[Any]] = {}  # the same classes, for reading a recorded declaration


@dataclass_transform(frozen_default=True)
def declared(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose fields are validated when an object is created.

    Values are not converted: otherwise `delay=2` would be two seconds, and `nullable="no"` would be False.
    """
    config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
    made: type[T] = dataclass(frozen=True, config=config)(cls)  # type: ignore[assignment]
    CLASSES[cls.__name__] = made
    FIELDS[cls.__name__] = tuple(field.name for field in dataclasses.fields(made))  # type: ignore[arg-type]
    return made


class DeclarationError(ValueError):
    """A declaration that cannot work. The message names the file, the field, and what to do about it.

    problems: the broken rules, each by itself, if there are several.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
