"""The ledger on SQLite and on PostgreSQL: what is written again is replaced, and processes do not disturb each other."""

import importlib
import multiprocessing
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from mlprod_tasks.platform.ledger import Audit, Decision, GateResult, Mail, MailAbout, Measurement, Row, Training, newest
from mlprod_tasks.platform.ledger_store import Ledger, LedgerUnreachable
from tests.support.paths import REPOSITORY

DAY = date(2013, 6, 1)
NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_database"))
    return f"sqlite:///{tmp_path / 'deep' / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Ledger:
    ledger = Ledger(url)
    ledger.migrate()
    return ledger


def measured(what: str = "volume", tick: date = DAY, value: float | None = 1.0, **more: object) -> Measurement:
    given = {"n": 10, "breached": False, "model_version": 1, "at": NOON} | more
    return Measurement(pipeline="p", tick=tick, what=what, value=value, **given)


def mail(key: str = "k", subject: str = "s") -> Mail:
    return Mail(key=key, pipeline="p", kind="failure", about=MailAbout.FAILURE, subject=subject, recipients="a@x.org", at=NOON)


def test_an_entry_written_again_is_replaced(ledger: Ledger) -> None:
    ledger.put(measured(value=1.0, breached=True, low=0.5, sentence="first"))
    ledger.put(measured(value=2.0))
    (found,) = ledger.all(Measurement)
    assert (found.value, found.breached, found.low, found.sentence) == (2.0, False, None, "")


def test_entries_of_several_kinds_are_written_at_once_and_the_last_of_a_key_stays(ledger: Ledger) -> None:
    ledger.put(measured("kpi", value=3.0, low=0.5, cause="shift"))
    ledger.put(measured("auc", value=1.0, low=0.1), mail(), measured("kpi", value=None), measured("auc", value=2.0, high=0.9))
    kept = [(one.what, one.value, one.low, one.high, one.cause) for one in ledger.all(Measurement)]
    assert kept == [("auc", 2.0, None, 0.9, ""), ("kpi", None, None, None, "")]
    assert [one.key for one in ledger.all(Mail)] == ["k"]


def _killed_while_it_writes(ledger: Ledger, entry: Mail) -> None:
    with ledger.session() as session:
        session.add(entry)
        session.flush()
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def test_a_server_that_dies_in_the_middle_is_told_as_the_ledger_and_keeps_what_was_written(postgres_database: str) -> None:
    ledger = Ledger(postgres_database)
    ledger.migrate()
    ledger.put(mail("before"))
    with pytest.raises(LedgerUnreachable, match=r"the ledger, postgresql.* does not answer: .+MLPROD_LEDGER_URL") as told:
        _killed_while_it_writes(ledger, mail("of it", subject="Zoë"))
    assert "Zoë" not in str(told.value)
    assert told.value.__suppress_context__  # a log does not show the driver's error, which may quote a row
    ledger.put(mail("after"))
    assert [one.key for one in ledger.all(Mail)] == ["after", "before"]


