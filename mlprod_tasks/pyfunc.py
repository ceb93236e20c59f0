"""Where models that release 0.4 and earlier stored look for their loader; new ones name `models.mlflow_flavor`."""

from mlprod_tasks.models.mlflow_flavor import _load_pyfunc, load

__all__ = ["_load_pyfunc", "load"]
