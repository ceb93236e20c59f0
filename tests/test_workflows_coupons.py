"""The shipped use case of coupons, on a year of real data, against the package's own files."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.groceries import redemption
from benchmarks.simple_rules import compared
from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.experiments.plan import Wanted
from mlprod_tasks.experiments.run import plan_for
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Measurement, Training
from mlprod_tasks.rollout.rows import read
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.serving.run import build_service
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.clock import SetClock
from tests.support.grocery import grocery_platform, needs_groceries, raw
from tests.support.paths import REPOSITORY
from tests.support.service import request

needs_groceries()
TRAINED, STARTED, QUIET = date(2018, 1, 1), date(2017, 11, 15), date(2017, 11, 14)
EARLIER = date(2017, 10, 30)  # another campaign starts
COMPLETE = date(2017, 12, 29)  # when the outcomes of STARTED are
PAIR = ["household_id", "campaign_id"]


@dataclass(frozen=True)
class Home:
    pipeline: Pipeline
    platform: Platform


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A year ingested, a model trained, days with a campaign and one without any scored and monitored."""
    platform = grocery_platform(tmp_path_factory.mktemp("coupons"))
    pipeline = load(REPOSITORY / "pipelines" / "coupon_redemption.py")
    schedule = pipeline.schedule
    workflows.ingest(pipeline, schedule.range(schedule.starts, schedule.ends), platform)
    workflows.train(pipeline, schedule.tick(TRAINED), "for the test", platform)
    ticks = [schedule.tick(day) for day in (EARLIER, QUIET, STARTED, COMPLETE)]
    workflows.score(pipeline, ticks, platform)
    workflows.monitor(pipeline, ticks, platform)
    return Home(pipeline, platform)


def sent() -> pd.DataFrame:
    """Every household and campaign, with whether it redeemed a coupon of it within the first 42 days."""
    pairs = raw("campaigns").merge(raw("campaign_descriptions"), on="campaign_id")
    redeemed = raw("coupon_redemptions").merge(pairs, on=PAIR)
    days = (redeemed["redemption_date"] - redeemed["start_date"]).dt.days
    inside = redeemed[(days >= 0) & (days < 42) & (redeemed["redemption_date"] <= redeemed["end_date"])]
    return pairs.assign(redeems=pairs.set_index(PAIR).index.isin(inside.set_index(PAIR).index))


@pytest.mark.parametrize("window", ["train", "validation", "test"])
def test_each_row_is_a_household_and_a_campaign_with_what_it_redeemed(home: Home, window: str) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="coupon_redemption")
    rows = read_window(TrainingFolder(home.platform, training.id), window).to_pandas()
    pairs = sent()
    days = pd.to_datetime(rows["tick"])
    expected = pairs[pairs["start_date"].between(days.min(), days.max())].set_index(PAIR).sort_index()
    found = rows.set_index(PAIR).sort_index()
    assert found.index.equals(expected.index)
    assert (pd.to_datetime(found["tick"]) == expected["start_date"]).all()
    assert (found["label"].astype(bool) == expected["redeems"]).all()
    assert 0 < found["label"].mean() < 0.25


def test_the_features_of_a_pair_are_those_of_pandas(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="coupon_redemption")
    rows = read_window(TrainingFolder(home.platform, training.id), "test").to_pandas().sample(40, random_state=1)
    lines, coupons, redeemed = raw("transactions"), raw("coupons"), raw("coupon_redemptions")
    for row in rows.itertuples():
        start = pd.Timestamp(row.tick, tz="America/New_York").tz_convert("UTC").tz_localize(None)
        mine = lines[(lines["household_id"] == row.household_id) & (lines["transaction_timestamp"] < start)]
        recent = mine[mine["transaction_timestamp"] >= start - pd.Timedelta(days=28)]
        # A basket's lines have the same moment: whole baskets are inside or outside of a window.
        assert row.shopping_count_28d == recent["basket_id"].nunique()
        assert row.shopping_sum_amount_28d == pytest.approx(recent["sales_value"].sum(), abs=0.01)
        wanted = coupons.loc[coupons["campaign_id"] == row.campaign_id, "product_id"]
        assert row.wanted_sum_amount_28d == pytest.approx(
            recent.loc[recent["product_id"].isin(wanted), "sales_value"].sum(), abs=0.01
        )
        known = redeemed["redemption_date"] < pd.Timestamp(row.tick) - pd.Timedelta(days=1)
        known &= redeemed["household_id"] == row.household_id
        # The first days of the year are before the first tick, and so not in the lake.
        assert row.redeemed_count_ever == (known & (redeemed["redemption_date"] >= "2016-12-31")).sum()