def test_a_file_that_is_no_database_is_told_as_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("a page of text" * 1_000)
    with pytest.raises(LedgerUnreachable, match=r"ledger\.db, does not answer: file is not a database"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").migrate()


def test_an_error_about_an_entry_does_not_show_it(ledger: Ledger) -> None:
    incomplete = mail(subject="Zoë")
    incomplete.recipients = None  # type: ignore[assignment]
    with pytest.raises(IntegrityError) as told:
        ledger.put(incomplete)
    assert "Zoë" not in str(told.value).partition("DETAIL")[0]


def test_entries_with_other_keys_stand_beside_each_other(ledger: Ledger) -> None:
    ledger.put(measured(), measured("kpi"), measured(tick=DAY + timedelta(days=1)), measured(slice="dest"))
    ledger.put(measured("kpi", value=5.0))
    assert len(ledger.all(Measurement)) == 4
    found = ledger.get(Measurement, "p", DAY, "kpi", "")
    assert found is not None
    assert found.value == 5.0


def test_what_is_not_there_is_none(ledger: Ledger) -> None:
    assert ledger.get(Mail, "k") is None
    assert ledger.get(Measurement, "p", DAY, "kpi", "") is None
    assert ledger.all(Mail, pipeline="p") == []


def test_entries_come_in_the_order_of_their_keys_and_can_be_narrowed_down(ledger: Ledger) -> None:
    days = [DAY + timedelta(days=n) for n in (2, 0, 1)]
    ledger.put(*(measured(tick=day) for day in days), *(measured("kpi", tick=day) for day in days))
    found = ledger.all(Measurement, Measurement.tick >= days[2], what="kpi")
    assert [entry.tick for entry in found] == [days[2], days[0]]


def test_a_put_of_several_is_all_or_nothing(ledger: Ledger) -> None:
    naive = measured("kpi", at=datetime(2013, 6, 1))  # noqa: DTZ001
    with pytest.raises(Exception, match="has no time zone"):
        ledger.put(measured(), naive)
    assert ledger.all(Measurement) == []


def test_put_instead_replaces_what_matches_and_nothing_else(ledger: Ledger) -> None:
    tomorrow = DAY + timedelta(days=1)
    ledger.put(measured("old"), measured("older"), measured("old", tick=tomorrow))
    ledger.put_instead(Measurement, [measured("new")], pipeline="p", tick=DAY)
    assert [(entry.tick, entry.what) for entry in ledger.all(Measurement)] == [(DAY, "new"), (tomorrow, "old")]
    ledger.put_instead(Measurement, [], pipeline="p", tick=DAY)
    assert [entry.tick for entry in ledger.all(Measurement)] == [tomorrow]


def test_put_instead_that_fails_leaves_what_was_there(ledger: Ledger) -> None:
    ledger.put(measured("old"))
    with pytest.raises(Exception, match="has no time zone"):
        ledger.put_instead(
            Measurement,
            [measured("new"), measured("newer", at=datetime(2013, 6, 1))],  # noqa: DTZ001
            pipeline="p",
            tick=DAY,
        )
    assert [entry.what for entry in ledger.all(Measurement)] == ["old"]


def test_add_once_keeps_the_first(ledger: Ledger) -> None:
    assert ledger.add_once(mail(subject="first")) is True
    assert ledger.add_once(mail(subject="second")) is False
    assert [entry.subject for entry in ledger.all(Mail)] == ["first"]


def test_a_session_that_raises_writes_nothing(ledger: Ledger) -> None:
    def interrupted() -> None:
        with ledger.session() as session:
            session.add(mail())
            session.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ledger.all(Mail) == []


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        datetime(2013, 3, 10, 3, 30, tzinfo=ZoneInfo("America/New_York")),
        datetime(2013, 11, 3, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York")),
        datetime(2013, 6, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    ],
    ids=["UTC", "after a skipped hour", "the second of a doubled hour", "microseconds east"],
)
def test_a_moment_comes_back_as_the_same_moment_in_utc(ledger: Ledger, moment: datetime) -> None:
    ledger.put(measured(at=moment))
    (found,) = ledger.all(Measurement)
    assert found.at == moment.astimezone(UTC)
    assert found.at.tzinfo is UTC


def test_a_moment_without_a_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="2013-06-01 00:00:00 has no time zone"):
        ledger.put(measured(at=datetime(2013, 6, 1)))  # noqa: DTZ001


def test_moments_are_compared_as_moments(ledger: Ledger) -> None:
    ledger.put(measured("early", at=NOON), measured("late", at=NOON + timedelta(minutes=1)))
    since = (NOON + timedelta(seconds=30)).astimezone(ZoneInfo("Asia/Tokyo"))
    assert [entry.what for entry in ledger.all(Measurement, Measurement.at > since)] == ["late"]


def test_nested_findings_come_back_as_they_were(ledger: Ledger) -> None:
    failures = [{"expectation": "unique", "samples": [{"dest": "Zürich\u0000\n'", "n": None, "share": 0.25}], "bound": [1, 2]}]
    audit = {"pipeline": "p", "table_name": "t", "tick": DAY, "passed": False, "rows_read": 3, "rows_accepted": 0}
    ledger.put(Audit(**audit, rows_refused=3, staging="x", at=NOON, failures=failures))
    assert ledger.all(Audit)[0].failures == failures


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_kept_as_nothing(ledger: Ledger, number: float) -> None:
    # PostgreSQL refuses NaN in JSON; a training must not fail for that on one database and pass on another.
    metrics = {"roc_auc": number, "n": 3, "nested": {"all": [number, 1.5]}}
    ledger.put(Training(id="1", pipeline="p", as_of=DAY, reason="r", state="running", at=NOON, metrics=metrics))
    assert ledger.all(Training)[0].metrics == {"roc_auc": None, "n": 3, "nested": {"all": [None, 1.5]}}


def test_large_counts_and_exact_numbers_survive(ledger: Ledger) -> None:
    ledger.put(measured(value=0.1 + 0.2, n=2_000_000_000))
    (found,) = ledger.all(Measurement)
    assert (found.value, found.n) == (0.1 + 0.2, 2_000_000_000)


def test_the_migrations_make_exactly_the_declared_tables(ledger: Ledger) -> None:
    # Declares the tables of other files, whichever tests run in this process.
    for file in (REPOSITORY / "mlprod_tasks" / "platform").glob("*_entries.py"):
        importlib.import_module(f"mlprod_tasks.platform.{file.stem}")
    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": "alembic_version_mlprod"})
        assert compare_metadata(context, Row.metadata) == []


