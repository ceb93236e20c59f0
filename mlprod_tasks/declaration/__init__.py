"""What a team writes to declare a use case."""

from mlprod_tasks.declaration.declared import DeclarationError
from mlprod_tasks.declaration.feature import (
    AsOf,
    Count,
    Expression,
    Lookup,
    Mean,
    Rate,
    Trailing,
    days,
    hours,
)
from mlprod_tasks.declaration.gate import AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion
from mlprod_tasks.declaration.load import load, load_all
from mlprod_tasks.declaration.monitoring import Retraining, Rule, Watch
from mlprod_tasks.declaration.pipeline import Pipeline, Publish
from mlprod_tasks.declaration.schedule import Schedule, Tick, TickRange
from mlprod_tasks.declaration.table import Column, Database, Files, Table
from mlprod_tasks.declaration.target import AtTick, Before, CostMatrix, Kpi, Label
from mlprod_tasks.declaration.training import LightGBM, RateTable, Split

__all__ = [
    "AsOf", "AtLeast", "AtMost", "AtTick", "Before", "BetterThanBaseline", "Column", "CostMatrix", "Count", "Database",
    "DeclarationError", "Expression", "Files", "Kpi", "Label", "LightGBM", "Lookup", "Mean", "NotWorseThanChampion",
    "Pipeline", "Publish", "Rate", "RateTable", "Retraining", "Rule", "Schedule", "Split", "Table", "Tick", "TickRange",
    "Trailing", "Watch", "days", "hours", "load", "load_all",
]  # fmt: skip
