"""The names of DuckDB's functions, so that the SQL of a declaration is checked without importing the engine.

The list, `duckdb_functions.txt`, is that of the pinned release; a test compares them.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

FUNCTIONS = frozenset(Path(__file__).with_suffix(".txt").read_text(encoding="ascii").split())
# What the engine's grammar knows besides.
SYNTAX = frozenset({"cast", "try_cast", "extract", "coalesce", "ifnull", "try", "columns", "unpack", "row", "struct", "map"})
# What functions of other languages are called there.
MEANT = MappingProxyType(
    {
        "nvl": "coalesce", "isnull": "IS NULL", "isna": "IS NULL", "notnull": "IS NOT NULL",
        "notna": "IS NOT NULL", "fillna": "coalesce", "log1p": "ln", "iif": "if",
        "charindex": "instr", "to_char": "strftime", "to_date": "strptime", "datediff": "date_diff", "dateadd": "date_add",
        "clip": "greatest", "dayofweek": "isodow", "str": "cast", "int": "cast", "float": "cast",
    }
)  # fmt: skip
