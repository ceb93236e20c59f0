"""What can be wrong with a source: each error says which source, and what to do."""

from __future__ import annotations


class SourceUnreachable(ConnectionError):
    """A database or folder cannot be reached. The message says which, and what to do."""


class SourceMissing(LookupError):
    """A declared file, table or column is missing in the source, or cannot be read."""


class TypeNotRead(SourceMissing):
    """A declared column has a type in the database that has no meaning here."""


class TimesUnreadable(ValueError):
    """Rows of a database have no time that can be read, so they belong to no tick."""
