"""Each place of a search's budget is used once, whoever claims it and whatever is lost: in a folder, and in a bucket."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform.object_storage.addresses import place_at
from mlprod_tasks.platform.object_storage.client import store
from mlprod_tasks.platform.object_storage.shared_records import RecordsInBucket
from mlprod_tasks.platform.shared_records import RecordsInFolder
from mlprod_tasks.training.search_study import LEAST_TO_COMPARE, seed_of
from mlprod_tasks.training.search_trials import TIMES_LOST, Trials

SPACE = {"x": ml.Between(0.0, 1.0), "way": ml.OneOf(("a", "b"))}


def trials_in(records, trials=3, worker=0, minutes=None, seed=0, names=("one", "two")):
    return Trials(
        records,
        "key",
        ml.Search(trials=trials, minutes=minutes),
        dict.fromkeys(names, SPACE),
        {name: {"x": 0.5, "way": "b"} for name in names},
        seed,
        worker,
    )


def in_folder(path, **given):
    return trials_in(RecordsInFolder(path), **given)


@pytest.fixture(params=["folder", "bucket"])
def seen_by(request, tmp_path):
    """Make the trials as one worker sees them, a process of its own each: the workers share a folder, or a bucket."""
    if request.param == "folder":
        return partial(in_folder, tmp_path)
    bucket = request.getfixturevalue("bucket")
    place = place_at(bucket.url, bucket.connection())
    return lambda **given: trials_in(RecordsInBucket(place, store(place), "search"), **given)


def test_a_trial_of_a_worker_that_lives_is_never_given_away_and_one_of_a_dead_one_is(seen_by):
    a, b = seen_by(worker=0), seen_by(worker=1)
    with b.at_work():
        with a.at_work():
            held = a.claim()
            assert (held.candidate, held.place) == ("one", 0)
            taken = [b.claim() for _ in range(5)]
            assert (held.candidate, held.place) not in [(claim.candidate, claim.place) for claim in taken]
            assert b.claim() is None
            assert not b.over()
        again = b.claim()
        assert (again.candidate, again.place, again.parameters) == ("one", 0, held.parameters)
        for claim in (*taken, again):
            b.tell(claim, "complete", 0.5)
        assert b.claim() is None
        assert b.over()
    assert [(one.candidate, one.place) for one in b.ended()] == [(name, place) for name in ("one", "two") for place in range(3)]
    assert seen_by().ended() == b.ended()


def test_workers_that_claim_at_the_same_moment_get_different_places(seen_by):
    at_once = threading.Barrier(3)

    def work(worker):
        trials = seen_by(worker=worker, trials=12, names=("one",))
        with trials.at_work():
            at_once.wait(20)
            claim = trials.claim()
            at_once.wait(20)  # so that each makes one
            while claim is not None:
                trials.tell(claim, "complete", claim.parameters["x"])
                claim = trials.claim()
        return trials

    with ThreadPoolExecutor(3) as pool:
        made = [trials.ended() for trials in list(pool.map(work, range(3)))]
    assert [one.place for one in made[0]] == list(range(12))
    assert made[0] == made[1] == made[2]
    assert {one.worker for one in made[0]} == {0, 1, 2}
    assert len({one.parameters["x"] for one in made[0]}) == 12


def test_a_trial_that_kills_every_worker_is_given_up(seen_by):
    for _ in range(TIMES_LOST):
        dying = seen_by(trials=1)
        with dying.at_work():
            dying.claim()
    last = seen_by(trials=1)
    with last.at_work():
        assert last.claim().candidate == "two"
        assert last.claim() is None


def test_of_a_trial_that_was_made_twice_the_first_end_counts(seen_by):
    """As when a worker cannot be seen for some minutes, but works on."""
    a, b = (seen_by(worker=worker, trials=1, names=("one",)) for worker in (0, 1))
    with b.at_work():
        with a.at_work():
            first = a.claim()
        second = b.claim()
        assert (second.place, second.attempt) == (0, 1)
        b.tell(second, "complete", 0.25)
        a.tell(first, "complete", 0.75)
        assert [(one.loss, one.worker) for one in b.ended()] == [(0.25, 1)]
        assert a.ended() == b.ended()
        assert b.over()


def test_a_trial_that_ends_while_another_worker_looks_is_not_taken_to_be_lost(seen_by, monkeypatch):
    a, b = (seen_by(worker=worker, trials=1, names=("one",)) for worker in (0, 1))
    living = b.records.living
    with b.at_work(), ExitStack() as of_a:
        of_a.enter_context(a.at_work())
        claim = a.claim()

        def end_before_it_is_asked():
            a.tell(claim, "complete", 0.5)
            of_a.close()
            return living()

        monkeypatch.setattr(b.records, "living", end_before_it_is_asked)
        assert b.claim() is None
    assert [name for name in b.records.read() if name.endswith(".claim")] == ["one/0-0.claim"]


def test_a_trial_is_compared_with_those_of_other_workers(seen_by):
    a, b = (seen_by(worker=worker, trials=9, names=("one",)) for worker in (0, 1))
    with a.at_work(), b.at_work():
        under_way = b.claim()
        for i in range(LEAST_TO_COMPARE):
            claim = a.claim()
            claim.values[4] = 0.1 * (i + 1)
            under_way.values[4] = 0.35
            assert not b.is_worse_than_median(under_way), "there are too few to compare with"
            a.tell(claim, "complete", 0.1)
        assert b.is_worse_than_median(under_way)
        under_way.values[4] = 0.25
        assert not b.is_worse_than_median(under_way)
        under_way.values[8] = 0.9
        assert not b.is_worse_than_median(under_way), "no other trial came as far"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["claim", "claim", "tell", "die"])), max_size=25))
def test_whatever_workers_do_each_place_is_made_once(tmp_path_factory, acts):
    path = tmp_path_factory.mktemp("study")
    with ExitStack() as stack:
        alive = {}
        for worker, act in [*acts, *[(9, "claim"), (9, "tell")] * 6]:
            if worker == 9 and 0 in alive:  # at last all others die, and one makes the rest
                for other in (0, 1, 2):
                    if other in alive:
                        alive.pop(other)[1].close()
            if worker not in alive:
                trials, life = in_folder(path, trials=2, worker=worker), stack.enter_context(ExitStack())
                life.enter_context(trials.at_work())
                alive[worker] = (trials, life, [])
            trials, life, claims = alive[worker]
            if act == "claim" and (claim := trials.claim()) is not None:
                claims.append(claim)
            if act == "tell" and claims:
                trials.tell(claims.pop(), "complete", 0.5)
            if act == "die":
                alive.pop(worker)[1].close()
            made = [(one.candidate, one.place) for one in trials.ended()]
            assert len(set(made)) == len(made)
            assert all(place < 2 for _, place in made)


def test_what_is_tried_follows_from_the_seed_and_is_what_optuna_asks_for(seen_by, tmp_path):
    """Three trials are always under way: the sampler keeps away from these, too."""
    distributions = {"x": FloatDistribution(0.0, 1.0), "way": CategoricalDistribution(["'a'", "'b'"])}

    def loss_of(x, way):
        return abs(x - 0.3) + 0.1 * (way in ("b", "'b'"))

    def tried(trials):
        claims = []
        with trials.at_work():
            while (claim := trials.claim()) is not None:
                claims.append(claim)
                if (i := len(claims) - 4) >= 0:
                    trials.tell(claims[i], "pruned" if i % 5 == 4 else "complete", loss_of(**claims[i].parameters))
        return [claim.parameters for claim in claims]

    def asked(seed):
        study, made = optuna.create_study(), []
        study.enqueue_trial({"x": 0.5, "way": "'b'"})
        for place in range(20):
            study.sampler = optuna.samplers.TPESampler(seed=seed_of(seed, "one", place))
            made.append(study.ask(distributions))
            if (i := place - 3) >= 0:
                state = TrialState.PRUNED if i % 5 == 4 else TrialState.COMPLETE
                study.tell(made[i], loss_of(**made[i].params) if state == TrialState.COMPLETE else None, state)
        return [{"x": trial.params["x"], "way": trial.params["way"].strip("'")} for trial in made]

    here = tried(seen_by(trials=20, seed=1, names=("one",)))
    assert here == asked(1)
    other = tried(in_folder(tmp_path / "other", trials=20, seed=2, names=("one",)))
    assert here[0] == other[0] == {"x": 0.5, "way": "b"}
    assert [one["x"] for one in here[1:]] != [one["x"] for one in other[1:]]


def test_the_minutes_are_those_in_which_somebody_searched(seen_by, monkeypatch):
    trials = seen_by(trials=None, minutes=1.0)

    def at(seconds):
        monkeypatch.setattr(trials.records, "now", lambda: seconds)
        return trials

    with trials.at_work():
        first, second = at(1000.0).claim(), at(1005.0).claim()
        at(1010.0).tell(first, "complete", 0.5)  # 15 s of two at once, and 7 s much later
        at(1015.0).tell(second, "complete", 0.5)
        third = at(5000.0).claim()
        assert at(5003.0).seconds_left() == pytest.approx(60 - 15 - 3)
        at(5007.0).tell(third, "complete", 0.5)
        assert at(6000.0).seconds_left() == pytest.approx(60 - 22)


def test_a_declared_value_that_is_equal_to_a_choice_is_that_choice(tmp_path):
    search, spaces = ml.Search(trials=1), {"one": {"lambda_l2": ml.OneOf((1.0, 2.0))}}
    trials = Trials(RecordsInFolder(tmp_path), "key", search, spaces, {"one": {"lambda_l2": 1}}, 0)
    with trials.at_work():
        trials.tell(trials.claim(), "complete", 0.5)
    assert repr(trials.ended()[0].parameters) == "{'lambda_l2': 1.0}"
