"""What a learner says if it cannot be fitted as declared."""

from __future__ import annotations


class CannotFit(ValueError):
    """A candidate cannot be fitted as it is declared. The message names it, and says what to declare instead."""


class ModuleMissing(ImportError):
    """The module of an estimator of the team's own cannot be imported here. The message names it."""


class LibraryMissing(ImportError):
    """The library of a learner that is an extra of this package is not installed. The message names the extra."""
