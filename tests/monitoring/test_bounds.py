"""The bounds in force: declared, learned, or set by a person."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.reference_profile import ReferenceHistory, ReferenceProfile
from mlprod_tasks.monitoring.bounds import (
    Bound,
    Bounds,
    CannotBeBound,
    bounds_in_force,
    clear_bound,
    edited,
    in_force,
    set_bound,
)
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Intervention, Measurement
from tests.support import monitored_shop as monitored
from tests.support.clock import SetClock

DAY = timedelta(days=1)
T = monitored.FIRST
LEARNED = ml.Learned()


def pipeline_with(*watches: ml.Watch, **others: Any) -> ml.Pipeline:
    return replace(monitored.pipeline, watches=watches, rules=(), **others)


def profile_with(**values: list[float | None]) -> ReferenceProfile:
    """The shop's profile with a history of 28 ticks; 'feature_psi__price' stands for 'feature_psi/price'."""
    days = tuple(str(date(2024, 1, 1) + n * DAY) for n in range(28))
    return replace(
        monitored.reference(),
        history=ReferenceHistory(days, {key.replace("__", "/"): tuple(of) for key, of in values.items()}),
    )


def quiet(mean: float, sd: float, seed: int = 0) -> list[float | None]:
    return list(np.random.default_rng(seed).normal(mean, sd, 28))


def bound_of(watch: ml.Watch, profile: ReferenceProfile | None, slice: str = "", **others: Any) -> Bound:
    return Bounds(pipeline_with(watch), T, profile).of(watch.what, slice, **others)


def test_a_fixed_bound_is_as_declared_whatever_the_reference_reaches() -> None:
    history = profile_with(roc_auc=quiet(0.55, 0.05), feature_psi__price=quiet(0.5, 0.01))
    assert bound_of(ml.Watch("roc_auc", low=0.6), history) == Bound("roc_auc", "", 0.6, None, "declared")
    assert bound_of(ml.Watch("feature_psi", high=0.25), history, "price", quiet=9.0).high == 0.25


def test_a_learned_bound_is_what_the_references_ticks_stay_within() -> None:
    values = quiet(0.7, 0.02)
    bound = bound_of(ml.Watch("roc_auc", learned=LEARNED), profile_with(roc_auc=values))
    assert (bound.origin, bound.high) == ("learned", None)
    assert 0.5 < bound.low <= min(values)


def test_with_a_fixed_and_a_learned_bound_a_value_must_be_outside_of_both() -> None:
    low, wide = ml.Watch("roc_auc", low=0.6, learned=LEARNED), quiet(0.6, 0.03)
    assert bound_of(low, profile_with(roc_auc=wide)).low < 0.6
    assert bound_of(low, profile_with(roc_auc=wide)).origin == "declared and learned"
    assert bound_of(low, profile_with(roc_auc=quiet(0.8, 0.001))) == Bound("roc_auc", "", 0.6, None, "declared")


def test_a_side_without_a_fixed_bound_does_not_matter_beside_one_with() -> None:
    bound = bound_of(ml.Watch("label_rate", high=1.5, learned=LEARNED), profile_with(label_rate=quiet(1, 0.01)))
    assert (bound.low, bound.high) == (None, 1.5)


def test_more_features_watched_give_each_a_wider_bound() -> None:
    watch = ml.Watch("feature_psi", learned=LEARNED)
    one = profile_with(feature_psi__price=quiet(0.05, 0.005))
    three = profile_with(**{f"feature_psi__{name}": quiet(0.05, 0.005) for name in ("price", "place", "items")})
    assert bound_of(watch, one, "price").high < bound_of(watch, three, "price").high
    # Only those that are held to the bound count: items is not important.
    only = ml.Watch("feature_psi", learned=LEARNED, only_important=True)
    assert bound_of(only, three, "price").high < bound_of(watch, three, "price").high


def test_a_profile_without_history_is_held_to_fixed_bounds_raised_to_what_its_reference_reached() -> None:
    watch = ml.Watch("feature_psi", high=0.25, learned=LEARNED)
    old = replace(monitored.reference(), history=None)
    assert bound_of(watch, old, "price", quiet=0.4) == Bound("feature_psi", "price", None, 0.4, "what the reference reaches")
    assert bound_of(watch, old, "price", quiet=0.1).high == 0.25
    nothing = bound_of(ml.Watch("roc_auc", learned=LEARNED), old)
    assert (nothing.low, nothing.high, nothing.broken_by(0.0)) == (None, None, False)


