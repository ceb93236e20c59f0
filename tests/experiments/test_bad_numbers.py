"""Numbers of metrics that say nothing: each refuses a plan, or voids a verdict, with its reason."""

import re
from dataclasses import replace

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.plan import CannotPlan, Wanted
from mlprod_tasks.experiments.read_out import Reading, read_out, told
from mlprod_tasks.experiments.run import plan_for
from mlprod_tasks.platform import names
from tests.support.trained_shop import Shop

WANTED = Wanted("saved", difference=1.2)
NEVER = ("champion@1.0",)
NULL = "CAST(NULL AS DOUBLE)"


def measured_by(shop: Shop, *metrics: ml.UnitMetric, guardrails: tuple[ml.Guardrail, ...] = ()) -> Shop:
    return shop.declared(experiments=replace(shop.pipeline.experiments, metrics=metrics, guardrails=guardrails))


def saved(sql: str, **more: object) -> ml.UnitMetric:
    return ml.UnitMetric("saved", sql, "what acting saved", **more)  # type: ignore[arg-type]


BAD = {
    "null": (saved(NULL), "metric 'saved' is null in all rows of"),
    "infinite": (saved("value / (amount - amount)"), "metric 'saved' is infinite or no number for"),
    "no number is not true": (
        saved("value / (amount - amount)", of="proportion"), "metric 'saved' is infinite or no number for",
    ),
    "alike": (saved("1"), "nothing can differ|no difference to test"),
    "per nothing": (saved("value", of="ratio", per="0"), "denominator is 0 for all|no difference to test"),
    "per null": (saved("value", of="ratio", per=NULL), "denominator is 0 for all|no difference to test"),
    "text": (saved("order_id"), "metric 'saved' of experiments cannot be computed"),
}  # fmt: skip


def test_a_plan_by_a_number_that_says_nothing_is_refused(shop: Shop) -> None:
    for metric, why in BAD.values():
        with pytest.raises(CannotPlan, match=why):
            plan_for(measured_by(shop, metric).pipeline, WANTED, NEVER, shop.platform)


def read(shop: Shop, day: str = "2024-02-02") -> Reading:
    run = experiments.get(shop.pipeline, "never", shop.platform)
    return read_out(shop.pipeline, run, shop.tick(day), shop.platform)


@pytest.mark.parametrize("what", ["null", "no number is not true", "alike", "per nothing"])
def test_a_verdict_by_a_number_that_says_nothing_is_void(never: Shop, what: str) -> None:
    metric, why = BAD[what]
    reading = read(measured_by(never, metric))
    assert (reading.verdict, reading.final) == ("void", True)
    assert re.search(why, reading.sentence), reading.sentence


def test_a_null_that_decides_is_said_before_the_end_and_any_other_without_a_verdict(never: Shop) -> None:
    value, void = saved("value"), ml.UnitMetric("empty", NULL, "nothing")
    watched = measured_by(never, value, void, guardrails=(ml.Guardrail("empty", 1.0),))
    early = read(watched, "2024-01-29")
    assert (early.verdict, early.final) == ("void", False)
    assert "metric 'empty' is null in all rows of" in early.sentence
    beside = measured_by(never, value, void, ml.UnitMetric("one", "1", "always one"))
    reading = read(beside)
    assert reading.verdict == "worse"
    assert [re.sub(r"\d+", "n", why) for why in reading.untold] == [
        "metric 'empty' is null in all rows of n units: check its sql, and what it reads",
        "metric 'one' has no difference to test: all units are alike, or a variant has too few",
    ]
    assert Reading.from_json(reading.as_json()) == reading
    assert reading.untold[0] in told(experiments.get(never.pipeline, "never", never.platform), reading)


def test_a_variant_without_rows_voids_the_verdict(never: Shop) -> None:
    ticks = never.pipeline.schedule.range("2024-01-25", "2024-01-31")
    rows = never.platform.lake.rows(names.predictions(never.pipeline), [tick.name for tick in ticks])
    kept = rows.filter([variant == "control" for variant in rows["variant"].to_pylist()])
    never.platform.lake.replace_ticks(names.predictions(never.pipeline), ticks, kept)
    reading = read(never)
    assert reading.verdict == "void"
    assert re.search(r"have control \d+, champion@1.0 0 units", reading.sentence), reading.sentence
