"""The table of what can be watched."""

from dataclasses import replace
from typing import get_args

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.checks.monitoring import BY_FEATURE
from mlprod_tasks.declaration.monitoring import Watched
from mlprod_tasks.declaration.standard import REQUEST_RULES, REQUEST_WATCHES, RULES, WATCHES
from mlprod_tasks.monitoring import learned
from mlprod_tasks.monitoring.kinds import KINDS, Kind, of_family
from tests.support import monitored_shop as monitored


def test_what_can_be_declared_is_what_is_told_in_words_in_the_same_order() -> None:
    assert tuple(KINDS) == get_args(Watched)


def test_every_kind_is_of_one_family() -> None:
    assert sorted(of_family("input", "outcome", "health", "check", "request")) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.what)
def test_words_name_the_slice_where_there_is_one_and_leave_nothing_unsaid(kind: Kind) -> None:
    said = kind.words.format(slice="SLICE", kpi=monitored.pipeline.kpi.name)
    assert "{" not in said
    assert ("SLICE" in said) == bool(kind.by)


def test_what_is_watched_by_feature_is_what_a_declaration_may_restrict_to_important_ones() -> None:
    assert {what for what, kind in KINDS.items() if kind.by == "feature"} == set(BY_FEATURE)


def test_scales_and_ranges_of_learned_bounds_are_of_kinds_that_there_are() -> None:
    for names in (learned.ROOT, learned.LOG, learned.BELOW_ZERO, learned.SHARES):
        assert names <= set(KINDS)
    assert not learned.ROOT & learned.LOG
    assert not learned.BELOW_ZERO & (learned.ROOT | learned.LOG), "neither scale knows what lies below zero"


def test_the_standard_rules_rest_on_the_standard_watches_and_every_watch_has_a_rule() -> None:
    assert {rule.watch for rule in RULES} == {watch.what for watch in WATCHES}
    assert {rule.watch for rule in REQUEST_RULES} == {watch.what for watch in REQUEST_WATCHES}


def test_only_a_use_case_that_answers_requests_watches_them_and_what_it_declares_itself_stays() -> None:
    silent = replace(monitored.pipeline, watches=WATCHES, rules=RULES, serving=None)
    assert (silent.watches, silent.rules) == (WATCHES, RULES)
    served = replace(silent, serving=ml.Serving())
    assert (served.watches, served.rules) == ((*WATCHES, *REQUEST_WATCHES), (*RULES, *REQUEST_RULES))
    asked_about = {watch.what for watch in REQUEST_WATCHES if KINDS[watch.what].family != "request"}
    assert asked_about == {"online_skew"}, "all of them are about requests, but for the nightly comparison with batch"
    assert "request" not in {KINDS[watch.what].family for watch in WATCHES}
    own = (ml.Watch("online_rows", low=100.0),)
    assert replace(silent, serving=ml.Serving(), watches=own, rules=()).watches == own
