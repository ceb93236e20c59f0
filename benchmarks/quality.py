"""How good the shipped use case's models are, on test windows that played no part in choosing its parameters.

The parameters in pipelines/flight_delays.py were chosen while looking at the test windows of four other ticks, from 18 May to
24 June, 21 July to 17 August and 6 October to 2 November. Here a model is trained as of each tick below, on data known by
then; its test window is the last four labelled weeks before it, and overlaps none of those.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

from benchmarks.features import fill
from mlprod_tasks import evaluation, steps
from mlprod_tasks.declaration import load
from mlprod_tasks.evaluate import EVALUATION
from mlprod_tasks.metrics import Estimate
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training_folder import TrainingFolder

REPOSITORY = Path(__file__).parents[1]
UNSEEN = ("2013-05-13", "2013-09-17", "2013-10-06", "2013-12-30")


def main() -> int:
    """Print the table."""
    logging.basicConfig(level=logging.WARNING)
    pipeline = load(REPOSITORY / "pipelines" / "flight_delays.py")
    unit = pipeline.value.unit
    print("### Quality on unseen windows, with 95 % intervals\n")
    print(
        "| trained as of | test rows | late | AUC | log loss | constant's | calibration error | "
        + f"{unit} per 1,000 flights | constant's |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as home:
        platform = Platform(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home}))
        fill(pipeline, platform, 1)
        for day in UNSEEN:
            steps.assemble(pipeline, pipeline.schedule.tick(day), day, "a benchmark", platform)
            steps.train(pipeline, day, platform)
            steps.evaluate(pipeline, day, platform)
            found = evaluation.from_json(TrainingFolder(platform, day).read(EVALUATION, "evaluate"))
            model, constant = found.model, found.baseline
            cells = [
                day,
                f"{found.rows:,}",
                f"{found.positives / found.rows:.0%}",
                shown(model["roc_auc"], ".3f"),
                shown(model["log_loss"], ".3f"),
                f"{constant['log_loss'].value:.3f}",
                shown(model["calibration_error"], ".3f"),
                shown(model["value_per_1000"], ",.0f"),
                f"{constant['value_per_1000'].value:,.0f}",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)
    print()
    return 0


def shown(estimate: Estimate, form: str) -> str:
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


if __name__ == "__main__":
    sys.exit(main())
