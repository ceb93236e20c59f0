"""Answer a request: its features, the version that is to answer, the fallback where that cannot; and note it all in the log."""

from __future__ import annotations

import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.feature_frame import ModelInputError
from mlprod_tasks.online import Features, OnlineFeatures
from mlprod_tasks.online.fields import EPOCH_DAY
from mlprod_tasks.online.plan import EPOCH, MICROSECOND, micros
from mlprod_tasks.rollout import routing
from mlprod_tasks.rollout.routing import Routing
from mlprod_tasks.scoring.log_row import LoggedRow
from mlprod_tasks.scoring.prediction_log import PredictionLog
from mlprod_tasks.serving.model_loader import Shelf, Standing, Version
from mlprod_tasks.serving.single_row import RowAnswer

log = logging.getLogger(__name__)
CACHED = 20_000
# Keys as a program writes them: within, moments are microseconds and dates are days.
SHOWN: dict[str, Callable[[Any], Any]] = {
    "timestamp": lambda us: (EPOCH + us * MICROSECOND).isoformat(),
    "date": lambda day: date.fromordinal(EPOCH_DAY + day).isoformat(),
}
CHAMPION, CHALLENGER, FALLBACK, REFUSED = "champion", "challenger", "fallback", "refused"


class Answer(msgspec.Struct, omit_defaults=True):
    """What a row is answered. `score` and `decision` are null where the declaration lets nobody answer, `reason` says why.

    decision: null where it is left to people (`review`). version, route: who answered. stale, missing: features that were.
    """

    key: dict[str, Any]
    score: float | None
    decision: bool | None
    version: int | None
    route: str
    fallback: bool = False
    review: bool = False
    reason: str = ""
    stale: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    age_seconds: float | None = None


class Asking(NamedTuple):
    """What the rows of a request have in common."""

    request_id: str
    moment: datetime
    tick: date
    cached: bool = True  # whether answers may be kept


@dataclass
class Counts:
    """What a scorer has done since it was made."""

    rows: int = 0
    fallback: int = 0
    refused: int = 0
    review: int = 0
    errors: int = 0
    hits: int = 0
    misses: int = 0
    shadow: int = 0
    shadow_errors: int = 0
    shadow_difference: float = 0.0


