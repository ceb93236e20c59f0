"""The step: checks what gates ask for, records what cannot be checked, and is bound to the files that it checked."""

import json
import shutil
from dataclasses import replace

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.gate import GatesRefused, gate
from mlprod_tasks.evaluation.gates import names
from mlprod_tasks.evaluation.results import ModelChecks, read_results
from mlprod_tasks.evaluation.run_checks import run_checks
from mlprod_tasks.platform import names as places
from mlprod_tasks.training.records import Trained
from mlprod_tasks.training.workspace import StepMissing

EVERY_CHECK = (
    ml.AvailableAtPrediction(ticks=1),
    ml.NoLeakageSuspicion(),
    ml.Latency(10_000.0),
    ml.ModelSize(100.0),
    ml.SamePredictions(),
    ml.Invariance("rounding must not matter", {"amount": "round(amount, 6)"}),
    ml.Monotonic("a higher amount must not lower the score", "amount", "up", by=50.0, most_share=0.9),
    ml.KpiAtLeast(-1e9),
)


def test_files_that_were_changed_after_training_fail_every_gate_on_a_check(own):
    manifest = own.folder.model / "model.json"
    written = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**written, "threshold": 0.0}))
    for verdict in own.checked(*(one for one in EVERY_CHECK if not isinstance(one, ml.SamePredictions))):
        assert not verdict.passed
        assert "the checks are of another model" in verdict.sentence


def test_only_what_gates_ask_for_is_checked_and_again_gives_the_same(trained):
    gates = (ml.ModelSize(100.0), ml.AtLeast("roc_auc", 0.6))
    declared = replace(trained.pipeline, gates=gates)
    first = run_checks(declared, "one", trained.platform)
    written = read_results(trained.folder).checks
    assert (first.gates, first.impossible) == (1, 0)
    run_id = trained.folder.read(Trained).run_id
    kept = trained.platform.registry.client.list_artifacts(run_id, "training")
    assert "training/model_checks.json" in {file.path for file in kept}
    assert [one.check for one in written.results] == [names.SIZE]
    assert written.model_digest == trained.folder.read(Trained).digest
    run_checks(declared, "one", trained.platform)
    assert read_results(trained.folder).checks == written
    assert run_checks(trained.pipeline, "one", trained.platform).gates == 0
    assert not trained.judged(*gates)[0].passed, "without the check its gate fails"


def test_checking_again_tells_the_same_but_for_the_time_that_it_took(trained):
    gates = tuple(one for one in EVERY_CHECK if not isinstance(one, ml.Latency | ml.SamePredictions))
    assert trained.checked(*gates) == trained.checked(*gates)


def test_a_check_that_raises_is_recorded_and_keeps_no_other_from_being_made(own):
    shutil.rmtree(own.platform.settings.home / "lake" / places.raw(own.pipeline, "orders"))
    lost, size = own.checked(ml.AvailableAtPrediction(), ml.ModelSize(100.0))
    assert not lost.passed
    assert "TableMissing" in lost.sentence
    assert size.passed


def test_a_training_that_was_never_checked_is_refused_by_the_gate_itself(own):
    strict = replace(own.pipeline, gates=(ml.SamePredictions(), ml.AtLeast("roc_auc", 0.6)))
    own.folder.remove(ModelChecks)
    with pytest.raises(GatesRefused, match=r"1 of 2 gates refuse .* the model was not checked: run the step run_checks"):
        gate(strict, "one", own.platform)


def test_gates_of_behaviour_reach_ledger_and_mlflow_whatever_their_text(own):
    from mlprod_tasks.platform.ledger import GateResult

    doc = "a higher amount (in CHF, > 0 %) must not lower the score: 'never'/ever; größer"
    strict = replace(own.pipeline, gates=(ml.Monotonic(doc, "amount", "up", by=50.0, most_share=0.9),))
    run_checks(strict, "one", own.platform)
    gate(strict, "one", own.platform)
    assert [row.gate for row in own.platform.ledger.all(GateResult, training_id="one")] == [doc]
    run = own.platform.registry.client.get_run(own.folder.read(Trained).run_id)
    assert any(name.startswith("gate.a higher amount in CHF") for name in run.data.tags)


def test_before_the_evaluation_there_is_nothing_to_check(shop):
    with pytest.raises(StepMissing, match="run train first"):
        run_checks(shop.pipeline, "none", shop.platform)


def test_gates_on_slices_windows_and_the_champion_read_what_the_steps_before_left(retold, tables, shop_pipeline):
    from mlprod_tasks.evaluation.backtest import backtest

    shop = retold(
        tables,
        backtest=ml.Backtest(windows=2, step=ml.days(3)),
        slices=("channel",),
        gates=(ml.WorstSlice("roc_auc", 0.5, least_rows=150),),
    )
    windows = (ml.Stable("roc_auc", than="baseline", windows=2), ml.Stable("roc_auc", bound=0.99, windows=1))
    assert "there is no backtest" in shop.judged(*windows)[0].sentence
    backtest(shop.pipeline, "one", shop.platform)
    kept, broken = shop.judged(*windows)
    assert (kept.passed, broken.passed) == (True, False)
    assert kept.sentence.startswith(
        "roc_auc is better than the baseline's in 2 of 2 windows; it must be in at least 2; worst as of"
    )
    slices = read_results(shop.folder).slices
    assert slices is not None
    assert slices.least_rows == 150, "as the gate declares"
    assert {one.name for one in slices.slices if one.found == "declared"} >= {"channel = 'web'", "channel = 'app'"}
    assert min(one.rows for one in slices.slices) >= 150
    for metric in ("roc_auc", "log_loss", "calibration", "value_per_1000"):
        values = [one.metrics[metric].value for one in slices.slices]
        worst = {"log_loss": max(values), "calibration": max(values, key=abs)}.get(metric, min(values))
        (verdict,) = shop.judged(ml.WorstSlice(metric, 0.5, least_rows=150))
        assert verdict.value == worst
