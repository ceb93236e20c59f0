"""Models that release 0.4 stored load and answer as they did then: as MLflow loads them, and as the registry does.

release_0_4/ holds three of them with what that release recorded: their answers to some rows, and the digests that the
registry keeps as tags.
"""

import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mlprod_tasks.models import mlflow_flavor
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.platform.model_files import ModelRef
from tests.support.paths import REPOSITORY
from tests.support.trained_shop import Shop

STORED = REPOSITORY / "tests" / "models" / "release_0_4"
RECORDED = json.loads((STORED / "predictions.json").read_text())
ROWS = pa.table(
    {
        "channel": pa.array(RECORDED["rows"]["channel"], pa.string()),
        "amount": pa.array(RECORDED["rows"]["amount"], pa.float64()),
        "items": pa.array(RECORDED["rows"]["items"], pa.float64()),
        "weekday": pa.array(RECORDED["rows"]["weekday"], pa.int64()),
    }
)
KINDS = {"model": Model, "segmented": SegmentedModel, "fallback": FallbackModel}
# The names of tags and artifacts as that release wrote them: a registry that it filled has no others.
DIGEST, ARTIFACT = "mlprod.digest", "mlprod.artifact"
FILES = {"reference_profile.json": "mlprod.reference_profile_sha256", "canned_rows.parquet": "mlprod.canned_rows_sha256"}


def registered(shop: Shop, kind: str) -> ModelRef:
    """Put a stored model into the shop's registry, as that release left it there."""
    registry = shop.platform.registry
    run = registry.start_run(shop.pipeline, "of release 0.4")
    artifact = "fallback" if kind == "fallback" else "model"
    registry.log_folder(run, STORED / kind, artifact)
    tags = {DIGEST: RECORDED["digests"][kind], ARTIFACT: artifact}
    tags |= {FILES[name]: digest for name, digest in RECORDED["files"].get(kind, {}).items()}
    registry.client.create_registered_model("returns")
    made = registry.client.create_model_version("returns", f"runs:/{run}/{artifact}", run, tags=tags)
    registry.set_alias("returns", "champion", int(made.version))
    found = registry.champion(shop.pipeline)
    assert found is not None
    return found


def assert_recorded(kind: str, score: Any, decision: Any) -> None:
    assert np.asarray(score).tolist() == RECORDED["answers"][kind]["score"]
    assert np.asarray(decision).tolist() == RECORDED["answers"][kind]["decision"]


@pytest.mark.parametrize("kind", KINDS)
def test_mlflow_loads_it_and_it_answers_as_it_did_then(kind: str) -> None:
    told = mlflow.pyfunc.load_model(str(STORED / kind)).predict(ROWS.to_pandas())
    assert_recorded(kind, told["score"], told["decision"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_registry_loads_it_and_it_answers_as_it_did_then(shop: Shop, kind: str) -> None:
    ref = registered(shop, kind)
    for loaded in (shop.platform.registry.load_model(ref), shop.platform.registry.load_stored(ref)):
        assert isinstance(loaded, KINDS[kind])
        answer = loaded.predict(ROWS)
        assert_recorded(kind, answer.score, answer.decision)


@pytest.mark.parametrize("kind", ["model", "segmented"])
def test_its_reference_profile_and_its_golden_predictions_are_read(shop: Shop, kind: str) -> None:
    ref, registry = registered(shop, kind), shop.platform.registry
    profile = ReferenceProfile.from_json(registry.reference_profile(shop.pipeline, ref.version))
    assert {column.name for column in profile.features} == set(ROWS.column_names)
    assert json.loads(json.dumps(profile.as_json())) == json.loads((STORED / kind / "reference_profile.json").read_text())
    file = registry.golden_predictions(ref)
    assert file is not None
    golden = pq.read_table(file)
    assert golden.num_rows == 100
    answer = registry.load_model(ref).predict(golden)
    assert answer.score.tolist() == golden["score"].to_pylist()
    assert answer.decision.tolist() == golden["decision"].to_pylist()


@pytest.mark.parametrize("kind", KINDS)
def test_it_names_the_module_of_that_release_and_a_new_one_names_todays(kind: str, tmp_path: Path) -> None:
    assert loader(STORED / kind) == "mlprod_tasks.pyfunc"
    data = next(STORED.glob(f"{kind}/data/*"))
    mlflow_flavor.save(mlflow_flavor.load(data), data, tmp_path / "new")
    assert loader(tmp_path / "new") == "mlprod_tasks.models.mlflow_flavor"
    told = mlflow.pyfunc.load_model(str(tmp_path / "new")).predict(ROWS.to_pandas())
    assert_recorded(kind, told["score"], told["decision"])


def loader(folder: Path) -> str:
    written: str = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]["loader_module"]
    return written


def test_a_segmented_one_has_the_models_of_its_segments() -> None:
    loaded = load_model(STORED / "segmented" / "data" / "model")
    assert isinstance(loaded, SegmentedModel)
    frame = pd.DataFrame({"channel": ["web", "app", "phone"], "amount": 50.0, "items": 2.0, "weekday": 3})
    assert len(set(loaded.predict(pa.Table.from_pandas(frame)).score.tolist())) == 3
