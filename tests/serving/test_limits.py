"""What keeps the service on its feet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlprod_tasks.cli import serving
from mlprod_tasks.serving import run
from mlprod_tasks.serving.admission import Admission
from mlprod_tasks.serving.circuit_breaker import CircuitBreaker
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.rate_limit import TokenBucket
from tests.support.clock import SetMonotonic


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 30)), max_size=60))
def test_a_bucket_never_lets_more_through_than_its_burst_and_its_rate_times_the_time(asked: list[tuple[float, int]]) -> None:
    watch = SetMonotonic()
    bucket = TokenBucket(rate=10, burst=20, now=watch)
    taken = 0
    for pause, n in asked:
        watch.seconds += pause
        n = min(n, 20)
        if bucket.take(n) == 0.0:
            taken += n
        assert taken <= 20 + 10 * watch.seconds + 1e-6


def test_a_bucket_says_when_to_come_back_and_is_right() -> None:
    watch = SetMonotonic()
    bucket = TokenBucket(rate=10, burst=20, now=watch)
    assert bucket.take(20) == 0.0
    assert bucket.take(5) == 0.5
    watch.seconds = 0.49
    assert bucket.take(5) > 0
    watch.seconds = 0.51
    assert bucket.take(5) == 0.0


def test_more_rows_than_the_burst_wait_for_a_full_bucket_and_are_then_served() -> None:
    watch = SetMonotonic()
    bucket = TokenBucket(rate=10, burst=20, now=watch)
    assert bucket.take(1000) == 0.0
    assert bucket.take(1000) == 100.0


def test_one_request_too_many_is_refused_at_once_and_counted() -> None:
    admission = Admission(2)
    assert [admission.enter() for _ in range(3)] == [True, True, False]
    assert admission.refused == 1
    admission.leave()
    assert admission.enter()


def test_the_breaker_opens_after_failures_in_a_row_and_one_try_after_its_rest_decides() -> None:
    watch = SetMonotonic()
    breaker = CircuitBreaker(failures=3, rest=5.0, now=watch)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert not breaker.open
    breaker.failed()
    assert breaker.open
    watch.seconds = 5.0
    assert not breaker.open
    breaker.failed()
    assert breaker.open
    watch.seconds = 10.0
    breaker.succeeded()
    assert not breaker.open


def test_the_rate_of_a_key_can_be_said_when_the_service_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Limits] = []
    monkeypatch.setattr(run, "serve", lambda *_, limits, **__: told.append(limits))
    for asked in (["serve"], ["serve", "--rows-a-second", "20"]):
        assert CliRunner().invoke(serving.app, asked).exit_code == 0
    assert [(one.rows_a_second, one.burst) for one in told] == [(5_000, 10_000), (20, 40)]
    assert told[0] == Limits(), "the usual limits are those of a service that is made by hand"
    assert CliRunner().invoke(serving.app, ["serve", "--rows-a-second", "0"]).exit_code == 2


@pytest.mark.parametrize(
    ("options", "variable", "fast_path"),
    [
        ([], None, True),
        ([], "1", True),
        ([], "0", False),
        (["--no-fast-path"], None, False),
        (["--fast-path"], "0", True),
    ],
)
def test_the_fast_path_is_switched_off_by_an_option_or_a_variable(
    monkeypatch: pytest.MonkeyPatch, options: list[str], variable: str | None, fast_path: bool
) -> None:
    given: list[bool] = []
    monkeypatch.setattr(run, "serve", lambda *_, fast_path, **__: given.append(fast_path))
    environment = {} if variable is None else {"MLPROD_SERVE_FAST_PATH": variable}
    assert CliRunner().invoke(serving.app, ["serve", *options], env=environment).exit_code == 0
    assert given == [fast_path]
