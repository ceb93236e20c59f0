"""The service answers with classes and the probabilities of all as batch scoring does, and decides nothing on them."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openapi_spec_validator import validate
from pandas.api.types import is_numeric_dtype

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.predicted_columns import read_scores
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.promotion.fallback_switch import switch_to_fallback
from mlprod_tasks.rollout.routing import CannotRollOut, roll_out
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.scoring.review_queue import decide_review, open_reviews
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.run import build_service
from tests.support.paths import REPOSITORY
from tests.support.reason_shop import CLASSES, SERVED_REASONS, reason_shop
from tests.support.service import TICK, get, orders_of, post, running
from tests.support.trained_shop import Shop, platform_at


@pytest.fixture(scope="module")
def class_home(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose champion predicts why orders come back, version 1, beside version 2 of later rows."""
    shop = reason_shop(filled_home, tmp_path_factory.mktemp("classes"), pipeline=SERVED_REASONS)
    assert shop.promoted("one").moved
    from mlprod_tasks.evaluation.gate import gate
    from mlprod_tasks.steps import register

    shop.trained("two", "2024-02-11")
    gate(SERVED_REASONS, "two", shop.platform)
    assert register(SERVED_REASONS, "two", shop.platform).version == 2
    shop.platform.ledger.engine.dispose()
    return shop.platform.settings.home


@pytest.fixture
def shop(class_home: Path, tmp_path: Path) -> Shop:
    shutil.copytree(class_home, tmp_path / "var")
    return Shop(SERVED_REASONS, platform_at(tmp_path / "var"))


def served(shop: Shop, pipeline: Pipeline | None = None) -> Service:
    return build_service(shop.platform, {"returns": pipeline or shop.pipeline}, keys_needed=False)


def body_of(shop: Shop, n: int | None = None) -> tuple[dict[str, object], pa.Table]:
    sent, batch = orders_of(shop, TICK)
    return {"rows": sent[:n], "moment": shop.tick(TICK).start.isoformat()}, batch


def test_a_request_predicts_bit_for_bit_as_the_batch_does_class_and_all_probabilities(shop: Shop) -> None:
    score(shop.pipeline, shop.tick(TICK), shop.platform)
    batch = shop.platform.lake.rows(names.predictions(shop.pipeline), [shop.tick(TICK).name]).sort_by("order_id").to_pylist()
    body, _ = body_of(shop)
    body["rows"] = sorted(body["rows"], key=lambda row: row["order_id"])  # type: ignore[attr-defined]
    service = served(shop)
    told = post(service, body).json()["rows"]
    assert len(told) > 100
    assert len({one["prediction"] for one in told}) > 1
    assert [(one["prediction"], one["probability"], one["probabilities"]) for one in told] == [
        (row["prediction"], row["score"], json.loads(row["probabilities"])) for row in batch
    ]
    assert all(list(one["probabilities"]) == sorted(CLASSES) for one in told), "in the order of the model"
    assert all(sum(one["probabilities"].values()) == pytest.approx(1) for one in told)
    assert set(told[0]) == {"key", "prediction", "probability", "probabilities", "version", "route"}, "nothing is decided"
    few = json.dumps(body | {"rows": body["rows"][:3]}).encode()  # type: ignore[index]
    at_once = service.answer_at_once("", "returns", [], few, 0.0)
    assert at_once is not None, "it takes the fast path like any other"
    assert json.loads(at_once)["rows"] == told[:3]


def test_the_log_keeps_class_and_probabilities_as_the_batch_stores_them(shop: Shop) -> None:
    body, batch = body_of(shop, 9)
    service = served(shop)
    told = post(service, body).json()["rows"]
    service.scorers["returns"].log.flush()
    assert collect(shop.pipeline, shop.platform).rows == 9
    logged = shop.platform.lake.rows(names.requests(shop.pipeline)).sort_by("row")
    model = service.loader.loaded["returns"].champion.model  # type: ignore[union-attr]
    expected = model.predict(batch.slice(0, 9))
    assert logged["prediction"].to_pylist() == expected.decision.tolist() == [one["prediction"] for one in told]
    assert logged["score"].to_pylist() == expected.score.of(expected.decision).tolist()
    assert (read_scores(logged["probabilities"].to_pylist()).shares == expected.score.shares).all()
    assert set(zip(logged["decision"].to_pylist(), logged["review"].to_pylist(), strict=True)) == {(None, False)}


