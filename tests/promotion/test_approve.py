"""A person between gates and registry: nothing is promoted that nobody approved, and who did it when is kept."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from demo.mail_catcher import MailCatcher
from mlprod_tasks import workflows
from mlprod_tasks.cli import main
from mlprod_tasks.declaration import Approval, AtLeast, days
from mlprod_tasks.declaration.recorded import text_of
from mlprod_tasks.evaluation.evaluate import evaluate
from mlprod_tasks.evaluation.gate import GatesRefused, gate, gates_passed
from mlprod_tasks.notifications import events
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform import ledger as entries
from mlprod_tasks.platform.ledger import Promotion, Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.promotion.approve import Answer, NotApproved, approve, request_approval
from mlprod_tasks.promotion.register import promote
from mlprod_tasks.steps import register
from mlprod_tasks.training.train import train
from mlprod_tasks.training.workspace import StepMissing

AT = datetime(2024, 2, 12, 9, 30, tzinfo=UTC)
YES, NO, NOBODY = Answer(True, "Ada", AT), Answer(False, "Ada", AT), Answer(False, "", AT)


@pytest.fixture
def asking(promoted_shop):
    """A shop with champion 1 that declares approval, and a training 'two' that passed its gates."""
    shop = promoted_shop.declared(approval=Approval(wait=days(2)))
    shop.trained("two", "2024-02-12")
    gate(shop.pipeline, "two", shop.platform)
    return shop


def vars_of(row) -> dict[str, object]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}


def champion(shop) -> int:
    return shop.platform.registry.champion(shop.pipeline).version


def versions(shop) -> int:
    return len(shop.platform.registry.client.search_model_versions("name = 'returns'"))


def tags(shop) -> dict[str, str]:
    return shop.platform.registry.run_tags(shop.platform.ledger.get(Training, "two").run_id)


def test_without_an_answer_nothing_is_registered_or_promoted(asking):
    with pytest.raises(NotApproved, match=r"nobody approved model .* `mlprod approve returns two --by NAME`"):
        register(asking.pipeline, "two", asking.platform)
    request_approval(asking.pipeline, "two", asking.platform)
    with pytest.raises(NotApproved):
        register(asking.pipeline, "two", asking.platform)
    without = replace(asking.pipeline, approval=None)
    ref = register(without, "two", asking.platform)  # as if it had been declared only afterwards
    with pytest.raises(NotApproved):
        promote(asking.pipeline, ref, gates_passed(asking.pipeline, "two", asking.platform), asking.platform)
    assert champion(asking) == 1


def test_the_question_shows_the_gates_and_the_state_says_that_it_waits(asking):
    asked = request_approval(asking.pipeline, "two", asking.platform)
    assert asked.subject == "Promote the new model of returns as of 2024-02-12?"
    shown = re.sub(r"\\(.)", r"\1", asked.body)
    for gate_ in asking.platform.ledger.all(entries.GateResult, training_id="two"):
        assert gate_.gate in shown
        assert gate_.sentence in shown
    assert asking.platform.ledger.get(Training, "two").state == "awaiting approval"


def test_what_data_and_people_wrote_is_shown_to_the_person_and_not_read_as_markdown(asking):
    (one, *_) = asking.platform.ledger.all(entries.GateResult, training_id="two")
    written = "worst where channel = '[paid](https://example.com) <b>'"
    asking.platform.ledger.put_instead(
        entries.GateResult, [entries.GateResult(**{**vars_of(one), "sentence": written})], training_id="two"
    )
    training = asking.platform.ledger.get(Training, "two")
    asking.platform.ledger.put(Training(**{**vars_of(training), "reason": "**urgent** | <i>"}))
    asked = request_approval(asking.pipeline, "two", asking.platform).body
    assert r"channel = '\[paid\](https://example.com) \<b\>'" in asked
    assert r"Trained because: \*\*urgent\*\* \| \<i\>." in asked


def test_an_approved_model_goes_on_to_be_champion_and_its_run_says_by_whom(asking):
    request_approval(asking.pipeline, "two", asking.platform)
    approve(asking.pipeline, "two", YES, asking.platform)
    assert tags(asking)["approval"] == "approved by Ada at 2024-02-12 09:30 UTC"
    ref = register(asking.pipeline, "two", asking.platform)
    assert promote(asking.pipeline, ref, gates_passed(asking.pipeline, "two", asking.platform), asking.platform).moved
    assert champion(asking) == 2
    assert asking.platform.ledger.get(Training, "two").state == "promoted"
    (kept,) = asking.platform.ledger.all(entries.Approval)
    assert (kept.training_id, kept.approved, kept.by, kept.at) == ("two", True, "Ada", AT)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (NO, "rejected by Ada at 2024-02-12 09:30 UTC"),
        (NOBODY, "rejected at 2024-02-12 09:30 UTC: nobody answered within 2 days"),
    ],
)
def test_a_rejected_model_is_not_registered_and_the_champion_stays(asking, answer, told):
    request_approval(asking.pipeline, "two", asking.platform)
    approve(asking.pipeline, "two", answer, asking.platform)
    assert tags(asking)["approval"] == told
    training = asking.platform.ledger.get(Training, "two")
    assert training.state == "rejected"
    assert asking.platform.registry.client.get_run(training.run_id).info.status == "FINISHED"
    with pytest.raises(NotApproved, match="it cannot be promoted"):
        register(asking.pipeline, "two", asking.platform)
    assert (champion(asking), versions(asking)) == (1, 1)
    assert len(asking.platform.ledger.all(Promotion)) == 1


def test_an_answer_is_about_the_model_that_was_asked_about_and_no_other(asking):
    request_approval(asking.pipeline, "two", asking.platform)
    approve(asking.pipeline, "two", YES, asking.platform)
    other = asking.declared(model=replace(asking.pipeline.model, seed=9))
    train(other.pipeline, "two", other.platform)
    evaluate(other.pipeline, "two", other.platform)
    gate(other.pipeline, "two", other.platform)
    with pytest.raises(NotApproved, match="nobody approved model"):
        register(other.pipeline, "two", other.platform)
    with pytest.raises(NotApproved, match=r"now has model .*, but approval was requested for .*: request it again"):
        approve(other.pipeline, "two", YES, other.platform)


def test_nobody_is_asked_about_a_model_that_failed_a_gate(asking):
    strict = asking.declared(gates=(AtLeast("roc_auc", 0.99),))
    with pytest.raises(GatesRefused):
        request_approval(strict.pipeline, "two", strict.platform)
    assert asking.platform.ledger.get(Training, "two").state == "running"  # to ask is no step that can fail a training
    with pytest.raises(StepMissing, match="'two' of returns awaits no approval"):
        approve(asking.pipeline, "two", YES, asking.platform)


def test_the_last_answer_counts(asking):
    request_approval(asking.pipeline, "two", asking.platform)
    approve(asking.pipeline, "two", NO, asking.platform)
    approve(asking.pipeline, "two", YES, asking.platform)
    assert register(asking.pipeline, "two", asking.platform).version == 2


def test_a_model_that_is_or_was_champion_is_not_rejected_any_more_but_rolled_back(asking):
    request_approval(asking.pipeline, "two", asking.platform)
    approve(asking.pipeline, "two", YES, asking.platform)
    ref = register(asking.pipeline, "two", asking.platform)
    promote(asking.pipeline, ref, gates_passed(asking.pipeline, "two", asking.platform), asking.platform)
    with pytest.raises(NotApproved, match=r"version 2, became champion .* `mlprod rollback returns`"):
        approve(asking.pipeline, "two", NO, asking.platform)
    (kept,) = asking.platform.ledger.all(entries.Approval)
    assert kept.approved
    assert asking.platform.ledger.get(Training, "two").state == "promoted"
    approve(asking.pipeline, "two", YES, asking.platform)  # the task was cleared
    assert asking.platform.ledger.get(Training, "two").state == "promoted"


def test_from_a_shell_a_training_stops_before_it_is_registered_and_a_named_person_lets_it_go_on(asking):
    shop = asking.declared(approval=Approval(by=("ada", "bob")))
    with pytest.raises(NotApproved, match=r"then run `mlprod approve returns (\S+) --by NAME`") as stopped:
        workflows.train(shop.pipeline, shop.tick("2024-02-13"), "a test", shop.platform)
    training = str(stopped.value).partition("training ")[2].split()[0]
    assert (champion(shop), versions(shop)) == (1, 1)
    with pytest.raises(ValueError, match=r"'eve' may not approve; approval\.by names ada, bob"):
        workflows.approve(shop.pipeline, training, "eve", shop.platform)
    assert workflows.approve(shop.pipeline, training, "bob", shop.platform, approved=False) is None
    assert champion(shop) == 1
    assert workflows.approve(shop.pipeline, training, "ada", shop.platform) == champion(shop) == 2


def test_the_command_line_approves_and_rejects(asking, tmp_path, monkeypatch):
    (tmp_path / "returns.json").write_text(text_of(asking.pipeline))
    (tmp_path / "returns.py").write_text(
        "from pathlib import Path\n\nfrom mlprod_tasks.declaration.recorded import read\n\n"
        "pipeline = read(Path(__file__).with_suffix('.json').read_text())\n"
    )
    monkeypatch.setenv("MLPROD_HOME", str(asking.platform.settings.home))
    monkeypatch.setenv("MLPROD_PIPELINES", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    request_approval(asking.pipeline, "two", asking.platform)
    done = CliRunner().invoke(main.app, ["approve", "returns", "two", "--by", "Ada", "--reject"])
    assert (done.exit_code, done.output) == (0, "returns: training two is rejected\n")
    assert champion(asking) == 1
    done = CliRunner().invoke(main.app, ["approve", "returns", "two", "--by", "Ada"])
    assert (done.exit_code, done.output) == (0, "returns: version 2 is champion\n")
    assert champion(asking) == 2


@pytest.fixture
def catcher(tmp_path) -> Iterator[MailCatcher]:
    with MailCatcher(tmp_path / "outbox") as catcher:
        yield catcher


def test_one_mail_tells_that_an_answer_is_waited_for(asking, catcher):
    home = str(asking.platform.settings.home)
    mailing = Platform(
        from_environment(
            {
                "MLPROD_HOME": home,
                "MLPROD_PIPELINES": home,
                "MLPROD_CONNECTION_SMTP": f"smtp://127.0.0.1:{catcher.smtp_port}",
                "MLPROD_MLFLOW_BASE_URL": "http://mlflow.example",
            }
        )
    )
    assert "(http://mlflow.example/#/experiments/" in request_approval(asking.pipeline, "two", mailing).body
    page = ("Approve or reject", "http://airflow.example/required_actions")
    assert events.tell_approval(asking.pipeline, "two", mailing, (page,))
    assert not events.tell_approval(asking.pipeline, "two", mailing, (page,))
    (mail,) = catcher.outbox.mails()
    assert mail["Subject"] == "[returns] a new model waits for approval"
    text = mail.get_body(("plain",)).get_content()
    for part in ("passed its gates", "within 2 days", "roc_auc >= 0.6", page[1], "http://mlflow.example/#/experiments/"):
        assert part in text, part


@pytest.mark.parametrize(
    ("approval", "told"),
    [
        (Approval(wait=days(0)), r"approval.wait 0:00:00 must be positive"),
        (Approval(by=("ada", " ")), r"approval.by holds an empty name"),
        (Approval(by=("ada", "ada")), r"approval.by: 'ada' is declared 2 times"),
    ],
)
def test_an_approval_that_cannot_work_is_refused(shop_pipeline, approval, told):
    with pytest.raises(ValueError, match=told):
        replace(shop_pipeline, approval=approval)
