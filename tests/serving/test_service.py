"""The service answers as batch scoring does, refuses what is wrong with a reason, and never fails for a bad body."""

import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlparse

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Promotion, PromotionKind
from mlprod_tasks.promotion.fallback_switch import switch_to_champion, switch_to_fallback
from mlprod_tasks.rollout.routing import BUCKETS, CannotRollOut, answers, bucket, roll_out
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.keys import make_key, revoke_key
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.run import build_service
from tests.support.failing_row import FailingRow
from tests.support.service import ORDER, TICK, get, metric, orders_of, post, running
from tests.support.trained_shop import Shop


def test_a_request_scores_bit_for_bit_as_the_batch_does(service: Service, promoted_shop: Shop) -> None:
    sent, batch = orders_of(promoted_shop, TICK)
    expected = promoted_shop.platform.registry.load(promoted_shop.pipeline, 1).predict(batch)
    moment = promoted_shop.tick(TICK).start.isoformat()
    told = post(service, {"rows": sent, "moment": moment}).json()["rows"]
    assert np.array_equal([one["score"] for one in told], expected.score)
    assert [one["decision"] for one in told] == expected.decision.tolist()
    assert {(one["version"], one["route"]) for one in told} == {(1, "champion")}
    alone = [post(service, {"rows": [row], "moment": moment}).json()["rows"][0]["score"] for row in sent[:20]]
    assert alone == expected.score[:20].tolist()


@pytest.mark.parametrize("failing", ["7 % items", "factorial(100 * (1 - items)::INT) % 2"], ids=["compiled", "by_duckdb"])
def test_a_row_with_an_expression_that_fails_is_answered_by_the_fallback_as_in_batch_and_named(
    promoted_shop: Shop, failing: str
) -> None:
    shop, added = promoted_shop, ml.Expression("rest", failing, "int", "fails for 0 items")
    pipeline = replace(shop.pipeline, features=(*shop.pipeline.features, added))
    raw, ticks = names.raw(pipeline, "orders"), pipeline.schedule.range(TICK)
    orders = shop.platform.lake.rows(raw, [ticks.first]).sort_by("order_id")
    items = pa.array([0 if i == 7 else 1 for i in range(orders.num_rows)], pa.int64())
    orders = orders.set_column(orders.column_names.index("items"), "items", items)
    shop.platform.lake.replace_ticks(raw, ticks, orders)
    score(pipeline, shop.tick(TICK), shop.platform)
    batch = shop.platform.lake.rows(names.predictions(pipeline), [ticks.first]).sort_by("order_id")
    sent, _ = orders_of(shop, TICK)
    body = {"rows": sent, "moment": shop.tick(TICK).start.isoformat()}
    service = build_service(shop.platform, {"returns": pipeline}, keys_needed=False)
    told = post(service, body).json()["rows"]
    assert [one["score"] for one in told] == batch["score"].to_pylist()
    assert [one.get("fallback", False) for one in told] == batch["fallback"].to_pylist() == [i == 7 for i in range(len(sent))]
    assert told[7]["key"] == {"order_id": orders["order_id"][7].as_py()}
    assert told[7]["reason"].startswith("feature 'rest' cannot be computed")
    few = json.dumps(body | {"rows": sent[5:9]}).encode()
    at_once = service.answer_at_once("", "returns", [], few, 0.0)
    assert at_once is not None, "it takes the fast path like any other"
    assert json.loads(at_once)["rows"] == told[5:9]
    explained = post(service, body | {"rows": sent[6:8]}, verb="explain").json()["rows"]
    assert [one.get("reason", "").startswith("feature 'rest' cannot be computed") for one in explained] == [False, True]


