"""The reference of what a team writes: every exported name of `mlprod_tasks.declaration`, with its fields and defaults."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from docs.generate.docstrings import described
from docs.generate.markdown import code, directive, table
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import feature, gate, learner, monitoring
from mlprod_tasks.declaration.search import SPACES

# Every exported name, in reading order; gates and watches have separate pages.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "pipeline": ("Pipeline", "Publish"),
    "schedule": ("Schedule", "Tick", "TickRange"),
    "tables": ("Table", "Column", "Database", "Files", "Population"),
    "features": (
        "Expression", "Lookup", "AsOf", "Trailing", "Count", "Sum", "Mean", "Rate", "Min", "Max", "First", "Last",
        "SinceFirst", "SinceLast", "MeanGap", "Std", "CountDistinct", "Quantile", "Slope", "EVER", "days", "hours",
    ),
    "label": (
        "AtTick", "Before", "Label", "Outcome", "Any", "Happens", "CostMatrix", "ValueFunction", "PredictionValue",
        "ClassValue", "Capacity", "Kpi",
    ),
    "training": (
        "Split", "Ticks", "SplitByColumn", "SplitByHash", "Model", "RateTable", "MeanTable", "ShareTable", "Backtest",
        "Approval",
    ),
    "candidates": (
        "LightGBM", "XGBoost", "CatBoost", "HistGradientBoosting", "RandomForest", "ExtraTrees", "LogisticRegression",
        "LinearRegression", "LinearSVM", "NeuralNet", "Estimator", "Constant", "LastValue", "SeasonalMean", "Averaging",
        "Stacking", "Ensemble", "Learner",
    ),
    "search": ("Search", "Between", "OneOf"),
    "gates": (
        "AtLeast", "AtMost", "BetterThanBaseline", "NotWorseThanChampion", "WorstSlice", "Stable", "KpiAtLeast", "KpiAtMost",
        "AvailableAtPrediction", "NoLeakageSuspicion", "Invariance", "Monotonic", "SamePredictions", "Latency", "ModelSize",
    ),
    "monitoring": ("Watch", "Learned", "Rule", "Breach", "Retraining", "Monitoring", "BusinessMetric", "Upstream", "Holidays"),
    "standard": (
        "WATCHES", "RULES", "REGRESSION_WATCHES", "REGRESSION_RULES", "INTERVAL_WATCHES", "INTERVAL_RULES",
        "ADAPTATION_WATCHES", "ADAPTATION_RULES",
        "MULTICLASS_WATCHES", "MULTICLASS_RULES", "REQUEST_WATCHES", "REQUEST_RULES", "RETRAINING",
    ),
    "serving": ("Serving", "Ramp"),
    "experiments": ("Experiments", "UnitMetric", "Guardrail"),
    "bandits": (
        "Bandit", "ThompsonSampling", "EpsilonGreedy", "UCB1", "LinearThompson", "LinUCB", "AroundModel",
    ),
    "adaptation": ("Adapt", "RowByRow"),
    "workers": ("Queues",),
    "loading": ("load", "load_all", "DeclarationError"),
}  # fmt: skip
STANDARD = {
    "EVER": "All of history, as a window of `ml.Trailing`.",
    "WATCHES": "The watches of a use case that declares no `watches`.",
    "RULES": "The rules of a use case that declares no `rules`.",
    "REGRESSION_WATCHES": "The watches of a regression that declares no `watches`.",
    "REGRESSION_RULES": "The rules of a regression that declares no `rules`.",
    "INTERVAL_WATCHES": "Additional watches of a regression with `model.coverage`.",
    "INTERVAL_RULES": "Additional rules of a regression with `model.coverage`.",
    "ADAPTATION_WATCHES": "Additional watches of a use case with `adapt`.",
    "ADAPTATION_RULES": "Additional rules of a use case with `adapt`.",
    "MULTICLASS_WATCHES": "The watches of a use case of several classes that declares no `watches`.",
    "MULTICLASS_RULES": "The rules of a use case of several classes that declares no `rules`.",
    "REQUEST_WATCHES": "Additional watches of a use case that answers requests.",
    "REQUEST_RULES": "Additional rules of a use case that answers requests.",
    "RETRAINING": "The limits on retraining of a use case that declares none.",
}
# Types that are one of many are named by the page or part that lists them.
LISTED = {
    gate.Gate: "[gate](/reference/gates.md)",
    learner.Learner: "[candidate](/reference/declaration.md#candidates)",
    feature.Feature: "[feature](/reference/declaration.md#features)",
    monitoring.Watched: "[watched value](/reference/watches.md#watched-values)",
}


def reference_of(group: str) -> Callable[[], str]:
    """Give the generator of one group's part of the reference."""
    return lambda: "\n".join(entry(name) for name in GROUPS[group])


