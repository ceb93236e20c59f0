"""People decide what was left to them: once, by name, whoever else decides at the same moment."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from mlprod_tasks import declaration as ml
from mlprod_tasks.cli.main import app
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Review
from mlprod_tasks.platform.ledger_store import Ledger
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.scoring.review_queue import (
    AlreadyDecided,
    NoSuchReview,
    answer_of,
    ask_for,
    decide_review,
    open_reviews,
)
from tests.support.paths import FLIGHTS, REPOSITORY
from tests.support.reason_shop import REASONS

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


@pytest.fixture
def here(make_platform: Callable[..., Platform]) -> Platform:
    return make_platform()


def rows(asked: Sequence[tuple[str, int]], **changed: Any) -> pa.Table:
    """Rows of the log that are left to people: each a request and the row's place in it, a minute after the one before."""
    plain = {"key": "7/LX", "score": 0.5, "model_version": 3, "predict_at": NOON}
    made = [
        plain | {"request_id": request, "row": row, "at": NOON + timedelta(minutes=i)} | changed
        for i, (request, row) in enumerate(asked)
    ]
    moment = pa.timestamp("us", "UTC")
    kinds = {"request_id": pa.string(), "row": pa.int32(), "key": pa.string(), "score": pa.float64()}
    return pa.Table.from_pylist(
        made, pa.schema([*kinds.items(), ("model_version", pa.int32()), ("predict_at", moment), ("at", moment)])
    )


def test_what_waits_is_shown_the_oldest_first_and_no_more_than_asked_for(use_case: Pipeline, here: Platform) -> None:
    assert ask_for(use_case, rows([("z", 1), ("z", 0), ("a", 0)]), here) == 3
    assert [(one.request_id, one.row) for one in open_reviews(use_case, here)] == [("z", 1), ("z", 0), ("a", 0)]
    assert len(open_reviews(use_case, here, most=2)) == 2
    assert (first := open_reviews(use_case, here)[0]).key == "7/LX"
    assert (first.score, first.model_version, first.predict_at, first.at) == (0.5, 3, NOON, NOON)


def test_classes_are_confirmed_or_corrected_once(here: Platform) -> None:
    pipeline = replace(REASONS, label=replace(REASONS.label, classes=("late", "lost")), value=ml.ClassValue())
    asked = rows([("a", 0), ("a", 1), ("b", 0)])
    asked = asked.append_column("prediction", pa.array(["late", "late", None]))
    assert ask_for(pipeline, asked, here) == 3
    assert [one.prediction for one in open_reviews(pipeline, here)] == ["late", "late", None]
    confirmed = decide_review(pipeline, "a", 0, answer_of(pipeline, "late"), "ada", here)
    assert (confirmed.decided_class, confirmed.decision) == ("late", True)
    with pytest.raises(AlreadyDecided, match="ada has already decided row 0 of request 'a': late"):
        decide_review(pipeline, "a", 0, "lost", "bob", here)
    corrected = decide_review(pipeline, "b", 0, "lost", "ada", here)
    assert (corrected.decided_class, corrected.decision) == ("lost", False), "nothing was predicted that could be right"
    for wrong in (True, "", "x", "Late"):
        with pytest.raises(ValueError, match="is no"):
            decide_review(pipeline, "a", 1, wrong, "ada", here)
    for wrong in ("", "x" * 201, "a\nb"):
        with pytest.raises(ValueError, match="is no"):
            decide_review(REASONS, "a", 1, wrong, "ada", here)
    assert decide_review(pipeline, "a", 1, "lost", "ada", here).decision is False
    assert open_reviews(pipeline, here) == []


def test_a_class_is_no_answer_to_a_yes_or_no(use_case: Pipeline, here: Platform) -> None:
    ask_for(use_case, rows([("a", 0)]), here)
    for decide in (lambda: decide_review(use_case, "a", 0, "late", "ada", here), lambda: answer_of(use_case, "late")):
        with pytest.raises(ValueError, match="late"):
            decide()
    assert answer_of(use_case, "no") is False
    assert len(open_reviews(use_case, here)) == 1


