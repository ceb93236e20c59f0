"""The model card: the same in both forms, in numbers that are those of the evaluation."""

import re
import shutil
from dataclasses import astuple
from html import unescape

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.documents import Document, Listing, Paragraph, Section, html, markdown
from mlprod_tasks.documents.formatting import format_number, listed, of_100
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.reporting import card, report_context
from mlprod_tasks.training import workspace
from mlprod_tasks.training.records import Assembled
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder

NUMBER = re.compile(r"\d[\d,]*\.?\d*")


@pytest.fixture(scope="module")
def written(promoted_home, shop_pipeline, tmp_path_factory):
    """The card of the champion's training, with its version: Markdown, HTML, the folder."""
    from mlprod_tasks.platform import Platform
    from mlprod_tasks.platform.settings import from_environment

    home = tmp_path_factory.mktemp("card") / "var"
    shutil.copytree(promoted_home, home)
    folder = TrainingFolder(Platform(from_environment({"MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(home)})), "one")
    texts = [path.read_text(encoding="utf-8") for path in card.write(shop_pipeline, folder, version=1)]
    return *texts, folder


def words(text: str) -> str:
    """What a reader sees, without marks."""
    body = text.partition("<body>")[2] if "<body>" in text else text
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_both_forms_say_the_same_numbers(written):
    in_markdown, in_html, _ = written
    plain = re.sub(r"\|[\s:|-]+\|\n", "\n", in_markdown).replace("\\", "")  # the lines under the headings of tables
    assert NUMBER.findall(plain) == NUMBER.findall(words(in_html))
    assert len(NUMBER.findall(plain)) > 60


def test_both_forms_have_the_same_words(written):
    in_markdown, in_html, _ = written
    plain = re.sub(r"(?<!\\)[|#*]|^\s*-\s|[-:]{3,}", " ", in_markdown, flags=re.MULTILINE).replace("\\", "")
    assert re.findall(r"[A-Za-z]{2,}", plain) == re.findall(r"[A-Za-z]{2,}", words(in_html))


def test_of_the_flagged_so_many_are_what_the_model_flagged(written, shop_pipeline):
    text, _, folder = written
    rows = workspace.read_window(folder, "test")
    outcome = np.asarray(rows["label"].to_numpy(zero_copy_only=False), bool)
    acts = load_model(folder.model).predict(rows).decision
    flagged, right = round(100 * acts.mean()), round(100 * outcome[acts].mean())
    assert f"It flagged {flagged} of 100 orders. Of the flagged, {right} of 100 were a yes (returned)" in text.replace("\\", "")
    found, share = round(100 * acts[outcome].mean()), round(100 * outcome.mean())
    assert f"of all orders it was {share} of 100." in text
    assert f"it had flagged {found} of 100." in text


def test_the_value_is_the_evaluations_beside_that_of_no_model(written):
    text, _, folder = written
    evaluation = folder.read(Evaluation)
    value, low, high = astuple(evaluation.model["value_per_1000"])
    constant = evaluation.baseline["value_per_1000"].value
    plain = text.replace("\\", "")
    assert f"worth {format_number(value)} [{format_number(low)}, {format_number(high)}] USD per 1,000 orders" in plain
    assert f"it would have been {format_number(constant)}: a difference of +{format_number(value - constant)} USD" in plain


def test_it_says_who_owns_it_when_it_was_made_and_from_which_data(written, shop_pipeline):
    text, _, folder = written
    assembled = folder.read(Assembled)
    plain = text.replace("\\", "")
    assert "version 1, made as of 2024-02-10. Owner: shop." in plain
    for name, said in (("train", "trained on"), ("validation", "chosen and tuned on"), ("test", "tested on")):
        first, last = assembled.windows[name]
        share = assembled.positives[name] / assembled.rows[name]
        assert f"| {said} | {first} to {last} | {assembled.rows[name]:,} | {share:.1%} |" in plain
    for table, version in assembled.versions.items():
        assert f"| {table} | {version} |" in plain
    assert shop_pipeline.digest in plain
    assert f"{assembled.unlabelled.test:,} of" in plain
    assert "known 2 days later" in plain


def test_every_gate_is_in_it_and_a_model_without_one_is_refused(written, shop_pipeline):
    text, _, folder = written
    known = report_context.read(shop_pipeline, folder)
    assert len(known.gates) == 3
    assert all(one.sentence in text.replace("\\", "") for one in known.gates)
    assert "All gates passed: 3 of 3." in text


def test_before_it_is_registered_it_says_so_and_registering_writes_the_version_in(written, shop_pipeline):
    _, _, folder = written
    before = [path.read_text(encoding="utf-8") for path in card.write(shop_pipeline, folder)]
    assert all("not registered yet" in text for text in before)
    after = [path.read_text(encoding="utf-8") for path in card.write(shop_pipeline, folder, version=1)]
    assert all("not registered yet" not in text and "version 1" in text for text in after)
    assert after == list(written[:2])


def test_a_worth_that_is_a_function_is_told_as_declared(shop):
    shop = shop.declared(value=ml.ValueFunction(act="CASE WHEN outcome THEN 10 ELSE -4 END", unit="CHF"))
    shop.trained("one")
    folder = TrainingFolder(shop.platform, "one")
    text = card.write(shop.pipeline, folder)[0].read_text(encoding="utf-8").replace("\\", "")
    assert "counted in CHF per row: CASE WHEN outcome THEN 10 ELSE -4 END when flagged, 0 when not." in text
    assert "CHF per 1,000 orders" in text


def test_a_card_before_the_evaluation_names_the_step_that_lacks(shop):
    with pytest.raises(StepMissing, match="run train first"):
        card.write(shop.pipeline, TrainingFolder(shop.platform, "nobody"))


def test_markdown_shows_what_was_written_and_nothing_more():
    hostile = "# a | b *c* _d_ `e` <f> [g](h) &amp; 1. x"
    made = Document(
        "t", "s", (Section("n", hostile, (Paragraph(hostile), Listing((hostile,)), Grid("", ("x",), ((hostile,),)))),)
    )
    shown = markdown(made)
    assert "\\# a \\| b \\*c\\* \\_d\\_ \\`e\\` \\<f\\> \\[g\\](h) \\&amp; 1. x" in shown
    assert "| # a \\| b" in shown
    assert "flight_delays" in markdown(Document("flight_delays", "", ()))
    assert "<f>" not in html(made)


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.414, "41 of 100"), (0.0, "0 of 100"), (1.0, "100 of 100"), (0.012, "12 of 1,000"), (0.0004, "40 of 100,000")],
)
def test_shares_are_told_as_counts(share, said):
    assert of_100(share) == said


def test_words_are_listed_as_people_do():
    assert [listed(names) for names in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == ["", "a", "a and b", "a, b and c"]
