"""Descriptions of features for people who know the business."""

from __future__ import annotations

from mlprod_tasks.declaration import AsOf, Count, Expression, Lookup, Pipeline, Rate, Trailing
from mlprod_tasks.declaration.aggregate import Aggregate
from mlprod_tasks.declaration.feature import Feature
from mlprod_tasks.documents.formatting import length, listed
from mlprod_tasks.reporting import data_dictionary
from mlprod_tasks.reporting.window_words import aggregate_words, window_words


def source_of(pipeline: Pipeline, feature: Feature) -> tuple[str, str]:
    """Describe what a declared feature adds, and name the table it is read from."""
    match feature:
        case Expression():
            return f"{feature.name}: {feature.doc}", pipeline.entity_name
        case Lookup():
            return f"{_columns(pipeline, feature)}; looked up by {listed(list(feature.on))}", feature.table
        case AsOf():
            when = f"the latest known value with the same {listed(list(feature.on))}, at most {length(feature.max_age)} old"
            return f"{_columns(pipeline, feature)}; {when}", feature.table
        case Trailing():
            what = listed([_aggregate(one) for one in feature.aggregates])
            over = window_words(feature, feature.windows)
            return f"{what} with the same {listed(list(feature.by))}, over {over}", feature.table


def feature_meanings(pipeline: Pipeline) -> dict[str, str]:
    """The meaning of each feature, without its SQL."""
    meanings = {name: meaning.replace("`", "") for name, meaning in data_dictionary.meanings(pipeline).items()}
    return meanings | {feature.name: feature.doc for feature in pipeline.features if isinstance(feature, Expression)}


def _columns(pipeline: Pipeline, feature: Lookup | AsOf) -> str:
    table = pipeline.table(feature.table)
    return "; ".join(f"{name}: {table.column(read).doc}" for name, read in feature.columns.items())


def _aggregate(one: Aggregate) -> str:
    match one:
        case Count() if not one.where:
            return "number of rows"
        case Rate() if not one.where:
            return f"{one.name} ({one.sql})"
    return aggregate_words(one).replace("`", "")
