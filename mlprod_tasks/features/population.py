"""SQL of a population: the keys that are alive at each tick, each once."""

from __future__ import annotations

from mlprod_tasks.declaration import Population, Table
from mlprod_tasks.declaration.table import AS_OF
from mlprod_tasks.features.known import CALENDAR, STARTS, interval, known_at
from mlprod_tasks.platform.lake import USABLE
from mlprod_tasks.platform.sql import identifier


def population_sql(population: Population, table: Table, relation: str, hides_late: bool) -> str:
    """A query of the key, `as_of` and `tick`, one row a key and tick of the relation `calendar`.

    relation: the rows of `table`, the one that shows which keys are alive. hides_late: whether it has the column
    `_usable_from`, and late rows show that from then on.
    """
    key = ", ".join(identifier(name) for name in population.by)
    counted = [f"{identifier(name)} IS NOT NULL" for name in population.by]
    if population.where:  # a row whose condition cannot be computed does not count
        counted.append(f"TRY(CAST(({population.where}) AS BOOLEAN))")
    # A tick sees what is known strictly before it, but a late row from its very start on.
    enters = f"greatest({known_at(table)}, {USABLE} - INTERVAL 1 MICROSECOND)" if hides_late else known_at(table)
    ends = alive = ""
    if population.within is not None:
        ends = f",\n    max(_known + {interval(population.within)}) OVER (k ROWS UNBOUNDED PRECEDING) AS _ends"
        alive = f"\n  AND {CALENDAR}.{STARTS} <= _ends"
    # Each row of a key covers the ticks up to the key's next row, so that every tick comes once.
    return (
        f"WITH seen AS (\n  SELECT {key}, {known_at(table)} AS _known, {enters} AS _enters\n  FROM {relation}\n"
        f"  WHERE {' AND '.join(counted)}\n), "
        f"newest AS (\n  SELECT {key}, _enters, max(_known) AS _known\n  FROM seen\n  GROUP BY {key}, _enters\n), "
        f"spans AS (\n  SELECT {key}, _enters, lead(_enters) OVER k AS _following{ends}\n  FROM newest\n"
        f"  WINDOW k AS (PARTITION BY {key} ORDER BY _enters)\n)\n"
        f"SELECT {key}, {CALENDAR}.{STARTS} AS {AS_OF}, {CALENDAR}.tick AS tick\nFROM spans\nJOIN {CALENDAR}\n"
        f"  ON {CALENDAR}.{STARTS} > _enters AND (_following IS NULL OR {CALENDAR}.{STARTS} <= _following){alive}"
    )