def test_a_day_without_campaigns_is_scored_as_empty_and_the_other_judged_by_what_came_true(home: Home) -> None:
    scored = home.platform.lake.rows(names.predictions(home.pipeline)).to_pandas()
    assert set(scored["tick"]) == {EARLIER, STARTED}
    scored = scored[scored["tick"] == STARTED]
    pairs = sent()
    of_day = pairs[pairs["start_date"] == pd.Timestamp(STARTED)]
    assert len(scored) == len(of_day) == 130
    assert not scored["fallback"].any()
    both = scored.merge(of_day, on=PAIR)
    measured = {(m.tick, m.what): m for m in home.platform.ledger.all(Measurement, pipeline="coupon_redemption")}
    assert measured[STARTED, "label_coverage"].value == 1.0
    assert measured[STARTED, "roc_auc"].value == pytest.approx(roc_auc_score(both["redeems"], both["score"]))
    assert measured[QUIET, "volume"].n == 0


def test_a_request_of_a_pair_gets_the_score_of_the_batch_and_its_own_outcome(home: Home) -> None:
    served = replace(home.pipeline, serving=ml.Serving())
    tick = served.schedule.tick(STARTED)
    fill_online(served, tick, home.platform)
    service = build_service(home.platform, {served.name: served}, keys_needed=False)
    rows = home.platform.lake.rows(names.raw(served, "campaigns"), [STARTED]).select(list(served.entity_table.names))
    sent_rows = [
        {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()}
        for row in rows.to_pylist()
    ]
    path = f"/v1/pipelines/{served.name}/score"
    told = request(service, "POST", path, json={"rows": sent_rows, "moment": tick.start.isoformat()}).json()["rows"]
    batch = home.platform.lake.rows(names.predictions(served), [STARTED]).to_pandas().set_index(PAIR)["score"]
    assert len(told) == 130
    assert [one["score"] for one in told] == [batch[tuple(one["key"].values())] for one in told], "bit for bit"
    lacking = [{name: value for name, value in sent_rows[0].items() if name != "campaign_id"}]
    refused = request(service, "POST", path, json={"rows": lacking, "moment": tick.start.isoformat()})
    assert refused.json()["problems"] == [{"row": 0, "field": "campaign_id", "reason": "is required"}]

    service.scorers[served.name].log.flush()
    assert collect(served, home.platform).rows == 130
    logged = home.platform.lake.rows(names.requests(served)).to_pandas()
    pairs = list(zip(logged["key_household_id"], logged["key_campaign_id"], strict=True))
    assert [f"{household}/{campaign}" for household, campaign in pairs] == logged["key"].tolist()
    began = datetime(2017, 1, 1, tzinfo=UTC)
    outcome = read(served, home.platform, 1, 2, since=began, champion_since=began).champion.outcome
    redeems = sent().set_index(PAIR)["redeems"]
    assert sorted(outcome) == sorted(float(redeems[pair]) for pair in pairs)
    assert 0 < outcome.sum() < 130


def test_the_model_ranks_households_it_has_not_seen_in_time(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="coupon_redemption")
    assert training.state == "promoted"
    assert training.metrics["roc_auc"] > 0.75
    assert training.metrics["log_loss"] < training.metrics["baseline_log_loss"]
    assert np.isfinite(training.metrics["value_per_1000"])


def test_the_benchmark_compares_it_with_simple_rules(home: Home) -> None:
    (training,) = home.platform.ledger.all(Training, pipeline="coupon_redemption")
    found = compared(home.pipeline, training, home.platform, redemption).figures
    aucs = {who: figures["ROC AUC"] for who, figures in found.items()}
    assert aucs["model"] == training.metrics["roc_auc"] == max(aucs.values())
    assert all(0.5 < auc < 0.95 for auc in aucs.values())


def test_an_experiment_is_planned_for_households_and_what_they_spent_before(home: Home) -> None:
    on_time = Platform(home.platform.settings, clock=SetClock(datetime(2017, 12, 29, 12, tzinfo=UTC)))
    plan = plan_for(home.pipeline, Wanted("spent", difference=80), ["fallback"], on_time, periods=1)
    written_to = (pairs := sent())[pairs["start_date"] == pd.Timestamp(STARTED)]["household_id"].unique()
    bought = raw("transactions")
    inside = bought[bought["transaction_timestamp"].between("2017-11-15 05:00", "2017-12-13 04:59:59")]  # midnight in New York
    spent = inside.groupby("household_id")["sales_value"].sum().reindex(written_to, fill_value=0.0)
    assert plan.usual.units == len(written_to)
    assert plan.usual.mean == pytest.approx(spent.mean())
    assert plan.usual.sd == pytest.approx(spent.std(ddof=1))
    assert 0 < plan.usual.explained < 1