def test_a_key_is_told_as_it_was_asked_about_moments_too(promoted_shop: Shop) -> None:
    orders = replace(promoted_shop.pipeline.entity_table, key=("order_id", "placed_at"))
    pipeline = replace(promoted_shop.pipeline, tables=(orders, *promoted_shop.pipeline.tables[1:]))
    service = build_service(promoted_shop.platform, {"returns": pipeline}, keys_needed=False)
    (told,) = post(service, {"rows": [ORDER]}).json()["rows"]
    assert told["key"] == {"order_id": "o-1", "placed_at": "2024-02-12T09:30:00+00:00"}
    log = service.scorers["returns"].log
    assert log.flush()
    (file,) = log.folder.glob("*.parquet")
    (row,) = pq.read_table(file, columns=["key", "key_placed_at"]).to_pylist()
    assert row == {"key": "o-1/2024-02-12T09:30:00+00:00", "key_placed_at": datetime(2024, 2, 12, 9, 30, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (ORDER | {"amount": "much"}, "amount", "number"),
        (ORDER | {"colour": "red"}, "colour", "not a field"),
        ({k: v for k, v in ORDER.items() if k != "order_id"}, "order_id", "required"),
        (ORDER | {"placed_at": "yesterday"}, "placed_at", ""),
        (ORDER | {"items": 2.5}, "items", "integer"),
        (ORDER | {"order_id": "o\0"}, "order_id", "U+0000"),
    ],
)
def test_a_wrong_field_is_named_with_its_reason(service: Service, row: dict[str, Any], field: str, reason: str) -> None:
    refused = post(service, {"rows": [ORDER, row]})
    assert refused.status_code == 422
    (problem,) = refused.json()["problems"]
    assert (problem["row"], problem["field"]) == (1, field)
    assert reason in problem["reason"]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 422), (b"{", 422), (b"null", 422), (b'{"rows": []}', 422), (b'{"rows": [1]}', 422), (b"\xff\xfe", 422),
        (b'{"rows": [{}], "more": 1}', 422), (b'{"rows": [{}], "moment": "2999-01-01T00:00:00Z"}', 422),
        (b'{"rows": [{}], "moment": "0001-01-01T00:00:00Z"}', 422),
        (b"[" * 100_000, 422), (b" " * 2_000_000, 413),
    ],
)  # fmt: skip
def test_a_body_that_makes_no_sense_is_refused(service: Service, raw: bytes, status: int) -> None:
    refused = post(service, None, raw=raw)
    assert refused.status_code == status
    assert refused.json()["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2024-02-12T09:30:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys([*ORDER, "other"], JSON))
ANY_BODY = st.one_of(st.fixed_dictionaries({"rows": st.lists(FIELDS, max_size=3)}, optional={"moment": JSON}), JSON)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=ANY_BODY)
def test_no_body_makes_the_service_fail(service: Service, body: Any) -> None:
    answered = post(service, None, raw=json.dumps(body).encode())
    assert answered.status_code in (200, 422, 429)


def test_only_a_key_that_holds_for_the_use_case_is_answered_and_it_may_be_replaced_meanwhile(promoted_shop: Shop) -> None:
    platform, pipeline = promoted_shop.platform, promoted_shop.pipeline
    service = build_service(platform, {pipeline.name: pipeline})
    assert post(service, {"rows": [ORDER]}).status_code == 401
    old, entry = make_key((pipeline.name,), "the desk", "ada", platform)
    other, _ = make_key(("flights",), "the desk", "ada", platform)
    service.loader.refresh()
    assert post(service, {"rows": [ORDER]}, key=old).status_code == 200
    assert post(service, {"rows": [ORDER]}, key=other).status_code == 403
    new, _ = make_key((pipeline.name,), "the desk", "ada", platform)
    revoke_key(entry.id, platform)
    service.loader.refresh()
    assert post(service, {"rows": [ORDER]}, key=old).status_code == 401
    assert post(service, {"rows": [ORDER]}, key=new).status_code == 200
    assert get(service, "/health").status_code == 200


