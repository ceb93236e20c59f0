"""Classify the errors of a model registry without importing MLflow."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError


def is_connection_error(error: BaseException) -> bool:
    """Whether the registry could not be reached.

    That is an error of the network or the database, or of MLflow because of these.
    """
    if isinstance(error, SQLAlchemyError) or _comes_from("requests", error):
        return True
    if not is_mlflow_error(error):
        return False
    if error.error_code == "TEMPORARILY_UNAVAILABLE" or "Max retries exceeded" in str(error):  # type: ignore[attr-defined]
        return True
    # MLflow's HTTP client and its SQL store wrap the errors of the network and the driver.
    wrapped = error.__cause__ or error.__context__
    return wrapped is not None and (isinstance(wrapped, SQLAlchemyError) or _comes_from("requests", wrapped))


def is_mlflow_error(error: BaseException) -> bool:
    """Whether the error is one of MLflow's, which have an error code."""
    return _comes_from("mlflow", error) and hasattr(error, "error_code")


def _comes_from(library: str, error: BaseException) -> bool:
    """Whether the error is of a library, by the names of its modules.

    Importing the library would take seconds.
    """
    return any(one.__module__.partition(".")[0] == library for one in type(error).__mro__)
