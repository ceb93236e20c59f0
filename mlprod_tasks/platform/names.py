"""The names of a pipeline's tables in the lake and of its models in the registry."""

from mlprod_tasks.declaration import Pipeline


def raw(pipeline: Pipeline, table: str) -> str:
    """The table with the audited rows of a source table.

    It is partitioned by tick, except for a reference table.
    """
    return f"{pipeline.name}/raw/{table}"


def quarantine(pipeline: Pipeline, table: str) -> str:
    """The table with the refused rows of a source table as text, with the reason, partitioned by tick."""
    return f"{pipeline.name}/quarantine/{table}"


def quarantine_without_tick(pipeline: Pipeline, table: str) -> str:
    """The table with the refused rows of a source table that belong to no tick, as text, with the reason."""
    return f"{pipeline.name}/quarantine_without_tick/{table}"


def predictions(pipeline: Pipeline) -> str:
    """The table with scored rows and their features, partitioned by tick."""
    return f"{pipeline.name}/predictions"


def requests(pipeline: Pipeline) -> str:
    """The table with rows that the service scored on request, from its log, partitioned by tick."""
    return f"{pipeline.name}/requests"


def adaptation(pipeline: Pipeline) -> str:
    """The table with what adapts the scores of each tick, partitioned by tick."""
    return f"{pipeline.name}/adaptation"


def adaptation_evidence(pipeline: Pipeline) -> str:
    """The table with what was known of outcomes at each tick, summed up, from which the scores of later ticks are adapted."""
    return f"{pipeline.name}/adaptation_evidence"


def registered_model(pipeline: Pipeline) -> str:
    """The model's name in the registry."""
    return pipeline.name


def fallback_model(pipeline: Pipeline) -> str:
    """The fallback model's name in the registry."""
    return f"{pipeline.name}_fallback"