def test_a_key_that_asks_too_much_is_told_when_to_come_back(promoted_shop: Shop) -> None:
    service = build_service(
        promoted_shop.platform,
        {"returns": promoted_shop.pipeline},
        keys_needed=False,
        limits=Limits(rows_a_second=1, burst=3, rows=2),
    )
    assert post(service, {"rows": [ORDER] * 2}).status_code == 200
    refused = post(service, {"rows": [ORDER] * 2})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert post(service, {"rows": [ORDER] * 3}).status_code == 413


def test_when_too_much_is_under_way_a_request_is_shed_with_a_time_to_come_back(service: Service) -> None:
    service.admission.under_way = service.limits.under_way
    shed = post(service, {"rows": [ORDER]})
    assert (shed.status_code, shed.headers["retry-after"]) == (503, "1")
    service.admission.under_way = 0
    assert post(service, {"rows": [ORDER]}).status_code == 200


def test_where_the_model_fails_the_fallback_answers_and_says_so(service: Service, promoted_shop: Shop) -> None:
    loader = service.loader
    loaded = loader.loaded["returns"]
    assert loaded.champion is not None
    loader.loaded = {"returns": replace(loaded, champion=replace(loaded.champion, row=FailingRow(loaded.champion.row)))}  # type: ignore[arg-type]
    for _ in range(7):
        (told,) = post(service, {"rows": [ORDER]}).json()["rows"]
        assert (told["route"], told["fallback"]) == ("fallback", True)
    assert "failed several times" in told["reason"]
    assert loaded.fallback is not None
    assert told["score"] == loaded.fallback.predict({"channel": ["web"]}).score[0]


def test_a_row_that_the_model_cannot_read_is_the_rows_fault_and_takes_nobody_else_out(service: Service) -> None:
    for _ in range(8):
        (told,) = post(service, {"rows": [ORDER | {"items": 2**60}]}).json()["rows"]
        assert told["route"] == "champion"  # a large number is a number
    (told,) = post(service, {"rows": [ORDER]}).json()["rows"]
    assert told["route"] == "champion"
    log = service.scorers["returns"].log
    log.flush()
    assert (log.waiting, log.written) == (0, 9)


def test_a_failing_challenger_gives_way_to_the_champion_which_goes_on(service: Service, promoted_shop: Shop) -> None:
    promoted_shop.promoted("two", "2024-02-12")
    roll_out(promoted_shop.pipeline, promoted_shop.platform, mode="blue-green", by="ada", reason="a test", challenger=1)
    service.loader.refresh()
    loaded = service.loader.loaded["returns"]
    assert loaded.challenger is not None
    service.loader.loaded = {
        "returns": replace(loaded, challenger=replace(loaded.challenger, row=FailingRow(loaded.challenger.row)))
    }  # type: ignore[arg-type]
    routes = [post(service, {"rows": [ORDER | {"order_id": f"{n}"}]}).json()["rows"][0]["route"] for n in range(8)]
    assert routes == ["fallback"] * 5 + ["champion"] * 3


def test_a_replica_that_can_load_no_model_still_has_the_fallback(promoted_shop: Shop) -> None:
    shutil.rmtree(promoted_shop.platform.settings.home / "models", ignore_errors=True)
    (promoted_shop.platform.settings.home / "mlflow.db").unlink()
    service = build_service(promoted_shop.platform, {"returns": promoted_shop.pipeline}, keys_needed=False)
    assert get(service, "/ready").status_code == 200
    for _ in range(3):
        service.loader.refresh()
    loaded = service.loader.loaded["returns"]
    assert loaded.champion is None
    assert 0 < len(loaded.trouble) < 1000
    (told,) = post(service, {"rows": [ORDER]}).json()["rows"]
    assert (told["route"], told["fallback"]) == ("fallback", True)