def test_migrating_again_keeps_everything(ledger: Ledger, url: str) -> None:
    ledger.put(mail())
    again = Ledger(url)
    again.migrate()
    assert len(again.all(Mail)) == 1


def test_the_ledger_may_share_its_database(url: str) -> None:
    ledger = Ledger(url)
    with ledger.engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('of somebody else')"))
    ledger.migrate()
    with ledger.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "of somebody else"


def test_a_ledger_that_cannot_be_reached_says_so_without_its_password(tmp_path: Path) -> None:
    ledger = Ledger("postgresql://me:secret@127.0.0.1:1/ledger")
    with pytest.raises(Exception, match="refused") as raised:
        ledger.answers()
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(ledger.engine.url)


def test_it_answers(ledger: Ledger) -> None:
    assert ledger.answers()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgresql_is_reached_by_every_usual_name(postgres_database: str, scheme: str) -> None:
    assert Ledger(scheme + postgres_database[postgres_database.index("://") :]).answers()


def test_the_newest_entry_is_the_one_with_the_greatest_value() -> None:
    first, second = measured(model_version=1), measured(model_version=2)
    assert newest([second, first], "model_version") is second
    assert newest([], "model_version") is None


def _take_turns(url: str, me: int, barrier: Any, results: Any) -> None:
    barrier.wait()
    ledger = Ledger(url)
    with ledger.turn("counting"):
        was = len(ledger.all(Mail))
        ledger.add_once(mail(str(me)))  # as every other session may
        results.put((was, len(ledger.all(Mail))))


def test_a_turn_is_waited_for_while_the_ledger_is_read_and_written(url: str) -> None:
    Ledger(url).migrate()
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_take_turns, args=(url, me, barrier, results)) for me in range(3)]
    for worker in workers:
        worker.start()
    try:
        assert sorted(results.get(timeout=60) for _ in workers) == [(0, 1), (1, 2), (2, 3)]
    finally:
        for worker in workers:
            worker.join(5)
            worker.kill()


def _work(url: str, me: int, barrier: Any, results: Any) -> None:
    barrier.wait()
    ledger = Ledger(url)
    ledger.migrate()
    added = 0
    for n in range(10):
        added += ledger.add_once(mail(str(n), subject=str(me)))
        ledger.put_instead(Measurement, [measured(what, value=me, n=n) for what in "abc"], pipeline="p", tick=DAY)
        with ledger.exclusive("count") as session:
            found = session.get(Decision, ("p", DAY))
            if found is None:
                session.add(Decision(pipeline="p", tick=DAY, action="1", reason="", at=NOON))
            else:
                found.action = str(int(found.action) + 1)
    results.put(added)


def test_six_processes_that_start_at_once_migrate_and_write_without_losing_anything(url: str) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(6), context.Queue()
    workers = [context.Process(target=_work, args=(url, me, barrier, results)) for me in range(6)]
    for worker in workers:
        worker.start()
    try:
        added = [results.get(timeout=60) for _ in workers]
    finally:
        for worker in workers:
            worker.join(5)
            worker.kill()
    assert sum(added) == 10  # each of the ten mails was added by exactly one
    ledger = Ledger(url)
    assert len(ledger.all(Mail)) == 10
    assert [entry.what for entry in ledger.all(Measurement)] == ["a", "b", "c"]
    assert len({entry.value for entry in ledger.all(Measurement)}) == 1  # all three of one writer
    assert [entry.action for entry in ledger.all(Decision)] == ["60"]  # no count was lost


def test_gate_results_of_one_training_are_found_together(ledger: Ledger) -> None:
    def gate(training: str, name: str) -> GateResult:
        return GateResult(
            training_id=training, gate=name, pipeline="p", passed=True, value=0.7, bound=None, sentence="fine", at=NOON
        )

    ledger.put(gate("1", "b"), gate("1", "a"), gate("2", "a"))
    assert [entry.gate for entry in ledger.all(GateResult, training_id="1")] == ["a", "b"]


def test_what_postgresql_cannot_store_of_a_message_is_stored_as_an_escape(ledger: Ledger) -> None:
    strange = mail("1", subject="a\0b \ud800 Zoë")
    assert ledger.add_once(strange)
    ledger.put(Decision(pipeline="p", tick=DAY, action="note", reason="found 'x\0'", at=NOON, rules=[{"why": "x\0 \ud800"}]))
    assert [entry.subject for entry in ledger.all(Mail)] == ["a\\x00b \\ud800 Zoë"]
    (decided,) = ledger.all(Decision)
    assert (decided.reason, decided.rules) == ("found 'x\\x00'", [{"why": "x\0 \ud800"}])
