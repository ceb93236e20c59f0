"""A ledger of an earlier release keeps its entries."""

import signal
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, Table, inspect, text

from mlprod_tasks.platform import migrations
from mlprod_tasks.platform.key_entries import PseudonymKey
from mlprod_tasks.platform.ledger import (
    Approval,
    Asker,
    Audit,
    Decision,
    FallbackCause,
    Intervention,
    Mail,
    MailAbout,
    Promotion,
    PromotionKind,
    Publication,
    RampStep,
    Rollout,
    Row,
    Scoring,
    Training,
)
from mlprod_tasks.platform.ledger_store import Ledger
from tests.support.paths import REPOSITORY

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_database"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def move(ledger: Ledger, to: str, *, back: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with ledger.engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, to)


def test_promotions_of_the_first_form_are_kept_and_may_then_be_rolled_back(url: str) -> None:
    ledger = Ledger(url)
    move(ledger, "0001")
    with ledger.engine.connect() as connection, connection.begin():
        connection.execute(
            text("INSERT INTO promotions VALUES ('p', 1, :day, 't', 'why', :at)"),
            {
                "day": "2013-06-01" if "sqlite" in url else date(2013, 6, 1),
                "at": NOON if "sqlite" not in url else "2013-06-01 12:00:00.000000",
            },
        )
    ledger.migrate()
    (kept,) = ledger.all(Promotion)
    assert (kept.model_version, kept.effective, kept.at, kept.rolled_back_from) == (1, date(2013, 6, 1), NOON, None)
    again = Promotion(
        pipeline="p",
        model_version=1,
        effective=date(2013, 6, 1),
        training_id="t",
        reason="back",
        at=NOON.replace(hour=13),
        rolled_back_from=2,
    )
    ledger.put(again, again)
    assert [one.reason for one in ledger.all(Promotion)] == ["why", "back"]
    move(ledger, "0001", back=True)
    with ledger.engine.connect() as connection:
        assert connection.execute(text("SELECT reason FROM promotions")).scalars().all() == ["back"]  # the last of each tick


DAY = date(2013, 6, 24)
OTHER = date(2013, 6, 25)


@pytest.fixture
def of_release_0_4(url: str) -> Ledger:
    """A ledger as release 0.4 left it, before this release first opens it."""
    ledger = Ledger(url)
    move(ledger, "0006")
    return ledger


def hour(n: int) -> datetime:
    return NOON.replace(hour=n)


def wrote(ledger: Ledger, table: str, *rows: dict[str, Any], **same: Any) -> None:
    """Insert rows in the columns that release 0.4 had."""
    with ledger.engine.connect() as connection, connection.begin():
        there = Table(table, MetaData(), autoload_with=connection)
        connection.execute(there.insert(), [{"pipeline": "p", "at": NOON} | same | row for row in rows])


def acted(ledger: Ledger, *rows: dict[str, Any]) -> None:
    none = {"subject": "", "reason": "", "until": None, "tick": None, "low": None, "high": None}
    wrote(ledger, "interventions", *[none | {"id": f"p/{i}"} | row for i, row in enumerate(rows)])


def trained(ledger: Ledger, *rows: dict[str, Any]) -> None:
    wrote(ledger, "trainings", *rows, state="promoted", run_id=None, model_version=None, metrics={})


def promoted(ledger: Ledger, *rows: dict[str, Any]) -> None:
    wrote(ledger, "promotions", *[{"rolled_back_from": None} | row for row in rows], effective=DAY, reason="why")


def rolled_out(ledger: Ledger, *rows: tuple[int, str, str, str, int | None, float]) -> None:
    names = ("at", "mode", "by", "reason", "challenger", "share")
    none = {"automation": "full", "band_low": None, "band_high": None}
    wrote(ledger, "rollouts", *[dict(zip(names, (hour(row[0]), *row[1:]), strict=True)) for row in rows], **none)


def decided(ledger: Ledger, *rows: dict[str, Any]) -> None:
    wrote(ledger, "decisions", *rows, action="retrain", reason="Retrain: volume.", retrain=True)