def test_of_many_requests_at_once_those_beyond_what_may_be_under_way_are_shed(promoted_shop: Shop) -> None:
    import asyncio

    limits = Limits(under_way=20)
    service = build_service(promoted_shop.platform, {"returns": promoted_shop.pipeline}, keys_needed=False, limits=limits)

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app=service)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://served") as client:
            body = json.dumps({"rows": [ORDER]}).encode()
            asked = [client.post("/v1/pipelines/returns/score", content=body) for _ in range(100)]
            return [one.status_code for one in await asyncio.gather(*asked)]

    statuses = asyncio.run(ask())
    assert set(statuses) == {200, 503}
    assert 20 <= statuses.count(200) < 100
    assert service.admission.under_way == 0


def test_a_body_that_never_comes_gives_its_place_back(promoted_shop: Shop) -> None:
    import asyncio

    service = build_service(
        promoted_shop.platform, {"returns": promoted_shop.pipeline}, keys_needed=False, limits=Limits(body_seconds=0.05)
    )
    sent: list[Any] = []

    async def ask() -> None:
        async def never() -> Any:
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/pipelines/returns/score",
            "headers": [(b"content-length", b"10")],
        }
        await asyncio.wait_for(service(scope, never, send), 5)

    asyncio.run(ask())
    assert sent[0]["status"] == 408
    assert service.admission.under_way == 0


def test_a_new_champion_takes_over_and_a_broken_one_never_does(service: Service, promoted_shop: Shop) -> None:
    platform = promoted_shop.platform
    before = service.loader.loaded["returns"].champion
    promoted_shop.promoted("two", "2024-02-12")
    service.loader.refresh()
    after = service.loader.loaded["returns"].champion
    assert before is not None
    assert after is not None
    assert (before.number, after.number) == (1, 2)
    promoted_shop.promoted("three", "2024-02-13")
    damaged(platform, 3)
    service.loader.refresh()
    loaded = service.loader.loaded["returns"]
    assert loaded.champion is after
    assert "version 3" in loaded.trouble
    assert post(service, {"rows": [ORDER]}).json()["rows"][0]["version"] == 2


def damaged(platform: Platform, version: int) -> None:
    """Take the files of a version away, the registry's and this machine's copy."""
    run = platform.registry.version("returns", version).run_id
    shutil.rmtree(unquote(urlparse(platform.registry.client.get_run(run).info.artifact_uri).path))
    for copy in (platform.settings.home / "models" / "returns").glob(f"{version}-*"):
        shutil.rmtree(copy)


def test_a_rollback_needs_no_registry(service: Service, promoted_shop: Shop) -> None:
    promoted_shop.promoted("two", "2024-02-12")
    service.loader.refresh()
    platform = promoted_shop.platform
    platform.ledger.put(
        Promotion(
            pipeline="returns", model_version=1, effective=promoted_shop.tick("2024-02-13").name, training_id="one",
            reason="back", at=platform.clock.now(), rolled_back_from=2, kind=PromotionKind.ROLLBACK,
        )
    )  # fmt: skip
    assert post(service, {"rows": [ORDER]}).json()["rows"][0]["version"] == 2
    registry_away(platform)
    service.loader.refresh()
    assert post(service, {"rows": [ORDER]}).json()["rows"][0]["version"] == 1
    assert service.loader.loaded["returns"].trouble


def registry_away(platform: Platform) -> None:
    home = platform.settings.home
    home.joinpath("mlflow.db").unlink()
    home.joinpath("mlflow.db").mkdir()
    vars(platform).pop("registry", None)


