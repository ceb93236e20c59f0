"""A use case to work with in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mlprod_tasks import features
from mlprod_tasks.declaration import Backtest, Pipeline, Tick, TickRange, load
from mlprod_tasks.declaration.feature import Feature
from mlprod_tasks.evaluation.compare_features import compare_features
from mlprod_tasks.notebook.comparison import Comparison
from mlprod_tasks.notebook.frames import Frame, Kind, frame
from mlprod_tasks.notebook.versions import Version, opened_version, trainings
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform import platform as configured
from mlprod_tasks.profiling.labelled_features import labelled_features, newest_ticks, newest_within
from mlprod_tasks.starting.trial_folder import platform_of_last

MOST_ROWS = 100_000  # by default, of the newest ticks


def use_case(name: str, *, trial: str | Path | bool = False) -> UseCase:
    """Open a use case by the name of its file.

    trial: read the data and models of the last `mlprod try`: True for the folder trials/NAME, or the folder. Otherwise those
    of MLPROD_HOME.
    Raises: DeclarationError; NoTrial.
    """
    here = configured()
    pipeline = load(here.settings.pipelines / f"{name}.py")
    if trial:
        folder = Path("trials") / name if trial is True else Path(trial)
        here = platform_of_last(folder, pipeline, here.settings)
    return UseCase(pipeline, here)


class UseCase:
    """A declared use case with its lake, ledger and registry, which it only reads.

    Frames are pandas' unless `kind` says 'polars' or 'arrow'. Ticks are given as text, such as "2024-01-31", both ends
    included; without them a frame has the newest ticks with at most MOST_ROWS rows.
    """

    def __init__(self, pipeline: Pipeline, platform: Platform) -> None:
        self.pipeline = pipeline
        self.platform = platform

    def table(self, name: str, first: str | None = None, last: str | None = None, *, kind: Kind = "pandas") -> Frame:
        """Rows of a declared table as they are in the lake. Without ticks: of a table with a time the newest, else all.

        Raises: KeyError for another name; TableMissing before it is ingested.
        """
        known = [table.name for table in self.pipeline.tables]
        if name not in known:
            raise KeyError(f"{self.pipeline.name} has no table {name!r}; it has {', '.join(known)}")
        stored = names.raw(self.pipeline, name)
        if self.pipeline.table(name).time is None:
            return frame(self.platform.lake.rows(stored), kind)
        if first is None and last is None:
            ticks = newest_within(self.platform.lake.rows_of_ticks(stored), MOST_ROWS)
        else:
            ticks = list(self._ticks(first, last).names)
        return frame(self.platform.lake.rows(stored, ticks).sort_by("tick"), kind)

    def features(self, first: str | None = None, last: str | None = None, *, kind: Kind = "pandas") -> Frame:
        """The key, `tick`, `predict_at` and features of each row, made only from what was known at its predict_at.

        Of a table without a time these are the rows to score; `labelled` has those that train, too. Raises: TableMissing.
        """
        return frame(features.build(self.pipeline, self._ticks(first, last), self.platform).table, kind)

    def labelled(
        self, first: str | None = None, last: str | None = None, *, as_of: str | None = None, kind: Kind = "pandas"
    ) -> Frame:
        """As `features`, with `label`: the outcome if it was known at the start of tick `as_of`, by default now; else missing.

        Raises: TableMissing.
        """
        ticks = self._ticks(first, last)
        return frame(labelled_features(self.pipeline, ticks, self._as_of(as_of), self.platform).table, kind)

    def labels(
        self, first: str | None = None, last: str | None = None, *, as_of: str | None = None, kind: Kind = "pandas"
    ) -> Frame:
        """The key, `tick`, `label` and `label_known_at` of each row whose outcome was known at the start of `as_of`.

        Raises: TableMissing.
        """
        ticks = self._ticks(first, last)
        return frame(features.labels(self.pipeline, ticks, self._as_of(as_of), self.platform, examples=True), kind)

    def compare(
        self, add: Sequence[Feature] = (), drop: Sequence[str] = (), *, as_of: str | None = None, folds: int | None = None
    ) -> Comparison:
        """Try features: fit the declared model with and without the change as of several ticks, and test both on later rows.

        add: features as in a declaration; drop: names of declared ones. as_of: of the last fold; by default the newest tick
        in the lake. folds: how many; by default those of the declared backtest, else 5.
        Raises: CannotCompare, HistoryTooShort, TableMissing.
        """
        declared = self.pipeline.backtest or Backtest()
        planned = declared if folds is None else Backtest(windows=folds, step=declared.step)
        last = self._as_of(as_of) if as_of else self._newest()
        return Comparison(compare_features(self.pipeline, add, drop, last, planned, self.platform))

    def trainings(self, *, kind: Kind = "pandas") -> Frame:
        """One row for each training, newest first: its tick, state, reason, the version of its model, and its metrics."""
        return frame(trainings(self.pipeline, self.platform), kind)

    def model(self, version: int | None = None) -> Version:
        """A registered version, by default the champion: its model, its evaluation, and predictions for a frame.

        Raises: NoChampion; BrokenArtifact if the registry does not have it.
        """
        return opened_version(self.pipeline, version, self.platform)

    def _newest(self) -> Tick:
        """The newest tick in the lake that has begun."""
        now = self.pipeline.schedule.last_at(self.platform.clock.now())
        last = newest_ticks(self.pipeline, self.platform, 0).last
        return self.pipeline.schedule.tick(min(last, now.name))

    def _as_of(self, given: str | None) -> Tick:
        schedule = self.pipeline.schedule
        return schedule.tick(given) if given else schedule.last_at(self.platform.clock.now())

    def _ticks(self, first: str | None, last: str | None) -> TickRange:
        if first is None:
            if last is not None:
                raise ValueError("give the first tick too, or neither")
            return newest_ticks(self.pipeline, self.platform, MOST_ROWS)
        return self.pipeline.schedule.range(first, last)

    def __repr__(self) -> str:
        tables = ", ".join(table.name for table in self.pipeline.tables)
        return f"<{self.pipeline.name}: {self.pipeline.task}, {len(self.pipeline.feature_names)} features of {tables}>"

    def _repr_html_(self) -> str:
        pipeline = self.pipeline
        rows = {
            "predicts": f"{pipeline.label.doc or pipeline.label.sql} ({pipeline.task})",
            "for each row of": pipeline.entity_name,
            "tables": ", ".join(table.name for table in pipeline.tables),
            "features": f"{len(pipeline.feature_names)}: {', '.join(pipeline.feature_names)}",
            "lake": self.platform.settings.lake,
        }
        cells = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{escape(name)}</th><td style="text-align:left">{escape(text)}'
            "</td></tr>"
            for name, text in rows.items()
        )
        return f"<b>{escape(pipeline.name)}</b><table>{cells}</table>"