def only(ledger: Ledger, kind: type[Row], *names: str) -> list[tuple[Any, ...]]:
    ledger.migrate()
    return [tuple(getattr(row, name) for name in names) for row in ledger.all(kind)]


def test_what_rules_and_people_did_is_told_apart_by_columns(of_release_0_4: Ledger) -> None:
    acted(
        of_release_0_4,
        {"kind": "fallback", "by": "rule volume", "subject": "3", "tick": DAY},
        {"kind": "fallback", "by": "rule of thumb", "subject": "3"},  # a person of that name: no tick asked for it
        {"kind": "not done", "by": "rule useless", "subject": "rollback", "tick": DAY},
        {"kind": "rollback", "by": "anna", "subject": "2"},
        {"kind": "acknowledge", "by": "rule volume", "subject": "inputs moved", "tick": DAY},
        {"kind": "mute", "by": "anna", "subject": ""},
        {"kind": "bound", "by": "anna", "subject": "feature_psi/distance/km", "low": 0.1},
        {"kind": "unbound", "by": "anna", "subject": "volume"},
        {"kind": "retrain", "by": "anna", "subject": "2013-06-24"},
    )
    assert only(of_release_0_4, Intervention, "asker", "rule", "what", "slice", "model_version") == [
        (Asker.RULE, "volume", None, None, 3),
        (Asker.PERSON, None, None, None, 3),
        (Asker.RULE, "useless", None, None, None),
        (Asker.PERSON, None, None, None, 2),
        (Asker.PERSON, "inputs moved", None, None, None),
        (Asker.PERSON, "", None, None, None),
        (Asker.PERSON, None, "feature_psi", "distance/km", None),
        (Asker.PERSON, None, "volume", "", None),
        (Asker.PERSON, None, None, None, None),
    ]


def test_trainings_that_rules_asked_for_name_their_decision(of_release_0_4: Ledger) -> None:
    rules = [
        {"rule": "volume", "action": "retrain"},
        {"rule": "a hint", "action": "note"},
        {"rule": "useless", "action": "rollback"},
    ]
    decided(of_release_0_4, {"tick": DAY, "rules": rules}, {"tick": OTHER, "rules": rules})
    acted(of_release_0_4, {"kind": "retrain", "by": "anna", "subject": "c"})
    trained(
        of_release_0_4,
        {"id": "a", "as_of": DAY, "reason": "Retrain: volume (2013-06-24: ...)."},
        {"id": "b", "as_of": DAY, "reason": "first model"},
        {"id": "c", "as_of": OTHER, "reason": "Retrain: please"},
        {"id": "d", "as_of": date(2013, 1, 1), "reason": "Retrain: long forgotten."},
    )
    assert only(of_release_0_4, Training, "id", "asker", "by", "decided_at", "rules") == [
        ("a", Asker.RULE, "", DAY, ["volume", "useless"]),
        ("b", Asker.PERSON, "", None, []),
        ("c", Asker.PERSON, "anna", None, []),
        ("d", Asker.RULE, "", date(2013, 1, 1), []),
    ]
    assert only(of_release_0_4, Training, "importance") == [({},)] * 4
    assert only(of_release_0_4, Decision, "tick", "training_asked_at", "training_held") == [(DAY, NOON, ""), (OTHER, None, "")]


