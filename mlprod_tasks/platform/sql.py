"""Quote names and strings for SQL in DuckDB's dialect.

Used instead of sqlglot, whose import costs each step 0.1 s of CPU and 0.2 s of waiting; a test checks that the results are the
same. SQLAlchemy quotes the names in its own statements.
"""

from functools import lru_cache


def quoted(name: str) -> str:
    """Quote the name of a column or table with double quotes."""
    return '"' + name.replace('"', '""') + '"'


def identifier(name: str) -> str:
    """The name of a column or table for SQL that people read: quoted only if it is a keyword.

    name: letters, digits and underscores, as a declaration allows.
    """
    return quoted(name) if name in _keywords() else name


def literal(text: str) -> str:
    """Quote a string with single quotes."""
    return "'" + text.replace("'", "''") + "'"


@lru_cache(maxsize=1)
def _keywords() -> frozenset[str]:
    import duckdb

    with duckdb.connect() as connection:
        words = connection.sql("SELECT keyword_name FROM duckdb_keywords()").fetchall()
    # Keywords of Spark that DuckDB does not have.
    return frozenset(word for (word,) in words) | {"timestamp", "date", "time", "user", "current", "minus"}