def test_what_the_reference_cannot_know_is_learned_from_a_past_of_its_own() -> None:
    watch = ml.Watch("duration", learned=LEARNED)
    past = profile_with(duration__score=[10.0 + n % 3 for n in range(28)]).history
    bound = Bounds(pipeline_with(watch), T, profile_with(roc_auc=quiet(0.7, 0.1)), {}, past).of("duration", "score")
    assert bound.origin == "learned"
    assert 12 < bound.high < 30


def test_unwatched_values_have_no_bound() -> None:
    assert bound_of(ml.Watch("roc_auc", low=0.6), None, watched=False) == Bound("roc_auc", "")
    assert Bounds(pipeline_with(ml.Watch("roc_auc", low=0.6)), T).of("volume") == Bound("volume", "")


def test_a_quiet_month_of_many_features_raises_at_most_the_declared_false_alarms() -> None:
    """300 months of 40 features that resemble each other within a tick, and of two metrics; chance alone at work."""
    random, days, alarms, months = np.random.default_rng(0), 30, 0, 300
    names = [f"f{n}" for n in range(40)]
    rules = (
        ml.Rule("inputs", "feature_psi", "alert"),
        ml.Rule("auc", "roc_auc", "alert"),
        ml.Rule("off", "calibration", "alert"),
    )
    watches = tuple(ml.Watch(rule.watch, learned=LEARNED) for rule in rules)
    pipeline = replace(monitored.pipeline, watches=watches, rules=rules, monitoring=ml.Monitoring(false_alarms=0.5))
    for _ in range(months):
        shared = random.normal(0, 1, (28 + days, 1))
        psi = (0.2 + 0.03 * (0.5 * shared + random.normal(0, 1, (28 + days, 40)))) ** 2
        metrics = {"roc_auc": random.normal(0.7, 0.03, 28 + days), "calibration": random.normal(0, 0.02, 28 + days)}
        values = {f"feature_psi__{name}": list(psi[:28, at]) for at, name in enumerate(names)}
        profile = profile_with(**values, **{what: list(of[:28]) for what, of in metrics.items()})
        bounds = Bounds(pipeline, T, profile)
        held = {f"feature_psi/{name}": psi[28:, at] for at, name in enumerate(names)} | {k: v[28:] for k, v in metrics.items()}
        for key, of in held.items():
            what, _, slice = key.partition("/")
            bound = bounds.of(what, slice)
            alarms += sum(bound.broken_by(value) for value in of)
    assert 0.1 < alarms / months < 0.6, "declared: 0.5; not so wide either that nothing would ever be found"


@pytest.fixture
def shop(make_shop: Callable[..., Platform]) -> Platform:
    return make_shop(clock=SetClock(monitored.NOW, step=timedelta(minutes=1)))


def test_a_persons_bound_comes_before_declared_and_learned_ones_until_it_is_cleared(shop: Platform) -> None:
    pipeline, profile = pipeline_with(ml.Watch("roc_auc", low=0.6, learned=LEARNED)), profile_with(roc_auc=quiet(0.7, 0.02))

    def low() -> float | None:
        return in_force(pipeline, T, shop, profile).of("roc_auc").low

    before = low()
    made = set_bound(pipeline, "roc_auc", "", 0.66, None, "anna", "the season", shop)
    assert (low(), made.origin, made.reason) == (0.66, "set by anna", "the season")
    set_bound(pipeline, "roc_auc", "", 0.64, None, "ben", "still too tight", shop)
    assert low() == 0.64
    ended = clear_bound(pipeline, "roc_auc", "", "anna", "over", shop)
    assert ended is not None
    assert (ended.low, low()) == (0.64, before)
    assert clear_bound(pipeline, "roc_auc", "", "anna", "again", shop) is None
    kinds = [(row.kind, row.by) for row in sorted(shop.ledger.all(Intervention), key=lambda row: row.at)]
    assert kinds == [("bound", "anna"), ("bound", "ben"), ("unbound", "anna")], "who did what stays"


def test_a_persons_bound_of_one_feature_comes_before_that_of_all_and_holds_what_was_not_watched(shop: Platform) -> None:
    pipeline = pipeline_with(ml.Watch("feature_psi", high=0.25, only_important=True))
    set_bound(pipeline, "feature_psi", "", None, 0.5, "anna", "", shop)
    set_bound(pipeline, "feature_psi", "items", None, 0.1, "anna", "", shop)
    bounds = in_force(pipeline, T, shop)
    assert bounds.of("feature_psi", "price") == Bound("feature_psi", "price", None, 0.5, "set by anna", set_by="anna")
    assert bounds.of("feature_psi", "items", watched=False).high == 0.1
    assert bounds.of("feature_psi", "place", watched=False).high is None
    assert {bound.subject: bound.high for bound in bounds.all()} == {"feature_psi": 0.5, "feature_psi/items": 0.1}


