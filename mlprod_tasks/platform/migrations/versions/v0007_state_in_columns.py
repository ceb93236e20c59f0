"""Add columns for state that the code depends on, such as who requested something.

Before, the code read this from the beginning of a reason, a name or a key. The migration does so for existing entries, for the
last time. The texts themselves do not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

RETRAIN, BY_RULE, BY_RAMP, TAKEN_BACK = "Retrain: ", "rule ", "ramp for ", "taken back: "
SWITCHED, NOBODY = "switched to the fallback", "nobody"
BY_RULES = ("fallback", "rollback", "not done")  # actions by rules; they have the tick of the decision, those by persons do not
ABOUT_RULES, BOUNDS, VERSIONS = ("acknowledge", "mute", "unmute"), ("bound", "unbound"), ("fallback", "rollback")
WANT_TRAINING = ("retrain", "fallback", "rollback")

TABLES = (
    "approvals",
    "audits",
    "decisions",
    "interventions",
    "mails",
    "promotions",
    "publications",
    "rollouts",
    "scorings",
    "trainings",
)


def _columns(table: str) -> tuple[sa.Column[Any], ...]:
    """The new columns of a table."""
    day, text, word = sa.Date(), sa.Text(), sa.String(length=20)
    new: dict[str, tuple[sa.Column[Any], ...]] = {
        "approvals": (sa.Column("answered", sa.Boolean(), nullable=False, server_default=sa.true()),),
        "audits": (
            sa.Column("staging_sha256", sa.String(length=64), nullable=False, server_default=""),
            sa.Column("rows_without_tick", sa.Integer(), nullable=False, server_default="0"),
        ),
        "decisions": (
            sa.Column("training_asked_at", sa.DateTime(timezone=True), nullable=True),
            sa.Column("training_held", text, nullable=False, server_default=""),
        ),
        "interventions": (
            sa.Column("asker", word, nullable=False, server_default="person"),
            sa.Column("rule", text, nullable=True),
            sa.Column("what", sa.String(length=63), nullable=True),
            sa.Column("slice", sa.String(length=200), nullable=True),
            sa.Column("model_version", sa.Integer(), nullable=True),
        ),
        "mails": (
            sa.Column("about", word, nullable=False, server_default="failure"),
            sa.Column("tick", day, nullable=True),
            sa.Column("topic", sa.String(length=63), nullable=False, server_default=""),
        ),
        "promotions": (
            sa.Column("kind", word, nullable=False, server_default="better"),
            sa.Column("decided_at", day, nullable=True),
        ),
        "publications": (
            sa.Column("first_at", sa.DateTime(timezone=True), nullable=True),
            *(
                sa.Column(name, sa.Integer(), nullable=False, server_default="0")
                for name in ("rows_late", "rows_moved", "rows_gone")
            ),
        ),
        "rollouts": (sa.Column("ramp", word, nullable=True), sa.Column("ramp_for", text, nullable=True), _salt()),
        "scorings": (sa.Column("fallback_cause", word, nullable=True),),
        "trainings": (
            sa.Column("asker", word, nullable=False, server_default="person"),
            sa.Column("by", text, nullable=False, server_default=""),
            sa.Column("decided_at", day, nullable=True),
            sa.Column("rules", sa.JSON(), nullable=False, server_default="[]"),
        ),
    }
    return new[table]


def _salt() -> sa.Column[str]:
    # Existing rollouts have no salt, so they keep their entities.
    return sa.Column("salt", sa.String(length=16), nullable=False, server_default="")


def upgrade() -> None:
    # New installations note the check value of their key on first use, older ones when they first use it with this release.
    op.create_table(
        "pseudonym_keys",
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("check_value", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    for name in TABLES:
        with op.batch_alter_table(name) as table:
            for column in _columns(name):
                table.add_column(column)
    bind = op.get_bind()
    tables = {name: sa.Table(name, sa.MetaData(), autoload_with=bind) for name in TABLES}
    _interventions(bind, tables["interventions"])
    _trainings(bind, tables)
    _decisions(bind, tables)
    _rollouts(bind, tables["rollouts"])
    _promotions(bind, tables)
    _mails(bind, tables["mails"])
    _scorings(bind, tables["scorings"])
    _publications(bind, tables["publications"])
    _audits(bind, tables["audits"])
    approvals = tables["approvals"]
    bind.execute(approvals.update().where(approvals.c.by == NOBODY).values(answered=False))
    for name in TABLES:
        with op.batch_alter_table(name) as table:
            for column in _columns(name):
                if column.server_default is not None:
                    table.alter_column(column.name, server_default=None)  # new entries always give a value


def downgrade() -> None:
    op.drop_table("pseudonym_keys")
    for name in TABLES:
        with op.batch_alter_table(name) as table:
            for column in _columns(name):
                table.drop_column(column.name)


def _interventions(bind: sa.Connection, table: sa.Table) -> None:
    """Set asker, rule, bound and version of actions, from `by` and `subject`."""
    for one in bind.execute(sa.select(table)).all():
        values: dict[str, Any] = {}
        if one.kind in BY_RULES and one.tick is not None and one.by.startswith(BY_RULE):
            values |= {"asker": "rule", "rule": one.by.removeprefix(BY_RULE)}
        if one.kind in ABOUT_RULES:
            values["rule"] = one.subject
        if one.kind in BOUNDS:
            values["what"], _, values["slice"] = one.subject.partition("/")
        if one.kind in VERSIONS and one.subject.isdigit():
            values["model_version"] = int(one.subject)
        if values:
            bind.execute(table.update().where(table.c.id == one.id).values(**values))


def _trainings(bind: sa.Connection, tables: dict[str, sa.Table]) -> None:
    """Set asker and rules of trainings, from the reason.

    Those requested on the page are by persons, whatever the reason.
    """
    table, decisions, done = tables["trainings"], tables["decisions"], tables["interventions"]
    rules = {(one.pipeline, one.tick): one.rules for one in bind.execute(sa.select(decisions))}
    people = {one.subject: one.by for one in bind.execute(sa.select(done).where(done.c.kind == "retrain"))}
    for one in bind.execute(sa.select(table)).all():
        values: dict[str, Any] = {}
        if one.id in people:
            values["by"] = people[one.id]
        elif one.reason.startswith(RETRAIN):
            fired = rules.get((one.pipeline, one.as_of), [])
            names = [rule["rule"] for rule in fired if rule["action"] in WANT_TRAINING]
            values |= {"asker": "rule", "decided_at": one.as_of, "rules": names}
        if values:
            bind.execute(table.update().where(table.c.id == one.id).values(**values))


def _decisions(bind: sa.Connection, tables: dict[str, sa.Table]) -> None:
    """Set training_asked_at of the decisions that a training follows from."""
    table, trainings = tables["decisions"], tables["trainings"]
    follows = sa.exists().where(trainings.c.pipeline == table.c.pipeline, trainings.c.decided_at == table.c.tick)
    bind.execute(table.update().where(table.c.retrain, follows).values(training_asked_at=table.c.at))


def _rollouts(bind: sa.Connection, table: sa.Table) -> None:
    """Set ramp step and starter of rollouts, from `by`, and from the reason if the challenger was taken back."""
    last: dict[str, tuple[Any, str | None, str | None]] = {}  # by pipeline: the previous rollout
    for one in bind.execute(sa.select(table).order_by(table.c.at)).all():
        before, step, starter = last.get(one.pipeline, (None, None, None))
        if one.by.startswith(BY_RAMP):
            step, starter = {"shadow": "begun", "canary": "share"}.get(one.mode, "promoted"), one.by.removeprefix(BY_RAMP)
        elif step in ("begun", "share") and one.reason.startswith(f"{TAKEN_BACK}version {before.challenger} at "):
            step = "taken back"
        else:
            step = starter = None
        last[one.pipeline] = one, step, starter
        if step is not None:
            mine = (table.c.pipeline == one.pipeline) & (table.c.at == one.at)
            bind.execute(table.update().where(mine).values(ramp=step, ramp_for=starter))


def _promotions(bind: sa.Connection, tables: dict[str, sa.Table]) -> None:
    """Set kind and decision of promotions, from actions, trainings and rollouts."""
    table, done = tables["promotions"], tables["interventions"]
    decided = {one.id: one.decided_at for one in bind.execute(sa.select(tables["trainings"]))}
    by_rules = sa.select(done).where(done.c.kind == "rollback", done.c.asker == "rule")
    undone = {(one.pipeline, one.model_version, one.at): one.tick for one in bind.execute(by_rules)}
    ramped = set(_rolled_out(bind, tables["rollouts"]))
    with_champion: set[str] = set()
    for one in bind.execute(sa.select(table).order_by(table.c.at)).all():
        mine = (table.c.pipeline == one.pipeline) & (table.c.model_version == one.model_version)
        kind, tick = "better", decided.get(one.training_id)
        if one.rolled_back_from is not None:
            kind, tick = "rollback", undone.get((one.pipeline, one.model_version, one.at))
        elif one.pipeline not in with_champion:
            kind = "first"
        elif (one.pipeline, one.model_version) in ramped:
            kind = "rollout"
        with_champion.add(one.pipeline)
        here = mine & (table.c.effective == one.effective) & (table.c.at == one.at)
        bind.execute(table.update().where(here).values(kind=kind, decided_at=tick))


def _publications(bind: sa.Connection, table: sa.Table) -> None:
    """When each was published first: from the runs of the step that published it, which were recorded by table and tick."""
    runs = sa.Table("step_runs", sa.MetaData(), autoload_with=bind)
    published = sa.select(runs).where(runs.c.step.startswith("publish "), runs.c.succeeded)
    ended: dict[tuple[str, str, str], Any] = {}
    for run in bind.execute(published):
        of = (run.pipeline, run.step.removeprefix("publish "), run.subject)
        at = run.at + timedelta(seconds=run.seconds)
        ended[of] = min(at, ended.get(of, at))
    for one in bind.execute(sa.select(table)).all():
        at = ended.get((one.pipeline, one.table_name, str(one.tick)), one.at)
        mine = (table.c.pipeline == one.pipeline) & (table.c.table_name == one.table_name) & (table.c.tick == one.tick)
        bind.execute(table.update().where(mine).values(first_at=min(at, one.at)))


def _audits(bind: sa.Connection, table: sa.Table) -> None:
    """The digest of each audited file, which stood behind its name."""
    for one in bind.execute(sa.select(table)).all():
        name, found, digest = one.staging.rpartition(" sha256:")
        if found:
            mine = (table.c.pipeline == one.pipeline) & (table.c.table_name == one.table_name) & (table.c.tick == one.tick)
            bind.execute(table.update().where(mine).values(staging=name, staging_sha256=digest))


def _rolled_out(bind: sa.Connection, table: sa.Table) -> Iterator[tuple[str, int]]:
    """Pipeline and version of each challenger that became champion by a ramp."""
    challengers: dict[str, int] = {}
    for one in bind.execute(sa.select(table).order_by(table.c.at)):
        if one.ramp == "promoted" and one.pipeline in challengers:
            yield one.pipeline, challengers[one.pipeline]
        if one.challenger is not None:
            challengers[one.pipeline] = one.challenger


def _mails(bind: sa.Connection, table: sa.Table) -> None:
    """Set subject, topic and tick of mails, from the kind and the key.

    The key begins with the pipeline and often the tick.
    """
    for one in bind.execute(sa.select(table)).all():
        first, _, rest = one.key.removeprefix(f"{one.pipeline}/").partition("/")
        second = rest.partition("/")[0]
        about, topic, tick = one.kind, "", _day(first)
        if second == "decision" or one.kind not in ("failure", "fallback", "approval", "rollback", "digest", "ramp"):
            about = "decision"
        elif one.kind == "ramp":
            about = "rollout"
        elif one.kind == "failure":
            is_log = one.key.startswith(f"{one.pipeline}/log/")
            about, topic, tick = ("log", second, None) if is_log else ("failure", "", None)
        bind.execute(table.update().where(table.c.key == one.key).values(about=about, topic=topic[:63], tick=tick))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _scorings(bind: sa.Connection, table: sa.Table) -> None:
    """Set the cause of fallback scorings, from the reason."""
    fell = table.update().where(table.c.fallback_rows > 0)
    bind.execute(fell.values(fallback_cause="failed"))
    bind.execute(fell.where(table.c.fallback_reason.startswith(SWITCHED, autoescape=True)).values(fallback_cause="switched"))