def test_ramps_go_on_from_where_they_stood(of_release_0_4: Ledger) -> None:
    rolled_out(
        of_release_0_4,
        (1, "shadow", "ramp for Ada", "it is newer", 3, 0.0),
        (2, "canary", "ramp for Ada", "version 3 rolled out to 20%: it is newer", 3, 0.2),
        (3, "champion", "rule ramp", "taken back: version 3 at 20% of entities, it fails at 20%", None, 0.0),
        (4, "shadow", "ramp for training", "", 4, 0.0),
        (5, "canary", "ramp for training", "version 4 rolled out to 100%", 4, 1.0),
        (6, "champion", "ramp for training", "version 4 is champion", None, 0.0),
        (7, "canary", "ben", "by hand", 3, 0.1),
        (8, "champion", "ben", "taken back: by hand, too", None, 0.0),
        (9, "shadow", "ramp for Ada", "again", 3, 0.0),
        (10, "champion", "ben", "taken back: no ramp wrote this", None, 0.0),
    )
    promoted(
        of_release_0_4,
        {"model_version": 2, "training_id": "b", "at": hour(1)},
        {"model_version": 4, "training_id": "d", "at": hour(6)},
    )
    assert only(of_release_0_4, Rollout, "ramp", "ramp_for", "salt") == [
        (RampStep.BEGUN, "Ada", ""),
        (RampStep.SHARE, "Ada", ""),
        (RampStep.TAKEN_BACK, "Ada", ""),
        (RampStep.BEGUN, "training", ""),
        (RampStep.SHARE, "training", ""),
        (RampStep.PROMOTED, "training", ""),
        (None, None, ""),
        (None, None, ""),
        (RampStep.BEGUN, "Ada", ""),
        (None, None, ""),
    ]
    kinds = only(of_release_0_4, Promotion, "model_version", "kind")
    assert kinds == [(2, PromotionKind.FIRST), (4, PromotionKind.ROLLOUT)]


def test_promotions_say_how_they_came_about(of_release_0_4: Ledger) -> None:
    decided(of_release_0_4, {"tick": DAY, "rules": []})
    trained(of_release_0_4, {"id": "b", "as_of": DAY, "reason": "Retrain: volume."})
    acted(of_release_0_4, {"kind": "rollback", "by": "rule useless", "subject": "1", "tick": OTHER, "at": hour(3)})
    promoted(
        of_release_0_4,
        {"model_version": 1, "training_id": "a", "at": hour(1)},
        {"model_version": 2, "training_id": "b", "at": hour(2)},
        {"model_version": 1, "training_id": "a", "at": hour(3), "rolled_back_from": 2},
        {"model_version": 2, "training_id": "b", "at": hour(4), "rolled_back_from": 1},
    )
    found = only(of_release_0_4, Promotion, "at", "kind", "decided_at")
    assert sorted(found) == [
        (hour(1), PromotionKind.FIRST, None),
        (hour(2), PromotionKind.BETTER, DAY),
        (hour(3), PromotionKind.ROLLBACK, OTHER),
        (hour(4), PromotionKind.ROLLBACK, None),
    ]


def test_mails_say_what_they_tell_of(of_release_0_4: Ledger) -> None:
    keys = (
        ("p/2013-06-24/decision/fallback", "fallback"),
        ("p/2013-06-24/decision/over", "over"),
        ("p/2013-06-24/digest", "digest"),
        ("p/2013-06-24/fallback", "fallback"),
        ("p/log/0123456789ab/2013-06-24", "failure"),
        ("p/log/broken/a.jsonl.broken", "failure"),
        ("p/p-2013-06-24-0123/approval/0123456789ab", "approval"),
        ("p/ramp/3/taken back/2013-06-24T12:00:00+00:00", "ramp"),
        ("p/rollback/2/2013-06-24T12:00:00+00:00", "rollback"),
        ("p.train/manual__2013-06-24/gate/-1/1", "failure"),
    )
    rows = [{"key": key, "kind": kind} for key, kind in keys]
    wrote(of_release_0_4, "mails", *rows, subject="about 2013-06-24", recipients="a@x.org")
    told = {key: rest for key, *rest in only(of_release_0_4, Mail, "key", "about", "tick", "topic")}
    assert [told[key] for key, _ in keys] == [
        [MailAbout.DECISION, DAY, ""],
        [MailAbout.DECISION, DAY, ""],
        [MailAbout.DIGEST, DAY, ""],
        [MailAbout.FALLBACK, DAY, ""],
        [MailAbout.LOG, None, "0123456789ab"],
        [MailAbout.LOG, None, "broken"],
        [MailAbout.APPROVAL, None, ""],
        [MailAbout.ROLLOUT, None, ""],
        [MailAbout.ROLLBACK, None, ""],
        [MailAbout.FAILURE, None, ""],
    ]


