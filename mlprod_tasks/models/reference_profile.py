"""The reference profile: a summary of the test window, stored with the model.

It is pure data: monitoring builds it (`monitoring.profile`) and compares every tick with it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.declaration.task import TaskName
from mlprod_tasks.statistics import bins
from mlprod_tasks.statistics.bins import Bins

SCORE = "score"
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class ProfileColumn:
    """One feature of the reference, or the scores.

    `counts` are of all its rows. `tick_psi` and `tick_null_share` are the normal range of a tick: how far each tick of the
    reference is from the others (corrected PSI) and from the whole (absolute difference). `type`: of its values
    (`bins.family`). `present`: the number of ticks with each category. Older profiles have neither. `levels`: its mean on each
    tick, in order of time, if a tick has only a few values of its own, so that it is watched as a series; else empty.
    """

    bins: Bins
    counts: tuple[int, ...]
    tick_psi: tuple[float, ...] = ()
    tick_null_share: tuple[float, ...] = ()
    importance: float = 0.0
    important: bool = False
    type: str = ""
    present: tuple[int, ...] = ()
    levels: tuple[float | None, ...] = ()

    @property
    def name(self) -> str:
        return self.bins.column

    @property
    def null_share(self) -> float:
        return self.counts[bins.NULL] / max(1, sum(self.counts))

    @property
    def of_one_tick(self) -> float:
        """The share of the reference's rows that one of its ticks has.

        Where the same keys come in each tick, all of its ticks together tell no more of how ticks differ than one of them.
        """
        return 1 / max(1, len(self.tick_psi))


@dataclass(frozen=True)
class JoinedTable:
    """The features from one table, by look-up.

    Those of a look-up are null together if no row matches.
    """

    table: str
    columns: tuple[tuple[str, ...], ...]
    unmatched: int = 0  # rows of the reference without a match


@dataclass(frozen=True)
class Region:
    """The rows of one bin: their number, their positive outcomes, and sums over rows.

    scores: of the scores; squares: of (outcome - score) squared; spread: of score (1 - score), the variance that calibrated
    scores imply. If outcomes are numbers, outcomes is their sum and spread 0.
    """

    n: int = 0
    outcomes: float = 0.0
    scores: float = 0.0
    squares: float = 0.0
    spread: float = 0.0

    @property
    def residual(self) -> float:
        """Mean of outcome minus score."""
        return (self.outcomes - self.scores) / self.n

    @property
    def variance(self) -> float:
        """Variance of the mean residual: empirical, or implied by the scores if larger.

        With few rows of equal outcomes, the empirical variance is too small.
        """
        return max(self.squares / self.n - self.residual**2, self.spread / self.n) / self.n


@dataclass(frozen=True)
class Residuals:
    """One feature's regions: null, other, then deciles or most frequent categories."""

    feature: str
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class SampledRows:
    """Rows as the bins of their features (`Bins.coarse`), packed into text.

    packed: base64 of deflated bytes, (rows, columns) in row order; rows: the number of each tick's, tick by tick; ticks: their
    ISO dates, empty if all rows are of one tick.
    """

    columns: tuple[str, ...]
    rows: tuple[int, ...]
    packed: str
    ticks: tuple[str, ...] = ()

    @property
    def codes(self) -> Codes:
        """The bin of each value, (sum of rows, columns)."""
        plain = zlib.decompress(base64.b64decode(self.packed))
        return np.frombuffer(plain, np.uint8).reshape(sum(self.rows), len(self.columns))

    def without(self, tick: TickName) -> SampledRows:
        """Return the same without the rows of that tick."""
        at = self.ticks.index(str(tick))
        start = sum(self.rows[:at])
        kept = np.delete(self.codes, slice(start, start + self.rows[at]), axis=0)
        others = [place for place in range(len(self.ticks)) if place != at]
        rows, ticks = tuple(self.rows[place] for place in others), tuple(self.ticks[place] for place in others)
        return SampledRows(self.columns, rows, packed(kept), ticks)


@dataclass(frozen=True)
class ReferenceHistory:
    """The watched values on the reference's ticks, by 'what' or 'what/slice'.

    None if a tick has no value.
    ticks: their names, ascending; each value compares that tick with the rest of the reference.
    """

    ticks: tuple[str, ...]
    values: Mapping[str, tuple[float | None, ...]]

    @cached_property
    def days(self) -> tuple[TickName, ...]:
        return tuple(map(tick_named, self.ticks))


