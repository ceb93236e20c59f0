"""Save and load models of mlprod with MLflow, as text and JSON, without pickle."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration.task import HIGH, LOW, PREDICTION, PROBABILITIES, PROBABILITY
from mlprod_tasks.models import fallback, model
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.learners.fitted import MANIFEST, read
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.predicted_columns import named_classes
from mlprod_tasks.models.segmented import SegmentedModel

if TYPE_CHECKING:
    import pandas as pd


class MlflowModel:
    """The model behind MLflow's `predict`: columns `score` and `decision`, or `prediction` of a number or class."""

    def __init__(self, wrapped: Model | SegmentedModel | FallbackModel) -> None:
        self.model = wrapped

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score each row. Raises: ModelInputError."""
        import pandas as pd

        predictions = self.model.predict(model_input)
        if self.model.rule is not None:
            return pd.DataFrame(named_classes(predictions))
        if self.model.threshold is None:
            low, high = predictions.interval or (None, None)
            ends = {} if low is None else {LOW: low, HIGH: high}
            return pd.DataFrame({PREDICTION: predictions.score, **ends})
        return pd.DataFrame({"score": predictions.score, "decision": predictions.decision})


def load(folder: Path) -> Model | SegmentedModel | FallbackModel:
    """Load the model in a folder, of any kind."""
    kind = json.loads((folder / model.MANIFEST).read_text(encoding="utf-8"))["kind"]
    return fallback.load(folder) if kind == fallback.KIND else load_model(folder)


def save(wrapped: Model | SegmentedModel | FallbackModel, data: Path, folder: Path) -> None:
    """Write an MLflow model around the files in `data`, which `wrapped` saved there."""
    import mlflow.pyfunc
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, TensorSpec

    # pandas changes the type of an integer column when a value is missing, and MLflow accepts only one of the two types.
    # The model's own check accepts both, so it checks the numbers.
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(
            DataType.string if wanted.kind == "text" else AnyType(),  # type: ignore[no-untyped-call]
            wanted.name,
            required=False,
        )
        for wanted in wrapped.inputs
    ]
    inputs = Schema(columns) if columns else None  # MLflow refuses a schema of no columns
    output = Schema(_output(wrapped))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow wants an example of the input; the signature is enough
        mlflow.pyfunc.save_model(
            str(folder),
            loader_module=__name__,
            data_path=str(data),
            signature=ModelSignature(inputs=inputs, outputs=output),
            pip_requirements=_requirements(data),  # MLflow would take seconds to infer them
        )


def _output(wrapped: Model | SegmentedModel | FallbackModel) -> list[Any]:
    """Return the columns that `MlflowModel.predict` gives."""
    from mlflow.types import ColSpec, DataType

    if wrapped.rule is not None:
        names = (PREDICTION, PROBABILITY, PROBABILITIES)
        return [ColSpec(DataType.double if name == PROBABILITY else DataType.string, name) for name in names]
    if wrapped.threshold is not None:
        return [ColSpec(DataType.double, "score"), ColSpec(DataType.boolean, "decision")]
    ends = (LOW, HIGH) if getattr(wrapped, "interval", None) else ()
    return [ColSpec(DataType.double, name) for name in (PREDICTION, *ends)]


def _requirements(data: Path) -> list[str]:
    """Return the packages needed to predict; those of other trees than LightGBM's only for a model that has some."""
    from importlib.metadata import packages_distributions, version

    trees = ["scikit-learn", "skops"] if any(data.rglob("*.skops")) else []
    kinds = {read(one.parent)["kind"] for one in data.rglob(MANIFEST)}
    # XGBoost has several distributions, with and without what graphics cards need.
    trees += [packages_distributions()[library][0] for library in sorted(kinds & {"xgboost", "catboost"})]
    return [f"{name}=={version(name)}" for name in ("mlprod", "mlflow", "lightgbm", "numpy", "pandas", "pyarrow", *trees)]


def _load_pyfunc(path: str) -> MlflowModel:
    """Load the model: the function that MLflow calls."""
    return MlflowModel(load(Path(path)))