def test_why_the_fallback_answered_and_whether_somebody_approved_are_columns(of_release_0_4: Ledger) -> None:
    scored = {"model_version": 1, "rows": 9, "features_digest": "", "delta_version": 1}
    reasons = ("switched to the fallback by ana at 2013-06-19 12:00 UTC", "BrokenArtifact: switched to the fallback", None)
    rows = [
        {"tick": date(2013, 6, i + 1), "fallback_rows": 9 * bool(why), "fallback_reason": why} for i, why in enumerate(reasons)
    ]
    wrote(of_release_0_4, "scorings", *rows, **scored)
    wrote(
        of_release_0_4,
        "approvals",
        *[{"training_id": by, "by": by} for by in ("anna", "nobody")],
        model_digest="d",
        approved=False,
    )
    found = only(of_release_0_4, Scoring, "fallback_cause")
    assert found == [(FallbackCause.SWITCHED,), (FallbackCause.FAILED,), (None,)]
    assert only(of_release_0_4, Approval, "by", "answered") == [("anna", True), ("nobody", False)]


def test_the_texts_of_release_0_4_stay_as_they_were(of_release_0_4: Ledger) -> None:
    acted(of_release_0_4, {"kind": "fallback", "by": "rule volume", "subject": "3", "tick": DAY, "reason": "volume: few rows"})
    rolled_out(of_release_0_4, (1, "shadow", "ramp for Ada", "it is newer", 3, 0.0))
    assert only(of_release_0_4, Intervention, "by", "reason") == [("rule volume", "volume: few rows")]
    move(of_release_0_4, "0006", back=True)
    with of_release_0_4.engine.connect() as connection:
        assert connection.execute(text('SELECT "by" FROM interventions')).scalars().all() == ["rule volume"]
        assert connection.execute(text('SELECT "by" FROM rollouts')).scalars().all() == ["ramp for Ada"]


def test_publications_say_when_they_were_first_made(of_release_0_4: Ledger) -> None:
    ledger = of_release_0_4
    wrote(ledger, "publications", {"tick": DAY}, {"tick": OTHER}, table_name="orders", rows=1, delta_version=1, at=hour(20))
    run = {"step": "publish orders", "subject": str(DAY), "seconds": 60.0, "try_number": 1}
    wrote(
        ledger,
        "step_runs",
        run | {"at": hour(6), "succeeded": False},
        run | {"at": hour(7), "succeeded": True},
        run | {"at": hour(9), "succeeded": True},
        run | {"at": hour(5), "succeeded": True, "step": "publish returns"},
    )
    first = hour(7).replace(minute=1)
    assert only(ledger, Publication, "tick", "at", "first_at") == [(DAY, hour(20), first), (OTHER, hour(20), hour(20))]
    assert only(ledger, Publication, "rows_late", "rows_moved", "rows_gone") == [(0, 0, 0), (0, 0, 0)]


def test_audits_keep_the_digest_of_their_file_in_a_column(of_release_0_4: Ledger) -> None:
    ledger = of_release_0_4
    row = {"table_name": "orders", "passed": True, "rows_read": 1, "rows_accepted": 1, "rows_refused": 0, "failures": []}
    wrote(ledger, "audits", row | {"tick": DAY, "staging": f"p/orders/{DAY}.parquet sha256:{'a' * 64}"}, seconds=0.1)
    wrote(ledger, "audits", row | {"tick": OTHER, "staging": ""}, seconds=0.1)
    expected = [(DAY, f"p/orders/{DAY}.parquet", "a" * 64, 0), (OTHER, "", "", 0)]
    assert only(ledger, Audit, "tick", "staging", "staging_sha256", "rows_without_tick") == expected