@dataclass(frozen=True)
class LossModel:
    """How large errors are, given features and prediction: trees of absolute and of squared errors.

    features: that they read, before the prediction. categories: of features that are text, the known values in the order of
    their codes. absolute, squared: LightGBM's text, packed. spread: the standard deviation of squared errors, in expected ones.
    """

    features: tuple[str, ...]
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    absolute: str
    squared: str
    spread: float


@dataclass(frozen=True)
class ScoreCurve:
    """How often outcomes were positive by score: piecewise linear through (x, y), both ascending."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class ReferenceNumbers:
    """The outcomes of a reference that are numbers, and how far its predictions were off.

    label: the outcomes in bins. mean, sd: of the outcomes. bias: mean outcome minus mean prediction. held: the share of
    outcomes within their prediction's interval; None without intervals. losses: None if rows are too few, or in older profiles.
    """

    label: ProfileColumn
    mean: float
    sd: float
    mae: float
    rmse: float
    bias: float
    held: float | None = None
    losses: LossModel | None = None


@dataclass(frozen=True)
class ReferenceClasses:
    """The outcomes of a reference that are classes, and how they were predicted.

    known: the classes that the model knows. label, predicted: outcomes and predicted classes, counted. log_loss, accuracy,
    macro_f1: realised ones.
    """

    known: tuple[str, ...]
    label: ProfileColumn
    predicted: ProfileColumn
    log_loss: float
    accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class ReferenceProfile:
    """A model's test window in counts and means.

    `kpi` and `roc_auc` are None if they could not be computed.
    value: of its decisions, per 1,000 rows. residuals: differences of outcomes and scores, by region of the important
    features; empty in older profiles. decisions: rows above the threshold. joins: the tables of look-up features. sampled: some
    of its rows. The three are None or empty in older profiles. history: each of its ticks compared with the rest; None if there
    are too few, or in older profiles. numbers, classes: what is known of outcomes that are
    numbers or classes, both None for yes or no; label_rate, roc_auc, precision, recall and decisions are None for others.
    recalibration: of a yes or no, what scores meant on the reference, then the same on resamples of its ticks, which tell how
    sure that is; empty with too few outcomes, or in older profiles. years: levels on every tick of the training set, if it
    is several times as long as the reference.
    """

    first: str
    last: str
    rows_by_tick: tuple[int, ...]
    features: tuple[ProfileColumn, ...]
    score: ProfileColumn
    mean_score: float
    outcomes: int
    label_rate: float | None
    roc_auc: float | None
    kpi: float | None
    precision: float | None = None
    recall: float | None = None
    value: float | None = None
    residuals: tuple[Residuals, ...] = ()
    decisions: int | None = None
    joins: tuple[JoinedTable, ...] = ()
    sampled: SampledRows | None = None
    history: ReferenceHistory | None = None
    numbers: ReferenceNumbers | None = None
    classes: ReferenceClasses | None = None
    recalibration: tuple[ScoreCurve, ...] = ()
    years: ReferenceHistory | None = None

    @property
    def columns(self) -> tuple[ProfileColumn, ...]:
        """The features, then the scores, then the predicted classes, if any."""
        return (*self.features, self.score, *((self.classes.predicted,) if self.classes else ()))

    @property
    def task(self) -> TaskName:
        """The kind of prediction of its model."""
        if self.classes is not None:
            return "multiclass"
        return "binary" if self.numbers is None else "regression"

    @property
    def rows_per_tick(self) -> float:
        return float(np.mean(self.rows_by_tick))

    @property
    def rows_per_tick_sd(self) -> float:
        return float(np.std(self.rows_by_tick))

    def as_json(self) -> dict[str, Any]:
        """Return the profile as plain JSON values."""
        written = asdict(self)
        if self.numbers is None:  # as profiles were written before there were numbers
            del written["numbers"]
        if self.classes is None:
            del written["classes"]
        if not self.recalibration:
            del written["recalibration"]
        if self.years is None:
            del written["years"]
        for column in (written["score"], *written["features"]):
            if not column["levels"]:
                del column["levels"]
        return written

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> ReferenceProfile:
        """Return the profile that `as_json` wrote.

        Raises: pydantic.ValidationError for anything else.
        """
        return _adapter().validate_python(dict(written))


@cache
def _adapter() -> TypeAdapter[ReferenceProfile]:
    return TypeAdapter(ReferenceProfile)  # takes 10 ms to make


def packed(codes: Codes) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(codes).tobytes(), 6)).decode()
