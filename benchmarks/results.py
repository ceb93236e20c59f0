"""How good the shipped use case's model is, what it beats, and what each group of its features adds.

The parameters in pipelines/flight_delays.py were chosen on windows of March to June (`--as-of 2013-04-07 2013-05-05 2013-06-02
2013-06-30`). Those of the first release were chosen by hand, looking at the test windows of four ticks, from 18 May to 24 June,
21 July to 17 August and 6 October to 2 November. Every model is trained as of each tick, on data known by then; its test window
is the last four labelled weeks before it, and without `--as-of` overlaps none of those of the first release. Every model is
calibrated, and its threshold set, on the same validation window; metrics are means over the windows, intervals come from 500
paired resamples of each window's days.

`python -m benchmarks.results [windows] [models] [groups] [found]`: `models` and `groups` where none is named. `found`: the
parameters that a search finds as of each tick, on all windows. About half an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.features import fill
from benchmarks.size import SMALL, sized
from mlprod_tasks import declaration as ml
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.feature import Feature, names_of
from mlprod_tasks.declaration.search import space_of
from mlprod_tasks.evaluation import evaluate
from mlprod_tasks.evaluation.compare import Performance
from mlprod_tasks.models import calibration, decision_value, learners
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.statistics.metrics import Estimate, interval
from mlprod_tasks.training import fit_model, segments
from mlprod_tasks.training.search import search, tuned
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION
from mlprod_tasks.training.workspace import TrainingFolder, read_window

REPOSITORY = Path(__file__).parents[1]
UNSEEN = sized(("2013-05-13", "2013-09-17", "2013-10-06", "2013-12-30"), ("2013-03-10",))
TRIALS = sized(20, 2)
LOCAL = "timezone('America/New_York', sched_dep_at)"
CALENDAR = (
    ml.Expression("month", f"extract(month FROM {LOCAL})", "int", "1 to 12"),
    ml.Expression("day", f"extract(day FROM {LOCAL})", "int", "of the month"),
)
SHIPPED = "the shipped model"
FIRST = "the first release's model"  # what everything is compared with: one LightGBM, its parameters chosen by hand
FIRST_MODEL = ml.Model(
    candidates=(ml.LightGBM(min_data_in_leaf=300, feature_fraction=0.4, lambda_l2=10),),
    categorical=("carrier", "origin", "dest"),
    calibration="sigmoid",
    seed=7,
)
SEARCHED = f"LightGBM, best of {TRIALS} trials"
GBM_PERF = "GBM-perf's recipe"
# https://github.com/szilard/GBM-perf: 100 trees of depth 10, learning rate 0.1, 512 leaves; everything else LightGBM's default.
GBM_PERF_FEATURES = ("month", "day", "weekday", "dep_minute", "carrier", "origin", "dest", "distance")
PLAIN = ml.LightGBM(
    learning_rate=0.1,
    max_trees=100,
    early_stopping_rounds=None,
    min_data_in_leaf=20,
    feature_fraction=1.0,
    bagging_fraction=1.0,
    lambda_l2=0.0,
)
MEMBERS = ("lightgbm", "hist_gradient_boosting", "random_forest", "neural_net")
SINGLES: Mapping[str, ml.Learner] = {
    "a constant": ml.Constant(),
    "logistic regression": ml.LogisticRegression(),
    "LightGBM as it comes": PLAIN,
    "histogram gradient boosting": ml.HistGradientBoosting(min_data_in_leaf=300),
    "random forest": ml.RandomForest(),
    "neural net": ml.NeuralNet(),
}
ENSEMBLES: Mapping[str, ml.Averaging | ml.Stacking] = {
    f"mean of {len(MEMBERS)}": ml.Averaging(of=MEMBERS),
    f"stacking of {len(MEMBERS)}": ml.Stacking(of=MEMBERS),
}


@dataclass(frozen=True)
class Window:
    """A training's rows, with the features of every variant."""

    pipeline: Pipeline
    day: str
    train: pa.Table
    validation: pa.Table
    test: pa.Table
    platform: Platform