def test_a_switch_to_the_fallback_holds_for_requests_too_and_is_taken_back(service: Service, promoted_shop: Shop) -> None:
    pipeline, platform = promoted_shop.pipeline, promoted_shop.platform
    switch_to_fallback(pipeline, "ada", platform, reason="odd scores")
    service.loader.read_ledger()
    (told,) = post(service, {"rows": [ORDER]}).json()["rows"]
    assert (told["route"], told["fallback"]) == ("fallback", True)
    assert "by ada" in told["reason"]
    assert "odd scores" in told["reason"]
    (row,) = post(service, {"rows": [ORDER]}, verb="explain").json()["rows"]
    assert (row["score"], row["reason"]) == (None, told["reason"])
    switch_to_champion(pipeline, "ada", platform)
    service.loader.read_ledger()
    assert post(service, {"rows": [ORDER]}).json()["rows"][0]["route"] == "champion"


def test_a_registry_that_hangs_holds_up_no_key_rollout_or_switch(promoted_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, platform = promoted_shop.pipeline, promoted_shop.platform
    service = build_service(platform, {pipeline.name: pipeline}, keys_needed=True)
    hangs = threading.Event()

    def hang(_: Pipeline) -> tuple[int | None, str]:
        hangs.wait(20)
        return 1, ""

    monkeypatch.setattr(service.loader, "_champion", hang)
    loader = threading.Thread(target=service.loader.load_models)
    loader.start()
    key, entry = make_key(["returns"], "till", "ada", platform)
    service.loader.read_ledger()
    assert post(service, {"rows": [ORDER]}, key=key).status_code == 200
    revoke_key(entry.id, platform)
    switch_to_fallback(pipeline, "ada", platform)
    service.loader.read_ledger()
    assert post(service, {"rows": [ORDER]}, key=key).status_code == 401
    assert service.loader.loaded["returns"].switched
    hangs.set()
    loader.join()
    assert service.loader.loaded["returns"].switched, "what was read while it loaded stays"


def test_a_request_that_fails_in_the_end_was_never_answered_and_is_not_logged(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, calls = service.scorers["returns"], []
    real = scorer.online.within

    async def fails_at_last(rows: Any, moments: Any, readers: Any) -> Any:
        calls.append(len(rows))
        if len(calls) == 2:
            raise RuntimeError("of Jane Doe")
        return await real(rows, moments, readers)

    monkeypatch.setattr(scorer.online, "within", fails_at_last)
    failed = post(service, {"rows": [ORDER | {"order_id": f"o-{n}"} for n in range(60)]})
    assert (failed.status_code, calls) == (500, [50, 10])
    assert scorer.log.waiting == 0


def test_a_canary_answers_its_share_always_the_same_entities_and_more_as_it_is_ramped(
    service: Service, promoted_shop: Shop
) -> None:
    platform, pipeline = promoted_shop.platform, promoted_shop.pipeline
    promoted_shop.promoted("two", "2024-02-12")
    with pytest.raises(CannotRollOut, match="champion already"):
        roll_out(pipeline, platform, mode="canary", by="ada", reason="", challenger=2, share=0.1)
    rows = [ORDER | {"order_id": f"o-{n}"} for n in range(1000)]
    taken: set[str] = set()
    for share in (0.05, 0.25, 1.0):
        roll_out(pipeline, platform, mode="canary", by="ada", reason="a test", challenger=1, share=share)
        service.loader.refresh()
        told = post(service, {"rows": rows}).json()["rows"]
        challenged = {one["key"]["order_id"] for one in told if one["route"] == "challenger"}
        assert {one["version"] for one in told if one["route"] == "challenger"} == {1}
        assert abs(len(challenged) / 1000 - share) < 0.03
        assert taken <= challenged
        taken = challenged
    roll_out(pipeline, platform, mode="champion", by="ada", reason="back")
    service.loader.refresh()
    assert {one["version"] for one in post(service, {"rows": rows}).json()["rows"]} == {2}


def test_buckets_are_even_and_the_same_everywhere() -> None:
    counts = np.bincount([bucket("p", str(n)) * 10 // BUCKETS for n in range(20_000)])
    assert counts.min() > 1800
    assert bucket("flight_delays", "2013-06-27-B6-1271-LGA") == 3676
    assert answers(None, "p", "a") == "champion"


def test_a_shadow_scores_everything_and_answers_nothing(service: Service, promoted_shop: Shop) -> None:
    promoted_shop.promoted("two", "2024-02-12")
    roll_out(promoted_shop.pipeline, promoted_shop.platform, mode="shadow", by="ada", reason="a look", challenger=1)
    service.loader.refresh()
    (told,) = post(service, {"rows": [ORDER]}).json()["rows"]
    assert (told["version"], told["route"]) == (2, "champion")
    log = service.scorers["returns"].log
    log.flush()
    (file,) = log.folder.glob("*.parquet")
    (written,) = pq.read_table(file).to_pylist()
    one = service.loader.loaded["returns"].challenger
    assert one is not None
    assert written["shadow_version"] == 1
    assert written["shadow_score"] == one.row(("web", 80.5, 2, 1)).score
    assert (written["key"], written["score"], written["feature_amount"]) == ("o-1", told["score"], 80.5)


@pytest.mark.parametrize(
    ("automation", "band", "decides", "review"),
    [
        ("full", None, True, False),
        ("assist", None, False, True),
        ("shadow", None, False, False),
        ("band", (0.0, 1.0), False, True),
    ],
)
def test_degrees_of_automation_say_what_is_left_to_people(
    service: Service, promoted_shop: Shop, automation: str, band: tuple[float, float] | None, decides: bool, review: bool
) -> None:
    roll_out(
        promoted_shop.pipeline, promoted_shop.platform, mode="champion", by="ada", reason="", automation=automation, band=band
    )
    service.loader.refresh()
    (told,) = post(service, {"rows": [ORDER]}).json()["rows"]
    assert (told["decision"] is not None, told.get("review", False)) == (decides, review)
    assert told["score"] is not None


def test_an_explanation_adds_up_to_the_score(service: Service) -> None:
    (told,) = post(service, {"rows": [ORDER]}, verb="explain").json()["rows"]
    (scored,) = post(service, {"rows": [ORDER]}).json()["rows"]
    assert told["score"] == scored["score"]
    assert {one["feature"] for one in told["features"]} == {"channel", "amount", "items", "weekday"}
    adds = [abs(one["adds"]) for one in told["features"]]
    assert adds == sorted(adds, reverse=True)


def test_the_document_names_every_field_and_metrics_count_every_request(service: Service) -> None:
    document = get(service, "/openapi.json").json()
    row = document["paths"]["/v1/pipelines/returns/score"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(row["properties"]["rows"]["items"]["properties"]) == set(ORDER)
    post(service, {"rows": [ORDER]})
    post(service, {"rows": []})
    for status in ("200", "422"):
        assert metric(service, "mlprod_requests_total", pipeline="returns", kind="score", status=status) == 1
    assert metric(service, "mlprod_served_version", pipeline="returns", route="champion") == 1


def test_a_real_process_answers_and_told_to_end_it_writes_what_it_answered(promoted_shop: Shop, fast_path: bool) -> None:
    home = promoted_shop.platform.settings.home
    with running(home, fast_path=fast_path) as (url, process):
        with httpx.Client(base_url=url) as client:
            asked = [
                client.post("/v1/pipelines/returns/score", json={"rows": [ORDER | {"order_id": f"{n}"}]}) for n in range(50)
            ]
        assert [one.status_code for one in asked] == [200] * 50
        os.kill(process.pid, signal.SIGTERM)
        process.join(timeout=30)
        assert process.exitcode in (0, -signal.SIGTERM)
    files = list((home / "online_log" / "returns").glob("*.parquet"))
    keys = sorted(key for file in files for key in pq.read_table(file)["key"].to_pylist())
    assert keys == sorted(str(n) for n in range(50))
    moments = [one for file in files for one in pq.read_table(file)["predict_at"].to_pylist()]
    assert abs((datetime.now(UTC) - max(moments)).total_seconds()) < 60