def test_a_bound_holds_from_the_newest_measured_tick_on_and_leaves_the_ticks_before_as_they_were(shop: Platform) -> None:
    for day in (T, T + DAY, T + 2 * DAY):
        monitored.score_tick(shop, monitored.scored(day))
        measure(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop)
    made = set_bound(monitored.pipeline, "volume", "", 1.1, None, "anna", "more orders are due", shop)
    assert made.since == T + 2 * DAY
    for day in (T + 2 * DAY, T, T + DAY):  # in whatever order they are measured again
        measure(monitored.pipeline, monitored.pipeline.schedule.tick(day), shop)
    rows = shop.ledger.all(Measurement, what="volume")
    assert [(row.low, row.breached) for row in rows] == [(0.5, False), (0.5, False), (1.1, True)]
    assert "below the bound 1.1 set by anna" in rows[-1].sentence


def test_bounds_of_one_use_case_are_not_those_of_another(shop: Platform) -> None:
    set_bound(replace(monitored.pipeline, name="elsewhere"), "roc_auc", "", 0.9, None, "anna", "", shop)
    assert edited(monitored.pipeline, shop) == {}


@pytest.mark.parametrize(
    ("what", "slice", "low", "high", "by", "said"),
    [
        ("auc", "", 0.5, None, "anna", "'auc' is not a measurement; they are volume, freshness"),
        ("roc_auc", "price", 0.5, None, "anna", "roc_auc has no slices"),
        ("feature_js", "", None, 0.3, "anna", "feature_js has no Watch; name the feature to bound"),
        ("feature_psi", "colour", None, 0.5, "anna", "'colour' is not a feature; they are price, place, items"),
        ("roc_auc", "", None, None, "anna", "give low, high or both"),
        ("roc_auc", "", 0.7, 0.6, "anna", "low 0.7 is not below high 0.6"),
        ("roc_auc", "", float("nan"), None, "anna", "nan is not a finite number"),
        ("roc_auc", "", 0.7, None, " ", "say who"),
    ],
)
def test_what_cannot_be_a_bound_is_refused_and_leaves_nothing(
    shop: Platform, what: str, slice: str, low: float | None, high: float | None, by: str, said: str
) -> None:
    with pytest.raises(CannotBeBound, match=said):
        set_bound(monitored.pipeline, what, slice, low, high, by, "", shop)
    assert shop.ledger.all(Intervention) == []


def test_the_sentence_says_whose_bound_was_passed() -> None:
    watch = ml.Watch("roc_auc", low=0.5, learned=LEARNED)
    pipeline, tick = pipeline_with(watch), monitored.pipeline.schedule.tick(T)
    at = datetime(2024, 3, 20, tzinfo=UTC)

    def said(bounds: Bounds, value: float) -> str:
        return judged(Reading("roc_auc", value, 400), pipeline, tick, 3, at, bounds).sentence

    learnt = Bounds(pipeline, T, profile_with(roc_auc=quiet(0.5, 0.02)))
    assert "0.3, below the bound 0.4" in said(learnt, 0.3)
    assert "learned from the reference's own ticks; n = 400" in said(learnt, 0.3)
    assert said(Bounds(pipeline, T), 0.3) == f"{T}: realised ROC AUC is 0.3, below the bound 0.5; n = 400"
    assert said(Bounds(pipeline, T), 0.6) == f"{T}: realised ROC AUC is 0.6, within the bound 0.5; n = 400"


def test_a_champions_bounds_are_listed_feature_by_feature(shop: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = pipeline_with(ml.Watch("feature_psi", high=0.25, learned=LEARNED), ml.Watch("fallback_share", high=0.0))
    profile = profile_with(feature_psi__price=quiet(0.5, 0.01), feature_psi__place=quiet(0.01, 0.001))
    shelf = shop.registry
    shelf.profiles[monitored.VERSION] = profile.as_json()  # type: ignore[attr-defined]
    monkeypatch.setattr(shelf, "champion", lambda _: type("Ref", (), {"version": monitored.VERSION})(), raising=False)
    found = {bound.subject: bound for bound in bounds_in_force(pipeline, shop)}
    assert set(found) == {"feature_psi/price", "feature_psi/place", "fallback_share"}
    assert found["feature_psi/price"].high > 0.5
    assert found["feature_psi/place"].high == 0.25