def main() -> int:
    """Print the tables in Markdown; what is being done goes to standard error."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("tables", nargs="*", metavar="table", help="windows, models, groups, found: the first is printed always")
    asked.add_argument("--as-of", nargs="*", default=UNSEEN, help="ticks to train as of")
    asked.add_argument("--small", action="store_true", help="one window of a few weeks: only to see that it runs")
    given = asked.parse_args()
    if unknown := set(given.tables) - {"windows", "models", "groups", "found"}:
        asked.error(f"no table {', '.join(unknown)}")
    logging.basicConfig(level=logging.WARNING)
    shipped = ml.load(REPOSITORY / "pipelines" / "flight_delays.py")
    wanted = given.tables or sized(["models", "groups"], ["models", "groups", "found"])
    judged: dict[str, dict[str, Performance]] = {}
    lines, windows = [], []
    with tempfile.TemporaryDirectory() as home:
        platform = Platform(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home}))
        fill(shipped, platform, 1)
        for day in given.as_of:
            window = assembled(shipped, day, platform)
            for name, one in variants(window, shipped, wanted):
                judged.setdefault(name, {})[day] = one
            lines.append(window_line(window, judged[SHIPPED if SHIPPED in judged else FIRST][day]))
            windows.append(window)
        found = dict(searches(windows, shipped)) if "found" in wanted else {}
    unit, first = shipped.value.unit, judged[FIRST]
    print(f"### {SHIPPED.capitalize()} on each window, with 95 % intervals\n")
    print(f"| trained as of | test rows | late | AUC | log loss | calibration error | {unit} per 1,000 flights |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))
    if "models" in wanted:
        names = [FIRST, *SINGLES, GBM_PERF, *ENSEMBLES, SEARCHED, *([SHIPPED] if SHIPPED in judged else [])]
        print_table(unit, f"Models on {len(given.as_of)} unseen windows", [(name, judged[name]) for name in names], first)
    elif SHIPPED in judged:
        print_table(unit, f"{SHIPPED.capitalize()} beside {FIRST}", [(FIRST, first), (SHIPPED, judged[SHIPPED])], first)
    if found:
        print_table(unit, "Parameters found as of each tick, on all windows", [(FIRST, first), *found.items()], first)
    if "groups" in wanted:
        groups = list(grouped(shipped))
        rows = [("all features", first), ("row only", judged["row only"])]
        rows += [(f"row and {name}", judged[f"row and {name}"]) for name in groups]
        print_table(unit, "What each group of features adds to the row itself", rows, judged["row only"])
        rows = [("all features", first), *((f"without {name}", judged[f"without {name}"]) for name in groups)]
        print_table(unit, "What is lost without each group", rows, first)
    return 0


def assembled(shipped: Pipeline, day: str, platform: Platform) -> Window:
    """The windows of one training, with the two features more that only GBM-perf's recipe reads."""
    wider = replace(shipped, features=(*shipped.features, *CALENDAR))
    steps.assemble(wider, wider.schedule.tick(day), day, "a benchmark", platform)
    folder = TrainingFolder(platform, day)
    train, validation, test = (thinned(read_window(folder, name)) for name in (TRAIN, VALIDATION, TEST))
    return Window(wider, day, train, validation, test, platform)