class Scorer:
    """Answers for one use case. For one thread: it shares the models' buffers."""

    def __init__(
        self, pipeline: Pipeline, online: OnlineFeatures, shelf: Shelf, written: PredictionLog, readers: Executor
    ) -> None:
        self.pipeline, self.online, self.shelf, self.log, self.readers = pipeline, online, shelf, written, readers
        self.counts = Counts()
        self._cache: OrderedDict[tuple[int, int, bytes], RowAnswer] = OrderedDict()
        self._names = pipeline.feature_names
        entity = pipeline.entity_table
        self._key = tuple((name, SHOWN.get(entity.column(name).kind)) for name in entity.key)

    @property
    def standing(self) -> Standing:
        return self.shelf.standing[self.pipeline.name]

    async def features(self, rows: Sequence[dict[str, Any]], moment: datetime) -> list[Features]:
        """The features of rows, as `OnlineFeatures.fields` read them, as of a moment."""
        return await self.online.within(rows, [micros(moment)] * len(rows), self.readers)

    def features_at_hand(self, rows: Sequence[dict[str, Any]], moment: datetime) -> list[Features] | None:
        """As `features`, at once; None where a store on another machine is to be asked."""
        return self.online.at_hand(rows, [micros(moment)] * len(rows))

    def answers(
        self, rows: Sequence[dict[str, Any]], features: Sequence[Features], asked: Asking, began: float, first: int = 0
    ) -> list[tuple[Answer, LoggedRow]]:
        """Answer each of the rows, given its features; beside each answer what the log is to keep of it.

        began: when work on their features began (`perf_counter`). first: the place of the first of them in the request.
        Nothing is noted yet: see `note`.
        """
        shared = (time.perf_counter() - began) / len(rows)
        standing, at = self.standing, self.shelf.platform.clock.now()
        return [
            self._score(row, made, asked, first + i, standing, at, shared)
            for i, (row, made) in enumerate(zip(rows, features, strict=True))
        ]

    def note(self, rows: Iterable[LoggedRow]) -> None:
        """Keep in the log what was answered."""
        for row in rows:
            self.log.add(row)

    def key_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row's key as a program gave it; where it is personal, as the hash that the lake has."""
        return {name: row[name] if shown is None else shown(row[name]) for name, shown in self._key}

    def version_for(self, told: str, standing: Standing) -> tuple[str, str, Version | None]:
        """The route that an entity (its key, `joined`) is to take, the one it takes, and the version there, None where none is.

        They differ where a challenger fails so often that the champion answers for it: those rows still count as its own.
        """
        challenger = standing.rolled_out  # None also where it is not loaded yet: the champion answers for it
        if challenger is None or routing.answers(standing.rollout, self.pipeline.name, told) == CHAMPION:
            return CHAMPION, CHAMPION, standing.champion
        if challenger.breaker.open and standing.champion is not None:
            return CHALLENGER, CHAMPION, standing.champion
        return CHALLENGER, CHALLENGER, challenger

    def _score(
        self,
        row: Mapping[str, Any],
        features: Features,
        asked: Asking,
        place: int,
        standing: Standing,
        at: datetime,
        shared: float,
    ) -> tuple[Answer, LoggedRow]:
        began = time.perf_counter() - shared
        key = self.key_of(row)
        errors = self.counts.errors
        told = joined(key)
        answer, assigned = self._answered(key, told, features, standing, asked.cached)
        failed = self.counts.errors > errors
        milliseconds = 1000 * (time.perf_counter() - began)
        shadow_version, shadow_score, shadow_milliseconds = self._shadow(features, answer, standing, asked.cached)
        self.counts.rows += 1
        return answer, LoggedRow(
            request_id=asked.request_id,
            row=place,
            key=told,
            tick=asked.tick,
            predict_at=asked.moment,
            at=at,
            score=answer.score,
            decision=answer.decision,
            model_version=answer.version,
            route=answer.route,
            assigned=assigned,
            fallback=answer.fallback,
            error=failed,
            review=answer.review,
            reason=answer.reason,
            stale=bool(answer.stale),
            missing=bool(answer.missing),
            shadow_version=shadow_version,
            shadow_score=shadow_score,
            shadow_milliseconds=shadow_milliseconds,
            milliseconds=milliseconds,
            key_values=tuple([row[name] for name in key]),
            features=features.values,
        )

    def _answered(
        self, key: dict[str, Any], told: str, features: Features, standing: Standing, cached: bool
    ) -> tuple[Answer, str]:
        """The answer, and the route that was to give it; '' where features or a switch decided, not the rollout."""
        ages: dict[str, Any] = {"stale": features.stale, "missing": features.missing, "age_seconds": features.age}
        if features.answer == "refuse":
            self.counts.refused += 1
            return Answer(key, None, None, None, REFUSED, reason="; ".join(features.reasons), **ages), ""
        if standing.switched and standing.fallback is not None:
            return self._fallback(key, features, standing, standing.switched, ages), ""
        if features.answer == "fallback":
            return self._fallback(key, features, standing, "; ".join(features.reasons), ages), ""
        assigned, route, version = self.version_for(told, standing)
        if version is None:
            return self._fallback(key, features, standing, "no model is loaded", ages), assigned
        if version.breaker.open:
            return self._fallback(key, features, standing, "the model failed several times in a row", ages), assigned
        try:
            made = self._predicted(version, features.values, cached)
        except ModelInputError:  # the row's fault, not the model's
            return self._fallback(key, features, standing, "a feature is not a number that the model takes", ages), assigned
        except Exception as error:
            self.counts.errors += 1
            version.breaker.failed()
            # Not with its text: that may tell of the inside, or quote values.
            log.error("%s: version %d failed: %s", self.pipeline.name, version.number, _where(error))
            return self._fallback(key, features, standing, f"the model failed ({type(error).__name__})", ages), assigned
        decision, review = _decided(made, standing.rollout)
        self.counts.review += review
        return Answer(key, made.score, decision, version.number, route, review=review, **ages), assigned

    def _predicted(self, version: Version, values: tuple[Any, ...], cached: bool) -> RowAnswer:
        model = version.row.read(version.picked(values))
        asked = (version.number, *model.asked)
        known = self._cache.get(asked)
        if known is not None:
            self._cache.move_to_end(asked)
            self.counts.hits += 1
            return known
        self.counts.misses += 1
        made = model.answer()
        version.breaker.succeeded()  # an answer from the cache says nothing of the model
        if cached:
            self._cache[asked] = made
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return made

    def _shadow(
        self, features: Features, answer: Answer, standing: Standing, cached: bool
    ) -> tuple[int | None, float | None, float | None]:
        """What a challenger in the shadow makes of the row, which nobody is told: its version, score and milliseconds."""
        challenger = standing.rolled_out
        if challenger is None or standing.rollout is None or standing.rollout.mode != "shadow":
            return None, None, None
        if answer.score is None or answer.fallback or challenger.breaker.open:
            return None, None, None
        began = time.perf_counter()
        try:
            made = self._predicted(challenger, features.values, cached)
        except Exception as error:
            log.error("%s: version %d failed in the shadow: %s", self.pipeline.name, challenger.number, _where(error))
            self.counts.shadow_errors += 1
            challenger.breaker.failed()
            return challenger.number, None, 1000 * (time.perf_counter() - began)
        self.counts.shadow += 1
        self.counts.shadow_difference += abs(made.score - answer.score)
        return challenger.number, made.score, 1000 * (time.perf_counter() - began)

    def _fallback(
        self, key: dict[str, Any], features: Features, standing: Standing, reason: str, ages: Mapping[str, Any]
    ) -> Answer:
        if standing.fallback is None:
            self.counts.refused += 1
            return Answer(key, None, None, None, REFUSED, reason=f"{reason}; and there is no fallback", **ages)
        self.counts.fallback += 1
        values = dict(zip(self._names, features.values, strict=True))
        # By the fallback's own features: it may have been trained before the declaration changed.
        made = fallback_row(standing.fallback, [values.get(name) for name in standing.fallback.feature_names])
        number = standing.champion.number if standing.champion else None
        decision, review = _decided(made, standing.rollout)
        self.counts.review += review
        return Answer(key, made.score, decision, number, FALLBACK, fallback=True, review=review, reason=reason, **ages)


def joined(key: Mapping[str, Any]) -> str:
    """The key in one text, by which entities are shared out."""
    return "/".join(map(str, key.values()))


def fallback_row(model: FallbackModel, values: Sequence[Any]) -> RowAnswer:
    """The fallback's answer for the values of one row, in the order of its inputs: that of `predict`, without a frame."""
    group = tuple(
        value if wanted.kind == "text" or value is None else _known(float(value))
        for value, wanted in zip(values, model.inputs, strict=True)
    )
    score = model.rates.get(group, model.overall)
    return RowAnswer(score, score >= model.threshold)


def _decided(made: RowAnswer, asked: Routing | None) -> tuple[bool | None, bool]:
    """The decision, as far as the degree of automation gives one, and whether people are to look at it."""
    if asked is None or asked.automation == "full":
        return made.decision, False
    if asked.automation == "band" and not (asked.band_low or 0.0) <= made.score < (asked.band_high or 1.0):
        return made.decision, False
    return None, asked.automation != "shadow"


def _known(number: float) -> float | None:
    """NaN is missing, as in a frame."""
    return None if number != number else number


def _where(error: Exception) -> str:
    """What failed and where, without the error's own text."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{type(error).__name__} in " + " < ".join(
        f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames)
    )