def test_a_decision_says_who_made_it_when_and_why_and_then_nothing_waits(use_case: Pipeline, here: Platform) -> None:
    ask_for(use_case, rows([("a", 0), ("a", 1)]), here)
    before = datetime.now(UTC)
    made = decide_review(use_case, "a", 1, False, " ada ", here, "known customer")
    assert (made.decision, made.by, made.reason) == (False, "ada", "known customer")
    assert made.decided_at is not None
    assert before <= made.decided_at <= datetime.now(UTC)
    assert [one.row for one in open_reviews(use_case, here)] == [0]


def test_what_is_decided_stays(use_case: Pipeline, here: Platform) -> None:
    ask_for(use_case, rows([("a", 0)]), here)
    decide_review(use_case, "a", 0, False, "ada", here)
    with pytest.raises(AlreadyDecided, match="ada has already decided row 0 of request 'a': no"):
        decide_review(use_case, "a", 0, True, "bob", here)
    assert ask_for(use_case, rows([("a", 0), ("b", 0)], score=0.9), here) == 1
    kept = here.ledger.get(Review, use_case.name, "a", 0)
    assert kept is not None
    assert (kept.decision, kept.by, kept.score) == (False, "ada", 0.5)


def test_nobody_decides_what_nobody_was_asked_and_nobody_decides_without_a_name(use_case: Pipeline, here: Platform) -> None:
    ask_for(use_case, rows([("a", 0)]), here)
    with pytest.raises(NoSuchReview, match="row 1 of request 'a'"):
        decide_review(use_case, "a", 1, True, "ada", here)
    with pytest.raises(ValueError, match="who decides"):
        decide_review(use_case, "a", 0, True, "  ", here)
    assert len(open_reviews(use_case, here)) == 1


def test_of_ten_who_decide_at_once_one_does(use_case: Pipeline, here: Platform) -> None:
    ask_for(use_case, rows([("a", 0)]), here)

    def decided(i: int) -> bool:
        try:
            decide_review(use_case, "a", 0, i % 2 == 0, f"person {i}", here)
        except AlreadyDecided:
            return False
        return True

    with ThreadPoolExecutor(10) as people:
        done = list(people.map(decided, range(10)))
    assert sum(done) == 1
    kept = here.ledger.get(Review, use_case.name, "a", 0)
    assert kept is not None
    assert kept.by == f"person {done.index(True)}"


def test_rows_that_come_twice_at_once_are_asked_for_once_also_on_postgres(use_case: Pipeline, postgres_database: str) -> None:
    class Apart:
        ledger = Ledger(postgres_database)

    Apart.ledger.migrate()
    asked = rows([(f"request {i}", i % 3) for i in range(900)])
    with ThreadPoolExecutor(4) as processes:
        added = list(processes.map(lambda _: ask_for(use_case, asked, Apart), range(4)))  # type: ignore[arg-type]
    assert sum(added) == 900
    assert len(Apart.ledger.all(Review)) == 900


def test_people_list_and_decide_from_a_shell(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MLPROD_HOME": str(tmp_path / "var"), "MLPROD_PIPELINES": str(REPOSITORY / "pipelines")}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    from mlprod_tasks.declaration import load

    flights = load(FLIGHTS)
    shell = CliRunner()
    assert "nothing waits" in shell.invoke(app, ["reviews", "list", "flight_delays"]).output
    here = Platform(from_environment(given))
    ask_for(flights, rows([("r-1", 4)]), here)
    listed = shell.invoke(app, ["reviews", "list", "flight_delays"]).output
    assert listed == "r-1 4  7/LX  score 0.5000, version 3, since 2024-05-06 12:00 UTC\n"
    decide = ["reviews", "decide", "flight_delays", "r-1", "4"]
    done = shell.invoke(app, [*decide, "yes", "--by", "ada", "--reason", "seen it"])
    assert (done.exit_code, done.output) == (0, "flight_delays: 7/LX: yes, by ada\n")
    assert shell.invoke(app, [*decide, "maybe", "--by", "ada"]).exit_code == 2
    assert isinstance(shell.invoke(app, [*decide, "no", "--by", "bob"]).exception, AlreadyDecided)
    kept = here.ledger.get(Review, "flight_delays", "r-1", 4)
    assert kept is not None
    assert (kept.decision, kept.by, kept.reason) == (True, "ada", "seen it")
    assert shell.invoke(app, ["online", "collect", "flight_delays"]).output.startswith("flight_delays: 0 rows")
