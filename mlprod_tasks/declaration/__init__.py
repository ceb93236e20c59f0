"""The classes with which a team declares a use case."""

from mlprod_tasks.declaration.aggregate import (
    Count,
    CountDistinct,
    First,
    Last,
    Max,
    Mean,
    MeanGap,
    Min,
    Quantile,
    Rate,
    SinceFirst,
    SinceLast,
    Slope,
    Std,
    Sum,
)
from mlprod_tasks.declaration.approval import Approval
from mlprod_tasks.declaration.declared import DeclarationError
from mlprod_tasks.declaration.evaluation import Backtest
from mlprod_tasks.declaration.experiment import Experiments, Guardrail, UnitMetric
from mlprod_tasks.declaration.feature import (
    EVER,
    AsOf,
    Expression,
    Lookup,
    Trailing,
    days,
    hours,
)
from mlprod_tasks.declaration.gate import (
    AtLeast,
    AtMost,
    AvailableAtPrediction,
    BetterThanBaseline,
    Invariance,
    KpiAtLeast,
    KpiAtMost,
    Latency,
    ModelSize,
    Monotonic,
    NoLeakageSuspicion,
    NotWorseThanChampion,
    SamePredictions,
    Stable,
    WorstSlice,
)
from mlprod_tasks.declaration.learner import (
    Averaging,
    Constant,
    Ensemble,
    Estimator,
    ExtraTrees,
    HistGradientBoosting,
    LastValue,
    Learner,
    LightGBM,
    LinearRegression,
    LinearSVM,
    LogisticRegression,
    NeuralNet,
    RandomForest,
    SeasonalMean,
    Stacking,
    XGBoost,
)
from mlprod_tasks.declaration.load import load, load_all
from mlprod_tasks.declaration.monitoring import (
    Breach,
    BusinessMetric,
    Learned,
    Monitoring,
    Retraining,
    Rule,
    Upstream,
    Watch,
)
from mlprod_tasks.declaration.outcome import Any, Outcome
from mlprod_tasks.declaration.pipeline import Pipeline, Publish
from mlprod_tasks.declaration.population import Population
from mlprod_tasks.declaration.schedule import Schedule, Tick, TickRange
from mlprod_tasks.declaration.search import Between, OneOf, Search
from mlprod_tasks.declaration.serving import Ramp, Serving
from mlprod_tasks.declaration.split import Split, SplitByColumn, SplitByHash
from mlprod_tasks.declaration.standard import (
    INTERVAL_RULES,
    INTERVAL_WATCHES,
    MULTICLASS_RULES,
    MULTICLASS_WATCHES,
    REGRESSION_RULES,
    REGRESSION_WATCHES,
    REQUEST_RULES,
    REQUEST_WATCHES,
    RETRAINING,
    RULES,
    WATCHES,
)
from mlprod_tasks.declaration.table import Column, Database, Files, Table
from mlprod_tasks.declaration.target import (
    AtTick,
    Before,
    Capacity,
    ClassValue,
    CostMatrix,
    Kpi,
    Label,
    PredictionValue,
    ValueFunction,
)
from mlprod_tasks.declaration.training import MeanTable, Model, RateTable, ShareTable

__all__ = [
    "EVER", "INTERVAL_RULES", "INTERVAL_WATCHES", "MULTICLASS_RULES", "MULTICLASS_WATCHES", "REGRESSION_RULES",
    "REGRESSION_WATCHES", "REQUEST_RULES", "REQUEST_WATCHES", "RETRAINING", "RULES", "WATCHES", "Any", "Approval", "AsOf",
    "AtLeast", "AtMost", "AtTick", "AvailableAtPrediction", "Averaging", "Backtest", "Before", "BetterThanBaseline",
    "Between", "Breach", "BusinessMetric", "Capacity", "ClassValue", "Column", "Constant", "CostMatrix", "Count",
    "CountDistinct", "Database", "DeclarationError", "Ensemble", "Estimator", "Experiments", "Expression", "ExtraTrees",
    "Files", "First", "Guardrail", "HistGradientBoosting", "Invariance", "Kpi", "KpiAtLeast", "KpiAtMost", "Label",
    "Last", "LastValue",
    "Latency", "Learned", "Learner", "LightGBM", "LinearRegression", "LinearSVM", "LogisticRegression", "Lookup", "Max",
    "Mean", "MeanGap", "MeanTable", "Min", "Model", "ModelSize", "Monitoring", "Monotonic", "NeuralNet",
    "NoLeakageSuspicion", "NotWorseThanChampion", "OneOf", "Outcome", "Pipeline", "Population", "PredictionValue",
    "Publish", "Quantile", "Ramp", "RandomForest", "Rate", "RateTable", "Retraining", "Rule", "SamePredictions", "Schedule",
    "Search", "SeasonalMean", "Serving", "ShareTable", "SinceFirst", "SinceLast", "Slope", "Split", "SplitByColumn",
    "SplitByHash", "Stable", "Stacking", "Std", "Sum", "Table", "Tick", "TickRange", "Trailing", "UnitMetric", "Upstream",
    "ValueFunction", "Watch", "WorstSlice", "XGBoost", "days", "hours", "load", "load_all",
]  # fmt: skip