def entry(name: str) -> str:
    """The entry of one exported name."""
    thing = getattr(ml, name)
    if name in STANDARD:
        return directive("py:data", f"ml.{name}", f"{STANDARD[name]} {_where(name)}")
    if isinstance(thing, types.UnionType):
        return directive("py:data", f"ml.{name}", f"Any of {type_shown(thing, expand=True)}.")
    if inspect.isfunction(thing):
        signature = ", ".join(inspect.signature(thing).parameters)
        return directive("py:function", f"ml.{name}({signature})", described(thing).prose)
    kind = "py:exception" if issubclass(thing, Exception) else "py:class"
    return directive(kind, f"ml.{name}", _class(thing))


def search_spaces() -> str:
    """The ranges in which each kind of candidate is searched if a declaration gives none."""
    rows = [
        (f"{{py:class}}`{kind} <ml.{kind}>`" if field == next(iter(space)) else "", code(field), _range(range_))
        for kind, space in SPACES.items()
        for field, range_ in space.items()
    ]
    return table(("candidate", "field", "searched"), rows)


def default_shown(value: Any) -> str:
    """A default as one would write it in a declaration."""
    for name in STANDARD:
        if value is getattr(ml, name):
            return f"ml.{name}"
    if isinstance(value, timedelta):
        return _duration(value)
    if dataclasses.is_dataclass(value):
        given = [
            f"{field.name}={default_shown(getattr(value, field.name))}"
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != _plain_default(field)
        ]
        return f"ml.{type(value).__name__}({', '.join(given)})"
    if isinstance(value, tuple) and value and not isinstance(value[0], str | int | float):
        return f"({', '.join(map(default_shown, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _plain_default(field: Any) -> Any:
    """The default of a field; MISSING if it has none."""
    return field.default_factory() if callable(field.default_factory) else field.default


def type_shown(hint: Any, *, expand: bool = False) -> str:
    """A type in words, with links to the classes of the declaration."""
    if not expand:
        for listed, shown in LISTED.items():
            if hint == listed:
                return shown
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(code(repr(value).replace("'", '"')) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_shown(one) for one in arguments)
    if origin is tuple:
        return f"tuple of {type_shown(arguments[0])}"
    if origin is dict:
        return f"dict of {type_shown(arguments[0])} to {type_shown(arguments[1])}"
    if hint is types.NoneType:
        return code("None")
    if hint.__name__ in ml.__all__:
        return f"{{py:class}}`{hint.__name__} <ml.{hint.__name__}>`"
    return code(hint.__name__)


def _class(cls: type[Any]) -> str:
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    told = described(cls, [field.name for field in fields])
    if not fields:
        return told.prose
    hints = typing.get_type_hints(cls)
    rows = [(code(one.name), type_shown(hints[one.name]), _default(one), told.fields.get(one.name, "")) for one in fields]
    return f"{told.prose}\n\n{table(('field', 'type', 'default', 'meaning'), rows)}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return code(default_shown(field.default))
    if field.default_factory is not dataclasses.MISSING:
        return code(default_shown(field.default_factory()))
    return "*required*"


def _duration(value: timedelta) -> str:
    if value and not value % timedelta(days=1):
        return f"ml.days({value // timedelta(days=1)})"
    if value and not value % timedelta(hours=1):
        return f"ml.hours({value // timedelta(hours=1)})"
    return f"timedelta(milliseconds={value // timedelta(milliseconds=1)})" if value else "timedelta(0)"


def _range(range_: Any) -> str:
    if isinstance(range_, ml.OneOf):
        return "one of " + ", ".join(map(code, range_.choices))
    return f"{range_.low:g} to {range_.high:g}{', by its logarithm' if range_.log else ''}"


def _where(name: str) -> str:
    if name == "EVER":
        return "A table's whole history is read for it whenever features are computed, and the online store holds all of it."
    if name == "RETRAINING":
        return f"`{default_shown(dataclasses.replace(ml.RETRAINING))}`"
    part = "standard-rules" if name.endswith("RULES") else "watched-values"
    return f"They are marked in the [tables of watches and rules](/reference/watches.md#{part})."