def test_people_decide_rows_whose_likeliest_classes_are_close(shop: Shop) -> None:
    body, _ = body_of(shop)
    plain = post(served(shop), body).json()["rows"]
    roll_out(shop.pipeline, shop.platform, mode="champion", by="ada", reason="", automation="band", band=(0.1, 0.4))
    service = served(shop)
    told = post(service, body).json()
    margins = [np.diff(np.sort(list(one["probabilities"].values()))[-2:])[0] for one in plain]
    doubtful = [0.1 <= margin < 0.4 for margin in margins]
    assert 5 < sum(doubtful) < len(plain) - 5
    assert [one.pop("review", False) for one in told["rows"]] == doubtful
    assert told["rows"] == plain, "the class is told all the same"
    service.scorers["returns"].log.flush()
    assert collect(shop.pipeline, shop.platform).reviews == sum(doubtful)
    waiting = open_reviews(shop.pipeline, shop.platform)
    assert {(one.row, one.prediction, one.score) for one in waiting} == {
        (row, one["prediction"], one["probability"]) for row, one in enumerate(plain) if doubtful[row]
    }
    first, second = waiting[:2]
    other = next(name for name in CLASSES if name != first.prediction)
    decide_review(shop.pipeline, first.request_id, first.row, other, "ada", shop.platform)
    decide_review(shop.pipeline, second.request_id, second.row, str(second.prediction), "ada", shop.platform)
    asked = get(service, f"/v1/pipelines/returns/reviews/{told['request_id']}").json()["rows"]
    by_row = {one["row"]: (one["prediction"], one["decided_class"], one["decision"]) for one in asked}
    assert by_row[first.row] == (first.prediction, other, False)
    assert by_row[second.row] == (second.prediction, second.prediction, True)
    assert by_row[waiting[2].row] == (waiting[2].prediction, None, None)


def test_the_fallback_answers_with_the_shares_of_the_rows_group(shop: Shop) -> None:
    switch_to_fallback(shop.pipeline, "ada", shop.platform, reason="odd classes")
    service, (body, batch) = served(shop), body_of(shop, 20)
    told = post(service, body).json()["rows"]
    kept = service.loader.loaded["returns"].fallback
    assert kept is not None
    expected = kept.predict(batch.slice(0, 20))
    assert [one["prediction"] for one in told] == expected.decision.tolist()
    shares = [[one["probabilities"][name] for name in expected.score.classes] for one in told]
    assert shares == expected.score.shares.tolist()
    assert {(one["route"], one["fallback"]) for one in told} == {("fallback", True)}


def test_a_row_that_is_refused_has_no_class_and_says_why(shop: Shop) -> None:
    refusing = replace(SERVED_REASONS, serving=ml.Serving(stale="refuse", missing="refuse"))
    trailing = ml.Trailing("by_channel", "orders", {"channel": "channel"}, (ml.days(7),), (ml.Count("orders"),))
    pipeline = replace(refusing, features=(*refusing.features, trailing))
    body, _ = body_of(shop, 1)
    service = served(shop, pipeline)
    (told,) = post(service, body).json()["rows"]
    assert (told["prediction"], told["probability"], told["probabilities"], told["route"]) == (None, None, None, "refused")
    assert told["reason"]
    service.scorers["returns"].log.flush()
    collect(pipeline, shop.platform)
    (logged,) = shop.platform.lake.rows(names.requests(pipeline)).to_pylist()
    assert (logged["prediction"], logged["probabilities"], logged["score"]) == (None, None, None)


def test_an_explanation_tells_what_a_usual_value_does_to_the_probability_of_the_class(shop: Shop) -> None:
    body, batch = body_of(shop, 4)
    service, registry = served(shop), shop.platform.registry
    version = service.loader.loaded["returns"].champion
    assert version is not None
    told = post(service, body, verb="explain").json()["rows"]
    scored = post(service, body).json()["rows"]
    same = ("key", "prediction", "probability", "probabilities", "version", "route")
    assert [{name: one[name] for name in same} for one in told] == scored
    read = {part["feature"]: part["value"] for part in told[0]["features"]}
    assert read == {name: batch[name][0].as_py() for name in read}
    assert set(read) == set(shop.pipeline.feature_names)
    model, golden = version.model, pq.read_table(registry.golden_predictions(registry.champion(shop.pipeline)))
    for i, one in enumerate(told):
        effects = {part["feature"]: part["effect"] for part in one["features"]}
        assert list(effects.values()) == sorted(effects.values(), key=lambda effect: -abs(effect))
        for name in shop.pipeline.feature_names:
            known = golden[name].to_pandas().dropna()
            usual = known.quantile(interpolation="lower") if is_numeric_dtype(known) else known.mode()[0]
            row = batch.slice(i, 1)
            other = row.set_column(row.column_names.index(name), name, pa.array([usual], row.schema.field(name).type))
            after = model.predict(other).score.of(np.array([one["prediction"]], object))[0]
            assert effects[name] == one["probability"] - after
        assert_adds_up(one, model.raw(model.matrix(batch.slice(i, 1)))[0], model.rule.classes)