def thinned(rows: pa.Table) -> pa.Table:
    """All rows; at the small size some 1,500 of them, evenly spaced."""
    return rows.take(list(range(0, rows.num_rows, max(1, rows.num_rows // 1_500)))) if SMALL else rows


def variants(window: Window, shipped: Pipeline, wanted: Sequence[str]) -> Iterator[tuple[str, Performance]]:
    """Every model of the tables that are wanted, judged on the window."""
    first = replace(shipped, model=FIRST_MODEL)
    model = fitted(window, first)
    yield FIRST, judged_on(window, FIRST, first, lambda: model)
    if shipped.model != FIRST_MODEL:
        yield SHIPPED, judged_on(window, SHIPPED, shipped, lambda: searched(window, shipped))
    if "models" in wanted:
        made = {FIRST_MODEL.candidates[0].name: model}
        for name, single in SINGLES.items():
            declared = with_learner(first, single)
            yield name, judged_on(window, name, declared, lambda declared=declared: fitted(window, declared, made))
        plain = replace(PLAIN, num_leaves=512, max_depth=10)
        published = narrowed(replace(window.pipeline, model=replace(FIRST_MODEL, candidates=(plain,))), GBM_PERF_FEATURES)
        yield GBM_PERF, judged_on(window, GBM_PERF, published, lambda: fitted(window, published))
        for name, ensemble in ENSEMBLES.items():
            yield name, judged_on(window, name, first, lambda ensemble=ensemble: together(window, first, ensemble, made))
        wider = replace(first, model=replace(FIRST_MODEL, search=ml.Search(trials=TRIALS, workers=1)))
        yield SEARCHED, judged_on(window, SEARCHED, wider, lambda: searched(window, wider))
    if "groups" in wanted:
        row = [feature for feature in first.features if isinstance(feature, ml.Expression)]
        cases: dict[str, list[Feature]] = {"row only": row}
        for name, group in grouped(first).items():
            cases[f"row and {name}"] = [feature for feature in first.features if feature in row or feature in group]
            cases[f"without {name}"] = [feature for feature in first.features if feature not in group]
        for name, kept in cases.items():
            declared = narrowed(first, [column for feature in kept for column in names_of(feature)])
            yield name, judged_on(window, name, declared, lambda declared=declared: fitted(window, declared))


def searches(windows: Sequence[Window], shipped: Pipeline) -> Iterator[tuple[str, Mapping[str, Performance]]]:
    """The parameters that a search finds in the training of each window, as they are, judged on all windows."""
    first = replace(shipped, model=FIRST_MODEL)
    for searching in windows:
        wider = replace(first, model=replace(FIRST_MODEL, search=ml.Search(trials=TRIALS, workers=1)))
        search(wider, searching.day, searching.platform)
        ((_, learner),) = tuned(wider, TrainingFolder(searching.platform, searching.day)).items()
        told = {name: getattr(learner, name) for name in space_of(learner, ml.Search())}
        name = f"as of {searching.day}: {', '.join(f'{one} {value:.3g}' for one, value in told.items())}"
        declared = with_learner(first, learner)
        yield name, {window.day: judged_on(window, name, declared, partial(fitted, window, declared)) for window in windows}


def grouped(shipped: Pipeline) -> dict[str, list[Feature]]:
    """The features besides those of the row itself, by what they tell of."""
    groups: dict[str, list[Feature]] = {}
    for feature in shipped.features:
        if isinstance(feature, ml.Trailing):
            groups.setdefault(f"{feature.name}'s last weeks", []).append(feature)
        elif not isinstance(feature, ml.Expression):
            groups.setdefault(feature.table, []).append(feature)
    return groups


def narrowed(pipeline: Pipeline, names: Sequence[str]) -> Pipeline:
    """The pipeline with these features only, and nothing declared over others."""
    kept = tuple(feature for feature in pipeline.features if set(names_of(feature)) <= set(names))
    by = tuple(name for name in pipeline.fallback.by if name in names) or (names[0],)
    categorical = tuple(name for name in pipeline.model.categorical if name in names)
    return replace(
        pipeline,
        features=kept,
        fallback=replace(pipeline.fallback, by=by),
        model=replace(pipeline.model, categorical=categorical),
        gates=(ml.AtLeast("roc_auc", 0.5),),
        slices=(),
    )


def with_learner(pipeline: Pipeline, learner: ml.Learner) -> Pipeline:
    return replace(pipeline, model=replace(pipeline.model, candidates=(learner,), search=None))


def fitted(window: Window, declared: Pipeline, made: dict[str, Model] | None = None) -> Model:
    """Fit the declared candidate; it is kept in `made` by its name, for ensembles."""
    model = fit_model.fit_model(declared, window.train, window.validation, ModelFacts())
    if made is not None and declared.model.candidates[0] is not PLAIN:
        made[declared.model.candidates[0].name] = model
    return model


def together(window: Window, first: Pipeline, ensemble: ml.Averaging | ml.Stacking, made: Mapping[str, Model]) -> Model:
    """An ensemble of models that are fitted already."""
    singles = [*first.model.candidates, *(one for one in SINGLES.values() if one.name in MEMBERS and one is not PLAIN)]
    declared = replace(first, model=replace(first.model, candidates=(*singles, ensemble)))
    prepared = fit_model.prepare(declared, window.train, window.validation)
    both = learners.fit_learner(
        ensemble,
        prepared.columns,
        prepared.train,
        prepared.validation,
        declared.model,
        gap_ticks=fit_model.gap_ticks(declared),
        members={name: made[name].fitted for name in ensemble.of},
    )
    raw = both.predict(prepared.validation.x)
    calibrated = calibration.fit_calibration(declared.model.calibration, raw, prepared.validation.y)
    score = calibrated(raw)
    threshold = decision_value.best_threshold(
        decision_value.worth(declared.value, window.validation, score, prepared.validation.y), score
    )
    return Model(prepared.inputs, prepared.codes, both, calibrated, threshold, declared.model.threads)


def searched(window: Window, declared: Pipeline) -> Model | SegmentedModel:
    """The declared model, with the parameters that its search finds where one is declared."""
    if declared.model.search is None:
        return segments.fit_all(declared, window.train, window.validation, ModelFacts())
    search(declared, window.day, window.platform)
    found = tuned(declared, TrainingFolder(window.platform, window.day))
    return segments.fit_all(declared, window.train, window.validation, ModelFacts(), tuned=found)


def judged_on(window: Window, name: str, declared: Pipeline, made: Callable[[], Model | SegmentedModel]) -> Performance:
    began = time.perf_counter()
    one = evaluate.measure_performance(declared, made(), window.test)
    print(
        f"{window.day}  {name}: AUC {one.sampled.points['roc_auc']:.4f}, {time.perf_counter() - began:.0f} s", file=sys.stderr
    )
    return one


def window_line(window: Window, judged: Performance) -> str:
    """One window's line of a table."""
    found = judged.sampled.estimates()
    outcome = outcome_of(window.test)
    cells = [window.day, f"{len(outcome):,}", f"{outcome.mean():.0%}"]
    cells += [shown(found[name], ".3f") for name in ("roc_auc", "log_loss", "calibration_error")]
    return f"| {' | '.join([*cells, shown(found['value_per_1000'], ',.0f')])} |"


def print_table(
    unit: str, title: str, rows: Sequence[tuple[str, Mapping[str, Performance]]], against: Mapping[str, Performance]
) -> None:
    """Means over the windows, and paired differences to `against`."""
    print(f"\n### {title}: means, with 95 % intervals\n")
    print(f"| | AUC | difference | log loss | {unit} per 1,000 flights | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, windows in rows:
        auc, auc_less = mean(windows, "roc_auc"), mean(windows, "roc_auc", against)
        worth, worth_less = mean(windows, "value_per_1000"), mean(windows, "value_per_1000", against)
        itself = windows is against
        cells = [name, shown(auc, ".3f"), "" if itself else shown(auc_less, "+.3f"), shown(mean(windows, "log_loss"), ".3f")]
        cells += [shown(worth, ",.0f"), "" if itself else shown(worth_less, "+,.0f")]
        print(f"| {' | '.join(cells)} |", flush=True)


def mean(windows: Mapping[str, Performance], metric: str, against: Mapping[str, Performance] | None = None) -> Estimate:
    """The mean of a metric over the windows, or of its difference to other models on the same rows and resamples."""
    points, draws = [], []
    for day, one in windows.items():
        other = against[day].sampled if against is not None else None
        points.append(one.sampled.points[metric] - (other.points[metric] if other else 0.0))
        draws.append(one.sampled.draws[metric] - (other.draws[metric] if other else 0.0))
    point = float(np.mean(points))
    return Estimate(point, *interval(np.mean(draws, axis=0), point))


def shown(estimate: Estimate, form: str) -> str:
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


if __name__ == "__main__":
    sys.exit(main())
