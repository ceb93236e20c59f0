"""Answer a request: its features, the version that is to answer, the fallback where that cannot; and note it all in the log."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec

from mlprod_tasks import rollout
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.fallback import FallbackModel
from mlprod_tasks.inputs import ModelInputError
from mlprod_tasks.online import Features, OnlineFeatures
from mlprod_tasks.online.plan import micros
from mlprod_tasks.platform.ledger import Rollout
from mlprod_tasks.serve.limits import Breaker
from mlprod_tasks.serve.prediction_log import PredictionLog
from mlprod_tasks.serve.shelf import Shelf, Standing, Version
from mlprod_tasks.serve.single_row import RowAnswer

log = logging.getLogger(__name__)
CACHED = 20_000
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
    stale: list[str] = []
    missing: list[str] = []
    age_seconds: float | None = None


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
    shadow_difference: float = 0.0


class Scorer:
    """Answers for one use case. For one thread: it shares the models' buffers."""

    def __init__(self, pipeline: Pipeline, online: OnlineFeatures, shelf: Shelf, written: PredictionLog) -> None:
        self.pipeline, self.online, self.shelf, self.log = pipeline, online, shelf, written
        self.counts = Counts()
        self._cache: OrderedDict[tuple[int, tuple[Any, ...]], RowAnswer] = OrderedDict()
        self._breakers: dict[int, Breaker] = {}  # one a version: a bad challenger takes nobody else out
        self._names = pipeline.feature_names
        self._order: dict[int, tuple[int, ...]] = {}

    @property
    def standing(self) -> Standing:
        return self.shelf.standing[self.pipeline.name]

    def score(self, rows: Sequence[dict[str, Any]], moment: datetime, tick: date, request_id: str) -> list[Answer]:
        """Answer each of the rows, as `OnlineFeatures.fields` read them, as of a moment."""
        began = time.perf_counter()
        standing = self.standing
        made = self.online.of(rows, [micros(moment)] * len(rows))
        shared = (time.perf_counter() - began) / len(rows)
        return [
            self._score(row, features, moment, tick, request_id, standing, shared)
            for row, features in zip(rows, made, strict=True)
        ]

    def _score(
        self,
        row: Mapping[str, Any],
        features: Features,
        moment: datetime,
        tick: date,
        request_id: str,
        standing: Standing,
        shared: float,
    ) -> Answer:
        began = time.perf_counter() - shared
        key = {name: row[name] for name in self.pipeline.entity_table.key}
        told = "/".join(map(str, key.values()))
        answer = self._answered(key, told, features, standing)
        challenger, shadowed = standing.challenger, None
        if (
            standing.rollout is not None
            and standing.rollout.mode == "shadow"
            and challenger is not None
            and not answer.fallback
        ):
            shadowed = self._shadow(challenger, features.values, answer)
        self.counts.rows += 1
        self.log.add(
            (
                request_id, 0, told, tick, moment, moment, answer.score, answer.decision, answer.version, answer.route,
                answer.route, answer.fallback, False, answer.review, answer.reason, bool(answer.stale), bool(answer.missing),
                challenger.number if challenger and shadowed is not None else None, shadowed, None,
                1000 * (time.perf_counter() - began), *(row[name] for name in self.pipeline.entity_table.key),
                *features.values,
            )
        )  # fmt: skip
        return answer

    def _answered(self, key: dict[str, Any], told: str, features: Features, standing: Standing) -> Answer:
        known = [age for age in features.ages.values() if age is not None]
        ages: dict[str, Any] = {
            "stale": list(features.stale),
            "missing": list(features.missing),
            "age_seconds": max(known) if known else None,
        }
        if features.answer == "refuse":
            self.counts.refused += 1
            return Answer(key, None, None, None, REFUSED, reason="; ".join(features.reasons), **ages)
        if features.answer == "fallback":
            return self._fallback(key, features, standing, "; ".join(features.reasons), ages)
        route: str = rollout.answers(standing.rollout, self.pipeline.name, told)
        version = standing.challenger if route == CHALLENGER else standing.champion
        if version is None:  # the challenger could not be loaded: the champion answers for it
            route, version = CHAMPION, standing.champion
        if version is None:
            return self._fallback(key, features, standing, f"no model is loaded{_because(standing.trouble)}", ages)
        if route == CHALLENGER and self._breaker(version).open and standing.champion is not None:
            route, version = CHAMPION, standing.champion
        breaker = self._breaker(version)
        if breaker.open:
            return self._fallback(key, features, standing, "the model failed several times in a row", ages)
        try:
            made = self._predicted(version, features.values)
            breaker.succeeded()
        except ModelInputError as error:  # the row's fault, not the model's
            return self._fallback(key, features, standing, str(error)[:300], ages)
        except Exception as error:
            self.counts.errors += 1
            breaker.failed()
            log.exception("%s: version %d failed", self.pipeline.name, version.number)
            return self._fallback(key, features, standing, f"{type(error).__name__}: {error}"[:300], ages)
        decision, review = _decided(made, standing.rollout)
        self.counts.review += review
        return Answer(key, made.score, decision, version.number, route, review=review, **ages)

    def _predicted(self, version: Version, values: tuple[Any, ...]) -> RowAnswer:
        order = self._order.get(version.number)
        if order is None:
            order = self._order[version.number] = tuple(self._names.index(name) for name in version.row.feature_names)
        asked = (version.number, values)
        known = self._cache.get(asked)
        if known is not None:
            self._cache.move_to_end(asked)
            self.counts.hits += 1
            return known
        self.counts.misses += 1
        made = version.row([values[i] for i in order])
        self._cache[asked] = made
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return made

    def _breaker(self, version: Version) -> Breaker:
        return self._breakers.setdefault(version.number, Breaker())

    def _shadow(self, challenger: Version, values: tuple[Any, ...], answer: Answer) -> float | None:
        breaker = self._breaker(challenger)
        if breaker.open:
            return None
        try:
            made = self._predicted(challenger, values)
        except Exception:
            log.exception("%s: version %d failed in the shadow", self.pipeline.name, challenger.number)
            self.counts.errors += 1
            breaker.failed()
            return None
        breaker.succeeded()
        self.counts.shadow += 1
        self.counts.shadow_difference += abs(made.score - (answer.score or 0.0))
        return made.score

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
        return Answer(key, made.score, decision, number, FALLBACK, fallback=True, review=review, reason=reason, **ages)


def fallback_row(model: FallbackModel, values: Sequence[Any]) -> RowAnswer:
    """The fallback's answer for the values of one row, in the order of its inputs: that of `predict`, without a frame."""
    group = tuple(
        value if wanted.kind == "text" or value is None else _known(float(value))
        for value, wanted in zip(values, model.inputs, strict=True)
    )
    score = model.rates.get(group, model.overall)
    return RowAnswer(score, score >= model.threshold)


def _decided(made: RowAnswer, asked: Rollout | None) -> tuple[bool | None, bool]:
    """The decision, as far as the degree of automation gives one, and whether people are to look at it."""
    if asked is None or asked.automation == "full":
        return made.decision, False
    if asked.automation == "band" and not (asked.band_low or 0.0) <= made.score < (asked.band_high or 1.0):
        return made.decision, False
    return None, asked.automation != "shadow"


def _known(number: float) -> float | None:
    """NaN is missing, as in a frame."""
    return None if number != number else number


def _because(trouble: str) -> str:
    return f": {trouble}" if trouble else ""