def test_the_check_value_of_the_pseudonym_key_has_a_table_of_its_own(of_release_0_4: Ledger) -> None:
    ledger = of_release_0_4
    ledger.migrate()
    assert ledger.all(PseudonymKey) == [], "the key is noted when rows are hashed next"
    ledger.put(PseudonymKey(number=1, check_value="a" * 64, at=NOON))
    assert [(one.number, one.by, one.at) for one in ledger.all(PseudonymKey)] == [(1, "", NOON)]
    move(ledger, "0006", back=True)
    assert "pseudonym_keys" not in inspect(ledger.engine).get_table_names()


# Names of ticks are texts since 0009.


@pytest.fixture
def with_dates(url: str) -> Ledger:
    """A ledger in which ticks are dates, with rows of every table that names one."""
    ledger = Ledger(url)
    move(ledger, "0008")
    none = {"tick": None, "reason": "", "by": "anna", "subject": "", "asker": "person"}
    read = {"rows_read": 1, "rows_accepted": 1, "rows_refused": 0, "rows_without_tick": 0}
    audit = {"table_name": "t", "passed": True, "staging": "s", "staging_sha256": "", "failures": [], "seconds": 1.0} | read
    wrote(ledger, "audits", *[audit | {"tick": day} for day in (DAY, OTHER)])
    wrote(ledger, "interventions", none | {"id": "a", "kind": "mute"}, none | {"id": "b", "kind": "fallback", "tick": DAY})
    return ledger


def test_dates_of_ticks_become_texts_that_compare_and_read_as_before(with_dates: Ledger) -> None:
    with_dates.migrate()
    with_dates.migrate()
    with with_dates.engine.connect() as connection:
        assert connection.execute(text("SELECT tick FROM audits ORDER BY tick")).scalars().all() == [str(DAY), str(OTHER)]
    assert [one.tick for one in with_dates.all(Audit, Audit.tick > DAY)] == [OTHER]
    assert {one.id: one.tick for one in with_dates.all(Intervention)} == {"a": None, "b": DAY}
    hourly = Audit(
        pipeline="h", table_name="t", tick="2013-11-03T0500Z", passed=True, rows_read=1, rows_accepted=1, rows_refused=0,
        staging="s", at=NOON, failures=[],
    )  # fmt: skip
    with_dates.put(hourly)
    assert [one.tick for one in with_dates.all(Audit, pipeline="h")] == ["2013-11-03T0500Z"]


def test_the_earlier_form_keeps_what_it_can_name(with_dates: Ledger) -> None:
    with_dates.migrate()
    none = {"subject": "", "reason": "", "at": NOON, "by": "anna"}
    with_dates.put(Intervention(id="c", pipeline="p", kind="fallback", tick="2013-11-03T0500Z", asker=Asker.PERSON, **none))
    move(with_dates, "0008", back=True)
    with with_dates.engine.connect() as connection:
        days = connection.execute(text("SELECT tick FROM audits ORDER BY tick")).scalars().all()
        assert [str(day) for day in days] == [str(DAY), str(OTHER)]
        assert connection.execute(text("SELECT id FROM interventions ORDER BY id")).scalars().all() == ["a", "b"]


@pytest.mark.parametrize("statements", [1, 7, 13], ids=["at the first", "in between", "near the end"])
def test_a_migration_that_is_killed_leaves_the_earlier_ledger_and_runs_again(with_dates: Ledger, statements: int) -> None:
    program = """
        import os, signal, sys
        from sqlalchemy import Engine, event
        from mlprod_tasks.platform.ledger_store import Ledger
        left = [int(sys.argv[2])]
        def count(*given):
            if str(given[2]).lstrip().upper().startswith(("ALTER", "CREATE", "INSERT", "DROP", "UPDATE")):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
        event.listen(Engine, "before_cursor_execute", count)
        Ledger(sys.argv[1]).migrate()
    """
    url = with_dates.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", textwrap.dedent(program), url, str(statements)]
    killed = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True)
    if killed.returncode == 0:
        pytest.skip("this database needs fewer statements")
    assert killed.returncode == -signal.SIGKILL
    with with_dates.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version_mlprod")).scalar() == "0008"
    with_dates.migrate()
    assert [one.tick for one in with_dates.all(Audit)] == [DAY, OTHER]