def assert_adds_up(one: dict[str, Any], raw: np.ndarray, classes: tuple[str, ...]) -> None:
    """Base and contributions are the logarithm of the raw probability of the class, less the mean of those of all."""
    logarithms = np.log(raw)
    added = one["base"] + sum(part["adds"] for part in one["features"])
    assert added == pytest.approx(logarithms[classes.index(one["prediction"])] - logarithms.mean(), abs=1e-9)


def test_without_exact_contributions_and_stored_rows_an_explanation_says_so(shop: Shop) -> None:
    service, (body, _) = served(shop), body_of(shop, 1)
    version = service.loader.loaded["returns"].champion
    assert version is not None

    class NoContributions:
        def __getattr__(self, name: str) -> Any:
            return (lambda row: None) if name == "class_contributions" else getattr(version.model, name)

    bare = replace(version, usual=None, model=NoContributions())
    service.loader.loaded = {"returns": replace(service.loader.loaded["returns"], champion=bare)}
    (told,) = post(service, body, verb="explain").json()["rows"]
    assert {(part["effect"], part["adds"]) for part in told["features"]} == {(None, None)}
    assert "base" not in told


def test_the_openapi_document_is_valid_and_answers_are_as_it_says(shop: Shop) -> None:
    service = served(shop)
    document = get(service, "/openapi.json").json()
    validate(document)
    schemas = document["components"]["schemas"]
    assert not {"ScoredRow", "PredictedRow"} & set(schemas)
    body, _ = body_of(shop, 3)
    for verb, name in (("score", "ClassResponse"), ("explain", "ClassExplanationResponse")):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        answer = post(service, body, verb=verb).json()
        jsonschema.validate(answer, schema)
        wrong = answer | {"rows": [answer["rows"][0] | {"probabilities": {"kept": "much"}}]}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_a_shadow_is_compared_by_the_probability_of_the_class_that_was_answered(shop: Shop) -> None:
    roll_out(shop.pipeline, shop.platform, mode="shadow", challenger=2, by="Ada", reason="")
    service, (body, batch) = served(shop), body_of(shop)
    told = post(service, body).json()["rows"]
    service.scorers["returns"].log.flush()
    collect(shop.pipeline, shop.platform)
    logged = shop.platform.lake.rows(names.requests(shop.pipeline)).sort_by("row")
    other = service.loader.loaded["returns"].challenger.model.predict(batch)  # type: ignore[union-attr]
    answered = np.array([one["prediction"] for one in told], object)
    assert logged["shadow_score"].to_pylist() == other.score.of(answered).tolist()
    assert (other.decision != answered).any(), "else its own class would be as good"
    difference = np.abs(logged["shadow_score"].to_numpy() - logged["score"].to_numpy())
    assert service.scorers["returns"].counts.shadow_difference == pytest.approx(difference.sum())


def test_requests_are_measured_with_the_drift_of_classes_that_a_batch_of_the_same_rows_has(shop: Shop) -> None:
    from mlprod_tasks.monitoring.measure import measure
    from mlprod_tasks.monitoring.requests import measure_collected

    score(shop.pipeline, shop.tick(TICK), shop.platform)
    measure(shop.pipeline, shop.tick(TICK), shop.platform)
    service, (body, _) = served(shop), body_of(shop)
    post(service, body)
    service.scorers["returns"].log.flush()
    collect(shop.pipeline, shop.platform)
    (measured,) = measure_collected(shop.pipeline, shop.platform)
    assert measured.rows == len(body["rows"])  # type: ignore[arg-type]
    known = {one.what: one.value for one in shop.platform.ledger.all(Measurement, pipeline="returns") if not one.slice}
    assert known["online_refused"] == 0
    assert known["online_class_psi"] == pytest.approx(known["class_psi"], abs=1e-12)
    assert known["online_score_psi"] == pytest.approx(known["score_psi"], abs=1e-12)
    assert known["class_psi"] > 0


def test_no_class_is_kept_back(shop: Shop) -> None:
    with pytest.raises(CannotRollOut, match="is not for predicted classes: make it 'full' or 'band' or 'assist'"):
        roll_out(shop.pipeline, shop.platform, mode="champion", by="Ada", reason="", automation="shadow")


def test_the_example_of_a_client_prints_the_class(shop: Shop) -> None:
    body, _ = body_of(shop, 1)
    (row,) = body["rows"]  # type: ignore[misc, attr-defined]
    (expected,) = post(served(shop), body).json()["rows"]
    command = [sys.executable, "examples/ask.py", "returns", json.dumps(row), "--moment", str(body["moment"])]
    with running(shop.platform.settings.home, ("tests.support.reason_shop", "SERVED_REASONS")) as (url, _):
        env = os.environ | {"MLPROD_KEY": "none is needed"}
        asked = subprocess.run(
            [*command, "--url", url], cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=60, check=False
        )
    said = f"{expected['prediction']}, probability {expected['probability']:.4f}"
    assert asked.stdout.splitlines()[0] == f"{row['order_id']}: {said}; version 1, route champion", asked.stderr
