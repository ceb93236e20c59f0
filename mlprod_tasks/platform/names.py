"""The names of a pipeline's tables in the lake and of its models in the registry: defined only here."""

from mlprod_tasks.declaration import Pipeline


def raw(pipeline: Pipeline, table: str) -> str:
    """Audited rows of a source table, partitioned by tick (a reference table: as a whole)."""
    return f"{pipeline.name}/raw/{table}"


def quarantine(pipeline: Pipeline, table: str) -> str:
    """Refused rows of a source table as text, with the reason, partitioned by tick."""
    return f"{pipeline.name}/quarantine/{table}"


def predictions(pipeline: Pipeline) -> str:
    """Scored rows with their features, partitioned by tick."""
    return f"{pipeline.name}/predictions"


def requests(pipeline: Pipeline) -> str:
    """Rows that the service scored on request, from its log, partitioned by the tick of their moment."""
    return f"{pipeline.name}/requests"


def registered_model(pipeline: Pipeline) -> str:
    """The model's name in the registry."""
    return pipeline.name


def fallback_model(pipeline: Pipeline) -> str:
    """The fallback model's name in the registry."""
    return f"{pipeline.name}_fallback"
