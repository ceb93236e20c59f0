"""The report: one file that needs nothing else, holds everything there is, and says what is not there."""

import base64
import shutil
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.evaluation.gates import evaluate_gates
from mlprod_tasks.evaluation.results import ModelChecks, Slices, read_results
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.reporting import report_context
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder

PNG = b"\x89PNG\r\n\x1a\n"
EVERY_PICTURE = {
    "backtest", "calibration", "contributions", "contributions_by_row", "dependence", "gain", "groups", "importance",
    "importance_shift", "lift", "permutation", "precision_recall", "roc", "scores", "slices", "value",
}  # fmt: skip


class Page(HTMLParser):
    """What a page holds: text, tags, links, pictures, anchors."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.anchors: list[str] = []
        self.handlers: list[str] = []
        self.missing = 0
        self.said: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.handlers += [name] if name.startswith("on") else []
            self.links += [value or ""] if name == "href" else []
            self.sources += [value or ""] if name in ("src", "srcset", "data", "action") else []
            self.anchors += [value or ""] if name == "id" else []
            self.missing += value == "missing"

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@dataclass(frozen=True)
class Made:
    pipeline: Pipeline
    platform: Platform
    folder: TrainingFolder

    @property
    def html(self) -> str:
        return (self.folder.path / "report.html").read_text(encoding="utf-8")

    @property
    def page(self) -> Page:
        return Page(self.html)


def platform_at(home: Path) -> Platform:
    return Platform(from_environment({"MLPROD_HOME": str(home), "MLPROD_PIPELINES": str(home)}))


def assembled_to_evaluated(pipeline: Pipeline, day: str, training_id: str, platform: Platform) -> None:
    steps.assemble(pipeline, pipeline.schedule.tick(day), training_id, "a test", platform)
    steps.train(pipeline, training_id, platform)
    steps.evaluate(pipeline, training_id, platform)


@pytest.fixture(scope="module")
def full(promoted_home, shop_pipeline, tmp_path_factory) -> Made:
    """A training against a champion with everything declared: candidates, slices, backtest, checks."""
    home = tmp_path_factory.mktemp("full") / "var"
    shutil.copytree(promoted_home, home)
    declared = shop_pipeline.model
    pipeline = replace(
        shop_pipeline,
        model=replace(declared, candidates=(*declared.candidates, ml.Constant())),
        slices=("channel",),
        backtest=ml.Backtest(windows=2),
        gates=(
            *shop_pipeline.gates,
            ml.WorstSlice("roc_auc", 0.99, least_rows=100),
            ml.Stable("roc_auc", than="baseline", windows=2),
            ml.ModelSize(5),
            ml.NoLeakageSuspicion(),
        ),
    )
    made = Made(pipeline, platform_at(home), TrainingFolder(platform_at(home), "two"))
    assembled_to_evaluated(pipeline, "2024-02-12", "two", made.platform)
    steps.backtest(pipeline, "two", made.platform)
    steps.run_checks(pipeline, "two", made.platform)
    steps.report(pipeline, "two", made.platform)
    return made


@pytest.fixture
def first(filled_home, shop_pipeline, tmp_path) -> Made:
    """The first training, without a champion, and nothing declared beyond what must be."""
    shutil.copytree(filled_home, tmp_path / "var")
    made = Made(shop_pipeline, platform_at(tmp_path / "var"), TrainingFolder(platform_at(tmp_path / "var"), "one"))
    assembled_to_evaluated(shop_pipeline, "2024-02-10", "one", made.platform)
    return made


def assert_stands_alone(page: Page) -> None:
    assert page.sources
    assert all(
        base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True)[:8] == PNG for source in page.sources
    )
    assert set(page.links) == {f"#{anchor}" for anchor in page.anchors}
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    assert page.handlers == []


def test_the_report_stands_alone(full):
    assert_stands_alone(full.page)
    style = full.html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "http:" not in full.html
    assert "https:" not in full.html
    assert "width=device-width" in full.html
    assert "@media print" in full.html


def test_every_gate_is_there_with_its_sentence_and_its_verdict(full):
    known = read_results(full.folder)
    verdict = evaluate_gates(full.pipeline.gates, known, full.folder.read(Trained).digest)
    text = full.page.text
    assert len(verdict.gates) == 7
    assert {one.passed for one in verdict.gates} == {True, False}
    for one in verdict.gates:
        assert f"{'passed' if one.passed else 'FAILED'} {one.gate} {one.sentence}" in text
    assert f"Refused: {sum(not one.passed for one in verdict.gates)} of 7 gates failed." in text


def test_the_numbers_are_those_of_the_evaluation_and_of_the_comparison(full):
    known, text = read_results(full.folder), full.page.text
    for name, one in known.evaluation.model.items():
        assert f"{format_number(one.value)} [{format_number(one.low)}, {format_number(one.high)}]" in text, name
        before = known.evaluation.champion[name]
        assert f"{format_number(before.value)} [{format_number(before.low)}, {format_number(before.high)}]" in text, name
        assert format_number(abs(known.comparison.differences[name].value)) in text, name
    for one in known.slices.slices:
        assert one.name in text
        assert format_number(one.metrics["roc_auc"].value) in text
    for fold in known.backtest.folds:
        assert f"{fold.as_of} tested on {fold.windows.test.first} to {fold.windows.test.last}" in text
        assert format_number(fold.model["log_loss"].value) in text
    for one in known.checks.results:
        assert one.sentence in text


def test_every_picture_is_in_the_page_in_the_folder_and_in_the_run(full):
    there = {path.stem: path.read_bytes() for path in full.folder.plots.glob("*.png")}
    assert set(there) == EVERY_PICTURE
    shown = [base64.b64decode(source.partition(",")[2]) for source in full.page.sources]
    assert sorted(shown) == sorted(there.values())
    run_id = full.folder.read(Trained).run_id
    client = full.platform.registry.client
    assert {file.path for file in client.list_artifacts(run_id, "plots")} == {f"plots/{name}.png" for name in EVERY_PICTURE}
    logged = {file.path for file in client.list_artifacts(run_id, "report")}
    assert logged == {"report/report.html", "report/model_card.md", "report/model_card.html"}


def test_it_says_what_differs_from_the_champion_and_what_was_tried(full):
    text = full.page.text
    assert "champion, version 1" in text
    assert "candidates[constant].type - Constant" in text
    assert "2024-02-10 2024-02-12" in text  # made as of, of champion and model
    known = report_context.read(full.pipeline, full.folder)
    assert [one.name for one in known.model.candidates] == ["lightgbm", "constant"]
    for one in known.model.candidates:
        assert f"{one.name} {one.kind}" in text
        assert format_number(one.metrics["log_loss"]) in text
    assert full.page.missing == 2  # the search, which is not declared, and a correlation over two windows
    assert "Not made: a search for parameters." in text
    assert "Not made: the correlation of AUC with value. There are too few windows." in text


def test_once_more_it_writes_the_same_bytes(full):
    names = ("report.html", "model_card.md", "model_card.html")
    files = [*(full.folder.path / name for name in names), *sorted(full.folder.plots.glob("*.png"))]
    before = {file: file.read_bytes() for file in files}
    steps.report(full.pipeline, "two", full.platform)
    assert {file.name for file, content in before.items() if file.read_bytes() != content} == set()


def test_what_no_step_has_made_is_named_and_not_left_out(first):
    for part in (Slices, ModelChecks):
        first.folder.remove(part)
    reported = steps.report(first.pipeline, "one", first.platform)
    text = first.page.text
    for what in (
        "the comparison with a champion. There was no champion yet.",
        "what changed. There was no champion yet.",
        "the backtest. The declaration has no backtest.",
        "slices. There is no result: run the step evaluate again.",
        "checks of the model itself. No declared gate needs any.",
        "a search for parameters. None is declared",
    ):
        assert f"Not made: {what}" in text
    assert reported.not_made == first.page.missing == 6
    assert reported.pictures == len(EVERY_PICTURE - {"backtest", "slices", "importance_shift"})
    assert_stands_alone(first.page)


def test_a_champion_that_is_gone_is_named(full, tmp_path):
    shutil.copytree(full.platform.settings.home, tmp_path / "var")
    platform = platform_at(tmp_path / "var")
    shutil.rmtree(tmp_path / "var" / "models", ignore_errors=True)
    platform.registry.client.delete_model_version("returns", "1")
    reported = steps.report(full.pipeline, "two", platform)
    text = Made(full.pipeline, platform, TrainingFolder(platform, "two")).page.text
    assert reported.not_made == 3
    assert "Not made: what changed. Version 1 cannot be loaded: BrokenArtifact" in text


def test_a_learner_without_contributions_gets_a_report_that_says_so(first):
    declared = first.pipeline.model
    pipeline = replace(
        first.pipeline, model=replace(declared, candidates=(ml.HistGradientBoosting(max_trees=20), ml.Constant()))
    )
    assembled_to_evaluated(pipeline, "2024-02-10", "three", first.platform)
    steps.report(pipeline, "three", first.platform)
    text = Made(pipeline, first.platform, TrainingFolder(first.platform, "three")).page.text
    assert "Not made: contributions (SHAP values). The learner does not compute exact ones." in text


def test_a_model_by_segments_is_reported_with_its_segments(first):
    pipeline = replace(first.pipeline, model=replace(first.pipeline.model, segment_by="channel", least_segment_rows=300))
    assembled_to_evaluated(pipeline, "2024-02-10", "three", first.platform)
    steps.report(pipeline, "three", first.platform)
    text = Made(pipeline, first.platform, TrainingFolder(first.platform, "three")).page.text
    assert "Segments of channel with their own model:" in text
    assert "web (" in text


def test_names_that_hold_html_are_shown_and_not_run(empty_shop, tables):
    hostile = '<img src=x onerror="alert(1)">'
    orders, returns = tables
    channel = orders["channel"]
    changed = pc.if_else(pc.fill_null(pc.equal(channel, "phone"), False), pa.scalar(hostile), channel)
    orders = orders.set_column(orders.column_names.index("channel"), "channel", changed)
    shop = empty_shop(orders, returns)
    label = replace(shop.pipeline.label, doc="</p><script>alert(2)</script>")
    shop = shop.declared(doc="<h1>x & $y$</h1>", owner='"<b>owner</b>', slices=("channel",), label=label)
    shop.trained("one")
    steps.report(shop.pipeline, "one", shop.platform)
    made = Made(shop.pipeline, shop.platform, TrainingFolder(shop.platform, "one"))
    assert_stands_alone(made.page)
    assert hostile in made.page.text
    assert "<h1>x & $y$</h1>" in made.page.text
    card = Page((made.folder.path / "model_card.html").read_text(encoding="utf-8"))
    assert card.tags.isdisjoint({"script", "img", "b"})
    assert card.handlers == []
    assert "</p><script>alert(2)</script>" in card.text
    markdown = (made.folder.path / "model_card.md").read_text(encoding="utf-8")
    assert "<script" not in markdown.replace("\\<", "")
    assert "\\<script\\>alert(2)\\</script\\>" in markdown


def test_a_report_before_the_evaluation_names_the_step_that_lacks(first):
    (first.folder.path / "evaluation.json").unlink()
    with pytest.raises(StepMissing, match="run evaluate first"):
        steps.report(first.pipeline, "one", first.platform)


def test_the_profit_curve_is_the_value_of_acting_on_so_many_rows():
    from mlprod_tasks.models import decision_value as value
    from mlprod_tasks.models.decision_value import Worth
    from mlprod_tasks.reporting.plots.curves import profit_band

    random = np.random.default_rng(2)
    score, worth = random.random(1000), Worth(random.normal(size=1000), random.normal(size=1000))
    shares, measured, low, high = profit_band(score, worth, resamples=50)
    _, total = value.total_by_threshold(worth, score)
    assert measured == pytest.approx(total[np.rint(shares * 1000).astype(int)])
    assert (low[1:] <= high[1:]).all()
    assert (low <= measured).mean() > 0.9
    assert (measured <= high).mean() > 0.9
    # Rows of a tick are worth alike: drawn with their ticks, the same curve has a wider band.
    tick = np.repeat(np.arange(20), 50)
    alike = Worth(worth.acted + 3 * random.normal(size=20)[tick], worth.waited)
    by_row, by_tick = (profit_band(score, alike, resamples=50, ticks=ticks) for ticks in (None, tick))
    assert by_row[1] == pytest.approx(by_tick[1])
    assert (by_tick[3] - by_tick[2])[50:].mean() > 2 * (by_row[3] - by_row[2])[50:].mean()
